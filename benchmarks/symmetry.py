"""Maps with symmetry, and with a curved Ewald sphere, beside those of sets without the term.

    python benchmarks/symmetry.py [--box 64] [--images 1200]

Images are those of atoms by plain numpy (tests/atom_images.py): every atom has a defocus of its
own. The figures are areas under the Fourier shell correlation with the density of the atoms
(0.5 is perfect), and stand in docs/symmetry.md.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from atom_images import Microscope, particle_set, rotations
from cryodrgn.data.preprocessing import Preprocessing
from cryodrgn.fourier.shells import fourier_shell_correlation
from cryodrgn.geometry.symmetry import point_group
from cryodrgn.reconstruction.backproject import backproject

ATOMS, NOISE = 40, 2.0
# Å/px at 10 kV: the rim of the particle is then 1.5 and 3 radians out of phase at the edge.
PIXEL_SIZES = (1.0, 0.5)
GROUPS = ("D7", "O", "I1")


def area(particles, truth, **how):
    """Area under the correlation of a map with the truth."""
    found = backproject(particles, Preprocessing(), **how).volume
    return fourier_shell_correlation(found, torch.from_numpy(truth)).area()


def ball(rng, radius, count):
    """Atoms spread evenly over a ball."""
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions * radius * rng.uniform(size=(count, 1)) ** (1 / 3)


def curvature_rows(box, count):
    """Rows of the table, one for every size of the term."""
    for pixel_size in PIXEL_SIZES:
        rng = np.random.default_rng(1)
        flat = Microscope(
            box=box, pixel_size=pixel_size, voltage=10.0, cs=0.0, width=0.6 * pixel_size
        )
        atoms = ball(rng, 0.32 * box * pixel_size, ATOMS)
        truth, poses = flat.volume(atoms), rotations(count, rng)
        images = {
            sign: particle_set(
                atoms,
                poses,
                replace(flat, curvature=sign),
                np.random.default_rng(2),
                noise=NOISE,
            )
            for sign in (0, 1)
        }
        edge = np.pi * flat.wavelength * 0.32 * box * pixel_size * (0.5 / pixel_size) ** 2
        yield [
            f"Ewald sphere, rim {edge:.1f} rad out of phase at Nyquist",
            area(images[0], truth),
            area(images[1], truth, ewald=1),
            area(images[1], truth),
            area(images[1], truth, ewald=-1),
        ]


def symmetry_rows(box, count):
    """Rows of the table, one for every point group."""
    for name in GROUPS:
        rng, group = np.random.default_rng(3), point_group(name)
        microscope = Microscope(box=box, pixel_size=2.0)
        unit = ball(rng, 0.32 * box * 2.0, max(2, 120 // len(group)))
        atoms = np.concatenate([unit @ mate.T for mate in group])
        truth, poses = microscope.volume(atoms), rotations(count // len(group), rng)
        everywhere = (poses[:, None] @ group[None]).reshape(-1, 3, 3)
        few, many = (
            particle_set(atoms, p, microscope, np.random.default_rng(4), noise=NOISE)
            for p in (poses, everywhere)
        )
        yield [
            f"{name}: {len(poses)} images for {len(everywhere)}",
            area(many, truth),
            area(few, truth, symmetry=name),
            area(few, truth),
            area(few, truth, symmetry="C11"),
        ]


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--images", type=int, default=1200)
    args = parser.parse_args()
    print("| term | set without it | accounted for | ignored | wrong sign or group |")
    print("|---|---|---|---|---|")
    for rows in (curvature_rows, symmetry_rows):
        for words, *areas in rows(args.box, args.images):
            print(f"| {words} | {' | '.join(f'{a:.3f}' for a in areas)} |", flush=True)


if __name__ == "__main__":
    main()
