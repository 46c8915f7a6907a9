"""Refusals of places for results that cannot be used, before anything is computed."""

from pathlib import Path

from cryodrgn.errors import ConfigError, OutputFileError


def require_own_outputs(paths: dict[str, Path]) -> None:
    """Refuse two outputs of the same path.

    Args:
        paths: The outputs of a job, by the name of the setting.

    Raises:
        ConfigError: One output would take the other's place.
    """
    seen: dict[Path, str] = {}
    for name, path in paths.items():
        first = seen.setdefault(path.resolve(), name)
        if first != name:
            msg = (
                f"`{first}` and `{name}` are both {path}: one would be written over the "
                "other; give each a file of its own"
            )
            raise ConfigError(msg)


def existing_folder(folder: Path, setting: str | None = None) -> Path:
    """The folder itself, or the nearest above it that exists.

    Args:
        folder: A folder for results; it need not exist.
        setting: The setting that names it, for the message; None for one of several.

    Raises:
        OutputFileError: A file stands in its place.
    """
    place = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not place.is_dir():
        by = "" if setting is None else f" with `{setting}`"
        msg = f"{folder} cannot be written: {place} is a file; give a folder{by}"
        raise OutputFileError(msg)
    return place
