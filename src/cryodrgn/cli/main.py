"""The ``cryodrgn`` command: a table of commands, one of which is imported and run.

An error that a user can act on becomes one line and status 2; anything else is a bug and ends
in a traceback.
"""

import argparse
import difflib
import logging
import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cryodrgn
from cryodrgn import compat
from cryodrgn.allocator import keep_freed_memory
from cryodrgn.cli.declared import JobCommand, settings_given
from cryodrgn.cli.inactive_options import INACTIVE, Inactive
from cryodrgn.cli.options_in_messages import fitted, in_flags_of_others
from cryodrgn.cli.other_versions import COMMANDS as OF_OTHER_VERSIONS
from cryodrgn.cli.parsing import (
    CommandParser,
    ReadOptions,
    given_options,
    ignored_options,
    parsed_options,
    repeated_options,
    unread_options,
)
from cryodrgn.cli.topics import ALIASES, COMMANDS, JOBS, TOOL_ALIASES, TOOL_JOBS, TOOLS
from cryodrgn.errors import CryodrgnError
from cryodrgn.jobs.command_words import in_flags
from cryodrgn.processors import processor_watch, wait_without_spinning
from cryodrgn.settings import Job

logger = logging.getLogger(__name__)

PLACES = {**JOBS, **TOOL_JOBS}
NAMES = {**ALIASES, **TOOL_ALIASES}
ALL_COMMANDS = (*PLACES, *NAMES)
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
NO_MEMORY = frozenset({"OutOfMemoryError"})
OUT_OF_MEMORY = (
    "memory is exhausted; take a smaller batch (-b), box (-D) or network, or a machine or job "
    "with more of it"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """One console script.

    Attributes:
        name: What is typed to run it.
        description: What it is for, in one sentence.
        topics: Summaries of commands, by topic.
        aliases: Commands by other names under which they are known.
        inactive: Options of commands that others switch off.
        elsewhere: What to type instead of commands that are not here.
        jobs: Jobs by command, see :meth:`~cryodrgn.cli.declared.JobCommand.load`.
    """

    name: str
    description: str
    topics: Mapping[str, Mapping[str, str]]
    aliases: Mapping[str, str]
    inactive: Mapping[str, Sequence[Inactive]]
    elsewhere: Mapping[str, str]
    jobs: Mapping[str, str]

    @property
    def commands(self) -> Mapping[str, str]:
        """Summaries by command."""
        return {name: text for topic in self.topics.values() for name, text in topic.items()}

    def load_command(self, name: str) -> JobCommand:
        """The job of a command, imported when it is needed."""
        known = self.aliases.get(name, name)
        return JobCommand.load(known, self.jobs[known])

    def build_parser(self, only: str | None = None) -> argparse.ArgumentParser:
        """Build the command-line parser.

        Args:
            only: Fill in the options of this command alone; None fills in all of them.
        """
        return self._parsers(only)[0]

    def _parsers(
        self, only: str | None = None
    ) -> tuple[CommandParser, Mapping[str, CommandParser]]:
        """The parser, and those of its commands, or that of the one command that is meant."""
        parser = CommandParser(
            prog=self.name,
            usage=f"{self.name} [-h] [--version] COMMAND ...",
            description=self.description,
            epilog=self._overview(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.add_argument(
            "--version", action="version", version=f"cryoDRGN {cryodrgn.__version__}"
        )
        subparsers = parser.add_subparsers(
            dest="command",
            required=True,
            metavar="COMMAND",
            help=argparse.SUPPRESS,
            parser_class=CommandParser,
            prog=self.name,
        )
        commands, found = self.commands, {}
        names = [*commands, *self.aliases]
        for name in [only] if only in names else names:
            known = self.aliases.get(name, name)
            found[name] = subparsers.add_parser(name, description=commands[known])
            found[name].command = known
            if only in {None, name}:
                self.load_command(name).add_arguments(found[name])
        return parser, found

    def _overview(self) -> str:
        """The commands by topic, as the help shows them."""
        width = max(map(len, self.commands)) + 2
        lines = []
        for topic, commands in self.topics.items():
            lines += [f"{topic}:", *(f"  {name:{width}}{commands[name]}" for name in commands)]
            lines.append("")
        same = (f"{alias} = {name}" for alias, name in self.aliases.items())
        lines += [f"Other names: {', '.join(same)}", ""]
        return "\n".join([*lines, f"{self.name} COMMAND --help shows what a command takes."])

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
        # Before the parsers are made, whose flags depend on it.
        with compat.meaning(_typed_compat(arguments)):
            try:
                compat.version()
            except CryodrgnError as error:
                sys.stderr.write(f"{self.name} {' '.join(arguments[:1])}: {error}\n")
                return EXIT_USER_ERROR
            return self._status(arguments)

    def _status(self, arguments: Sequence[str]) -> int:
        """Run the command line, see :meth:`run`."""
        command = next((word for word in arguments if not word.startswith("-")), "")
        parser, commands = self._parsers(only=command)
        if command and command not in commands:
            parser.error(self._unknown(command, arguments))
        args = parsed_options(parser.parse_args(arguments))
        args.given = given_options(parser, commands[command], arguments)

        job = self.load_command(args.command).job

        def advised(words: str) -> str:
            flags = commands[command]._option_string_actions
            words = in_flags(words, job, commands[command].spellings())
            words = fitted(words, flags, ALL_COMMANDS)
            return in_flags_of_others(words, ALL_COMMANDS, job_of_any)

        # Help, which has been shown by now, needs no log and none of what that loads.
        from cryodrgn.io.log import log_to_terminal

        log_to_terminal(advised)
        keep_freed_memory()
        try:
            self._run(args, commands[command])
        except CryodrgnError as error:
            sys.stderr.write(f"{self.name} {args.command}: {advised(str(error))}\n")
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

    def _run(self, args: ReadOptions, parser: CommandParser) -> None:
        """Run a command, and say which options that were given have no effect."""
        said = compat.SAID.get(parser.command or "")
        if compat.version() == compat.NEW and said is not None:
            _say([f"meanings of cryoDRGN {compat.NEW} hold ({compat.FLAG}): {said}"])
        ignored = ignored_options(args, parser, self.inactive.get(parser.command or "", ()))
        _say(ignored.values())
        _say(repeated_options(parser))
        args = parsed_options(args)
        kind = self.load_command(args.command).job
        job = kind.with_given(settings_given(kind, args, args.given))
        job.run()
        # What the job has read of its settings counts as read of the options.
        for name in (*job.names_read, "compat"):
            getattr(args, name, None)
        _say(unread_options(args, parser, ignored))

    def _unknown(self, command: str, arguments: Sequence[str]) -> str:
        """Message about a command that is not here, with the nearest name."""
        if command in self.elsewhere:
            return f"{command} is no command of {self.name}: {self.elsewhere[command]}"
        known = [*self.commands, *self.aliases]
        later = [word for word in arguments if word in known]
        if later and arguments[0].startswith("-"):
            return f"options go after the command: {self.name} {later[0]} {arguments[0]} …"
        near = difflib.get_close_matches(command, known, 1, 0.6)
        hint = f"did you mean {near[0]}?" if near else f"see {self.name} --help"
        return f"unknown command {command}; {hint}"


def job_of_any(command: str) -> type[Job[Any]]:
    """The job of any command of both programs."""
    name = NAMES.get(command, command)
    return JobCommand.load(name, PLACES[name]).job


def _typed_compat(arguments: Sequence[str]) -> str | None:
    """The version whose meanings are asked for on the command line, if it is one."""
    for place, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if name == compat.FLAG:
            value = value if equals else "".join(arguments[place + 1 : place + 2])
            return value if value in compat.VERSIONS else None
    return None


def _say(sentences: Iterable[str]) -> None:
    """Warn, once for all processes of a job."""
    if os.environ.get("RANK", "0") == "0":
        for sentence in sentences:
            logger.warning("%s", sentence)


CRYODRGN = Program(
    name="cryodrgn",
    description="Reconstruct structures and their motions from cryo-EM images.",
    topics=COMMANDS,
    aliases=ALIASES,
    inactive=INACTIVE,
    jobs=JOBS,
    elsewhere={
        **OF_OTHER_VERSIONS,
        **{tool: f"type cryodrgn_utils {tool}" for topic in TOOLS.values() for tool in topic},
    },
)


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser of the command line, see :meth:`Program.build_parser`."""
    return CRYODRGN.build_parser(only)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its status, see :meth:`Program.run`."""
    return CRYODRGN.run(argv)


if __name__ == "__main__":
    sys.exit(main())
