import csv
import pickle
import re

import numpy as np
import pytest
import torch
import yaml

from cryodrgn.io.checkpoints import load_checkpoint
from cryodrgn.io.cryodrgn_pickle import load_latents, load_pickles

SMALL = ("--qdim", 16, "--pdim", 16, "--qlayers", 1, "--players", 1)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    from cryodrgn.cli.main import main

    folder = tmp_path_factory.mktemp("simulated")
    arguments = "simulate -D 16 --Apix 12 -n 60 --num-states 2 --snr 1 -o"
    assert main([*arguments.split(), str(folder)]) == 0
    return folder


def test_a_star_file_and_a_latent_dimension_are_enough(run, simulated, tmp_path):
    out = tmp_path / "run"
    star = simulated / "particles.star"
    run("train_vae", star, "--zdim", 3, "-o", out, "-n", 3, "--checkpoint", 2, *SMALL)
    assert {path.name for path in out.iterdir()} == {
        "config.pkl",
        "config.yaml",
        "events.jsonl",
        "good.pkl",
        "junk.pkl",
        "junk.png",
        "metrics.csv",
        "run.log",
        "scores.csv",
        "weights.0.pkl",
        "weights.2.pkl",
        "weights.pkl",
        "z.0.pkl",
        "z.2.pkl",
        "z.pkl",
    }
    mean, log_variance = load_pickles(out / "z.pkl")
    assert mean.shape == log_variance.shape == (60, 3)
    assert mean.dtype == log_variance.dtype == np.float32


def test_pickles_give_the_same_run_as_the_star_file(run, simulated, tmp_path):
    pickles = ("--poses", simulated / "poses.pkl", "--ctf", simulated / "ctf.pkl")
    options = ("--zdim", 1, "-n", 1, "--precision", "float32", *SMALL)
    run("train_vae", simulated / "particles.star", *options, "-o", tmp_path / "a")
    run("train_vae", simulated / "particles.mrcs", *pickles, *options, "-o", tmp_path / "b")
    a, b = load_latents(tmp_path / "a/z.pkl"), load_latents(tmp_path / "b/z.pkl")
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_weights_have_the_keys_and_shapes_of_cryodrgn(run, simulated, tmp_path):
    run("train_vae", simulated / "particles.star", "--zdim", 3, "-n", 1, "-o", tmp_path, *SMALL)
    checkpoint = load_checkpoint(tmp_path / "weights.pkl")
    assert checkpoint["epoch"] == 0
    shapes = {name: tuple(v.shape) for name, v in checkpoint["model_state_dict"].items()}
    assert shapes == {
        "encoder.main.0.weight": (16, 196),
        "encoder.main.0.bias": (16,),
        "encoder.main.2.linear.weight": (16, 16),
        "encoder.main.2.linear.bias": (16,),
        "encoder.main.4.weight": (6, 16),
        "encoder.main.4.bias": (6,),
        "decoder.decoder.main.0.weight": (16, 6 * 8 + 3),
        "decoder.decoder.main.0.bias": (16,),
        "decoder.decoder.main.2.linear.weight": (16, 16),
        "decoder.decoder.main.2.linear.bias": (16,),
        "decoder.decoder.main.4.weight": (2, 16),
        "decoder.decoder.main.4.bias": (2,),
    }
    optimizer = checkpoint["optimizer_state_dict"]
    assert optimizer["param_groups"][0]["lr"] == 1e-4
    assert len(optimizer["state"]) == len(shapes)


def test_configs_have_the_layout_of_both_versions(run, simulated, tmp_path):
    star = simulated / "particles.star"
    run("train_vae", star, "--zdim", 3, "-n", 1, "-o", tmp_path, "--window", *SMALL)
    with (tmp_path / "config.pkl").open("rb") as file:
        old = pickle.load(file)
    new = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert set(old) == {"dataset_args", "lattice_args", "model_args", "seed"}
    assert {*old, "training", "version", "cmd"} == set(new)
    assert old["lattice_args"] == {"D": 17, "extent": 0.5, "ignore_DC": True}
    assert old["model_args"]["enc_mask"] == 8
    assert old["dataset_args"]["particles"] == str(star.resolve())
    assert old["dataset_args"]["window"] is True
    shift, scale = old["dataset_args"]["norm"]
    assert shift == 0
    # Unit noise with as much signal: the transform's values have variance 2 · 16².
    assert scale == pytest.approx(16 * np.sqrt(2), rel=0.25)


def test_the_log_has_the_line_that_parsers_look_for(run, simulated, tmp_path):
    run("train_vae", simulated / "particles.star", "--zdim", 1, "-n", 2, "-o", tmp_path, *SMALL)
    log = (tmp_path / "run.log").read_text()
    pattern = (
        r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d     # =====> Epoch: (\d+) Average gen loss = [\d.]+, "
        r"KLD = [\d.]+, total loss = (\d\.\d+); Finished in \d+:\d\d:\d\d$"
    )
    lines = re.findall(pattern, log, flags=re.MULTILINE)
    assert [epoch for epoch, _ in lines] == ["1", "2"]
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert [int(row["images"]) for row in rows] == [60, 120]
    assert float(rows[-1]["total"]) == pytest.approx(float(lines[-1][1]), abs=1e-5)


def test_the_same_seed_gives_the_same_weights_bit_for_bit(run, simulated, tmp_path):
    star, options = simulated / "particles.star", ("--zdim", 2, "-n", 2, *SMALL)
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        run("train_vae", star, *options, "--seed", seed, "-o", tmp_path / name)
    a, b, c = (
        load_checkpoint(tmp_path / name / "weights.pkl")["model_state_dict"] for name in "abc"
    )
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not any(torch.equal(a[name], c[name]) for name in a)


def test_inverting_data_and_inverting_images_are_the_same(run, simulated, tmp_path):
    star, options = simulated / "particles.star", ("--zdim", 1, "-n", 1, *SMALL)
    run("train_vae", star, *options, "-o", tmp_path / "plain")
    run("train_vae", star, *options, "--invert-data", "-o", tmp_path / "inverted")
    assert not np.allclose(
        load_latents(tmp_path / "plain/z.pkl"), load_latents(tmp_path / "inverted/z.pkl")
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--zdim", 0), "--zdim must be at least 1"),
        (("--zdim", 1, "-b", 0), "-b must be at least 1"),
        (("--zdim", 1, "--lr", 0), "--lr must be positive"),
        (("--zdim", 1, "--enc-mask", 9), "--enc-mask 9 must be a radius from 1 to 8"),
        (("--zdim", 1, "--device", "cuda:99"), "device 'cuda:99' cannot be used"),
        (("--zdim", 1, "--pe-type", "linear_lowf", "--pe-dim", 3), "--pe-dim 3 cannot be"),
    ],
)
def test_wrong_settings_end_before_anything_is_written(
    fail, simulated, tmp_path, options, words
):
    message = fail("train_vae", simulated / "particles.star", "-o", tmp_path / "run", *options)
    assert words in message
    assert not (tmp_path / "run").exists()


def test_images_without_poses_are_refused(fail, simulated, tmp_path):
    message = fail(
        "train_vae", simulated / "particles.mrcs", "--zdim", 1, "-o", tmp_path / "run"
    )
    assert "holds no poses; give them with --poses" in message
    assert not (tmp_path / "run").exists()
