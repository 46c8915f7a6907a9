"""Which files a result was made from: sizes and hashes."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

# Larger files are hashed at both ends only, which takes a moment instead of an hour.
HASHED_WHOLE = 256 << 20
END = 16 << 20


def describe_files(paths: Iterable[Path]) -> list[dict[str, str]]:
    """Name, size in words and SHA-256 of every file that exists.

    Args:
        paths: The files; those that are not there are left out.
    """
    return [
        {"file": str(path), "size": _size_in_words(path), "sha256": _digest(path)}
        for path in paths
        if path.is_file()
    ]


def _digest(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= HASHED_WHOLE:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256(file.read(END))
        file.seek(size - END)
        digest.update(file.read(END))
    return f"{digest.hexdigest()} (of the first and last {END >> 20} MiB)"


def _size_in_words(path: Path) -> str:
    size = float(path.stat().st_size)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if unit != "bytes" else f"{size:.0f} bytes"
        size /= 1000
    return f"{size:.3g} GB"
