"""Every command that computes on a device runs on a simulated card, without hidden waits.

The card refuses what a real one refuses, and steps are forbidden what is slow there, see
``tests/simulated_card.py``. Results are compared with those of the processor.
"""

import os

import numpy as np
import pytest
import torch

from command_line import subparsers
from cryodrgn import compiled_code
from cryodrgn.cli.main import CRYODRGN, main
from cryodrgn.data.training_set import TrainingSet
from cryodrgn.devices import choose_device, may_wait, to_device
from cryodrgn.imaging.noise import ResidualPower
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.mrc import read_volume
from cryodrgn.kernels.gridding import SliceAccumulator
from cryodrgn.linear import fit
from cryodrgn.linear.expectation import Expectation
from cryodrgn.linear.regression import Coefficients
from cryodrgn.models import volumes
from cryodrgn.models.pointwise import PointwiseNetwork
from cryodrgn.orientation import initial, starts
from cryodrgn.orientation.branching import BranchAndBoundSearch
from cryodrgn.reconstruction import backproject
from cryodrgn.rundir import SimulationFiles
from cryodrgn.simulation import simulate
from cryodrgn.training.loop import Trainer
from device_commands import COMMANDS, SLOW, line, make_inputs
from simulated_card import Card, SlownessError, simulated_card

# What is done for every batch of images, or every part of a volume.
STEPS = (
    (TrainingSet, "batch"),
    (TrainingSet, "unshifted_transforms"),
    (Trainer, "step"),
    (backproject._Adder, "add"),
    (SliceAccumulator, "add"),
    (Expectation, "__call__"),
    (ResidualPower, "add"),
    (Coefficients, "at"),
    (PointwiseNetwork, "__call__"),
    (volumes, "_inverse"),
    (BranchAndBoundSearch, "find"),
    (initial._Stage, "_images"),
    (simulate, "_clean_images"),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Particles, and a run and its landscape made by the processor, by name."""
    return make_inputs(tmp_path_factory.mktemp("made"))


@pytest.fixture
def card(monkeypatch):
    """A simulated card, on which steps may not wait unseen."""
    monkeypatch.setattr(initial, "MOST_ITERATIONS", 1)
    # So few images make no map.
    monkeypatch.setattr(starts, "LEAST_ERRORS", -1e9)
    # Iterations do the same again, at a higher resolution.
    monkeypatch.setattr(fit, "ROUNDS", (1, 1, 1))
    monkeypatch.setattr(fit, "JOINT_ROUNDS", 1)
    with simulated_card(monkeypatch) as simulated:
        for place, name in STEPS:
            monkeypatch.setattr(place, name, forbidding(simulated, getattr(place, name)))
        yield simulated


def forbidding(card: Card, step):
    def strict(*arguments, **named):
        with card.forbidding():
            return step(*arguments, **named)

    return strict


def with_option(flag: str) -> set[str]:
    """Names of the commands that have an option."""
    parsers = subparsers().items()
    return {name for name, parser in parsers if flag in parser._option_string_actions}


DETERMINISTIC = with_option("--deterministic")


def test_no_command_with_a_device_is_left_out():
    with_device = with_option("--device")
    # The page of dashboard and filter is served until it is stopped; volumes are decoded for it
    # as by eval_vol. A feature is selected in runs of several states alone, by sums over images
    # as in reconstruct_states. Models are compared as a training with held-out particles does.
    elsewhere = {"compare_models", "dashboard", "filter", "select"}
    assert with_device - set(CRYODRGN.aliases) - elsewhere == set(COMMANDS)


@pytest.mark.parametrize(
    "command",
    [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in COMMANDS],
)
def test_a_command_runs_on_a_card(made, request, tmp_path, command, capsys):
    if command == "analyze_landscape_full" and not made["landscape"].exists():
        assert main(line("analyze_landscape", made, made["landscape"], "cpu")) == 0
    card = request.getfixturevalue("card")
    # The card refuses what it could add up in another order in every run.
    ordered = ["--deterministic"] if command in DETERMINISTIC else []
    status = main([*line(command, made, tmp_path / "out", "cuda"), *ordered])
    assert status == 0, capsys.readouterr().err
    assert card.operations.total() > 20


def test_sums_have_one_order_while_a_command_is_asked_for_it(made, card, tmp_path, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    add, seen = SliceAccumulator.add, []

    def noted(self, *values):
        seen.append(
            (
                torch.are_deterministic_algorithms_enabled(),
                "CUBLAS_WORKSPACE_CONFIG" in os.environ,
            )
        )
        return add(self, *values)

    monkeypatch.setattr(SliceAccumulator, "add", noted)
    for more, expected in (([], (False, False)), (["--deterministic"], (True, True))):
        seen.clear()
        out = tmp_path / str(len(more))
        assert main([*line("backproject_voxel", made, out, "cuda"), *more]) == 0
        assert set(seen) == {expected}
        assert not torch.are_deterministic_algorithms_enabled()
    maps = [read_volume(tmp_path / f"{number}.mrc")[0] for number in (0, 1)]
    np.testing.assert_array_equal(*maps)


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0", "0"])
def test_a_card_has_its_index_whatever_it_is_called(card, name):
    assert choose_device(name) == torch.device("cuda", 0)


def test_a_card_gives_the_volumes_of_the_processor(made, card, tmp_path):
    for device in ("cpu", "cuda"):
        for command in ("backproject_voxel", "eval_vol"):
            assert main(line(command, made, tmp_path / f"{command}.{device}", device)) == 0
    for name in ("backproject_voxel.{}.mrc", "eval_vol.{}/vol_001.mrc"):
        ours, theirs = (read_volume(tmp_path / name.format(d))[0] for d in ("cuda", "cpu"))
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def test_a_card_compiles_the_decoding_of_volumes(made, card, tmp_path, monkeypatch):
    monkeypatch.setattr(compiled_code, "compiled", lambda function: function)
    monkeypatch.setattr(compiled_code, "compiler_problem", lambda device: None)
    calls = []
    program = PointwiseNetwork._of_several
    monkeypatch.setattr(
        PointwiseNetwork, "_of_several", lambda *values: (calls.append(1), program(*values))[1]
    )
    assert main(line("eval_vol", made, tmp_path / "cpu", "cpu")) == 0
    assert not calls
    assert main([*line("eval_vol", made, tmp_path / "cuda", "cuda"), "--compile", "on"]) == 0
    assert calls
    ours, theirs = (read_volume(tmp_path / d / "vol_001.mrc")[0] for d in ("cuda", "cpu"))
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def test_a_card_simulates_the_particles_of_the_processor(made, card, tmp_path):
    for device in ("cpu", "cuda"):
        assert main(line("simulate", made, tmp_path / device, device)) == 0
    theirs, ours = (SimulationFiles(tmp_path / device) for device in ("cpu", "cuda"))
    for name in ("star", "poses", "ctf", "labels", "settings"):
        assert getattr(ours, name).read_bytes() == getattr(theirs, name).read_bytes()
    stacks = [ImageStack.whole_files([files.particles]) for files in (ours, theirs)]
    images = [stack.read(np.arange(72)) for stack in stacks]
    assert images[1].std() > 1
    np.testing.assert_allclose(*images, atol=1e-4)


REFUSED = {
    "a tensor of the host": (lambda there: there + torch.ones(3), RuntimeError, "same device"),
    "an array": (lambda there: there.numpy(), TypeError, "can't convert cuda:0"),
    "numbers that are stacked": (
        lambda there: torch.stack([there.sum(), torch.ones(())]),
        RuntimeError,
        "same device",
    ),
    "a generator of the host": (
        lambda there: torch.randn(3, device=there.device, generator=torch.Generator()),
        RuntimeError,
        "generator",
    ),
    "a device without index": (
        lambda there: torch.cuda.set_device(torch.device("cuda")),
        ValueError,
        "Expected a torch.device with a specified index",
    ),
    "a number": (lambda there: there[0].item(), SlownessError, "_local_scalar_dense"),
    "a condition": (lambda there: 1 if there.sum() > 0 else 0, SlownessError, "wait"),
    "a list": (lambda there: there.tolist(), SlownessError, "wait"),
    "a copy to the host": (lambda there: there.cpu(), SlownessError, "copy"),
    "a copy from the host": (lambda there: torch.ones(3).to(there), SlownessError, "copy"),
    "a mask": (lambda there: there[there > 0], SlownessError, "mask"),
    "places of the host": (lambda there: there[torch.arange(2)], SlownessError, "indices"),
    "positions": (lambda there: there.nonzero(), SlownessError, "nonzero"),
    "double precision": (lambda there: there.double(), SlownessError, "double precision"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_simulated_card_refuses(monkeypatch, name):
    work, kind, words = REFUSED[name]
    with simulated_card(monkeypatch) as card:
        there = torch.ones(3).to("cuda:0")
        with card.forbidding(), pytest.raises(kind, match=words):
            work(there)


def test_a_wait_with_a_reason_is_allowed(monkeypatch):
    with simulated_card(monkeypatch) as card:
        there = torch.ones(3).to("cuda:0")
        with card.forbidding(), may_wait("the user is told"):
            assert there.sum().item() == 3
        assert card.waits["the user is told"] == 1


def test_what_is_sent_is_not_waited_for(monkeypatch):
    with simulated_card(monkeypatch) as card, card.forbidding():
        there = to_device(torch.arange(3), torch.device("cuda:0"))
        assert there.device == torch.device("cuda", 0)


def test_the_simulated_card_computes_gradients_as_the_processor_does(monkeypatch):
    values = torch.linspace(-1, 1, 12).view(3, 4)
    results = []
    with simulated_card(monkeypatch):
        for device in ("cpu", "cuda:0"):
            weight = values.clone().to(device).requires_grad_()
            (weight[1:, :2].square() * weight[:2, 2:]).sum().backward()
            assert weight.grad is not None
            results.append(weight.grad.cpu())
    assert torch.equal(*results)
