"""Errors a user can act on.

CryodrgnError               anything this package raises on purpose
├─ InputFileError           a file is missing, unreadable, or not what it claims
│  └─ BadImageError         an image has values that cannot be computed with
├─ OutputFileError          a result cannot be written where it was asked for
├─ MetadataError            a field is missing or out of range (pose, CTF, optics)
├─ ShapeMismatchError       two inputs disagree on particle count or box size
├─ ConfigError              options contradict one another or the run they belong to
├─ MissingDependencyError   an optional library is not installed
├─ NumericalError           a computation left the range of finite numbers
└─ TeamError                another process of a job on several devices is gone

Every message says what is wrong, where, what was found, what was expected and, where
that is known, what to do. The command line prints it as one line and ends with status 2;
anything that is not a :class:`CryodrgnError` is a bug and ends in a traceback.
"""

LONGEST_MESSAGE = 2000


def printable(text: str, *, keep: str = "") -> str:
    """Text without what a terminal would obey: what files hold comes into messages.

    Args:
        text: Any text.
        keep: Characters that stay although they are not printable.
    """
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() or mark in keep else "�" for mark in text)


class CryodrgnError(Exception):
    """Base of all errors that a user can act on: one sentence on one line."""

    def __init__(self, message: str = "") -> None:
        message = printable(" ".join(message.splitlines()))
        if len(message) > LONGEST_MESSAGE:
            half = LONGEST_MESSAGE // 2
            message = f"{message[:half]} … {message[-half:]}"
        super().__init__(message)


class InputFileError(CryodrgnError):
    """A file is missing, unreadable, or not what it claims to be."""


class BadImageError(InputFileError):
    """An image has values that cannot be computed with."""


class OutputFileError(CryodrgnError):
    """A result cannot be written where it was asked for."""


class MetadataError(CryodrgnError):
    """A field of the metadata is missing or out of range."""


class ShapeMismatchError(CryodrgnError):
    """Two inputs disagree on the number of particles or the box size."""


class ConfigError(CryodrgnError):
    """Options contradict one another, or the run they are applied to."""


class MissingDependencyError(CryodrgnError):
    """A library of an optional extra is not installed."""


class NumericalError(CryodrgnError):
    """A computation left the range of finite numbers."""


class TeamError(CryodrgnError):
    """Another process of a job on several devices is gone."""
