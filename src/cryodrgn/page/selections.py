"""Selections of particles that the page keeps in the folder of the run, and their exports.

A selection is one file, ``selections/NAME.pkl``: rows of the original particle file, as all
commands take them. Several people may look at a run at once, so nothing is replaced by
somebody who has not seen what is there.
"""

import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from cryodrgn.errors import ConfigError, CryodrgnError, InputFileError
from cryodrgn.io.cryodrgn_pickle import save_pickles
from cryodrgn.io.export import export_particles
from cryodrgn.io.selection_files import load_indices
from cryodrgn.particles.selection import check_indices, positions_in
from cryodrgn.rundir import RunDirectory

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
EXPORTS = (".star", ".cs", ".csg")


class ChangedSinceError(CryodrgnError):
    """Somebody else has saved a selection of the same name since."""


def require_name(name: str) -> str:
    """A name of a selection, which becomes one of a file.

    Raises:
        ConfigError: It has other characters than letters, digits, ``_`` and ``-``.
    """
    if not NAME.fullmatch(name):
        msg = (
            f"a selection's name has up to 64 letters, digits, _ and -, and begins with a "
            f"letter or digit; got {name[:80]!r}"
        )
        raise ConfigError(msg)
    return name


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Selections:
    """The selections of one run.

    Attributes:
        files: Names of the run's files.
        original: Row of every particle in the original file.
        source: The original file; None if the run does not say.
    """

    files: RunDirectory
    original: Int[np.ndarray, " particles"]
    source: Path | None
    lock: threading.Lock

    def all(self) -> list[dict[str, Any]]:
        """Names, versions and exports of what is there, in order."""
        return [self._described(path) for path in self._there() if NAME.fullmatch(path.stem)]

    def notes(self) -> list[str]:
        """Sentences on files whose names the page does not take."""
        return [
            f"{path} is not listed: a selection's name has up to 64 letters, digits, _ and -, "
            "and begins with a letter or digit; rename it"
            for path in self._there()
            if not NAME.fullmatch(path.stem)
        ]

    def _there(self) -> list[Path]:
        found = sorted(RunDirectory.selection.existing(self.files))
        return [path for path in found if path.is_file()]

    def rows(self, name: str) -> Int[np.ndarray, " chosen"]:
        """Particles of the run in a selection.

        Raises:
            InputFileError: There is no such selection, or it cannot be read.
            ShapeMismatchError: It names particles that the run has not.
        """
        path = self._path(name)
        rows = load_indices(path)
        return positions_in(rows, self.original, source=str(self.files.path))

    def keep(
        self, name: str, particles: Int[np.ndarray, " chosen"], seen: str
    ) -> dict[str, Any]:
        """Write a selection.

        Args:
            name: Its name.
            particles: The particles, as rows of the run.
            seen: Version of the selection of that name which it replaces; empty for none.

        Raises:
            ConfigError: The name is none.
            ShapeMismatchError: There are no such particles, or none at all.
            ChangedSinceError: There is one, of another version than was seen.
        """
        path = self._place(require_name(name))
        count = len(self.original)
        check_indices(particles, count, source="the selection", of=str(self.files.path))
        with self.lock:
            there = _version(path)
            if there != seen:
                msg = (
                    f"{path.name} has been saved by somebody else since; take another name, or "
                    "look at theirs first"
                )
                raise ChangedSinceError(msg)
            save_pickles(path, [self.original[np.unique(particles)]])
            return self._described(path)

    def export(self, name: str) -> dict[str, Any]:
        """Write a selection in the format of the particle file, as ``cryodrgn export`` does.

        Raises:
            ConfigError: The particles do not come from a ``.star`` or ``.cs`` file.
            CryodrgnError: The selection or the particle file cannot be used.
        """
        path = self._path(name)
        if self.source is None:
            msg = f"the config of {self.files.path} does not say where its particles come from"
            raise ConfigError(msg)
        if self.source.suffix not in {".star", ".cs"}:
            msg = (
                f"{self.source.name} is no .star or .cs file, so there is nothing to write the "
                f"particles back into; {path.name} holds their rows"
            )
            raise ConfigError(msg)
        with self.lock:
            export_particles(
                self.source, load_indices(path), path.with_suffix(self.source.suffix)
            )
        return self._described(path)

    def download(self, name: str, ending: str) -> Path:
        """A file of a selection.

        Raises:
            InputFileError: It is not there, or leads out of the run by a link.
        """
        path = self._path(name)
        for found in (path, *self._exports(path)):
            if found.name.removeprefix(path.stem) != ending:
                continue
            if found.is_symlink():
                msg = f"{found.name} is a link, which the page does not follow"
                raise InputFileError(msg)
            return found
        msg = f"{path.stem} has not been exported as {ending[:20]!r}"
        raise InputFileError(msg)

    def _described(self, path: Path) -> dict[str, Any]:
        exports = [found.name.removeprefix(path.stem) for found in self._exports(path)]
        return {"name": path.stem, "version": _version(path), "exports": exports}

    @staticmethod
    def _exports(path: Path) -> list[Path]:
        """Files that an export of a selection wrote."""
        found = [path.with_suffix(ending) for ending in EXPORTS]
        found += sorted(path.parent.glob(f"{path.stem}_passthrough*.cs"))
        return [place for place in found if place.is_file()]

    def _path(self, name: str) -> Path:
        path = self._place(require_name(name))
        if not path.is_file():
            msg = f"{self.files.path} has no selection {name}"
            raise InputFileError(msg)
        return path

    def _place(self, name: str) -> Path:
        """The path of a selection, which must lie within the run.

        Raises:
            ConfigError: The folder of selections is a link to another place.
        """
        path = self.files.selection(name)
        if path.parent.resolve() != self.files.path.resolve() / path.parent.name:
            msg = f"{path.parent} is a link to another folder; nothing is written there"
            raise ConfigError(msg)
        return path


def _version(path: Path) -> str:
    """A mark of a file's state; empty if there is none."""
    try:
        known = path.stat()
    except FileNotFoundError:
        return ""
    return f"{known.st_mtime_ns:x}-{known.st_size:x}-{known.st_ino:x}"
