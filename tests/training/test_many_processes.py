"""Several processes train together what one process trains alone."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from children import exit_status, nothing, start_team
from cryodrgn.geometry.rotations import rotation_distance
from cryodrgn.io.cryodrgn_pickle import load_latents, load_poses, save_pickles
from cryodrgn.io.mrc import read_volume
from cryodrgn.io.selection_files import load_indices
from cryodrgn.parallel import ALONE, Team
from cryodrgn.rundir import RunDirectory, StateFiles
from finished_run import SMALL_NN, SMALL_VAE, Finished
from small_device import become
from threads_left import say_at_the_end

SOURCE = Path(__file__).parents[2] / "src"
KINDS = {
    "train_vae": (
        *SMALL_VAE,
        "--zdim",
        2,
        "--beta",
        2.0,
        "--beta-control",
        0.5,
        "--held-out",
        0.2,
        "--encoder-inputs",
        "snr",
    ),
    "train_dec": (
        *(*SMALL_NN, "--zdim", 2, "--do-pose-sgd", "--pretrain-pose", 0),
        *("--noise-model", "radial", "--contrast", "--optimizer", "muon", "--average", 0.2),
    ),
}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    from cryodrgn.cli.main import main

    folder = tmp_path_factory.mktemp("simulated")
    # 41 images in batches of 4: the last batch has fewer images than there are processes.
    line = f"simulate -D 16 --Apix 12 -n 41 --num-states 2 --snr 1 -o {folder}"
    assert main(line.split()) == 0
    return folder / "particles.star"


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Runs a command in two processes that must succeed; what both said."""
    folder = tmp_path_factory.mktemp("said")

    def run_both(words, prepare=nothing, status=0):
        log = folder / "log"
        found = [exit_status(child) for child in start_team(words, log, prepare=prepare)]
        said = log.read_text()
        assert found == [status, status], said
        return said

    return run_both


# Of the trainings one is started as users start it; imports take longer than three epochs.
BY_TORCHRUN = "train_vae"


def launch(words) -> subprocess.Popen:
    """Two processes, started by torchrun."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    line = (sys.executable, *launcher, "-m", "cryodrgn", *map(str, words))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(SOURCE)}
    return subprocess.Popen(
        line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def line(command, star, out, *options):
    fixed = ("-n", 3, "-b", 4, "--precision", "float32", "--log-interval", 8)
    return (command, star, *fixed, *KINDS[command], *options, "-o", out)


@pytest.mark.slow
@pytest.mark.parametrize("command", KINDS)
def test_two_processes_have_the_losses_of_one(run, pair, simulated, tmp_path, command):
    run(*line(command, simulated, tmp_path / "one"))
    typed = line(command, simulated, tmp_path / "two")
    if command == BY_TORCHRUN:
        job = launch(typed)
        words, _ = job.communicate(timeout=120)
        assert job.returncode == 0, words
    else:
        words = pair(typed)
    one, two = Finished(tmp_path / "one"), Finished(tmp_path / "two")
    assert "trained by 2 processes" in two.log
    assert words.count("Epoch: 1 ") == 1
    assert two.names == one.names
    for a, b in zip(one.metrics, two.metrics, strict=True):
        assert b["images"] == a["images"]
        assert b["total"] == pytest.approx(a["total"], abs=1e-4)
    told = [[event["event"] for event in run.events()] for run in (one, two)]
    assert told[1] == told[0]
    np.testing.assert_allclose(two.latents, one.latents, atol=1e-3)


@pytest.mark.slow
def test_two_processes_move_particles_of_tilt_series_as_one_does(pair, run, tmp_path):
    words = "simulate -D 16 --Apix 12 -n 13 --num-states 1 --tilt-series --tilt-step 30 -o"
    run(*words.split(), tmp_path / "set")
    star = tmp_path / "set/particles.star"
    run(*line("train_dec", star, tmp_path / "one"))
    pair(line("train_dec", star, tmp_path / "two"))
    found, expected = (load_poses(tmp_path / name / "pose.pkl") for name in ("two", "one"))
    np.testing.assert_allclose(found[0], expected[0], atol=1e-4)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-5)


@pytest.fixture(scope="module")
def undisturbed(pair, simulated, tmp_path_factory):
    """A run of two processes, both with room for whole batches."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    pair(
        line("train_vae", simulated, out, "-b", 12, "-n", 2),
        partial(become, "decoder", 0, 1000),
    )
    return Finished(out)


@pytest.mark.parametrize(
    ("place", "rank"),
    [
        ("decoder", 1),
        ("gradients", 0),
        *(
            pytest.param(place, rank, marks=pytest.mark.slow)
            for place, rank in (("images", 0), ("images", 1), ("decoder", 0), ("gradients", 1))
        ),
    ],
)
def test_all_processes_halve_their_parts_when_one_runs_out_of_memory(
    pair, simulated, undisturbed, tmp_path, place, rank
):
    line_of_run = line("train_vae", simulated, tmp_path, "-b", 12, "-n", 2)
    said = pair(line_of_run, partial(become, place, rank, 2))
    assert said.count("ran out of memory: batches of 12 are now computed 3 images") == 1
    assert said.count("ran out of memory: batches of 12 are now computed 2 images") == 1
    found = Finished(tmp_path)
    expected = undisturbed.weights()
    for name, value in found.weights().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)
    assert [row["images"] for row in found.metrics] == [
        row["images"] for row in undisturbed.metrics
    ]


def test_no_room_for_one_image_in_one_process_ends_all(pair, simulated, tmp_path):
    line_of_run = line("train_vae", simulated, tmp_path, "-b", 12, "-n", 2)
    started = time.monotonic()
    said = pair(line_of_run, partial(become, "decoder", 1, 0), status=2)
    assert time.monotonic() - started < 100
    assert "has too little memory for this run; take smaller networks" in said


@pytest.mark.slow
def test_two_processes_find_the_poses_of_one(pair, run, tmp_path):
    run("simulate", "-D", 16, "--Apix", 12, "-n", 41, "--snr", 4, "-o", tmp_path / "set")
    star, search = tmp_path / "set/particles.star", ("--l-start", 4, "--l-end", 8, "--niter", 2)
    schedule = ("--ps-freq", 1, "--refine-epochs", 1, "--pretrain", 200, "--l-ramp-epochs", 1)
    words = ("abinit_het", star, *search, *schedule, "-n", 3, "--zdim", 1, "--pdim", 32)
    words += ("--players", 1, "--no-trans", "--precision", "float32")
    run(*words, "-o", tmp_path / "one")
    pair((*words, "-o", tmp_path / "two"))
    one, two = Finished(tmp_path / "one"), Finished(tmp_path / "two")
    assert "trained by 2 processes" in two.log
    assert two.log.count("poses searched within") == one.log.count("poses searched within")
    assert two.names == one.names
    for a, b in zip(one.metrics, two.metrics, strict=True):
        assert b["total"] == pytest.approx(a["total"], rel=1e-3)
    found, expected = (
        torch.from_numpy(load_poses(tmp_path / name / "pose.pkl")[0]) for name in ("two", "one")
    )
    # Rounding may choose another of two poses that are as good.
    assert float(rotation_distance(found, expected).rad2deg().quantile(0.95)) < 0.1


@pytest.mark.slow
def test_a_killed_process_ends_the_job_and_one_process_goes_on(run, simulated, tmp_path):
    out = tmp_path / "run"
    job = launch(line("train_vae", simulated, out, "-n", 100000))
    while not (out / "weights.2.pkl").exists():
        assert job.poll() is None
        time.sleep(0.05)
    children = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    killed = time.monotonic()
    words, _ = job.communicate(timeout=60)
    assert time.monotonic() - killed < 30
    assert job.returncode != 0
    assert "SIGKILL" in words or "is gone" in words
    done = max(RunDirectory(out).epochs())
    run("train_vae", "-o", out, "--load", "latest", "-n", done + 2)
    assert RunDirectory(out).epochs()[-1] == done + 1
    assert torch.isfinite(next(iter(Finished(out).weights().values()))).all()


def test_two_processes_embed_the_images_as_one_does(pair, run, simulated, tmp_path):
    run(*line("train_vae", simulated, tmp_path / "run"))
    words = ("eval_images", simulated, tmp_path / "run/weights.pkl", "-o", tmp_path / "l.pkl")
    said = pair((*words, "--out-z", tmp_path / "z.pkl"))
    assert said.count("41 particles: reconstruction") == 1
    latents = Finished(tmp_path / "run").latents
    np.testing.assert_allclose(load_latents(tmp_path / "z.pkl"), latents, atol=1e-4)


@pytest.mark.parametrize("command", ["backproject_voxel", "train_vae"])
def test_a_bad_image_that_one_process_finds_is_left_out_by_both(
    pair, simulated, tmp_path, rng, write_stack, command
):
    # More than a sample, so that nobody has looked at the bad one before.
    images = rng.normal(size=(1200, 16, 16))
    images[1196] = np.nan
    assert 1196 not in np.linspace(0, 1199, 1000).round()
    poses, out = tmp_path / "poses.pkl", tmp_path / "out"
    save_pickles(poses, [np.tile(np.eye(3, dtype=np.float32), (1200, 1, 1))])
    line = (command, write_stack(images), "--poses", poses, "-o", out / "x.mrc")
    if command == "train_vae":
        line = (*line, "--zdim", 2, "-n", 1, "-b", 64, *SMALL_VAE)
    said = pair(line)
    assert said.count("an image beyond the sample cannot be used") == 1
    table = next(out.rglob("screened.csv"))
    assert table.read_text().splitlines() == ["row,reason", "1196,not finite"]
    assert len(load_indices(table.with_name("screened_ind.pkl"))) == 1199


def test_two_processes_backproject_the_map_of_one(pair, run, simulated, tmp_path):
    run("backproject_voxel", simulated, "-o", tmp_path / "one.mrc")
    pair(("backproject_voxel", simulated, "-o", tmp_path / "two.mrc"))
    one, two = (read_volume(tmp_path / f"{name}.mrc")[0] for name in ("one", "two"))
    np.testing.assert_allclose(two, one, atol=1e-4 * np.abs(one).max())


@pytest.mark.skipif(sys.platform != "linux", reason="threads are read from /proc")
def test_no_thread_outlives_the_team(pair, simulated, tmp_path):
    # Such a thread aborts the program now and then, as the interpreter ends beneath it.
    said = pair(line("train_vae", simulated, tmp_path), say_at_the_end)
    assert said.count("0 threads of the team are left") == 2


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [((), 1e-4), pytest.param(("--refine-poses", 1), 1e-3, marks=pytest.mark.slow)],
)
def test_two_processes_fit_the_linear_model_of_one(
    pair, run, simulated, tmp_path, options, tolerance
):
    one, two = RunDirectory(tmp_path / "one"), RunDirectory(tmp_path / "two")
    fitting = ("train_linear", simulated, "--components", 2, "--radius", 6)
    fitting = (*fitting, *options, "-o")
    run(*fitting, one.path)
    pair((*fitting, two.path))
    assert "fitted by 2 processes" in two.log.read_text()
    assert {path.name for path in two.path.iterdir()} == {p.name for p in one.path.iterdir()}
    first, second = (load_latents(directory.latents()) for directory in (one, two))
    np.testing.assert_allclose(second, first, atol=tolerance * np.abs(first).max())
    if options:
        for first, second in zip(*(load_poses(d.poses()) for d in (one, two)), strict=True):
            np.testing.assert_allclose(second, first, atol=tolerance)


@pytest.mark.parametrize("method", ["basis", pytest.param("kernel", marks=pytest.mark.slow)])
def test_two_processes_reconstruct_the_states_of_one(pair, run, tmp_path, rng, method):
    star, latents = tmp_path / "particles.star", tmp_path / "z.npy"
    run("simulate", "-D", 16, "--Apix", 12, "-n", 300, "--num-states", 2, "-o", tmp_path)
    np.save(latents, rng.normal(size=(300, 2)).astype(np.float32))
    words = ("reconstruct_states", "--particles", star, "--latents", latents, "-z", 0.5, 0.2)
    words = (*words, "--functions", 5, "--method", method, "-o")
    run(*words, tmp_path / "one")
    pair((*words, tmp_path / "two"))
    files = [StateFiles(tmp_path / name) for name in ("one", "two")]
    maps = [(f.volume(0), f.half_map_a(0), f.standard_error(0)) for f in files]
    for path, other in zip(*maps, strict=True):
        expected, found = read_volume(path)[0], read_volume(other)[0]
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_two_processes_decode_the_volumes_of_one(pair, run, simulated, tmp_path):
    run(*line("train_vae", simulated, tmp_path / "run"))
    words = ("analyze", tmp_path / "run", -1, "--pc", 1, "--n-per-pc", 3, "--ksample", 2)
    for command, out in (
        (words, ("-o", tmp_path / "one")),
        (("eval_vol", tmp_path / "run/weights.pkl", "-z", 0, 1), ("-o", tmp_path / "vol.mrc")),
    ):
        run(*command, *out)
        pair((*command, "-o", tmp_path / f"two_{out[1].name}"))
    expected = sorted((tmp_path / "one").rglob("*.mrc"))
    assert len(expected) == 5
    pairs = {
        path: tmp_path / "two_one" / path.relative_to(tmp_path / "one") for path in expected
    }
    pairs[tmp_path / "vol.mrc"] = tmp_path / "two_vol.mrc"
    for alone, shared in pairs.items():
        found, reference = read_volume(shared)[0], read_volume(alone)[0]
        np.testing.assert_allclose(found, reference, atol=0.02 * np.abs(reference).max())
    assert (tmp_path / "two_one/report.html").is_file()


@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_shares_of_a_batch_add_up_to_its_mean(count):
    values = torch.randn(count, generator=torch.Generator().manual_seed(0))
    means = []
    for rank in range(3):
        rows, divisor = Team(rank=rank, size=3).share(torch.arange(count))
        assert len(rows) > 0
        means.append(values[rows].sum() / divisor)
    torch.testing.assert_close(sum(means), values.mean())


def test_a_team_of_one_sends_nothing():
    tensor = torch.arange(3.0)
    ALONE.add([tensor])
    ALONE.wait()
    assert ALONE.gather(tensor) is tensor
    assert ALONE.agree("x") == "x"
    assert ALONE.is_writer
