"""A run tells listeners what happens, in the process and through a file."""

import json
import logging
import re

import numpy as np
import pytest

import cryodrgn
from cryodrgn.cli.main import main
from cryodrgn.errors import ConfigError, OutputFileError
from cryodrgn.io.log import log_to_file
from cryodrgn.page.following import progress_of
from cryodrgn.rundir import RunDirectory
from cryodrgn.training import runner
from cryodrgn.training.events import (
    EpochFinished,
    FitBegun,
    HeldOutEvaluated,
    Listeners,
    ResultsWritten,
    RunBegun,
    RunFinished,
    RunStopped,
    StepsTaken,
)
from cryodrgn.training.run_log import EventsFile, GrowingEvents, read_events
from finished_run import Finished

SMALL = {
    "zdim": 2,
    "num_epochs": 2,
    "encoder_dim": 16,
    "decoder_dim": 16,
    "precision": "float32",
}


class Recorder:
    """Keeps what it is told, and checks that files are there when they are told of."""

    def __init__(self):
        self.told = []

    def tell(self, event):
        self.told.append(event)
        if isinstance(event, ResultsWritten):
            assert event.weights.exists()
            for path in (event.latents, event.volume):
                assert path is None or path.exists()

    def of(self, kind):
        return [event for event in self.told if isinstance(event, kind)]


class Failing:
    def __init__(self):
        self.calls = 0

    def tell(self, event):
        self.calls += 1
        if isinstance(event, EpochFinished):
            msg = "no plot today"
            raise RuntimeError(msg)


@pytest.fixture(scope="module")
def star(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    return cryodrgn.simulate(
        outdir=folder, num_images=60, box_size=16, pixel_size=12, num_states=2, snr=1
    ).star


@pytest.fixture(scope="module")
def heard(star, tmp_path_factory):
    """A run, a listener that was told of it, and one that failed."""
    folder = tmp_path_factory.mktemp("runs") / "heard"
    recorder, failing = Recorder(), Failing()
    words = ("train_vae", star, "-o", folder, "-n", 2, "--zdim", 2, "--qdim", 16, "--pdim", 16)
    words = (*words, "--precision", "float32", "--held-out", 0.2)
    with cryodrgn.listening(failing, recorder):
        assert main([str(word) for word in words]) == 0
    return Finished(folder), recorder, failing


def names(events):
    return [type(event).__name__ for event in events]


def test_a_run_tells_what_happens_in_its_order(heard):
    _, recorder, _ = heard
    epoch = ["StepsTaken", "EpochFinished", "HeldOutEvaluated", "ResultsWritten"]
    assert names(recorder.told) == ["RunBegun", *epoch, *epoch, "ResultsWritten", "RunFinished"]
    begun = recorder.of(RunBegun)[0]
    assert (begun.images, begun.num_epochs, begun.images_per_epoch) == (0, 2, 48)
    assert [event.images for event in recorder.of(StepsTaken)] == [48, 96]
    written = recorder.of(ResultsWritten)
    assert [(event.epoch, event.is_final) for event in written] == [
        (0, False),
        (1, False),
        (1, True),
    ]
    assert [event.weights.name for event in written] == [
        "weights.0.pkl",
        "weights.1.pkl",
        "weights.pkl",
    ]
    assert [event.latents.name for event in written] == ["z.0.pkl", "z.1.pkl", "z.pkl"]
    assert {event.volume for event in written} == {event.poses for event in written} == {None}
    assert recorder.of(RunFinished)[0].epoch == 1


def test_the_file_of_events_says_what_a_listener_is_told(heard):
    run, recorder, _ = heard
    lines = (run.path / "events.jsonl").read_text().splitlines()
    said = [json.loads(line) for line in lines]
    assert [event["event"] for event in said] == names(recorder.told)
    for event, told in zip(said, recorder.told, strict=True):
        assert event.pop("event")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", event.pop("time"))
        assert event == json.loads(json.dumps(told.values(), default=str))


def test_log_and_tables_hold_the_numbers_that_are_told(heard):
    run, recorder, _ = heard
    rows = [list(event.values().values()) for event in recorder.of(StepsTaken)]
    np.testing.assert_allclose([list(row.values()) for row in run.metrics], rows, rtol=1e-7)
    for epoch in recorder.of(EpochFinished):
        assert f"# =====> Epoch: {epoch.epoch + 1} Average gen loss = " in run.log
        assert f", total loss = {epoch.total:.6f}; Finished in" in run.log
    last = recorder.of(HeldOutEvaluated)[-1]
    assert f"# held out: {last.verdict}\n" in run.log
    assert run.events("HeldOutEvaluated")[-1]["verdict"] == last.verdict
    assert len((run.path / "convergence.csv").read_text().splitlines()) == 1 + 2


def test_a_listener_that_fails_is_named_once_and_changes_nothing(heard, star, tmp_path):
    run, _, failing = heard
    assert run.log.count("Failing") == 1
    assert "Failing failed at EpochFinished and is told no more of this run" in run.log
    assert "RuntimeError: no plot today" in run.log
    assert failing.calls == 3
    cryodrgn.train_vae(star, tmp_path / "alone", **SMALL, held_out=0.2)
    alone = Finished(tmp_path / "alone")
    assert alone.has_the_weights_of(run)
    assert failing.calls == 3


def test_a_full_disk_is_no_failure_of_a_listener():
    class Full:
        def tell(self, _):
            raise OutputFileError

    with pytest.raises(OutputFileError):
        Listeners([Full()]).tell(RunFinished(epoch=0, seconds=1.0))


def test_a_run_that_cannot_go_on_tells_why(star, tmp_path, monkeypatch):
    def fail(*_):
        msg = "the folder is gone"
        raise OutputFileError(msg)

    monkeypatch.setattr(runner, "save_checkpoint", fail)
    recorder = Recorder()
    with pytest.raises(OutputFileError), cryodrgn.listening(recorder):
        cryodrgn.train_vae(star, tmp_path / "run", **SMALL)
    assert recorder.told[-1] == RunStopped(images=60, error="the folder is gone")
    assert Finished(tmp_path / "run").events()[-1]["error"] == "the folder is gone"


def test_a_run_without_encoder_tells_of_its_volume_and_of_no_divergence(star, tmp_path):
    recorder = Recorder()
    with cryodrgn.listening(recorder):
        cryodrgn.train_nn(star, tmp_path / "run", num_epochs=1, decoder_dim=16)
    assert recorder.of(EpochFinished)[0].kl is None
    files = [(event.volume.name, event.latents) for event in recorder.of(ResultsWritten)]
    assert files == [("reconstruct.0.mrc", None), ("reconstruct.mrc", None)]


def test_what_is_no_listener_is_refused():
    listening = cryodrgn.listening(Recorder)
    with pytest.raises(ConfigError, match=r"an object with a method tell\(event\)"), listening:
        pass


def test_events_of_steps_that_will_be_taken_again_are_dropped(tmp_path):
    path = tmp_path / "events.jsonl"
    file = EventsFile(path)
    for epoch in (0, 1):
        file.tell(
            EpochFinished(epoch=epoch, reconstruction=1.0, kl=None, total=1.0, seconds=1.0)
        )
        file.tell(RunStopped(images=60 * (epoch + 1), error=None))
    with path.open("a") as torn:
        torn.write('{"event": "RunFinished", "epo')
    assert len(read_events(path)) == 4
    EventsFile(path, images_seen=90, epochs_done=1)
    kept = [(event["event"], event.get("images")) for event in read_events(path)]
    assert kept == [("EpochFinished", None), ("RunStopped", 60)]
    assert path.read_bytes().endswith(b"}\n")


def test_who_follows_a_file_of_events_knows_what_one_who_reads_it_whole_does(tmp_path):
    path = tmp_path / "events.jsonl"
    growing = GrowingEvents(path)
    assert growing.read() == []
    file = EventsFile(path)
    for epoch in range(3):
        file.tell(
            EpochFinished(epoch=epoch, reconstruction=1.0, kl=None, total=1.0, seconds=1.0)
        )
        assert growing.read() == read_events(path)
        assert len(growing.read()) == epoch + 1
    with path.open("a") as torn:
        torn.write('{"event": "RunFinished", "epo')
    assert len(growing.read()) == 3
    with path.open("a") as ended:
        ended.write('ch": 2}\nno event\n')
    assert [event["event"] for event in growing.read()][3:] == ["RunFinished"]
    # A run that goes on writes a file of its own in place of this one, perhaps as long.
    EventsFile(path, images_seen=0, epochs_done=1)
    assert growing.read() == read_events(path)
    path.unlink()
    assert growing.read() == []


def test_numbers_that_are_not_finite_are_null_in_the_file(tmp_path):
    path = tmp_path / "events.jsonl"
    EventsFile(path).tell(
        EpochFinished(epoch=0, reconstruction=np.inf, kl=np.nan, total=1.0, seconds=1.0)
    )
    (event,) = read_events(path)
    assert (event["reconstruction"], event["kl"], event["total"]) == (None, None, 1.0)


def test_a_log_holds_the_steps_although_no_level_was_set(tmp_path, request):
    package = logging.getLogger("cryodrgn")
    request.addfinalizer(lambda level=package.level: package.setLevel(level))
    package.setLevel(logging.NOTSET)
    with log_to_file(tmp_path / "run.log"):
        logging.getLogger("cryodrgn.training").info("epoch 1")
    assert "epoch 1" in (tmp_path / "run.log").read_text()
    assert package.level == logging.NOTSET


def test_a_linear_run_tells_of_its_passes_and_its_results(star, tmp_path):
    recorder, folder = Recorder(), tmp_path / "linear"
    with cryodrgn.listening(recorder):
        cryodrgn.train_linear(star, folder, num_components=1, radius=5, device="cpu")
    told = names(recorder.told)
    assert told[0] == "FitBegun"
    assert told[-2:] == ["ResultsWritten", "RunFinished"]
    assert told[1:-2] == ["StepsTaken", "EpochFinished"] * (len(told[1:-2]) // 2)
    begun, written = recorder.of(FitBegun)[0], recorder.of(ResultsWritten)[0]
    assert (begun.num_particles, begun.num_components, begun.radius) == (60, 1, 5)
    assert written.weights == folder / "weights.pkl"
    steps = recorder.of(StepsTaken)
    assert len(steps) == len((folder / "metrics.csv").read_text().splitlines()) - 1
    read = read_events(folder / "events.jsonl")
    assert [event["event"] for event in read] == told
    page = progress_of(RunDirectory(folder), read)
    assert page["state"] == "finished"
    assert [loss["total"] for loss in page["losses"]] == [step.total for step in steps]


def test_a_linear_run_that_fails_says_why(star, tmp_path, monkeypatch):
    def fails(*_, **__):
        msg = "the images are gone"
        raise ConfigError(msg)

    monkeypatch.setattr("cryodrgn.linear.runner._fitted", fails)
    recorder = Recorder()
    with cryodrgn.listening(recorder), pytest.raises(ConfigError, match="are gone"):
        cryodrgn.train_linear(star, tmp_path / "x", num_components=1, radius=5, device="cpu")
    assert names(recorder.told) == ["FitBegun", "RunStopped"]
    assert recorder.told[-1].error == "the images are gone"
