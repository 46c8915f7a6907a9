"""Settings of commands: dataclass fields that carry their flags, help, unit and check.

A command is a frozen dataclass derived from :class:`Job`. Every field declared with
:func:`option` or :func:`positional` is, at once, an argument of the command's Python function,
an option of its command line, and an entry of the reference page ``docs/commands.md``.
"""

import difflib
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import (
    Any,
    ClassVar,
    Generic,
    Literal,
    ParamSpec,
    Self,
    TypeVar,
    dataclass_transform,
    get_args,
    get_type_hints,
)

from cryodrgn import compat
from cryodrgn.counts import counted
from cryodrgn.errors import ConfigError
from cryodrgn.outputs import existing_folder, require_own_outputs
from cryodrgn.setting_values import converted, in_words, types_kept, with_name

Result = TypeVar("Result")
P = ParamSpec("P")
T = TypeVar("T")
KEY, PLACE = "option", "place"
NOTHING: Any = object()


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """Condition on the value of a setting.

    Attributes:
        words: The condition, as it follows "must be" in a message.
        holds: The condition as a function of the value.
    """

    words: str
    holds: Callable[[Any], bool]


def at_least(least: float) -> Check:
    """Condition that a number is not smaller than another."""
    return Check(words=f"at least {least}", holds=lambda value: value >= least)


def between(low: float, high: float) -> Check:
    """Condition that a number lies between two others, without these."""
    return Check(words=f"between {low:g} and {high:g}", holds=lambda value: low < value < high)


def within(low: float, high: float) -> Check:
    """Condition that a number lies between two others, or is one of these."""
    return Check(words=f"from {low:g} to {high:g}", holds=lambda value: low <= value <= high)


def each(check: Check) -> Check:
    """Condition that several numbers meet a condition on one."""
    return Check(
        words=f"{check.words} in every place",
        holds=lambda values: all(map(check.holds, values)),
    )


# What the generators of torch and numpy both take.
SEED = Check(words="from 0 to 4294967295", holds=lambda value: 0 <= value < 2**32)
EVEN = Check(words="even and at least 2", holds=lambda value: value >= 2 and value % 2 == 0)
POSITIVE = Check(words="positive", holds=lambda value: value > 0)
NOT_NEGATIVE = Check(words="zero or more", holds=lambda value: value >= 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """Command-line form of a setting.

    Attributes:
        flags: Names on the command line, today's first; none for a positional argument.
        help: Description, without the default, which is added.
        metavar: Name of the value in the usage line; None derives it from the setting.
        unit: Unit of the value, for the reference page.
        parse: Conversion of one word into a value; None takes the annotated type.
        check: Condition on values other than None.
        constants: Further flags, without a value, that set the setting to a constant, with
            the description of each.
        bare: Value of the flag when it is given without one; NOTHING where a value is needed.
        nargs: Number of words, as argparse counts them; None takes that of the annotated type.
        is_repeated: Whether the flag may be given several times, each adding a value.
        resumes_as: Recorded setting of a training run that this option may change when the run
            is resumed; None for options that are fixed for the whole run.
        group: Title of the options among which the help lists it; None for the first ones.
        default_words: Description of a default that depends on other settings.
        is_output: Whether it names a file that is written; ``-o`` and ``--out…`` always do.
    """

    flags: tuple[str, ...]
    help: str
    metavar: str | tuple[str, ...] | None = None
    unit: str | None = None
    parse: Callable[[str], Any] | None = None
    check: Check | None = None
    constants: Mapping[str, tuple[Any, str]]
    bare: Any = NOTHING
    nargs: str | int | None = None
    is_repeated: bool = False
    resumes_as: str | None = None
    group: str | None = None
    default_words: str | None = None
    is_output: bool = False

    @property
    def names_output(self) -> bool:
        """True if a path that is given here is written."""
        return self.is_output or any(
            flag == "-o" or flag.startswith("--out") for flag in self.flags
        )


def option(
    *flags: str,
    help: str,
    default: Any = MISSING,
    kw_only: bool = True,
    metavar: str | tuple[str, ...] | None = None,
    unit: str | None = None,
    parse: Callable[[str], Any] | None = None,
    check: Check | None = None,
    constants: Mapping[str, tuple[Any, str]] = MappingProxyType({}),
    bare: Any = NOTHING,
    nargs: str | int | None = None,
    is_repeated: bool = False,
    resumes_as: str | None = None,
    group: str | None = None,
    default_words: str | None = None,
    is_output: bool = False,
) -> Any:
    """A setting with flags, or without any, which the command line takes by position.

    Without a default it must be given. ``kw_only`` says whether the Python function takes it by
    name alone; all else are attributes of :class:`Option`.
    """
    said = Option(
        flags=flags,
        help=help,
        metavar=metavar,
        unit=unit,
        parse=parse,
        check=check,
        constants=constants,
        bare=bare,
        nargs=nargs,
        is_repeated=is_repeated,
        resumes_as=resumes_as,
        group=group,
        default_words=default_words,
        is_output=is_output,
    )
    return field(default=default, metadata={KEY: said}, kw_only=kw_only)


def positional(
    *,
    help: str,
    default: Any = MISSING,
    kw_only: Literal[False] = False,
    metavar: str | None = None,
    parse: Callable[[str], Any] | None = None,
    check: Check | None = None,
    nargs: str | None = None,
    default_words: str | None = None,
    is_output: bool = False,
) -> Any:
    """A setting that the command line and the Python function take by position."""
    return option(
        help=help,
        default=default,
        kw_only=kw_only,
        metavar=metavar,
        parse=parse,
        check=check,
        nargs=nargs,
        default_words=default_words,
        is_output=is_output,
    )


def same_as(
    owner: type,
    name: str,
    *,
    default: Any = NOTHING,
    flags: tuple[str, ...] = NOTHING,
    help: str = NOTHING,
    metavar: str | None = NOTHING,
    parse: Callable[[str], Any] = NOTHING,
    check: Check = NOTHING,
    constants: Mapping[str, tuple[Any, str]] = NOTHING,
    bare: Any = NOTHING,
    group: str | None = NOTHING,
    default_words: str | None = NOTHING,
) -> Any:
    """The setting that another dataclass, the owner, declares by a name, but for what differs.

    The owner is a group of options, or a part of what runs record, which :func:`part_of` makes
    of the settings that are the same as its own. All else is a default or an attribute of
    :class:`Option`; NOTHING for the same.
    """
    declared, said = options_of(owner)[name]
    changes = {
        "flags": flags,
        "help": help,
        "metavar": metavar,
        "parse": parse,
        "check": check,
        "constants": constants,
        "bare": bare,
        "group": group,
        "default_words": default_words,
    }
    differing = {name: value for name, value in changes.items() if value is not NOTHING}
    metadata = {KEY: replace(said, **differing), PLACE: _place(owner, name)}
    default = declared.default if default is NOTHING else default
    return field(default=default, metadata=metadata, kw_only=True)


def _place(owner: type, name: str) -> tuple[type, str]:
    """The class that declares a setting, and its name there."""
    declared = options_of(owner)[name][0]
    heirs = [one for one in owner.__mro__ if is_dataclass(one) and name in options_of(one)]
    first = [one for one in heirs if options_of(one)[name][0] is declared][-1]
    return declared.metadata.get(PLACE, (first, name))


def same_setting(job: type, owner: type, name: str) -> str | None:
    """Setting of a job that is declared as another dataclass's is; None for none."""
    if name not in options_of(owner):
        return None
    return _places(job).get(_place(owner, name))


@functools.cache
def _places(owner: type) -> Mapping[tuple[type, str], str]:
    """Names of settings by the class that declares each, and its name there."""
    return {_place(owner, name): name for name in options_of(owner)}


def part_of(
    settings: "Settings", part: type[T], more: Mapping[str, Any] = MappingProxyType({})
) -> T:
    """A part of what runs record, with the values of the settings that are declared alike.

    Args:
        settings: The settings.
        part: Dataclass of the part.
        more: Fields of the part that are no settings, or are to have other values.
    """
    own = _places(type(settings))
    values = {
        theirs: getattr(settings, own[place])
        for place, theirs in _places(part).items()
        if place in own and theirs not in more
    }
    return part(**values, **more)


def from_record(kind: type[T], values: Mapping[str, Any]) -> T:
    """Settings, and their parts, from the plain values that a run recorded of them.

    Args:
        kind: The dataclass.
        values: Numbers, text, lists and mappings, by name.

    Raises:
        TypeError: There is no setting of a name, one is missing, or a value is of another type.
    """
    hints = hints_of(kind)
    return kind(**{n: _from_plain(v, hints[n]) if n in hints else v for n, v in values.items()})


def _from_plain(value: Any, hint: Any) -> Any:
    if not isinstance(value, Mapping):
        return converted(value, hint)
    kind: Any = next(one for one in (hint, *get_args(hint)) if is_dataclass(one))
    return from_record(kind, value)


@dataclass_transform(
    kw_only_default=True,
    frozen_default=True,
    field_specifiers=(option, positional, same_as),
)
def settings(kind: type[T]) -> type[T]:
    """Make a class a frozen dataclass whose fields are declared with :func:`option`."""
    return dataclass(frozen=True, kw_only=True)(kind)


@functools.cache
def options_of(job: type[Any]) -> Mapping[str, tuple[Field[Any], Option]]:
    """Declared settings of a job by name, in order."""
    return {one.name: (one, one.metadata[KEY]) for one in fields(job) if KEY in one.metadata}


@functools.cache
def outputs_of(job: type[Any]) -> Mapping[str, Option]:
    """Declared settings of a job that name what is written."""
    return {name: said for name, (_, said) in options_of(job).items() if said.names_output}


@functools.cache
def hints_of(job: type[Any]) -> Mapping[str, Any]:
    """Types of the settings of a job by name."""
    return get_type_hints(job)


@functools.cache
def _checks_of(job: type[Any]) -> Sequence[tuple[str, Any, frozenset[type], Check | None]]:
    """Settings by name, with their types, the types that stay as they are, and conditions."""
    hints = hints_of(job)
    return [
        (name, hints[name], types_kept(hints[name]), said.check)
        for name, (_, said) in options_of(job).items()
    ]


class Settings:
    """Base of groups of options; checks every value when it is made.

    Attributes:
        given: Names of the settings that were given, even if their value is the default.
    """

    given: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Take text for paths and whole numbers for real ones; refuse values out of range.

        Raises:
            ConfigError: A value is of another type, or a condition on it does not hold.
        """
        values = vars(self)
        for name, hint, kept, check in _checks_of(type(self)):
            value = values[name]
            if type(value) not in kept:
                try:
                    value = values[name] = with_name(converted(value, hint), name)
                except (TypeError, OverflowError) as error:
                    msg = f"`{name}` must be {in_words(hint)}, got {value!r}"
                    raise ConfigError(msg) from error
            if check is not None and value is not None and not check.holds(value):
                found = " ".join(map(str, value)) if isinstance(value, tuple) else value
                msg = f"`{name}` must be {check.words}, got {found}"
                raise ConfigError(msg)
        self._require_own_outputs()

    def _require_own_outputs(self) -> None:
        """Refuse two outputs of the same path, and a file in the place of a folder.

        Raises:
            ConfigError: One output would take the other's place.
            OutputFileError: There is a file where a folder is to be.
        """
        outputs: dict[str, Path] = {}
        for name, said in outputs_of(type(self)).items():
            path = getattr(self, name)
            if not isinstance(path, Path):
                continue
            # Backprojection takes the name of a map there, too.
            if "--outdir" in said.flags and said.metavar != "MRC":
                existing_folder(path, name)
            outputs[name] = path
        require_own_outputs(outputs)


@settings
class SeedOptions(Settings):
    """Seed of all random numbers."""

    seed: int = option("--seed", default=0, check=SEED, help="Random seed")


class Job(Settings, ABC, Generic[Result]):
    """A command: its settings, and the work that it does with them.

    Attributes:
        command: Name of its command, where that is not the name of the class.
    """

    command: ClassVar[str] = ""

    def __getattribute__(self, name: str) -> Any:
        """The value of an attribute; once the job is made, it counts as read."""
        read = object.__getattribute__(self, "__dict__").get("_read")
        if read is not None:
            read.add(name)
        return object.__getattribute__(self, name)

    @property
    def names_read(self) -> frozenset[str]:
        """Names of the settings that the work has read; of the others it must be said."""
        return frozenset(object.__getattribute__(self, "__dict__").get("_read", ()))

    @abstractmethod
    def run(self) -> Result:
        """Do the work of the command."""

    @classmethod
    def with_given(cls, settings: Mapping[str, Any]) -> Self:
        """The job with some settings by name, which are remembered as given.

        Raises:
            ConfigError: A setting is not known, or one that is needed is missing.
        """
        known = options_of(cls)
        given = frozenset(settings)
        settings = {**compat.defaults(command_of(cls)), **settings}
        for name in given:
            if name not in known:
                near = _nearest(name, known)
                hint = f"; did you mean {near!r}?" if near else ""
                msg = f"{command_of(cls)} has no setting {name!r}{hint}"
                raise ConfigError(msg)
        for name, (one, said) in known.items():
            if name in settings or one.default is not MISSING:
                continue
            if said.nargs == "?":
                settings[name] = None
            else:
                msg = f"`{name}` is missing"
                raise ConfigError(msg)
        job = cls(**settings)
        object.__setattr__(job, "given", given)
        object.__setattr__(job, "_read", set())
        return job


def _nearest(name: str, known: Mapping[str, tuple[Field[Any], Option]]) -> str | None:
    """The setting that is meant by a name: by that of its flag, or by one alike."""
    for setting, (_, said) in known.items():
        if name in {flag.lstrip("-").replace("-", "_") for flag in said.flags}:
            return setting
    return next(iter(difflib.get_close_matches(name, known, 1)), None)


def command_of(job: type[Job[Any]]) -> str:
    """Name of a job's command."""
    return job.command or _snake(job.__name__)


def function_of(job: Callable[P, Job[Result]]) -> Callable[P, Result]:
    """The Python function of a command.

    Its arguments are the settings; its docstring is that of the job, with every setting.
    """
    kind: Any = job

    def work(*args: P.args, **settings: P.kwargs) -> Result:
        known = options_of(kind)
        ordered = [one.name for one in fields(kind) if one.name in known and not one.kw_only]
        if len(args) > len(ordered):
            most = counted(len(ordered), "value")
            msg = (
                f"{command_of(kind)} takes {most} without a name, got {len(args)}; give the "
                "others by name"
            )
            raise ConfigError(msg)
        named = dict(zip(ordered, args, strict=False))
        for name in named.keys() & settings.keys():
            msg = f"`{name}` is given twice, by its place and by its name; give it once"
            raise ConfigError(msg)
        return kind.with_given(named | settings).run()

    work.__name__ = work.__qualname__ = command_of(kind)
    work.__module__ = kind.__module__
    work.__doc__ = f"{kind.__doc__}\n\n    Args:\n{_described(kind)}"
    work.__wrapped__ = kind  # type: ignore[attr-defined] # its signature is the dataclass's
    return work


def _snake(name: str) -> str:
    return "".join("_" * (i > 0 and c.isupper()) + c.lower() for i, c in enumerate(name))


def _described(kind: type) -> str:
    lines = []
    for name, (one, said) in options_of(kind).items():
        default = "" if one.default is MISSING else f" Default: {one.default!r}."
        lines.append(f"        {name}: {said.help.replace('%%', '%')}.{default}")
    return "\n".join(lines)
