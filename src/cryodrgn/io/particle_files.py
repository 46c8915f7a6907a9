"""Particles from any of the files that list them, with poses and CTF from where they stand."""

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from cryodrgn.errors import ConfigError, InputFileError, ShapeMismatchError
from cryodrgn.geometry.rotations import rotation_about_x
from cryodrgn.io.chosen_rows import ChosenImages, ChosenRows
from cryodrgn.io.cryodrgn_pickle import load_ctf, load_poses
from cryodrgn.io.cryosparc import CryosparcParticles
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.locate import locate_stacks
from cryodrgn.io.metadata import ParticleMetadata, resolve_pixel_sizes
from cryodrgn.io.optics_report import BY_ALL, WITHOUT_CTF, WITHOUT_FILE, Term, tell_of_ignored
from cryodrgn.io.relion import RelionParticles
from cryodrgn.io.run_config import stack_folders_of
from cryodrgn.io.stack_agreement import (
    refuse_shorter_side,
    require_agreement,
    require_box_size,
)
from cryodrgn.io.text import read_text, require_file
from cryodrgn.io.volume_headers import refuse_volume, volume_in_words
from cryodrgn.particles.image_table import ImageTable
from cryodrgn.particles.optics import CtfTable, as_corrected, correction_of_record
from cryodrgn.particles.options import ParticleFileOptions, TiltSeriesSettings
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.particles.pixel_sizes import common_pixel_size, in_words, rows_by_pixel_size
from cryodrgn.particles.poses import Poses
from cryodrgn.particles.sampling import Sampling, are_of, common_sampling, kinds_in_words
from cryodrgn.particles.tilt_series import TiltImages
from cryodrgn.settings import settings
from cryodrgn.units import pixel_size_or_one

logger = logging.getLogger(__name__)


@settings
class ParticleFiles(ParticleFileOptions):
    """The files that describe a set of particles, as the command line names them.

    Attributes:
        particles: ``.mrcs``, ``.mrc``, ``.star``, ``.cs`` or ``.txt`` (a list of stacks).
        sampling: Lattice on which images are evaluated, where it is known, in place of one
            that follows from ``box_size`` and the images.
        found_in: Folders in which a run found the stacks, which are looked into first.
        series: Settings of tilt series, of which ``particles`` is recognised to be one.
    """

    particles: Path
    sampling: Sampling | None = None
    found_in: tuple[Path, ...] = ()
    series: TiltSeriesSettings = field(default_factory=TiltSeriesSettings)

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> "ParticleFiles | None":
        """The files that the config of a run names; None if it names no particles."""
        dataset = config.get("dataset_args", {})
        if dataset.get("particles") is None:
            return None
        own = config.get("training", {}).get("settings", {}).get("data", {})
        return cls(
            particles=Path(dataset["particles"]),
            poses=dataset.get("poses"),
            ctf=dataset.get("ctf"),
            correction=correction_of_record(dataset.get("ctf_applied")),
            indices=dataset.get("ind"),
            datadir=dataset.get("datadir"),
            tilted=dataset.get("particles_tilt"),
            # Versions before recorded the angle with the settings of training.
            tilt_deg=dataset.get("tilt_deg", own.get("tilt_deg", 45.0)),
            sampling=Sampling.of_record(dataset.get("sampling")),
            found_in=stack_folders_of(config, Path(dataset["particles"])),
            series=TiltSeriesSettings.from_mapping(dataset),
        )


def open_metadata(path: Path) -> ParticleMetadata | None:
    """The table of a ``.star`` or ``.cs`` file; None for files that only hold images.

    Raises:
        InputFileError: The file is missing, unreadable, or of unknown type.
    """
    require_file(path)
    if path.suffix == ".star":
        return RelionParticles(path)
    if path.suffix == ".cs":
        return CryosparcParticles(path)
    if path.suffix not in {".mrc", ".mrcs", ".txt"}:
        msg = f"{path} has an unknown ending; expected .mrcs, .mrc, .star, .cs or .txt"
        raise InputFileError(msg)
    return None


def open_images(
    path: Path,
    metadata: ParticleMetadata | None,
    datadir: Path | None = None,
    *,
    as_they_are: bool = False,
    of_any_shape: bool = False,
    known: Sequence[Path] = (),
) -> ImageStack:
    """The images that a particle file lists.

    Args:
        path: ``.mrcs``, ``.mrc``, ``.star``, ``.cs`` or ``.txt`` (stacks, one per line,
            relative to the folder of the list).
        metadata: What :func:`open_metadata` returned for it.
        datadir: Folder of the stacks that a ``.star`` or ``.cs`` names.
        as_they_are: Whether images are only copied or looked at, so that sections of a volume
            and odd boxes are fine.
        of_any_shape: Whether images may be oblong, of odd sides, and of several sizes.
        known: Folders in which the stacks were found before, which are looked into first.

    Raises:
        InputFileError: A stack is missing or unreadable, or is a volume.
        ShapeMismatchError: Images are oblong, or of several sizes.
        ConfigError: The box size is odd.
    """
    if path.suffix == ".mrc":
        _recognise_volume(path, may_be=as_they_are)
    images = _open_images(path, metadata, datadir, known)
    if not of_any_shape:
        images.require_one_shape()
        if not as_they_are:
            images.require_even_box()
    return images


def _recognise_volume(path: Path, *, may_be: bool) -> None:
    """Refuse a volume, or say that its sections are taken for images."""
    if not may_be:
        refuse_volume(path)
        return
    words = volume_in_words(path)
    if words is not None:
        logger.warning("%s is %s: its sections are taken for images", path, words)


def _open_images(
    path: Path,
    metadata: ParticleMetadata | None,
    datadir: Path | None,
    known: Sequence[Path],
) -> ImageStack:
    if metadata is not None:
        names, frames = metadata.image_names()
        signs = metadata.contrasts()
        if signs is not None:
            logger.info(
                "%s says that %d of %d images have the inverse contrast of others (blob/sign "
                "-1): they are multiplied by -1",
                path,
                np.count_nonzero(signs < 0),
                len(signs),
            )
        stacks = locate_stacks(names, path, datadir, known)
        return ImageStack.from_names(stacks, names, frames, signs)
    if path.suffix != ".txt":
        return ImageStack.whole_files([path])
    lines = [line.strip() for line in read_text(path).splitlines()]
    stacks = [path.parent / line for line in lines if line]
    if not stacks:
        msg = f"{path} names no stacks"
        raise InputFileError(msg)
    return ImageStack.whole_files(stacks)


def tell_of_terms_left(
    path: Path, metadata: ParticleMetadata | None, ignored: Collection[Term] = WITHOUT_FILE
) -> None:
    """Say which terms of the optics a stack does not hold that is made of a file's images.

    Args:
        path: The file.
        metadata: What :func:`open_metadata` returned for it.
        ignored: Terms of the optics that are ignored.
    """
    if metadata is not None:
        advice = f"{path.name} says them to commands that read particles"
        tell_of_ignored(metadata, metadata.pixel_sizes(), ignored, advice)


def open_stack(
    path: Path,
    datadir: Path | None = None,
    *,
    as_they_are: bool = False,
    of_any_shape: bool = False,
    ignored: Collection[Term] = WITHOUT_FILE,
) -> tuple[ImageStack, float | None]:
    """The images that a particle file lists, and their Å/px if it is known and one for all.

    Args:
        path: As :func:`open_images` takes it, whose errors these are.
        datadir: Folder of the stacks.
        as_they_are: Whether images are only copied or looked at.
        of_any_shape: Whether images may be oblong, of odd sides, and of several sizes.
        ignored: Terms of the optics that are ignored, of which the log tells.
    """
    metadata = open_metadata(path)
    images = open_images(
        path, metadata, datadir, as_they_are=as_they_are, of_any_shape=of_any_shape
    )
    pixel_sizes = metadata.pixel_sizes() if metadata else None
    tell_of_terms_left(path, metadata, ignored)
    if pixel_sizes is None:
        pixel_sizes = images.pixel_sizes
    if pixel_sizes is None:
        return images, None
    groups = rows_by_pixel_size(pixel_sizes)
    if len(groups) > 1:
        found = in_words(pixel_sizes, groups)
        logger.warning("%s mixes images of %s: no header can hold that", path, found)
        return images, None
    return images, common_pixel_size(pixel_sizes, str(path))


def open_particles(files: ParticleFiles) -> ParticleSet:
    """Everything the given files know of a set of particles.

    Poses and CTF come from pickles where given, otherwise from the particle file itself.
    Pickles must have a row for every particle or, together with an index list, a row for
    every selected one.

    Raises:
        CryodrgnError: A file cannot be used, or two of them disagree; the message names both.
    """
    metadata, source = open_metadata(files.particles), str(files.particles)
    series = None
    if metadata is not None:
        series = metadata.tilt_series(files.series)
        if series is None:
            selection = ChosenRows.read(files.indices, len(metadata), source)
        else:
            count = files.series.num_tilts
            selection = ChosenImages.of_series(files.indices, series, source, count)
        metadata = metadata.select(selection.rows)
        images = open_images(
            files.particles, metadata, files.datadir, of_any_shape=True, known=files.found_in
        )
    else:
        files.series.require_none(source)
        images = open_images(files.particles, None, of_any_shape=True)
        selection = ChosenRows.read(files.indices, len(images), source)
        images = images.select(selection.rows)

    ctf, side_lengths = _ctf(files, metadata, selection)
    if files.correction is not None:
        ctf = as_corrected(ctf, files.correction, source)
    pixel_sizes = _pixel_sizes(files, metadata, images, side_lengths)
    poses = _poses(files, metadata, selection, pixel_sizes, images.shapes.max(1))
    table = ImageTable(
        pixels=images,
        pixel_sizes=pixel_sizes.astype(np.float32),
        poses=poses,
        ctf=ctf,
        rows=selection.rows,
        source=source,
        magnifications=_magnifications(files, metadata),
        copies=images.copies(),
    )
    if metadata is not None:
        table = replace(table, **metadata.attenuation())
        ignored = WITHOUT_CTF if ctf is None else BY_ALL
        tell_of_ignored(metadata, pixel_sizes, ignored, "give CTF parameters with `ctf`")
    table = _on_one_lattice(table, files)
    if series is not None and isinstance(selection, ChosenImages):
        return _in_series(table, series, selection, files)
    particles = ParticleSet.of_single_images(table)
    if table.copies is not None:
        _tell_of_copies(particles, files.particles)
    return particles if files.tilted is None else _paired(particles, images, files)


def _tell_of_copies(particles: ParticleSet, path: Path) -> None:
    """Log what follows from images that a file lists more than once."""
    words = (
        "%s lists %d different images in %d rows: copies of an image, as symmetry expansion "
        "makes them, stay together in half sets and held-out sets, and count once in effective "
        "numbers"
    )
    logger.info(words, path, particles.num_different, len(particles))


def _in_series(
    table: ImageTable, series: TiltImages, selection: "ChosenImages", files: ParticleFiles
) -> ParticleSet:
    """Particles of tilt series, with dose and tilt of their images.

    Raises:
        ConfigError: Second images of tilt pairs are given, too.
    """
    if files.tilted is not None:
        msg = (
            f"{files.particles} lists tilt series, which have no second exposures: leave out "
            f"{files.tilted}"
        )
        raise ConfigError(msg)
    damping = {"doses": series.doses, "tilt_angles": series.tilt_angles}
    columns = {
        name: None if values is None else values[table.rows].astype(np.float32)
        for name, values in damping.items()
    }
    b_factors = None if series.b_factors_are_doses else table.b_factors
    chosen = selection.particles
    counts = series.counts[chosen]
    is_single = bool((counts == 1).all())
    particles = ParticleSet(
        images=replace(table, **columns, b_factors=b_factors),
        original_rows=chosen,
        offsets=None if is_single else np.concatenate([[0], np.cumsum(counts)]),
        names=series.names[chosen],
        tomograms=None if series.tomograms is None else series.tomograms[chosen],
    )
    count = files.series.num_tilts
    return particles if count is None else particles.with_best_images(count)


ONE_DOSE = ", as if taken at one dose (else train with contrasts)"


def _on_one_lattice(table: ImageTable, files: ParticleFiles) -> ImageTable:
    """The images, on a common lattice if they are of several pixel sizes or shapes."""
    sizes, shapes = table.pixel_sizes, table.shapes
    sampling = files.sampling or common_sampling(sizes, shapes, files.box_size)
    if sampling is None or are_of(sampling, sizes, shapes):
        return table
    logger.info(
        "%s holds images of %s: where they are compared or added up, all are evaluated at the "
        "frequencies of a box of %d px at %.6g Å/px%s",
        table.source,
        kinds_in_words(sizes, shapes),
        sampling.box_size,
        sampling.pixel_size,
        "" if np.ptp(sizes) == 0 else ONE_DOSE,
    )
    return table.sampled(sampling)


def _magnifications(
    files: ParticleFiles, metadata: ParticleMetadata | None
) -> Float[np.ndarray, "rows 2 2"] | None:
    """Matrices of the magnification, which belong to the poses of the same file."""
    found = None if metadata is None else metadata.magnifications()
    if found is None:
        return None
    distortion = np.abs(found - np.eye(2)).max()
    logger.info("magnifications of %s differ from 1 by up to %.3g", files.particles, distortion)
    return found


def _paired(particles: ParticleSet, images: ImageStack, files: ParticleFiles) -> ParticleSet:
    """Particles with a second image each, taken with the stage tilted.

    The second image of a particle of pose R has the pose X R, X being the rotation of the
    stage; all else that is known of it is what is known of the first.

    Raises:
        ShapeMismatchError: The images of the two files differ in number or size.
    """
    path, first = files.tilted, particles.images
    assert path is not None
    second = open_images(path, open_metadata(path), files.datadir, of_any_shape=True)
    last = int(particles.original_rows.max())
    fits = last < len(second)
    if not fits or (second.shapes[particles.original_rows] != images.shapes).any():
        msg = (
            f"{path} has {len(second)} images of {second.box_size} px, which does not fit "
            f"{particles.source} with images of {images.box_size} px up to row {last}"
        )
        raise ShapeMismatchError(msg)
    table = replace(
        first.select(np.repeat(np.arange(len(first)), 2)),
        pixels=images.interleaved(second.select(particles.original_rows)),
    )
    if table.poses is not None:
        rotations = table.poses.rotations.copy()
        stage = rotation_about_x(math.radians(files.tilt_deg))
        rotations[1::2] = (stage @ torch.from_numpy(rotations[1::2])).numpy()
        table = replace(table, poses=replace(table.poses, rotations=rotations))
    offsets = np.arange(0, len(table) + 1, 2)
    return ParticleSet(images=table, original_rows=particles.original_rows, offsets=offsets)


def _ctf(
    files: ParticleFiles, metadata: ParticleMetadata | None, selection: ChosenRows
) -> tuple[CtfTable | None, Float[np.ndarray, " rows"] | None]:
    """CTF parameters, and the side of the images in Å if a pickle gives it."""
    if files.ctf is not None:
        table, side_lengths = load_ctf(files.ctf)
        rows = selection.of_table(len(table), files.ctf)
        chosen = table.select(rows)
        # The pickle has no column for aberrations and the state of the images.
        terms = {} if metadata is None else metadata.optics_terms()
        return replace(chosen, **terms), side_lengths[rows]
    if metadata is not None and metadata.has_ctf():
        logger.info("CTF parameters are taken from %s", files.particles)
        return metadata.ctf(), None
    return None, None


def _pixel_sizes(
    files: ParticleFiles,
    metadata: ParticleMetadata | None,
    images: ImageStack,
    side_lengths: Float[np.ndarray, " rows"] | None,
) -> Float[np.ndarray, " rows"]:
    """Å/px of the images as they are now, downsampled or not."""
    from_metadata = None if metadata is None else metadata.pixel_sizes()
    needs_metadata = files.ctf is None or files.poses is None
    if metadata is not None and needs_metadata:
        require_box_size(metadata, images)
    if side_lengths is not None:
        pixel_sizes = side_lengths / images.shapes.max(1)
        assert files.ctf is not None
        refuse_shorter_side(files.ctf, images, side_lengths)
        if from_metadata is not None and needs_metadata:
            require_agreement(files.ctf, pixel_sizes, files.particles, from_metadata)
        return pixel_sizes
    if metadata is not None and _need_pixel_size(files, metadata):
        kind = "star" if files.particles.suffix == ".star" else "csparc"
        remedy = (
            f"write poses and CTF with parse_pose_{kind} and parse_ctf_{kind}, which take "
            "`pixel_size`, and give them with `poses` and `ctf`"
        )
        return resolve_pixel_sizes(metadata, of_stack=lambda: images.pixel_sizes, remedy=remedy)
    known = images.pixel_sizes if from_metadata is None else from_metadata
    if known is None:
        return np.full(len(images), pixel_size_or_one(files.particles))
    return known


def _need_pixel_size(files: ParticleFiles, metadata: ParticleMetadata) -> bool:
    """True if shifts or CTF of the file would be wrong at a wrong pixel size."""
    has_poses = files.poses is None and metadata.has_poses()
    has_ctf = files.ctf is None and metadata.has_ctf()
    return has_ctf or (has_poses and metadata.shifts_need_pixel_size())


def _poses(
    files: ParticleFiles,
    metadata: ParticleMetadata | None,
    selection: ChosenRows,
    pixel_sizes: Float[np.ndarray, " rows"],
    box_sizes: Int[np.ndarray, " rows"],
) -> Poses | None:
    if files.poses is not None:
        rotations, fractions = load_poses(files.poses)
        rows = selection.of_table(len(rotations), files.poses)
        shifts = fractions[rows] * (box_sizes * pixel_sizes)[:, None]
        return Poses(
            rotations=rotations[rows],
            shifts=shifts.astype(np.float32),
            source=str(files.poses),
        )
    if metadata is not None and metadata.has_poses():
        logger.info("poses are taken from %s", files.particles)
        return metadata.poses(pixel_sizes)
    return None
