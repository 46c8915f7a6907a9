"""Some rows of a STAR file's particle table, with every other byte of the file as it was.

The file is treated as lines of text, not as values: what is kept keeps its spaces, quotes,
comments, number formats, and line ends.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np
from jaxtyping import Int

from cryodrgn.errors import InputFileError, MetadataError, ShapeMismatchError
from cryodrgn.io.atomic import atomic_path
from cryodrgn.io.star import particle_block, read_star

# A value is quoted text or a run without blanks; a quote ends only before a blank.
_VALUE = re.compile(rb"""'(?:[^']|'(?=\S))*'|"(?:[^"]|"(?=\S))*"|[^\s#]\S*""")


@dataclass(frozen=True, kw_only=True, slots=True)
class StarRows:
    """The text of a STAR file, cut at the rows of its particle table.

    Attributes:
        path: The file.
        before: Everything up to the first row.
        rows: The rows, each with its line end.
        after: Everything behind the last row.
        num_columns: Columns of the table.
    """

    path: Path
    before: bytes
    rows: Sequence[bytes]
    after: bytes
    num_columns: int

    @classmethod
    def read(cls, path: Path) -> "StarRows":
        """Cut a file at its rows.

        Raises:
            InputFileError: The file cannot be read, or its particle table is not laid out
                with whole rows on lines.
        """
        tables = read_star(path)
        name = particle_block(path, {block: len(table) for block, table in tables.items()})
        lines = path.read_bytes().splitlines(keepends=True)
        first, num_columns = _find_loop(path, lines, name)
        rows, last = _collect_rows(lines, first, num_columns)
        expected = len(tables[name])
        if len(rows) != expected:
            msg = (
                f"{path}: the table data_{name} has {expected} rows, but {len(rows)} were "
                "found as lines of text; rows must stand on lines of their own"
            )
            raise InputFileError(msg)
        return cls(
            path=path,
            before=b"".join(lines[:first]),
            rows=rows,
            after=b"".join(lines[last:]),
            num_columns=num_columns,
        )

    def with_values(self, row: int, columns: Sequence[int], values: Sequence[float]) -> bytes:
        """A row with other numbers in some columns, and every other byte as it was.

        Args:
            row: Its number, from 0.
            columns: Numbers of the columns, from 0.
            values: The numbers.
        """
        text = self.rows[row]
        places = [match.span() for match in _matches(text)]
        changed = dict(zip(columns, values, strict=True))
        for column in sorted(changed, reverse=True):
            start, stop = places[column]
            text = text[:start] + f"{changed[column]:.6f}".encode() + text[stop:]
        return text

    def write(
        self,
        output: Path,
        chosen: Int[np.ndarray, " rows"],
        columns: Mapping[str, Sequence[object]] | None = None,
    ) -> None:
        """Write the file with some of the rows.

        Args:
            output: The file to write.
            chosen: Numbers of the rows, from 0, in the order wanted.
            columns: Columns to add at the end of the rows, by name without underscore, one
                value per chosen row.

        Raises:
            MetadataError: A column of that name is there already.
            ShapeMismatchError: A column has another number of values.
        """
        before, rows = self.before, [self.rows[row] for row in chosen.tolist()]
        for number, (name, values) in enumerate((columns or {}).items(), self.num_columns + 1):
            if len(values) != len(rows):
                msg = f"column {name} has {len(values)} values for {len(rows)} particles"
                raise ShapeMismatchError(msg)
            if re.search(rb"^\s*_" + name.encode() + rb"\s", before, re.MULTILINE):
                msg = f"{self.path} has a column {name} already; give another name"
                raise MetadataError(msg)
            end = b"\r\n" if before.endswith(b"\r\n") else b"\n"
            before += f"_{name} #{number} ".encode() + end
            rows = [_append(row, value) for row, value in zip(rows, values, strict=True)]
        with atomic_path(output) as partial:
            partial.write_bytes(before + b"".join(rows) + self.after)


# A new value of an old one, or the new values of all rows that are kept.
Change = Callable[[str], str] | Sequence[str]


def rewrite_star(
    path: Path,
    output: Path,
    changes: Mapping[str, Mapping[str, Change]],
    chosen: Int[np.ndarray, " rows"] | None = None,
) -> None:
    """Write a STAR file with other values in some columns, every other byte as it was.

    Args:
        path: The file.
        output: The file to write.
        changes: By block and column, without underscore, the new value of an old one, or the
            values of all rows that are kept.
        chosen: Rows of the particle table to keep, from 0, in the order wanted; None keeps all.

    Raises:
        InputFileError: The file cannot be read, or a table is not laid out in rows on lines.
    """
    tables = read_star(path)
    particles = particle_block(path, {block: len(table) for block, table in tables.items()})
    lines = path.read_bytes().splitlines(keepends=True)
    for block in tables:
        of_block = changes.get(block, {})
        is_cut = block == particles and chosen is not None
        if not (of_block or is_cut):
            continue
        first, num_columns = _find_loop(path, lines, block)
        rows, last = _collect_rows(lines, first, num_columns)
        places = {tables[block].names.index(name): change for name, change in of_block.items()}
        if is_cut and chosen is not None:
            rows = [rows[row] for row in chosen.tolist()]
        lines[first:last] = [_changed(row, places, place) for place, row in enumerate(rows)]
    with atomic_path(output) as partial:
        partial.write_bytes(b"".join(lines))


def _changed(row: bytes, changes: Mapping[int, Change], place: int) -> bytes:
    """A row with other values in some columns, by their numbers."""
    places = [match.span() for match in _matches(row)]
    for column in sorted(changes, reverse=True):
        start, stop = places[column]
        change = changes[column]
        if callable(change):
            new = change(gemmi.cif.as_string(row[start:stop].decode()))
        else:
            new = change[place]
        row = row[:start] + gemmi.cif.quote(new).encode() + row[stop:]
    return row


def _append(row: bytes, value: object) -> bytes:
    text = f"{value:.6f}" if isinstance(value, float | np.floating) else str(value)
    content = row.rstrip()
    return (
        content
        + b" "
        + gemmi.cif.quote(text).encode()
        + b" "
        + row[len(content) :].lstrip(b" ")
    )


def _values(line: bytes) -> list[bytes]:
    """The values on a line, comments left out."""
    if not any(mark in line for mark in (b"#", b"'", b'"')):
        return line.split()
    return [match.group() for match in _matches(line)]


def _matches(text: bytes) -> list[re.Match[bytes]]:
    """Places of the values of a text, comments left out."""
    found, place = [], 0
    while place < len(text):
        if text[place : place + 1].isspace():
            place += 1
            continue
        if text[place : place + 1] == b"#":
            end = text.find(b"\n", place)
            place = len(text) if end < 0 else end
            continue
        match = _VALUE.match(text, place)
        if match is None:
            break
        found.append(match)
        place = match.end()
    return found


def _find_loop(path: Path, lines: Sequence[bytes], name: str) -> tuple[int, int]:
    """Line of the first row of a block's first loop, and the number of its columns."""
    block, in_loop, num_columns = None, False, 0
    for number, line in enumerate(lines):
        word = line.split(None, 1)[0] if line.strip() else b""
        if word.lower().startswith(b"data_"):
            block, in_loop, num_columns = word[5:].decode(errors="replace"), False, 0
        elif block != name or not word or word.startswith(b"#"):
            continue
        elif word.lower() == b"loop_":
            in_loop = True
        elif in_loop and word.startswith(b"_"):
            num_columns += 1
        elif in_loop and num_columns:
            return number, num_columns
    msg = f"{path}: the table data_{name} is no loop of rows; nothing can be selected from it"
    raise InputFileError(msg)


def _collect_rows(
    lines: Sequence[bytes], first: int, num_columns: int
) -> tuple[list[bytes], int]:
    """The rows from a line on, and the line behind the last of them."""
    rows: list[bytes] = []
    parts, count, last = [], 0, first
    for number, line in enumerate(lines[first:], first):
        word = line.split(None, 1)[0].lower() if line.strip() else b""
        if word == b"loop_" or word.startswith((b"data_", b"_")):
            break
        found = len(_values(line))
        if not found:
            continue
        parts.append(line)
        count += found
        if count == num_columns:
            rows.append(b"".join(parts))
            parts, count, last = [], 0, number + 1
    # A last line without an end would run into what follows it elsewhere.
    if rows and not rows[-1].endswith((b"\n", b"\r")):
        rows[-1] += b"\n"
    return rows, last
