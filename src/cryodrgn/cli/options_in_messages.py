"""Messages fitted to a command: advice to give an option that it lacks is left out.

Messages come from rooms that several commands use, and name options that most of these have.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from cryodrgn.jobs.command_words import in_flags
from cryodrgn.settings import Job

# An option, or a setting that the command has no option for.
OPTION = re.compile(r"(?<![\w`/.-])(--[a-zA-Z][\w-]*|-[A-Za-z]{1,2})(?![\w/.-])")
SETTING = re.compile(r"`(\w+)(?:=\w+)?`")
# Command lines of other programs, which have options of their own.
FOREIGN = re.compile(r"\b(?:git|ssh|tar|zstd|lz4) -[A-Za-z]+")
CLAUSES, ALTERNATIVES = "; ", ", or "


def fitted(message: str, flags: Collection[str], commands: Collection[str]) -> str:
    """A message that names no option which the command lacks.

    Clauses that do are left out, or the alternatives within them that do, from the comma before
    what is lacking on. The first clause, which says what is wrong, stays, and names what is
    lacking without dashes.

    Args:
        message: The message, with the options of the command in place of its settings.
        flags: Options of the command.
        commands: Names of all commands, whose own options may follow them.
    """
    first, *others = message.split(CLAUSES)
    kept = [_without_dashes(first, flags, commands)]
    for clause in others:
        parts = [_beginning(p, flags, commands) for p in clause.split(ALTERNATIVES)]
        fitting = [part for part in parts if part]
        if fitting:
            kept.append(ALTERNATIVES.join(fitting))
    return CLAUSES.join(kept)


def in_flags_of_others(
    message: str, commands: Sequence[str], job_of: Callable[[str], type[Job[Any]]]
) -> str:
    """A message with flags for settings that its command lacks.

    They are those of the command that is named last before a setting, or of the first that has
    it.

    Args:
        message: The message, with the options of its own command in place of settings.
        commands: Names of all commands.
        job_of: The job of a command.
    """

    def flag(match: re.Match[str]) -> str:
        before = [
            name for place, name in _commands_in(message, commands) if place < match.start()
        ]
        for name in (*reversed(before), *commands):
            words = in_flags(match[0], job_of(name))
            if words != match[0]:
                return words
        return match[0]

    return SETTING.sub(flag, message)


def options_of_others(
    message: str, commands: Mapping[str, Collection[str]]
) -> list[tuple[str, str]]:
    """Commands that a message names, with the options that follow each in its clause."""
    found = []
    for clause in message.split(CLAUSES):
        places = _commands_in(clause, commands)
        for match in OPTION.finditer(clause):
            before = [name for place, name in places if place < match.start()]
            if before:
                found.append((before[-1], match[1]))
    return found


def _lacking(text: str, flags: Collection[str], commands: Collection[str]) -> list[re.Match]:
    """Options and settings in a text that are not the command's, nor another's named before."""
    places = [place for place, _ in _commands_in(text, commands)]
    foreign = {match.end() for match in FOREIGN.finditer(text)}
    named = [
        match
        for match in OPTION.finditer(text)
        if match[1] not in flags and match.end() not in foreign
    ]
    named += list(SETTING.finditer(text))
    return [match for match in named if not any(place < match.start() for place in places)]


def _beginning(text: str, flags: Collection[str], commands: Collection[str]) -> str:
    """The part of a text before the comma in front of the first thing that is lacking."""
    places = [match.start() for match in _lacking(text, flags, commands)]
    return text[: max(text.rfind(", ", 0, min(places)), 0)] if places else text


def _commands_in(text: str, commands: Collection[str]) -> list[tuple[int, str]]:
    """Places and names of commands in a text: after a program's name, or unmistakable."""
    words = re.finditer(r"(cryodrgn(?:_utils)? )?\b([a-z][a-z0-9_]+)\b", text)
    return [
        (match.start(), match[2])
        for match in words
        if match[2] in commands and (match[1] or "_" in match[2])
    ]


def _without_dashes(text: str, flags: Collection[str], commands: Collection[str]) -> str:
    for match in sorted(_lacking(text, flags, commands), key=lambda m: -m.start()):
        plain = match[1].lstrip("-").replace("-", " ").replace("_", " ")
        text = text[: match.start()] + plain + text[match.end() :]
    return text
