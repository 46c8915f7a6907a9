"""Finding the image stacks that a metadata file names.

Names are relative to the root of a RELION or cryoSPARC project, and projects are moved and
copied. Without ``--datadir`` a name is taken as it stands in the folder of the metadata file,
else in the working directory or a folder above the metadata file, and last by its bare name
beside the metadata file. With ``--datadir`` it is looked for there, whole or shortened from the
left. Folders in which a run found its stacks come before all of these. A name that fits several
different files equally well is refused.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from cryodrgn.errors import InputFileError

logger = logging.getLogger(__name__)

SHOWN_PLACES = 12


def locate_stacks(
    names: Sequence[str],
    metadata_path: Path,
    datadir: Path | None = None,
    known: Sequence[Path] = (),
) -> dict[str, Path]:
    """The file of every stack name.

    Args:
        names: Names as the metadata file gives them; repetitions are fine.
        metadata_path: The file that gives them.
        datadir: Folder to search instead of the project around ``metadata_path``.
        known: Folders in which a run found its stacks, which are looked into first.

    Returns:
        Path by name.

    Raises:
        InputFileError: A name fits no file or several different ones, or two names would fit
            one file only because their folders were dropped.
    """
    if datadir is not None and not datadir.is_dir():
        msg = f"`datadir` {datadir} is no folder"
        raise InputFileError(msg)
    found: dict[str, Path] = {}
    by_path: dict[Path, tuple[str, bool]] = {}
    for name in dict.fromkeys(names):
        place = _as_it_was(name, metadata_path, datadir, known) or _in_known_folder(name, known)
        has_moved = place is None and bool(known)
        place = place or _locate(name, metadata_path, datadir)
        path = found[name] = place.resolve()
        if has_moved:
            _tell_of_another(name, path, known)
        whole = place.parts[-len(_parts(name)) :] == _parts(name)
        other, other_whole = by_path.setdefault(path, (name, whole))
        # Two names that both stand as they are lead to one file by links.
        if other != name and not (whole and other_whole) and Path(other).name == place.name:
            msg = (
                f"{metadata_path} names {other} and {name}, but only {path} is there; give the "
                "folder under which both are found with `datadir`"
            )
            raise InputFileError(msg)
    return found


def _tell_of_another(name: str, path: Path, known: Sequence[Path]) -> None:
    """Warn where a stack is no more in the folders in which a run found it."""
    folders = ", ".join(map(str, known[:SHOWN_PLACES]))
    logger.warning(
        "%s is no more where the run found it (%s): %s is read; if another stack of that name "
        "is meant, move it back, or give its folder with `datadir`",
        name,
        folders,
        path,
    )


def locate_file(name: str, metadata_path: Path) -> Path:
    """The file that another one of the same project names.

    Args:
        name: Its name, relative to the folder of that file or to one above it.
        metadata_path: The file that names it.

    Raises:
        InputFileError: There is none, or several different ones.
    """
    return _locate(name, metadata_path, None, "keep the folders of the project together")


def _locate(
    name: str,
    metadata_path: Path,
    datadir: Path | None,
    remedy: str = "give its folder with `datadir`",
) -> Path:
    tried: list[Path] = []
    for group in _places(name, metadata_path, datadir):
        group = list(dict.fromkeys(group))
        tried += group
        hits = [place for place in group if _is_file(place)]
        different = [hit for hit in hits[1:] if not hit.samefile(hits[0])]
        if different and hits[0] == metadata_path.resolve().parent / name:
            logger.warning(
                "%s names %s: %s is read, in the folder of the file, and not %s",
                metadata_path,
                name,
                hits[0],
                different[0],
            )
            return hits[0]
        if different:
            msg = (
                f"{metadata_path} names {name}, which could be {hits[0]} or {different[0]}; "
                "say which with `datadir`"
            )
            raise InputFileError(msg)
        if hits:
            return hits[0]
    shown = ", ".join(str(place) for place in list(dict.fromkeys(tried))[:SHOWN_PLACES])
    msg = f"{metadata_path} names {name}, which was not found; tried {shown}; {remedy}"
    raise InputFileError(msg)


def stack_folders(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Folders of some stacks, each once, in order."""
    return tuple(dict.fromkeys(path.resolve().parent for path in paths))


def _as_it_was(
    name: str, metadata_path: Path, datadir: Path | None, known: Sequence[Path]
) -> Path | None:
    """The first place of a name that leads, by links or not, into a known folder."""
    folders = frozenset(known)
    for group in _places(name, metadata_path, datadir) if known else ():
        for place in group:
            if _is_file(place) and place.resolve().parent in folders:
                return place
    return None


def _in_known_folder(name: str, known: Sequence[Path]) -> Path | None:
    """The stack of a name in the known folder that ends most like it; None if there is none."""
    parts = _parts(name)
    best: Path | None = None
    most = -1
    for folder in known:
        place = folder / parts[-1]
        agreeing = 0
        for mine, theirs in zip(parts[-2::-1], folder.parts[::-1], strict=False):
            if mine != theirs:
                break
            agreeing += 1
        if agreeing > most and _is_file(place):
            best, most = place, agreeing
    return best


def _is_file(place: Path) -> bool:
    """True if a name is that of a regular file; not of a device, a pipe or an invalid path."""
    try:
        return place.is_file()
    except (OSError, ValueError):
        return False


def _places(name: str, metadata_path: Path, datadir: Path | None) -> Iterator[Iterable[Path]]:
    """Groups of places where a name may be, the likelier ones first."""
    return _below(datadir, name) if datadir else _around(metadata_path, name)


def _below(datadir: Path, name: str) -> Iterator[Iterable[Path]]:
    """The whole name under the folder, then ever shorter ends of it."""
    parts = _parts(name)
    for start in range(len(parts)):
        yield [datadir.joinpath(*parts[start:])]


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in Path(name).parts if part != "/")


def _around(metadata_path: Path, name: str) -> Iterator[Iterable[Path]]:
    """The whole name under each folder of the project, then the bare name beside the file."""
    folder = metadata_path.resolve().parent
    if Path(name).is_absolute():
        yield [Path(name)]
    else:
        yield [base / name for base in (folder, Path.cwd(), *folder.parents)]
    yield [folder / Path(name).name]
