"""Pickles read as data: plain containers, and arrays that are built here from their parts.

A pickle is a program. Of its instructions those are carried out that make numbers, text and
containers. Nothing that a file names is called: where numpy's own functions are asked for,
their arguments are taken down, and the arrays are made afterwards, after a check that as many
bytes are there as the shape says. (numpy's own way to restore an array trusts the file.)
"""

import io
import math
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

MOST_NESTED = 50
# Elements that the other dimensions of an array without any may promise.
LARGEST_EMPTY = 2**16
_CODE = re.compile(r"[biuf]\d{1,2}|[SU]\d{1,9}|[SU]0?|\?")
_ORDERS = frozenset("<>=|")

_REFUSED_INSTRUCTIONS = (
    pickle.PERSID,
    pickle.BINPERSID,
    pickle.INST,
    pickle.OBJ,
    pickle.NEWOBJ,
    pickle.NEWOBJ_EX,
    pickle.EXT1,
    pickle.EXT2,
    pickle.EXT4,
    pickle.NEXT_BUFFER,
    pickle.READONLY_BUFFER,
)


class DtypeParts:
    """Parts of a pickled numpy type: ``numpy.dtype(code)`` and its state."""

    def __init__(self, code: object, _align: object = None, _copy: object = None) -> None:
        if not isinstance(code, str) or not _CODE.fullmatch(code):
            msg = f"it holds an array of type {str(code)[:20]!r}"
            raise pickle.UnpicklingError(msg)
        self._code, self._order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take over the byte order; fields and inner types are refused."""
        order, inner = state[1], state[2:5]
        if order not in _ORDERS or any(part is not None for part in inner):
            msg = "it holds an array of compound type"
            raise pickle.UnpicklingError(msg)
        self._order = order

    def dtype(self) -> np.dtype:
        """The type of numbers."""
        return np.dtype(self._code).newbyteorder(self._order)  # type: ignore[arg-type]


class ArrayParts:
    """Parts of a pickled array: its shape, type and bytes."""

    def __init__(self) -> None:
        self._state: tuple[Any, ...] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take down ``(version, shape, dtype, is_fortran, bytes)``."""
        self._state = state[-4:]

    def array(self) -> np.ndarray:
        """The array."""
        if self._state is None:
            msg = "it holds an array without content"
            raise pickle.UnpicklingError(msg)
        shape, dtype, is_fortran, data = self._state
        return _array(data, dtype, shape, "F" if is_fortran else "C")


def _array(data: object, dtype: object, shape: object, order: object) -> np.ndarray:
    """An array of exactly the bytes that are there."""
    content = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(dtype, DtypeParts) or not isinstance(content, bytes | bytearray):
        msg = "it holds an array of something other than numbers"
        raise pickle.UnpicklingError(msg)
    kind = dtype.dtype()
    sides = (shape,) if isinstance(shape, int) else shape
    if not isinstance(sides, tuple) or not all(isinstance(n, int) and n >= 0 for n in sides):
        msg = "it holds an array of impossible shape"
        raise pickle.UnpicklingError(msg)
    promised = math.prod(n for n in sides if n)
    size = promised if all(sides) else 0
    if size * kind.itemsize != len(content) or (size == 0 and promised > LARGEST_EMPTY):
        msg = (
            f"it announces an array of shape {sides} and type {kind}, but holds "
            f"{len(content)} bytes of it"
        )
        raise pickle.UnpicklingError(msg)
    values = np.frombuffer(content, kind) if len(content) else np.empty(0, kind)
    return values.reshape(sides, order="F" if order == "F" else "C").copy(order="K")


def _reconstruct(_kind: object, _shape: object, _code: object) -> ArrayParts:
    return ArrayParts()


def _scalar(dtype: object, data: object) -> Any:
    return _array(data, dtype, (), "C")[()]


def _encode(text: object, encoding: object = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in {"latin1", "latin-1"}:
        msg = f"it asks for an encoding of text as {encoding}"
        raise pickle.UnpicklingError(msg)
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


def _ndarray(_shape: object = None, _dtype: object = None, _buffer: object = None) -> Any:
    msg = "it asks for numpy.ndarray in an unusual way"
    raise pickle.UnpicklingError(msg)


# What stands in for the few names that pickles of arrays contain.
STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): DtypeParts,
    ("numpy", "ndarray"): _ndarray,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("__builtin__", "frozenset"): frozenset,
    # How old protocols write an array of no elements.
    ("__builtin__", "bytes"): _no_bytes,
}
for _core in ("numpy.core", "numpy._core"):
    STAND_INS[f"{_core}.multiarray", "_reconstruct"] = _reconstruct
    STAND_INS[f"{_core}.multiarray", "scalar"] = _scalar
    STAND_INS[f"{_core}.numeric", "_frombuffer"] = _array


_Interpreter: Any = pickle._Unpickler


class _PlainUnpickler(_Interpreter):
    """The interpreter of Python's own library, short of the instructions that reach out.

    It is the one written in Python: its memory of earlier objects is a dictionary, where that
    written in C makes a table as long as the largest number a file mentions.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(_Interpreter.dispatch)
    stack: list[Any]

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            return STAND_INS[module_name, global_name]
        except KeyError:
            msg = f"it asks for {module_name}.{global_name}"
            raise pickle.UnpicklingError(msg) from None

    def load_refused(self) -> None:
        msg = "it holds an instruction that no array needs"
        raise pickle.UnpicklingError(msg)

    def load_build(self) -> None:
        state = self.stack.pop()
        instance = self.stack[-1]
        if not isinstance(instance, DtypeParts | ArrayParts):
            self.load_refused()
        instance.__setstate__(state)

    def load_bytearray8(self) -> None:
        size = int.from_bytes(self.read(8), "little")
        # Python's own makes room for as many bytes as the file says before it looks.
        self.append(self.read(size))


for _instruction in _REFUSED_INSTRUCTIONS:
    _PlainUnpickler.dispatch[_instruction[0]] = _PlainUnpickler.load_refused
_PlainUnpickler.dispatch[pickle.BUILD[0]] = _PlainUnpickler.load_build
_PlainUnpickler.dispatch[pickle.BYTEARRAY8[0]] = _PlainUnpickler.load_bytearray8


def plain_objects(content: bytes) -> list[Any]:
    """All objects of a pickle file, of which it may hold several in a row.

    Raises:
        Exception: Of nearly any kind, as damaged pickles do; nothing has then been run.
    """
    file, objects = io.BytesIO(content), []
    while file.tell() < len(content):
        objects.append(finished(_PlainUnpickler(file).load()))
    return objects


def finished(item: Any) -> Any:
    """An object whose parts of arrays are replaced by arrays."""
    return _finished(item, {}, 0)


def _finished(item: Any, done: dict[int, Any], depth: int) -> Any:
    # Objects that are mentioned twice are made once, so that nested references stay small.
    if id(item) in done:
        return done[id(item)]
    if depth > MOST_NESTED:
        msg = f"it nests containers more than {MOST_NESTED} deep"
        raise pickle.UnpicklingError(msg)
    if isinstance(item, ArrayParts):
        result: Any = item.array()
    elif isinstance(item, DtypeParts):
        result = item.dtype()
    elif isinstance(item, dict):
        pairs = ((key, _finished(value, done, depth + 1)) for key, value in item.items())
        result = type(item)(pairs)
    elif isinstance(item, list | tuple):
        result = type(item)([_finished(part, done, depth + 1) for part in item])
    elif callable(item):
        msg = "it holds a function"
        raise pickle.UnpicklingError(msg)
    else:
        return item
    done[id(item)] = result
    return result
