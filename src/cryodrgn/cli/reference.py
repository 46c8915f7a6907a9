"""The reference pages of all commands and all files, made from their declarations.

``python -m cryodrgn.cli.reference commands > docs/commands.md`` writes that of the commands
anew, and ``files`` that of the files.
"""

import sys
from collections.abc import Iterator
from dataclasses import MISSING, Field
from pathlib import Path
from typing import Any

from cryodrgn import rundir
from cryodrgn.cli.declared import JobCommand
from cryodrgn.cli.main import CRYODRGN, Program
from cryodrgn.cli.tools import CRYODRGN_UTILS
from cryodrgn.folders import Entry, Folder
from cryodrgn.settings import Job, Option, options_of

HEAD = """# Commands

Every setting of every command, with its name in Python:
`cryodrgn.train_vae("p.star", "out", zdim=8)` is `cryodrgn train_vae p.star -o out --zdim 8`.
Every command also takes `--compat`, see [Coming from cryoDRGN](coming-from-cryodrgn.md).
This page is made from the declarations of the settings
(`python -m cryodrgn.cli.reference commands > docs/commands.md`); a test compares it with them.
"""

FILES_HEAD = """# Files

The files that commands write, by folder, with their names in Python:
`cryodrgn.RunDirectory(Path("out")).weights(3)` is `out/weights.3.pkl`. In the names `#` is a
number, `###` one of at least three digits, and `*` a word; a folder `.` is the folder itself.
This page is made from the declarations of `cryodrgn.rundir`
(`python -m cryodrgn.cli.reference files > docs/files.md`); a test compares it with them.
"""


def commands_page() -> str:
    """The page of commands, in Markdown."""
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


def files_page() -> str:
    """The page of files, in Markdown: the whole before its parts."""
    lines = [FILES_HEAD]
    for folder in reversed(folders()):
        lines.append(f"## `{folder.__name__}`\n\n{(folder.__doc__ or '').splitlines()[0]}\n")
        lines.append("| name | in Python | meaning |\n|---|---|---|")
        lines += [_file(name, entry) for name, entry in folder.entries().items()]
        lines.append("")
    return "\n".join(lines)


def folders() -> list[type[Folder]]:
    """The kinds of folders that are declared."""
    declared = (one for one in vars(rundir).values() if isinstance(one, type))
    return [one for one in declared if issubclass(one, Folder) and one is not Folder]


def _file(python_name: str, entry: Entry[Any, Any]) -> str:
    of_folder = "" if entry.kind is Path else "/"
    names = ", ".join(f"`{name}{of_folder}`" for name in entry.names)
    kind = entry.kind.__name__
    held = f": [`{kind}`](#{kind.lower()})" if of_folder else ""
    return f"| {names} | `{python_name}` | {entry.meaning}{held} |"


PAGES = {"commands": commands_page, "files": files_page}

if __name__ == "__main__":
    sys.stdout.write(PAGES[sys.argv[1]]())
