import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from sklearn.neighbors import KNeighborsRegressor

from cryodrgn.cli.main import main
from cryodrgn.io.checkpoints import load_checkpoint
from cryodrgn.io.cryodrgn_pickle import load_latents, load_pickles
from cryodrgn.io.mrc import read_volume, write_volume
from cryodrgn.kernels import backends
from cryodrgn.linear import fit
from cryodrgn.rundir import AnalysisFiles

NUM_IMAGES, BOX_SIZE = 1200, 24


def simulated(folder, *options):
    arguments = ["simulate", "-D", BOX_SIZE, "--Apix", 8, "-n", NUM_IMAGES, "-o", folder]
    assert main([str(word) for word in (*arguments, *options)]) == 0
    return folder


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    options = ("--num-states", 8, "--snr", 1)
    return simulated(tmp_path_factory.mktemp("moving"), *options)


@pytest.fixture(scope="module")
def rigid(tmp_path_factory):
    return simulated(tmp_path_factory.mktemp("rigid"), "--num-states", 1, "--snr", 0.3)


@pytest.fixture(scope="module")
def trained(moving, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    options = ["--components", "3", "-o", str(folder)]
    assert main(["train_linear", str(moving / "particles.star"), *options]) == 0
    return folder


def explained(latent, labels):
    """Share of the variance of the true state that near latents predict for held-out images."""
    half = len(labels) // 2
    predicted = KNeighborsRegressor(15).fit(latent[:half], labels[:half]).predict(latent[half:])
    return 1 - np.square(labels[half:] - predicted).mean() / labels[half:].var()


def test_the_latent_says_how_far_the_hinge_is_open(trained, moving):
    assert explained(load_latents(trained / "z.pkl"), np.load(moving / "labels.npy")) > 0.9


def test_each_half_by_itself_finds_the_same(trained, moving):
    latent = load_latents(trained / "z.pkl")
    half = np.load(trained / "z_half.npy")
    assert not np.allclose(half, latent)
    assert np.corrcoef(half[:, 0], latent[:, 0])[0, 1] > 0.97
    assert explained(half, np.load(moving / "labels.npy")) > 0.85


def test_half_latents_are_in_the_frame_of_the_latents(run, moving, tmp_path, monkeypatch):
    """Every iteration may turn components of about the same spread within their span."""
    usual = fit.canonicalise

    def turned(*arguments):
        found = usual(*arguments)
        order = [0, *range(len(found.volumes) - 1, 0, -1)]
        signs = torch.tensor([1.0] + [-1.0] * found.num_components)
        volumes = found.volumes[order] * signs[:, None, None, None]
        return replace(found, volumes=volumes, prior=found.prior[order])

    monkeypatch.setattr(fit, "canonicalise", turned)
    monkeypatch.setattr(fit, "JOINT_ROUNDS", 1)
    run("train_linear", moving / "particles.star", "--components", 3, "-o", tmp_path)
    latent, half = load_latents(tmp_path / "z.pkl"), np.load(tmp_path / "z_half.npy")
    assert explained(latent, np.load(moving / "labels.npy")) > 0.9
    for one, other in zip(latent.T, half.T, strict=True):
        assert np.corrcoef(one, other)[0, 1] > 0.9


def test_latents_have_the_distribution_of_their_prior(trained):
    mean, log_variance = load_pickles(trained / "z.pkl")
    np.testing.assert_allclose(mean.mean(0), 0, atol=0.1)
    second = (mean**2 + np.exp(log_variance)).mean(0)
    np.testing.assert_allclose(second, 1, atol=0.4)
    covariance = np.load(trained / "z_cov.npy")
    diagonal = np.diagonal(covariance, axis1=1, axis2=2)
    np.testing.assert_allclose(diagonal, np.exp(log_variance), rtol=1e-5)


def test_a_rigid_molecule_shows_no_heterogeneity(run, rigid, tmp_path):
    options = ("--components", 4, "--radius", 99)
    said = run("train_linear", rigid / "particles.star", "-o", tmp_path, *options)
    assert "compared up to a radius of 11 Fourier pixels, not 99" in said
    assert "no heterogeneity above noise found" in said
    assert "looked for (--components): volumes of each correlate to 0." in said
    assert "between two halves of the images fitted apart, and above 0.4 count as" in said
    assert "may still be found with --components 3 --radius 6" in said
    settings = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert settings["training"]["components_with_signal"] == 0
    assert load_latents(tmp_path / "z.pkl").shape == (NUM_IMAGES, 1)


def test_the_run_is_one_like_any_other(trained):
    rows = list(csv.DictReader((trained / "metrics.csv").read_text().splitlines()))
    assert float(rows[-1]["reconstruction"]) < float(rows[0]["reconstruction"])
    log = (trained / "run.log").read_text()
    assert "# =====> Epoch: 1 Average gen loss = " in log
    assert "signal above noise" in log
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["lattice_args"]["D"] == BOX_SIZE + 1
    assert config["model_args"]["zdim"] == load_latents(trained / "z.pkl").shape[1]
    assert config["dataset_args"]["particles"].endswith("particles.star")


def test_volumes_are_the_mean_and_its_components(run, trained, tmp_path):
    dims = load_latents(trained / "z.pkl").shape[1]
    z = np.linspace(-1, 1.5, dims) if dims > 1 else np.array([0.7])
    run("eval_vol", trained / "weights.pkl", "-z", *z, "-o", tmp_path / "v.mrc")
    found, pixel_size = read_volume(tmp_path / "v.mrc")
    expected, _ = read_volume(trained / "mean.mrc")
    for number, value in enumerate(z, start=1):
        expected += value * read_volume(trained / f"component{number}.mrc")[0]
    assert pixel_size == 8
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_analysis_and_selection_take_it_as_any_run(run, trained, tmp_path):
    analysis, chosen = AnalysisFiles(tmp_path / "analysis"), tmp_path / "chosen.pkl"
    few = ("--pc", 1, "--n-per-pc", 3, "--ksample", 2, "--skip-umap")
    run("analyze", trained, -1, *few, "-o", analysis.path)
    assert analysis.report.is_file()
    mean, *components = (
        read_volume(trained / name)[0]
        for name in ("mean.mrc", *(path.name for path in sorted(trained.glob("comp*.mrc"))))
    )
    traversal = analysis.component(1)
    points = np.loadtxt(traversal.z_values, ndmin=2)
    assert len(points) == 3
    for number, point in enumerate(points):
        expected = mean + np.tensordot(point, np.stack(components), axes=1)
        found, _ = read_volume(traversal.volume(number))
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(mean).max())
    run("select", trained, "--box", 0, 0, 9, "-o", chosen)
    expected = np.flatnonzero(load_latents(trained / "z.pkl")[:, 0] >= 0)
    np.testing.assert_array_equal(np.sort(load_pickles(chosen)[0]), expected)


def test_embedding_the_same_images_again_gives_the_same_latents(run, trained, moving, tmp_path):
    out = tmp_path / "z.pkl"
    run("eval_images", moving / "particles.star", trained / "weights.pkl", "-o", out)
    for again, first in zip(load_pickles(out), load_pickles(trained / "z.pkl"), strict=False):
        np.testing.assert_allclose(again, first, atol=1e-4)


def test_images_that_were_not_fitted_are_embedded_as_well(run, moving, tmp_path):
    star = moving / "particles.star"
    run(
        *("train_linear", star, "-o", tmp_path, "--components", 2),
        *("--fit-images", NUM_IMAGES // 2),
    )
    latent, labels = load_latents(tmp_path / "z.pkl"), np.load(moving / "labels.npy")
    assert len(latent) == NUM_IMAGES
    assert explained(latent, labels) > 0.85


def test_the_same_seed_gives_the_same_run_bit_for_bit(run, moving, tmp_path):
    for name in "ab":
        options = ("--components", 2, "--seed", 5, "-o", tmp_path / name)
        run("train_linear", moving / "particles.star", *options)
    a, b = (load_checkpoint(tmp_path / n / "weights.pkl")["model_state_dict"] for n in "ab")
    assert all((a[name] == b[name]).all() for name in a)


def test_images_read_from_disk_give_the_same_run_and_states(run, trained, moving, tmp_path):
    words = ("--components", 3, "--lazy", "-o", tmp_path / "run")
    run("train_linear", moving / "particles.star", *words)
    latents, found = load_latents(trained / "z.pkl"), load_latents(tmp_path / "run/z.pkl")
    np.testing.assert_array_equal(found, latents)
    volumes = []
    for name, more in (("a", ()), ("b", ("--lazy",))):
        point = latents[0].tolist()
        run("reconstruct_states", trained, "-z", *point, *more, "-o", tmp_path / name)
        volumes.append(read_volume(tmp_path / name / "state_000.mrc")[0])
    np.testing.assert_array_equal(*volumes)


def test_torch_finds_what_compiled_loops_find(run, trained, moving, tmp_path, monkeypatch):
    monkeypatch.setattr(backends, "HAS_NUMBA", False)
    folder = tmp_path / "run"
    run("train_linear", moving / "particles.star", "--components", 3, "-o", folder)
    latents, found = load_latents(trained / "z.pkl"), load_latents(folder / "z.pkl")
    np.testing.assert_allclose(found, latents, atol=1e-3)
    mean, other = (read_volume(path / "mean.mrc")[0] for path in (trained, folder))
    np.testing.assert_allclose(other, mean, atol=1e-3 * np.abs(mean).max())


def test_contrast_is_told_from_motion(run, rigid, tmp_path, rng):
    from cryodrgn.io.image_stack import ImageStack
    from cryodrgn.io.mrc import stack_writer

    truth = rng.normal(1, 0.3, NUM_IMAGES).clip(0.2, None).astype(np.float32)
    noisy = ImageStack.whole_files([rigid / "particles.mrcs"]).read(np.arange(NUM_IMAGES))
    scaled = noisy * truth[:, None, None]
    with stack_writer(tmp_path / "scaled.mrcs", BOX_SIZE, 8.0) as writer:
        writer.append(scaled)
    options = ("--poses", rigid / "poses.pkl", "--ctf", rigid / "ctf.pkl", "--components", 2)
    out = tmp_path / "run"
    said = run("train_linear", tmp_path / "scaled.mrcs", *options, "-o", out)
    contrast = np.load(out / "contrast.npy")
    assert np.corrcoef(contrast, truth)[0, 1] > 0.5
    assert np.median(contrast) == pytest.approx(1, abs=2e-3)
    spread = float(said.split("contrasts of images vary by ")[1].split("%")[0]) / 100
    assert spread == pytest.approx(truth.std(), abs=0.06)
    assert "--no-contrast takes them for 1" in said
    spread = load_checkpoint(out / "weights.pkl")["model_state_dict"]["contrast_spread"]
    assert spread > 0.2
    run("train_linear", tmp_path / "scaled.mrcs", *options, "-o", out / "1", "--no-contrast")
    assert not (out / "1/contrast.npy").exists()
    assert not load_checkpoint(out / "1/weights.pkl")["model_state_dict"]["contrast_spread"]


def test_contrasts_that_do_not_vary_are_taken_for_1(trained):
    assert not (trained / "contrast.npy").exists()
    assert "--contrast fits them all the same" in (trained / "run.log").read_text()


def test_a_focus_mask_confines_the_components(run, moving, tmp_path):
    mask = np.zeros((BOX_SIZE,) * 3, np.float32)
    mask[:, BOX_SIZE // 2 :] = 1
    write_volume(tmp_path / "focus.mrc", mask, 8.0)
    out = tmp_path / "run"
    run(
        *("train_linear", moving / "particles.star", "--components", 1, "-o", out),
        *("--focus-mask", tmp_path / "focus.mrc"),
    )
    component, _ = read_volume(out / "component1.mrc")
    outside = component[:, : BOX_SIZE // 2 - 1]
    assert np.abs(outside).max() < 1e-3 * np.abs(component).max()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--components", 0), "--components must be at least 1"),
        (("--radius", 2), "--radius must be at least 4"),
        (("--box", 2), "a box of 2 pixels, which leaves a radius of 0 Fourier pixels"),
        (
            ("--box", 8),
            "radius of 3 Fourier pixels where at least 4 are needed",
        ),
        (("--components", 200), "components need at least 1600"),
        (("--mask", "{star}"), "particles.star"),
        (("--focus-mask", "{component}"), "is no mask: its values run from"),
        (("--refine-poses", -1), "--refine-poses must be at least 0, got -1"),
        (("--refine-poses", "--tilt", "{star}"), "--refine-poses does not go with --tilt"),
    ],
)
def test_wrong_settings_end_before_anything_is_written(
    fail, moving, trained, tmp_path, options, words
):
    star, component = moving / "particles.star", trained / "component1.mrc"
    given = [str(option).format(star=star, component=component) for option in options]
    message = fail("train_linear", star, "-o", tmp_path / "run", *given)
    assert words in message
    assert not (tmp_path / "run").exists()


def test_a_run_is_replaced_only_if_asked(fail, run, trained, moving):
    before = (trained / "z.pkl").read_bytes()
    message = fail("train_linear", moving / "particles.star", "-o", trained)
    assert "--overwrite" in message
    assert (trained / "z.pkl").read_bytes() == before
