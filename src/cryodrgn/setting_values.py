"""Values of settings as notebooks give them, in the types of their declarations."""

import functools
from contextlib import suppress
from dataclasses import replace
from math import isfinite
from pathlib import Path, PurePath
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from cryodrgn.given_arrays import GivenArray, is_one_list, lists_numbers

T = TypeVar("T")

WORDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a finite number",
    str: "text",
    Path: "the path of a file or folder",
    NoneType: "None",
    GivenArray: "an array of numbers",
}


def converted(value: Any, hint: Any) -> Any:
    """A value as a notebook gives it, in the type of its setting.

    Text becomes a path, a whole number a real one, a list or array a tuple, a number of numpy
    one of Python, and one value where several are taken a tuple of it. Lists and arrays stay
    arrays where a setting takes them in place of a file.

    Raises:
        TypeError: The value has no place in the type.
    """
    if type(value) in types_kept(hint):
        return value
    origin, kinds = _parts(hint)
    if GivenArray in kinds and lists_numbers(value):
        return GivenArray.of(value)
    if _takes_arrays(kinds):
        value = (value,) if is_one_list(value) else value
    elif hasattr(value, "dtype"):
        value = value.tolist()
    if origin in (Union, UnionType):
        return _first_converted(value, kinds)
    if origin is Literal:
        return _required(value, any(value == one and type(value) is type(one) for one in kinds))
    if origin is tuple:
        return _converted_tuple(value, kinds)
    return _converted_one(value, hint)


def _takes_arrays(kinds: tuple[Any, ...]) -> bool:
    """True if the first of some types is a path or an array."""
    return bool(kinds) and GivenArray in get_args(kinds[0])


def with_name(value: Any, name: str) -> Any:
    """A value, in which arrays bear the name of its setting."""
    if isinstance(value, tuple):
        return tuple(with_name(one, name) for one in value)
    return replace(value, setting=f"`{name}`") if isinstance(value, GivenArray) else value


@functools.cache
def _parts(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    return get_origin(hint), get_args(hint)


@functools.cache
def types_kept(hint: Any) -> frozenset[type]:
    """Types of values that stay as they are; paths and real numbers are checked."""
    origin, kinds = _parts(hint)
    taken = kinds if origin in (Union, UnionType) else (hint,)
    return frozenset({bool, int, str, NoneType}.intersection(taken))


def _converted_one(value: Any, hint: type) -> Any:
    # By its type, because True is no whole number, although it is an int.
    kind = type(value)
    if hint is float and kind in (int, float):
        return _required(float(value), isfinite(value))
    if hint is str and kind is int:
        return str(value)  # number of a device, or of an epoch
    if hint is Path and isinstance(value, str | PurePath):
        return Path(_required(value, value != ""))
    return _required(value, kind is hint)


def _required(value: T, holds: bool) -> T:  # noqa: FBT001 (asks like assert)
    if not holds:
        raise TypeError
    return value


def _first_converted(value: Any, kinds: tuple[Any, ...]) -> Any:
    """A value in the first type of several in which it has a place, its own before others."""
    for kind in sorted(kinds, key=lambda one: one is not type(value)):
        with suppress(TypeError):
            return converted(value, kind)
    raise TypeError


def _converted_tuple(value: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    several = kinds[-1] is Ellipsis
    if several and not isinstance(value, list | tuple):
        value = (value,)
    _required(value, isinstance(value, list | tuple))
    kinds = kinds[:1] * len(value) if several else kinds
    _required(value, len(value) == len(kinds))
    return tuple(converted(one, kind) for one, kind in zip(value, kinds, strict=True))


def in_words(hint: Any) -> str:
    """Description of the values that a type takes, to follow "must be" in a message."""
    kinds = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(map(in_words, kinds))
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, kinds))
    if get_origin(hint) is tuple:
        number = "any number of" if kinds[-1] is Ellipsis else str(len(kinds))
        return f"{number} values, each {in_words(kinds[0])}"
    return WORDS[hint]
