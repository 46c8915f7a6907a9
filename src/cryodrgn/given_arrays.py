"""Arrays that Python functions are given where command lines name files.

A setting of type :data:`PathOrArray` takes both; the readers of ``io`` (``load_array``,
``load_selection``, ``load_latent_text``) read both, so that commands need not tell them apart.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class GivenArray:
    """An array of numbers in place of a file.

    Attributes:
        values: A numpy array of at least one dimension.
        setting: The setting that it was given for; it stands for a file name in messages.
    """

    values: Any
    setting: str = "the array"

    @classmethod
    def of(cls, value: Any) -> "GivenArray":
        """Numbers of a notebook: an array of numpy, a tensor, or lists.

        Raises:
            TypeError: They are no numbers, or rows of different length.
        """
        import numpy as np  # noqa: PLC0415 (command lines are read without it)

        value = value.detach().cpu() if hasattr(value, "detach") else value
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise TypeError from error
        if array.dtype.kind not in "biuf":
            raise TypeError
        return cls(array)

    def __str__(self) -> str:
        """The setting, as messages name it."""
        return self.setting


PathOrArray = Path | GivenArray


def lists_numbers(value: Any) -> bool:
    """True for a list, or an array of at least one dimension."""
    return isinstance(value, list | tuple | range) or bool(getattr(value, "shape", ()))


def is_one_list(value: Any) -> bool:
    """True for one array or one list of numbers; false for a list of arrays or files."""
    if isinstance(value, list | tuple):
        return bool(value) and not any(
            isinstance(one, str | Path) or lists_numbers(one) for one in value
        )
    return lists_numbers(value)
