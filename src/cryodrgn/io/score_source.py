"""The particles that a table of scores is about."""

import logging
from pathlib import Path

import numpy as np

from cryodrgn.errors import ConfigError, CryodrgnError, ShapeMismatchError
from cryodrgn.io.export import number_of_particles
from cryodrgn.io.identities import same_particles
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.io.run_config import find_run_config, load_run_config
from cryodrgn.io.score_table import read_scores
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.rundir import RunDirectory

logger = logging.getLogger(__name__)


def require_scores_of(path: Path, particles: Path, *, single_images: bool = False) -> None:
    """Refuse scores that belong to other particles than those of a file.

    All rows that the table names must exist. If the run that wrote it names its particles in a
    config beside it, the rows of both files must show the same particles.

    Args:
        path: The table (``scores.csv``).
        particles: A ``.star`` or ``.cs`` file.
        single_images: Whether rows of tilt series are particles of their own.

    Raises:
        ShapeMismatchError: The table names rows beyond the end of the file.
        ConfigError: The run had other particles.
    """
    rows, _ = read_scores(path)
    if particles.suffix not in {".star", ".cs"}:
        return
    count = number_of_particles(particles, single_images=single_images)
    beyond = rows[(rows < 0) | (rows >= count)]
    if len(beyond):
        msg = (
            f"{path} has scores of row {beyond[0]}, but {particles} has {count} particles; "
            "give the file that the run was trained on, or scores of a run on these particles"
        )
        raise ShapeMismatchError(msg)
    source = _source(path)
    if source is None:
        logger.info("the rows of %s are taken to be those of %s", path, particles)
        return
    if source.particles.resolve() == particles.resolve():
        return
    try:
        first, second = (
            open_particles(source),
            open_particles(ParticleFiles(particles=particles)),
        )
    except CryodrgnError as error:
        logger.warning(
            "%s is of a run on %s, whose particles are taken to be those of %s in the same "
            "order, because they cannot be compared: %s",
            path,
            source.particles,
            particles,
            error,
        )
        return
    if not _are_same(first, second, rows):
        msg = (
            f"{path} is of a run on {source.particles}, in which the same rows are not the "
            f"particles of {particles}; give scores of a run on these particles"
        )
        raise ConfigError(msg)


def _are_same(first: ParticleSet, second: ParticleSet, rows: np.ndarray) -> bool:
    """True if the rows of two files show the same particles."""
    try:
        found = same_particles(first, second)
    except ConfigError:
        return False
    is_kept = found.first == found.second
    return bool(np.isin(rows, found.first[is_kept]).all())


def _source(path: Path) -> ParticleFiles | None:
    """The particles of the run that a table lies in; None if nothing names them."""
    run = RunDirectory(path.parent)
    if not run.holds_run:
        return None
    files = ParticleFiles.of_config(load_run_config(find_run_config(run.weights())))
    if files is None:
        return None
    # Scores are of rows of the file, whatever was chosen, and whatever poses were given.
    return ParticleFiles(
        particles=files.particles, datadir=files.datadir, found_in=files.found_in
    )
