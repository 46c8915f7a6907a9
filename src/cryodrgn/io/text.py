"""Files of text, YAML and JSON, read as data and no larger than they are."""

import difflib
import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cryodrgn.errors import InputFileError
from cryodrgn.io.given_folders import folder_in_words
from cryodrgn.io.recognise import BEGINNING, refuse_mistaken

# Values that a YAML file may come to when its references are followed.
MOST_VALUES = 1_000_000
MOST_NESTED = 100
# What lines begin with that may hold blocks: indentation and the signs of lists and mappings.
INDENTED = re.compile(r"^[-?: \t]+", re.MULTILINE)
NOT_READ = object()
# Names of a folder that are compared with that of a missing file, and told.
MOST_NAMES, NAMES_SHOWN = 10_000, 3


class _WithoutMerges:
    """Mappings that take over others could double at every step."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            msg = "merge keys (<<) are not read"
            raise yaml.YAMLError(msg)
        super().flatten_mapping(node)  # type: ignore[misc]


class _PlainLoader(_WithoutMerges, yaml.SafeLoader):
    """Values and containers, nested not too deep."""

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:
        # The time that deep nesting takes grows with its square.
        self._require_shallow(self.flow_level)
        super().fetch_flow_collection_start(TokenClass)

    def add_indent(self, column: int) -> bool:
        self._require_shallow(len(self.indents))
        return super().add_indent(column)

    def _require_shallow(self, depth: int) -> None:
        if depth > MOST_NESTED:
            msg = f"it nests more than {MOST_NESTED} deep"
            raise yaml.YAMLError(msg)


if hasattr(yaml, "CSafeLoader"):

    class _FastLoader(_WithoutMerges, yaml.CSafeLoader):
        """Values and containers of shallow files, ten times as fast."""

else:
    _FastLoader = _PlainLoader  # type: ignore[misc, assignment]


_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def yaml_text(content: Mapping[str, Any]) -> str:
    """Plain values and containers as YAML, in their order."""
    return yaml.dump_all([dict(content)], None, _Dumper, sort_keys=False, allow_unicode=True)


def require_file(path: Path, *, may_be_zip: bool = False) -> None:
    """Refuse what is no plain file, or by its first bytes not the kind of file that is meant.

    Args:
        path: The file.
        may_be_zip: Whether the right file is a zip archive.

    Raises:
        InputFileError: It is not there, or something else.
    """
    require_plain_file(path)
    try:
        with path.open("rb") as file:
            beginning = file.read(BEGINNING)
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
        raise InputFileError(msg) from error
    refuse_mistaken(path, beginning, may_be_zip=may_be_zip)


def require_plain_file(path: Path) -> None:
    """Refuse a folder, and a device or pipe, which would be read for ever.

    Raises:
        InputFileError: It is not there, or something else.
    """
    try:
        is_file = path.is_file()
    except (OSError, ValueError) as error:
        msg = f"{str(path)[:200]!r} is no name of a file: {error}"
        raise InputFileError(msg) from error
    if not is_file:
        if path.is_dir():
            raise InputFileError(folder_in_words(path))
        msg = f"{path} is no file" if path.exists() else missing_in_words(path)
        raise InputFileError(msg)


def missing_in_words(path: Path) -> str:
    """A sentence that a file is not there, with the names most like its own that are."""
    folder = path.absolute().parent
    if not folder.is_dir():
        return f"{path} does not exist; neither does the folder {folder}"
    names = [one.name for one in itertools.islice(folder.iterdir(), MOST_NAMES)]
    near = difflib.get_close_matches(path.name, sorted(names), NAMES_SHOWN)
    if not near:
        return f"{path} does not exist; nothing in {folder} has a similar name"
    return f"{path} does not exist; similar names in {folder}: {', '.join(near)}"


def read_bytes(path: Path, *, may_be_empty: bool = False) -> bytes:
    """The content of a file.

    Args:
        path: The file.
        may_be_empty: Whether a file without content is fine, as of a run that has just begun.

    Raises:
        InputFileError: It cannot be read, or is not the kind of file that is meant.
    """
    require_plain_file(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
        raise InputFileError(msg) from error
    if content or not may_be_empty:
        refuse_mistaken(path, content[:BEGINNING])
    return content


def read_text(path: Path, *, may_be_empty: bool = False) -> str:
    """The content of a text file in UTF-8.

    Args:
        path: The file.
        may_be_empty: Whether a file without content is fine, as of a run that has just begun.

    Raises:
        InputFileError: It cannot be read, is no text, or not the kind of file that is meant.
    """
    try:
        return read_bytes(path, may_be_empty=may_be_empty).decode()
    except UnicodeDecodeError as error:
        msg = f"{path} is no text: byte {error.start} is not UTF-8"
        raise InputFileError(msg) from error


def read_yaml(path: Path) -> Any:
    """Content of a YAML file: plain values and containers; no objects are constructed.

    Raises:
        InputFileError: It cannot be read, or refers to its own parts so often or so deep that
            it would not end.
    """
    text = read_text(path)
    try:
        content = _read_fast(text)
        if content is NOT_READ:
            content = _PlainLoader(text).get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, LookupError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        msg = f"{path} cannot be read as YAML: {reason}"
        raise InputFileError(msg) from error
    if _count_values(content, {}, MOST_NESTED) > MOST_VALUES:
        msg = f"{path} holds references to its own parts without end"
        raise InputFileError(msg)
    return content


def _read_fast(text: str) -> Any:
    """Content of a shallow YAML text; NOT_READ for others, and where anything is wrong."""
    # Blocks nest no deeper than their lines are indented, and others than they have brackets.
    depth = max((len(start) for start in INDENTED.findall(text)), default=0)
    if depth + text.count("[") + text.count("{") > MOST_NESTED:
        return NOT_READ
    try:
        return _FastLoader(text).get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, LookupError):
        # It is read again for words that do not depend on the library.
        return NOT_READ


def read_json(path: Path) -> Any:
    """Content of a JSON file.

    Raises:
        InputFileError: It cannot be read.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        msg = f"{path} cannot be read as JSON: {error}"
        raise InputFileError(msg) from error


def _count_values(item: Any, counted: dict[int, int], depth: int) -> int:
    """Count of the values of an object when every reference is followed."""
    if not isinstance(item, dict | list | tuple | set):
        return 1
    if id(item) in counted:
        return counted[id(item)]
    if depth == 0:
        return MOST_VALUES + 1
    parts = [*item.keys(), *item.values()] if isinstance(item, dict) else list(item)
    counted[id(item)] = total = 1 + sum(
        _count_values(part, counted, depth - 1) for part in parts
    )
    return total
