"""The config file of a training run: ``config.yaml``, or the ``config.pkl`` of 0.2.0."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cryodrgn.errors import InputFileError
from cryodrgn.io.atomic import atomic_path
from cryodrgn.io.legacy_pickle import load_pickles, save_pickles
from cryodrgn.io.text import read_yaml
from cryodrgn.rundir import RunDirectory

# What cryoDRGN 0.2.0 puts into a config.pkl.
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
    return content


def find_run_config(weights: Path) -> Path:
    """The config file beside a weight file.

    Raises:
        InputFileError: There is none.
    """
    run = RunDirectory(weights.parent)
    for path in (run.config_yaml, run.config_pickle):
        if path.is_file():
            return path
    msg = f"there is no config.yaml or config.pkl beside {weights}; name it with --config"
    raise InputFileError(msg)


def parent_indices(folder: Path) -> Path | None:
    """The index file by which the particles of a run were filtered; None if they were not.

    Raises:
        InputFileError: The folder is no training run, or its index file is gone.
    """
    config = load_run_config(find_run_config(RunDirectory(folder).weights()))
    named = config.get("dataset_args", {}).get("ind")
    if named is None:
        return None
    path = Path(named)
    if not path.is_file():
        msg = f"{path}, by which {folder} was filtered, is not there; name it with --ind"
        raise InputFileError(msg)
    return path


def save_run_config(run: RunDirectory, config: Mapping[str, Any]) -> None:
    """Write the settings as ``config.yaml`` and, what 0.2.0 knows of them, ``config.pkl``."""
    with atomic_path(run.config_yaml) as partial:
        partial.write_text(yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
    legacy = {name: config[name] for name in LEGACY_GROUPS if name in config}
    save_pickles(run.config_pickle, [legacy])
