"""Runs without their picture of junk, which takes longer to draw than a short run to learn.

What the picture would show is prepared all the same. Tests of the picture ask for the fixture
``drawn``.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from cryodrgn.analysis.junk_plots import COLUMNS, plot_junk
from cryodrgn.analysis.plots import save_figure
from cryodrgn.workflow import junk_gallery


def looked_through(
    scores: Mapping[str, np.ndarray],
    is_junk: np.ndarray,
    images: Mapping[str, np.ndarray],
    labels: Mapping[str, Sequence[str]],
    sentence: str,
) -> None:
    """No figure; what it would be drawn from fits together."""
    assert {len(values) for values in scores.values()} == {len(is_junk)}
    assert images.keys() == labels.keys()
    for title, shown in images.items():
        assert len(labels[title]) == len(shown) <= COLUMNS
        assert np.isfinite(shown).all()
    assert sentence


def left_blank(_: None, path: Path) -> None:
    """A file where the picture would be."""
    path.write_bytes(b"\x89PNG, not drawn")


@contextmanager
def without_pictures() -> Iterator[None]:
    """No run of this process draws its junk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(junk_gallery, "plot_junk", looked_through)
        patch.setattr(junk_gallery, "save_figure", left_blank)
        yield


@contextmanager
def with_pictures() -> Iterator[None]:
    """Runs draw their junk as ever."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(junk_gallery, "plot_junk", plot_junk)
        patch.setattr(junk_gallery, "save_figure", save_figure)
        yield
