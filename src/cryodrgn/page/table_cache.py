"""Tables that the page keeps while they are looked at, as long as their files are the same."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any, TypeVar

Table = TypeVar("Table")
State = tuple[tuple[int, int, int] | None, ...]


class TableCache:
    """Tables by name, made when they are first asked for and anew once their files change.

    A run may go on, end, or be analysed again while its page is open. The oldest tables give
    way to new ones.

    Args:
        most_bytes: Memory that all of them may take.
        size_of: Bytes that one of them takes.
    """

    def __init__(self, most_bytes: int, size_of: Callable[[Any], int]) -> None:
        self._most, self._size_of = most_bytes, size_of
        self._lock = threading.RLock()
        self._tables: OrderedDict[Hashable, tuple[State, Any]] = OrderedDict()

    def table(self, key: Hashable, files: Iterable[Path], make: Callable[[], Table]) -> Table:
        """A table by its name.

        Args:
            key: The name.
            files: Files that it is made of; those that are missing may come.
            make: Makes it; what it raises is raised, and nothing is kept.
        """
        with self._lock:
            state = state_of(files)
            known = self._tables.get(key)
            if known is None or known[0] != state:
                known = self._tables[key] = (state, make())
            self._tables.move_to_end(key)
            while sum(self._size_of(table) for _, table in self._tables.values()) > self._most:
                oldest = next(iter(self._tables))
                if oldest == key:
                    break
                del self._tables[oldest]
            return known[1]


def state_of(files: Iterable[Path]) -> State:
    """A mark of files that changes when one of them is written, replaced or removed."""
    return tuple(map(_state, files))


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        known = path.stat()
    except OSError:
        return None
    return known.st_mtime_ns, known.st_size, known.st_ino
