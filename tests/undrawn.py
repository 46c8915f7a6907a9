"""Runs without most of their pictures, which take longer to draw than a short run to learn.

The picture of junk is drawn where a test asks for the fixture ``drawn``; what it would show is
prepared all the same. Of other figures the first of every kind is drawn in a process, and all
where a test asks for it; those that follow are composed, and an empty picture is written.
"""

import base64
import io
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

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


EMPTY = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNgYGBgAAAABQABeqhX"
    "UAAAAABJRU5ErkJggg=="
)
_draw = Figure.savefig
_kinds: set[tuple[str, int, str]] = set()


def kind_of(target: Path | io.BytesIO) -> tuple[str, int, str]:
    """The line of the program that saves a figure, and the name of its file but for numbers."""
    frame = sys._getframe(2)
    while frame.f_back and frame.f_code.co_name in {"save_figure", "figure"}:
        frame = frame.f_back
    name = "" if isinstance(target, io.BytesIO) else Path(target).name.lstrip(".").split(".")[0]
    return frame.f_code.co_filename, frame.f_lineno, re.sub(r"\d", "", name)


def first_of_its_kind(figure: Figure, target: Path | io.BytesIO, **options: object) -> None:
    """Draw a figure that is the first of its kind, and write an empty picture otherwise."""
    kind = kind_of(target)
    if kind in _kinds:
        not_drawn(figure, target, **options)
        return
    _draw(figure, target, **options)
    _kinds.add(kind)


def not_drawn(figure: Figure, target: Path | io.BytesIO, **options: object) -> None:
    """Write an empty picture in place of one of dots."""
    if options.get("format") != "png":
        _draw(figure, target, **options)
        return
    write = target.write if isinstance(target, io.BytesIO) else Path(target).write_bytes
    write(EMPTY)


@contextmanager
def without_pictures() -> Iterator[None]:
    """No run of this process draws its junk, and of other figures the first of every kind."""
    with pytest.MonkeyPatch.context() as patch:
        _leave_out(patch, first_of_its_kind)
        yield


def leave_out_all() -> None:
    """No picture is drawn in this process any more."""
    _leave_out(pytest.MonkeyPatch(), not_drawn)


def _leave_out(patch: pytest.MonkeyPatch, saving: Callable[..., None]) -> None:
    patch.setattr(Figure, "savefig", saving)
    patch.setattr(junk_gallery, "plot_junk", looked_through)
    patch.setattr(junk_gallery, "save_figure", left_blank)


@contextmanager
def with_pictures() -> Iterator[None]:
    """Runs draw all as ever."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", _draw)
        patch.setattr(junk_gallery, "plot_junk", plot_junk)
        patch.setattr(junk_gallery, "save_figure", save_figure)
        yield
