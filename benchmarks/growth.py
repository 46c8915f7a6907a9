"""How time and memory of training grow with images, box and width, as a picture.

    python benchmarks/growth.py

Every point is a ``train_vae`` of its own: seconds per epoch from its metrics, memory the most
that its process held. A straight line through the first and last of the measured points goes on
to a million images. Writes docs/growth.png and prints the figures.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import matplotlib.ticker
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

PAGE = Path(__file__).parent.parent / "docs" / "growth.png"
COUNTS, BOXES, WIDTHS = (1000, 4000, 16000), (32, 64, 128, 256), (128, 256, 512, 1024)
MOST, LAYERS, BATCH = 1_000_000, 3, 8
# Images that one point is measured on, so that it takes seconds, by box and by width.
OF_BOX = {32: 2000, 64: 1000, 128: 400, 256: 160}
OF_WIDTH = {128: 1500, 256: 1000, 512: 500, 1024: 200}


@dataclass(frozen=True)
class Point:
    """One run: its size, milliseconds of training per image, and bytes of memory."""

    images: int
    box: int
    width: int
    ms_per_image: float
    memory: int

    @property
    def epoch_seconds(self) -> float:
        return self.images * self.ms_per_image / 1000


def measure(images: int, box: int, width: int, threads: int) -> Point:
    """Train one epoch; its pace is the median between its reports."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    base = [sys.executable, "-m", "cryodrgn"]
    with tempfile.TemporaryDirectory() as name:
        words = ["simulate", "-D", box, "--Apix", 192 / box, "-n", images, "-o", name]
        quiet = subprocess.DEVNULL
        subprocess.run([*base, *map(str, words)], check=True, stdout=quiet, stderr=quiet)
        run = Path(name) / "run"
        words = ["train_vae", Path(name) / "particles.star", "--zdim", 8, "-n", 1, "-b", BATCH]
        words += ["--qdim", width, "--pdim", width, "--qlayers", LAYERS, "--players", LAYERS]
        words += ["--log-interval", max(BATCH, images // 8), "-o", run, "--device", "cpu"]
        process = subprocess.Popen(
            [*base, *map(str, words)], stdout=quiet, stderr=quiet, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"training {images} images of {box} px failed")
        header, *rows = (line.strip().split(",") for line in (run / "metrics.csv").open())
    seen, clock = header.index("images"), header.index("seconds")
    times, counts = (np.array([float(row[column]) for row in rows]) for column in (clock, seen))
    pace = float(np.median(np.diff(times) / np.diff(counts)))
    point = Point(images, box, width, 1000 * pace, 1024 * usage.ru_maxrss)
    print(
        f"{images:6} images, {box:3} px, {width:4}×{LAYERS}: "
        f"{point.ms_per_image:8.2f} ms/image, "
        f"{point.epoch_seconds:7.1f} s/epoch, {point.memory / 1e6:6.0f} MB",
        flush=True,
    )
    return point


def exponent(sizes: list[float], values: list[float]) -> float:
    """Slope between the last two points on logarithmic axes."""
    return float(np.log(values[-1] / values[-2]) / np.log(sizes[-1] / sizes[-2]))


def draw(panels: list[tuple[str, list[int], list[Point]]], title: str) -> None:
    """Time above, memory below; a panel for everything that grows."""
    figure, axes = plt.subplots(2, len(panels), figsize=(11, 6.5), layout="constrained")
    for column, (label, sizes, points) in enumerate(panels):
        by_count = label.startswith("images")
        time = [p.epoch_seconds if by_count else p.ms_per_image for p in points]
        memory = [p.memory / 1e9 for p in points]
        above, below = axes[:, column]
        above.set_yscale("log")
        for axis, values in ((above, time), (below, memory)):
            axis.set_xscale("log")
            axis.plot(sizes, values, "o-", color="tab:blue", label="measured")
            if by_count:
                _extrapolate(axis, sizes, values, "s" if axis is above else "GB")
            else:
                axis.set_xticks(sizes, map(str, sizes))
                axis.set_xticks([], minor=True)
            axis.yaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:g}"))
            axis.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
            axis.grid(alpha=0.3)
        below.set_ylim(0, 1.15 * below.get_ylim()[1])
        if not by_count:
            above.set_title(f"exponent of the last step {exponent(sizes, time):.2f}", size=10)
        above.set_ylabel("s per epoch" if by_count else "ms per image")
        below.set_ylabel("GB")
        below.set_xlabel(label)
    figure.suptitle(title)
    figure.savefig(PAGE, dpi=110)


def _extrapolate(axis: plt.Axes, sizes: list[int], values: list[float], unit: str) -> None:
    """On along a straight line, which both time and memory follow in the number of images."""
    slope = (values[-1] - values[0]) / (sizes[-1] - sizes[0])
    beyond = np.geomspace(sizes[-1], MOST, 50)
    line = values[-1] + slope * (beyond - sizes[-1])
    axis.plot(beyond, line, "--", color="tab:blue", label="extrapolated")
    axis.annotate(
        f"{line[-1]:,.{0 if line[-1] > 100 else 1}f} {unit}",
        (MOST, line[-1]),
        xytext=(-8, 0),
        textcoords="offset points",
        ha="right",
        va="center",
    )
    axis.legend(loc="upper left")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    counts = [measure(count, 32, 128, args.threads) for count in COUNTS]
    boxes = [measure(OF_BOX[box], box, 256, args.threads) for box in BOXES]
    widths = [measure(OF_WIDTH[width], 64, width, args.threads) for width in WIDTHS]
    panels = [
        (f"images (32 px, 128×{LAYERS})", list(COUNTS), counts),
        (f"box in px (256×{LAYERS})", list(BOXES), boxes),
        (f"width (64 px, {LAYERS} layers)", list(WIDTHS), widths),
    ]
    draw(panels, f"train_vae on {args.threads} processor cores, batch {BATCH}")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
