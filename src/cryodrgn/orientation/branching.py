"""Poses of images by comparison with a reference: all of a grid, then ever finer ones.

The first grid of rotations and shifts is compared whole, at low frequencies. The best
rotations, each with its best shift, are divided into eight and compared again at half the
spacing and at higher frequencies, and so on. Cells are divided in the tangent space of their
rotation, which needs neither borders nor wrap-around and no table.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.data.batches import generator_at
from cryodrgn.fourier.shifts import phases, shifted
from cryodrgn.geometry.rotations import random_rotations, rotation_from_vector
from cryodrgn.geometry.so3_grid import So3Grid
from cryodrgn.imaging.likelihood import cross_correlations, slice_energies
from cryodrgn.imaging.slices import slice_axes
from cryodrgn.kernels.backends import is_compiled
from cryodrgn.orientation.comparison import FrequencyDisc, WhitenedImages
from cryodrgn.orientation.settings import GridSettings
from cryodrgn.orientation.slices import Slices
from cryodrgn.orientation.trial_shifts import local_pose_search, shift_grid

# Offsets of the eight parts of a cell, in units of its side. A quarter would do for cubes;
# cells of the first grid are none, and a little overlap reaches their corners.
PART_OFFSET = 0.3
# Values compared at once: they stay in a processor's cache, or fill a GPU.
VALUES_AT_ONCE = {"cpu": 1 << 22}
VALUES_AT_ONCE_ON_GPU = 1 << 28


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FoundPoses:
    """The best pose of every image.

    Attributes:
        rotations: From the frame of the reference to that of the image.
        shifts: (x, y) as fractions of the box, that centre the particle.
        gains: Log-likelihood ratio over no particle at all, see
            :func:`cryodrgn.imaging.likelihood.log_likelihood_ratios`.
    """

    rotations: Float[Tensor, "batch 3 3"]
    shifts: Float[Tensor, "batch 2"]
    gains: Float[Tensor, " batch"]

    def __len__(self) -> int:
        return len(self.rotations)

    @classmethod
    def joined(cls, parts: "list[FoundPoses]") -> "FoundPoses":
        """Poses of several batches, one after another."""
        return cls(
            rotations=torch.cat([part.rotations for part in parts]),
            shifts=torch.cat([part.shifts for part in parts]),
            gains=torch.cat([part.gains for part in parts]),
        )


class BranchAndBoundSearch:
    """Finds poses with respect to one reference.

    Args:
        slices: The reference.
        disc: Frequencies that can be compared.
        variance: Of the noise at each of them, of the real and of the imaginary part.
        settings: The grids.
        radii: Radius of the frequencies compared on each grid, see
            :meth:`~cryodrgn.orientation.settings.GridSettings.radii`.
        box_size: Side of the images in pixels.
        seed: Of the rotation by which the first grid is turned as a whole, so that its points
            are others in every search.
        dtype: Number type of the product with the first grid.
    """

    def __init__(
        self,
        slices: Slices,
        disc: FrequencyDisc,
        variance: Float[Tensor, " points"],
        settings: GridSettings,
        radii: list[int],
        box_size: int,
        seed: tuple[int, ...] = (0,),
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._slices, self._disc, self._variance = slices, disc, variance
        self._settings = settings
        self._counts = [disc.count(radius) for radius in radii]
        device = disc.points.device
        grid = So3Grid(settings.base_level)
        turn = random_rotations(1, generator_at(seed[0], seed[1:]))[0]
        self._spacing = grid.spacing
        self._rotations = (grid.rotations() @ turn).to(device)
        shifts, self._shift_spacing = shift_grid(settings, grid.level, radii[0], box_size)
        self._shifts = shifts.to(device)
        first = disc.points[: self._counts[0]]
        self._turns = phases(first, self._shifts)[None]
        table = slices.at(first, self._rotations)[0]
        self._table, self._power = table.to(dtype), table.square().sum(-1)
        corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], device=device)] * 3)
        self._parts = PART_OFFSET * corners
        steps = torch.tensor([-1.0, 0.0, 1.0] if self._shift_spacing else [0.0], device=device)
        self._steps = torch.cartesian_prod(steps, steps)

    @property
    def batch_size(self) -> int:
        """Images that are best searched together."""
        kind = self._rotations.device.type
        values = VALUES_AT_ONCE.get(kind, VALUES_AT_ONCE_ON_GPU)
        of_grid = len(self._shifts) * len(self._rotations)
        of_parts = 2 * len(self._parts) * self._settings.num_kept * self._counts[-1]
        if is_compiled(self._rotations.device) or len(self._counts) == 1:
            of_parts = 0
        return max(1, values // max(of_grid, of_parts))

    @property
    def operations_per_image(self) -> tuple[float, float]:
        """Floating-point operations of comparisons with the first grid, and with refined ones.

        Those of products of matrices: two for each of two numbers of a frequency, for each
        shift, and two for the power of the slice. What reads slices is not counted.
        """
        first, *others = self._counts
        shifts, steps = 4 * len(self._shifts) + 2, 4 * len(self._steps) + 2
        kept = self._settings.num_kept * len(self._parts)
        return float(first * len(self._rotations) * shifts), float(sum(others) * kept * steps)

    @torch.inference_mode()
    def find(
        self,
        images: Float[Tensor, "batch points 2"],
        ctf: Float[Tensor, "batch points"] | None,
        magnifications: Float[Tensor, "batch 2 2"] | None = None,
    ) -> FoundPoses:
        """The poses of some images.

        Args:
            images: Transforms as pairs at the frequencies of the disc, not shifted.
            ctf: CTF there.
            magnifications: Matrices of the images. The first grid, whose slices all images
                share at low frequencies, is compared without them.
        """
        observed = WhitenedImages.of(images, ctf, self._variance)
        rotations, shifts, found = self._whole_grid(observed)
        spacing, shift_spacing = self._spacing, self._shift_spacing
        for count in self._counts[1:]:
            parts = rotation_from_vector(spacing * self._parts)
            spacing, shift_spacing = spacing / 2, shift_spacing / 2
            rotations, shifts, found = self._refined(
                observed,
                magnifications,
                rotations,
                shifts,
                parts,
                shift_spacing * self._steps,
                count,
            )
        best = found.argmax(1)
        rows = torch.arange(len(best), device=best.device)
        return FoundPoses(
            rotations=rotations[rows, best],
            shifts=shifts[rows, best],
            gains=found[rows, best],
        )

    def _whole_grid(
        self, observed: WhitenedImages
    ) -> tuple[
        Float[Tensor, "batch kept 3 3"],
        Float[Tensor, "batch kept 2"],
        Float[Tensor, "batch kept"],
    ]:
        count = self._counts[0]
        within = observed.within(count)
        moved = shifted(within.images, self._turns)
        found = cross_correlations(moved, self._table)
        # Only of the rotations that are kept the best shift has to be told.
        values = found.amax(1).float() - slice_energies(within.weights, self._power)
        kept, places = values.topk(min(self._settings.num_kept, values.shape[1]), dim=1)
        of_kept = found.gather(2, places[:, None].expand(-1, found.shape[1], -1))
        return self._rotations[places], self._shifts[of_kept.argmax(1)], kept

    def _refined(
        self,
        observed: WhitenedImages,
        magnifications: Float[Tensor, "batch 2 2"] | None,
        rotations: Float[Tensor, "batch kept 3 3"],
        shifts: Float[Tensor, "batch kept 2"],
        parts: Float[Tensor, "parts 3 3"],
        steps: Float[Tensor, "steps 2"],
        count: int,
    ) -> tuple[
        Float[Tensor, "batch kept 3 3"],
        Float[Tensor, "batch kept 2"],
        Float[Tensor, "batch kept"],
    ]:
        """The best of all parts of some poses."""
        # A small rotation of the image's frame comes after that of the volume's.
        finer = parts @ rotations[:, :, None]
        points, within = self._disc.points[:count], observed.within(count)
        of_images = None if magnifications is None else magnifications[:, None, None]
        axes = slice_axes(finer, of_images)
        values, which = local_pose_search(self._slices, points, within, axes, shifts, steps)
        values, which = values.flatten(1), which.flatten(1)
        best, places = values.topk(min(self._settings.num_kept, values.shape[1]), dim=1)
        rows = torch.arange(len(best), device=places.device)[:, None]
        moved = shifts[rows, places // len(parts)] + steps[which.gather(1, places)]
        return finer.flatten(1, 2)[rows, places], moved, best
