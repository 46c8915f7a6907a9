"""Folders that work cut short leaves without their report."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)


@contextmanager
def unfinished_work_named(folder: Path, report: Path) -> Iterator[None]:
    """Say that a folder holds a part of the results, if the work in it ends in an error.

    Args:
        folder: Folder of the results.
        report: The file that is written last, or is whole from then on.
    """
    began, before = time.time_ns(), _changed(report)
    is_whole = False
    try:
        yield
        is_whole = True
    finally:
        if not is_whole and _changed(report) == before and _has_newer(folder, began):
            missing = "no report" if before is None else "the report of an earlier analysis"
            logger.warning(
                "%s holds a part of the results and %s; run the same command again, or delete "
                "the folder",
                folder,
                missing,
            )


def _changed(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None


def _has_newer(folder: Path, began: int) -> bool:
    """True if something in the folder was written since then; clocks of disks are coarse."""
    if not folder.is_dir():
        return False
    return any(path.stat().st_mtime_ns > began - 10**8 for path in folder.rglob("*"))
