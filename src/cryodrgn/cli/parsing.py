"""Parsers that explain unknown options, and parsed options that remember which were read."""

import argparse
import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from cryodrgn.cli.ignored_flags import PREFIX
from cryodrgn.cli.inactive_options import Inactive
from cryodrgn.cli.other_versions import why_option_is_missing

NUMBER = re.compile(r"^-(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")


class ReadOptions(argparse.Namespace):
    """Parsed options that remember which of them a command has read."""

    __slots__ = ("_read",)

    def __init__(self, parsed: argparse.Namespace) -> None:
        object.__setattr__(self, "_read", set())
        super().__init__()
        vars(self).update(vars(parsed))

    def __getattribute__(self, name: str) -> Any:
        """The value of an option, which counts as read from then on."""
        if not name.startswith("_"):
            object.__getattribute__(self, "_read").add(name)
        return object.__getattribute__(self, name)

    @property
    def _names_read(self) -> frozenset[str]:
        return frozenset(object.__getattribute__(self, "_read"))


def parsed_options(parsed: argparse.Namespace) -> ReadOptions:
    """Options of a command line that record which of them are read; none is so far."""
    return ReadOptions(parsed)


def names_read(options: ReadOptions) -> frozenset[str]:
    """Names of the options that have been read."""
    return options._names_read


class CommandParser(argparse.ArgumentParser):
    """A parser that takes numbers such as ``-1e-3`` for values, and explains unknown options.

    Attributes:
        command: Name of the command that it parses; None for the program itself.
        typed: Options that were typed, with their values, in order.
        words: The words that were parsed.
    """

    command: str | None = None
    typed: list[tuple[argparse.Action, object]]
    words: Sequence[str] = ()

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def, override]
        """Parse; the parser of a command leaves nothing over."""
        self.typed, self._negative_number_matcher = [], NUMBER
        self.words = tuple(_before_dashes(args or ()))
        if self.command is not None:
            # Before what is missing is asked for, which a mistyped option may have been.
            unknown = [word for word in self.words if self._is_unknown(word)]
            if unknown:
                self._refuse_unknown(unknown)
        parsed, left = super().parse_known_args(args, namespace)
        if left and self.command is not None:
            self._refuse_unknown(left)
        return parsed, left

    def _is_unknown(self, word: str) -> bool:
        """True if a word is an option that this parser does not have."""
        if len(word) < 2 or not word.startswith("-") or " " in word:
            return False
        return not self._negative_number_matcher.match(word) and not self._meant(word)

    def _meant(self, word: str) -> list[str]:
        """Options that a word may stand for: one, or all that begin like a shortened name."""
        name, known = word.split("=")[0], self._option_string_actions
        if name in known:
            return [name]
        if not name.startswith("--") and name[:2] in known:
            return [name[:2]]
        return [option for option in known if len(name) > 1 and option.startswith(name)]

    def options_of(self, dest: str) -> list[str]:
        """The names under which an option may be typed."""
        return [n for a in self._actions if a.dest == dest for n in a.option_strings]

    def spellings(self) -> Mapping[str, Sequence[str]]:
        """Names by which options were typed, in order, by setting; shortened ones in full."""
        found: dict[str, list[str]] = {}
        for word in self.words:
            meant = self._meant(word)
            dests = {self._option_string_actions[option].dest for option in meant}
            if len(dests) == 1:
                found.setdefault(dests.pop(), []).append(meant[0])
        return found

    def typed_name(self, dest: str) -> str:
        """The name by which the option was typed last for a setting."""
        typed = self.spellings().get(dest)
        return typed[-1] if typed else max(self.options_of(dest), key=len, default=dest)

    def repeated(self) -> Mapping[str, object]:
        """Settings that were given more than once with different values, and the last value."""
        values: dict[str, list[object]] = {}
        for action, value in self.typed:
            if isinstance(action, argparse._StoreAction):
                values.setdefault(action.dest, []).append(value)
        return {
            dest: given[-1]
            for dest, given in values.items()
            if any(value != given[-1] for value in given[:-1])
        }

    def dest_of(self, option: str) -> str | None:
        """The setting that an option changes; None if there is no such option."""
        action = self._option_string_actions.get(option)
        return None if action is None else action.dest

    def value_of(self, option: str, parsed: argparse.Namespace) -> object:
        """The value of an option; of one that stands for a constant, whether that holds."""
        action = self._option_string_actions.get(option)
        value = getattr(parsed, option if action is None else action.dest, None)
        if type(action) is argparse._StoreConstAction:
            return value == action.const
        return value

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> object:
        value = super()._get_values(action, arg_strings)
        if action.option_strings:
            self.typed.append((action, value))
        return value

    def error(self, message: str) -> NoReturn:
        """End with what every line of this command needs, and what is wrong with this one."""
        self.exit(2, f"{self.short_usage()}\n{self.prog}: error: {message}\n")

    def short_usage(self) -> str:
        """Usage in one line: what must be given, without the options."""
        if self.command is None:
            return f"usage: {self.prog} COMMAND ..."
        needed = [action for action in self._actions if action.required]
        typed = sorted(needed, key=lambda action: bool(action.option_strings))
        words = [_needed_word(action) for action in typed]
        return f"usage: {' '.join([self.prog, *words])} ... (see {self.prog} --help)"

    def _refuse_unknown(self, words: Sequence[str]) -> NoReturn:
        """End with the usage of this command and what is known of each unknown option."""
        options = [word.split("=")[0] for word in words if word.startswith("-")]
        if not options:
            self.error(f"too many arguments: {' '.join(words)}")
        self.error("; ".join(self._explained(option) for option in dict.fromkeys(options)))

    def _explained(self, option: str) -> str:
        why = why_option_is_missing(self.command or "", option)
        if why is not None:
            return f"{option} is not an option of {self.prog}: {why}"
        near = self._nearest(option)
        hint = f"; did you mean {near}?" if near else f"; see {self.prog} --help"
        return f"unknown option {option}{hint}"

    def _nearest(self, option: str) -> str | None:
        """The known option that is spelt most alike."""
        names = {n.lower(): n for a in self._actions for n in a.option_strings if len(n) > 2}
        # Dashes, which all have, would make short names alike.
        bare = {name.lstrip("-"): full for name, full in names.items()}
        typed = option.lower().replace("_", "-").lstrip("-")
        found = difflib.get_close_matches(typed, bare, 1, 0.6)
        return bare[found[0]] if found else None


def given_options(
    program: argparse.ArgumentParser, command: CommandParser, arguments: Sequence[str]
) -> frozenset[str]:
    """Names of the options that were typed, not those that have their default.

    Args:
        program: Parser of the whole line.
        command: Parser of its command, which is left as it is.
        arguments: The line.
    """
    typed, options = command.typed, command._actions
    kept = [(option.default, option.type, option.choices) for option in options]
    for option in options:
        option.default = argparse.SUPPRESS
        # A missing positional's default would be converted, and be no default.
        option.type = option.choices = None
    try:
        return frozenset(vars(program.parse_args(arguments)))
    finally:
        command.typed = typed
        for option, (default, kind, choices) in zip(options, kept, strict=True):
            option.default, option.type, option.choices = default, kind, choices


def _needed_word(action: argparse.Action) -> str:
    """An argument that must be given, as usage lines show it."""
    name = action.metavar or action.dest
    value = name if isinstance(name, str) else " ".join(name)
    if not action.option_strings:
        return value
    return f"{action.option_strings[0]} {value}"


def _before_dashes(words: Sequence[str]) -> Sequence[str]:
    """The words that may be options."""
    return words[: words.index("--")] if "--" in words else words


def ignored_options(
    options: ReadOptions, parser: CommandParser, inactive: Sequence[Inactive]
) -> dict[str, str]:
    """Settings that were given and have no effect, each with the sentence that says so.

    Args:
        options: The parsed options.
        parser: The command's parser.
        inactive: Options of the command that others switch off.
    """
    given, found = options.given, dict[str, str]()
    for action in parser._actions:
        if action.dest in given and action.dest.startswith(PREFIX):
            name = parser.typed_name(action.dest)
            found[action.dest] = f"{name} has no effect: {action.help}"

    def value_of(option: str) -> object:
        return parser.value_of(option, options)

    for rule in inactive:
        named = map(parser.dest_of, rule.options.split())
        dests = [dest for dest in named if dest is not None and dest in given]
        if dests and rule.holds(value_of):
            for dest in dests:
                words = f"{parser.typed_name(dest)} has no effect {rule.when}: {rule.why}"
                found.setdefault(dest, words)
    return found


def repeated_options(parser: CommandParser) -> list[str]:
    """Sentences about options that were given more than once with different values."""
    found = []
    for dest, value in parser.repeated().items():
        names = list(dict.fromkeys(parser.spellings()[dest]))
        last = parser.typed_name(dest)
        if len(names) == 1:
            found.append(f"{last} was given more than once: the last counts, {value}")
        else:
            same = " and ".join(names)
            found.append(f"{same} are names of one option: the last counts, {last} {value}")
    return found


def unread_options(
    options: ReadOptions, parser: CommandParser, ignored: Mapping[str, str]
) -> list[str]:
    """Sentences about options that were given, never read by the command, and not spoken of."""
    read = names_read(options)
    left = sorted(options.given - read - ignored.keys())
    return [f"{parser.typed_name(dest)} had no effect in this command" for dest in left]
