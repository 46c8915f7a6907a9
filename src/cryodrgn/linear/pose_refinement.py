"""Small corrections of poses, estimated along with the components of a linear model.

A molecule whose pose is off by a small turn ω and a small step t looks, to first order, like
the volume V in the pose it was given, plus six volumes that are known as soon as V is:

    V(R_ω⁻¹ (r − t)) ≈ V(r) − ω · (r × ∇V) − t · ∇V

Beside the components of the motion they join the E step, with Gaussian priors whose widths are
fitted, and what an image says of their coefficients corrects its pose. V is the mean of all,
not the volume of the particle's own state: components resemble rigid motions where poses are
wrong, and a volume that has been moved along them leaves nothing to correct.

The error that is left is the trace of the posterior covariance (M + P)⁻¹, with the information
M of the image on the parameters (inner products of the derivatives in units of the noise) and
the precision P of the prior. If volumes and their derivatives were exact, no estimate could do
better (Van Trees 1968, Detection, Estimation, and Modulation Theory I, section 2.4.3).
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.geometry.rotations import rotation_from_vector
from cryodrgn.imaging.linear_posterior import posterior_of
from cryodrgn.imaging.noise import NoiseModel
from cryodrgn.linear.embed import embed, inner_products, subspace_of
from cryodrgn.linear.iteration import DiscImages
from cryodrgn.particles.poses import Poses

# Priors to begin with, about what refinements of real sets leave, and how they are fitted.
STARTING_TURN, STARTING_STEP_PX = 0.02, 0.3
PRIOR_ROUNDS, PRIOR_IMAGES = 10, 1000
# Steps of EM, which are short where images say little, are made longer by this power.
LENGTHENED = 1.5
LEAST_SHARE = 1e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class PoseSpread:
    """Standard deviation of errors of poses along each axis.

    Attributes:
        turn: In radians.
        step: In pixels.
    """

    turn: float
    step: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Correction:
    """Result of a correction of poses.

    Attributes:
        spread: How wide errors of poses were.
        turn_left: Error that the model expects to be left: root mean square of the whole
            rotation, in radians.
    """

    spread: PoseSpread
    turn_left: float


class MovedPoses:
    """Poses that are corrected between passes over the images.

    Args:
        poses: Those to begin with.
        device: Where batches are wanted.
    """

    def __init__(self, poses: Poses, device: torch.device) -> None:
        self._device = device
        self.put(poses)

    def put(self, poses: Poses) -> None:
        """Replace all poses."""
        kind = {"dtype": torch.float32, "device": self._device}
        self._rotations = torch.tensor(poses.rotations, **kind)
        self._shifts = torch.tensor(poses.shifts, **kind)

    def at(
        self, rows: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch 3 3"], Float[Tensor, "batch 2"]]:
        """Rotations, and shifts in Å, of some particles."""
        return self._rotations[rows], self._shifts[rows]

    def move(
        self,
        rows: Int[Tensor, " batch"],
        turns: Float[Tensor, "batch 3"],
        steps: Float[Tensor, "batch 3"],
    ) -> None:
        """Take for granted that molecules are turned and displaced.

        Args:
            rows: Which ones.
            turns: Turns ω in the volume's frame, as axis times angle in radians.
            steps: Displacements t in the volume's frame in Å.
        """
        rotations = self._rotations[rows]
        seen = (rotations @ steps[..., None])[:, :2, 0]
        self._shifts[rows] -= seen
        self._rotations[rows] = rotations @ rotation_from_vector(turns)

    def poses(self) -> Poses:
        """All poses as they are now."""
        return Poses(
            rotations=self._rotations.cpu().numpy().copy(),
            shifts=self._shifts.cpu().numpy().copy(),
            source="refined poses",
        )


def refine_poses(
    images: DiscImages,
    poses: MovedPoses,
    pixel_sizes: Float[np.ndarray, " particles"],
    halves: tuple[Float[Tensor, "volumes box box box"], Float[Tensor, "volumes box box box"]],
    noise: NoiseModel,
    contrast_spread: float = 0.0,
) -> Correction:
    """Correct the poses of all particles, each half by its own model.

    Args:
        images: The images, whose poses are ``poses``.
        poses: Is changed.
        pixel_sizes: Å/px of every particle.
        halves: Mean and components from each half set, so that half maps stay independent.
        noise: The noise.
        contrast_spread: Standard deviation of contrasts.
    """
    found = []
    parts = images.halves(torch.arange(len(images)))
    for rows, volumes in zip(parts, halves, strict=True):
        half = _Half(images, volumes, rigid_motions(volumes[0]), noise, contrast_spread)
        spread, left = half.spread(rows)
        moves = half.moves(rows, spread)
        units = torch.from_numpy(pixel_sizes[rows.numpy()]).float().to(moves.device)
        poses.move(rows.to(moves.device), moves[:, :3], moves[:, 3:] * units[:, None])
        found.append(Correction(spread=spread, turn_left=left))
    first, second = found
    return Correction(
        spread=PoseSpread(
            turn=(first.spread.turn + second.spread.turn) / 2,
            step=(first.spread.step + second.spread.step) / 2,
        ),
        turn_left=(first.turn_left + second.turn_left) / 2,
    )


def rigid_motions(
    volume: Float[Tensor, "box box box"],
) -> Float[Tensor, "motions box box box"]:
    """Derivatives of a volume for rotations about, and shifts along, the axes x, y, z.

    Args:
        volume: A volume about its middle voxel box // 2, that is 0 towards the faces of the
            box.

    Returns:
        −r × ∇V per radian, then −∇V per voxel, three volumes each.
    """
    box_size = len(volume)
    gradient = _gradient(volume)
    axis = torch.arange(box_size, device=volume.device) - box_size // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    place = torch.stack([x, y, z]).to(volume.dtype)
    return -torch.cat([torch.linalg.cross(place, gradient, dim=0), gradient])


def _gradient(volume: Float[Tensor, "box box box"]) -> Float[Tensor, "3 box box box"]:
    """Derivatives along x, y, z, exact for what the grid can hold."""
    box_size = len(volume)
    transform = torch.fft.rfftn(volume)
    full = torch.fft.fftfreq(box_size, device=volume.device)
    # The wave at the Nyquist frequency has no derivative on the grid.
    full[box_size // 2] = 0
    half = full[: box_size // 2 + 1]
    waves = (half, full[:, None], full[:, None, None])
    return torch.stack(
        [torch.fft.irfftn(transform * (2j * torch.pi * wave), s=volume.shape) for wave in waves]
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Half:
    """The model of one half of the images, and how its mean changes with a pose."""

    images: DiscImages
    volumes: Float[Tensor, "volumes box box box"]
    motions: Float[Tensor, "motions box box box"]
    noise: NoiseModel
    contrast_spread: float

    @property
    def radius(self) -> int:
        """Up to which images are compared."""
        return min(self.images.largest_radius, self.images.box_size // 2 - 1)

    def spread(self, rows: Int[Tensor, " rows"]) -> tuple[PoseSpread, float]:
        """Widths of the priors that make some images most probable, by EM; turn that is left.

        A wider prior stretches the motions, and inner products with them, by as much: images
        are read once.
        """
        sample = rows[:: -(-len(rows) // PRIOR_IMAGES)]
        gram = self._gram(sample)
        spread, left = PoseSpread(turn=STARTING_TURN, step=STARTING_STEP_PX), 0.0
        for _ in range(PRIOR_ROUNDS):
            scale = torch.ones_like(gram[0, 0])
            scale[len(self.volumes) : -1] = self._units(spread)
            found = posterior_of(gram * scale[:, None] * scale, self.contrast_spread)
            variances = found.covariance.diagonal(dim1=1, dim2=2)
            squares = (found.mean.square() + variances).mean(0)[-len(self.motions) :]
            turn, step = (
                float(part.mean().clamp_min(LEAST_SHARE)) ** (LENGTHENED / 2)
                for part in squares.split(3)
            )
            turns = variances[:, -len(self.motions) :][:, :3].sum(1).mean()
            left = spread.turn * float(turns.sqrt())
            spread = PoseSpread(turn=spread.turn * turn, step=spread.step * step)
        return spread, left

    def moves(
        self, rows: Int[Tensor, " rows"], spread: PoseSpread
    ) -> Float[Tensor, "rows motions"]:
        """Posterior means of pose corrections: rotations (radians) and shifts (pixels)."""
        units = self._units(spread)
        scaled = self.motions * units[:, None, None, None]
        posterior, _ = embed(
            self.images,
            rows,
            subspace_of(torch.cat([self.volumes, scaled]), self.radius),
            self.noise,
            self.contrast_spread,
            description="refining poses",
        )
        return posterior.mean[:, -len(units) :] * units

    def _gram(self, rows: Int[Tensor, " rows"]) -> Float[Tensor, "rows columns columns"]:
        """Inner products of slices of volumes and motions, and of images."""
        subspace = subspace_of(torch.cat([self.volumes, self.motions]), self.radius)
        return inner_products(self.images, rows, subspace, self.noise)[0]

    def _units(self, spread: PoseSpread) -> Float[Tensor, " motions"]:
        return self.motions.new_tensor([spread.turn] * 3 + [spread.step] * 3)
