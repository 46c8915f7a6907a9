"""STAR files as RELION writes them: read with gemmi, written in RELION's own layout."""

import functools
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import gemmi
import numpy as np
from jaxtyping import Float, Int

from cryodrgn.counts import counted
from cryodrgn.errors import InputFileError, MetadataError
from cryodrgn.io.atomic import atomic_path
from cryodrgn.io.recognise import STAR, unreadable
from cryodrgn.io.text import require_file

logger = logging.getLogger(__name__)

# Values of a row, those in quotes whole.
_WORDS = re.compile(r"""'(?:[^']|'(?=\S))*'|"(?:[^"]|"(?=\S))*"|\S+""")
# The last value of a row, if it is a number with decimals; and what may be left of one.
_DECIMALS = re.compile(r"\s-?\d+\.(\d+)$")
_NUMBER = re.compile(r"-?\d*\.?\d*")
# A line of the header of a table, of which the end may be missing.
_OF_HEADER = re.compile(r"_\S*(\s+#\S*)?|loop_?|data_\S*")
COPY = "copy the file again"
# Bytes at the end of a file, and rows in them, by which it is judged whether it is whole: so
# many that numbers without zeros at their end do not have equally many decimals by chance.
END, ROWS_COMPARED = 65536, 30


class StarTable:
    """One block of a STAR file: columns of text by name, without the leading underscore.

    Args:
        path: File the block stands in, for messages.
        columns: The columns; all have the same length.
    """

    def __init__(self, path: Path, columns: Mapping[str, Sequence[str]]) -> None:
        self.path = path
        self._columns = columns

    def __len__(self) -> int:
        return len(next(iter(self._columns.values()), ()))

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    @property
    def names(self) -> list[str]:
        """Names of the columns, in the order of the file."""
        return list(self._columns)

    def text(self, name: str) -> list[str]:
        """A column as text, without quotes.

        Raises:
            MetadataError: There is no such column.
        """
        try:
            return [gemmi.cif.as_string(value) for value in self._columns[name]]
        except KeyError:
            msg = f"{self.path}: no column {name}; the file has {', '.join(self._columns)}"
            raise MetadataError(msg) from None
        except UnicodeDecodeError as error:
            msg = f"{self.path}: column {name} is no text: {error.reason}"
            raise MetadataError(msg) from None

    def numbers(
        self, name: str, needed: Int[np.ndarray, " needed"] | None = None
    ) -> Float[np.ndarray, " rows"]:
        """A column as float64.

        Args:
            name: Its name.
            needed: Rows that must hold numbers; None for all. Others are NaN where they do not.

        Raises:
            MetadataError: There is no such column, or a value is not a finite number.
        """
        values = self._plain_numbers(name)
        is_needed = np.ones(len(self), dtype=bool)
        if needed is not None:
            is_needed[:] = False
            is_needed[needed] = True
        if values is None:
            pairs = zip(self.text(name), is_needed.tolist(), strict=True)
            try:
                values = np.array([w if used else "nan" for w, used in pairs], dtype=np.float64)
            except ValueError as error:
                msg = f"{self.path}: column {name} is not numeric: {str(error)[:200]}"
                raise MetadataError(msg) from None
        bad = ~np.isfinite(values) & is_needed
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            found = self.text(name)[row]
            msg = f"{self.path}: column {name} holds {found!r} in row {row}, not a number"
            raise MetadataError(msg)
        return values

    def _plain_numbers(self, name: str) -> Float[np.ndarray, " rows"] | None:
        """The column if it holds numbers without quotes, which saves looking for them."""
        try:
            return np.array(list(self._columns[name]), dtype=np.float64)
        except (KeyError, ValueError):
            return None


def read_star(path: Path) -> dict[str, StarTable]:
    """The blocks of a STAR file by name (without ``data_``), in the order of the file.

    A block of plain ``_name value`` pairs becomes a table of one row.

    Raises:
        InputFileError: The file cannot be read, is no STAR file, or holds no table.
    """
    require_file(path)
    try:
        document = gemmi.cif.read(str(path))  # noqa: TID251
        blocks = {block.name.strip(): _table(path, block) for block in document}
    except (OSError, RuntimeError, ValueError) as error:
        reason = (
            _broken_row(path)
            or _ends_early(path)
            or _ends_behind_header(path)
            or _first_line(error)
        )
        msg = f"{path} cannot be read as a STAR file: {reason}"
        raise InputFileError(unreadable(path, STAR, msg)) from error
    if (reason := _ends_early(path)) is not None:
        msg = f"{path} cannot be read as a STAR file: {reason}"
        raise InputFileError(msg)
    blocks = {name: table for name, table in blocks.items() if len(table)}
    if not blocks:
        msg = f"{path} is a STAR file without any rows"
        raise InputFileError(msg)
    # A file without particles is refused for that.
    if set(blocks) != {"optics"}:
        _warn_of_open_end(path.resolve(), path.stat().st_size)
    return blocks


def particle_block(path: Path, rows: Mapping[str, int]) -> str:
    """Name of the block that lists the particles: ``particles``, or else the largest.

    Args:
        path: The file, for messages.
        rows: Number of rows by name of block.

    Raises:
        InputFileError: There is nothing but an optics table.
    """
    others = {name: count for name, count in rows.items() if name != "optics"}
    if not others:
        msg = (
            f"{path} holds an optics table but no particles: it may be cut off behind it "
            "(copy it again), or the selection that wrote it was empty (take another file)"
        )
        raise InputFileError(msg)
    return "particles" if "particles" in others else max(others, key=others.__getitem__)


def _table(path: Path, block: gemmi.cif.Block) -> StarTable:
    columns: dict[str, Sequence[str]] = {}
    for item in block:
        if item.loop is not None:
            for tag in item.loop.tags:
                columns[tag.removeprefix("_")] = block.find_loop(tag)  # type: ignore[assignment]
            break
        if item.pair is not None:
            name, value = map(str, item.pair)  # type: ignore[arg-type]
            columns[name.removeprefix("_")] = [value]
    return StarTable(path, columns)


def write_star(
    path: Path,
    blocks: Mapping[str, Mapping[str, Sequence[object]]],
    version: int | None = 30001,
) -> None:
    """Write tables as RELION 3.1 and later write them.

    The comment ``# version 30001`` before each block is what tells RELION that shifts are in
    Å and optics stand in a table of their own.

    Args:
        path: The file to write.
        blocks: Columns by name (without the leading underscore) by block name (without
            ``data_``).
        version: Number in that comment; None leaves it out, as RELION 3.0 does.
    """
    comment = "" if version is None else f"# version {version}\n\n"
    with atomic_path(path) as partial, partial.open("w") as file:
        for name, columns in blocks.items():
            file.write(f"\n{comment}data_{name}\n\nloop_ \n")
            for number, column in enumerate(columns, start=1):
                file.write(f"_{column} #{number} \n")
            text = [[_format(value) for value in values] for values in columns.values()]
            file.writelines(" ".join(row) + " \n" for row in zip(*text, strict=True))


def _format(value: object) -> str:
    if isinstance(value, float | np.floating):
        return f"{float(value):.6f}"
    return gemmi.cif.quote(str(value))


def _broken_row(path: Path) -> str | None:
    """The first row of a table without a value for every column, in words; None for none."""
    with path.open(errors="replace") as file:
        lines = file.read().splitlines()
    tags, is_loop, found = 0, False, None
    for number, line in enumerate(lines, start=1):
        words = _WORDS.findall(line)
        if not words or words[0].startswith("#"):
            continue
        if found is not None:
            return found[1]
        if words[0].lower() == "loop_" or words[0].lower().startswith("data_"):
            tags, is_loop = 0, words[0].lower() == "loop_"
        elif words[0].startswith("_"):
            tags += 1
        elif is_loop and len(words) != tags:
            values = counted(len(words), "value")
            row = f"line {number} has {values} for {counted(tags, 'column')}"
            found = f"it is cut off: {row}, and is the last; {COPY}", row
    return None if found is None else found[0]


def _ends_early(path: Path) -> str | None:
    """Reason for which a file must have been cut off at its end; None if nothing tells so.

    Programs end the last line too. A line without an end, of a number with fewer decimals than
    all other rows have, or of the name of a column, was cut off.
    """
    *before, last = (line.rstrip() for line in _last_lines(path))
    if not last or last.startswith("#"):
        return None
    if (reason := _ends_in_header(last)) is not None:
        return reason
    found, *others = (_DECIMALS.search(line) for line in (last, *before[-ROWS_COMPARED:]))
    known = {len(one[1]) for one in others if one is not None}
    if len(others) < ROWS_COMPARED or None in others or len(known) != 1:
        return None
    value = last.split()[-1]
    decimals = 0 if found is None else len(found[1])
    if decimals >= known.pop() or _NUMBER.fullmatch(value) is None:
        return None
    return f"it is cut off: it ends within the value {value!r} of its last row; {COPY}"


def _ends_behind_header(path: Path) -> str | None:
    """Reason for which a file must have been cut off within its header; None if it was not."""
    lines = [line.rstrip() for line in _last_lines(path) if line.strip()]
    return _ends_in_header(lines[-1]) if lines else None


def _ends_in_header(last: str) -> str | None:
    """Reason for which a file that ends with this line was cut off; None if it was not."""
    if not _OF_HEADER.fullmatch(last):
        return None
    return f"it is cut off: it ends within its header, at {last[:80]!r}; {COPY}"


@functools.cache
def _warn_of_open_end(path: Path, size: int) -> None:  # noqa: ARG001 (changed files are others)
    """Warn once of a file that ends within a value: a whole number may lack digits.

    Args:
        path: The file.
        size: Its bytes.
    """
    last = _last_lines(path)[-1]
    if not last or last != last.rstrip() or last.startswith("#"):
        return
    logger.warning(
        "%s: its last line has no end behind %r: if the file was cut off there, this value is "
        "wrong; compare its size with that of the file it was copied from",
        path,
        last.split()[-1],
    )


def _last_lines(path: Path) -> list[str]:
    """Lines at the end of a file, the last one empty where the one before it has its end."""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - END))
        lines = file.read().decode(errors="replace").split("\n")
    return [line.lstrip() for line in (*lines[1:-1], lines[-1])]


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
