import csv

import numpy as np
import pytest
import torch

from cryodrgn.cli.main import main
from cryodrgn.fourier.shells import fourier_shell_correlation
from cryodrgn.io.cryodrgn_pickle import load_latents, save_pickles
from cryodrgn.io.mrc import MrcFile, read_volume
from cryodrgn.linear.latents import Latents
from mrc_orders import assert_in_one_place, write_consensus

NUM_IMAGES, BOX_SIZE = 1500, 24


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    folder = tmp_path_factory.mktemp("moving")
    arguments = f"simulate -D {BOX_SIZE} --Apix 8 -n {NUM_IMAGES} --num-states 8 --snr 1 -o"
    assert main([*arguments.split(), str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def trained(moving, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    words = ["train_linear", str(moving / "particles.star"), "--components", "4"]
    assert main([*words, "-o", str(folder)]) == 0
    return folder


def inputs(moving):
    pickles = ("--poses", moving / "poses.pkl", "--ctf", moving / "ctf.pkl")
    return ("--particles", moving / "particles.mrcs", *pickles)


def area(volume, truth):
    pair = (torch.from_numpy(part) for part in (volume, truth))
    return fourier_shell_correlation(*pair).area()


@pytest.mark.parametrize("method", ["basis", "kernel"])
def test_states_agree_better_with_their_truth_than_the_average_does(
    run, trained, moving, tmp_path, method
):
    latents, labels = load_latents(trained / "z.pkl"), np.load(moving / "labels.npy")
    np.savetxt(tmp_path / "z.txt", [latents[labels == s].mean(0) for s in (0, 7)])
    out = tmp_path / "states"
    options = ("--zfile", tmp_path / "z.txt", "--functions", 8, "--method", method)
    run("reconstruct_states", trained, *options, "-o", out)
    mean, _ = read_volume(trained / "mean.mrc")
    for number, state in enumerate((0, 7)):
        truth, _ = read_volume(moving / f"gt/state_{state:03d}.mrc")
        found, pixel_size = read_volume(out / f"state_{number:03d}.mrc")
        assert pixel_size == 8
        assert area(found, truth) > area(mean, truth) + 0.01
    rows = list(csv.DictReader((out / "states.csv").read_text().splitlines()))
    assert [row["supported"] for row in rows] == ["yes", "yes"]
    assert all(20 < float(row["effective_images"]) < NUM_IMAGES for row in rows)
    assert (out / "states.png").stat().st_size > 10_000


def test_eval_vol_of_the_model_gives_the_same_states(run, trained, tmp_path):
    z = load_latents(trained / "z.pkl")[3].tolist()
    out = tmp_path / "states"
    run("reconstruct_states", trained, "-z", *z, "--functions", 8, "-o", out)
    run("eval_vol", out / "weights.pkl", "-z", *z, "-o", tmp_path / "v.mrc")
    expected, found = (read_volume(p)[0] for p in (out / "state_000.mrc", tmp_path / "v.mrc"))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_half_maps_add_up_to_errors_and_resolutions_in_their_range(run, trained, tmp_path):
    out = tmp_path / "states"
    consensus = write_consensus(tmp_path / "consensus.mrc")
    words = ("reconstruct_states", trained, "--num-states", 2, "--functions", 6)
    run(*words, "--like", consensus, "-o", out)
    assert_in_one_place(list(out.glob("*.mrc")), consensus)
    halves = [read_volume(out / f"state_000_half_map_{half}.mrc")[0] for half in "ab"]
    assert not np.allclose(*halves)
    error, _ = read_volume(out / "state_000_standard_error.mrc")
    assert error.min() >= 0
    local, _ = read_volume(out / "state_000_local_resolution.mrc")
    assert local.min() >= 16 - 1e-3
    assert local.max() <= 16 * 8 + 1e-3
    fsc = np.loadtxt(out / "state_000_fsc.txt")
    assert fsc.shape == (BOX_SIZE // 2 - 1, 2)


def test_a_state_far_from_all_particles_is_called_extrapolated(run, trained, tmp_path, capsys):
    dims = load_latents(trained / "z.pkl").shape[1]
    out = tmp_path / "states"
    run("reconstruct_states", trained, "-z", *[25.0] * dims, "--functions", 6, "-o", out)
    row = next(csv.DictReader((out / "states.csv").read_text().splitlines()))
    assert row["supported"] == "extrapolated"


def test_latents_of_any_program_will_do(run, moving, tmp_path, rng, monkeypatch):
    figures = []
    monkeypatch.setattr(
        "cryodrgn.analysis.plots.save_figure", lambda figure, _: figures.append(figure)
    )
    labels = np.load(moving / "labels.npy")
    angle = labels / 7 + 0.02 * rng.normal(size=NUM_IMAGES)
    np.save(tmp_path / "z.npy", angle[:, None].astype(np.float32))
    out = tmp_path / "states"
    words = ("--latents", tmp_path / "z.npy", "-z", 0.0, "--functions", 6)
    said = run("reconstruct_states", *inputs(moving), *words, "-o", out)
    assert "z was estimated from all images" in said
    assert "z was estimated from all images" in figures[0].get_suptitle()
    truth, _ = read_volume(moving / "gt/state_000.mrc")
    other, _ = read_volume(moving / "gt/state_007.mrc")
    found, _ = read_volume(out / "state_000.mrc")
    assert area(found, truth) > area(found, other) + 0.02


def test_functions_without_number_are_the_coordinates(run, moving, tmp_path, rng):
    z = np.load(moving / "labels.npy")[:, None] / 7
    save_pickles(tmp_path / "z.pkl", [z.astype(np.float32)])
    words = ("--latents", tmp_path / "z.pkl", "--functions", 0)
    for name, point in (("a", 0.0), ("b", 0.5), ("c", 1.0)):
        run("reconstruct_states", *inputs(moving), *words, "-z", point, "-o", tmp_path / name)
    low, middle, high = (read_volume(tmp_path / n / "state_000.mrc")[0] for n in "abc")
    np.testing.assert_allclose(middle, (low + high) / 2, atol=1e-4 * np.abs(low).max())


def test_particles_stay_in_their_half_whoever_is_left_out(
    run, trained, moving, write_stack, tmp_path
):
    _, particles, *rest = inputs(moving)
    images = MrcFile.open(particles).sections().copy()
    images[3] = np.nan
    bad = write_stack(images, "bad.mrcs", 8)
    z = load_latents(trained / "z.pkl")[5].tolist()
    words = ("reconstruct_states", trained, *rest, "-z", *z, "--functions", 0)
    run(*words, "--particles", particles, "-o", tmp_path / "all")
    run(*words, "--particles", bad, "-o", tmp_path / "some")
    for half in "ab":
        sound, found = (
            read_volume(tmp_path / name / f"state_000_half_map_{half}.mrc")[0]
            for name in ("all", "some")
        )
        assert np.corrcoef(sound.flat, found.flat)[0, 1] > 0.999


def test_halves_of_latents_are_those_of_all_particles():
    latents = Latents(mean=np.arange(12, dtype=np.float32).reshape(6, 2), source="test")
    first, second = latents.select(np.array([0, 2, 3, 5])).select(np.array([1, 2, 3])).halves()
    assert (first.tolist(), second.tolist()) == ([0], [1, 2])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-z", 1), "dimensions"),
        (("--latents", "{short}"), "latents of 7 particles"),
        (("--functions", -1), "--functions must be zero or more"),
        (("--zfile", "{short}"), "is no text"),
        (("--mask", "{map}"), "is no mask: its values run from"),
    ],
)
def test_mistakes_end_before_anything_is_written(
    fail, trained, moving, tmp_path, options, words
):
    short = tmp_path / "short.npy"
    np.save(short, np.zeros((7, load_latents(trained / "z.pkl").shape[1]), np.float32))
    component = trained / "component1.mrc"
    given = [str(option).format(short=short, map=component) for option in options]
    if options[0] == "-z":
        given = ["-z", *["1"] * 9]
    if options[0] == "--latents":
        given += ["-z", *["0"] * load_latents(trained / "z.pkl").shape[1]]
    message = fail("reconstruct_states", trained, *given, "-o", tmp_path / "out")
    assert words in message
    assert not (tmp_path / "out").exists()


def test_a_name_is_needed(fail, tmp_path):
    message = fail("reconstruct_states", "-o", tmp_path / "out")
    assert "name a run" in message


def test_a_training_run_is_not_written_over(fail, trained):
    message = fail("reconstruct_states", trained, "--num-states", 2, "-o", trained)
    assert "holds a training run" in message


def test_density_and_a_path_between_two_particles(run, trained, moving, tmp_path):
    labels = np.load(moving / "labels.npy")
    ends = [int(np.flatnonzero(labels == state)[0]) for state in (0, 7)]
    out = tmp_path / "density"
    options = ("--dims", 1, "--anchors", *ends, "--bootstraps", 3)
    run("conformational_density", trained, *options, "-o", out)
    assert np.load(out / "density.npz")["values"].ndim == 1
    assert (out / "density.png").stat().st_size > 5000
    path = np.loadtxt(out / "path.txt", ndmin=2)
    assert path.shape[1] == load_latents(trained / "z.pkl").shape[1]
    run("eval_vol", trained / "weights.pkl", "--zfile", out / "path.txt", "-o", tmp_path / "v")
    assert len(list((tmp_path / "v").glob("*.mrc"))) == len(path)
