"""The reference page of all commands, made from the declarations of their settings.

``python -m cryodrgn.cli.reference > docs/commands.md`` writes it anew.
"""

import sys
from collections.abc import Iterator
from dataclasses import MISSING, Field
from typing import Any

from cryodrgn.cli.declared import JobCommand
from cryodrgn.cli.main import CRYODRGN
from cryodrgn.cli.program import Program
from cryodrgn.cli.tools import CRYODRGN_UTILS
from cryodrgn.settings import Job, Option, options_of

HEAD = """# Commands

Every setting of every command, with its name in Python:
`cryodrgn.train_vae("p.star", "out", zdim=8)` is `cryodrgn train_vae p.star -o out --zdim 8`.
This page is made from the declarations of the settings
(`python -m cryodrgn.cli.reference > docs/commands.md`); a test compares it with them.
"""


def commands_page() -> str:
    """The page, in Markdown."""
    lines = [HEAD]
    for program in (CRYODRGN, CRYODRGN_UTILS):
        lines += _program(program)
    return "\n".join(lines).rstrip() + "\n"


def _program(program: Program) -> Iterator[str]:
    yield f"## `{program.name}`\n"
    for topic, commands in program.topics.items():
        yield f"### {topic}\n"
        for name, summary in commands.items():
            command = program.load_command(name)
            yield f"#### `{name}`\n\n{summary}.\n"
            if isinstance(command, JobCommand):
                yield from _settings(command.job)


def _settings(job: type[Job[Any]]) -> Iterator[str]:
    yield "| option | in Python | default | meaning |\n|---|---|---|---|"
    for name, (one, said) in options_of(job).items():
        flags = ", ".join(f"`{flag}`" for flag in said.flags) or f"`{name.upper()}`"
        constants = "".join(f", `{flag}`" for flag in said.constants)
        help_text = said.help.replace("%%", "%").replace("|", "\\|")
        unit = f" [{said.unit}]" if said.unit else ""
        yield f"| {flags}{constants} | `{name}` | {_default(one, said)} | {help_text}{unit} |"
    yield ""


def _default(one: Field[Any], said: Option) -> str:
    if said.default_words is not None:
        return said.default_words.replace("%%", "%")
    if one.default is MISSING:
        return "needed" if said.nargs != "?" else ""
    if one.default is None or one.default is False or one.default == ():
        return ""
    if isinstance(one.default, tuple):
        return " ".join(map(str, one.default))
    return str(one.default)


if __name__ == "__main__":
    sys.stdout.write(commands_page())
