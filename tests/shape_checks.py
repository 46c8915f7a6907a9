"""Checks of shapes and types of some of the calls of a function, not of all.

In every test the first calls of every function are checked and one of so many of those that
follow: a training step makes hundreds of calls with the same shapes, whose checks take twice
the time of the step. Checks are made ready when a function is first called: most are not.

Imported before anything of the program, as the hook of jaxtyping decorates what is imported.
"""

import dataclasses
import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype
from jaxtyping import TypeCheckError, _decorator

FIRST, THEN_ONE_OF = 2, 64

_check_all = _decorator.jaxtyped
_calls: dict[Callable, int] = {}


def begin_test() -> None:
    """Count calls from the beginning."""
    _calls.clear()


def _jaxtyped(target: Any = _decorator._sentinel, *, typechecker: Any) -> Any:
    if target is _decorator._sentinel:
        return functools.partial(_jaxtyped, typechecker=typechecker)
    if inspect.isclass(target):
        if dataclasses.is_dataclass(target) and not hasattr(target.__init__, "is_checked"):
            target.__init__ = _jaxtyped(target.__init__, typechecker=typechecker)
        return target
    if not inspect.isfunction(target):
        # Class methods and properties come back here with their functions.
        return _check_all(target, typechecker=typechecker)
    return _some_calls(target, typechecker)


def _some_calls(function: Callable, typechecker: Any) -> Callable:
    """A function of whose calls some are checked."""
    checked = None

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        nonlocal checked
        number = _calls[function] = _calls.get(function, -1) + 1
        if number >= FIRST and number % THEN_ONE_OF:
            return function(*args, **kwargs)
        if checked is None:
            is_exempt = getattr(called, "__no_type_check__", False)
            checked = function if is_exempt else _checking(function, typechecker)
        return checked(*args, **kwargs)

    called.is_checked = True
    return called


_checker = beartype(conf=BeartypeConf(violation_type=TypeCheckError))


def _checking(function: Callable, typechecker: Any) -> Callable:
    """A function whose calls are all checked.

    Arguments and result are checked by one function that is made for it; jaxtyping makes two,
    one for the arguments alone, and checks them a second time with the result.
    """
    if inspect.isgeneratorfunction(function):
        return _check_all(function, typechecker=typechecker)
    hinted = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    functools.update_wrapper(hinted, function)
    del hinted.__wrapped__
    hinted.__kwdefaults__ = function.__kwdefaults__
    hinted.__annotations__ = {
        name: _decorator._destring_annotation(hint, function.__globals__)
        for name, hint in function.__annotations__.items()
    }
    return _check_all(_checker(hinted), typechecker=None)


# The decorator that the import hook puts around every function.
jaxtyping.jaxtyped = _decorator.jaxtyped = _jaxtyped
