"""The plan is said before a run begins, and refused where it cannot come true."""

import re

import pytest

from cryodrgn.cli.main import main
from cryodrgn.data import memory
from cryodrgn.models.build import build_model
from cryodrgn.models.settings import DecoderConfig, EncoderConfig, ModelConfig
from cryodrgn.preflight.doctor import examine
from cryodrgn.preflight.plan import Plan
from cryodrgn.training.memory import count_weights
from finished_run import SMALL_VAE


@pytest.fixture
def star(run, tmp_path):
    words = "simulate -D 16 --Apix 12 -n 24 --num-states 1 -o"
    run(*words.split(), tmp_path / "sim")
    return tmp_path / "sim/particles.star"


def test_the_plan_comes_before_the_first_step(run, star, tmp_path):
    out = run("train_vae", star, "--zdim", 2, "-n", 1, *SMALL_VAE, "-o", tmp_path / "out")
    plan = out.index("plan: 24 particles of 16 px, 1 epoch in batches of 8; memory ")
    assert plan < out.index("keeping 24 images")
    assert f"written to {tmp_path / 'out'}; about" in out[plan:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A particle set, a run on it, and a landscape of that."""
    folder = tmp_path_factory.mktemp("planned")
    star, out = folder / "sim/particles.star", folder / "run"
    lines = [
        f"simulate -D 16 --Apix 12 -n 60 --num-states 2 -o {folder / 'sim'}",
        f"train_vae {star} --zdim 3 -n 1 {' '.join(map(str, SMALL_VAE))} -o {out}",
        f"analyze_landscape {out} -1 -N 6 -M 2 --pc-dim 2 --plot-dim 1",
    ]
    for line in lines:
        assert main(line.split()) == 0
    return folder


STAR, RUN = "{}/sim/particles.star", "{}/run"
PLANS = {
    f"train_linear {STAR} --components 1 --radius 5": "60 particles of 16 px, 1 component",
    f"backproject_voxel {STAR}": "60 particles of 16 px",
    f"eval_images {STAR} {RUN}/weights.pkl": "60 particles of 16 px",
    f"eval_vol {RUN}/weights.pkl --z-start 0 0 0 --z-end 1 1 1 -n 4": "4 volumes of 16 px",
    f"analyze {RUN} -1 --skip-umap --ksample 3 --pc 1 --n-per-pc 2": (
        "5 volumes of 16 px, 60 particles"
    ),
    f"analyze_landscape {RUN} -1 -N 6 -M 2 --pc-dim 2": "6 volumes of 16 px, 6 of them",
    f"analyze_landscape_full {RUN} -1 -N 9 --epochs 1 --skip-umap": "9 volumes of 16 px, 60",
    f"reconstruct_states {RUN} --functions 2 --num-states 2": "60 particles of 16 px, 2 states",
    f"downsample {STAR} -D 8": "60 images from 16 to 8 px",
    "simulate -D 16 --Apix 12 -n 30 --num-states 2": "30 images of 16 px, 2 states",
    f"power {STAR} --components 1 --radius 5 --trials 1 --domain-kda 20 --motions 5": (
        "60 particles of 16 px, 1 planted set"
    ),
    f"nuisance {STAR} {RUN}/z.pkl": "60 particles of 16 px, 60 of them in maps",
}
FILES = {"backproject_voxel": "x.mrc", "eval_images": "x.pkl", "downsample": "x.mrcs"}


def words_of(line, folder, out):
    words = line.format(folder, folder).split()
    return [*words, "-o", str(out / FILES.get(words[0], ""))]


class BegunError(Exception):
    """A plan has been said, and what it is of would begin."""


@pytest.mark.parametrize(("line", "work"), PLANS.items())
def test_every_long_command_says_its_plan_before_it_begins(
    folder, tmp_path, line, work, monkeypatch, capsys, measured
):
    out, announce = tmp_path / "out", Plan.announce

    def announce_alone(plan, name):
        announce(plan, name)
        raise BegunError

    monkeypatch.setattr(Plan, "announce", announce_alone)
    with pytest.raises(BegunError):
        main(words_of(line, folder, out))
    said = capsys.readouterr().out.splitlines()
    plan = next(number for number, text in enumerate(said) if text.startswith("plan: "))
    assert said[plan].startswith(f"plan: {work}")
    assert re.search(
        rf"; memory [\d.]+ .B; up to [\d.]+ .B written to {out}; about \d+ s$", said[plan]
    )
    # Nothing has been said before but from which files things are read.
    assert all(" are taken from " in text for text in said[:plan])


STACK = "{}/sim/particles.mrcs"
POSELESS = "holds no poses; give them with --poses"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"train_vae {STACK} --zdim 2", POSELESS),
        (f"train_dec {STACK} --zdim 2", POSELESS),
        (f"train_nn {STACK}", POSELESS),
        (f"train_linear {STACK} --components 1", POSELESS),
        (f"backproject_voxel {STACK}", POSELESS),
        (f"eval_images {STACK} {RUN}/weights.pkl", POSELESS),
        (f"nuisance {STACK} {RUN}/z.pkl", POSELESS),
        (f"power {STACK}", POSELESS),
        (f"check {STACK}", POSELESS),
        (f"run {STACK}", POSELESS),
        (f"train_linear {STAR}", "has 60 particles, but 8 components need at least 64"),
    ],
)
def test_what_cannot_begin_is_refused_before_a_plan_is_measured(
    folder, tmp_path, line, words, monkeypatch, fail
):
    def announce(plan, name):
        raise BegunError

    monkeypatch.setattr(Plan, "announce", announce)
    assert words in fail(*words_of(line, folder, tmp_path / "out"))


@pytest.mark.parametrize("line", PLANS)
def test_too_little_memory_or_room_is_said_before_anything_is_written(
    fail, folder, tmp_path, line, monkeypatch
):
    out = tmp_path / "out"
    words = words_of(line, folder, out)
    with monkeypatch.context() as patch:
        patch.setattr("cryodrgn.preflight.plan.free_bytes", lambda place: 100)
        assert "cannot be written: it needs" in fail(*words)
    monkeypatch.setenv("SLURM_MEM_PER_NODE", str(memory.resident_memory() // 2**20 + 10))
    assert "of memory, but the SLURM has" in fail(*words)
    assert not out.exists()


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
