"""Particles that look like junk, and those that do not."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from cryodrgn.analysis.plots import new_figure
from cryodrgn.cli.main import main
from cryodrgn.data.prepared import Storage
from cryodrgn.errors import InputFileError, ShapeMismatchError
from cryodrgn.io.checkpoints import load_checkpoint, save_checkpoint
from cryodrgn.io.cryodrgn_pickle import load_pickles, save_latents
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.mrc import stack_writer
from cryodrgn.io.particle_files import open_particles
from cryodrgn.io.score_table import read_scores, scores_for
from cryodrgn.io.star import read_star
from cryodrgn.jobs.options import particle_files
from cryodrgn.jobs.run import RunAll, _Pipeline
from cryodrgn.linear import particle_scores
from cryodrgn.linear.contrasts import (
    ContrastLikelihoods,
    ContrastMixture,
    ContrastVariation,
    log_evidence,
    marginal_log_likelihoods,
)
from cryodrgn.linear.network_scores import LEAST_POWER, judge_run, strong_enough
from cryodrgn.linear.particle_scores import ParticleScores, scores_of
from cryodrgn.rundir import RunDirectory, WholeRunFiles
from cryodrgn.runs.run import open_run
from cryodrgn.training.events import Listeners
from cryodrgn.workflow.junk_gallery import _chosen, draw_junk
from cryodrgn.workflow.manifest import Manifest
from undrawn import with_pictures

POINTS, DIMENSIONS = 60, 3


def simulated(count, contrasts, seed=0, latents=None):
    """Inner products of images a (mean + z components) + noise with their slices."""
    rng = np.random.default_rng(seed)
    sizes = np.array([1.5] + [0.8] * DIMENSIONS)
    slices = rng.normal(size=(count, DIMENSIONS + 1, POINTS)) * sizes[:, None]
    if latents is None:
        latents = rng.normal(size=(count, DIMENSIONS))
    weights = np.concatenate([np.ones((count, 1)), latents], axis=1)
    signal = np.einsum("nk,nkp->np", weights, slices) * np.asarray(contrasts)[:, None]
    images = signal + rng.normal(size=signal.shape)
    vectors = np.concatenate([slices, images[:, None]], axis=1)
    return torch.from_numpy(vectors @ vectors.swapaxes(1, 2)).float()


def test_the_likelihood_of_a_contrast_is_that_of_a_normal_distribution_of_images():
    rng = np.random.default_rng(1)
    mean, image = rng.normal(size=(2, 5))
    components = rng.normal(size=(2, 5))
    vectors = np.stack([mean, *components, image])
    contrasts = torch.tensor([-0.5, 0.0, 0.3, 1.2])
    gram = torch.from_numpy(vectors @ vectors.T)[None]
    found = marginal_log_likelihoods(gram, contrasts)[0]
    noise = multivariate_normal(np.zeros(5), np.eye(5)).logpdf(image)
    for contrast, value in zip(contrasts.numpy(), found.numpy(), strict=True):
        covariance = np.eye(5) + contrast**2 * components.T @ components
        expected = multivariate_normal(contrast * mean, covariance).logpdf(image) - noise
        assert value == pytest.approx(expected, abs=1e-5)


def test_a_slice_alone_has_a_likelihood_without_latents():
    slice_, image = np.random.default_rng(2).normal(size=(2, 7))
    vectors = np.stack([slice_, image])
    gram = torch.from_numpy(vectors @ vectors.T)[None]
    found = marginal_log_likelihoods(gram, torch.tensor([0.7]))
    expected = (np.sum(image**2) - np.sum((image - 0.7 * slice_) ** 2)) / 2
    assert float(found) == pytest.approx(expected, abs=1e-6)


def test_empty_images_are_told_from_particles_and_their_share_is_found():
    rng = np.random.default_rng(3)
    contrasts = rng.normal(1, 0.15, 1000)
    contrasts[:60] = 0
    found = ContrastMixture.fit(ContrastLikelihoods.of(simulated(1000, contrasts)))
    assert found.share_empty == pytest.approx(0.06, abs=0.01)
    assert found.mean == pytest.approx(1, abs=0.02)
    assert found.spread == pytest.approx(0.15, abs=0.03)
    named = found.probabilities.numpy() > 0.5
    assert named[:60].sum() >= 58
    assert named[60:].sum() <= 2


@pytest.mark.parametrize("spread", [0.0, 0.2])
def test_no_image_is_empty_where_all_are_particles(spread):
    contrasts = np.random.default_rng(4).normal(1, spread, 1000)
    found = ContrastMixture.fit(ContrastLikelihoods.of(simulated(1000, contrasts)))
    assert found.share_empty == 0
    assert not found.probabilities.any()


@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_contrasts_are_fitted_where_they_vary_more_than_images_tell(spread):
    contrasts = np.random.default_rng(4).normal(1, spread, 1000)
    gram = simulated(1000, contrasts)
    found = ContrastVariation.of(gram)
    assert found.error == pytest.approx(float(gram[:, 0, 0].rsqrt().median()), rel=0.05)
    assert found.is_worth_trying is (spread > 0)
    gain = float((log_evidence(gram, 0.3) - log_evidence(gram, 0.0)).mean())
    if spread:
        assert found.spread == pytest.approx(spread, abs=0.03)
        assert gain > 0.1
    else:
        assert found.spread < found.error
        assert "taken for 1" in found.in_words()
        assert gain < -0.1


def test_contrasts_far_from_all_others_are_no_reason_for_no_number():
    contrasts = np.ones(300)
    contrasts[:3] = 3.5
    found = ContrastVariation.of(1e4 * simulated(300, contrasts))
    assert np.isfinite([found.spread, found.error, found.share_empty]).all()
    assert found.share_empty == 0


def test_the_evidence_is_the_integral_over_contrasts():
    rng = np.random.default_rng(6)
    vectors = rng.normal(size=(3, 4))
    gram = torch.from_numpy(vectors @ vectors.T)[None].float()
    contrasts = 1 + 0.2 * norm.ppf((np.arange(2000) + 0.5) / 2000).astype(np.float32)
    likelihoods = marginal_log_likelihoods(gram, torch.from_numpy(contrasts))[0].double().exp()
    found = float(log_evidence(gram, 0.2))
    assert found == pytest.approx(float(likelihoods.mean().log()), abs=0.01)


def test_images_of_nothing_are_worth_a_contrast():
    contrasts = np.ones(1000)
    contrasts[:50] = 0
    found = ContrastVariation.of(simulated(1000, contrasts))
    assert found.spread < 0.08
    assert found.is_worth_trying


@pytest.mark.parametrize("scale", [0.6, 1.0, 1.4])
def test_contrasts_are_relative_to_those_of_particles(scale):
    contrasts = scale * np.random.default_rng(8).normal(1, 0.2, 1000)
    scores = judged(simulated(1000, contrasts))
    assert scores.contrast.mean() == pytest.approx(1, abs=0.02)


def judged(gram, numbers=None):
    rows = torch.arange(len(gram))
    counts = torch.full((len(gram),), float(POINTS))
    return scores_of(gram, counts, [rows], numbers=numbers)


def test_particles_of_a_rare_state_are_no_junk_and_one_that_nothing_resembles_is():
    latents = np.random.default_rng(5).normal(size=(1000, DIMENSIONS)) * [1, 0.3, 0.3]
    latents[:20] = np.array([0, 6, 0]) + 0.2 * latents[:20]
    latents[20] = [0, 0, 8]
    found = judged(simulated(1000, np.ones(1000), latents=latents))
    assert np.flatnonzero(found.named()["distance"]).tolist() == [20]
    assert not found.is_junk()[:20].any()
    assert found.distance[:20].min() > 3
    said = found.sentence()
    assert "1 of 1000 particles looks like junk (0.1%): 1 is isolated" in said
    # The sentence is the title of the picture, too; where to look is told in the log.
    assert "less than one would be named by chance" in said
    assert said.endswith("long tails")


def test_a_rare_state_is_looked_for_among_all_particles(monkeypatch):
    rng = np.random.default_rng(8)
    latents = rng.normal(size=(2000, DIMENSIONS))
    latents[:12] = [14, 14, 0]
    latents[12] = [-14, 14, 0]
    found = judged(simulated(2000, np.ones(2000), latents=latents))
    monkeypatch.setattr(particle_scores, "MOST_OTHERS", 300)
    some = judged(simulated(2000, np.ones(2000), latents=latents))
    assert found.alone[12]
    assert some.alone[12]
    assert not some.alone[:12].any()


def test_particles_of_few_images_misfit_no_more_often_than_those_of_many():
    rng = np.random.default_rng(9)
    freedoms = np.repeat([400.0, 6400.0], [5000, 15000])
    values = torch.from_numpy(rng.chisquare(freedoms))
    everyone = torch.ones(len(values), dtype=torch.bool)
    found = particle_scores._deviates(values, torch.from_numpy(freedoms), everyone)
    for group in (found[:5000], found[5000:]):
        assert group.std() == pytest.approx(1, abs=0.05)
        assert (group > particle_scores.NORMAL_DEVIATE).float().mean() < 1e-3


def test_images_with_more_than_the_model_and_noise_misfit():
    gram = simulated(600, np.ones(600), seed=6)
    # Something that the slices are orthogonal to, of twice the power of the noise.
    gram[:15, -1, -1] += 2 * POINTS
    found = judged(gram)
    assert found.named()["misfit"][:15].all()
    assert found.is_junk()[15:].sum() <= 1


def test_clean_particles_are_hardly_ever_named():
    found = judged(simulated(3000, np.random.default_rng(7).normal(1, 0.2, 3000), seed=7))
    assert found.is_junk().mean() <= 0.002
    # One in 10,000 by each of misfit and distance.
    assert found.expected_mistakes() == pytest.approx(0.6)


def test_particles_listed_several_times_are_judged_as_those_listed_once():
    latents = np.random.default_rng(5).normal(size=(400, DIMENSIONS)) * [1, 0.3, 0.3]
    latents[20] = [0, 0, 8]
    gram, rows = simulated(400, np.ones(400), latents=latents), np.repeat(np.arange(400), 6)
    once, copied = judged(gram), judged(gram[rows], rows)
    np.testing.assert_allclose(copied.nearest, once.nearest[rows], rtol=2e-3)
    np.testing.assert_array_equal(copied.is_junk(), once.is_junk()[rows])
    assert once.is_junk()[20]
    # Six copies of its own are no companions of a particle.
    assert not judged(gram[rows]).named()["distance"].any()
    assert copied.spread_of_mistakes() == pytest.approx(6 * once.spread_of_mistakes(), rel=1e-6)


def test_copies_do_not_make_particles_enough_to_judge():
    rows = np.repeat(np.arange(99), 2)
    found = judged(simulated(99, np.ones(99))[rows], rows)
    assert "99 particles are too few to judge" in found.sentence()


@pytest.mark.parametrize("count", [1, 3, 99])
def test_few_particles_are_too_few_to_judge(count):
    gram = simulated(count, np.ones(count), seed=9)
    gram[0, -1, -1] += 20 * POINTS
    found = judged(gram)
    assert not found.is_junk().any()
    assert found.expected_mistakes() == 0
    assert "too few to judge" in found.sentence()
    assert "at least 100" in found.sentence()


def test_scores_of_particles_that_hardly_differ_stay_finite():
    found = judged(simulated(1, [1.0]).expand(120, -1, -1).clone())
    assert np.abs(found.misfit).max() == 0
    assert not found.is_junk().any()


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    """A moving molecule, every twentieth image of which shows nothing, and its run."""
    folder = tmp_path_factory.mktemp("spoilt")
    words = f"simulate -D 24 --Apix 8 -n 800 --num-states 6 --snr 0.5 -o {folder}"
    assert main(words.split()) == 0
    images = ImageStack.whole_files([folder / "particles.mrcs"]).read(np.arange(800))
    noise = np.random.default_rng(8).normal(scale=(2 / 3) ** 0.5, size=images[::20].shape)
    images[::20] = noise * images.std()
    with stack_writer(folder / "spoilt.mrcs", 24, 8.0) as writer:
        writer.append(images.astype(np.float32))
    (folder / "spoilt.mrcs").replace(folder / "particles.mrcs")
    np.savetxt(folder / "ind.txt", np.arange(100, 800), fmt="%d")
    words = f"train_linear {folder}/particles.star --ind {folder}/ind.txt --components 3"
    with with_pictures():
        assert main([*words.split(), "-o", str(folder / "run")]) == 0
    return folder


def test_a_run_names_junk_by_rows_of_the_original_file(spoilt):
    files = RunDirectory(spoilt / "run").judged
    junk, good = (load_pickles(path)[0] for path in (files.junk, files.good))
    np.testing.assert_array_equal(np.sort(np.concatenate([junk, good])), np.arange(100, 800))
    empty = np.arange(100, 800, 20)
    assert len(np.intersect1d(junk, empty)) >= 0.95 * len(empty)
    assert len(np.setdiff1d(junk, empty)) <= 7
    assert "look like junk" in (spoilt / "run/run.log").read_text()
    assert files.picture.read_bytes().startswith(b"\x89PNG\r\n")


def test_the_worst_by_every_score_stand_first_in_the_picture(spoilt, monkeypatch, tmp_path):
    shown = {}
    monkeypatch.setattr(
        "cryodrgn.workflow.junk_gallery.plot_junk",
        lambda scores, is_junk, images, labels, sentence: shown.update(labels) or new_figure(),
    )
    count = 700
    values = np.linspace(-3, 3, count).astype(np.float32)
    scores = ParticleScores(
        contrast=np.ones(count, np.float32),
        empty=np.r_[0.6, 0.9, np.zeros(count - 2)].astype(np.float32),
        misfit=np.r_[values[:-2], 5.0, 9.0].astype(np.float32),
        distance=np.zeros(count, np.float32),
        nearest=np.r_[0.0, 0.0, 4.0, 7.0, 6.0, np.zeros(count - 5)].astype(np.float32),
        alone=np.arange(count) // 2 * 2 == 2,
        share_empty=0.0,
    )
    run = open_run(spoilt / "run")
    data = SimpleNamespace(window_radius=0.85, invert=False)
    draw_junk(scores, run.particles(), data, RunDirectory(tmp_path))
    # The particles of this run are rows from 100 on.
    assert shown["worst by\ncontrast, misfit, distance"] == [
        *("row 101\nempty: 90.0%", "row 100\nempty: 60.0%"),
        *("row 799\nmisfit 9.0", "row 798\nmisfit 5.0"),
        *("row 103\ndistance 7.0", "row 102\ndistance 4.0"),
    ]
    assert len(shown["particles,\nnearly junk"]) == len(shown["particles"]) == 8


def test_the_picture_has_no_nearly_empty_row(monkeypatch):
    count = 700
    scores = ParticleScores(
        contrast=np.ones(count, np.float32),
        empty=np.zeros(count, np.float32),
        misfit=np.r_[np.linspace(-3, 3, count - 1), 5.0].astype(np.float32),
        distance=np.zeros(count, np.float32),
        nearest=np.zeros(count, np.float32),
        alone=np.zeros(count, bool),
        share_empty=0.0,
    )
    shown = _chosen(scores)
    rows, words = shown["worst by\nmisfit;\nthen nearly"]
    assert rows.tolist() == [699, *range(698, 691, -1)]
    assert words[:2] == ["misfit 5.0", "contrast 1.00\nmisfit 3.0"]
    assert {len(rows) for rows, _ in shown.values()} == {8}


def test_a_network_names_junk_too(run, drawn, spoilt):
    sizes = ("--qdim", 32, "--pdim", 64, "--qlayers", 1, "--players", 2, "--zdim", 2)
    said = run("train_vae", spoilt / "particles.star", *sizes, "-n", 2, "-o", spoilt / "vae")
    assert "look like junk" in said
    assert "a network of 2 epochs explains little of the images yet" in said
    files = RunDirectory(spoilt / "vae").judged
    junk = load_pickles(files.junk)[0]
    # Two epochs see little more than a blob.
    assert len(np.intersect1d(junk, np.arange(0, 800, 20))) >= 20
    assert len(np.setdiff1d(junk, np.arange(0, 800, 20))) <= 8
    assert files.picture.read_bytes().startswith(b"\x89PNG\r\n")


def test_a_state_of_empty_images_is_junk(run, spoilt, tmp_path):
    """Images of nothing become a state of their own, which fits them at any contrast."""
    folder, sizes = tmp_path / "run", ("--qdim", 16, "--pdim", 16, "-n", 1, "--lr", 1e-12)
    words = ("train_vae", spoilt / "particles.star", "--ind", spoilt / "ind.txt", *sizes)
    run(*words, "--from", spoilt / "run", "-o", folder)
    content = load_checkpoint(folder / "weights.pkl")
    volumes = content["model_state_dict"]["decoder.volumes"]
    volumes[1] = -0.95 * volumes[0]
    save_checkpoint(folder / "weights.pkl", content)
    is_empty = np.arange(100, 800) % 20 == 0
    z = 0.05 * np.random.default_rng(2).normal(size=(700, len(volumes) - 1))
    z[is_empty, 0] += 1
    save_latents(folder / "z.pkl", z, np.full_like(z, -6))
    particles, storage = open_run(folder).particles(), Storage(scratch_dir=tmp_path)
    scores = judge_run(RunDirectory(folder), particles, torch.device("cpu"), storage, 1)
    named = scores.named()["contrast"]
    assert named[is_empty].mean() >= 0.95
    assert named[~is_empty].sum() <= 3


def test_a_state_of_little_mass_is_no_junk():
    rng, count = np.random.default_rng(3), 1000
    slices = 3.0 * rng.normal(size=(count, POINTS))
    images = rng.normal(size=(count, POINTS))
    is_empty, is_small = np.arange(count) % 20 == 0, np.arange(count) % 20 == 7
    slices[is_small] *= 0.35
    slices[is_empty] *= 0.05
    images[~is_empty] += slices[~is_empty]
    vectors = np.stack([slices, images], axis=1)
    gram = torch.from_numpy(vectors @ vectors.swapaxes(1, 2)).float()
    raised = strong_enough(gram, torch.full((count,), 9.0 * POINTS))
    values, everyone = torch.full((count,), float(POINTS)), [torch.arange(count)]
    latents = torch.from_numpy(rng.normal(size=(count, 1))).float(), torch.ones(count, 1, 1)
    named = scores_of(raised, values, everyone, latents).named()["contrast"]
    assert named[is_empty].mean() >= 0.95
    assert named[~is_empty].sum() == 0


def test_weak_slices_are_multiplied_up_to_the_least_power():
    rng = np.random.default_rng(3)
    slices, images = torch.from_numpy(rng.normal(size=(2, 50, 40))).float()
    slices = slices * torch.logspace(-3, 0, 50)[:, None]
    usual = torch.full((50,), 40.0)

    def products(first):
        pairs = torch.stack([first, images], dim=1)
        return pairs @ pairs.mT

    power = slices.square().sum(1)
    factor = (LEAST_POWER * usual / power).clamp_min(1).sqrt()
    assert 0 < (factor == 1).sum() < 50
    expected = products(slices * factor[:, None])
    torch.testing.assert_close(strong_enough(products(slices), usual), expected)
    assert strong_enough(products(0 * slices), usual).isfinite().all()


def test_scores_go_into_the_exported_star(spoilt):
    files = RunDirectory(spoilt / "run").judged
    words = ("export", spoilt / "particles.star", "--ind", files.junk, "--scores", files.table)
    assert main([str(word) for word in (*words, "-o", spoilt / "junk.star")]) == 0
    block = read_star(spoilt / "junk.star")["particles"]
    rows, columns = read_scores(files.table)
    chosen = np.isin(rows, load_pickles(files.junk)[0])
    found = block.numbers("cryodrgnContrast")
    np.testing.assert_allclose(found, columns["contrast"][chosen], atol=1e-6)
    assert set(block.numbers("cryodrgnJunk")) == {1.0}


def test_scores_of_particles_that_a_run_left_out_are_asked_for_in_vain(spoilt):
    with pytest.raises(ShapeMismatchError, match="no scores of 1 of the chosen"):
        scores_for(RunDirectory(spoilt / "run").judged.table, np.array([5, 100]))


def test_rounds_leave_junk_out_until_there_is_no_more(spoilt):
    files = WholeRunFiles(spoilt / "rounds")
    asked = RunAll(spoilt / "particles.star", files.path, rounds=3)
    particles = open_particles(particle_files(asked, asked.particles))
    files.path.mkdir()
    manifest = Manifest(files.manifest)
    manifest.begin(asked.request(), {})
    pipeline = _Pipeline(asked, files, particles, manifest, Listeners((), ()))
    last = pipeline._fit_linear(pipeline._choose(None), {"box_size": 24, "seed": 0})
    junk = load_pickles(files.linear.judged.junk)[0]
    np.testing.assert_array_equal(
        load_pickles(files.linear.judged.good)[0], np.setdiff1d(np.arange(800), junk)
    )
    assert len(np.intersect1d(junk, np.arange(0, 800, 20))) >= 38
    # The second fit was made without them, and nothing asked for a third.
    rows, _ = read_scores(files.linear_round(2).judged.table)
    np.testing.assert_array_equal(rows, np.setdiff1d(np.arange(800), junk))
    assert not files.linear_round(3).path.exists()
    assert last.indices == files.linear.judged.good


@pytest.mark.parametrize("text", ["", "row\n1\n", "row,a\n1\n", "a,row\n1,2\n", "row,a\nx,1\n"])
def test_other_tables_are_no_scores(tmp_path, text):
    (tmp_path / "scores.csv").write_text(text)
    with pytest.raises(InputFileError):
        read_scores(tmp_path / "scores.csv")
