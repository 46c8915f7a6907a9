"""Chosen particles back into the files of the program they came from."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, Num

from cryodrgn.errors import ConfigError
from cryodrgn.io.cryosparc_tables import export_result_group, read_table
from cryodrgn.io.star_rows import StarRows
from cryodrgn.io.star_selection import particle_list, particles_of_rows
from cryodrgn.particles.particle_set import rows_in_ranges
from cryodrgn.particles.selection import Selection

Tables = Mapping[str, Num[np.ndarray, "rows ..."]]


def export_particles(
    source: Path,
    rows: Int[np.ndarray, " rows"] | Selection,
    output: Path,
    *,
    columns: Tables | None = None,
    passthrough: Sequence[Path] | None = None,
    single_images: bool = False,
) -> list[Path]:
    """Write some particles in the format of the file that lists them.

    Of a ``.star`` every block, column and byte stays as it is, apart from the rows left out; of
    tilt series, all images of a chosen particle stay. Of an ``optimisation_set.star``, the list
    of particles that it names is written. A ``.cs`` gets its ``.csg`` and passthrough tables.

    Args:
        source: The original ``.star`` or ``.cs`` file.
        rows: Numbers of its particles, from 0, in the order wanted, or a selection of them: of
            its rows, or of tilt series, of particles in the order in which they first appear.
        output: The file to write, of the same kind.
        columns: Columns to add, by name, one row per chosen particle: ``cluster`` becomes
            ``_cryodrgnCluster`` or ``cryodrgn/cluster``, and each column of a table ``latent``
            becomes ``_cryodrgnLatent1``, … or together ``cryodrgn/latent``.
        passthrough: Passthrough tables of a ``.cs``; None finds them by itself.
        single_images: Whether rows of tilt series are particles of their own.

    Returns:
        The files written.

    Raises:
        ConfigError: The file is of another kind, or output and source differ in theirs.
        CryodrgnError: A row does not exist, or a file cannot be used.
    """
    _require_table(source)
    if output.suffix != source.suffix:
        msg = f"`output` {output} must end in {source.suffix}, as {source} does"
        raise ConfigError(msg)
    if output.resolve() == source.resolve():
        msg = f"`output` {output} is the file that is exported; give another name"
        raise ConfigError(msg)
    columns = columns or {}
    selection = Selection.of(rows)
    if source.suffix == ".cs":
        chosen = selection.rows_of(len(read_table(source)), str(source))
        own = {f"cryodrgn/{name}": values for name, values in columns.items()}
        return export_result_group(source, chosen, output, passthrough=passthrough, columns=own)
    listed = particle_list(source)
    star = StarRows.read(listed)
    owners = None if single_images else particles_of_rows(listed)
    if owners is None:
        chosen = selection.rows_of(len(star.rows), str(listed))
    else:
        particles = selection.rows_of(int(owners.max()) + 1, f"the tilt series of {listed}")
        chosen, counts = _images_of(particles, owners)
        columns = {name: np.repeat(table, counts, axis=0) for name, table in columns.items()}
    star.write(output, chosen, _star_columns(columns))
    return [output]


def number_of_particles(source: Path, *, single_images: bool = False) -> int:
    """Number of particles, not of their images, that a ``.star`` or ``.cs`` lists.

    Raises:
        ConfigError: The file is of another kind.
    """
    _require_table(source)
    if source.suffix == ".cs":
        return len(read_table(source))
    listed = particle_list(source)
    owners = None if single_images else particles_of_rows(listed)
    return len(StarRows.read(listed).rows) if owners is None else int(owners.max()) + 1


def _require_table(source: Path) -> None:
    if source.suffix not in {".star", ".cs"}:
        msg = f"{source} is no .star or .cs file; only these can be exported again"
        raise ConfigError(msg)


def _images_of(
    particles: Int[np.ndarray, " chosen"], owners: Int[np.ndarray, " rows"]
) -> tuple[Int[np.ndarray, " images"], Int[np.ndarray, " chosen"]]:
    """Rows of the images of particles, in the order of the file, and their numbers."""
    order = np.argsort(owners, kind="stable")
    counts = np.bincount(owners)
    stops = np.cumsum(counts)
    starts = stops - counts
    return order[rows_in_ranges(starts[particles], stops[particles])], counts[particles]


def _star_columns(columns: Tables) -> dict[str, list[object]]:
    text: dict[str, list[object]] = {}
    for name, values in columns.items():
        title = f"cryodrgn{name.capitalize()}"
        if values.ndim == 1:
            text[title] = values.tolist()
            continue
        for number, column in enumerate(values.T, start=1):
            text[f"{title}{number}"] = column.tolist()
    return text
