"""Images per second of the pose search, beside the bound that the matrix products set.

python benchmarks/abinit.py

Three figures for every case: the comparison with the whole first grid alone; the bound, which
is its arithmetic at the rate of one large product of the same shape, measured right after it;
and the whole search, refinement of the grids included.
"""

import time
from collections.abc import Callable

import torch

from cryodrgn.devices import choose_device, describe_device
from cryodrgn.fourier.grids import HalfLattice
from cryodrgn.orientation.branching import PoseFinder
from cryodrgn.orientation.comparison import Disc
from cryodrgn.orientation.settings import GridSettings
from cryodrgn.orientation.slices import Slices, box_within

BOX_SIZE, REPETITIONS = 64, 3
CASES = ((12, 0.0), (12, 4.0), (12, 10.0))


def main() -> None:
    device = choose_device("auto")
    print(f"{describe_device(device)}; box {BOX_SIZE}; images/s")
    print("shifts  type      grid alone  bound  share  whole search")
    for radius, extent in CASES:
        for dtype in (torch.float32, torch.bfloat16):
            measure(radius, extent, dtype, device)


def measure(radius: int, extent: float, dtype: torch.dtype, device: torch.device) -> None:
    """Print the figures of one case."""
    settings = GridSettings(radius_start=radius, radius_end=31, shift_extent_px=extent)
    generator = torch.Generator().manual_seed(0)
    disc = Disc.of(HalfLattice.disc(BOX_SIZE), 31, device)
    volume = torch.randn(1, *[box_within(31)] * 3, generator=generator).to(device)
    reference, variance = Slices(volume, 31), torch.ones(len(disc.points), device=device)
    common = (reference, disc, variance, settings)
    first = PoseFinder(*common, [radius], BOX_SIZE, dtype=dtype)
    whole = PoseFinder(*common, settings.radii(31), BOX_SIZE, dtype=dtype)
    count = first.batch_size
    images = torch.randn(count, len(disc.points), 2, generator=generator).to(device)
    ctf = torch.rand(count, len(disc.points), generator=generator).to(device)

    rows = count * len(first._shifts)
    values = 2 * disc.count(radius)
    left = torch.randn(rows, values, device=device).to(dtype)
    right = torch.randn(values, len(first._rotations), device=device).to(dtype)
    alone, bound, all_levels = medians(
        device,
        lambda: first.find(images, ctf),
        lambda: left @ right,
        lambda: whole.find(images, ctf),
    )
    print(
        f"{len(first._shifts):6}  {str(dtype).removeprefix('torch.'):8}  {count / alone:10.0f}"
        f"  {count / bound:5.0f}  {100 * bound / alone:4.0f} %  {count / all_levels:8.1f}"
    )


def medians(device: torch.device, *ways: Callable[[], object]) -> list[float]:
    """Seconds of each way, the medians of turns in which all are measured one after another."""
    taken: list[list[float]] = [[] for _ in ways]
    for turn in range(REPETITIONS + 1):
        for way, seconds in zip(ways, taken, strict=True):
            started = time.perf_counter()
            way()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:
                seconds.append(time.perf_counter() - started)
    return [sorted(seconds)[len(seconds) // 2] for seconds in taken]


if __name__ == "__main__":
    main()
