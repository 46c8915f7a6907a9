"""Numbers that run away are caught, named, and never reach an average or a file."""

import numpy as np
import pytest
import torch

from cryodrgn.data.batches import VisitingOrder
from cryodrgn.data.training_set import TrainingSet
from cryodrgn.errors import NumericalError
from cryodrgn.io.checkpoints import load_checkpoint
from cryodrgn.training.guard import Guard
from finished_run import SMALL_VAE, Finished


@pytest.fixture
def simulated(run, tmp_path):
    run("simulate", "-D", 16, "--Apix", 12, "-n", 40, "--num-states", 1, "-o", tmp_path / "sim")
    return tmp_path / "sim/particles.star"


@pytest.fixture
def poison(monkeypatch):
    """Makes the images of some batches infinite, as a fault of the hardware would."""

    def poison_batches(is_bad):
        original, calls = TrainingSet._images, [0]

        def images(self, *arguments):
            values = original(self, *arguments)
            if torch.is_grad_enabled():
                calls[0] += 1
                if is_bad(calls[0]):
                    values = values * float("inf")
            return values

        monkeypatch.setattr(TrainingSet, "_images", images)

    return poison_batches


def train(run, star, out, *options):
    line = ("train_vae", star, "--zdim", 1, "-b", 4, *SMALL_VAE, "-o", out, *options)
    run(*line)
    return Finished(out)


def assert_finite(finished):
    assert all(torch.isfinite(value).all() for value in finished.weights().values())
    assert np.isfinite(finished.latents).all()
    assert all(np.isfinite(list(row.values())).all() for row in finished.metrics)


def test_a_bad_batch_is_skipped_and_its_particles_are_named(
    run, simulated, poison, tmp_path, caplog
):
    poison(lambda call: call == 4)
    found = train(run, simulated, tmp_path / "run", "-n", 1)
    assert found.metrics[-1]["skipped"] == 1
    assert_finite(found)
    (record,) = (r for r in caplog.records if "skipped a batch" in r.message)
    names = [int(n) for n in record.message.rsplit("particles are ", 1)[1].split(", ")]
    order = VisitingOrder(count=40, row_bytes=784, seed=0).epoch(0)
    assert names == order[12:16].tolist()


def test_three_bad_batches_roll_back_and_halve_the_learning_rate(
    run, simulated, poison, tmp_path, caplog
):
    poison(lambda call: call in {14, 15, 16})
    found = train(run, simulated, tmp_path / "run", "-n", 3, "--lr", 1e-3)
    assert "went back to the last good state" in caplog.text
    assert [row["learning_rate"] for row in found.metrics] == [1e-3, 5e-4, 5e-4]
    assert found.metrics[-1]["skipped"] == 3
    assert_finite(found)


def test_what_does_not_help_ends_the_run_with_its_cause(fail, simulated, poison, tmp_path):
    poison(lambda call: call > 12)
    line = ("train_vae", simulated, "--zdim", 1, "-b", 4, *SMALL_VAE, "-n", 3)
    from cryodrgn.cli.main import main

    assert main([str(word) for word in (*line, "-o", tmp_path / "run")]) == 2
    weights = load_checkpoint(tmp_path / "run/weights.0.pkl")["model_state_dict"]
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert not (tmp_path / "run/weights.1.pkl").exists()


def test_a_guard_stops_after_its_second_series():
    guard, rows = Guard([5, 6]), torch.tensor([0, 1])
    bad = torch.tensor(float("nan"))
    for _ in range(3):
        assert not guard.accepts(bad, [], rows)
    assert guard.must_return()
    for _ in range(3):
        assert not guard.accepts(bad, [], rows)
    with pytest.raises(NumericalError, match="training diverges"):
        guard.must_return()


def test_a_good_batch_breaks_the_series():
    guard, rows = Guard([0]), torch.tensor([0])
    for loss in (float("inf"), float("inf"), 1.0, float("inf")):
        guard.accepts(torch.tensor(loss), [], rows)
        assert not guard.must_return()
    assert guard.skipped == 3


def test_an_infinite_gradient_is_bad_even_if_the_loss_is_finite():
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([1.0, float("inf")])
    assert not Guard([0]).accepts(torch.tensor(1.0), [parameter], torch.tensor([0]))
