"""Numbers that run away are caught, named, and never reach an average or a file."""

import numpy as np
import pytest
import torch

from cryodrgn.data.batches import VisitingOrder
from cryodrgn.data.training_set import TrainingSet
from cryodrgn.errors import NumericalError
from cryodrgn.imaging.likelihood import Losses
from cryodrgn.io.checkpoints import load_checkpoint
from cryodrgn.training.guard import NonFiniteGuard, PendingStep, StepReport
from cryodrgn.training.loop import LAG
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


@pytest.fixture
def lagging(monkeypatch):
    """Training as on a device that the host does not wait for, with a lag of four steps."""
    monkeypatch.setitem(LAG, "cpu", 4)


def test_a_bad_batch_does_not_move_the_weights_where_the_host_does_not_wait(
    run, simulated, poison, lagging, tmp_path, caplog
):
    poison(lambda call: call == 4)
    found = train(run, simulated, tmp_path / "run", "-n", 2)
    assert found.metrics[-1]["skipped"] == 1
    assert found.metrics[-1]["images"] == 80
    assert_finite(found)
    (record,) = (r for r in caplog.records if "skipped a batch" in r.message)
    order = VisitingOrder(count=40, row_bytes=784, seed=0).epoch(0)
    names = [int(n) for n in record.message.rsplit("particles are ", 1)[1].split(", ")]
    assert names == order[12:16].tolist()


def test_not_waiting_for_the_device_changes_nothing(
    run, simulated, monkeypatch, lagging, tmp_path
):
    lagged = train(run, simulated, tmp_path / "lagged", "-n", 2)
    monkeypatch.delitem(LAG, "cpu")
    waiting = train(run, simulated, tmp_path / "waiting", "-n", 2)
    for name, value in lagged.weights().items():
        assert torch.equal(value, waiting.weights()[name]), name
    for found, expected in zip(lagged.metrics, waiting.metrics, strict=True):
        assert found | {"seconds": 0} == expected | {"seconds": 0}


def test_three_bad_batches_roll_back_where_the_host_does_not_wait(
    run, simulated, poison, lagging, tmp_path, caplog
):
    poison(lambda call: call in {14, 15, 16})
    found = train(run, simulated, tmp_path / "run", "-n", 3, "--lr", 1e-3)
    assert "went back to the last good state" in caplog.text
    assert [row["learning_rate"] for row in found.metrics] == [1e-3, 5e-4, 5e-4]
    assert_finite(found)


def report(total, gradient_norm=1.0):
    return StepReport(reconstruction=total, kl=0.0, total=total, gradient_norm=gradient_norm)


def test_a_guard_stops_after_its_second_series():
    guard, rows = NonFiniteGuard([5, 6]), torch.tensor([0, 1])
    bad = report(float("nan"))
    for _ in range(3):
        assert not guard.accepts(bad, rows)
    assert guard.must_return()
    for _ in range(3):
        assert not guard.accepts(bad, rows)
    with pytest.raises(NumericalError, match="training diverges"):
        guard.must_return()


def test_a_good_batch_breaks_the_series():
    guard, rows = NonFiniteGuard([0]), torch.tensor([0])
    for loss in (float("inf"), float("inf"), 1.0, float("inf")):
        guard.accepts(report(loss), rows)
        assert not guard.must_return()
    assert guard.skipped == 3


def test_an_infinite_gradient_is_bad_even_if_the_loss_is_finite():
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([1.0, float("inf")])
    one = torch.tensor(1.0)
    losses = Losses(reconstruction=one, kl=one, total=one)
    outcome = PendingStep.of(torch.tensor([0]), losses, [parameter])
    assert outcome.is_bad
    assert not NonFiniteGuard([0]).accepts(outcome.report(), torch.tensor([0]))
