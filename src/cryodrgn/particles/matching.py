"""Particles that two sets have in common, found by what identifies them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Shaped

from cryodrgn.errors import ConfigError

# Names of particles or images by the kind of name.
Identities = Mapping[str, Shaped[np.ndarray, " particles"]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Matching:
    """Particles that two sets have in common, in the order of the second.

    Attributes:
        first: Row of each in the first set.
        second: Row of each in the second set, ascending.
        kind: What they were recognised by.
    """

    first: Int[np.ndarray, " common"]
    second: Int[np.ndarray, " common"]
    kind: str

    def __len__(self) -> int:
        return len(self.first)


def matched(first: Identities, second: Identities, names: tuple[str, str]) -> Matching | None:
    """Match particles by the first kind of identity that tells them in both sets.

    Args:
        first: Identities of the particles of one set, kinds in the order of preference.
        second: Those of the other set.
        names: Files of the sets, for messages.

    Returns:
        None if no kind of identity is known of both sets, or none of one kind is common.

    Raises:
        ConfigError: Two particles of a set have the same identity.
    """
    for kind, of_first in first.items():
        if kind not in second:
            continue
        common, here, there = np.intersect1d(of_first, second[kind], return_indices=True)
        if not len(common):
            continue
        for values, name in zip((of_first, second[kind]), names, strict=True):
            different, counts = np.unique(values, return_counts=True)
            if len(different) < len(values):
                shown = str(different[counts.argmax()])[:100]
                msg = (
                    f"{name} lists {counts.max()} particles of the same {kind} ({shown}), so "
                    f"that there is no telling which of {names[1]} they are; choose one row "
                    "of each with `indices`"
                )
                raise ConfigError(msg)
        order = np.argsort(there)
        return Matching(first=here[order], second=there[order], kind=kind)
    return None
