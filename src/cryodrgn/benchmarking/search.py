"""Images per second of the pose search, beside the bound by matrix products."""

import torch

from cryodrgn.benchmarking.timing import median_seconds
from cryodrgn.devices import dtype_name
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.orientation.branching import BranchAndBoundSearch
from cryodrgn.orientation.comparison import FrequencyDisc
from cryodrgn.orientation.settings import GridSettings
from cryodrgn.orientation.slices import Slices, box_within

# Noise images that a search goes through on a processor, at least.
FEWEST_IMAGES = 64


class SearchCase:
    """Searches of noise images with the default grids, refined to all frequencies.

    Args:
        box: Side of the images in pixels.
        shift_extent_px: Largest shift in pixels.
        dtype: Number type of the product with the first grid.
        device: Where to compute.
        num_levels: Refinements of the grids.
    """

    def __init__(
        self,
        box: int,
        shift_extent_px: float,
        dtype: torch.dtype,
        device: torch.device,
        num_levels: int = 4,
    ) -> None:
        radius = box // 2 - 1
        settings = GridSettings(
            radius_start=min(12, radius),
            radius_end=radius,
            num_levels=num_levels,
            shift_extent_px=shift_extent_px,
        )
        generator = torch.Generator().manual_seed(0)
        disc = FrequencyDisc.of(HalfPlaneFrequencies.disc(box), radius, device)
        volume = torch.randn(1, *[box_within(radius)] * 3, generator=generator).to(device)
        variance = torch.ones(len(disc.points), device=device)
        self._device, self._dtype = device, dtype
        self._finder = BranchAndBoundSearch(
            Slices(volume, radius),
            disc,
            variance,
            settings,
            settings.radii(radius),
            box,
            dtype=dtype,
        )
        size = self._finder.batch_size
        batches = -(-FEWEST_IMAGES // size)
        images = torch.randn(size * batches, len(disc.points), 2, generator=generator)
        ctf = torch.rand(size * batches, len(disc.points), generator=generator)
        pairs = zip(images.split(size), ctf.split(size), strict=True)
        self._batches = [(image.to(device), part.to(device)) for image, part in pairs]

    def __call__(self) -> None:
        """Search the poses of all images."""
        for images, ctf in self._batches:
            self._finder.find(images, ctf)

    def images_per_s(self, seconds: float) -> float:
        """Measured for about as long as asked for."""
        count = sum(len(images) for images, _ in self._batches)
        return count / median_seconds(self, self._device, seconds)

    def bound(self, ceilings: dict[str, float]) -> float:
        """Images per second if nothing but the products took time, at the rate of large ones.

        Args:
            ceilings: GFLOP/s by number type.
        """
        first, refined = self._finder.operations_per_image
        taken = first / ceilings[dtype_name(self._dtype)] + refined / ceilings["float32"]
        return 1e9 / taken
