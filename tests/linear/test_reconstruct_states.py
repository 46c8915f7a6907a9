import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cryodrgn.cli.main import main
from cryodrgn.errors import ConfigError
from cryodrgn.fourier.shells import fourier_shell_correlation
from cryodrgn.io.cryodrgn_pickle import load_latents, save_pickles
from cryodrgn.io.curves import read_curves
from cryodrgn.io.mrc import MrcFile, read_volume
from cryodrgn.jobs.conformational_density import conformational_density
from cryodrgn.linear.latents import Latents, run_latents
from cryodrgn.rundir import RunDirectory
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


def assert_pages_say_what_there_is(out, rows):
    """A sharpened map, curves and numbers for every state, and all of them on a page."""
    mask, _ = read_volume(out / "states_mask.mrc")
    page = (out / "states.html").read_text()
    for number, row in enumerate(rows):
        stem = out / f"state_{number:03d}"
        record = json.loads(Path(f"{stem}.json").read_text())
        assert record["effective_images"] == pytest.approx(
            float(row["effective_images"]), abs=1
        )
        halves = [
            torch.from_numpy(read_volume(Path(f"{stem}_half_map_{x}.mrc"))[0]) for x in "ab"
        ]
        masked = [half * torch.from_numpy(mask) for half in halves]
        curves = read_curves(Path(f"{stem}_curves.txt"))
        expected = fourier_shell_correlation(masked[0], masked[1]).values
        torch.testing.assert_close(curves["masked"].values, expected, atol=1e-4, rtol=0)
        sharp, _ = read_volume(Path(f"{stem}_sharpened.mrc"))
        mean = (halves[0] + halves[1]).numpy() / 2
        assert np.corrcoef(sharp.ravel(), mean.ravel())[0, 1] > 0.5
        assert Path(f"{stem}.png").stat().st_size > 20_000
        for words in (
            f"State {number}<",
            row["effective_images"],
            f"{stem.name}_half_map_a.mrc",
        ):
            assert words in page
        assert record["resolution_in_words"] in page
    assert page.count("<img") == len(rows)


@pytest.mark.parametrize("method", ["basis", "kernel"])
def test_states_agree_better_with_their_truth_than_the_average_does(
    run, trained, moving, tmp_path, method, drawn
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
    assert_pages_say_what_there_is(out, rows)
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
        (("--zfile", "{map}"), "is no text"),
        (
            ("--stable", "--num-states", 2),
            "--stable by maxima of their density, -z and --zfile by hand; give one",
        ),
        (("-D", 8), "radius of 3 Fourier pixels"),
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


def test_density_and_a_path_between_two_particles(run, trained, moving, tmp_path, drawn):
    labels = np.load(moving / "labels.npy")
    ends = [int(np.flatnonzero(labels == state)[0]) for state in (0, 7)]
    out = tmp_path / "density"
    save_pickles(tmp_path / "labels.pkl", [labels // 4 * 2 + 3])
    options = ("--dims", 1, "--anchors", *ends, "--bootstraps", 3)
    words = (*options, "--labels", tmp_path / "labels.pkl", "-o", out)
    said = run("conformational_density", trained, *words)
    assert "state 0: " in said
    shares = list(csv.DictReader((out / "cluster_shares.csv").read_text().splitlines()))
    assert sum(float(row["share"]) for row in shares) == pytest.approx(1, abs=1e-3)
    # Clusters keep the numbers that they have among the labels.
    assert [row["cluster"] for row in shares] == ["3", "5"]
    assert "cluster 5: " in said
    assert np.load(out / "density.npz")["values"].ndim == 1
    assert (out / "density.png").stat().st_size > 5000
    path = np.loadtxt(out / "path.txt", ndmin=2)
    assert path.shape[1] == load_latents(trained / "z.pkl").shape[1]
    run("eval_vol", trained / "weights.pkl", "--zfile", out / "path.txt", "-o", tmp_path / "v")
    assert len(list((tmp_path / "v").glob("*.mrc"))) == len(path)


def test_labels_are_read_from_either_kind_of_file(run, trained, moving, tmp_path):
    labels = np.load(moving / "labels.npy")
    save_pickles(tmp_path / "labels.pkl", [labels // 4])
    np.save(tmp_path / "labels.npy", labels // 4)
    tables = []
    for kind in ("pkl", "npy"):
        words = ("--labels", tmp_path / f"labels.{kind}", "--bootstraps", 2, "--dims", 1)
        run("conformational_density", trained, *words, "-o", tmp_path / kind)
        tables.append((tmp_path / kind / "cluster_shares.csv").read_bytes())
    assert tables[0] == tables[1]


def test_the_density_of_a_latent_of_one_dimension_is_that_of_it(run, fail, tmp_path, rng):
    z = np.concatenate([rng.normal(-2, 0.3, 60), rng.normal(2, 0.3, 40)]).astype(np.float32)
    save_pickles(tmp_path / "z.pkl", [z[:, None], np.full((100, 1), -3, np.float32)])
    said = run("conformational_density", tmp_path, "-o", tmp_path / "out", "--bootstraps", 2)
    assert "the latent has one dimension, and the density is that of it" in said
    assert np.load(tmp_path / "out/density.npz")["values"].ndim == 1
    words = ("conformational_density", tmp_path, "--dims", 2, "-o", tmp_path / "other")
    assert "--dims must be at most 1, the dimensions of the latent, got 2" in fail(*words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--anchors", 5, 5), "--anchors must name two different particles, got 5, 5"),
        (("--anchors", 5, "{three}"), "two different particles, got 5, 1, 2, 3"),
        (("--labels", "{three}"), "three"),
    ],
)
def test_density_of_mistakes_is_not_begun(fail, trained, tmp_path, options, words):
    three = tmp_path / "three.txt"
    three.write_text("1\n2\n3\n")
    given = [str(option).format(three=three) for option in options]
    assert words in fail("conformational_density", trained, *given, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_states_of_noise_are_not_found(fail, run, tmp_path):
    """A linear run without heterogeneity: its latents are those of noise."""
    words = "simulate -D 16 --Apix 8 -n 100 --num-states 1 --snr 0.3 --seed 3 -o"
    run(*words.split(), tmp_path / "rigid")
    folder, out = tmp_path / "run", tmp_path / "out"
    run("train_linear", tmp_path / "rigid/particles.star", "--components", 2, "-o", folder)
    assert run_latents(RunDirectory(folder)).are_noise
    message = fail("reconstruct_states", folder, "--stable", "-o", out)
    assert "carries signal above noise" in message
    assert not out.exists()
    assert main(["conformational_density", str(folder), "--dims", "1", "-o", str(out)]) == 0
    rows = list(csv.DictReader((out / "stable_states.csv").read_text().splitlines()))
    z = load_latents(folder / "z.pkl")[:, 0]
    # Numbers of the table are rounded.
    low, high = z.min() - 1e-4, z.max() + 1e-4
    assert rows
    for row in rows:
        assert "no component carries signal" in row["remark"]
        assert not row["z0"] or low <= float(row["z0"]) <= high


def test_maps_of_stable_states_are_those_of_the_maxima_of_the_density(
    run, fail, trained, tmp_path, monkeypatch
):
    monkeypatch.setattr("cryodrgn.analysis.stable_states.STABLE_DIMENSIONS", 1)
    out = tmp_path / "density"
    run("conformational_density", trained, "--dims", 1, "-o", out)
    points = np.loadtxt(out / "stable_states.txt", ndmin=2)
    table = list(csv.DictReader((out / "stable_states.csv").read_text().splitlines()))
    assert len(table) == len(points)
    words = ("reconstruct_states", trained, "--stable", "--functions", 0)
    run(*words, "-o", tmp_path / "states")
    rows = csv.DictReader((tmp_path / "states/states.csv").read_text().splitlines())
    places = [[float(row[f"z{k}"]) for k in range(points.shape[1])] for row in rows]
    np.testing.assert_allclose(places, points, atol=1e-4)
    message = fail(*words, "-z", *points[0], "-o", tmp_path / "other")
    assert "--stable by maxima of their density, -z and --zfile by hand; give one" in message


def test_shares_are_said_to_be_tested_against_views(run, moving, tmp_path, rng, monkeypatch):
    """Latents of two states that stand in the file as the true ones do."""
    labels = np.load(moving / "labels.npy")
    z = np.where(labels < 2, 3.0, 0.0) + 0.3 * rng.normal(size=NUM_IMAGES)
    run_folder = tmp_path / "run"
    words = ("train_linear", moving / "particles.star", "--components", 1, "-o", run_folder)
    run(*words)
    known = Latents(mean=z[:, None].astype(np.float32), source="test")
    monkeypatch.setattr("cryodrgn.linear.latents.run_latents", lambda *_: known)
    out = tmp_path / "density"
    said = run("conformational_density", run_folder, "--bootstraps", 3, "-o", out)
    assert "state 1: 2" in said
    assert "shares do not depend on view direction, rotation, shift" in said
    with pytest.raises(ConfigError, match="expected the cluster of each of the 1500 particles"):
        short = tmp_path / "short.pkl"
        save_pickles(short, [labels[:7]])
        conformational_density(run_folder, None, outdir=out, num_dimensions=1, labels=short)
