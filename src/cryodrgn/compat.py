"""The version of cryoDRGN whose meanings hold where those of 0.2 and 4.x differ silently.

The same words mean something else in both: whether images are inverted and windowed, from which
number epochs and volumes count, what ``graph_traversal -o`` names. All of it is switched
together, by ``--compat`` or else the environment variable ``CRYODRGN_COMPAT``; the meanings of
0.2.0 hold unless said otherwise. A run records the version that it was trained under.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from cryodrgn.errors import ConfigError

VARIABLE, FLAG = "CRYODRGN_COMPAT", "--compat"
OLD, NEW = "0.2", "4"
VERSIONS = (OLD, NEW)
HELP = (
    f"Meanings where cryoDRGN 0.2 and 4.x differ: {NEW} inverts and windows images by default, "
    "and counts epochs, volumes and clusters from 1 (docs/coming-from-cryodrgn.md; default: "
    f"{VARIABLE}, else {OLD})"
)
TRAINING = (
    "train_vae",
    "train_dec",
    "train_nn",
    "train_linear",
    "abinit",
    "abinit_homo",
    "abinit_het",
)
# By command: defaults of 4.x, by the name of the setting, and what is said of them.
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    **{name: {"invert": True, "window": True} for name in TRAINING},
    "backproject_voxel": {"invert": True},
    "eval_vol": {"first_number": 1},
}
IMAGES = (
    "images are inverted and windowed unless `invert=False` and `window=False` say otherwise"
)
SAID: Mapping[str, str] = {
    **dict.fromkeys(TRAINING, f"{IMAGES}; epochs count from 1 in the names of files"),
    "train_linear": IMAGES,
    "backproject_voxel": "images are inverted unless `invert=False` says otherwise",
    "run": "but here sign and window are found out, and epochs and volumes count from 0",
    "demo": "but here images are not inverted, and epochs and volumes count from 0",
    "eval_vol": "volumes count from 1",
    "analyze": "volumes count from 1",
    "analyze_landscape": "volumes count from 1",
    "graph_traversal": "`output` names the file of the z-values",
    "select_clusters": "`clusters` count from 1",
    "select": "but here `clusters` count from 0, as in labels.pkl and on pages",
    "filter": "but here `clusters` count from 0, as in labels.pkl and on pages",
}
# Flags that name another setting in 4.x, by command: the flag, and the setting that it names.
FLAGS: Mapping[str, Mapping[str, str]] = {"graph_traversal": {"-o": "output"}}

_chosen: ContextVar[str | None] = ContextVar("compat", default=None)


def version() -> str:
    """The version whose meanings hold.

    Raises:
        ConfigError: The environment names another one.
    """
    named = _chosen.get() or os.environ.get(VARIABLE) or OLD
    short = {"0.2.0": OLD, "4.3": NEW, "4.x": NEW}.get(named, named)
    if short not in VERSIONS:
        msg = f"{VARIABLE} is {named!r}, expected {' or '.join(VERSIONS)}"
        raise ConfigError(msg)
    return short


def first_number() -> int:
    """Number of the first epoch, volume or cluster: 0, or 1 as in 4.x."""
    return 1 if version() == NEW else 0


def first_epoch_of(config: Mapping[str, Any]) -> int:
    """Number of the first epoch in the names of a run's files.

    Args:
        config: What its config file holds.
    """
    return 1 if str(config.get("training", {}).get("compat")) == NEW else 0


def of_first_epoch(number: int) -> str:
    """The version in which the first epoch of a run has a number."""
    return NEW if number else OLD


def first_number_for(config: Mapping[str, Any]) -> int:
    """Number of the first volume of an analysis: as the user says, or else as the run did.

    Args:
        config: What the config file of the run holds.
    """
    if _chosen.get() or os.environ.get(VARIABLE):
        return first_number()
    return first_epoch_of(config)


@contextmanager
def meaning(chosen: str | None) -> Iterator[None]:
    """Let the meanings of a version hold; None leaves them as they are."""
    token = _chosen.set(chosen or _chosen.get())
    try:
        yield
    finally:
        _chosen.reset(token)


def defaults(command: str) -> Mapping[str, Any]:
    """Defaults of a command that differ from those of 0.2.0, by setting."""
    return DEFAULTS.get(command, {}) if version() == NEW else {}


def flags(command: str, setting: str, names: Sequence[str]) -> tuple[str, ...]:
    """The flags of a setting, which are others where 4.x means another setting by them."""
    moved = FLAGS.get(command, {}) if version() == NEW else {}
    kept = [name for name in names if name not in moved]
    return (*kept, *(flag for flag, owner in moved.items() if owner == setting))
