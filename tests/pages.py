"""Command lines that the README and the pages of docs type: found, and run on small sets."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryodrgn.cli.main import CRYODRGN
from cryodrgn.cli.tools import CRYODRGN_UTILS

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
)
PROGRAMS = {program.name: program for program in (CRYODRGN, CRYODRGN_UTILS)}
# Options that make a command end within seconds, in place of what a page types for them.
NETWORK = {"-n": "1", "--qdim": "16", "--pdim": "16", "--qlayers": "1", "--players": "1"}
NETWORK_OF_RUN = {"-n": "1", "--qdim": "16", "--pdim": "16", "--held-out": "0"}
SEARCH = {
    "-n": "1",
    "--l-start": "6",
    "--l-end": "8",
    "--niter": "1",
    "--pretrain": "200",
    "--refine-epochs": "1",
    "--start-images": "60",
    "--t-extent": "1",
}
# Not of a decoder that is named.
PERCEPTRON = ("--pdim", "--players")
SMALLER: Mapping[str, Mapping[str, str | None]] = {
    "train_vae": NETWORK,
    "train_dec": {"-n": "1", "--dim": "16", "--layers": "1"},
    "train_linear": {"--components": "2"},
    "abinit_homo": SEARCH | {"--dim": "16", "--layers": "1"},
    "abinit_het": SEARCH | {"--qdim": "16", "--pdim": "16"},
    "run": NETWORK_OF_RUN,
    "analyze": {"--skip-umap": None, "--pc": "1", "--n-per-pc": "2"},
    "reconstruct_states": {"--functions": "6"},
    "check": {"--accept": None},
    "conformational_density": {"--bootstraps": "2"},
}


@dataclass(frozen=True)
class Line:
    """A command line.

    Attributes:
        program: Name of the program.
        words: Its words, from the command on.
    """

    program: str
    words: tuple[str, ...]

    @property
    def command(self) -> str:
        return self.words[0]

    def parse(self) -> None:
        """Parse the line as the program would; stops the program if it does not fit."""
        words = list(self.words)
        PROGRAMS[self.program].build_parser(only=words[0]).parse_args(words)

    def run(self, instead: Mapping[str, str] | None = None) -> None:
        """Run the line on a small set, and insist that it succeeds.

        Args:
            instead: What to take in place of parts of words, numbers of particles for example.
        """
        words = list(self.words)
        for typed, taken in (instead or {}).items():
            words = [word.replace(typed, taken) for word in words]
        for option, value in SMALLER.get(self.command, {}).items():
            if "--decoder" in words and option in PERCEPTRON:
                continue
            if option not in words:
                words += [option] if value is None else [option, value]
            elif value is not None:
                words[words.index(option) + 1] = value
        assert PROGRAMS[self.program].run(words) == 0, shlex.join(words)


def lines_of(page: str) -> list[Line]:
    """Lines of the indented blocks of a page, which begin with a program's name."""
    text = (ROOT / page).read_text(encoding="utf-8")
    typed = re.findall(r"^    (cryodrgn(?:_utils)? .*)$", text, re.MULTILINE)
    split = [shlex.split(line, comments=True) for line in typed]
    return [Line(program, tuple(words)) for program, *words in split]


def mentions_in(page: str) -> Iterator[tuple[str, str, list[str]]]:
    """Programs, commands and options in all code of a page, also within sentences."""
    text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
    code = re.findall(r"`[^`\n]+`|^    .*$|^ *(?:srun )?torchrun .*$", text, re.MULTILINE)
    for part in code:
        found = re.search(r"(cryodrgn(?:_utils)?) ([a-z]\w+)\b(.*)", part)
        alone = re.match(r"`([a-z]\w+) (-.*)`", part)
        if found:
            program, command, rest = found.groups()
        elif alone and (homes := _homes_of(alone[1])):
            (program, *_), (command, rest) = homes, alone.groups()
        else:
            continue
        options = re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", rest.partition("#")[0])
        yield program, command, options


def _homes_of(command: str) -> list[str]:
    """Programs that have a command."""
    return [name for name, program in PROGRAMS.items() if command in program.commands]
