"""Provenance of a result: sizes and hashes of its input files."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

# Larger files are hashed at both ends only, which takes a moment instead of an hour.
HASHED_WHOLE = 256 << 20
END = 16 << 20
# More files than this are hashed at short ends only.
FEW, END_OF_MANY = 20, 64 << 10


def describe_files(paths: Iterable[Path]) -> list[dict[str, str]]:
    """Name, size in words and SHA-256 of every file that exists.

    Args:
        paths: The files; those that are not there are left out.
    """
    return [
        {"file": str(path), "size": _in_words(path.stat().st_size), "sha256": _digest(path)}
        for path in paths
        if path.is_file()
    ]


def describe_many_files(paths: Sequence[Path]) -> dict[str, str | int]:
    """Number, size in words and one SHA-256 of files that belong together.

    Up to a few files are hashed as :func:`describe_files` does it. Of more, only names, sizes
    and the first and last bytes are.

    Args:
        paths: The files.
    """
    digest = hashlib.sha256()
    few = len(paths) <= FEW
    for path in paths:
        if few:
            digest.update(_digest(path).encode())
        else:
            digest.update(f"{path.name} {path.stat().st_size} ".encode())
            digest.update(_ends(path, END_OF_MANY))
    of = (
        "of their digests"
        if few
        else f"of names, sizes and {END_OF_MANY >> 10} KiB at both ends"
    )
    total = sum(path.stat().st_size for path in paths)
    return {
        "files": len(paths),
        "size": _in_words(total),
        "sha256": digest.hexdigest(),
        "of": of,
    }


def _digest(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= HASHED_WHOLE:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256(_ends(path, END))
    return f"{digest.hexdigest()} (of the first and last {END >> 20} MiB)"


def _ends(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        first = file.read(count)
        file.seek(max(0, path.stat().st_size - count))
        return first + file.read(count)


def _in_words(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if unit != "bytes" else f"{size:.0f} bytes"
        size /= 1000
    return f"{size:.3g} GB"
