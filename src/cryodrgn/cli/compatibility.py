"""Command lines of other versions of cryoDRGN, and what becomes of each of their options here.

``python -m cryodrgn.cli.compatibility tests/cli/data/command_lines.txt`` writes
``docs/compatibility.md`` anew.
"""

import contextlib
import functools
import io
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryodrgn.cli.main import CRYODRGN, Program
from cryodrgn.cli.parsing import CommandParser, given_options, ignored_options, parsed_options
from cryodrgn.cli.tools import CRYODRGN_UTILS

PROGRAMS = {program.name: program for program in (CRYODRGN, CRYODRGN_UTILS)}
WORKS, UNUSED, REFUSED, UNKNOWN = "works", "no effect", "refused", "unrecognized"
HEAD = """# Command lines of cryoDRGN 0.2.0 and 4.3

Every command of both versions with every option of its help text. *Works*: it does here what
it says there. *No effect*: it is accepted, and the log says why nothing follows. *Refused*: the
message says why, and what to use. What the same words mean differently is in
[Coming from cryoDRGN](coming-from-cryodrgn.md). A test compares this page with the parsers;
`python -m cryodrgn.cli.compatibility tests/cli/data/command_lines.txt` makes it.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """One command of one version, and its options.

    Attributes:
        version: Of cryoDRGN.
        program: Console script.
        command: Its command.
        needed: Words that every line has.
        options: Words of each option.
    """

    version: str
    program: Program
    command: str
    needed: tuple[str, ...]
    options: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Fate of an option here: works, no effect, refused or unrecognized, with the reason."""

    kind: str
    why: str = ""


def read_lines(path: Path) -> Iterator[Line]:
    """The command lines of a list."""
    for text in path.read_text(encoding="utf-8").splitlines():
        if text and not text.startswith("#"):
            name, needed, options = (part.strip() for part in text.split("|"))
            version, program, command = name.split()
            yield Line(
                version=version,
                program=PROGRAMS[program],
                command=command,
                needed=tuple(shlex.split(needed)),
                options=tuple(one.strip() for one in options.split(";") if one.strip()),
            )


@functools.cache
def outcome(line: Line, option: str = "") -> Outcome:
    """Outcome of a command line with one of its options."""
    program, said = line.program, io.StringIO()
    words = [line.command, *line.needed, *shlex.split(option)]
    parser, commands = program._parsers(only=line.command)
    if line.command not in commands:
        why = program.elsewhere.get(line.command)
        return Outcome(kind=UNKNOWN if why is None else REFUSED, why=why or "")
    try:
        with contextlib.redirect_stderr(said):
            options = parsed_options(parser.parse_args(words))
            options.given = given_options(parser, commands[line.command], words)
    except SystemExit:
        return _refusal(said.getvalue())
    return _accepted(line, commands[line.command], options, option)


def _accepted(line: Line, parser: CommandParser, options: object, option: str) -> Outcome:
    known = line.program.aliases.get(line.command, line.command)
    rules = line.program.inactive.get(known, ())
    ignored = ignored_options(options, parser, rules)  # type: ignore[arg-type]
    typed = shlex.split(option)
    names = [word for word in typed if word.startswith("-") and not word[1:2].isdigit()]
    for name in names:
        dest = parser.dest_of(name)
        if dest in ignored:
            return Outcome(kind=UNUSED, why=ignored[dest].partition(": ")[2])
    return Outcome(kind=WORKS)


def _refusal(said: str) -> Outcome:
    last = said.strip().splitlines()[-1]
    _, found, why = last.partition("is not an option of ")
    if found:
        return Outcome(kind=REFUSED, why=why.partition(": ")[2])
    return Outcome(kind=UNKNOWN, why=last)


def page(lines: Sequence[Line]) -> str:
    """The page of all command lines, in Markdown."""
    text = [HEAD]
    for version in dict.fromkeys(line.version for line in lines):
        text += [f"## {version}\n", "| command | works | no effect | refused |"]
        text += ["|---|---|---|---|"]
        text += [_row(line) for line in lines if line.version == version]
        text += [""]
    return "\n".join(text).rstrip() + "\n"


def _row(line: Line) -> str:
    whole = outcome(line)
    name = f"`{line.program.name} {line.command}`"
    if whole.kind != WORKS:
        return f"| {name} | | | {whole.kind}: {whole.why} |"
    found = [(option, outcome(line, option)) for option in line.options]
    works = " ".join(f"`{option}`" for option, one in found if one.kind == WORKS)
    cells = [
        "; ".join(
            f"`{option}`: {one.why or one.kind}" for option, one in found if one.kind in kinds
        )
        for kinds in ({UNUSED}, {REFUSED, UNKNOWN})
    ]
    needed = " ".join(line.needed)
    return f"| {name} `{needed}` | {works} | {cells[0]} | {cells[1]} |"


if __name__ == "__main__":
    sys.stdout.write(page(list(read_lines(Path(sys.argv[1])))))
