"""Verdicts of ``cryodrgn check`` on sets that are wrong in a known way: the table of the docs.

Run: python benchmarks/check_cases.py --images 1500 --docs docs/check.md
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cryodrgn.data.stack_changes import phase_flip
from cryodrgn.diagnosis.convention_verdict import judge
from cryodrgn.diagnosis.fit import QuickImages
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.particles.image_table import ImageTable
from cryodrgn.simulation.simulate import SimulationSettings, simulate
from cryodrgn.simulation.states import hinge_states

MARK = "<!-- table -->\n"
Case = Callable[[ImageTable], ImageTable]


class ChangedImages:
    """Images of a set, changed when they are read."""

    def __init__(self, images, change) -> None:
        self._images, self._change = images, change
        self.box_size = images.box_size

    def __len__(self) -> int:
        return len(self._images)

    def read(self, rows: np.ndarray) -> np.ndarray:
        return self._change(torch.from_numpy(self._images.read(rows)), rows).numpy()

    def select(self, rows: np.ndarray) -> "ChangedImages":
        raise NotImplementedError


def with_poses(images: ImageTable, **changes: object) -> ImageTable:
    return replace(images, poses=replace(images.require_poses(), **changes))


def with_ctf(images: ImageTable, **changes: object) -> ImageTable:
    return replace(images, ctf=replace(images.ctf, **changes))


def with_images(images: ImageTable, change: Callable) -> ImageTable:
    return replace(images, pixels=ChangedImages(images.pixels, change))


def reordered(images: ImageTable, order: np.ndarray) -> ImageTable:
    return replace(images, poses=images.poses.select(order), ctf=images.ctf.select(order))


def upside_down(images: ImageTable) -> ImageTable:
    """Images mirrored about the row of their origin."""
    return with_images(images, lambda pixels, _: torch.roll(pixels.flip(1), 1, 1))


def flipped(images: ImageTable) -> ImageTable:
    return with_images(images, phase_flip(images.ctf, images.pixel_sizes))


def cases(bare: ImageTable) -> dict[str, tuple[Case, str]]:
    """What is done to a good set, and the words that the verdict must hold."""
    rng = np.random.default_rng(0)
    count = len(bare)
    return {
        "good": (lambda p: p, ""),
        "white particles": (lambda p: with_images(p, lambda i, _: -i), "sign must be inverted"),
        "rotations inverted": (
            lambda p: with_poses(p, rotations=p.poses.rotations.transpose(0, 2, 1).copy()),
            "rotations are the inverse",
        ),
        "y axis reversed": (upside_down, "y axis of the images is reversed"),
        "shifts of the wrong sign": (
            lambda p: with_poses(p, shifts=-p.poses.shifts),
            "shifts have the wrong sign",
        ),
        "shifts exchanged (x, y)": (
            lambda p: with_poses(p, shifts=p.poses.shifts[:, ::-1].copy()),
            "x and y of the shifts are exchanged",
        ),
        "wrong box (shifts halved)": (
            lambda p: with_poses(p, shifts=p.poses.shifts / 2),
            "shifts must be doubled",
        ),
        "wrong box (shifts doubled)": (
            lambda p: with_poses(p, shifts=p.poses.shifts * 2),
            "shifts must be halved",
        ),
        "defocus U and V swapped": (
            lambda p: with_ctf(p, defocus_u=p.ctf.defocus_v, defocus_v=p.ctf.defocus_u),
            "defocus U and V are exchanged",
        ),
        "defocus angle mirrored": (
            lambda p: with_ctf(p, defocus_angle=-p.ctf.defocus_angle),
            "defocus angle has the wrong sign",
        ),
        "images phase flipped": (flipped, "phase flipped already"),
        "images without CTF": (lambda p: replace(p, pixels=bare.pixels), "carry no CTF"),
        "pixel size × 1.25": (
            lambda p: replace(p, pixel_sizes=p.pixel_sizes * np.float32(1.25)),
            "pixel size of the CTF must be multiplied by 0.",
        ),
        "pixel size × 0.7": (
            lambda p: replace(p, pixel_sizes=p.pixel_sizes * np.float32(0.7)),
            "pixel size of the CTF must be multiplied by 1.",
        ),
        "wrong box in ctf.pkl (× 2)": (
            lambda p: with_poses(
                replace(p, pixel_sizes=p.pixel_sizes * 2), shifts=p.poses.shifts * 2
            ),
            "pixel size of the CTF must be multiplied by 0.",
        ),
        "rows shuffled": (
            lambda p: reordered(p, rng.permutation(count)),
            "do not belong to these images",
        ),
        "rows off by one": (
            lambda p: reordered(p, (np.arange(count) + 1) % count),
            "one row too",
        ),
    }


def simulated(folder: Path, snr: float, num_images: int, *, has_ctf: bool = True) -> ImageTable:
    state = hinge_states(1, 90.0, 64, 3.0)
    settings = SimulationSettings(
        num_images=num_images, pixel_size=3.0, snr=snr, astigmatism=1500.0, has_ctf=has_ctf
    )
    files = simulate(state.volumes, settings, folder)
    return open_particles(ParticleFiles(particles=files.star)).images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--snr", type=float, nargs="+", default=[0.3, 0.1, 0.03])
    parser.add_argument("--cases", nargs="+", help="only these")
    parser.add_argument(
        "--docs", type=Path, help="write the table behind the mark in this page"
    )
    args = parser.parse_args()
    rows: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for snr in args.snr:
            good = simulated(Path(scratch) / f"{snr}", snr, args.images)
            bare = simulated(Path(scratch) / f"{snr}-bare", snr, args.images, has_ctf=False)
            for name, (change, words) in cases(bare).items():
                if args.cases and name not in args.cases:
                    continue
                started = time.monotonic()
                images = change(good)
                verdict = judge(QuickImages(images, np.arange(len(images))))
                right = words in "; ".join(verdict.changes) if words else verdict.passed
                only = len(verdict.changes) == bool(words)
                mark = ("✓" if only else "✓ +") if right else "✗"
                said = "; ".join(verdict.changes) or "passed"
                rows.setdefault(name, []).append(f"{mark} {said}")
                seconds = time.monotonic() - started
                print(f"{name:28} snr {snr:5} {seconds:5.1f} s  {mark} {said}", flush=True)
    if args.docs is not None:
        titles = " | ".join(f"signal to noise {snr:g}" for snr in args.snr)
        lines = [f"| what is wrong | {titles} |", "|---" * (len(args.snr) + 1) + "|"]
        lines += [f"| {name} | {' | '.join(said)} |" for name, said in rows.items()]
        before, mark, _ = args.docs.read_text().partition(MARK)
        args.docs.write_text(before + mark + "\n".join(["", *lines, ""]))


if __name__ == "__main__":
    main()
