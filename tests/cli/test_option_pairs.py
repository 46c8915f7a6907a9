"""Every option has an effect beside every other one, or it is said that it has none."""

import zlib
from dataclasses import replace

import pytest

from cli.option_cases import CASES
from cli.option_inputs import make_inputs
from cli.option_pairs import Pairs, shares
from cli.tool_option_cases import TOOL_CASES
from cryodrgn.cli.main import CRYODRGN
from cryodrgn.cli.tools import CRYODRGN_UTILS
from cryodrgn.jobs.training import TrainingJob

TRAINING = [c for c in CASES if issubclass(CRYODRGN.load_command(c).job, TrainingJob)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    inputs, out = tmp_path_factory.mktemp("inputs"), tmp_path_factory.mktemp("out")
    make_inputs(inputs)
    return inputs, out


@pytest.mark.parametrize("program", [CRYODRGN, CRYODRGN_UTILS], ids=lambda p: p.name)
def test_every_command_is_tried(program):
    cases = CASES if program is CRYODRGN else TOOL_CASES
    assert set(cases) == set(program.commands)


@pytest.fixture(scope="module")
def shared():
    """Of pairs that several commands of training have, those that each of them tries."""
    _, parsers = CRYODRGN._parsers()
    return shares({c: {action.dest for action in parsers[c]._actions} for c in TRAINING})


@pytest.mark.parametrize("command", TRAINING)
def test_no_option_of_a_training_is_switched_off_in_silence(
    command, folders, shared, monkeypatch
):
    monkeypatch.chdir(folders[1])
    pairs = Pairs(CRYODRGN, command, CASES[command], folders)
    assert pairs.silent(shared[command]) == []


@pytest.mark.slow
@pytest.mark.parametrize("command", TRAINING)
def test_no_option_of_a_training_is_switched_off_in_any_command(
    command, folders, shared, monkeypatch
):
    """Of the pairs that the test above tries in another command, every third."""
    monkeypatch.chdir(folders[1])
    pairs = Pairs(CRYODRGN, command, CASES[command], folders)

    def is_tried(*pair):
        return not shared[command](*pair) and zlib.crc32(" ".join(pair).encode()) % 3 == 0

    assert pairs.silent(is_tried) == []


@pytest.mark.parametrize("command", [c for c in CASES if c not in TRAINING])
def test_no_option_of_a_command_is_switched_off_in_silence(command, folders, monkeypatch):
    monkeypatch.chdir(folders[1])
    assert Pairs(CRYODRGN, command, CASES[command], folders).silent() == []


@pytest.mark.parametrize("command", TOOL_CASES)
def test_no_option_of_a_tool_is_switched_off_in_silence(command, folders, monkeypatch):
    monkeypatch.chdir(folders[1])
    assert Pairs(CRYODRGN_UTILS, command, TOOL_CASES[command], folders).silent() == []


def test_options_that_nothing_is_said_of_are_found(folders, monkeypatch):
    monkeypatch.chdir(folders[1])
    silent = Pairs(replace(CRYODRGN, inactive={}), "select", CASES["select"], folders).silent()
    assert {"--pc", "--count", "--seed"} <= set(silent)
