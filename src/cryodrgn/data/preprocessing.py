"""From stored images to centred transforms: window, sign, transform, scale, shift."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.devices import to_device
from cryodrgn.errors import MetadataError, NumericalError
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.shifts import shift_transform
from cryodrgn.fourier.transforms import transform_at, transform_on_lattice
from cryodrgn.imaging.aberrations import without_phases, zernike_phases
from cryodrgn.imaging.ctf import (
    MULTIPLIED,
    CtfParameters,
    recorded_transfer,
    whitening,
)
from cryodrgn.imaging.exposure import ExposureParameters, damage_at
from cryodrgn.imaging.masks import circular_window, moved_windows
from cryodrgn.imaging.slices import magnified
from cryodrgn.particles.image_table import ImageTable
from cryodrgn.particles.optics import CtfTable
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.particles.sampling import Sampling

SCALE_SAMPLE = 1000
PROCESSOR = torch.device("cpu")


def preparing_device(device: torch.device) -> torch.device:
    """Device on which images are prepared: the given one if it can, else the processor."""
    return device if device.type == "cuda" else PROCESSOR


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
        window = circular_window(box_size, settings.window_radius) * factor
        images = images * to_device(window, images.device)
        factor = 1.0
    values = transform_on_lattice(images, lattice, shifts)
    if factor != 1:
        values *= factor
    if settings.offset:
        frequencies = to_device(lattice.points / images.shape[-1], images.device)
        values -= _constant(settings.offset / settings.scale, frequencies, shifts)
    return values


def preprocess_on(
    sampling: Sampling,
    images: Float[Tensor, "batch height width"],
    pixel_size: float,
    lattice: HalfPlaneFrequencies,
    settings: Preprocessing,
    shifts: Float[Tensor, "batch 2"] | None = None,
    *,
    centred: bool = True,
) -> Float[Tensor, "batch points 2"]:
    """Window, transform, scale and shift images of another pixel size or shape than a lattice.

    The transform is evaluated at the physical frequencies of the lattice, which is exact, and
    is zero beyond the images' own Nyquist frequency. What lies beyond the lattice's field of
    view is cut off; where images show less, there is zero. The window has the radius in Å that
    it has in images of the lattice's own kind, and lies around the particle; in images that
    show no more than the lattice, it is theirs.

    Values are multiplied by the ratio p / p₀ of the pixel sizes. Programs write images whose
    background has unit variance per pixel. At one dose the number of electrons in a pixel grows
    as p², so that the signal in units of its noise grows as p, while the number of pixels in an
    area falls as 1 / p²: with the factor p / p₀ the same molecule has the same transform, and
    noise of unit variance the same spectrum. Groups taken at another dose, or with another
    detector, differ in noise all the same, and in signal by the ratio of their noise.

    Args:
        sampling: Box and pixel size of the lattice.
        images: Real images.
        pixel_size: Their Å/px.
        lattice: Where the transform is wanted, in cycles per side of ``sampling``.
        settings: What to do.
        shifts: Translations (x, y) in Å that centre the particles; None takes these to stand in
            the middle of the images.
        centred: Whether to apply them; otherwise they only say where the particles are.
    """
    half_side = sampling.side_length / pixel_size / 2
    in_pixels = None if shifts is None else shifts / pixel_size
    window = _field_of_view(images, half_side, settings.window_radius, in_pixels)
    factor = (-1 if settings.invert else 1) / settings.scale
    factor *= pixel_size / sampling.unit_pixel_size
    inside = lattice.points.square().sum(-1) < sampling.band_limit(pixel_size) ** 2
    values = images.new_zeros(len(images), len(lattice), 2)
    step = pixel_size / sampling.side_length
    values[:, inside] = transform_at(images * (window * factor), lattice.points[inside], step)
    frequencies = lattice.points / sampling.side_length
    applied = shifts if centred else None
    if applied is not None:
        values = shift_transform(values, frequencies[None], applied)
    if settings.offset:
        values -= _constant(settings.offset / settings.scale, frequencies, applied)
        values[:, ~inside] = 0
    return values


def _field_of_view(
    images: Float[Tensor, "batch height width"],
    half_side: float,
    window_radius: float | None,
    shifts: Float[Tensor, "batch 2"] | None,
) -> Float[Tensor, "#batch height width"]:
    """Window, or square, in which images of another field of view are looked at.

    Args:
        images: The images.
        half_side: Half of the field of view in pixels of the images.
        window_radius: Where the window begins to fall; None looks at the whole square.
        shifts: What centres the particles, in pixels.
    """
    height, width = images.shape[-2:]
    shape = (height, width)
    middle = torch.zeros(1, 2)
    particles = middle if shifts is None else -shifts
    if window_radius is None:
        y, x = (torch.arange(side) - side // 2 for side in shape)
        inside = [
            (-half_side <= axis - place) & (axis - place < half_side)
            for axis, place in ((x, particles[:, :1]), (y, particles[:, 1:]))
        ]
        return (inside[1][..., None] & inside[0][:, None]).float()
    own = min(shape) / 2
    if own <= half_side:
        return moved_windows(shape, own, middle, window_radius)
    # Larger images show the surroundings of particles that do not stand in the middle.
    window = moved_windows(shape, half_side, particles, window_radius)
    return window * moved_windows(shape, own, middle, window_radius)


def _constant(
    value: float,
    frequencies: Float[Tensor, "points 2"],
    shifts: Float[Tensor, "batch 2"] | None,
) -> Float[Tensor, "#batch points 2"]:
    """The transform whose Hartley values, before the shift, are all the same.

    A constant on all Re − Im, at k and at −k, is one on the real part.
    """
    constant = to_device(torch.tensor([value, 0.0]), frequencies.device)
    constant = constant.expand(1, len(frequencies), 2)
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
    device: torch.device = PROCESSOR,
) -> Float[Tensor, "rows points 2"]:
    """Transforms of some images, preprocessed and, if wanted, centred by their shifts.

    Antisymmetric aberrations are removed from them, see :mod:`cryodrgn.imaging.aberrations`.

    Args:
        images: The images. If they are cropped, the lattice is that of the cropped box, whose
            transform is part of that of the whole image.
        rows: Which ones.
        lattice: Where the transforms are wanted.
        settings: What is done to the images.
        centred: Whether to apply the shifts. Images of which a part is cut out are cut about
            the particle, where shifts are known, either way.
        device: Where to compute.
    """
    values = prepare_as_recorded(
        images, rows, lattice, settings, centred=centred, device=device
    )
    if images.ctf is None or images.ctf.odd_zernike is None:
        return values
    coefficients = to_device(torch.from_numpy(images.ctf.odd_zernike[rows]), device)
    frequencies = spatial_frequencies(images, rows, lattice)
    frequencies = to_device(magnified(frequencies, magnifications_of(images, rows)), device)
    return without_phases(values, zernike_phases(frequencies, coefficients, is_odd=True))


def prepare_as_recorded(
    images: ImageTable,
    rows: Int[np.ndarray, " rows"],
    lattice: HalfPlaneFrequencies,
    settings: Preprocessing,
    *,
    centred: bool = True,
    device: torch.device = PROCESSOR,
) -> Float[Tensor, "rows points 2"]:
    """Transforms as :func:`prepare_images` makes them, their aberrations not removed.

    Arguments are the same.
    """
    if images.sampling is not None:
        # Images of several samplings are not the rule: these are resampled on the processor.
        values = _prepare_on(images.sampling, images, rows, lattice, settings, centred=centred)
        return to_device(values, device)
    pixels = to_device(read_whitened(images, rows), device)
    shifts = None
    if images.poses is not None and centred:
        stored = images.pixel_sizes[rows] * (images.box_size / pixels.shape[-1])
        in_pixels = images.poses.shifts[rows] / stored[:, None]
        shifts = to_device(torch.from_numpy(in_pixels.astype(np.float32)), device)
    return preprocess(pixels, lattice, settings, shifts)


def read_whitened(
    images: ImageTable, rows: Int[np.ndarray, " rows"]
) -> Float[Tensor, "rows height width"]:
    """Some images as they are stored; those that were multiplied by their CTF, divided again.

    The divisor is the magnitude of the CTF, by which their noise becomes white
    (:func:`~cryodrgn.imaging.ctf.whitening`). It is divided out before any window is applied,
    as the multiplication was without one.

    Args:
        images: The images.
        rows: Which ones, of one shape.
    """
    pixels = torch.from_numpy(images.read(rows))
    if images.ctf is None or images.ctf.correction is None:
        return pixels
    places = np.flatnonzero(images.ctf.correction[rows] == MULTIPLIED)
    if not len(places):
        return pixels
    chosen = rows[places]
    frequencies = stored_frequencies(
        pixels.shape[-2:],
        images.pixel_sizes_in_files[chosen],
        magnifications_of(images, chosen),
    )
    factors = whitening(recorded_transfer(frequencies, ctf_parameters(images.ctf, chosen)))
    pixels[places] = multiplied(pixels[places], factors)
    return pixels


def stored_frequencies(
    shape: Sequence[int],
    pixel_sizes: Float[np.ndarray, " images"],
    magnifications: Float[Tensor, "images 2 2"] | None = None,
) -> Float[Tensor, "images points 2"]:
    """Frequencies (kx, ky) in 1/Å of the real transform of images as they are stored.

    Args:
        shape: Height and width of the images in pixels.
        pixel_sizes: Å/px of each.
        magnifications: Matrix of each; None where all are 1.
    """
    ky, kx = torch.fft.fftfreq(shape[0]), torch.fft.rfftfreq(shape[1])
    per_pixel = torch.cartesian_prod(ky, kx).flip(-1)
    sizes = torch.from_numpy(pixel_sizes.astype(np.float32))
    return magnified(per_pixel / sizes[:, None, None], magnifications)


def multiplied(
    images: Float[Tensor, "images height width"], factors: Float[Tensor, "images points"]
) -> Float[Tensor, "images height width"]:
    """Images whose transform is multiplied at the points of :func:`stored_frequencies`."""
    values = torch.fft.rfft2(images)
    return torch.fft.irfft2(values * factors.view(values.shape), s=images.shape[-2:])


def _prepare_on(
    sampling: Sampling,
    images: ImageTable,
    rows: Int[np.ndarray, " rows"],
    lattice: HalfPlaneFrequencies,
    settings: Preprocessing,
    *,
    centred: bool,
) -> Float[Tensor, "rows points 2"]:
    """Transforms of some images of several kinds, each kind at a time."""
    values = torch.empty(len(rows), len(lattice), 2)
    kinds = np.column_stack([images.shapes_of(rows), images.pixel_sizes_in_files[rows]])
    for kind in np.unique(kinds, axis=0):
        places = np.flatnonzero((kinds == kind).all(1))
        chosen, pixel_size = rows[places], float(kind[2])
        pixels = read_whitened(images, chosen)
        shifts = None
        if images.poses is not None:
            shifts = torch.from_numpy(images.poses.shifts[chosen].astype(np.float32))
        if sampling.is_of(pixels.shape[-2:], pixel_size):
            applied = None if shifts is None or not centred else shifts / pixel_size
            found = preprocess(pixels, lattice, settings, applied)
        else:
            found = preprocess_on(
                sampling, pixels, pixel_size, lattice, settings, shifts, centred=centred
            )
        values[torch.from_numpy(places)] = found
    return values


def spatial_frequencies(
    images: ImageTable, rows: Int[np.ndarray, " rows"], lattice: HalfPlaneFrequencies
) -> Float[Tensor, "rows points 2"]:
    """Frequencies (kx, ky) of a lattice in 1/Å, by each image's own pixel size."""
    pixel_sizes = torch.from_numpy(images.pixel_sizes[rows])
    return lattice.frequencies / pixel_sizes[:, None, None]


def magnifications_of(
    images: ImageTable, rows: Int[np.ndarray, " rows"]
) -> Float[Tensor, "rows 2 2"] | None:
    """Magnification of some images as a tensor; None where no image has any."""
    if images.magnifications is None:
        return None
    return torch.from_numpy(images.magnifications[rows])


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
        "band_limits": _band_limits(images),
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


def _band_limits(images: ImageTable) -> Float[np.ndarray, " images"] | None:
    """Frequency in 1/Å beyond which each image shows nothing; None if all show everything."""
    limits = np.full(len(images), np.inf)
    if images.sampling is not None:
        sizes, kinds = np.unique(images.pixel_sizes_in_files, return_inverse=True)
        of_kinds = np.array([images.sampling.band_limit(size) for size in sizes.tolist()])
        limits = of_kinds[kinds.ravel()]
    if images.magnifications is not None:
        # Of what the image shows there, the volume knows nothing.
        stretched = np.linalg.norm(images.magnifications, ord=2, axis=(1, 2))
        known = np.floor(images.box_size / 2 / stretched - 0.5) + 0.5
        limits = np.where(stretched > 1, np.minimum(limits, known), limits)
    if np.isinf(limits).all():
        return None
    return limits / images.side_lengths


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
        chosen = rows[start : start + batch]
        values = prepare_images(first, chosen, lattice, settings, centred=False)
        total += float(values.double().square().sum(-1).mean(-1).sum())
    if not total > 0:
        msg = f"{particles.source}: all images are zero"
        raise NumericalError(msg)
    return (total / count) ** 0.5
