"""The log: its lines, and where they go, set up in this one place.

Messages name settings in backticks. A command line shows the flags of its command instead, on
the terminal, in the files of the log, and on pages (:func:`as_named`).
"""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cryodrgn.errors import OutputFileError, printable
from cryodrgn.io.atomic import why_not_written

Naming = Callable[[str], str]
_PACKAGE = logging.getLogger("cryodrgn")


class _Lines(logging.Formatter):
    """Lines without anything that a terminal would obey, and with settings by their flags.

    Args:
        layout: Layout of a line.
        named: Puts flags in the place of settings.
    """

    def __init__(self, layout: str, named: Naming) -> None:
        super().__init__(layout, "%Y-%m-%d %H:%M:%S")
        self.named = named

    def format(self, record: logging.LogRecord) -> str:
        return printable(self.named(super().format(record)), keep="\n\t")


class _LogFile(logging.FileHandler):
    """A log whose disk may be full, which is then the user's to know."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        path = Path(self.baseFilename)
        raise OutputFileError(why_not_written(path, error)) from error


def log_to_terminal(advised: Naming) -> None:
    """Log messages to standard output, warnings to standard error.

    Args:
        advised: Puts flags in the place of settings, and leaves out advice that the command
            cannot follow.
    """
    news = logging.StreamHandler(sys.stdout)
    news.addFilter(lambda record: record.levelno < logging.WARNING)
    news.setFormatter(_Lines("%(message)s", advised))
    warnings = logging.StreamHandler(sys.stderr)
    warnings.setLevel(logging.WARNING)
    warnings.setFormatter(_Lines("warning: %(message)s", advised))
    # A command that runs others keeps the file of its own log.
    files = [one for one in _PACKAGE.handlers if isinstance(one, logging.FileHandler)]
    _PACKAGE.handlers[:] = [*files, news, warnings]
    log_from(logging.INFO)


@contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Copy what the program logs to a file, each line with date and time.

    A notebook that set no level sees warnings only; the file has the steps all the same.

    Raises:
        OutputFileError: The file cannot be written.
    """
    try:
        handler = _LogFile(path, encoding="utf-8")
    except OSError as error:
        raise OutputFileError(why_not_written(path, error)) from error
    handler.setFormatter(_Lines("%(asctime)s     %(message)s", as_named))
    level = _PACKAGE.level
    _PACKAGE.addHandler(handler)
    if level == logging.NOTSET:
        log_from(logging.INFO)
    try:
        yield
    finally:
        log_from(level)
        _PACKAGE.removeHandler(handler)
        # What is still to be written may not fit on the disk, either.
        with suppress(OSError):
            handler.close()


@contextmanager
def only_warnings() -> Iterator[None]:
    """Leave news out of the log, of work that is repeated on other images than the user's."""
    level = _PACKAGE.level
    log_from(max(level, logging.WARNING))
    try:
        yield
    finally:
        log_from(level)


def log_from(level: int) -> None:
    """Log messages of this level and above."""
    # Every logger of every library forgets what it knows when a level is set: milliseconds.
    if _PACKAGE.level != level:
        _PACKAGE.setLevel(level)


def as_named(text: str) -> str:
    """A text with settings named as on the terminal: by flags, if a command line set it up."""
    for handler in _PACKAGE.handlers:
        is_terminal = not isinstance(handler, logging.FileHandler)
        if is_terminal and isinstance(handler.formatter, _Lines):
            return handler.formatter.named(text)
    return text
