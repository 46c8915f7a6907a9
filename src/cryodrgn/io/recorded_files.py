"""Files that the config of a run names, where they are no longer in their places."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from cryodrgn.errors import InputFileError
from cryodrgn.io.particle_files import ParticleFiles
from cryodrgn.io.text import missing_in_words
from cryodrgn.rundir import ScreeningFiles

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
