"""Networks that learn faster: Muon, rates that change, averages, weighted inputs, recipes."""

import math
from contextlib import contextmanager
from copy import deepcopy
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cryodrgn.cli.main import main
from cryodrgn.data.prepared import Storage
from cryodrgn.data.preprocessing import Preprocessing
from cryodrgn.data.training_set import build_training_set
from cryodrgn.errors import ConfigError
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.imaging.grouping import Grouping, ImageSets
from cryodrgn.io.checkpoints import load_checkpoint
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.jobs.train_vae import TrainVae
from cryodrgn.models.build import build_model
from cryodrgn.models.encoders import MlpEncoder
from cryodrgn.models.settings import DecoderConfig, EncoderConfig, ModelConfig
from cryodrgn.training import muon as muon_module
from cryodrgn.training.input_weights import input_weights, spectral_snr
from cryodrgn.training.muon import Muon, nearly_orthogonal
from cryodrgn.training.optimizers import (
    Adam,
    TunedAdam,
    Tuning,
    averaged,
    take_over,
    tuned_adam,
)
from cryodrgn.training.run_config import TrainConfig
from finished_run import SMALL_NN, SMALL_VAE, Finished

RATES = {"learning_rate": 0.01, "weight_decay": 0.0, "num_steps": 6, "num_epochs": 3}
CPU = torch.device("cpu")


class Network(nn.Module):
    """Two layers, of which the first stands for a hidden one."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.hidden, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

    def learn(self, optimizer, steps):
        """Weights of the hidden layer after each of some steps."""
        generator = torch.Generator().manual_seed(1)
        after = []
        for _ in range(steps):
            optimizer.zero_grad()
            values = torch.randn(5, 4, generator=generator)
            self.last(self.hidden(values).relu()).square().sum().backward()
            optimizer.step()
            after.append(self.hidden.weight.detach().clone())
        return after


def tuned(network, **tuning):
    return tuned_adam(network, [network.hidden.weight], CPU, Tuning(**tuning), **RATES)


def test_without_tuning_the_optimiser_is_plain_adam():
    assert type(tuned(Network())) is Adam


def test_muon_moves_hidden_matrices_and_adam_all_else():
    network, beside = Network(), Network()
    network.learn(tuned(network, muon=True), 3)
    muon = Muon([beside.hidden.weight], lr=0.01)
    others = [p for p in beside.parameters() if p is not beside.hidden.weight]
    adam = torch.optim.Adam(others, lr=0.01, fused=True)
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        beside.zero_grad()
        values = torch.randn(5, 4, generator=generator)
        beside.last(beside.hidden(values).relu()).square().sum().backward()
        muon.step()
        adam.step()
    for name, value in beside.state_dict().items():
        assert torch.equal(network.state_dict()[name], value), name


@pytest.mark.parametrize("shape", [(6, 6), (4, 7), (7, 4)])
@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="PyTorch before 2.9")
def test_muon_is_that_of_pytorch_in_single_precision(shape, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda values: values.clone())
    monkeypatch.setattr(muon_module, "choose_network_dtype", lambda _: torch.float32)
    generator = torch.Generator().manual_seed(0)
    one, other = (nn.Parameter(torch.ones(shape).cumsum(0).cumsum(1) / 10) for _ in range(2))
    ours = Muon([one], lr=0.02, weight_decay=0.1)
    theirs = torch.optim.Muon(
        [other], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    for step in range(4):
        if step == 2:
            ours.load_state_dict(deepcopy(theirs.state_dict()))
        one.grad = torch.randn(shape, generator=generator)
        other.grad = one.grad.clone()
        ours.step()
        theirs.step()
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_step_of_muon_is_along_a_nearly_orthogonal_matrix():
    matrix = torch.randn(30, 20, generator=torch.Generator().manual_seed(0))
    found = nearly_orthogonal(matrix)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    turned = left.T @ found @ right.T
    singular = turned.diagonal()
    assert singular.min() > 0.5
    assert singular.max() < 1.5
    torch.testing.assert_close(turned, singular.diag(), rtol=0, atol=1e-4)


def test_an_average_over_all_steps_is_their_mean():
    network = Network()
    optimizer = tuned(network, averaging=1.0)
    after = network.learn(optimizer, 6)
    moving = network.hidden.weight.detach().clone()
    with averaged(optimizer) as is_averaged:
        assert is_averaged
        torch.testing.assert_close(network.hidden.weight, torch.stack(after).mean(0))
    assert torch.equal(network.hidden.weight, moving)


def test_a_short_average_follows_the_weights():
    network = Network()
    optimizer = tuned(network, averaging=1e-9)
    network.learn(optimizer, 4)
    moving = network.hidden.weight.detach().clone()
    with averaged(optimizer):
        torch.testing.assert_close(network.hidden.weight.detach(), moving)


@given(
    st.sampled_from(["constant", "linear", "cosine"]),
    st.floats(0, 2),
    st.integers(1, 50),
    st.integers(1, 5),
)
@settings(max_examples=50, deadline=None)
def test_a_rate_rises_once_and_falls_once(schedule, warm_up, per_epoch, epochs):
    tuning, total = Tuning(schedule=schedule, warm_up=warm_up), per_epoch * epochs
    rates = np.array([tuning.rate_at(step, total, float(per_epoch)) for step in range(total)])
    assert (rates > 0).all()
    assert (rates <= 1).all()
    turns = np.flatnonzero(np.diff(np.sign(np.diff(rates[rates < 1]).round(12))) > 0)
    assert len(turns) == 0
    if schedule == "constant":
        assert (np.diff(rates) >= 0).all()
    elif not warm_up:
        assert (np.diff(rates) <= 0).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate_warm_up": -1.0},
        {"rate_warm_up": math.inf},
        {"averaging": 1.5},
        {"averaging": -0.1},
    ],
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match="`(rate_warm_up|averaging)` must"):
        TrainConfig(**wrong)


def test_a_rise_must_end_within_the_run():
    assert TrainConfig(num_epochs=2, rate_warm_up=2.0).tuning.has_course
    with pytest.raises(ConfigError, match="`rate_warm_up` 2.5 must be at most the 2 epochs"):
        TrainConfig(num_epochs=2, rate_warm_up=2.5)


def test_scaled_changes_are_those_of_scaled_inputs():
    factors = torch.tensor([0.25, 0.5, 1.0, 2.0])
    folded, weighted = Network(), Network()
    optimizer = tuned(folded, averaging=1.0)
    optimizer.scale_changes(folded.hidden.weight, factors)
    with torch.no_grad():
        folded.hidden.weight *= factors
    plain = tuned(weighted)
    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        values = torch.randn(5, 4, generator=generator)
        for network, inputs, mover in (
            (folded, values, optimizer),
            (weighted, values * factors, plain),
        ):
            mover.zero_grad()
            network.last(network.hidden(inputs).relu()).square().sum().backward()
            mover.step()
    torch.testing.assert_close(folded.hidden.weight, weighted.hidden.weight * factors)
    torch.testing.assert_close(folded.last.weight, weighted.last.weight)


@pytest.mark.parametrize("muon", [True, False])
def test_moments_of_a_plain_run_begin_a_tuned_one_and_the_other_way_round(muon):
    kinds = ({}, {"muon": muon, "schedule": "linear", "averaging": 0.5})
    for before, after in (kinds, kinds[::-1]):
        first, network = Network(), Network()
        optimizer = tuned(first, **before)
        first.learn(optimizer, 2)
        begun = tuned(network, **after)
        take_over(begun, optimizer.state_dict(), is_same_run=False)
        network.learn(begun, 1)
        assert torch.isfinite(network.hidden.weight).all()
        # The course of the rate begins anew.
        assert begun.param_groups[0]["lr"] == 0.01


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    assert (
        main(f"simulate -D 16 --Apix 12 -n 400 --num-states 1 --snr 0.5 -o {folder}".split())
        == 0
    )
    return folder


def test_the_ratio_by_frequency_is_that_of_the_simulation(simulated, tmp_path):
    particles = open_particles(ParticleFiles(particles=simulated / "particles.star"))
    lattice = HalfPlaneFrequencies.disc(16)
    images = build_training_set(
        particles, lattice, Preprocessing(), CPU, storage=Storage(scratch_dir=tmp_path)
    )
    ratio = spectral_snr(images)
    assert float(ratio.min()) >= 0
    # White noise of variance 1: the ratios add up to the power of the clean images, of which
    # interpolation on an unpadded grid loses what lies far from the centre.
    power = 2 * float(ratio.sum()) / 16**2
    assert 0.25 < power < 0.5
    weights = input_weights(ratio)
    assert float(weights.square().mean()) == pytest.approx(1, rel=1e-5)
    radii = lattice.points.float().square().sum(-1).sqrt()
    assert weights[radii < 3].mean() > 2 * weights[radii > 7].mean()


def test_nothing_known_weights_nothing():
    assert torch.equal(input_weights(torch.zeros(3)), torch.ones(3))


def test_an_encoder_with_weights_in_its_first_layer_sees_weighted_images():
    config = EncoderConfig(hidden_dim=8, num_layers=1, mask_radius=6)
    encoder = MlpEncoder(config, box_size=16, latent_dim=2)
    points = len(HalfPlaneFrequencies.disc(16))
    weights, images = torch.rand(points), torch.randn(3, points, 2)

    def seen(images):
        return encoder(ImageSets(images=images, grouping=Grouping(num_images=3)))[0]

    expected = seen(images * weights[:, None])
    parameter, columns = encoder.input_columns(weights)
    with torch.no_grad():
        parameter *= columns
    torch.testing.assert_close(seen(images), expected)
    real = MlpEncoder(EncoderConfig(use_real=True), box_size=16, latent_dim=2)
    assert real.input_columns(weights) is None


def test_muon_gets_matrices_between_layers_and_the_first_of_the_encoder():
    config = ModelConfig(
        box_size=16,
        latent_dim=2,
        encoder=EncoderConfig(hidden_dim=8),
        decoder=DecoderConfig(hidden_dim=9, num_layers=1),
    )
    model = build_model(config)
    found = [tuple(matrix.shape) for matrix in model.matrices_for_muon()]
    inputs = model.encoder.values_of.num_values
    assert found == [(8, inputs), *[(8, 8)] * 3, (9, 9)]
    hidden = model.matrices_for_muon(with_encoder_inputs=False)
    assert [tuple(matrix.shape) for matrix in hidden] == found[1:]


COMMANDS = {
    "train_vae": (
        *(*SMALL_VAE, "--zdim", 2, "--recipe", "fast", "--held-out", 0.2),
        *("--encoder-inputs", "snr"),
    ),
    "train_dec": (*SMALL_NN, "--zdim", 2, "--recipe", "fast"),
}


def train(simulated, command, out, *more, epochs=2):
    words = (*COMMANDS[command], "-n", epochs, "-b", 16, "--no-amp", *more, "-o", out)
    words = (command, simulated / "particles.star", *words)
    assert main([str(word) for word in words]) == 0
    return Finished(out)


def stopping_after(steps):
    """What asks a run to stop after some steps."""
    asked = count(1)

    @contextmanager
    def stop():
        yield lambda: next(asked) >= steps

    return stop


@pytest.mark.parametrize("command", COMMANDS)
def test_a_recipe_goes_on_exactly_where_it_was_stopped(
    command, simulated, tmp_path, monkeypatch
):
    whole = train(simulated, command, tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr("cryodrgn.jobs.training.stop_on_signals", stopping_after(33))
        train(simulated, command, tmp_path / "part")
    part = train(simulated, command, tmp_path / "part", "--load", "latest")
    for name, value in whole.weights().items():
        assert torch.equal(part.weights()[name], value), name
    assert whole.metrics[-1]["total"] == part.metrics[-1]["total"]
    checkpoint = load_checkpoint(tmp_path / "whole" / "weights.pkl")
    moving = checkpoint["run_state"]["moving"]
    assert any(not torch.equal(moving[n], v) for n, v in whole.weights().items())


def test_weights_of_a_recipe_begin_a_plain_run(simulated, tmp_path):
    first = train(simulated, "train_vae", tmp_path / "fast", epochs=1)
    start = first.path / "weights.pkl"
    words = ("train_vae", simulated / "particles.star", *SMALL_VAE, "--zdim", 2, "-n", 2)
    words = (*words, "--load", start, "--lr", 1e-12, "--no-amp", "-o", tmp_path / "plain")
    assert main([str(word) for word in words]) == 0
    for name, value in first.weights().items():
        torch.testing.assert_close(Finished(tmp_path / "plain").weights()[name], value)


def test_options_that_are_given_win_over_a_recipe(caplog):
    given = {"learning_rate": 1e-3, "optimizer": "adam", "batch_size": 8}
    job = TrainVae.with_given(
        {
            "particles": Path("particles.star"),
            "outdir": Path("run"),
            "recipe": "fast",
            "zdim": 2,
            **given,
        }
    )
    found = job.optimisation()
    assert (found.learning_rate, found.optimizer, found.batch_size) == (1e-3, "adam", 8)
    assert (found.averaging, found.rate_schedule) == (0.1, "linear")
    assert "`recipe` fast sets `rate_schedule` linear, " in caplog.text
    assert "as given: `batch_size`, `learning_rate`, `optimizer`" in caplog.text


@pytest.mark.parametrize(
    ("given", "mode"),
    [
        ({}, "resid"),
        ({"recipe": "fast"}, "subtomogram"),
        ({"recipe": "fast", "encode_mode": "mlp"}, "mlp"),
        ({"recipe": "fast", "use_real": True}, "resid"),
        ({"recipe": "fast", "encoder_mask": 5}, "resid"),
        ({"recipe": "fast", "input_weighting": "snr"}, "resid"),
    ],
)
def test_a_recipe_tells_poses_to_the_encoder_where_nothing_else_is_said(
    given, mode, simulated, caplog
):
    caplog.set_level("INFO", "cryodrgn")
    path = simulated / "particles.star"
    job = TrainVae.with_given({"particles": path, "outdir": Path("run"), "zdim": 2, **given})
    particles = open_particles(ParticleFiles(particles=path))
    assert job.model(particles).encoder.mode == mode
    says = "`recipe` fast sets `encode_mode` subtomogram" in caplog.text
    assert says is (mode == "subtomogram")


def test_without_a_recipe_the_defaults_are_those_of_the_help():
    job = TrainVae.with_given(
        {"particles": Path("particles.star"), "outdir": Path("run"), "zdim": 2}
    )
    found = job.optimisation()
    assert (found.learning_rate, found.batch_size, found.tuning) == (1e-4, 8, Tuning())


def test_encoders_that_see_no_frequencies_say_that_these_are_not_weighted(
    simulated, tmp_path, capsys
):
    train(simulated, "train_vae", tmp_path / "run", "--use-real", epochs=1)
    assert "--encoder-inputs snr has no effect" in capsys.readouterr().err


def test_a_tuned_optimiser_skips_no_step_by_itself():
    from cryodrgn.training.optimizers import skips_on_device

    assert isinstance(tuned(Network(), averaging=0.5), TunedAdam)
    assert not skips_on_device(tuned(Network(), averaging=0.5))
