"""Maps of sets with known optics, with each term accounted for, ignored, and of the wrong sign.

The images are made by numpy alone (tests/optics_simulation.py): 64 px of 1.5 Å, so that the
Nyquist frequency is 1/3 Å. Every map is backprojected and compared with the truth.

Run: python benchmarks/optics.py --docs docs/optics.md
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from cryodrgn.data.preprocessing import Preprocessing
from cryodrgn.fourier.shells import fourier_shell_correlation
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.reconstruction.backproject import backproject

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import optics_simulation as simulated

MARK = "<!-- table -->\n"
HEAD = """
| term | size | FSC area | possible | ignored | wrong sign | amplitude | ignored |
|---|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A map against the truth.

    Attributes:
        curve: Fourier shell correlation, shell by shell from the first.
        amplitude: Of the map along the truth.
    """

    curve: np.ndarray
    amplitude: float

    @property
    def area(self) -> float:
        return float(self.curve.mean())

    def with_information(self, shares: np.ndarray) -> float:
        """Area that is left where noise alone limits the map and images show less of it.

        Of a map whose correlation with the truth is F, F² / (1 − F²) is the ratio of signal to
        noise, which is proportional to the information of all images.
        """
        ratio = shares * self.curve**2 / (1 - self.curve**2).clip(1e-9)
        return float(np.sqrt(ratio / (1 + ratio)).mean())


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table; None where there is no such map.

    Attributes:
        information: Share of the information of the plain set that images of this one hold, by
            shell; None where it is all of it.
    """

    term: str
    size: str
    right: Compared
    ignored: Compared | None = None
    wrong: Compared | None = None
    information: np.ndarray | None = None

    def in_words(self, plain: Compared) -> str:
        areas = [one and f"{one.area:.4f}" for one in (self.right, self.ignored, self.wrong)]
        if self.information is not None:
            areas.insert(1, f"{plain.with_information(self.information):.4f}")
        else:
            areas.insert(1, None)
        maps = (self.right, self.ignored)
        sizes = [one and f"{one.amplitude / plain.amplitude:.2f}" for one in maps]
        cells = [self.term, self.size, *(words or "" for words in areas + sizes)]
        return f"| {' | '.join(cells)} |"


class Maps:
    """Backprojected maps against the truth of a design."""

    def __init__(self, design: simulated.Design) -> None:
        self.design = design
        self._truth = torch.from_numpy(design.truth())

    def simulated(self, term: simulated.Term) -> ParticleSet:
        with tempfile.TemporaryDirectory() as folder:
            star = simulated.write_set(Path(folder), self.design, term)
            particles = open_particles(ParticleFiles(particles=star))
            return particles.with_images({"pixels": InMemory(particles.images.pixels)})

    def mixed(self, box_size: int, pixel_size: float) -> ParticleSet:
        """The design, half of whose images have another box and pixel size."""
        count = self.design.num_images // 2
        first = replace(self.design, num_images=count)
        second = simulated.at_the_same_dose(first, box_size, pixel_size)
        with tempfile.TemporaryDirectory() as folder:
            stars = [
                simulated.write_set(Path(folder) / name, part, simulated.Term())
                for name, part in (("a", first), ("b", second))
            ]
            star = simulated.joined(*stars, Path(folder) / "both.star")
            particles = open_particles(ParticleFiles(particles=star))
            return particles.with_images({"pixels": InMemory(particles.images.pixels)})

    @property
    def frequencies(self) -> np.ndarray:
        """Those of the shells that are compared, in 1/Å."""
        curve = fourier_shell_correlation(self._truth, self._truth)
        return np.asarray(curve.frequencies)[1:-1] / self.design.pixel_size

    def compare(self, particles: ParticleSet) -> Compared:
        """The backprojected map against the truth."""
        volume = backproject(particles, Preprocessing(window_radius=0.85)).volume
        curve = fourier_shell_correlation(volume, self._truth).values[1:-1]
        amplitude = (volume * self._truth).sum() / self._truth.square().sum()
        return Compared(curve=curve.double().numpy(), amplitude=float(amplitude))


class InMemory:
    """Images of a stack whose file goes."""

    def __init__(self, stack) -> None:
        self.box_size, self._shapes = stack.box_size, stack.shapes
        self._images = [stack.read(np.array([row]))[0] for row in range(len(stack))]

    def __len__(self) -> int:
        return len(self._images)

    def shapes_of(self, rows):
        return self._shapes[rows]

    def read(self, rows):
        return np.stack([self._images[row] for row in rows])

    def fingerprint(self):
        return b""

    def select(self, rows):
        raise NotImplementedError


def samplings() -> Iterator[tuple[int, float]]:
    """Box and pixel size of every other image, of the same field of view."""
    yield from ((60, 1.6), (48, 2.0))


def magnifications() -> Iterator[tuple[str, simulated.Term]]:
    """Anisotropic magnifications, and the largest difference between their axes."""
    for size in (0.01, 0.02):
        entries = (1 + size, 0.4 * size, 0.6 * size, 1 - size)
        yield f"{100 * 2 * size:.0f} %", simulated.magnification(*entries)


def phases() -> Iterator[tuple[str, str, simulated.Term]]:
    """Aberrations, and their size as the phase at the Nyquist frequency."""
    for tilt in (0.8, 1.6):
        yield "beam tilt", f"{tilt} mrad", simulated.beam_tilt(tilt * 0.8, -tilt * 0.6)
    for size in (50, 100):
        yield "trefoil (Z₃₃)", f"{size} rad Å³", simulated.trefoil(size * 0.8, -size * 0.6)
    for size in (200, 400):
        term = simulated.fourth_order(size * 0.8, -size * 0.6)
        yield "tetrafoil (Z₄₄)", f"{size} rad Å⁴", term
    for size in (30, 60):
        yield "error of Cs (Z₄₀)", f"{size} rad Å⁴", simulated.fourth_order(0, 0, size)


def others(
    frequencies: np.ndarray,
) -> Iterator[tuple[str, str, simulated.Term, np.ndarray | None]]:
    """Attenuation of every other image, and images corrected before.

    With the share of the information of a set without the term that is left at frequencies.
    """
    for size in (30, 80):
        left = np.exp(-size * frequencies**2 / 2)
        yield "B factor", f"{size} Å²", simulated.b_factors(0, size), (1 + left) / 2
    for size in (0.7, 0.4):
        left = np.full_like(frequencies, (1 + size**2) / 2)
        yield "scale", f"{size}", simulated.scales(1, size), left
    yield "phase flipped", "", simulated.corrected("flipped"), None
    yield "premultiplied", "", simulated.corrected("multiplied"), None


def rows(maps: Maps) -> Iterator[Row]:
    """All lines of the table, the set without any term first."""
    yield Row(term="none", size="", right=maps.compare(maps.simulated(simulated.Term())))
    for box_size, pixel_size in samplings():
        particles = maps.mixed(box_size, pixel_size)
        yield Row(
            term="pixel size",
            size=f"half of the images {box_size} px of {pixel_size} Å",
            right=maps.compare(particles),
            ignored=maps.compare(as_if_alike(particles)),
            information=np.where(maps.frequencies < 0.5 / pixel_size, 1.0, 0.5),
        )
    for size, term in magnifications():
        particles = maps.simulated(term)
        turned = np.linalg.inv(particles.images.magnifications).astype(np.float32)
        yield Row(
            term="magnification",
            size=size,
            right=maps.compare(particles),
            ignored=maps.compare(particles.with_images({"magnifications": None})),
            wrong=maps.compare(particles.with_images({"magnifications": turned})),
        )
    for name, size, term in phases():
        particles = maps.simulated(term)
        ctf = particles.images.ctf
        turned = {
            column: -values
            for column, values in ctf.optional_columns().items()
            if column in {"odd_zernike", "even_zernike"}
        }
        yield Row(
            term=name,
            size=f"{size}, {_phase(maps.design, term):.0f}° at 3 Å",
            right=maps.compare(particles),
            ignored=maps.compare(with_ctf(particles, odd_zernike=None, even_zernike=None)),
            wrong=maps.compare(with_ctf(particles, **turned)),
        )
    for name, size, term, information in others(maps.frequencies):
        particles = maps.simulated(term)
        bare = particles.with_images({"b_factors": None, "weights": None})
        yield Row(
            term=name,
            size=size,
            right=maps.compare(particles),
            ignored=maps.compare(with_ctf(bare, correction=None)),
            information=information,
        )


def as_if_alike(particles: ParticleSet) -> ParticleSet:
    """The set whose images all have, as is said, the pixel size of the first."""
    sizes = np.full(len(particles), particles.images.sampling.pixel_size, np.float32)
    return particles.with_images({"stored_pixel_sizes": sizes})


def with_ctf(particles: ParticleSet, **changes: object) -> ParticleSet:
    return particles.with_images({"ctf": replace(particles.images.ctf, **changes)})


def _phase(design: simulated.Design, term: simulated.Term) -> float:
    """Largest phase in degrees on the ring of the Nyquist frequency."""
    angles, nyquist = np.deg2rad(np.arange(360)), 0.5 / design.pixel_size
    formula = term.odd or term.even
    assert formula is not None
    return float(
        np.rad2deg(abs(formula(nyquist * np.cos(angles), nyquist * np.sin(angles)))).max()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--noise", type=float, default=0.2)
    parser.add_argument("--docs", type=Path)
    arguments = parser.parse_args()
    design = simulated.Design(num_images=arguments.images, noise=arguments.noise)
    lines, plain = [], None
    for row in rows(Maps(design)):
        plain = plain or row.right
        lines.append(row.in_words(plain))
        print(lines[-1], flush=True)
    if arguments.docs is not None:
        before, _ = arguments.docs.read_text().split(MARK)
        table = HEAD + "\n".join(lines) + "\n"
        arguments.docs.write_text(before + MARK + table)


if __name__ == "__main__":
    main()
