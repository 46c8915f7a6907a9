"""Folders that were given where a file is wanted: which of their files may have been meant."""

import itertools
import re
from contextlib import suppress
from pathlib import Path

from cryodrgn.rundir import RunDirectory, StateFiles

# Files are looked for among so many names; so many are shown.
MOST_NAMES, NAMES_SHOWN = 10_000, 4
# The particles in the settings of a run.
PARTICLES = re.compile(r"^\s*particles: (\S.*)$", re.MULTILINE)
# In the order in which they are named.
ENDINGS = (".star", ".cs", ".mrcs", ".txt", ".mrc", ".pkl", ".npy", ".npz", ".csv", ".pdb")


def folder_in_words(folder: Path) -> str:
    """A sentence that a path is a folder, with the files in it that may have been meant.

    Args:
        folder: The folder.
    """
    wanted = f"{folder} is a folder, expected a file"
    meant = _of_run(RunDirectory(folder)) or _of_states(StateFiles(folder))
    if meant:
        return f"{wanted}; give one of its files: {', '.join(meant)}"
    with suppress(OSError):
        names = sorted(one.name for one in itertools.islice(folder.iterdir(), MOST_NAMES))
        known = [name for ending in ENDINGS for name in names if name.endswith(ending)]
        if known:
            more = ", …" if len(known) > NAMES_SHOWN else ""
            shown = ", ".join(str(folder / name) for name in known[:NAMES_SHOWN])
            return f"{wanted}; give one of its files: {shown}{more}"
    return f"{wanted}; no file in it has a name that cryodrgn reads"


def _of_run(run: RunDirectory) -> list[str]:
    """Latents, weights, maps and particles of a run; none of another folder."""
    if not run.config_yaml.is_file():
        return []
    found = []
    epochs: list[int] = []
    with suppress(OSError):
        epochs = run.latent_epochs()
    last = None if run.latents().is_file() or not epochs else epochs[-1]
    for words, path in (
        ("latents", run.latents(last)),
        ("weights", run.weights(last)),
        ("map of the mean", run.linear.mean),
        ("half maps of state 0 and the like", StateFiles(run.path).half_map_a(0)),
    ):
        if path.is_file():
            found.append(f"{path} ({words})")
    with suppress(OSError, ValueError):
        # Not by the reader of settings, which reads files by what calls this.
        named = PARTICLES.search(run.config_yaml.read_text(encoding="utf-8"))
        if named:
            found.append(f"{named[1]} (the particles that it was trained on)")
    return found


def _of_states(files: StateFiles) -> list[str]:
    """Half maps of the first state, where there are any."""
    halves = files.half_map_a(0), files.half_map_b(0)
    return [f"{path} (half map of state 0)" for path in halves if path.is_file()]
