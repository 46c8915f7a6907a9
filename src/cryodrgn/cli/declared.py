"""Command lines made from the declared settings of jobs."""

import argparse
import importlib
import types
from collections.abc import Container
from dataclasses import MISSING, Field, dataclass, replace
from typing import Any, Literal, Union, get_args, get_origin

from cryodrgn import compat
from cryodrgn.cli.ignored_flags import IGNORED, add_ignored_flags
from cryodrgn.settings import NOTHING, Job, Option, command_of, hints_of, options_of


@dataclass(frozen=True, slots=True)
class JobCommand:
    """A command whose settings and work are a job's.

    Attributes:
        name: Name of the command.
        job: The job.
    """

    name: str
    job: type[Job[Any]]

    @classmethod
    def load(cls, name: str, place: str) -> "JobCommand":
        """The command of a job.

        Args:
            name: Name of the command.
            place: Module within ``cryodrgn.jobs`` and class, with a colon in between.
        """
        module, _, kind = place.partition(":")
        return cls(name, getattr(importlib.import_module(f"cryodrgn.jobs.{module}"), kind))

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options, and the flags of other versions that have no effect."""
        add_options(parser, self.job)
        parser.add_argument(compat.FLAG, choices=compat.VERSIONS, help=compat.HELP)
        if self.name in IGNORED:
            add_ignored_flags(parser, IGNORED[self.name])


def add_options(parser: argparse.ArgumentParser, job: type[Job[Any]]) -> None:
    """Declare the settings of a job as options of a parser."""
    hints = hints_of(job)
    groups: dict[str | None, argparse._ActionsContainer] = {None: parser}
    for name, (one, said) in options_of(job).items():
        if said.group not in groups:
            groups[said.group] = parser.add_argument_group(said.group)
        flags = compat.flags(command_of(job), name, said.flags)
        _add(groups[said.group], name, hints[name], one, replace(said, flags=flags))


def settings_given(
    job: type[Job[Any]], args: argparse.Namespace, given: Container[str]
) -> dict[str, Any]:
    """The settings among the options that were given, by name."""
    values = vars(args)
    return {name: _as_tuples(values[name]) for name in options_of(job) if name in given}


def _as_tuples(value: Any) -> Any:
    """Lists of words as the tuples that settings are."""
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


def _add(
    group: argparse._ActionsContainer, name: str, hint: Any, one: Field[Any], said: Option
) -> None:
    """Declare one setting, and the flags that set it to constants."""
    target = group.add_mutually_exclusive_group() if said.constants else group
    form: dict[str, Any] = _form(hint, said) | {"help": _help(one, said)}
    # What is repeated is added to the default, a list.
    form["default"] = None if one.default is MISSING or said.is_repeated else one.default
    if said.flags:
        form |= {"dest": name, "required": one.default is MISSING}
        target.add_argument(*said.flags, **form)
    elif not said.constants:
        # A positional's name in the usage line is its metavar, which must not hide its name.
        target.add_argument(name, **form)
    for flag, (value, text) in said.constants.items():
        target.add_argument(
            flag,
            dest=name,
            action="store_const",
            const=value,
            default=form["default"],
            help=text,
        )


def _form(hint: Any, said: Option) -> dict[str, Any]:
    """Arguments of ``add_argument`` for a setting: type, number of words, choices."""
    kind, nargs, choices = _words_of(hint)
    if kind is bool:
        return {"action": "store_true"}
    form: dict[str, Any] = {"type": said.parse or kind, "metavar": said.metavar}
    if said.parse is None and choices:
        form["choices"] = choices
    elif said.metavar is None and said.flags:
        name = next((flag for flag in said.flags if flag.startswith("--")), said.flags[0])
        form["metavar"] = name.lstrip("-").upper().replace("-", "_")
    nargs = said.nargs if said.nargs is not None else nargs
    if said.is_repeated:
        form["action"] = "append"
    if said.bare is not NOTHING:
        nargs, form["const"] = "?", said.bare
    return form if nargs is None else form | {"nargs": nargs}


def _words_of(hint: Any) -> tuple[Any, str | int | None, tuple[Any, ...] | None]:
    """Type of one word, number of words, and choices of an annotated type."""
    if get_origin(hint) in {Union, types.UnionType}:
        inner = [part for part in get_args(hint) if part is not type(None)]
        hint = inner[0]
    if get_origin(hint) is Literal:
        values = get_args(hint)
        return type(values[0]), None, values
    if _is_tuple(hint):
        parts = get_args(hint)
        if parts[-1] is Ellipsis:
            return _words_of(parts[0])[0], "+", None
        return parts[0], len(parts), None
    return hint, None, None


def _is_tuple(hint: Any) -> bool:
    if get_origin(hint) in {Union, types.UnionType}:
        return any(_is_tuple(part) for part in get_args(hint))
    return get_origin(hint) is tuple


def _help(one: Field[Any], said: Option) -> str:
    """The description with the default."""
    if said.default_words is not None:
        return f"{said.help} (default: {said.default_words})"
    if one.default in {MISSING, None, ()} or isinstance(one.default, bool):
        return said.help
    return f"{said.help} (default: {one.default})"
