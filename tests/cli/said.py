"""Everything that the package may say, and which commands can come to say it."""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from cryodrgn.cli.main import CRYODRGN
from cryodrgn.cli.options_in_messages import (
    OPTION,
    SETTING,
    in_flags_of_others,
    options_of_others,
)
from cryodrgn.cli.tools import CRYODRGN_UTILS
from cryodrgn.jobs.command_words import in_flags
from cryodrgn.settings import Job
from sources import PACKAGE, PATHS, tree_of

PROGRAMS = (CRYODRGN, CRYODRGN_UTILS)
# Texts of declarations, which become help and reference pages.
DECLARATIONS = {"option", "positional", "same_as", "output_option"}
# Options of other programs, and places that are filled in.
FOREIGN = re.compile(r"\b(?:tar|ssh|git) -\w+|`X`|cryodrgn X.*")


@dataclass(frozen=True)
class Parsed:
    """A command: its settings and its options."""

    job: type[Job]
    flags: frozenset[str]


@cache
def parsed_commands() -> Mapping[str, Parsed]:
    """All commands of both programs."""
    found = {}
    for program in PROGRAMS:
        for name, parser in program._parsers()[1].items():
            flags = frozenset(parser._option_string_actions)
            found[name] = Parsed(program.load_command(name).job, flags)
    return found


def text_of(node: ast.AST) -> str | None:
    """A text, with X for what is filled in."""
    if isinstance(node, ast.JoinedStr):
        pieces = node.values
        return "".join(p.value if isinstance(p, ast.Constant) else "X" for p in pieces)
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return node.value if is_text else None


def texts_below(node: ast.AST, owner: str = "") -> Iterator[tuple[str, str]]:
    """Sentences below a node that name options or settings, with the class they stand in."""
    is_docstring = isinstance(node, ast.Expr) and text_of(node.value) is not None
    called = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
    if is_docstring or called in DECLARATIONS:
        return
    text = text_of(node) or ""
    words = FOREIGN.sub("", text)
    if " " in text.strip() and (OPTION.search(words) or SETTING.search(words)):
        yield owner, words
    if isinstance(node, ast.ClassDef):
        owner = node.name
    for child in ast.iter_child_nodes(node):
        if not isinstance(node, ast.JoinedStr):
            yield from texts_below(child, owner)


@cache
def modules() -> Mapping[str, ast.Module]:
    """All modules below the command line, by name."""
    found = {}
    for path in PATHS:
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = tree_of(path)
    # The package names all of its commands, and the file table what it holds.
    dropped = ("cryodrgn", "cryodrgn.__main__", "cryodrgn.rundir")
    return {
        name: tree
        for name, tree in found.items()
        if name not in dropped and not name.startswith("cryodrgn.cli")
    }


@cache
def imported_by(module: str) -> frozenset[str]:
    """Modules that a module imports, at its head or where it needs them."""
    found = set()
    for node in ast.walk(modules()[module]):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{part.name}" for part in node.names)}
    return frozenset(found & modules().keys())


@cache
def speakers() -> Mapping[str, frozenset[str]]:
    """Commands by the modules that they reach."""
    found: dict[str, set[str]] = {name: set() for name in modules()}
    for command, parsed in parsed_commands().items():
        reached, left = set(), [parsed.job.__module__]
        while left:
            module = left.pop()
            if module not in reached:
                reached.add(module)
                left += imported_by(module)
        for module in reached:
            found[module].add(command)
    return {name: frozenset(commands) for name, commands in found.items()}


def speakers_of(module: str, owner: str) -> frozenset[str]:
    """Commands that can say what stands in a class of a module: a job's own, or all."""
    commands = speakers()[module]
    own = {
        name
        for name in commands
        if (job := parsed_commands()[name].job).__module__ == module and job.__name__ == owner
    }
    return frozenset(own) or commands


def is_of(command: str, text: str) -> bool:
    """A command has all options and settings that a text names as its own."""
    parsed = parsed_commands()[command]
    jobs = {name: one.job for name, one in parsed_commands().items()}
    words = in_flags_of_others(in_flags(text, parsed.job), list(jobs), jobs.__getitem__)
    flags = {name: one.flags for name, one in parsed_commands().items()}
    theirs = {option for _, option in options_of_others(words, flags)}
    left = {match[1] for match in OPTION.finditer(words)} - parsed.flags - theirs
    return not left and not SETTING.search(words)
