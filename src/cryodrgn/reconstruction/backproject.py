"""Reconstruction of a volume from posed images by backprojection onto a voxel grid.

Transforms of images are spread with trilinear weights onto the transform of a volume of twice
the box. The volume is cut back to the box and freed of the weights' envelope, sinc² along each
axis (gridding correction, O'Sullivan 1985). Images are periodic in that: their copies, which
begin where the box ends, reach its corners, so that only the sphere within it is kept. It fades
out as the window of the images does: what a sharp edge cuts off, errors of low frequency above
all, would spread over all shells.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.data.preprocessing import (
    Preprocessing,
    ctf_parameters,
    exposure_parameters,
    magnifications_of,
    prepare_images,
    preparing_device,
    spatial_frequencies,
)
from cryodrgn.devices import to_device
from cryodrgn.errors import BadImageError, ShapeMismatchError
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.half_grid import RfftVolumeGrid, interpolation_envelope
from cryodrgn.fourier.shells import ShellCurve, fourier_shell_correlation, sums_by_place
from cryodrgn.imaging.ctf import contrast_transfer
from cryodrgn.imaging.ewald import Curvature, Sidebands, sidebands
from cryodrgn.imaging.exposure import ExposureParameters, exposure_weights
from cryodrgn.imaging.likelihood import matched_terms, transfer_function
from cryodrgn.imaging.masks import soft_sphere
from cryodrgn.imaging.slices import magnified, mates_of, slice_axes, slice_coordinates
from cryodrgn.io.curves import write_fsc
from cryodrgn.io.map_geometry import MapGeometry
from cryodrgn.io.mrc import write_volume
from cryodrgn.kernels.gridding import SliceAccumulator
from cryodrgn.parallel import ALONE, Team
from cryodrgn.particles.half_sets import halves_of
from cryodrgn.particles.image_table import ImageTable
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.progress import Progress
from cryodrgn.reconstruction.map_agreement import NOT_REACHED, resolution_in_words
from cryodrgn.reconstruction.wiener import filter_by_distance, signal_to_noise
from cryodrgn.rundir import ReconstructionFiles

logger = logging.getLogger(__name__)

PADDING = 2
POINTS_PER_BATCH = 1_000_000
# A voxel that got less than this share of its shell's mean weight is damped towards zero: in
# the map of all images, and in half maps, whose noise it would rule.
LEAST_WEIGHT, HALF_MAP_DAMPING = 1e-3, 1e-2
# Width in voxels in which volumes fade out beyond the sphere that every image shows, where
# images are not windowed.
EDGE = 4.0
CtfCorrection = Literal["multiply", "flip"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reconstruction:
    """A backprojected volume and what tells how good it is.

    Attributes:
        volume: From all images, Wiener-filtered by the correlation of the half maps: by
            shell, and by distance from the centre.
        half_maps: From the particles of each half set, unfiltered.
        fsc: Fourier shell correlation of the half maps.
    """

    volume: Float[Tensor, "box box box"]
    half_maps: tuple[Float[Tensor, "box box box"], Float[Tensor, "box box box"]]
    fsc: ShellCurve


def backproject(
    particles: ParticleSet,
    settings: Preprocessing,
    *,
    ctf_correction: CtfCorrection = "multiply",
    symmetry: str = "C1",
    ewald: Curvature = 0,
    device: torch.device | None = None,
    team: Team = ALONE,
) -> Reconstruction:
    """Reconstruct a volume from all of a set's images.

    Args:
        particles: Images with poses and, unless they carry none, CTF parameters.
        settings: How images are preprocessed.
        ctf_correction: ``multiply`` weights every value by its CTF, which is the least-squares
            solution; ``flip`` only corrects the sign.
        symmetry: Point group of the map, at all mates of which every image is added, see
            :mod:`cryodrgn.geometry.symmetry`.
        ewald: Hand of the curvature of the Ewald sphere, see :mod:`cryodrgn.imaging.ewald`; 0
            takes it for flat.
        device: Where to compute, the processor by default.
        team: Processes that share the images; all get the whole result.

    Raises:
        MetadataError: There are no poses.
        BadImageError: An image cannot be computed with.
        ShapeMismatchError: There are fewer than two different images.
    """
    if particles.num_different < 2:
        msg = (
            f"{particles.source}: half maps need at least two different images, got "
            f"{particles.num_different}"
        )
        raise ShapeMismatchError(msg)
    device = device or torch.device("cpu")
    lattice = HalfPlaneFrequencies.disc(particles.box_size)
    grid = RfftVolumeGrid(PADDING * particles.box_size)
    mates = mates_of(symmetry, device)
    halves = [SliceAccumulator(grid, 1, 1, device, mates) for _ in range(2)]
    adder = _Adder(
        images=particles.images,
        lattice=lattice,
        settings=settings,
        ctf_correction=ctf_correction,
        ewald=ewald,
        exposures=exposure_parameters(particles.images),
    )
    _add_all(adder, halves, particles, team)
    ball = _ball(particles.box_size, settings.window_radius).to(device)
    first, second = (volume_of_sums(half, ball).cpu() for half in halves)
    fsc = fourier_shell_correlation(first, second)
    halves[0].absorb(halves.pop())
    volume = volume_of_sums(halves[0], ball, fsc).cpu()
    volume = filter_by_distance(volume, (first, second), fsc)
    return Reconstruction(volume=volume, half_maps=(first, second), fsc=fsc)


def _add_all(
    adder: "_Adder", halves: list[SliceAccumulator], particles: ParticleSet, team: Team
) -> None:
    """Add the images of all particles to the sums of their half sets.

    Raises:
        BadImageError: An image cannot be computed with.
    """
    points_per_particle = particles.images_per_particle * len(adder.lattice)
    batch_size = max(1, int(POINTS_PER_BATCH // points_per_particle))
    numbers = particles.numbers
    mine = team.piece(torch.arange(len(particles)))
    with (
        team.raise_on_all(BadImageError),
        Progress(len(mine), "backprojecting") as progress,
    ):
        for part in mine.split(batch_size):
            rows = part.numpy()
            for sums, half in zip(halves, halves_of(rows, numbers), strict=True):
                adder.add(sums, particles.image_rows(half))
            progress.advance(len(rows))
    for half in halves:
        half.share(team)


def save_reconstruction(
    reconstruction: Reconstruction, files: ReconstructionFiles, geometry: MapGeometry
) -> None:
    """Write the maps and the FSC, and say the resolution in words.

    Args:
        reconstruction: What :func:`backproject` returned.
        files: Where to write.
        geometry: Sampling and place of the maps.
    """
    pixel_size = geometry.pixel_size or 1.0
    write_volume(files.half_map_a, reconstruction.half_maps[0].numpy(), geometry)
    write_volume(files.half_map_b, reconstruction.half_maps[1].numpy(), geometry)
    write_fsc(files.fsc_text, reconstruction.fsc)
    write_volume(files.volume, reconstruction.volume.numpy(), geometry)
    logger.info("wrote %s, and half maps and FSC beside it", files.volume)
    for threshold in (0.5, 0.143):
        found = resolution_in_words(reconstruction.fsc, pixel_size, threshold)
        if found == NOT_REACHED:
            logger.info("at FSC %g the half maps do not agree", threshold)
        else:
            logger.info("at FSC %g the half maps agree to %s", threshold, found)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Adder:
    """Spreads the slices of images, or their side bands."""

    images: ImageTable
    lattice: HalfPlaneFrequencies
    settings: Preprocessing
    ctf_correction: CtfCorrection
    ewald: Curvature
    exposures: ExposureParameters | None

    def add(self, sums: SliceAccumulator, rows: Int[np.ndarray, " rows"]) -> None:
        """Add some images to sums."""
        images, lattice, device = self.images, self.lattice, sums.device
        values = prepare_images(
            images, rows, lattice, self.settings, device=preparing_device(device)
        )
        values = to_device(values, device)
        frequencies = to_device(spatial_frequencies(images, rows, lattice), device)
        faded = None
        if self.exposures is not None:
            of_rows = self.exposures[torch.from_numpy(rows)].to(device)
            faded = exposure_weights(frequencies, of_rows)
        rotations = to_device(torch.from_numpy(images.require_poses().rotations[rows]), device)
        grid_points = PADDING * to_device(lattice.points.float(), device)
        magnifications = magnifications_of(images, rows)
        if magnifications is not None:
            magnifications = to_device(magnifications, device)
        points = slice_coordinates(grid_points, slice_axes(rotations, magnifications))
        undistorted = magnified(frequencies, magnifications)
        ones = values.new_ones(len(values), 1)
        if self.ewald:
            bands = self._sidebands(rows, undistorted, rotations)
            in_box = PADDING * lattice.box_size
            for places, matched, weights in bands.matched(values, points / in_box, faded):
                sums.add(places * in_box, matched, weights, ones, ones)
            return
        ctf = None
        if images.ctf is not None:
            ctf = contrast_transfer(undistorted, ctf_parameters(images.ctf, rows).to(device))
            ctf = ctf if self.ctf_correction == "multiply" else ctf.sign()
        values, weights = matched_terms(values, transfer_function(ctf, faded))
        sums.add(points, values, weights, ones, ones)

    def _sidebands(
        self,
        rows: Int[np.ndarray, " rows"],
        frequencies: Float[Tensor, "images points 2"],
        rotations: Float[Tensor, "images 3 3"],
    ) -> Sidebands:
        images, device = self.images, frequencies.device
        assert images.ctf is not None, "side bands need a CTF"
        return sidebands(
            frequencies,
            ctf_parameters(images.ctf, rows).to(device),
            rotations,
            self.ewald,
            pixel_sizes=to_device(torch.from_numpy(images.pixel_sizes[rows]), device),
            box_size=self.lattice.box_size,
        )


def volume_of_sums(
    sums: SliceAccumulator, ball: Float[Tensor, "box box box"], fsc: ShellCurve | None = None
) -> Float[Tensor, "box box box"]:
    """The volume whose transform is sums / weights, regularised shell by shell.

    With a correlation of half maps the quotient is Wiener filtered: the weight 1/SNR of the
    prior is that of a signal whose FSC between half sets is known, in units of the shell's
    mean weight.
    """
    grid, box_size, device = sums.grid, len(ball), sums.device
    table = sums.table().view(*grid.shape, 3)
    last = grid.box_size // 2
    totals = torch.zeros(2, last + 2, dtype=torch.float64, device=device)
    # Plane by plane: what is made of a whole grid besides its transform would weigh more.
    for plane, shells in zip(table, _planes_of_shells(grid, device), strict=True):
        places = shells.flatten()
        totals[0] += sums_by_place(places, plane[..., 2].flatten(), last + 2)
        totals[1] += torch.bincount(places, minlength=last + 2)
    damping = (totals[0] / totals[1]).float()
    damping[:-1] *= _prior(last + 1, grid, fsc).to(damping)
    damping[-1] = torch.inf
    transform = torch.empty(*grid.shape, 2, device=device)
    planes = zip(transform, table, _planes_of_shells(grid, device), strict=True)
    for target, plane, shells in planes:
        damped = plane[..., 2] + damping[shells]
        torch.mul(plane[..., :2], damped.clamp_min_(1e-12).reciprocal_()[..., None], out=target)

    volume = grid.volume_of(torch.view_as_complex(transform), box_size)
    volume /= interpolation_envelope(box_size, grid.box_size, device)
    return volume.mul_(ball)


def _planes_of_shells(
    grid: RfftVolumeGrid, device: torch.device
) -> Iterator[Int[Tensor, "y x"]]:
    """Shell of every point of a grid, plane after plane; one more than the last beyond it."""
    last = grid.box_size // 2
    for radii in grid.planes(device):
        yield torch.where(radii <= last, radii.round(), last + 1).long()


def _prior(
    count: int, grid: RfftVolumeGrid, fsc: ShellCurve | None
) -> Float[Tensor, " shells"]:
    """Weight of the prior in the first shells of a grid, in units of their mean weights."""
    if fsc is None:
        return torch.full((count,), HALF_MAP_DAMPING)
    inverse = (1 / signal_to_noise(fsc.values)).clamp_min(LEAST_WEIGHT)
    frequencies = np.arange(count) / grid.box_size
    return torch.from_numpy(np.interp(frequencies, fsc.frequencies, inverse))


def _ball(box_size: int, window_radius: float | None) -> Float[Tensor, "box box box"]:
    """Mask of the sphere that the images show, which fades out where their window does."""
    half = box_size / 2
    if window_radius is None or window_radius >= 1:
        return soft_sphere(box_size, half, EDGE)
    return soft_sphere(box_size, window_radius * half, (1 - window_radius) * half)
