"""Runs that find the poses of their images by themselves."""

import numpy as np
import pytest
import torch

from cryodrgn.errors import ConfigError
from cryodrgn.fourier.shells import fourier_shell_correlation
from cryodrgn.io.cryodrgn_pickle import load_poses, save_pickles
from cryodrgn.io.mrc import read_volume
from cryodrgn.orientation import initial, starts
from cryodrgn.orientation.pose_alignment import align_poses
from cryodrgn.training.pose_search import latents_of_classes
from cryodrgn.training.search_config import SearchConfig
from finished_run import SMALL_NN, Finished

SMALL_HET = ("--pdim", 32, "--players", 1, "--qdim", 16, "--qlayers", 1)
GRIDS = (
    *("--l-start", 6, "--l-end", 8, "--niter", 2, "--t-extent", 1),
    *("--refine-epochs", 2, "--pretrain", 800, "--start-images", 100),
)
# First maps that cost little.
COARSE = (*GRIDS, "--l-start", 4, "--niter", 1, "--no-trans")
SHORT = (*GRIDS, "-n", 12, "--ps-freq", 2, "--l-ramp-epochs", 2, "--precision", "float32")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    from cryodrgn.cli.main import main

    folder = tmp_path_factory.mktemp("simulated")
    arguments = "simulate -D 16 --Apix 12 -n 200 --num-states 1 --snr 4 --shift 1 -o"
    assert main([*arguments.split(), str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def found(simulated, tmp_path_factory):
    from cryodrgn.cli.main import main

    out = tmp_path_factory.mktemp("abinit") / "out"
    words = ("abinit_homo", simulated / "particles.star", "-o", out, *SHORT, "--dim", 32)
    assert (
        main(
            [
                str(word)
                for word in (
                    *words,
                    "--lr",
                    3e-3,
                    "--starts",
                    2,
                    "--pretrain",
                    2500,
                    "--start-images",
                    200,
                )
            ]
        )
        == 0
    )
    return Finished(out)


@pytest.fixture
def hasty(monkeypatch):
    """First maps that are good for nothing, and cost next to nothing."""
    monkeypatch.setattr(initial, "MOST_ITERATIONS", 1)
    monkeypatch.setattr(starts, "LEAST_ERRORS", -1e9)


def poses_of(path):
    return tuple(map(torch.from_numpy, load_poses(path)))


def test_poses_and_structure_are_found_from_images_and_ctf(simulated, found):
    truth = poses_of(simulated / "poses.pkl")
    first = align_poses(truth, poses_of(found.path / "pose.0.pkl"))
    last = align_poses(truth, poses_of(found.path / "pose.pkl"))
    assert last.median_deg < min(12, first.median_deg)
    # In fractions of the box of 16 pixels.
    assert float(last.shift_distances.median()) * 16 < 0.6
    assert found.metrics[-1]["total"] < found.metrics[0]["total"]
    assert read_volume(found.path / "reconstruct.mrc")[0].std() > 0


def test_the_log_says_how_starts_agree_and_what_each_search_did(found):
    assert found.log.count("held-out images favour its map by") == 2
    assert "agrees with start" in found.log
    # From the first map, and at the beginning of every other epoch but the last ones.
    assert found.log.count("poses searched within") == 6


def test_found_poses_load_in_every_other_command(run, simulated, found, tmp_path):
    star, poses = simulated / "particles.star", found.path / "pose.pkl"
    run("backproject_voxel", star, "--poses", poses, "-o", tmp_path / "map.mrc")
    with_found = read_volume(tmp_path / "map.mrc")[0]
    assert with_found.std() > 0
    run("train_nn", star, "--poses", poses, "-o", tmp_path / "nn", *SMALL_NN, "-n", 1)
    words = ("--starts", 1, "--load-poses", poses, "-n", 2, "--ps-freq", 1)
    out = tmp_path / "again"
    run("abinit_homo", star, *GRIDS, *SMALL_NN, *words, "--refine-epochs", 1, "-o", out)
    log = Finished(out).log
    assert "held-out" not in log
    assert log.count("poses searched within") == 1


def test_a_single_structure_is_a_latent_of_no_dimension(run, hasty, simulated, tmp_path):
    star, short = simulated / "particles.star", (*COARSE, "-n", 2)
    run("abinit_homo", star, *short, "--dim", 16, "--layers", 1, "-o", tmp_path / "homo")
    options = ("--zdim", 0, "--pdim", 16, "--players", 1)
    run("abinit", star, *short, *options, "-o", tmp_path / "abinit")
    homo, same = Finished(tmp_path / "homo"), Finished(tmp_path / "abinit")
    assert homo.has_the_weights_of(same)
    assert not (same.path / "z.pkl").exists()


@pytest.mark.slow
@pytest.mark.parametrize("encoder", [(), ("--use-conf-encoder",)])
def test_images_are_searched_with_volumes_of_their_latents(run, simulated, tmp_path, encoder):
    star, short = simulated / "particles.star", (*GRIDS, "-n", 3, "--ps-freq", 1)
    # So few frequencies that the first maps cost little.
    options = ("--zdim", 2, *SMALL_HET, *encoder, "--references", 3, "--l-start", 4)
    out = run("abinit_het", star, *short, "--no-trans", *options, "-o", tmp_path / "het")
    assert "2 classes of the first map hold" in out
    finished = Finished(tmp_path / "het")
    assert finished.latents.shape == (200, 2)
    assert finished.log.count("poses searched within") == 2
    if not encoder:
        run("analyze", tmp_path / "het", -1, "--ksample", 2, "--skip-umap")


def test_images_without_ctf_are_searched(run, hasty, simulated, tmp_path):
    stack = simulated / "particles.mrcs"
    out = tmp_path / "out"
    run("abinit_homo", stack, *COARSE, "-n", 1, *SMALL_NN, "-o", out)
    assert len(load_poses(out / "pose.pkl")[0]) == 200


def test_noise_ends_in_one_sentence(fail, write_stack, rng, tmp_path):
    stack = write_stack(rng.normal(size=(60, 16, 16)))
    words = ("abinit_homo", stack, *GRIDS, "-n", 1, "--no-trans", *SMALL_NN)
    assert "no first map can be made of these images" in fail(*words, "-o", tmp_path / "out")


def test_poses_that_collapse_along_the_way_end_in_one_sentence(
    fail, write_stack, simulated, rng, tmp_path
):
    blob = np.exp(
        -(np.add.outer(np.square(np.arange(16) - 9), np.square(np.arange(16) - 6))) / 8
    )
    stack = write_stack(np.tile(blob, (200, 1, 1)) + 1e-3 * rng.normal(size=(200, 16, 16)))
    words = ("abinit_homo", stack, "--load-poses", simulated / "poses.pkl", *GRIDS, *SMALL_NN)
    words += ("--no-trans", "-n", 3, "--ps-freq", 1, "--precision", "float32")
    said = fail(*words, "-o", tmp_path / "out")
    assert "the poses have collapsed in epoch 2: all images came to look along" in said


def test_poses_of_another_set_are_refused(fail, simulated, tmp_path):
    path = tmp_path / "few.pkl"
    save_pickles(path, [(np.tile(np.eye(3), (3, 1, 1)), np.zeros((3, 2)))])
    words = ("abinit_homo", simulated / "particles.star", "--load-poses", path)
    assert "3 rows" in fail(*words, "-o", tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--ps-freq", 0), "--ps-freq must be at least 1"),
        (("--starts", 0), "--starts must be at least 1"),
        (("--l-start", 1), "--l-start must be at least 4"),
    ],
)
def test_impossible_searches_are_refused(fail, simulated, tmp_path, options, complaint):
    words = ("abinit_homo", simulated / "particles.star", "-o", tmp_path / "out")
    assert complaint in fail(*words, *options)


def test_frequencies_rise_and_all_are_learnt_in_the_end():
    search = SearchConfig(interval=2, ramp_epochs=4, refine_epochs=2)
    radii = [search.learnt_radius(epoch, 10, 128) for epoch in range(10)]
    assert radii == [12, 17, 22, 27, 32, 32, 32, 32, 64, 64]
    assert [e for e in range(10) if search.searches_in(e, 10)] == [2, 4, 6, 8]
    every = SearchConfig(interval=1, refine_epochs=0)
    assert [e for e in range(4) if every.searches_in(e, 4)] == [1, 2, 3]
    with pytest.raises(ConfigError, match="`refine_epochs`"):
        SearchConfig(refine_epochs=-1)


def test_the_ramp_may_bind_the_search_alone_and_end_early():
    bound = SearchConfig(ramp_epochs=4, refine_epochs=2, ramps_model=False, max_radius=24)
    assert [bound.learnt_radius(epoch, 8, 128) for epoch in (0, 3, 7)] == [24, 24, 24]
    assert [bound.searched_radius(epoch, 128) for epoch in (0, 1, 2, 7)] == [12, 17, 22, 24]


def test_weights_are_drawn_anew_until_poses_are_refined():
    search = SearchConfig(refine_epochs=3, model_reset_interval=2, optimizer_reset_interval=4)
    assert [e for e in range(10) if search.resets_model_in(e, 10)] == [2, 4, 6]
    assert [e for e in range(10) if search.resets_optimizer_in(e)] == [4, 8]
    assert not any(SearchConfig().resets_model_in(e, 10) for e in range(10))


def test_flags_of_later_versions_do_what_they_say(run, simulated, tmp_path):
    star = simulated / "particles.star"
    words = (*COARSE, *SMALL_NN, "-n", 4, "--precision", "float32", "--max-freq", 7)
    words = [*words, "--epochs-pose-search", 2, "--load-poses", simulated / "poses.pkl"]
    del words[words.index("--refine-epochs") : words.index("--refine-epochs") + 2]
    out = run("abinit_homo", star, *words, "--reset-model-every", 1, "-o", tmp_path / "a")
    assert out.count("all weights are drawn anew") == 1
    a = Finished(tmp_path / "a")
    # Before epochs 2 and 3.
    assert a.log.count("poses searched within") == 2
    assert "epoch 4 compares radius 7 of 8" in a.log
    run("abinit_homo", star, *words, "--reset-optim-every", 1, "-o", tmp_path / "b")
    run("abinit_homo", star, *words, "--shuffle-seed", 1, "-o", tmp_path / "c")
    run("abinit_homo", star, *words, "--shuffle-seed", 0, "-o", tmp_path / "d")
    plain = Finished(tmp_path / "d")
    for name in "abc":
        assert not Finished(tmp_path / name).has_the_weights_of(plain)


@pytest.mark.slow
def test_only_the_encoder_learns_if_asked(run, fail, simulated, tmp_path):
    star, short = simulated / "particles.star", (*GRIDS, "--l-start", 4, "--ps-freq", 1)
    options = ("--zdim", 1, *SMALL_HET, "--use-conf-encoder", "--no-trans", "--niter", 1)
    words = ("abinit_het", star, *short, *options, "--refine-epochs", 1)
    run(*words, "-n", 1, "-o", tmp_path / "all")
    assert "--load" in fail(*words, "--enc-only", "-o", tmp_path / "enc")
    load = ("--load", tmp_path / "all/weights.pkl")
    run(*words, "-n", 2, "--enc-only", *load, "-o", tmp_path / "enc")
    before, after = (Finished(tmp_path / name).weights() for name in ("all", "enc"))
    changed = {name.split(".")[0] for name in before if not before[name].equal(after[name])}
    assert changed == {"encoder"}
    words = ("abinit_het", star, "--zdim", 1, "--equivariance", 1)
    assert "--use-conf-encoder" in fail(*words, "-o", tmp_path / "no")


def test_latents_to_begin_with_are_kept(run, hasty, simulated, tmp_path):
    given = np.linspace(-1, 1, 200, dtype=np.float32)[:, None]
    save_pickles(tmp_path / "z.pkl", [given])
    words = ("abinit_het", simulated / "particles.star", *COARSE)
    options = ("--zdim", 1, "--initial-conf", tmp_path / "z.pkl", "--lr-conf-table", 1e-9)
    run(*words, *options, "--pdim", 16, "--players", 1, "-n", 1, "-o", tmp_path / "het")
    np.testing.assert_allclose(Finished(tmp_path / "het").latents, given, atol=1e-6)


def test_latents_follow_classes_and_similar_classes_are_neighbours():
    ramp = torch.tensor([0.0, 1.0, 3.0])
    volumes = ramp[:, None, None, None] * torch.ones(3, 4, 4, 4)
    shares = torch.eye(3).repeat(20, 1)
    latents = latents_of_classes(shares, volumes, 2, torch.Generator().manual_seed(0))
    means = torch.stack([latents[number::3, 0].mean() for number in range(3)])
    gaps = means.diff()
    assert float(gaps[0] * gaps[1]) > 0
    assert float((gaps[1] / gaps[0] - 2).abs()) < 0.2
    assert latents[:, 0].std() == pytest.approx(1, abs=0.1)
    assert float(latents[:, 1].std()) < 0.2


def test_poses_and_their_map_are_brought_into_another_frame(tool, found, simulated, tmp_path):
    truth, poses = simulated / "poses.pkl", found.path / "pose.pkl"
    aligned, volume = tmp_path / "aligned.pkl", tmp_path / "aligned.mrc"
    maps = ("--vol", found.path / "reconstruct.mrc", "--out-vol", volume)
    maps += ("--ref-vol", simulated / "gt/state_000.mrc")
    out = tool("align_poses", truth, poses, "-o", aligned, *maps)
    assert "rotations differ by" in out
    assert "resolution at FSC 0.5" in out
    again = align_poses(poses_of(truth), poses_of(aligned), try_hands=False)
    identity = torch.eye(3)
    torch.testing.assert_close(again.rotation, identity, atol=0.02, rtol=0)
    true, moved = (
        torch.from_numpy(read_volume(path)[0])
        for path in (simulated / "gt/state_000.mrc", volume)
    )
    curve = fourier_shell_correlation(true, moved)
    assert float(curve.values[:4].mean()) > 0.6


@pytest.mark.parametrize("count", [1, 3])
def test_images_too_few_for_first_maps_are_refused(fail, simulated, tmp_path, count):
    save_pickles(tmp_path / "few.pkl", [np.arange(count)])
    line = (*("abinit_homo", simulated / "particles.star"), "--ind", tmp_path / "few.pkl")
    message = fail(*line, *SHORT, "-o", tmp_path / "out")
    assert f"has {count} images, but initial models need at least 4" in message
