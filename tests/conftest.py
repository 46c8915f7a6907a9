"""Fixtures shared by all tests."""

import functools
import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

# Workers share the processors, and so do the commands that tests start: threads that wait for
# one another on a busy machine cost ten times what they save. Libraries read it as they load.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from hypothesis import settings

import compiled_modules  # noqa: F401 (before what is compiled)
import shape_checks
from cryodrgn.cli import tools
from cryodrgn.cli.main import main
from cryodrgn.io.cryodrgn_pickle import save_pickles
from cryodrgn.io.mrc import stack_writer

# The same examples in every run, and no failure because a machine is busy.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def undrawn() -> Iterator[None]:
    """Runs leave out most of their pictures."""
    from undrawn import without_pictures

    with without_pictures():
        yield


@pytest.fixture(scope="session", autouse=True)
def unmeasured() -> Iterator[None]:
    """Plans measure nothing."""
    from unmeasured import without_measurements

    with without_measurements():
        yield


@pytest.fixture
def measured() -> Iterator[None]:
    """Plans measure what they tell."""
    from unmeasured import with_measurements

    with with_measurements():
        yield


@pytest.fixture(scope="session", autouse=True)
def unflushed() -> Iterator[None]:
    """Files are not forced to the disk, which counts only when the power fails."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def coarse() -> Iterator[None]:
    """Surfaces are drawn coarse."""
    from coarse_surfaces import COARSE, draw

    with pytest.MonkeyPatch.context() as patch:
        draw(patch, COARSE)
        yield


@pytest.fixture(scope="session", autouse=True)
def undistributed() -> Iterator[None]:
    """No tensor that is compared is distributed: to ask so takes four seconds of imports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.testing._comparison, "_HAS_DTENSOR", False, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Workers do not compile the same at the same time."""
    from one_compiler import one_at_a_time

    # The folder above those of the workers is the same for all.
    with one_at_a_time(tmp_path_factory.getbasetemp().parent / "umap.lock"):
        yield


@pytest.fixture
def drawn() -> Iterator[None]:
    """Runs draw all their pictures."""
    from undrawn import with_pictures

    with with_pictures():
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def write_stack(tmp_path: Path) -> Callable[..., Path]:
    """Writes images as a stack and returns its path."""

    def write(
        images: np.ndarray, name: str = "particles.mrcs", pixel_size: float = 2.0
    ) -> Path:
        path = tmp_path / name
        with stack_writer(path, images.shape[-1], pixel_size) as writer:
            writer.append(images.astype(np.float32))
        return path

    return write


@pytest.fixture
def write_pickle(tmp_path: Path) -> Callable[..., Path]:
    """Writes one object as a pickle and returns its path."""

    def write(content: object, name: str) -> Path:
        save_pickles(tmp_path / name, [content])
        return tmp_path / name

    return write


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must succeed and returns what it printed."""

    def run_command(*arguments: object) -> str:
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert status == 0, captured.err
        return captured.out

    return run_command


def the_one_error(said: str, beginning: str) -> str:
    """The one sentence of an error, which warnings may precede."""
    lines = [line for line in said.splitlines(keepends=True) if line[:9] != "warning: "]
    assert len(lines) == 1, said
    assert lines[0].startswith(beginning), said
    return lines[0]


@pytest.fixture
def fail(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must end with a user's error and returns its one sentence."""

    def run_command(*arguments: object) -> str:
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert status == 2, captured.out
        return the_one_error(captured.err, f"cryodrgn {arguments[0]}: ")

    return run_command


@pytest.fixture
def tool(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a tool that must succeed and returns what it printed."""

    def run_tool(*arguments: object) -> str:
        status = tools.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert status == 0, captured.err
        return captured.out

    return run_tool


@pytest.fixture
def fail_tool(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a tool that must end with a user's error and returns its one sentence."""

    def run_tool(*arguments: object) -> str:
        status = tools.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert status == 2, captured.out
        return the_one_error(captured.err, f"cryodrgn_utils {arguments[0]}: ")

    return run_tool


@pytest.fixture(scope="session")
def acceptance() -> Path:
    """Folder of the acceptance data, which does not belong to the repository."""
    folder = os.environ.get("CRYODRGN_ACCEPTANCE")
    if not folder:
        pytest.skip("needs the acceptance data: set CRYODRGN_ACCEPTANCE to their folder")
    return Path(folder)


THREADS = torch.get_num_threads()


def pytest_runtest_setup():
    shape_checks.begin_test()
    # On how many threads divide a sum its last digits depend, and on these whole searches.
    if torch.get_num_threads() != THREADS:
        torch.set_num_threads(THREADS)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What is collected stays: it is not searched for garbage, now or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_ignore_collect(collection_path, config):
    """Files that ``make acceptance`` runs no test of need not be imported for it."""
    if config.option.markexpr != "slow or acceptance" or collection_path.suffix != ".py":
        return None
    return True if not of_make_acceptance(collection_path) else None


@functools.cache
def of_make_acceptance(path: Path) -> bool:
    """True if a file may have tests that ``make acceptance`` runs."""
    return "acceptance" in path.parts or "pytest.mark.slow" in path.read_text()


def pytest_collection_modifyitems(items):
    """The longest tests first, so that no worker is left with one at the end."""
    for item in items:
        if "acceptance" in item.path.parts:
            item.add_marker("acceptance")
        if "gpu" in item.path.relative_to(item.config.rootpath).parts:
            item.add_marker("gpu")
        if any(map(item.get_closest_marker, ("slow", "acceptance"))):
            assert of_make_acceptance(item.path), item.path
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
