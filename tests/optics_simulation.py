"""Particle images of known optics, made by formulas of numpy alone.

Nothing here uses the forward model of the library: a molecule of Gaussian balls has a transform
that is known in closed form, in double precision; its slices are multiplied by what the optics
do at every frequency.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from cryodrgn.geometry.conventions import relion_angles_from_matrices
from cryodrgn.io.mrc import stack_writer
from cryodrgn.io.star import write_star

VOLTAGE_KV, CS_MM, CONTRAST = 300.0, 2.7, 0.1
# h / sqrt(2 m e V (1 + e V / 2 m c²)) in Å.
WAVELENGTH = 12.2643 / np.sqrt(3e5 + 0.978466e-6 * 9e10)
BALL = 0.8
Formula = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Term:
    """One term of the optics: what it does to the transform, and how files say it.

    Attributes:
        odd: Phase at (kx, ky) by which the transform of the image is turned, exp(iφ).
        even: Phase at (kx, ky) added to that of sin(phase − asin w), which the CTF is.
        matrix: M of the magnification: at k the image shows what stands at M k without it.
        amplitudes: Factors at (kx, ky) of even and of odd rows.
        state: What was done to the images after they were recorded.
        optics: Columns of the optics table, by name.
        columns: Columns of the particles, by name, for even and for odd rows.
    """

    odd: Formula | None = None
    even: Formula | None = None
    matrix: np.ndarray | None = None
    amplitudes: tuple[Formula, Formula] | None = None
    state: Literal["recorded", "flipped", "multiplied"] = "recorded"
    optics: Mapping[str, object] = field(default_factory=dict)
    columns: Mapping[str, tuple[object, object]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Design:
    """The set that a term is added to.

    Images are divided by the standard deviation of the first one without noise, or by
    ``contrast`` times the area of a pixel, and noise of the deviation ``noise`` is added.
    """

    box_size: int = 64
    pixel_size: float = 1.5
    num_images: int = 600
    noise: float = 0.2
    gain: float = 1.0
    views: int = 1
    num_balls: int = 40
    seed: int = 0
    contrast: float | None = None
    radius: float | None = None

    @property
    def frequencies(self) -> tuple[np.ndarray, np.ndarray]:
        """(kx, ky) in 1/Å on the half plane of numpy's rfft2."""
        rows = np.fft.fftfreq(self.box_size, self.pixel_size)
        columns = np.fft.rfftfreq(self.box_size, self.pixel_size)
        return np.meshgrid(columns, rows)

    @property
    def extent(self) -> float:
        """Radius of the molecule in Å."""
        return self.box_size * self.pixel_size / 4 if self.radius is None else self.radius

    def balls(self) -> np.ndarray:
        """Centres of the balls in Å, x, y, z, within a radius: a quarter of the box."""
        rng = np.random.default_rng(self.seed)
        points = rng.normal(size=(self.num_balls, 3))
        points /= np.linalg.norm(points, axis=1)[:, None]
        radii = rng.uniform(0, 1, self.num_balls) ** (1 / 3)
        points = points * (radii * self.extent)[:, None]
        return points - points.mean(0)

    def truth(self) -> np.ndarray:
        """The density on the grid of the box, z, y, x."""
        line = np.fft.fftfreq(self.box_size, self.pixel_size)
        kz, ky, kx = np.meshgrid(line, line, line, indexing="ij")
        transform = np.zeros(kx.shape, complex)
        for x, y, z in self.balls():
            transform += np.exp(-2j * np.pi * (kx * x + ky * y + kz * z))
        transform *= np.exp(-2 * (np.pi * BALL) ** 2 * (kx**2 + ky**2 + kz**2))
        volume = np.fft.ifftn(transform).real / self.pixel_size**3
        return np.fft.fftshift(volume).astype(np.float32)


def at_the_same_dose(design: Design, box_size: int, pixel_size: float) -> Design:
    """Other views at another sampling, normalised by their background as programs do.

    Noise has the same variance then, and the signal grows with the pixel.
    """
    ratio = pixel_size / design.pixel_size
    return replace(
        design,
        box_size=box_size,
        pixel_size=pixel_size,
        noise=design.noise / ratio,
        gain=ratio,
        views=design.views + 1,
        contrast=_contrast_of(design),
        radius=design.extent,
    )


def _contrast_of(design: Design) -> float:
    """By which a design divides its images without noise, per area of a pixel."""
    rotations, shifts, defoci = _views(
        design, np.random.default_rng(design.seed + design.views)
    )
    kx, ky = design.frequencies
    envelope = np.exp(-2 * (np.pi * BALL) ** 2 * (kx**2 + ky**2))
    placed = design.balls() @ rotations[0].T[:, :2] - shifts[0]
    values = _sum_of_waves(kx[0], ky[:, 0], placed) * envelope
    clean = np.fft.irfft2(values * recorded_ctf(kx, ky, defoci[0], 0.0), (design.box_size,) * 2)
    return float(clean.std() / design.pixel_size**2)


def _views(design: Design, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Rotations, shifts in Å and defoci of all images."""
    count = design.num_images
    rotations = random_rotations(count, rng)
    shifts = rng.uniform(-2, 2, (count, 2)) * design.pixel_size
    return rotations, shifts, rng.uniform(3000, 8000, count)


def random_rotations(count: int, rng: np.random.Generator) -> np.ndarray:
    """Rotations of even distribution, from normalised quaternions."""
    w, x, y, z = (lambda q: q / np.linalg.norm(q, axis=0))(rng.normal(size=(4, count)))
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def recorded_ctf(kx: np.ndarray, ky: np.ndarray, defocus: float, even: np.ndarray | float):
    """−√(1 − w²) sin χ − w cos χ, χ = π λ k² (Δz − ½ Cs λ² k²) (Mindell & Grigorieff 2003)."""
    squared = kx**2 + ky**2
    chi = np.pi * WAVELENGTH * squared * (defocus - CS_MM * 1e7 * WAVELENGTH**2 * squared / 2)
    chi = chi - even
    return -np.sqrt(1 - CONTRAST**2) * np.sin(chi) - CONTRAST * np.cos(chi)


def write_set(folder: Path, design: Design, term: Term) -> Path:
    """Write a stack and a star file of RELION 3.1; returns the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(design.seed + design.views)
    count, side = design.num_images, design.box_size
    (rotations, shifts, defoci), balls = _views(design, rng), design.balls()
    noise = rng.normal(size=(count, side, side))
    seen = kx, ky = design.frequencies
    if term.matrix is not None:
        (a, b), (c, d) = term.matrix
        kx, ky = a * kx + b * ky, c * kx + d * ky
    envelope = np.exp(-2 * (np.pi * BALL) ** 2 * (kx**2 + ky**2))
    even = 0.0 if term.even is None else term.even(kx, ky)
    turn = 1.0 if term.odd is None else np.exp(1j * term.odd(kx, ky))
    images = np.empty((count, side, side), np.float32)
    scale = None if design.contrast is None else design.contrast * design.pixel_size**2
    for row in range(count):
        # The rotation takes the molecule's frame to the image's, and the shift centres it.
        placed = balls @ rotations[row].T[:, :2]
        if term.matrix is None:
            values = _sum_of_waves(kx[0], ky[:, 0], placed - shifts[row]) * envelope
        else:
            waves = np.exp(
                -2j * np.pi * (kx[..., None] * placed[:, 0] + ky[..., None] * placed[:, 1])
            )
            moved = np.exp(2j * np.pi * (seen[0] * shifts[row, 0] + seen[1] * shifts[row, 1]))
            values = waves.sum(-1) * envelope * moved
        ctf = recorded_ctf(kx, ky, defoci[row], even)
        factor = 1.0 if term.amplitudes is None else term.amplitudes[row % 2](kx, ky)
        clean = np.fft.irfft2(values * ctf * turn * factor, (side, side))
        scale = clean.std() if scale is None else scale
        image = np.fft.rfft2(clean / scale + design.noise * noise[row])
        # Programs take the CTF that is positive at low frequencies.
        after = {"recorded": 1.0, "flipped": np.sign(-ctf), "multiplied": -ctf}[term.state]
        after = after * design.gain
        images[row] = np.fft.fftshift(np.fft.irfft2(image * after, (side, side)))
    with stack_writer(folder / "particles.mrcs", side, design.pixel_size) as writer:
        writer.append(images)
    write_table(folder / "particles.star", design, term, rotations, shifts, defoci)
    return folder / "particles.star"


def _sum_of_waves(kx: np.ndarray, ky: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Σ exp(−2πi k·x) over points, on a grid of frequencies."""
    along_x = np.exp(-2j * np.pi * np.outer(points[:, 0], kx))
    along_y = np.exp(-2j * np.pi * np.outer(points[:, 1], ky))
    return along_y.T @ along_x


def write_table(
    path: Path,
    design: Design,
    term: Term,
    rotations: np.ndarray,
    shifts: np.ndarray,
    defoci: np.ndarray,
) -> None:
    """Write the star file of a set, which says the term."""
    angles, count = relion_angles_from_matrices(rotations), len(rotations)
    particles = {
        "rlnImageName": [f"{row + 1:06d}@particles.mrcs" for row in range(count)],
        "rlnOpticsGroup": [1] * count,
        "rlnAngleRot": angles[:, 0].tolist(),
        "rlnAngleTilt": angles[:, 1].tolist(),
        "rlnAnglePsi": angles[:, 2].tolist(),
        "rlnOriginXAngst": shifts[:, 0].tolist(),
        "rlnOriginYAngst": shifts[:, 1].tolist(),
        "rlnDefocusU": defoci.tolist(),
        "rlnDefocusV": defoci.tolist(),
        "rlnDefocusAngle": [0.0] * count,
    }
    particles |= {name: (list(two) * count)[:count] for name, two in term.columns.items()}
    optics = {
        "rlnOpticsGroup": [1],
        "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnVoltage": [VOLTAGE_KV],
        "rlnSphericalAberration": [CS_MM],
        "rlnAmplitudeContrast": [CONTRAST],
        "rlnImagePixelSize": [design.pixel_size],
        "rlnImageSize": [design.box_size],
        "rlnImageDimensionality": [2],
    }
    write_star(
        path,
        {"optics": optics | {k: [v] for k, v in term.optics.items()}, "particles": particles},
    )


def magnification(*entries: float) -> Term:
    """The matrix of entries 00, 01, 10 and 11."""
    names = [f"rlnMagMat{place}" for place in ("00", "01", "10", "11")]
    matrix = np.array(entries).reshape(2, 2)
    return Term(matrix=matrix, optics=dict(zip(names, entries, strict=True)))


def joined(first: Path, second: Path, path: Path) -> Path:
    """One star file of two sets, the second in an optics group of its own; returns it."""
    texts = [star.read_text() for star in (first, second)]
    rows = [
        [
            f"{words[0].replace('@', f'@{star.parent}/')} {number} {' '.join(words[2:])}"
            for line in text.splitlines()
            if "@" in (words := [*line.split(), ""])[0]
        ]
        for number, (star, text) in enumerate(zip((first, second), texts, strict=True), 1)
    ]
    group = next(line for line in texts[1].splitlines() if line.startswith("1 opticsGroup1"))
    lines = []
    for line in texts[0].splitlines():
        if "@" not in line:
            lines.append(line)
        if line.startswith("1 opticsGroup1"):
            lines.append(group.replace("1 opticsGroup1", "2 opticsGroup2"))
    path.write_text("\n".join([*lines, *rows[0], *rows[1]]) + "\n")
    return path


def beam_tilt(x_mrad: float, y_mrad: float) -> Term:
    """Axial coma: exp(−2πi Cs λ² k² t·k)."""

    def phase(kx: np.ndarray, ky: np.ndarray) -> np.ndarray:
        product = (x_mrad * kx + y_mrad * ky) * 1e-3
        return -2 * np.pi * CS_MM * 1e7 * WAVELENGTH**2 * (kx**2 + ky**2) * product

    return Term(odd=phase, optics={"rlnBeamTiltX": x_mrad, "rlnBeamTiltY": y_mrad})


def trefoil(sine: float, cosine: float) -> Term:
    """k³ sin 3α and k³ cos 3α, the third and sixth number of rlnOddZernike."""

    def phase(kx: np.ndarray, ky: np.ndarray) -> np.ndarray:
        cube = (kx + 1j * ky) ** 3
        return sine * cube.imag + cosine * cube.real

    return Term(odd=phase, optics={"rlnOddZernike": f"[0,0,{sine:g},0,0,{cosine:g}]"})


def fourth_order(sine: float, cosine: float, spherical: float = 0.0) -> Term:
    """k⁴ sin 4α, k⁴ cos 4α and 6 k⁴, the last as Z₄₀ + 3 Z₂₀ + 2: by rlnEvenZernike."""

    def phase(kx: np.ndarray, ky: np.ndarray) -> np.ndarray:
        fourth, squared = (kx + 1j * ky) ** 4, kx**2 + ky**2
        return sine * fourth.imag + cosine * fourth.real + 6 * spherical * squared**2

    radial = f"{2 * spherical:g},0,{3 * spherical:g},0"
    numbers = f"[{radial},{sine:g},0,{spherical:g},0,{cosine:g}]"
    return Term(even=phase, optics={"rlnEvenZernike": numbers})


def b_factors(first: float, second: float) -> Term:
    """exp(−B k² / 4), with two B factors in turn."""

    def fall(b_factor: float) -> Formula:
        return lambda kx, ky: np.exp(-b_factor / 4 * (kx**2 + ky**2))

    columns = {"rlnCtfBfactor": (first, second)}
    return Term(amplitudes=(fall(first), fall(second)), columns=columns)


def scales(first: float, second: float) -> Term:
    """Two factors of the whole signal in turn."""
    factors = (lambda kx, ky: first + 0 * kx, lambda kx, ky: second + 0 * kx)
    return Term(amplitudes=factors, columns={"rlnCtfScalefactor": (first, second)})


def corrected(state: Literal["flipped", "multiplied"]) -> Term:
    """Images that were corrected for the CTF by another program."""
    name = {
        "flipped": "rlnCtfDataArePhaseFlipped",
        "multiplied": "rlnCtfDataAreCtfPremultiplied",
    }[state]
    return Term(state=state, optics={name: 1})
