"""Errors a user can act on.

CryodrgnError               anything this package raises on purpose
├─ InputFileError           a file is missing, unreadable, or not what it claims
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


class CryodrgnError(Exception):
    """Base of all errors that a user can act on."""


class InputFileError(CryodrgnError):
    """A file is missing, unreadable, or not what it claims to be."""


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
