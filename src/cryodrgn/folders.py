"""Folders whose files are declared: one line per file, with its name and its meaning.

In a declared name ``#`` stands for a number, ``###`` for one of at least three digits and
``*`` for a word or for the name that the user gave.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, Generic, Protocol, Self, TypeVar, overload

Kind = TypeVar("Kind", bound="Path | Folder")
KindOut = TypeVar("KindOut", covariant=True)
Got = TypeVar("Got")


@dataclass(frozen=True)
class Folder:
    """A folder, whose class declares the files in it.

    Attributes:
        path: The folder; it need not exist yet.
        first_epoch: Number of the first epoch in the names of files: 0, or 1 as in cryoDRGN 4.
        first_number: Number of the first volume in the names of files; None takes that of the
            volumes that are there, or else 0.
    """

    path: Path
    first_epoch: int = 0
    first_number: int | None = None

    def place(self, name: str) -> Path:
        """The path of a file with a declared name."""
        return self.path / name

    @property
    def offset(self) -> int:
        """Number added to those of files, for their names."""
        return 0

    @classmethod
    def entries(cls) -> "dict[str, Entry[Any, Any]]":
        """All that is declared of the folder, by its name in Python."""
        found = {
            name: entry for base in cls.__mro__[::-1] for name, entry in vars(base).items()
        }
        return {name: entry for name, entry in found.items() if isinstance(entry, Entry)}

    @classmethod
    def files(cls) -> "Iterator[Entry[Any, Any]]":
        """The entries for files, those of other classes for the same folder included."""
        for entry in cls.entries().values():
            if entry.kind is Path:
                yield entry
            elif entry.name == ".":
                yield from entry.kind.files()

    def written_files(self) -> list[Path]:
        """The declared files that are there."""
        return sorted({path for entry in self.files() for path in entry.existing(self)})

    def declares(self, path: Path) -> bool:
        """True if a path, there or not, has the declared name of a file."""
        return any(entry.match(self, path) for entry in self.files())


class Entry(ABC, Generic[Kind, Got]):
    """A declared file or folder; subclasses say on what its name depends.

    Args:
        kind: ``Path`` for a file, the class of a folder for a folder.
        name: Its declared name.
        meaning: A description for the documentation.
    """

    def __init__(self, kind: Callable[[Path], Kind], name: str, meaning: str) -> None:
        self.kind: Any = kind
        self.name = name
        self.meaning = meaning

    @overload
    def __get__(self, folder: None, owner: type[Folder]) -> Self: ...
    @overload
    def __get__(self, folder: Folder, owner: type[Folder]) -> Got: ...
    def __get__(self, folder: Folder | None, owner: type[Folder]) -> Self | Got:
        """The declaration if asked of the class; its place if asked of a folder."""
        return self if folder is None else self._of(folder)

    @abstractmethod
    def _of(self, folder: Folder) -> Got:
        """Its place in a folder."""

    def _at(self, folder: Folder, name: str) -> Kind:
        found: Any = self.kind(folder.place(name))
        if folder.first_number is None or not isinstance(found, Folder):
            return found
        numbered: Any = replace(found, first_number=folder.first_number)
        return numbered

    @property
    def names(self) -> tuple[str, ...]:
        """Every form that the name takes."""
        return (self.name,)

    def existing(self, folder: Folder) -> dict[Path, int | None]:
        """The paths that are there, with their numbers."""
        found: dict[Path, int | None] = {}
        for name in self.names:
            for path in folder.path.glob(re.sub("#+", "*", name)):
                if match := _matched(name, folder, path):
                    found[path] = int(match.group(1)) if match.groups() else None
        return found

    def match(self, folder: Folder, path: Path) -> "re.Match[str] | None":
        """The name of a path, there or not, if it is a declared one; its number is a group."""
        found = (_matched(name, folder, path) for name in self.names)
        return next((match for match in found if match), None)

    def numbers(self, folder: Folder) -> list[int]:
        """The numbers of those that are there, in order."""
        return sorted(number for number in self.existing(folder).values() if number is not None)


def _matched(name: str, folder: Folder, path: Path) -> "re.Match[str] | None":
    if not path.is_relative_to(folder.path):
        return None
    pattern = re.sub(r"(\\#)+", _digits, re.escape(name)).replace(r"\*", ".+")
    return re.fullmatch(pattern, path.relative_to(folder.path).as_posix())


def _digits(mark: re.Match[str]) -> str:
    return rf"(\d{{{mark.group().count('#')},}})"


class One(Entry[Kind, Kind]):
    """A file or folder with a fixed name."""

    def _of(self, folder: Folder) -> Kind:
        return self._at(folder, self.name)


class Numbered(Entry[Kind, Callable[[int], Kind]]):
    """Files or folders told apart by a number, for instance of a volume."""

    def _of(self, folder: Folder) -> Callable[[int], Kind]:
        def of_number(number: int, /) -> Kind:
            shown = number + folder.offset
            name = re.sub("#+", lambda mark: f"{shown:0{len(mark.group())}d}", self.name)
            return self._at(folder, name)

        return of_number


class Named(Entry[Kind, Callable[[str], Kind]]):
    """Files or folders told apart by a word, for instance what a plot shows."""

    def _of(self, folder: Folder) -> Callable[[str], Kind]:
        return lambda word: self._at(folder, self.name.replace("*", word))


class OfEpoch(Protocol[KindOut]):
    """The path for an epoch, counted from 0, or for the finished run."""

    def __call__(self, epoch: int | None = None, /) -> KindOut:
        """The path for an epoch, or for the finished run."""
        ...


class EachEpoch(Entry[Kind, OfEpoch[Kind]]):
    """A file or folder of the finished run, and one with a number for each of its epochs."""

    @property
    def names(self) -> tuple[str, ...]:
        """The name without a number, and with one."""
        return (self.name, self._name("#"))

    def numbers(self, folder: Folder) -> list[int]:
        """The epochs of those that are there, counted from the folder's first."""
        return [number - folder.first_epoch for number in super().numbers(folder)]

    def _name(self, epoch: int | str) -> str:
        name = PurePath(self.name)
        return f"{name.stem}.{epoch}{name.suffix}"

    def _of(self, folder: Folder) -> OfEpoch[Kind]:
        def of_epoch(epoch: int | None = None, /) -> Kind:
            if epoch is None:
                return self._at(folder, self.name)
            return self._at(folder, self._name(epoch + folder.first_epoch))

        return of_epoch
