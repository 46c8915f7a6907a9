"""Settings as command lines type them."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from cryodrgn.settings import Job, command_of, options_of


def words_of(job: Job[Any]) -> list[str]:
    """The command of a job with the settings that were given, as a command line types them."""
    words = [command_of(type(job))]
    for name, (_, said) in options_of(type(job)).items():
        value = getattr(job, name)
        if name not in job.given or value is None:
            continue
        constants = [flag for flag, (other, _) in said.constants.items() if other is value]
        if isinstance(value, bool):
            words += [said.flags[0]] if value and said.flags else constants
        elif constants and not said.flags:
            words += constants
        else:
            values = value if isinstance(value, tuple) else (value,)
            words += [*said.flags[:1], *map(_word, values)]
    return words


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def in_flags(
    message: str,
    job: type[Job[Any]],
    typed: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> str:
    """A message with the flags of the command line for settings named in backticks.

    A setting with a value, as in ```with_contrast=False```, becomes the flag that sets it.

    Args:
        message: The message.
        job: The job whose settings it names.
        typed: Flags by which settings were given, the last of which is shown, in place of the
            first that a setting has.
    """
    known = options_of(job)

    def flag(match: re.Match[str]) -> str:
        name, value = match.groups()
        if name not in known:
            return match[0]
        said = known[name][1]
        constants = [flag for flag, (one, _) in said.constants.items() if str(one) == value]
        if value in {"True", "False"} and not constants:
            return match[0]
        own = [one for one in typed.get(name, ()) if one not in said.constants]
        shown = said.metavar if isinstance(said.metavar, str) else name
        # Without dashes nothing tells that this is a word of the command line.
        argument = f"the argument {shown.upper()}"
        named = [*constants, *own[::-1], *said.flags, argument][0]
        return named if value is None or constants else f"{named} {value}"

    return re.sub(r"`(\w+)(?:=(\w+))?`", flag, message)
