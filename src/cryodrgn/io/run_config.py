"""The config file of a training run: ``config.yaml``, or the ``config.pkl`` of 0.2.0."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from cryodrgn.errors import InputFileError
from cryodrgn.io.atomic import atomic_path
from cryodrgn.io.cryodrgn_pickle import load_pickles, save_pickles
from cryodrgn.io.selection_files import load_indices
from cryodrgn.io.text import read_yaml, yaml_text
from cryodrgn.particles.particle_record import digest_of_rows
from cryodrgn.rundir import RunDirectory, ScreeningFiles

# What cryoDRGN 0.2.0 puts into a config.pkl.
GROUPS = ("dataset_args", "lattice_args", "model_args", "training")
_NUMBER = int | float | np.number
# Group, names, and what their values are: type, lowest, highest.
KINDS: tuple[tuple[str, tuple[str, ...], Any, float | None, float], ...] = (
    ("lattice_args", ("D",), int | np.integer, 3, 4097),
    ("lattice_args", ("extent",), _NUMBER, 0, 100),
    ("model_args", ("zdim",), int | np.integer, 0, 4096),
    ("model_args", ("qlayers", "players", "layers"), int | np.integer, 0, 100),
    ("model_args", ("qdim", "pdim", "dim"), int | np.integer, 1, 65536),
    ("model_args", ("enc_mask", "pe_dim"), int | np.integer, -1, 4097),
    ("model_args", ("feat_sigma",), _NUMBER, 0, 1e6),
    ("model_args", ("pe_type", "domain", "activation", "encode_mode"), str, None, 0),
    ("model_args", ("decoder", "kind"), str, None, 0),
    ("model_args", ("decoder_args", "encoder_args", "tilt_params"), dict, None, 0),
    ("dataset_args", ("particles", "ind", "poses", "ctf", "datadir"), str, None, 0),
    ("dataset_args", ("particles_tilt", "ctf_applied"), str, None, 0),
    ("dataset_args", ("window_r",), _NUMBER, 0, 1),
    ("dataset_args", ("tilt_deg",), _NUMBER, -360, 360),
    ("dataset_args", ("tilt_series",), bool, None, 0),
    ("dataset_args", ("ntilts",), int | np.integer, 1, 10000),
    ("dataset_args", ("dose_per_tilt", "angle_per_tilt"), _NUMBER, 0, 1000),
    ("dataset_args", ("sampling",), dict, None, 0),
    ("dataset_args", ("stack_folders",), list, None, 0),
    ("training", ("pixel_size",), _NUMBER, 0, 1e6),
    ("training", ("num_particles",), int, 1, 1e12),
    ("training", ("images", "settings"), dict, None, 0),
)
# Folders between the settings of a run and its clusters: RUN/analyze.19/kmeans20/labels.pkl.
DEEPEST = 3
LEGACY_GROUPS = ("dataset_args", "lattice_args", "model_args", "seed")


def load_run_config(path: Path) -> dict[str, Any]:
    """The settings of a run.

    Args:
        path: ``config.yaml`` or ``config.pkl``.

    Raises:
        InputFileError: The file cannot be read or holds no settings.
    """
    content = load_pickles(path)[0] if path.suffix == ".pkl" else read_yaml(path)
    if not isinstance(content, dict) or "model_args" not in content:
        msg = f"{path} is no config file of a training run: it has no model_args"
        raise InputFileError(msg)
    _require_types(content, path)
    return content


def _require_types(content: Mapping[str, Any], path: Path) -> None:
    """Refuse settings that are not of the kind they must be, where they are given.

    Raises:
        InputFileError: One of them is something else.
    """
    for group in GROUPS:
        found = content.get(group, {})
        if not isinstance(found, dict):
            msg = f"{path}: {group} is {_shown(found)}, expected settings by name"
            raise InputFileError(msg)
    for group, names, kind, low, high in KINDS:
        for name in names:
            value = content.get(group, {}).get(name)
            if value is None:
                continue
            fits = isinstance(value, kind) and not (kind is not bool and value is True)
            if not fits or (low is not None and not low <= value <= high):
                expected = getattr(kind, "__name__", "number")
                limits = "" if low is None else f" between {low:g} and {high:g}"
                msg = f"{path}: {name} is {_shown(value)}, expected {expected}{limits}"
                raise InputFileError(msg)
    norm = content.get("dataset_args", {}).get("norm")
    if norm is not None and not (
        isinstance(norm, list | tuple)
        and len(norm) == 2
        and all(isinstance(part, int | float | np.number) for part in norm)
    ):
        msg = f"{path}: norm is {_shown(norm)}, expected a shift and a scale"
        raise InputFileError(msg)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:80]}…"


def find_run_config(weights: Path) -> Path:
    """The config file beside a weight file.

    Raises:
        InputFileError: There is none.
    """
    run = RunDirectory(weights.parent)
    for path in (run.config_yaml, run.config_pickle):
        if path.is_file():
            return path
    msg = f"{weights.parent} has no config.yaml or config.pkl; name it with `config`"
    raise InputFileError(msg)


def run_holding(path: Path) -> Path | None:
    """The folder of the run that a file lies in, or in an analysis there; None if in none."""
    # A link counts where it lies, and else where it leads.
    for start in (path.absolute(), path.resolve()):
        for folder in start.parents[:DEEPEST]:
            if RunDirectory(folder).holds_run:
                return folder
    return None


def stack_folders_of(config: Mapping[str, Any], particles: Path) -> tuple[Path, ...]:
    """Folders in which a run found the stacks of a particle file; none if it was another one.

    Args:
        config: The settings of the run.
        particles: The particle file.
    """
    dataset = config.get("dataset_args", {})
    named = dataset.get("particles")
    if named is None or Path(named).resolve() != particles.resolve():
        return ()
    folders = dataset.get("stack_folders") or ()
    return tuple(Path(folder) for folder in folders if isinstance(folder, str))


def reconstruction_of_record(training: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings of a linear run, or of a reconstruction of states; none of other runs.

    Args:
        training: The group ``training`` of the settings of the run.
    """
    found = (training.get(name) for name in ("linear", "states"))
    return next((settings for settings in found if isinstance(settings, dict)), {})


def number_trained_on(folder: Path) -> int | None:
    """Number of the particles of a run; None if it did not record it."""
    config = load_run_config(find_run_config(RunDirectory(folder).weights()))
    return config.get("training", {}).get("num_particles")


def parent_indices(folder: Path) -> Path | None:
    """The index file by which the particles of a run were filtered; None if they were not.

    Raises:
        InputFileError: The folder is no training run, or its index file is gone, or has
            changed since.
    """
    config = load_run_config(find_run_config(RunDirectory(folder).weights()))
    named = config.get("dataset_args", {}).get("ind")
    if named is None:
        return None
    path = ScreeningFiles(folder).rows_of_record(Path(named))
    if not path.is_file():
        msg = f"{path}, by which {folder} was filtered, is not there; name it with `indices`"
        raise InputFileError(msg)
    wrong = rows_of_others(load_indices(path), config.get("training", {}), folder)
    if wrong is not None:
        msg = (
            f"{path} selects {wrong}: it has changed since the training; name what it was then "
            "with `indices`"
        )
        raise InputFileError(msg)
    return path


def rows_of_others(
    rows: Int[np.ndarray, " rows"], training: Mapping[str, Any], folder: Path
) -> str | None:
    """Words on what rows of a particle file select, if not a run's particles; else None.

    Args:
        rows: The rows.
        training: The run's record of its training.
        folder: The run.
    """
    count = training.get("num_particles")
    if count not in {None, len(rows)}:
        return f"{len(rows)} particles, but {folder} has {count}"
    if training.get("rows") not in {None, digest_of_rows(rows)}:
        return f"{len(rows)} particles, but not those that {folder} has"
    return None


def save_run_config(run: RunDirectory, config: Mapping[str, Any]) -> None:
    """Write the settings as ``config.yaml`` and, what 0.2.0 knows of them, ``config.pkl``."""
    with atomic_path(run.config_yaml) as partial:
        partial.write_text(yaml_text(config))
    legacy = {name: config[name] for name in LEGACY_GROUPS if name in config}
    save_pickles(run.config_pickle, [legacy])
