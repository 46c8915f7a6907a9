"""A run that is interrupted anywhere goes on as if nothing had happened."""

import os
import random
import signal
import time

import pytest
import yaml

from children import exit_status, start
from cryodrgn.cli.main import main
from cryodrgn.io.checkpoints import load_checkpoint
from cryodrgn.io.cryodrgn_pickle import load_pickles
from finished_run import SMALL_NN, SMALL_VAE, Finished

# Enough steps that a run does not end before its last kill.
EPOCHS = 8
# A checkpoint after every step.
ALWAYS = ("--checkpoint-minutes", 1e-9)
KINDS = {
    "train_vae": (*SMALL_VAE, "--zdim", 2, "--held-out", 0.2),
    "train_nn": (
        *(*SMALL_NN, "--do-pose-sgd", "--pretrain", 1),
        *("--noise-model", "radial", "--contrast"),
    ),
    "train_dec": (*SMALL_NN, "--zdim", 2, "--do-pose-sgd", "--pretrain-pose", 1),
    "abinit_homo": (
        *(*SMALL_NN, "--l-start", 4, "--l-end", 7, "--niter", 1, "--base-healpy", 1),
        *("--no-trans", "--ps-freq", 4, "--refine-epochs", 4, "--pretrain", 100),
    ),
}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    arguments = "simulate -D 16 --Apix 12 -n 60 --num-states 2 --snr 1 -o"
    assert main([*arguments.split(), str(folder)]) == 0
    return folder


@pytest.fixture
def line(simulated):
    def words(command, out, *options):
        star = simulated / "particles.star"
        # Which number type is faster, every process would measure for itself.
        fixed = ("-n", EPOCHS, "-b", 4, "--precision", "float32")
        return (command, star, *fixed, *KINDS[command], *options, "-o", out)

    return words


def assert_every_file_is_whole(folder):
    for path in folder.glob("*.pkl"):
        if path.name.startswith(("weights", "checkpoint")):
            load_checkpoint(path)
        else:
            load_pickles(path)
    if (folder / "config.yaml").exists():
        assert yaml.safe_load((folder / "config.yaml").read_text())["model_args"]


def content(folder) -> dict[str, bytes]:
    """All files but those that hold times."""
    timed = {"run.log", "metrics.csv", "events.jsonl", "config.yaml", "config.pkl"}
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name not in timed}


@pytest.mark.parametrize(
    ("command", "kills", "epochs"),
    [
        pytest.param("train_vae", 20, 20, marks=pytest.mark.slow),
        ("train_vae", 4, EPOCHS),
        ("train_nn", 4, EPOCHS),
        pytest.param("train_dec", 5, 20, marks=pytest.mark.slow),
        ("abinit_homo", 3, EPOCHS),
    ],
)
def test_a_run_killed_at_random_times_ends_with_the_same_files(
    command, kills, epochs, line, tmp_path
):
    whole, killed, length = tmp_path / "whole", tmp_path / "killed", ("-n", epochs)
    assert exit_status(start(line(command, whole, *length))) == 0
    times, done = random.Random(command), 0
    for kill in range(kills):
        process = start(line(command, killed, *length, *ALWAYS, "--load", "latest"))
        is_alive = wait_for_progress(process, killed) if kill % 2 else True
        if not (is_alive and still_runs(process, times.uniform(0, 0.1))):
            break
        process.kill()
        status = exit_status(process)
        if status == 0:
            break
        assert status == -signal.SIGKILL
        done += 1
        if killed.exists():
            assert_every_file_is_whole(killed)
    # On a very fast machine the run may come to its end before the last kill.
    assert done >= kills // 2
    if not (killed / "weights.pkl").exists():
        assert exit_status(start((command, "-o", killed, "--load", "latest"))) == 0
    assert f"{killed}/checkpoint.pkl" in Finished(killed).log
    assert Finished(whole).has_the_weights_of(Finished(killed))
    expected, found = content(whole), content(killed)
    for name in expected:
        if not name.startswith("weights"):
            assert found[name] == expected[name], name
    images = [row["images"] for row in Finished(killed).metrics]
    assert images == [row["images"] for row in Finished(whole).metrics]
    assert images == [event["images"] for event in Finished(killed).events("StepsTaken")]
    assert_no_epoch_is_told_twice(Finished(whole), Finished(killed), epochs)


def assert_no_epoch_is_told_twice(whole, killed, num_epochs):
    for name in ("EpochFinished", "HeldOutEvaluated", "RunFinished"):
        epochs = [[event["epoch"] for event in run.events(name)] for run in (whole, killed)]
        assert epochs[0] == epochs[1], name
    # A kill may come between weights and what is told of them; the next beginning tells it.
    told = [event["epoch"] for event in killed.events("ResultsWritten")]
    assert len(told) == len(set(told)) + 1
    begun = {epoch for event in killed.events("RunBegun") for epoch in event["saved_epochs"]}
    assert begun | set(told) == set(range(num_epochs))


def has_ended(process) -> bool:
    return process.exitcode is not None


def still_runs(process, seconds) -> bool:
    """Whether a process still runs after some time."""
    time.sleep(seconds)
    return not has_ended(process)


def was_written(path, since) -> bool:
    """Whether a file is there that was written lately; the end of an epoch removes it."""
    try:
        return path.stat().st_mtime > since
    except FileNotFoundError:
        return False


def wait_for_progress(process, folder) -> bool:
    """Until a checkpoint is written; False if the process ends before."""
    path, now = folder / "checkpoint.pkl", time.time()
    while not was_written(path, now):
        if has_ended(process):
            return False
        time.sleep(0.005)
    return True


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signals_write_a_checkpoint_and_end_cleanly(line, tmp_path, number, status):
    out = tmp_path / "out"
    process = start(line("train_vae", out, "-n", 100000))
    while not (out / "weights.0.pkl").exists():
        assert still_runs(process, 0.01)
    os.kill(process.pid, number)
    assert exit_status(process) == status
    position = load_checkpoint(out / "checkpoint.pkl")["run_state"]["position"]
    assert (position["epoch"], position["batch"]) > (0, 0)
    assert "go on with --load latest" in Finished(out).log
    last = Finished(out).events()[-1]
    assert (last["event"], last["error"]) == ("RunStopped", None)


def test_a_run_stopped_at_the_end_of_an_epoch_goes_on(line, tmp_path, monkeypatch):
    from cryodrgn.training import runner

    class Killed(BaseException):
        pass

    def die(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(runner.TrainingRun, "_save", die)
        with pytest.raises(Killed):
            main([str(w) for w in line("train_vae", tmp_path / "a", "-n", 1, *ALWAYS)])
    words = ("train_vae", "-o", tmp_path / "a", "--load", "latest")
    assert main([str(w) for w in words]) == 0
    assert main([str(w) for w in line("train_vae", tmp_path / "b", "-n", 1)]) == 0
    assert Finished(tmp_path / "a").has_the_weights_of(Finished(tmp_path / "b"))


def test_a_finished_run_can_be_made_longer(run, line, tmp_path):
    run(*line("train_vae", tmp_path / "long", "-n", 4))
    run(*line("train_vae", tmp_path / "short", "-n", 2))
    run("train_vae", "-o", tmp_path / "short", "--load", "latest", "-n", 4)
    assert Finished(tmp_path / "short").has_the_weights_of(Finished(tmp_path / "long"))


def test_a_run_goes_on_by_its_folder_and_its_particles_alone(
    run, fail, line, simulated, tmp_path
):
    run(*line("train_vae", tmp_path / "long", "-n", 3))
    run(*line("train_vae", tmp_path / "short", "-n", 2))
    resumed = ("-o", tmp_path / "short", "--load", "latest")
    run("train_vae", simulated / "particles.star", *resumed, "-n", 3)
    assert Finished(tmp_path / "short").has_the_weights_of(Finished(tmp_path / "long"))
    message = fail("train_vae", simulated / "particles.star", *resumed, "--lr", 0.1)
    assert "leave out --lr 0.1 (it is 0.0001 there), or choose another folder" in message
    message = fail("train_vae", tmp_path / "others.star", *resumed)
    assert "others.star" in message


def test_load_with_a_weights_file_of_the_folder_goes_on_as_documented(run, line, tmp_path):
    out = tmp_path / "out"
    run(*line("train_vae", out, "-n", 2))
    run(*line("train_vae", out, "-n", 4, "--load", out / "weights.1.pkl"))
    run(*line("train_vae", tmp_path / "long", "-n", 4))
    assert Finished(out).has_the_weights_of(Finished(tmp_path / "long"))


def test_another_run_in_a_used_folder_is_refused_with_both_settings(run, fail, line, tmp_path):
    out = tmp_path / "out"
    run(*line("train_vae", out, "-n", 1))
    before = content(out)
    message = fail(*line("train_vae", out, "-n", 1, "--lr", 0.01))
    assert "holds another run: --lr 0.0001 there, 0.01 here; go on with that" in message
    assert "--overwrite" in message
    assert "holds this run already" in fail(*line("train_vae", out, "-n", 1))
    assert content(out) == before
    run(*line("train_vae", out, "-n", 1, "--lr", 0.01, "--overwrite"))
    assert Finished(out).metrics[-1]["learning_rate"] == 0.01
    assert [event["images"] for event in Finished(out).events("RunBegun")] == [0]


def test_going_on_with_other_settings_is_refused(run, fail, line, tmp_path):
    out = tmp_path / "out"
    run(*line("train_vae", out, "-n", 1))
    message = fail(*line("train_vae", out, "--load", "latest", "--seed", 3))
    assert "--seed 0 there, 3 here; go on with that run by -o and --load latest" in message
    assert message.endswith(f"from its weights with --load {out / 'weights.pkl'}\n")
    message = fail(*line("train_vae", out, "--load", "latest", "--zdim", 3, "--window"))
    assert "--zdim 2 there, 3 here; go on with" in message
    assert "--window-r not given there, 0.85 here; --zdim" in message
    assert message.endswith("choose another folder\n")
    message = fail("train_nn", "-o", out, "--load", "latest", "-n", 2)
    assert f"{out} holds a run of train_vae, not of train_nn; go on with it by" in message
    message = fail("train_vae", "-o", out, "--load", "latest", "--lr", 0.01)
    assert "takes its settings from" in message
    assert "leave out --lr" in message


def test_nothing_left_to_train_is_said(run, fail, line, tmp_path):
    run(*line("train_vae", tmp_path, "-n", 1))
    message = fail("train_vae", "-o", tmp_path, "--load", "latest")
    assert "1 epoch is done, and no more than 1 asked for; ask for more than 1 with" in message
    assert "plan: " not in message


def test_latents_given_for_weights_are_named(run, fail, line, tmp_path):
    run(*line("train_vae", tmp_path / "a", "-n", 1))
    message = fail(*line("train_vae", tmp_path / "b", "--load", tmp_path / "a/z.pkl"))
    assert "z.pkl" in message
    assert not (tmp_path / "b").exists()


def test_weights_of_another_architecture_are_refused(run, fail, line, tmp_path):
    run(*line("train_vae", tmp_path / "a", "-n", 1))
    weights = tmp_path / "a/weights.pkl"
    message = fail(*line("train_vae", tmp_path / "b", "--load", weights, "--pdim", 32))
    assert "weights.pkl does not fit the model of this run" in message
    assert not (tmp_path / "b").exists()
