"""Every option of the training commands, by the effect it has."""

import logging

import numpy as np
import pytest
import torch

from cryodrgn.io.cryodrgn_pickle import load_poses, save_latents, save_pickles
from cryodrgn.io.mrc import read_volume, stack_writer
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from finished_run import SMALL_NN, SMALL_VAE, Finished

COUNT, BOX = 40, 16
FIRST = "encoder.main.0.weight"
INPUT = "decoder.decoder.main.0.weight"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    from cryodrgn.cli.main import main

    folder = tmp_path_factory.mktemp("simulated")
    arguments = f"simulate -D {BOX} --Apix 12 -n {COUNT} --num-states 2 --snr 1 -o"
    assert main([*arguments.split(), str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def images(simulated):
    stack = open_particles(ParticleFiles(particles=simulated / "particles.star")).images
    return stack.read(np.arange(COUNT))


def line_of(simulated, out, *options, particles=None, command="train_vae", pickles=False):
    """A line that trains for an epoch, unless it says otherwise."""
    small = {
        "train_vae": (*SMALL_VAE, "--zdim", 2),
        "train_dec": (*SMALL_NN, "--zdim", 2),
        "train_nn": SMALL_NN,
    }[command]
    particles = particles or simulated / "particles.star"
    files = ("--poses", simulated / "poses.pkl", "--ctf", simulated / "ctf.pkl")
    begun = (command, particles, *(files if pickles else ()), "-o", out)
    return (*begun, "-n", 1, "--precision", "float32", *small, *options)


@pytest.fixture
def trained(run, simulated, tmp_path):
    """Trains and returns the folder."""

    def train(name, *options, **more):
        run(*line_of(simulated, tmp_path / name, *options, **more))
        return Finished(tmp_path / name)

    return train


@pytest.fixture(scope="module")
def plain(simulated, tmp_path_factory):
    """A run without options, which no test changes."""
    from cryodrgn.cli.main import main

    folder = tmp_path_factory.mktemp("plain") / "plain"
    assert main([str(word) for word in line_of(simulated, folder)]) == 0
    return Finished(folder)


def write_stack(path, images):
    with stack_writer(path, images.shape[-1], 12.0) as writer:
        writer.append(images.astype(np.float32))
    return path


def test_load_begins_with_the_weights_of_a_file(trained, plain):
    start = plain.path / "weights.pkl"
    unmoved = trained("b", "--load", start, "-n", 2, "--lr", 1e-12)
    assert unmoved.log.count("====> Epoch") == 1
    for name, value in plain.weights().items():
        torch.testing.assert_close(unmoved.weights()[name], value)


def test_checkpoint_sets_which_epochs_are_kept(trained):
    assert {n for n in trained("a", "-n", 4, "--checkpoint", 3).names if "weights" in n} == {
        "weights.0.pkl",
        "weights.3.pkl",
        "weights.pkl",
    }


def test_log_interval_sets_the_rows_of_the_metrics(trained):
    rows = trained("a", "--log-interval", 16, "-b", 8).metrics
    assert [row["images"] for row in rows] == [16, 32, 40]


def test_verbose_logs_every_interval(trained, plain):
    words = "[Train Epoch: 1/1] [16 images] gen loss="
    try:
        assert words in trained("a", "-v", "--log-interval", 16, "-b", 8).log
    finally:
        logging.getLogger("cryodrgn").setLevel(logging.INFO)
    assert "[Train Epoch" not in plain.log


def test_seed_sets_all_random_numbers(trained, plain):
    assert trained("same", "--seed", 0).has_the_weights_of(plain)
    assert not trained("other", "--seed", 1).has_the_weights_of(plain)


def test_invert_data_is_the_same_as_inverting_the_images(trained, images, tmp_path):
    stack = write_stack(tmp_path / "negative.mrcs", -images)
    expected = trained("a", particles=stack, pickles=True)
    assert trained("b", "--invert-data", pickles=True).has_the_weights_of(expected)
    assert not trained("c", "--uninvert-data", pickles=True).has_the_weights_of(expected)


@pytest.mark.parametrize(
    ("options", "inner"), [(("--window",), 0.85), (("--window-r", 0.5), 0.5)]
)
def test_window_is_the_same_as_windowing_the_images(trained, images, tmp_path, options, inner):
    from cryodrgn.imaging.masks import circular_window

    windowed = images * circular_window(BOX, inner).numpy()
    expected = trained("a", particles=write_stack(tmp_path / "w.mrcs", windowed), pickles=True)
    found, plain = trained("b", *options, pickles=True), trained("c", pickles=True)
    np.testing.assert_allclose(found.latents, expected.latents, atol=1e-4)
    assert np.abs(found.latents - plain.latents).max() > 1e-3


def test_no_window_is_the_default(trained, plain):
    assert trained("a", "--no-window").has_the_weights_of(plain)


def test_ind_is_the_same_as_a_smaller_set(trained, simulated, images, tmp_path):
    rows = np.array([7, 3, 11, 30, 2, 9])
    save_pickles(tmp_path / "ind.pkl", [rows])
    save_pickles(
        tmp_path / "p.pkl", [tuple(a[rows] for a in load_poses(simulated / "poses.pkl"))]
    )
    import pickle

    with (simulated / "ctf.pkl").open("rb") as file:
        save_pickles(tmp_path / "c.pkl", [pickle.load(file)[rows]])
    stack = write_stack(tmp_path / "some.mrcs", images[rows])
    some = ("--poses", tmp_path / "p.pkl", "--ctf", tmp_path / "c.pkl")
    expected = trained("a", *some, particles=stack)
    found = trained("b", "--ind", tmp_path / "ind.pkl", pickles=True)
    assert len(found.latents) == 6
    assert found.has_the_weights_of(expected)


def test_lazy_keeps_images_on_disk_and_changes_no_number(trained, plain, run, capsys):
    assert trained("a", "--lazy").has_the_weights_of(plain)
    assert trained("a", "--lazy", "--overwrite").config["training"]["settings"]["training"][
        "on_disk"
    ]


def test_datadir_says_where_the_stacks_are(trained, plain, simulated, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "particles.star").write_bytes((simulated / "particles.star").read_bytes())
    found = trained("a", "--datadir", simulated, particles=alone / "particles.star")
    assert found.has_the_weights_of(plain)


def test_num_epochs(trained):
    assert trained("a", "-n", 3).log.count("====> Epoch") == 3


def test_batch_size_sets_the_number_of_steps(trained):
    state = trained("a", "-b", 7).checkpoint()["optimizer_state_dict"]["state"]
    assert {float(entry["step"]) for entry in state.values()} == {np.ceil(COUNT / 7)}


def test_learning_rate_is_the_length_of_the_first_step(trained):
    still = trained("a", "--lr", 1e-12, "-b", COUNT).weights()
    moved = trained("b", "--lr", 1e-3, "-b", COUNT).weights()
    steps = torch.cat([(moved[name] - still[name]).flatten().abs() for name in still])
    assert steps.max() == pytest.approx(1e-3, rel=1e-2)
    assert steps.median() == pytest.approx(1e-3, rel=1e-2)


def test_weight_decay_makes_weights_smaller(trained):
    plain, decayed = (trained(str(wd), "--wd", wd, "-n", 3, "--lr", 1e-2) for wd in (0, 1))
    sizes = [sum(v.square().sum() for v in r.weights().values()) for r in (plain, decayed)]
    assert sizes[1] < 0.9 * sizes[0]


NUM_VALUES = 196  # Hartley values within the disc at 16 px.


def test_beta_weights_the_divergence(trained):
    free, tight = (trained(str(b), "--beta", b, "-n", 8, "--lr", 3e-3) for b in (0.0, 3000.0))
    for finished, beta in ((free, 0), (tight, 3000)):
        row = finished.metrics[-1]
        assert row["beta"] == beta
        total = row["reconstruction"] + beta * row["kl"] / NUM_VALUES
        assert row["total"] == pytest.approx(total, rel=1e-4)
    assert tight.metrics[-1]["kl"] < 0.2 * free.metrics[-1]["kl"]


def test_beta_control_pulls_the_divergence_to_its_target(trained):
    found = trained("a", "--beta", 2.5, "--beta-control", 500, "-n", 40, "--lr", 3e-3)
    row = found.metrics[-1]
    assert row["kl"] == pytest.approx(2.5, abs=0.4)


def test_beta_schedules_follow_the_images_seen(trained):
    row = trained("a", "--beta", "a", "--beta-control", 1, "-n", 2).metrics[-1]
    # From 0.001 to 15 over the first million images.
    assert row["beta"] == pytest.approx(0.001 + (15 - 0.001) * row["images"] / 1e6, rel=1e-4)


def test_norm_scales_the_data(trained, plain):
    _, scale = plain.config["dataset_args"]["norm"]
    found = trained("a", "--norm", 0, 2 * scale, "--lr", 1e-12)
    assert found.config["dataset_args"]["norm"] == [0, 2 * scale]
    assert found.metrics[0]["reconstruction"] < 0.4 * plain.metrics[0]["reconstruction"]
    shifted = trained("b", "--norm", 3 * scale, scale, "--lr", 1e-12)
    assert shifted.metrics[0]["reconstruction"] > 5 * plain.metrics[0]["reconstruction"]


@pytest.mark.parametrize("command", ["train_vae", "train_nn", "train_dec"])
@pytest.mark.parametrize("domain", ["fourier", "hartley"])
def test_pose_sgd_moves_poses_after_its_pretraining(trained, simulated, command, domain):
    name = "--pretrain-pose" if command == "train_dec" else "--pretrain"
    options = ("--do-pose-sgd", name, 1, "--pose-lr", 1e-3, "--domain", domain, "-n", 2)
    found = trained("a", *options, command=command)
    assert "pose.0.pkl" not in found.names
    rotations, shifts = found.poses()
    before, fractions = load_poses(simulated / "poses.pkl")
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), np.tile(np.eye(3), (COUNT, 1, 1)), atol=1e-5
    )
    # Every particle was seen once: one step, whose root mean square is the learning rate,
    # counted for shifts in units of half the box.
    steps = 2 * (shifts - fractions)
    assert np.sqrt(np.square(steps).mean()) == pytest.approx(1e-3, rel=0.5)
    assert np.abs(rotations - before).max() > 1e-4


@pytest.mark.parametrize("command", ["train_vae", "train_nn", "train_dec"])
def test_poses_that_stay_fixed_to_the_end_are_told(trained, caplog, command):
    name = "--pretrain-pose" if command == "train_dec" else "--pretrain"
    trained("a", "--do-pose-sgd", name, 1, "-n", 2, command=command)
    assert "poses are not refined" not in caplog.text
    found = trained("b", "--do-pose-sgd", name, 2, "-n", 2, command=command)
    assert "poses are not refined: they stay fixed for the first 2 epochs" in caplog.text
    assert "pose.pkl" not in found.names


def test_pose_lr_is_the_length_of_the_steps(trained, simulated):
    _, before = load_poses(simulated / "poses.pkl")
    options = ("--do-pose-sgd", "--pretrain", 0)
    small, large = (
        np.abs(trained(str(lr), *options, "--pose-lr", lr).poses()[1] - before).mean()
        for lr in (1e-4, 1e-2)
    )
    assert large / small == pytest.approx(100, rel=0.3)


def test_emb_type_sets_what_stands_for_a_rotation(trained):
    states = {}
    for kind in ("s2s2", "quat"):
        found = trained(kind, "--do-pose-sgd", "--pretrain", 0, "--emb-type", kind)
        states[kind] = found.checkpoint()["run_state"]["poses"]["rotations"]["values"].shape
    assert states == {"s2s2": (COUNT, 6), "quat": (COUNT, 4)}


def test_pose_sgd_encodes_images_at_their_refined_shifts(trained, plain, run, simulated):
    found = trained("a", "--do-pose-sgd", "--pretrain", 0, "--pose-lr", 0.05, "-b", COUNT)
    out = found.path / "again.pkl"
    weights = (found.path / "weights.pkl", "--out-z", found.path / "zz.pkl", "-o", out)
    ctf = ("--ctf", simulated / "ctf.pkl", "--poses", found.path / "pose.pkl")
    run("eval_images", simulated / "particles.mrcs", *weights, *ctf)
    again = np.asarray(Finished(found.path).latents)
    from cryodrgn.io.cryodrgn_pickle import load_latents

    np.testing.assert_allclose(load_latents(found.path / "zz.pkl"), again, atol=1e-4)


def test_images_without_ctf_are_others_than_the_model_learnt(trained, run, simulated, caplog):
    found = trained("a", pickles=True)
    words = (simulated / "particles.mrcs", found.path / "weights.pkl")
    poses = ("--poses", simulated / "poses.pkl", "-o", found.path / "e.pkl")
    said = f"was trained with the CTF parameters of {simulated / 'ctf.pkl'}"
    run("eval_images", *words, *poses, "--ctf", simulated / "ctf.pkl")
    assert said not in caplog.text
    run("eval_images", *words, *poses)
    assert said in caplog.text


def test_a_model_of_one_structure_is_evaluated_without_latents(trained, run, fail):
    found = trained("nn", command="train_nn")
    words = ("eval_vol", found.path / "weights.pkl", "-o", found.path / "again.mrc")
    run(*words)
    again, made = (read_volume(found.path / f"{n}.mrc")[0] for n in ("again", "reconstruct"))
    np.testing.assert_allclose(again, made, atol=1e-5 * np.abs(made).max())
    assert "which has no z-values: leave them out" in fail(*words, "-z", 0)


ARCHITECTURE = [
    (("--zdim", 5), FIRST, (16, NUM_VALUES), "encoder.main.4.weight", (10, 16)),
    (("--qdim", 24), FIRST, (24, NUM_VALUES), INPUT, (16, 50)),
    (("--enc-dim", 24), FIRST, (24, NUM_VALUES), INPUT, (16, 50)),
    (("--pdim", 24), INPUT, (24, 50), "decoder.decoder.main.4.weight", (2, 24)),
    (("--dec-dim", 24), INPUT, (24, 50), "decoder.decoder.main.4.weight", (2, 24)),
    (("--qlayers", 2), "encoder.main.6.weight", (4, 16), INPUT, (16, 50)),
    (("--enc-layers", 2), "encoder.main.6.weight", (4, 16), INPUT, (16, 50)),
    (("--players", 2), "decoder.decoder.main.6.weight", (2, 16), INPUT, (16, 50)),
    (("--dec-layers", 2), "decoder.decoder.main.6.weight", (2, 16), INPUT, (16, 50)),
    (("--enc-mask", 4), FIRST, (16, 48), INPUT, (16, 50)),
    (("--enc-mask", -1), FIRST, (16, 17 * 17), INPUT, (16, 50)),
    (("--use-real",), FIRST, (16, 195), INPUT, (16, 50)),
    (("--use-real", "--enc-mask", -1), FIRST, (16, 256), INPUT, (16, 50)),
    (("--encode-mode", "mlp"), "encoder.main.2.weight", (16, 16), INPUT, (16, 50)),
    (
        *(("--encode-mode", "conv", "--use-real"), "encoder.main.0.weight", (16, 1, 4, 4)),
        *("encoder.main.8.weight", (4, 128, 1, 1)),
    ),
    (("--pe-type", "geom_ft"), INPUT, (16, 50), FIRST, (16, NUM_VALUES)),
    (("--pe-type", "linear_lowf"), INPUT, (16, 50), FIRST, (16, NUM_VALUES)),
    (("--pe-type", "none"), INPUT, (16, 5), FIRST, (16, NUM_VALUES)),
    (("--pe-type", "gaussian"), INPUT, (16, 50), "decoder.rand_freqs", (24, 3)),
    (("--pe-dim", 3), INPUT, (16, 20), FIRST, (16, NUM_VALUES)),
    (("--domain", "hartley"), "decoder.decoder.main.4.weight", (1, 16), INPUT, (16, 50)),
]


@pytest.mark.parametrize("row", ARCHITECTURE, ids=lambda row: " ".join(map(str, row[0])))
def test_architecture(trained, row):
    options, *pairs = row
    shapes = trained("a", *options).shapes
    for name, shape in zip(pairs[::2], pairs[1::2], strict=True):
        assert shapes[name] == shape


def test_every_positional_encoding_asks_the_network_something_else(trained):
    kinds = ("geom_ft", "geom_full", "geom_lowf", "geom_nohighf", "linear_lowf", "gaussian")
    losses = {trained(k, "--pe-type", k).metrics[-1]["reconstruction"] for k in kinds}
    assert len(losses) == len(kinds)


def test_feat_sigma_is_the_spread_of_the_wave_vectors(trained):
    found = trained("a", "--pe-type", "gaussian", "--feat-sigma", 2.0, "--pe-dim", 100)
    assert found.weights()["decoder.rand_freqs"].std() == pytest.approx(2.0, rel=0.1)


def test_activation(trained, plain):
    found = trained("a", "--activation", "leaky_relu")
    assert found.config["model_args"]["activation"] == "leaky_relu"
    assert not found.has_the_weights_of(plain)


def test_l_extent_scales_bare_coordinates(trained):
    options = ("--pe-type", "none", "--lr", 1e-12)
    half, one = (
        trained(str(e), *options, "--l-extent", e, command="train_nn").metrics[0]["total"]
        for e in (0.5, 1.0)
    )
    assert half != one


def test_precision(trained, run, simulated, tmp_path):
    assert "matrix products in float32" in trained("a").log
    star = simulated / "particles.star"
    for name, options, words in (
        ("b", ("--precision", "bfloat16"), "matrix products in bfloat16"),
        ("c", ("--no-amp",), "matrix products in float32"),
    ):
        run(
            "train_vae", star, "--zdim", 1, "-n", 1, *SMALL_VAE, *options, "-o", tmp_path / name
        )
        assert words in Finished(tmp_path / name).log


def test_tilt_pairs_are_seen_at_their_angle(trained, simulated):
    tilt = ("--tilt", simulated / "particles.mrcs", "--qlayers", 3)
    first, same, other = (
        trained(name, *tilt, "--tilt-deg", angle, pickles=True)
        for name, angle in (("a", 45), ("b", 45), ("c", -45))
    )
    assert first.config["model_args"]["encode_mode"] == "tilt"
    assert first.shapes["encoder.encoder2.main.0.weight"] == (16, 32)
    assert first.has_the_weights_of(same)
    assert not first.has_the_weights_of(other)


def test_homogeneous_runs_write_their_volume(trained):
    found = trained("a", "-n", 2, command="train_nn")
    assert {"reconstruct.0.mrc", "reconstruct.1.mrc", "reconstruct.mrc"} <= found.names
    first, last = (found.path / f"reconstruct{e}.mrc" for e in (".1", ""))
    assert first.read_bytes() == last.read_bytes()


def test_auto_decoder_latents_begin_where_they_are_told_and_wait(trained, tmp_path):
    rng = np.random.default_rng(0)
    start = rng.normal(size=(COUNT, 2)).astype(np.float32)
    save_latents(tmp_path / "z0.pkl", start, start)
    options = ("--load-z", tmp_path / "z0.pkl", "--z-lr", 1e-2)
    still = trained("a", *options, "--pretrain-z", 1, command="train_dec")
    np.testing.assert_array_equal(still.latents, start)
    moved = trained("b", *options, command="train_dec").latents - start
    assert np.sqrt(np.square(moved).mean()) == pytest.approx(1e-2, rel=0.5)
    again = trained("d", "--load-z", still.path, "--pretrain-z", 1, command="train_dec")
    np.testing.assert_array_equal(again.latents, start)
    (tmp_path / "z0.pkl").unlink()
    longer = trained("b", *options, "--load", "latest", "-n", 2, command="train_dec")
    assert longer.log.count("====> Epoch") == 2
    drawn = trained("c", command="train_dec").latents
    assert drawn.std() == pytest.approx(1, abs=0.2)


def test_multigpu_is_accepted(run, simulated, tmp_path, capsys):
    star = simulated / "particles.star"
    run("train_vae", star, "--zdim", 1, "-n", 1, *SMALL_VAE, "--multigpu", "-o", tmp_path / "a")
    assert "weights.pkl" in Finished(tmp_path / "a").names


def test_a_curriculum_does_not_look_at_high_frequencies_at_first(trained, images, tmp_path):
    at_nyquist = 5 * (-1.0) ** np.arange(BOX)
    stacks = [write_stack(tmp_path / f"{n}.mrcs", images + n * at_nyquist) for n in (0, 1)]

    def difference(*words):
        options = ("--norm", 0, 30, "-b", 8, *words)
        one, other = (
            trained(
                f"{stack.stem}{len(words)}",
                *options,
                particles=stack,
                command="train_nn",
                pickles=True,
            )
            for stack in stacks
        )
        pairs = zip(one.weights().values(), other.weights().values(), strict=True)
        return float(sum((a - b).abs().sum() for a, b in pairs))

    seen = difference()
    # Rounding in the transforms of images is all that is left.
    assert difference("--curriculum", 1) < 0.05 * seen
    # The second of two epochs compares all.
    assert difference("-n", 2, "--curriculum") > 0.5 * seen
