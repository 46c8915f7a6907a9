"""A console script: a table of commands, one of which is imported and run.

An error that a user can act on becomes one line and status 2; anything else is a bug and ends
in a traceback.
"""

import argparse
import importlib
import logging
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

import cryodrgn
from cryodrgn.allocator import keep_freed_memory
from cryodrgn.errors import CryodrgnError, printable
from cryodrgn.processors import processor_watch, wait_without_spinning

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
NO_MEMORY = frozenset({"OutOfMemoryError"})
OUT_OF_MEMORY = (
    "memory is exhausted; take a smaller batch (-b), box (-D) or network, or a machine or job "
    "with more of it"
)


class CommandParser(argparse.ArgumentParser):
    """A parser that also takes numbers such as ``-1e-3`` for values, not for options."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._negative_number_matcher = re.compile(r"^-(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """One console script.

    Attributes:
        name: What is typed to run it.
        description: What it is for.
        package: Where the modules of its commands are, each named after its command.
        commands: Summaries by command.
        aliases: Commands by other names under which they are known.
    """

    name: str
    description: str | None
    package: str
    commands: Mapping[str, str]
    aliases: Mapping[str, str]

    def load_command(self, name: str) -> ModuleType:
        """The module of a command, imported when it is needed."""
        return importlib.import_module(f"{self.package}.{self.aliases.get(name, name)}")

    def build_parser(self, only: str | None = None) -> argparse.ArgumentParser:
        """Build the command-line parser.

        Args:
            only: Fill in the options of this command alone; None fills in all of them.
        """
        parser = CommandParser(prog=self.name, description=self.description)
        parser.add_argument(
            "--version", action="version", version=f"cryoDRGN {cryodrgn.__version__}"
        )
        subparsers = parser.add_subparsers(
            dest="command", required=True, metavar="COMMAND", parser_class=CommandParser
        )
        same = {alias: f"The same as {name}" for alias, name in self.aliases.items()}
        for name, summary in {**self.commands, **same}.items():
            described = self.commands.get(self.aliases.get(name, name))
            subparser = subparsers.add_parser(name, help=summary, description=described)
            if only in {None, name}:
                self.load_command(name).add_arguments(subparser)
        return parser

    def run(self, argv: Sequence[str] | None = None) -> int:
        """Run the command line.

        Args:
            argv: Arguments without the program's name; None takes those of the process.

        Returns:
            0 on success, 2 after a user's mistake, 130 after an interrupt.
        """
        wait_without_spinning()
        processor_watch()
        arguments = sys.argv[1:] if argv is None else list(argv)
        command = next((word for word in arguments if not word.startswith("-")), "")
        args = self.build_parser(only=command).parse_args(arguments)
        args.given = self._given(arguments, command)
        _configure_logging()
        keep_freed_memory()
        try:
            self.load_command(args.command).run(args)
        except CryodrgnError as error:
            sys.stderr.write(f"{self.name} {args.command}: {error}\n")
            return EXIT_USER_ERROR
        except KeyboardInterrupt:
            sys.stderr.write(f"{self.name} {args.command}: interrupted\n")
            return EXIT_INTERRUPTED
        except BrokenPipeError:
            # The reader of our output (head, less) has gone; there is nobody left to tell.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 128 + signal.SIGPIPE
        except Exception as error:
            # Named, not imported: torch takes seconds, and may not be there at all.
            if not isinstance(error, MemoryError) and type(error).__name__ not in NO_MEMORY:
                raise
            sys.stderr.write(f"{self.name} {args.command}: {OUT_OF_MEMORY}\n")
            return EXIT_USER_ERROR
        return 0

    def _given(self, arguments: Sequence[str], command: str) -> frozenset[str]:
        """Names of the options that were typed, not those that have their default."""
        parser = self.build_parser(only=command)
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for option in action.choices[command]._actions:
                    option.default = argparse.SUPPRESS
                    # A missing positional's default would be converted, and be no default.
                    option.type = option.choices = None
        return frozenset(vars(parser.parse_args(arguments)))


class _Printable(logging.Formatter):
    """Lines without anything that a terminal would obey."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep="\n\t")


def _configure_logging() -> None:
    """Log messages to standard output, warnings to standard error."""
    plain = _Printable("%(message)s")
    news = logging.StreamHandler(sys.stdout)
    news.addFilter(lambda record: record.levelno < logging.WARNING)
    news.setFormatter(plain)
    warnings = logging.StreamHandler(sys.stderr)
    warnings.setLevel(logging.WARNING)
    warnings.setFormatter(_Printable("warning: %(message)s"))
    package = logging.getLogger("cryodrgn")
    # A command that runs others keeps the file of its own log.
    files = [one for one in package.handlers if isinstance(one, logging.FileHandler)]
    package.handlers[:] = [*files, news, warnings]
    package.setLevel(logging.INFO)
