"""Particles that a run keeps out, and that the weights it begins with must not have seen."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryodrgn.errors import ConfigError, CryodrgnError
from cryodrgn.io.run_config import find_run_config, load_run_config
from cryodrgn.particles.particle_record import ParticleRecord
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.training.run_config import RunConfig
from cryodrgn.training.start import ResumePoint

logger = logging.getLogger(__name__)


def require_unseen(config: RunConfig, start: ResumePoint, particles: ParticleSet) -> None:
    """Refuse to judge by particles that the weights of another run were trained on.

    Those kept out of training must have been kept out before. Weights trained on another file
    are taken to have seen none of them, which is said.

    Args:
        config: Settings of the run.
        start: Where it begins.
        particles: Its particles.

    Raises:
        ConfigError: The weights have seen particles that are to be kept out.
    """
    held_out, seed, source = config.training.held_out, config.training.seed, start.source
    if held_out is None or start.checkpoint is None or start.is_same_run or source is None:
        return
    record, beside = start.recorded, _config_beside(source)
    named = beside.get("dataset_args", {}).get("particles")
    files = config.data.files
    if record is not None:
        named = record.data.files.particles
    known = ParticleRecord.of_mapping(beside.get("training", {}))
    others = None if known is None else known.others(particles)
    is_same_file = named is not None and Path(named).resolve() == files.particles.resolve()
    if not is_same_file and others != []:
        logger.warning(
            "the weights of %s are taken to have been trained on none of the particles that "
            "are kept out here: %s",
            source,
            "nothing says on which they were" if named is None else f"they were on {named}",
        )
        return
    before = None if record is None else record.training.held_out
    is_same_set = others == [] or (known is None and _rows_of(record) == _rows_of(config))
    if record is not None and before is not None and is_same_set:
        # Of one seed, a smaller share is part of a larger one.
        if seed == record.training.seed and held_out.fraction <= before.fraction:
            return
        there = f"`held_out` {before.fraction:g} with `seed` {record.training.seed}"
        remedy = "give these, or leave out `held_out`"
    else:
        there = "none" if before is None else "some of another selection of particles"
        remedy = "leave out `held_out`, or begin without `load`"
    msg = (
        f"`held_out` {held_out.fraction:g} with `seed` {seed} judges by particles that the "
        f"weights of {source} have seen: their run kept out {there}; {remedy}"
    )
    raise ConfigError(msg)


def _config_beside(weights: Path) -> Mapping[str, Any]:
    """The config beside a weight file; empty where there is none."""
    try:
        return load_run_config(find_run_config(weights))
    except CryodrgnError:
        return {}


def _rows_of(config: RunConfig | None) -> Path | None:
    """The file that chooses particles of a run."""
    indices = None if config is None else config.data.files.indices
    return None if indices is None else indices.resolve()
