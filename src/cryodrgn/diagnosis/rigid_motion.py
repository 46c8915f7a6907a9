"""Changes along latent axes: structure, or rigid motion and contrast.

To first order, images are predicted by V₀ + z V₁. The change V₁ along an axis is estimated from
the images themselves, half by half: residuals of the consensus map, weighted by z, are
backprojected. If the axis follows errors of the poses, V₁ is a combination of the changes that
small rotations and shifts of V₀ make; if it follows the contrast of images, V₁ is V₀. What
share of V₁ these explain is measured between halves, so that noise has no part in it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.diagnosis.conventions import STATED
from cryodrgn.diagnosis.fit import BATCH, QuickImages
from cryodrgn.fourier.shells import fourier_shell_correlation, weight_shells
from cryodrgn.geometry.rotations import rotation_from_vector
from cryodrgn.kernels.gridding import SliceAccumulator
from cryodrgn.kernels.projection import move_volume

# Of the small motions, in radians and voxels.
ANGLE, LENGTH = 0.03, 0.5
# Random axes beside the real ones, and how far above theirs an agreement must be.
NUM_RANDOM, LEAST_DEVIATIONS = 6, 4.0


@dataclass(frozen=True, kw_only=True, slots=True)
class AxisChange:
    """Change along one latent axis, and the shares of it that are no change of structure.

    Attributes:
        agreement: Correlation of the changes found in both halves of the images; near 0 where
            nothing changes above noise.
        rigid_share: Share of the change that rotating and shifting the molecule explains.
        contrast_share: Share of the change that the contrast of images explains.
        chance: Root mean square of the agreement along random axes.
        power: Squared size of the change that both halves share, over one standard deviation
            of the latent.
    """

    power: float
    agreement: float
    rigid_share: float
    contrast_share: float
    chance: float

    @property
    def is_real(self) -> bool:
        """True if the change along the axis is larger than noise."""
        return self.agreement > LEAST_DEVIATIONS * self.chance


def axis_changes(
    images: QuickImages, latents: Float[np.ndarray, "images axes"], *, seed: int = 0
) -> list[AxisChange]:
    """Changes along every axis of a latent space.

    Args:
        images: A sample of the images.
        latents: Their latent coordinates.
        seed: Of the random axes that show how much is chance.
    """
    random = np.random.default_rng(seed).normal(size=(len(latents), NUM_RANDOM))
    latents = np.concatenate([latents, random], axis=1)
    scaled = (latents - latents.mean(0)) / np.maximum(latents.std(0), 1e-12)
    z = torch.from_numpy(scaled.astype(np.float32))
    consensus, changes = _changes(images, z)
    halves = [images.grid.volume_of(_complex(half)) for half in consensus]
    # Beyond the resolution of the consensus its derivatives would be those of noise.
    weights = fourier_shell_correlation(halves[0], halves[1]).values.clamp(0, 1)
    volume = weight_shells((halves[0] + halves[1]) / 2, weights)
    basis = torch.stack([v.flatten() for v in [*rigid_changes(volume), volume]])
    pairs = [
        [
            weight_shells(images.grid.volume_of(_complex(half)), weights).flatten()
            for half in pair
        ]
        for pair in changes
    ]
    agreements = [_agreement(first, second) for first, second in pairs]
    chance = float(np.sqrt(np.mean(np.square(agreements[-NUM_RANDOM:]))))
    results = []
    for (first, second), agreement in list(zip(pairs, agreements, strict=True))[:-NUM_RANDOM]:
        rigid, contrast = (_share(first, second, part) for part in (basis[:-1], basis[-1:]))
        results.append(
            AxisChange(
                power=max(float(first @ second), 0.0),
                agreement=agreement,
                rigid_share=rigid,
                contrast_share=contrast,
                chance=chance,
            )
        )
    return results


def rigid_changes(volume: Float[Tensor, "box box box"]) -> list[Float[Tensor, "box box box"]]:
    """Changes of a volume by small rotations about x, y and z and by shifts along them."""
    still, identity = torch.zeros(3), torch.eye(3)
    moves = [(rotation_from_vector(ANGLE * axis), still) for axis in torch.eye(3)]
    moves += [(identity, LENGTH * axis) for axis in torch.eye(3)]
    return [
        move_volume(volume, rotation, shift) - move_volume(volume, rotation.T, -shift)
        for rotation, shift in moves
    ]


def _changes(
    images: QuickImages, z: Float[Tensor, "images axes"]
) -> tuple[list[Tensor], list[list[Tensor]]]:
    """The consensus of both halves, and for every axis the change in both halves."""
    count = len(images.rows)
    batches = np.array_split(np.arange(count), -(-count // BATCH))
    cpu = torch.device("cpu")
    consensus = [SliceAccumulator(images.grid, 1, 1, cpu) for _ in range(2)]
    models = [images.model(places, STATED) for places in batches]
    for places, (values, ctf, points) in zip(batches, models, strict=True):
        for parity, half in enumerate(consensus):
            mine = images.in_half(places, parity)
            weighted = values[mine] * ctf[mine, :, None]
            ones = torch.ones(len(weighted), 1)
            half.add(points[mine], weighted, ctf[mine].square(), ones, ones)
    maps = [images.solve(half)[0] for half in consensus]
    sums = [SliceAccumulator(images.grid, z.shape[1], z.shape[1], cpu) for _ in range(2)]
    for places, (values, ctf, points) in zip(batches, models, strict=True):
        for parity in range(2):
            mine = images.in_half(places, parity)
            own = torch.from_numpy(places)[mine]
            predicted = images.sample(maps[parity], points[mine]) * ctf[mine, :, None]
            residual = (values[mine] - predicted) * ctf[mine, :, None]
            weights = z[own]
            sums[parity].add(
                points[mine], residual, ctf[mine].square(), weights, weights.square()
            )
    changes = zip(*(images.solve(half) for half in sums), strict=True)
    return maps, [list(halves) for halves in changes]


def _agreement(first: Float[Tensor, " voxels"], second: Float[Tensor, " voxels"]) -> float:
    return float(first @ second) / max(float(first.norm() * second.norm()), 1e-30)


def _share(
    first: Float[Tensor, " voxels"],
    second: Float[Tensor, " voxels"],
    vectors: Float[Tensor, "vectors voxels"],
) -> float:
    """Share of the common part of two estimates that lies in the span of some vectors."""
    total = float(first @ second)
    if total <= 0:
        return 0.0
    orthonormal, _ = torch.linalg.qr(vectors.T)
    inside = float((first @ orthonormal) @ (orthonormal.T @ second))
    return min(max(inside / total, 0.0), 1.0)


def _complex(spectrum: Float[Tensor, "z y x 2"]) -> Tensor:
    return torch.view_as_complex(spectrum.contiguous())
