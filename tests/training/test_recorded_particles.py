"""Runs recognise their particles in files that are given later, or changed since."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import yaml

from cryodrgn.io.checkpoints import load_checkpoint, save_checkpoint
from cryodrgn.io.cryodrgn_pickle import save_pickles
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.mrc import stack_writer
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.io.recorded_files import number_explained
from cryodrgn.particles import particle_record
from cryodrgn.particles.options import TiltSeriesSettings
from cryodrgn.particles.particle_record import ParticleRecord
from cryodrgn.preflight.rows import warn_of_foreign_poses
from finished_run import SMALL_NN, SMALL_VAE, command

COUNT = 310
FAST = ("--screen", "none", "-n", 1)
# A ball of density that comes and goes, in Å from the corner of the box.
MOVING = "96,84,120,14"
OTHER = "does not hold the particles of"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Particles, runs on them, the same in another place, and the same in another order."""
    folder = tmp_path_factory.mktemp("recorded")
    sim = folder / "sim"
    command("simulate", "-D", 16, "--Apix", 12, "-n", COUNT, "--snr", 2, "-o", sim)
    star = sim / "particles.star"
    command("train_linear", star, "-o", folder / "linear", "--components", 2, "--radius", 6)
    more = (*FAST, "--held-out", 0.1)
    command("train_vae", star, "--zdim", 2, *SMALL_VAE, *more, "-o", folder / "vae")
    command("train_dec", star, "--zdim", 2, *SMALL_NN, *FAST, "-o", folder / "dec")
    for name in ("moved", "shifted"):
        shutil.copytree(sim, folder / name)
    shift(folder / "shifted")
    return folder


def shift(folder):
    """Put the first image of a stack behind all others."""
    path = folder / "particles.mrcs"
    images = ImageStack.whole_files([path]).read(np.arange(COUNT))
    path.unlink()
    with stack_writer(path, 16, 12.0) as writer:
        writer.append(np.roll(images, -1, axis=0))


@pytest.fixture
def changed(made):
    """The particles that the runs read, in another order since."""
    path, kept = made / "sim/particles.mrcs", made / "kept.mrcs"
    shutil.copy2(path, kept)
    shift(made / "sim")
    yield made
    kept.replace(path)


def train(made, where, *more, **out):
    kind, network = (
        ("train_dec", SMALL_NN) if out.pop("dec", False) else ("train_vae", SMALL_VAE)
    )
    return (kind, made / where / "particles.star", *network, *FAST, *more)


def commands(made, where, out):
    """Commands that take latents of a run for those of particles in a folder."""
    star = made / where / "particles.star"
    stack = made / where / "particles.mrcs"
    given = ("--poses", made / where / "poses.pkl", "--ctf", made / where / "ctf.pkl")
    return {
        "from": (*train(made, where, "--from", made / "linear"), "-o", out),
        "warm": (*train(made, where, "--zdim", 2, "--init-z", made / "linear"), "-o", out),
        "dec": (
            *train(made, where, "--zdim", 2, "--load-z", made / "vae", dec=True),
            *("-o", out),
        ),
        "stack": (
            *("train_vae", stack, *given, *SMALL_VAE, *FAST),
            *("--from", made / "linear", "-o", out),
        ),
        "states": (
            *("reconstruct_states", "--particles", star),
            *("--latents", made / "linear/z.pkl", "--num-states", 1, "-o", out),
        ),
    }


@pytest.mark.parametrize("name", ["from", "warm", "dec", "stack"])
def test_another_order_is_refused(fail, made, tmp_path, name):
    said = fail(*commands(made, "shifted", tmp_path / "out")[name])
    assert OTHER in said
    assert "of the images of 32 particles that were compared 32 are others" in said
    assert str(made / "sim/particles.star") in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["dec", "stack", "states"])
def test_the_same_images_in_other_files_are_accepted(run, made, tmp_path, name, caplog):
    run(*commands(made, "moved", tmp_path / "out")[name])
    assert "are others" not in caplog.text


def test_latents_in_a_file_alone_are_taken_and_that_is_said(run, made, tmp_path, caplog):
    run(*commands(made, "shifted", tmp_path / "out")["states"])
    assert "32 are others" in caplog.text


@pytest.mark.parametrize("name", ["vae", "dec"])
def test_no_run_goes_on_with_particles_in_another_order(fail, changed, name):
    said = fail(f"train_{name}", "-o", changed / name, "--load", "latest", "-n", 2)
    assert OTHER in said
    assert "begin in another folder" in said


@pytest.mark.parametrize("name", ["reconstruct_states", "select", "compare_models"])
def test_files_in_another_order_are_not_those_of_the_run(fail, changed, tmp_path, name):
    linear, out = changed / "linear", tmp_path / "out.pkl"
    words = {
        "reconstruct_states": (linear, "-o", out),
        "select": (linear, "--feature", "0,0,0,30", "-o", out),
        "compare_models": (linear, changed / "vae"),
    }
    assert OTHER in fail(name, *words[name])
    assert not out.exists()


def test_what_a_record_notices(made):
    files = {
        n: open_particles(ParticleFiles(particles=made / n / "particles.star"))
        for n in ("sim", "moved", "shifted")
    }
    record = ParticleRecord.of(files["sim"])
    assert ParticleRecord.of_mapping(record.to_mapping()) == record
    assert record.others(files["moved"]) == []
    assert len(record.others(files["shifted"])) == particle_record.LOOKED_AT
    exchanged = np.arange(COUNT)
    # Rows 0 and 10 are looked at, 1 and 2 are not.
    exchanged[[1, 2]] = [2, 1]
    assert record.others(files["sim"].select(exchanged)) == []
    exchanged[[0, 1]] = [1, 0]
    assert record.others(files["sim"].select(exchanged)) == [0]
    assert record.others(files["sim"].select(np.arange(COUNT - 1))) is None


def test_a_tilt_series_is_known_by_first_images(made):
    single = open_particles(ParticleFiles(particles=made / "sim/particles.star"))
    offsets = np.arange(0, COUNT + 1, 5)
    series = replace(single, offsets=offsets, original_rows=np.arange(len(offsets) - 1))
    record = ParticleRecord.of(series)
    assert record.others(series.with_best_images(2)) == []
    backwards = series.select(np.arange(len(series))[::-1])
    assert len(record.others(backwards)) == particle_record.LOOKED_AT


def test_older_runs_are_not_compared(run, changed, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(changed / "linear", old)
    content = yaml.safe_load((old / "config.yaml").read_text())
    del content["training"]["images"]
    (old / "config.yaml").write_text(yaml.safe_dump(content))
    run("reconstruct_states", old, "--num-states", 1, "-o", tmp_path / "out")


@pytest.mark.parametrize(
    ("where", "beginning", "more", "said"),
    [
        (
            "sim",
            "vae",
            ("--held-out", 0.2),
            "kept out --held-out 0.1 with --seed 0; give these",
        ),
        (
            "moved",
            "vae",
            ("--held-out", 0.1, "--seed", 3),
            "judges by particles that the weights",
        ),
        ("sim", "all", ("--held-out", 0.1), "kept out none; leave out --held-out"),
    ],
)
def test_weights_do_not_begin_a_run_that_keeps_out_what_they_have_seen(
    fail, made, tmp_path, where, beginning, more, said
):
    weights = made / "vae/weights.pkl"
    if beginning == "all":
        content = load_checkpoint(weights)
        content["run_state"]["settings"]["training"]["held_out"] = None
        weights = tmp_path / "weights.pkl"
        save_checkpoint(weights, content)
        shutil.copy2(made / "vae/config.yaml", tmp_path)
    words = train(made, where, "--zdim", 2, "-n", 2, "--load", weights, *more)
    assert said in fail(*words, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_begin_a_run_that_keeps_out_the_same(run, made, tmp_path):
    more = ("--load", made / "vae/weights.pkl", "-n", 2, "--held-out", 0.05)
    run(*train(made, "moved", "--zdim", 2, *more), "-o", tmp_path / "out")


@pytest.fixture
def moved(made):
    """Runs whose particles are gone from where they were read, and are in another folder."""
    (made / "sim").rename(made / "gone")
    yield made
    (made / "gone").rename(made / "sim")


def test_states_and_features_are_found_in_moved_particles(run, moved, tmp_path, caplog):
    given = ("--particles", moved / "moved/particles.star")
    words = ("reconstruct_states", moved / "linear", "--num-states", 1)
    run(*words, *given, "-o", tmp_path / "states")
    assert f"is gone: {given[1]} is read" in caplog.text
    feature = ("--feature", MOVING, "-o", tmp_path / "rows.pkl")
    assert f"of {COUNT} particles: wrote" in run("select", moved / "linear", *feature, *given)


def test_other_particles_are_not_taken_for_those_that_were_moved(fail, moved, tmp_path):
    given = ("--particles", moved / "shifted/particles.star")
    words = ("reconstruct_states", moved / "linear", "--num-states", 1, *given)
    assert OTHER in fail(*words, "-o", tmp_path / "states")


def test_a_feature_is_looked_for_in_the_particles_that_are_given(
    run, fail, made, tmp_path, caplog
):
    words = ("select", made / "linear", "--feature", MOVING)
    words += ("-o", tmp_path / "rows.pkl", "--particles")
    assert OTHER in fail(*words, made / "shifted/particles.star")
    small = tmp_path / "small.mrcs"
    run("downsample", made / "moved/particles.star", "-D", 8, "-o", small)
    assert "have 8 px, those that" in fail(*words, small, "--ctf", made / "moved/ctf.pkl")
    caplog.clear()
    run(*words, made / "moved/particles.star")
    assert "moved/particles.star is read in place of" in caplog.text
    caplog.clear()
    run(*words, made / "sim/particles.star")
    assert "in place of" not in caplog.text


@pytest.mark.parametrize("more", [(), ("--zdim", 2)])
def test_a_run_whose_particles_are_there_says_how_it_goes_on(fail, made, more):
    there, given = made / "sim/particles.star", made / "moved/particles.star"
    said = fail("train_vae", given, "-o", made / "vae", "--load", "latest", *more)
    assert f"with the particles that it began with, of {there}, which is there" in said
    assert f"to go on, type cryodrgn train_vae -o {made / 'vae'} --load latest; " in said
    assert f"rename {there} before" in said


def test_the_place_of_particles_that_are_gone_is_a_word_without_dashes(fail, moved):
    said = fail("train_vae", "-o", moved / "vae", "--load", "latest")
    assert "give their new place with the argument PARTICLES, or put it back" in said


def test_poses_of_a_run_are_of_its_particles(made, tmp_path, caplog):
    for name in ("config.yaml", "z.pkl"):
        shutil.copy2(made / "vae" / name, tmp_path)
    poses = shutil.copy2(made / "sim/poses.pkl", tmp_path / "pose.pkl")
    for name, expected in (("moved", 0), ("shifted", 1)):
        files = ParticleFiles(particles=made / name / "particles.star", poses=poses)
        warn_of_foreign_poses(open_particles(files), poses)
        words = f"{poses} is taken for poses of the particles of"
        assert caplog.text.count(words) == expected


def test_evaluation_at_other_poses_than_those_of_the_run_is_said(made, tmp_path, caplog):
    star, vae = made / "sim/particles.star", made / "vae"
    refined = shutil.copytree(vae, tmp_path / "refined")
    shutil.copy(made / "sim/poses.pkl", refined / "pose.pkl")
    given = shutil.copytree(vae, tmp_path / "given")
    config = yaml.safe_load((given / "config.yaml").read_text())
    config["dataset_args"]["poses"] = str(tmp_path / "these.pkl")
    (given / "config.yaml").write_text(yaml.safe_dump(config))
    shutil.copy(made / "sim/poses.pkl", tmp_path / "these.pkl")

    def said(run, *more, particles=star):
        caplog.clear()
        command("eval_images", particles, run / "weights.pkl", "-o", run / "out.pkl", *more)
        return [message for message in caplog.messages if message.startswith("poses are those")]

    (sentence,) = said(refined)
    assert sentence == (
        f"poses are those of {star}, but the run in {refined} refined them: "
        f"give `poses` {refined / 'pose.pkl'} to take these"
    )
    assert len(said(refined, "--poses", made / "sim/poses.pkl")) == 1
    (sentence,) = said(given)
    assert f"was trained with those of {tmp_path / 'these.pkl'}: give" in sentence
    assert not said(refined, "--poses", refined / "pose.pkl")
    assert not said(given, "--poses", tmp_path / "these.pkl")
    assert not said(vae)
    # Of other particles the run has no poses.
    assert not said(refined, particles=made / "shifted/particles.star")


def test_latents_of_other_images_do_not_replace_those_of_a_run(fail, made, tmp_path, caplog):
    vae = shutil.copytree(made / "vae", tmp_path / "vae")
    words = ("eval_images", made / "sim/particles.star", vae / "weights.pkl")
    others = ("eval_images", made / "shifted/particles.star", vae / "weights.pkl")
    before = {path: path.read_bytes() for path in vae.iterdir() if path.is_file()}
    assert f"{vae / 'z.pkl'} is a file of the run" in fail(*others, "-o", vae / "z.pkl")
    assert "give --out-z another name" in fail(
        *others, "-o", vae / "losses.pkl", "--out-z", vae / "z.0.pkl"
    )
    # No file but latents is replaced by latents of the run's own particles.
    assert f"{vae / 'config.pkl'} is a file of" in fail(*words, "-o", vae / "config.pkl")
    assert {path: path.read_bytes() for path in before} == before
    # Nor do names that a run may have, or latents by other weights.
    assert f"{vae / 'pose.pkl'} is a file of" in fail(*words, "-o", vae / "pose.pkl")
    assert not (vae / "pose.pkl").exists()
    shutil.copy(made / "linear/weights.pkl", vae / "weights.0.pkl")
    said = fail(*words, "-o", vae / "losses.pkl", "--out-z", vae / "z.0.pkl")
    assert f"its latents there are by weights.0.pkl, not by {vae / 'weights.pkl'}" in said
    command(*others, "-o", vae / "other.pkl")
    command(*words, "-o", vae / "z.pkl")
    assert f"{vae / 'z.pkl'}, latents of the run in {vae}, will be replaced" in caplog.text


@pytest.mark.parametrize(
    "more",
    [
        ("--from", "linear"),
        ("--zdim", 2, "--init-z", "linear"),
        ("--zdim", 2, "--init-z", "vae/z.pkl"),
    ],
)
def test_another_number_of_particles_is_explained(fail, made, tmp_path, more):
    *options, name = more
    chosen = tmp_path / "ind.pkl"
    save_pickles(chosen, [np.arange(COUNT - 100)])
    words = (*train(made, "sim", *options, made / name), "--ind", chosen)
    said = fail(*words, "-o", tmp_path / "out")
    read = f"{COUNT} particles of {made / 'sim/particles.star'}"
    assert f"; {made / name.split('/')[0]} has {read}: give the same" in said
    assert "leave out --ind, which that run was not given" in said


def test_single_images_explain_another_number(made, tmp_path):
    config = {
        "model_args": {},
        "dataset_args": {"particles": "/series.star", "ind": "/ind.pkl"},
        "training": {"num_particles": 7},
    }
    config["dataset_args"] |= TiltSeriesSettings(is_series=False).to_mapping()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    particles = open_particles(ParticleFiles(particles=made / "sim/particles.star"))
    said = number_explained(tmp_path / "z.pkl", particles)
    read = "7 particles of /series.star with `indices` /ind.pkl and `single_images`"
    assert said == f"; {tmp_path} has {read}: give the same"
