"""From stored images to centred transforms: window, sign, transform, scale, shift."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.errors import MetadataError, NumericalError
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.shifts import shift_transform
from cryodrgn.fourier.transforms import images_from_lattice, transform_on_lattice
from cryodrgn.imaging.aberrations import without_phases, zernike_phases
from cryodrgn.imaging.ctf import (
    MULTIPLIED,
    CtfParameters,
    recorded_transfer,
    whitening,
)
from cryodrgn.imaging.exposure import ExposureParameters, damage_at
from cryodrgn.imaging.masks import circular_window
from cryodrgn.particles.image_table import ImageTable
from cryodrgn.particles.optics import CtfTable
from cryodrgn.particles.particle_set import ParticleSet

SCALE_SAMPLE = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """Preprocessing of images: window, sign, normalisation.

    Attributes:
        window_radius: Radius, as a fraction of half the box, at which the soft window in real
            space begins to fall; None applies no window.
        invert: Whether to change the sign of the data, for particles white on black.
        offset: Subtracted from the Hartley values of the images.
        scale: Divides them after that.
    """

    window_radius: float | None = None
    invert: bool = False
    offset: float = 0.0
    scale: float = 1.0


def preprocess(
    images: Float[Tensor, "batch box box"],
    lattice: HalfPlaneFrequencies,
    settings: Preprocessing,
    shifts: Float[Tensor, "batch 2"] | None = None,
) -> Float[Tensor, "batch points 2"]:
    """Window, transform, scale and shift images.

    Args:
        images: Real images.
        lattice: Where the transform is wanted, in cycles per side of the images.
        settings: What to do.
        shifts: Translations (x, y) in pixels of the images' content; None moves nothing.

    Returns:
        Transforms as pairs (real, imaginary).
    """
    box_size = images.shape[-1]
    factor = (-1 if settings.invert else 1) / settings.scale
    if settings.window_radius is not None:
        images = images * (circular_window(box_size, settings.window_radius) * factor)
        factor = 1.0
    values = transform_on_lattice(images, lattice, shifts)
    if factor != 1:
        values *= factor
    if settings.offset:
        frequencies = lattice.points / images.shape[-1]
        values -= _constant(settings.offset / settings.scale, frequencies, shifts)
    return values


def _constant(
    value: float,
    frequencies: Float[Tensor, "points 2"],
    shifts: Float[Tensor, "batch 2"] | None,
) -> Float[Tensor, "#batch points 2"]:
    """The transform whose Hartley values, before the shift, are all the same.

    A constant on all Re − Im, at k and at −k, is one on the real part.
    """
    constant = torch.tensor([value, 0.0]).expand(1, len(frequencies), 2)
    if shifts is None:
        return constant
    constant = constant.expand(len(shifts), -1, -1)
    return shift_transform(constant, frequencies[None], shifts)


def prepare_images(
    images: ImageTable,
    rows: Int[np.ndarray, " rows"],
    lattice: HalfPlaneFrequencies,
    settings: Preprocessing,
    *,
    centred: bool = True,
) -> Float[Tensor, "rows points 2"]:
    """Transforms of some images, preprocessed and, if wanted, centred by their shifts.

    Antisymmetric aberrations are removed from them, see :mod:`cryodrgn.imaging.aberrations`.

    Args:
        images: The images. If they are cropped, the lattice is that of the cropped box, whose
            transform is part of that of the whole image.
        rows: Which ones.
        lattice: Where the transforms are wanted.
        settings: What is done to the images.
        centred: Whether to apply the shifts.
    """
    pixels = read_whitened(images, rows)
    shifts = None
    if images.poses is not None and centred:
        stored = images.pixel_sizes[rows] * (images.box_size / pixels.shape[-1])
        in_pixels = images.poses.shifts[rows] / stored[:, None]
        shifts = torch.from_numpy(in_pixels.astype(np.float32))
    values = preprocess(pixels, lattice, settings, shifts)
    if images.ctf is None or images.ctf.odd_zernike is None:
        return values
    coefficients = torch.from_numpy(images.ctf.odd_zernike[rows])
    frequencies = spatial_frequencies(images, rows, lattice)
    return without_phases(values, zernike_phases(frequencies, coefficients, is_odd=True))


def read_whitened(
    images: ImageTable, rows: Int[np.ndarray, " rows"]
) -> Float[Tensor, "rows box box"]:
    """Some images as they are stored; those that were multiplied by their CTF, divided again.

    The divisor is the magnitude of the CTF, by which their noise becomes white
    (:func:`~cryodrgn.imaging.ctf.whitening`). It is divided out before any window is applied,
    as the multiplication was without one.

    Args:
        images: The images.
        rows: Which ones.
    """
    pixels = torch.from_numpy(images.read(rows))
    if images.ctf is None or images.ctf.correction is None:
        return pixels
    places = np.flatnonzero(images.ctf.correction[rows] == MULTIPLIED)
    if not len(places):
        return pixels
    chosen = rows[places]
    lattice = HalfPlaneFrequencies.square(pixels.shape[-1])
    sides = torch.from_numpy(images.side_lengths[chosen].astype(np.float32))
    frequencies = lattice.points / sides[:, None, None]
    factors = whitening(recorded_transfer(frequencies, ctf_parameters(images.ctf, chosen)))
    values = transform_on_lattice(pixels[places], lattice) * factors[..., None]
    pixels[places] = images_from_lattice(values, lattice)
    return pixels


def spatial_frequencies(
    images: ImageTable, rows: Int[np.ndarray, " rows"], lattice: HalfPlaneFrequencies
) -> Float[Tensor, "rows points 2"]:
    """Frequencies (kx, ky) of a lattice in 1/Å, by each image's own pixel size."""
    pixel_sizes = torch.from_numpy(images.pixel_sizes[rows])
    return lattice.frequencies / pixel_sizes[:, None, None]


def ctf_parameters(table: CtfTable, rows: Int[np.ndarray, " rows"]) -> CtfParameters:
    """CTF parameters of some images as tensors, with their symmetric aberrations."""
    columns = table.columns()
    columns |= {
        name: values
        for name, values in table.optional_columns().items()
        if name in {"even_zernike", "correction"}
    }
    return CtfParameters(
        **{name: torch.from_numpy(np.asarray(values[rows])) for name, values in columns.items()}
    )


def exposure_parameters(images: ImageTable) -> ExposureParameters | None:
    """Dose, tilt, B factor and damage of images as tensors; None where none is known."""
    columns = {
        "doses": images.doses,
        "tilt_angles": images.tilt_angles,
        "weights": images.weights,
        "b_factors": images.b_factors,
    }
    if all(values is None for values in columns.values()):
        return None
    if images.doses is not None and images.ctf is None:
        msg = (
            f"{images.source} gives doses, but no CTF parameters; dose weights need the voltage"
        )
        raise MetadataError(msg)
    found = {
        name: None if values is None else torch.from_numpy(values).float()
        for name, values in columns.items()
    }
    if images.ctf is not None and images.doses is not None:
        found["damage"] = damage_at(torch.from_numpy(images.ctf.voltage_kv))
    return ExposureParameters(**found)


def estimate_scale(
    particles: ParticleSet, lattice: HalfPlaneFrequencies, settings: Preprocessing
) -> float:
    """Root mean square of the transform where images are compared.

    Estimated, after the window, from the first images of up to 1000 particles spread evenly
    over the set.

    Raises:
        NumericalError: All images are zero.
    """
    count, first = min(len(particles), SCALE_SAMPLE), particles.first_images
    rows = np.linspace(0, len(particles) - 1, count).astype(np.int64)
    total, batch = 0.0, 100
    for start in range(0, count, batch):
        images = read_whitened(first, rows[start : start + batch])
        values = preprocess(images, lattice, settings)
        total += float(values.double().square().sum(-1).mean(-1).sum())
    if not total > 0:
        msg = f"{particles.source}: all images are zero"
        raise NumericalError(msg)
    return (total / count) ** 0.5
