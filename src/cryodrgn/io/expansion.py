"""Symmetry expansion of particle files, and the way back from expanded to original rows."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.errors import ConfigError, MetadataError
from cryodrgn.geometry.conventions import (
    cryosparc_poses_from_matrices,
    matrices_from_cryosparc_poses,
    matrices_from_relion_angles,
    relion_angles_from_matrices,
)
from cryodrgn.io.cryosparc_tables import export_result_group, read_table, with_columns
from cryodrgn.io.metadata import ParticleMetadata
from cryodrgn.io.particle_files import open_metadata
from cryodrgn.io.star import particle_block, read_star
from cryodrgn.io.star_rows import StarRows
from cryodrgn.particles.expansion import expanded_poses
from cryodrgn.particles.options import TiltSeriesSettings

ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
# Poses of cryoSPARC, rotation vectors: those of a refinement, and those of classes.
_POSES = re.compile(r"alignments(3D.*|_class_\d+)/pose")


def expand_file(
    source: Path,
    mates: Float[np.ndarray, "mates 3 3"],
    output: Path,
    passthrough: Sequence[Path] | None = None,
) -> list[Path]:
    """Write a particle file in which every particle stands once for each mate.

    All mates of a particle stand one after another, in the order of the group. Rows are copied
    as they are, apart from their angles (and their ``uid`` in cryoSPARC's files).

    Args:
        source: A ``.star`` or ``.cs`` file with poses.
        mates: Rotations of the point group, the identity first.
        output: The file to write, of the same kind.
        passthrough: Passthrough tables of a ``.cs``; None finds them by itself.

    Returns:
        The files written.

    Raises:
        ConfigError: The files are of other kinds.
        MetadataError: There are no poses, or the file lists tilt series, or images more than
            once already.
    """
    if source.suffix not in {".star", ".cs"}:
        msg = f"{source} is no .star or .cs file; only these list particles row by row"
        raise ConfigError(msg)
    if output.suffix != source.suffix or output.resolve() == source.resolve():
        msg = f"`output` {output} must be another {source.suffix} file than {source}"
        raise ConfigError(msg)
    metadata = open_metadata(source)
    assert metadata is not None
    if not metadata.has_poses():
        msg = f"{source} holds no poses, of which the mates are made; pass that of a refinement"
        raise MetadataError(msg)
    if metadata.tilt_series(TiltSeriesSettings()) is not None:
        msg = (
            f"{source} lists images of tilt series, whose copies would be taken for more "
            "images of one particle; take `symmetry` of backproject_voxel, train_linear or "
            "reconstruct_states instead"
        )
        raise MetadataError(msg)
    images = _images(metadata)
    if len(set(images)) < len(images):
        msg = (
            f"{source} lists {len(set(images))} different images in {len(images)} rows: it is "
            "expanded already"
        )
        raise MetadataError(msg)
    if source.suffix == ".star":
        _expand_star(source, mates, output)
        return [output]
    return _expand_tables(source, mates, output, passthrough)


def rows_of_originals(expanded: Path, original: Path) -> Int[np.ndarray, " copies"]:
    """Row of the original file of every row of an expanded one, told by the image it names.

    Raises:
        MetadataError: The original lists an image twice, or lacks one.
        ConfigError: A file is no ``.star`` or ``.cs``.
    """
    tables = []
    for path in (expanded, original):
        metadata = open_metadata(path)
        if metadata is None:
            msg = f"{path} is no .star or .cs file; only these can be expanded"
            raise ConfigError(msg)
        tables.append(_images(metadata))
    copies, images = tables
    rows = {image: row for row, image in enumerate(images)}
    if len(rows) < len(images):
        msg = f"{original} lists images more than once; give the file that was not expanded"
        raise MetadataError(msg)
    for row, (stack, frame) in enumerate(copies):
        if (stack, frame) not in rows:
            msg = (
                f"row {row} of {expanded} shows image {frame + 1} of {stack}, which {original} "
                "does not list; was it expanded from another file?"
            )
            raise MetadataError(msg)
    return np.array([rows[image] for image in copies], dtype=np.int64)


def _images(metadata: ParticleMetadata) -> list[tuple[str, int]]:
    names, frames = metadata.image_names()
    return list(zip(names, frames.tolist(), strict=True))


def _expand_star(source: Path, mates: Float[np.ndarray, "mates 3 3"], output: Path) -> None:
    tables = read_star(source)
    sizes = {name: len(table) for name, table in tables.items()}
    table, star = tables[particle_block(source, sizes)], StarRows.read(source)
    angles = np.stack([table.numbers(name) for name in ANGLES], axis=1)
    turned = relion_angles_from_matrices(
        expanded_poses(matrices_from_relion_angles(angles), mates)
    )
    places = [list(table.names).index(name) for name in ANGLES]
    copies = np.repeat(np.arange(len(table)), len(mates))
    rows = [
        star.rows[row] if number % len(mates) == 0 else star.with_values(row, places, values)
        for number, (row, values) in enumerate(
            zip(copies.tolist(), turned.tolist(), strict=True)
        )
    ]
    replace(star, rows=rows).write(output, np.arange(len(rows)))


def _expand_tables(
    source: Path,
    mates: Float[np.ndarray, "mates 3 3"],
    output: Path,
    passthrough: Sequence[Path] | None,
) -> list[Path]:
    """Tables of a result group, each with the poses that it has."""
    rows = np.arange(len(read_table(source)))

    def expanded(table: np.ndarray) -> np.ndarray:
        copies = np.repeat(table, len(mates))
        for name in table.dtype.names or ():
            if _POSES.fullmatch(name):
                rotations = matrices_from_cryosparc_poses(table[name])
                copies[name] = cryosparc_poses_from_matrices(expanded_poses(rotations, mates))
                # What is not turned stays as it is, to the last bit.
                copies[name][:: len(mates)] = table[name]
        if "uid" not in (table.dtype.names or ()):
            return copies
        copies["uid"] = _uids(table["uid"], len(mates))
        return with_columns(
            copies, {"cryodrgn/source_uid": np.repeat(table["uid"], len(mates))}
        )

    return export_result_group(source, rows, output, passthrough=passthrough, change=expanded)


def _uids(uids: np.ndarray, count: int) -> np.ndarray:
    """Numbers for all mates: the particle's own for the first, and made of it for the others.

    They are mixed as in SplitMix64 (Steele, Lea & Flood 2014), so that no two are the same but
    by a chance of 2⁻⁶⁴.
    """
    mate = np.tile(np.arange(count, dtype=np.uint64), len(uids))
    mixed = np.repeat(uids.astype(np.uint64), count) + mate * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return np.where(mate == 0, np.repeat(uids, count), mixed).astype(uids.dtype)
