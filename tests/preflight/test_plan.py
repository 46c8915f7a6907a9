"""The plan is said before a run begins, and refused where it cannot come true."""

import pytest

from cryodrgn.data import memory
from cryodrgn.models.build import ModelConfig, build_model
from cryodrgn.models.decoders import DecoderConfig
from cryodrgn.models.encoders import EncoderConfig
from cryodrgn.preflight.doctor import examine
from cryodrgn.training.memory import count_weights
from finished_run import SMALL_VAE


@pytest.fixture
def star(run, tmp_path):
    words = "simulate -D 16 --Apix 12 -n 24 --num-states 1 -o"
    run(*words.split(), tmp_path / "sim")
    return tmp_path / "sim/particles.star"


def test_the_plan_comes_before_the_first_step(run, star, tmp_path):
    out = run("train_vae", star, "--zdim", 2, "-n", 1, *SMALL_VAE, "-o", tmp_path / "out")
    plan = out.index("plan: 24 particles of 16 px, 1 epochs in batches of 8; memory ")
    assert plan < out.index("keeping 24 images")
    assert f"written to {tmp_path / 'out'}; about" in out[plan:]


def test_a_limit_of_memory_is_respected(fail, star, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_MEM_PER_NODE", str(memory.resident_memory() // 2**20 + 10))
    out = tmp_path / "out"
    message = fail("train_vae", star, "--zdim", 2, "-n", 1, *SMALL_VAE, "-o", out)
    assert "training needs" in message
    assert "but the SLURM has" in message
    assert not out.exists()


@pytest.mark.parametrize("width", [16, 100])
@pytest.mark.parametrize("encoding", ["geom_lowf", "none"])
def test_weights_are_counted_without_making_the_model(width, encoding):
    config = ModelConfig(
        box_size=32,
        latent_dim=4,
        encoder=EncoderConfig(num_layers=2, hidden_dim=width),
        decoder=DecoderConfig(num_layers=3, hidden_dim=width, encoding=encoding),
    )
    made = sum(p.numel() for p in build_model(config).parameters())
    assert sum(count_weights(config)) == pytest.approx(made, rel=0.01)


def test_the_doctor_names_versions_limits_and_device(run):
    out = run("doctor", "--device", "cpu")
    for word in ("cryodrgn 1", "Python 3", "torch 2", "memory left", "processors", "room for"):
        assert word in out
    assert "self-test: one step on cpu agrees" in out


def test_the_doctor_says_what_is_wrong(fail, monkeypatch):
    assert "device 'nonsense' cannot be used" in fail("doctor", "--device", "nonsense")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "1")
    assert any("of memory left (SLURM)" in words for words in examine("cpu").wrong)


def test_memory_that_is_exhausted_is_said_in_a_sentence(fail, tmp_path, monkeypatch):
    def exhausted(*_):
        raise MemoryError

    monkeypatch.setattr("cryodrgn.simulation.simulate.simulate", exhausted)
    assert "memory is exhausted; take a smaller batch" in fail("simulate", "-o", tmp_path)
