"""A particle is followed from the command to its loss as ARCHITECTURE says."""

import re
import sys
import traceback
from pathlib import Path

import pytest

import cryodrgn
from cryodrgn.imaging import likelihood
from finished_run import SMALL_VAE

SOURCES = Path(cryodrgn.__file__).parent
PAGE = Path(__file__).parents[2] / "ARCHITECTURE.md"
# The goal is 12; ARCHITECTURE says why there are more.
MOST = 17


def named():
    """Files of the table of calls, and those that are named below it."""
    text = PAGE.read_text().partition("### From the command to the loss")[2]
    text = text.partition("### Other ways")[0]
    called = re.findall(r"^\| \d+ \| `([\w/]+\.py)`", text, re.MULTILINE)
    others = re.findall(r"`([\w/]+\.py)`", text.partition("more, called by")[2])
    return called, others


@pytest.fixture
def stack(run, tmp_path, monkeypatch):
    """Files on the call stack of the first loss of a run, outermost first."""
    found, error = [], likelihood.mean_squared_error

    def compared(*args):
        names = [Path(frame.filename) for frame in traceback.extract_stack()]
        ours = [p.relative_to(SOURCES).as_posix() for p in names if p.is_relative_to(SOURCES)]
        # The plan measures a step of its own.
        if not found and "training/runner.py" in ours:
            found.extend(dict.fromkeys(ours))
        return error(*args)

    run("simulate", "-D", 16, "--Apix", 12, "-n", 24, "--num-states", 1, "-o", tmp_path / "sim")
    monkeypatch.setattr(likelihood, "mean_squared_error", compared)
    monkeypatch.setattr("cryodrgn.threads.useful_threads", lambda: 1)
    words = ("--zdim", 2, "-n", 1, *SMALL_VAE, "-o", tmp_path / "out")
    run("train_vae", tmp_path / "sim/particles.star", *words)
    return found


def test_the_calls_from_the_command_to_the_loss_are_those_of_the_page(stack):
    called, others = named()
    assert stack == called
    loaded = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    assert {str(SOURCES / name) for name in others} <= loaded
    assert len({*called, *others}) == len(called) + len(others) <= MOST
