"""Files that the config of a run names, where they are no longer in their places."""

import filecmp
import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryodrgn.counts import counted
from cryodrgn.errors import ConfigError, InputFileError
from cryodrgn.io.particle_files import ParticleFiles, open_metadata
from cryodrgn.io.run_config import load_run_config
from cryodrgn.io.text import missing_in_words
from cryodrgn.particles.options import TiltSeriesSettings
from cryodrgn.particles.particle_record import ParticleRecord
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.rundir import RunDirectory, ScreeningFiles

logger = logging.getLogger(__name__)

# What the paths of a run are, by their recorded names.
MEANINGS = {
    "particles": "particles",
    "poses": "poses",
    "ctf": "CTF parameters",
    "indices": "index file",
    "datadir": "folder of stacks",
    "tilted": "second images of tilt pairs",
}
# Files that may be named anew once they are gone, by the settings that give them.
MOVABLE = {
    "particles": "particles",
    "poses": "poses",
    "ctf": "ctf",
    "indices": "indices",
    "tilt": "tilted",
}


def files_as_recorded(
    files: ParticleFiles, config: Path, given: Collection[str] = ()
) -> ParticleFiles:
    """The files that the config of a run names, after a look at whether they are there.

    The rows that screening kept lie beside the config, wherever the run was moved or copied to.

    Args:
        files: The files.
        config: The config file that names them.
        given: Settings that do not come from it.

    Raises:
        InputFileError: A file is gone.
    """
    if files.indices is not None and "indices" not in given:
        rows = ScreeningFiles(config.parent).rows_of_record(files.indices)
        files = replace(files, indices=rows)
    settings = {name: setting for setting, name in MOVABLE.items()}
    for name, meaning in MEANINGS.items():
        path = getattr(files, name)
        if path is not None and name not in given:
            remedy = f"give their new place with `{settings.get(name, name)}`, or "
            require_recorded(path, meaning, config, remedy)
    return files


def particles_in_new_place(files: ParticleFiles, given: Path | None) -> ParticleFiles:
    """Files of a run, with particles that are given in the place of those that are gone."""
    if given is None or files.particles.exists():
        return files
    words = "%s, which the run began with, is gone: %s is read"
    logger.warning(words, files.particles, given)
    return replace(files, particles=given)


def require_recorded(path: Path, meaning: str, config: Path, remedy: str = "") -> None:
    """Refuse a path that a run recorded and that is no longer there.

    Args:
        path: The path.
        meaning: What it is to the run.
        config: The config file that names it.
        remedy: What else can be done than to put it back, up to the next word.

    Raises:
        InputFileError: It is gone.
    """
    if path.exists():
        return
    msg = (
        f"{missing_in_words(path)} ({config} names it as {meaning} of the run); "
        f"{remedy}put it back, or a link to it"
    )
    raise InputFileError(msg)


def require_particles_of_run(folder: Path, particles: ParticleSet, remedy: str = "") -> None:
    """Refuse particles other than those of a run, or the same in another order.

    Particles of another number, and of runs that recorded no digests, are not compared; see
    :class:`~cryodrgn.particles.particle_record.ParticleRecord` for what is noticed.

    Args:
        folder: The folder of the run.
        particles: The particles.
        remedy: What else can be done than to give those of the run, after a semicolon.

    Raises:
        ConfigError: They are others.
        InputFileError: The config of the run, or an image, cannot be read.
    """
    config = _config_in(folder)
    if (found := _others_in_words(config, particles)) is None:
        return
    msg = (
        f"{particles.source} does not hold the particles of {folder} in their order: {found}; "
        f"give the particles of that run in the order in which it read them, from "
        f"{_as_read(config)}{remedy}"
    )
    raise ConfigError(msg)


def _as_read(config: Mapping[str, Any]) -> str:
    """The particle file of a run, with the options by which it was read."""
    dataset = config.get("dataset_args", {})
    options = [f"`indices` {dataset['ind']}"] if dataset.get("ind") else []
    if TiltSeriesSettings.from_mapping(dataset).is_series is False:
        options.append("`single_images`")
    return f"{dataset.get('particles')}{' with ' if options else ''}{' and '.join(options)}"


def number_explained(latents: Path, particles: ParticleSet) -> str:
    """Advice where latents of a run are of another number of particles, after a semicolon.

    Args:
        latents: The folder of the run, or a file in it.
        particles: The particles, whose number differs.

    Returns:
        What the run read, by which options; empty where no run tells it.
    """
    folder = latents if latents.is_dir() else latents.parent
    config = _config_in(folder)
    count = config.get("training", {}).get("num_particles")
    if count is None or "dataset_args" not in config:
        return ""
    dataset = config["dataset_args"]
    remedies = []
    metadata = open_metadata(Path(particles.source))
    if metadata is not None:
        series = metadata.tilt_series(TiltSeriesSettings())
        is_single = series is None or particles.names is None
        listed = len(metadata) if series is None or is_single else len(series.names)
        if not dataset.get("ind") and len(particles) < listed:
            remedies.append("leave out `indices`, which that run was not given")
        read = TiltSeriesSettings.from_mapping(dataset).is_series
        if read is not False and is_single and series is not None:
            remedies.append("leave out `single_images`, for that run read tilt series")
    same = f"; {folder} has {counted(count, 'particle')} of {_as_read(config)}: give the same"
    return "; ".join([same, *remedies])


def require_not_of_run(
    output: Path, setting: str, particles: ParticleSet, weights: Path
) -> None:
    """Refuse to write latents or losses of other particles under the name of a run's file.

    Latents of a run may be replaced by others of its own particles and weights, which is said.

    Args:
        output: The file that will be written.
        setting: The setting that names it.
        particles: The particles that it will be of.
        weights: The weights by which it will be made.

    Raises:
        ConfigError: A run would lose a file, or have one that is not its own.
        InputFileError: The config of the run, or an image, cannot be read.
    """
    folder = output.parent
    run = RunDirectory(folder)
    if not run.holds_run or not run.declares(output):
        return
    reason = _not_of_run(output, run, particles, weights)
    if reason is not None:
        msg = (
            f"{output} is a file of the run in {folder}, which later commands would take for "
            f"its own, but {reason}; give `{setting}` another name or folder"
        )
        raise ConfigError(msg)
    words = "%s, latents of the run in %s, will be replaced by latents of %s"
    logger.warning(words, output, folder, particles.source)


def _not_of_run(
    output: Path, run: RunDirectory, particles: ParticleSet, weights: Path
) -> str | None:
    """The reason why latents are not those of a run; None if they are."""
    match = RunDirectory.latents.match(run, output)
    if match is None:
        return "that is not where its latents are"
    record = ParticleRecord.of_mapping(_config_in(run.path).get("training", {}))
    if record is None:
        return "it recorded no images that tell its particles"
    if record.others(particles) != []:
        return f"what is written is of {particles.source}"
    own = run.weights(int(match.group(1)) if match.groups() else None)
    if not own.is_file() or not filecmp.cmp(own, weights, shallow=False):
        return f"its latents there are by {own.name}, not by {weights}"
    return None


def require_box_of_run(folder: Path, particles: ParticleSet) -> None:
    """Refuse images of another box than those of a run, which cannot be compared with them.

    Runs that recorded no digests are not looked at.

    Args:
        folder: The folder of the run.
        particles: The particles.

    Raises:
        ConfigError: The boxes differ.
    """
    config = _config_in(folder)
    record = ParticleRecord.of_mapping(config.get("training", {}))
    found = particles.images.pixels.box_size
    if record is None or record.box_size == found:
        return
    msg = (
        f"images of {particles.source} have {found} px, those that {folder} read "
        f"{record.box_size} px: that they are the same particles cannot be told; give the "
        f"particles of that run, as in {_as_read(config)}"
    )
    raise ConfigError(msg)


def _config_in(folder: Path) -> Mapping[str, Any]:
    """The config of the run in a folder; empty where there is none."""
    run = RunDirectory(folder)
    for path in (run.config_yaml, run.config_pickle):
        if path.is_file():
            return load_run_config(path)
    return {}


def _others_in_words(config: Mapping[str, Any], particles: ParticleSet) -> str | None:
    """Images that are not those a run recorded, in words; None if all are, or nobody knows."""
    record = ParticleRecord.of_mapping(config.get("training", {}))
    others = None if record is None else record.others(particles)
    if record is None or not others:
        return None
    compared = counted(len(record.digests), "particle")
    return (
        f"of the images of {compared} that were compared {len(others)} are others, first that "
        f"of particle {others[0]} (counting from 0)"
    )


def require_particles_of_latents(latents: Path, particles: ParticleSet) -> None:
    """Refuse particles other than those of the run whose folder was given for its latents.

    A file in such a folder, given by itself, may be meant for other images of the same
    particles: that they are others is said.

    Args:
        latents: The folder of a run, or a file.
        particles: The particles that the latents are taken for.

    Raises:
        ConfigError: They are others than those of the run, or in another order.
        InputFileError: The config of the run, or an image, cannot be read.
    """
    if latents.is_dir():
        require_particles_of_run(latents, particles)
    else:
        warn_of_other_particles(latents, "latents", particles)


def warn_of_other_particles(path: Path | None, what: str, particles: ParticleSet) -> None:
    """Say that a file of a run is taken for other particles than those of the run.

    Args:
        path: The file, which may also stand in no run's folder; None for none.
        what: What it holds of the particles, in words.
        particles: The particles that it is taken for.

    Raises:
        InputFileError: The config of the run, or an image, cannot be read.
    """
    found = None if path is None else _others_in_words(_config_in(path.parent), particles)
    if found is not None:
        logger.warning(
            "%s is taken for %s of the particles of %s in their order, but those of its run "
            "are others: %s",
            path,
            what,
            particles.source,
            found,
        )


def warn_of_other_poses(folder: Path, poses: Path | None, particles: ParticleSet) -> None:
    """Say that the particles of a run are taken at other poses than those it was trained at.

    A run may have refined the poses that it was given.

    Args:
        folder: Of the run.
        poses: The file of poses that is given; None for those that come with the images.
        particles: The particles, at the poses that are taken.

    Raises:
        InputFileError: The config of the run, or an image, cannot be read.
    """
    config = _config_in(folder)
    record = ParticleRecord.of_mapping(config.get("training", {}))
    if record is None or len(particles) != record.count or record.others(particles):
        return
    refined = RunDirectory(folder).poses()
    given = config.get("dataset_args", {}).get("poses")
    if refined.is_file():
        known, what = refined, "refined them"
    elif given is not None:
        known, what = Path(given), f"was trained with those of {given}"
    else:
        return
    if poses is None or poses.resolve() != known.resolve():
        logger.warning(
            "poses are those of %s, but the run in %s %s: give `poses` %s to take these",
            particles.source if poses is None else poses,
            folder,
            what,
            known,
        )
