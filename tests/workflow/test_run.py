"""The order of the steps of a run, with commands that only leave their files behind."""

import json
from pathlib import Path

import pytest

from cryodrgn.diagnosis.convention_verdict import WRONG_SIGN
from cryodrgn.errors import ConfigError, CryodrgnError, MetadataError
from cryodrgn.jobs import run as module
from cryodrgn.jobs.command_words import words_of
from cryodrgn.jobs.run import RunAll
from cryodrgn.rundir import WholeRunFiles
from cryodrgn.training.convergence import HalfImageExchangeTest
from cryodrgn.training.epoch_records import EpochRecord, write_records
from cryodrgn.training.events import StepBegun, StepFinished, listening
from cryodrgn.training.run_log import read_events
from cryodrgn.workflow import run_page
from cryodrgn.workflow.auto_settings import BOUNDS, choose

STEPS = ["check", "train_linear", "train_vae", "analyze", "nuisance"]


@pytest.fixture
def settings(run, tmp_path, monkeypatch):
    run("simulate", "-D", 16, "--Apix", 12, "-n", 12, "--num-states", 1, "-o", tmp_path / "s")
    monkeypatch.setattr(run_page, "write_run_page", lambda *_: "All is well.")
    monkeypatch.setattr(module, "FEWEST_LINEAR", 10)
    return {"particles": tmp_path / "s/particles.star", "outdir": tmp_path / "out"}


@pytest.fixture
def run_all(monkeypatch):
    """Runs all steps, of which each but leaves its result behind."""

    def run(settings, commands):
        jobs = (module.Check, module.Backproject, module.TrainLinear, module.TrainVae)
        for job in (*jobs, module.Analyze, module.Nuisance):
            monkeypatch.setattr(job, "run", commands)
        return RunAll.with_given(settings).run()

    return run


class Commands:
    """Stands for the work of all steps: remembers how they are typed and leaves results."""

    def __init__(self, changes=(), dies_in=None, signals=0, corrects=False):
        self.typed = []
        self.changes, self.dies_in, self.signals = list(changes), dies_in, signals
        self.corrects = corrects

    def __get__(self, job, _=None):
        return lambda: self.work(words_of(job))

    def work(self, words):
        self.typed.append(words)
        name, output = words[0], Path(words[words.index("-o") + 1]) if "-o" in words else None
        if name == self.dies_in:
            msg = "it failed"
            raise CryodrgnError(msg)
        results = {
            "check": lambda: output / "check.json",
            "backproject_voxel": lambda: output / "backproject.mrc",
            "train_linear": lambda: output / "weights.pkl",
            "train_vae": lambda: output / "weights.pkl",
            "analyze": lambda: Path(words[1]) / "analyze/report.html",
            "nuisance": lambda: output / "nuisance.json",
        }
        path = results[name]()
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == "train_linear":
            found = {"components_with_signal": self.signals, "junk": "no junk"}
            found |= {"num_junk": 0, "junk_by_chance": 0.0}
            found |= {"poses": "said of poses", "poses_corrected": self.corrects}
            record = {"model_args": {}, "training": found}
            (output / "config.yaml").write_text(json.dumps(record))
        content = {"changes": self.changes, "verdict": "No good.", "map_skewness": 1.0}
        path.write_text(json.dumps(content))

    @property
    def names(self):
        return [words[0] for words in self.typed]


def test_steps_are_made_once_and_in_order(settings, run_all):
    commands = Commands()
    files = run_all(settings, commands)
    assert commands.names == STEPS
    assert all("--seed" in words for words in commands.typed)
    again = Commands()
    run_all(settings, again)
    assert not again.typed
    steps = json.loads(files.manifest.read_text())["steps"]
    assert [step["command"].split()[1] for step in steps.values()] == STEPS


@pytest.mark.parametrize("step", STEPS)
def test_a_run_that_ended_in_any_step_goes_on_with_it(settings, run_all, step):
    with pytest.raises(CryodrgnError, match=f"because this failed: cryodrgn {step} .*go on"):
        run_all(settings, Commands(dies_in=step))
    commands = Commands()
    run_all(settings, commands)
    assert commands.names == STEPS[STEPS.index(step) :]


def test_the_consensus_and_the_linear_model_have_the_symmetry(settings, run_all):
    commands = Commands()
    files = run_all(settings | {"symmetry": "d7"}, commands)
    check, consensus, linear, network, *_ = commands.typed
    assert commands.names == ["check", "backproject_voxel", *STEPS[1:]]
    assert consensus[consensus.index("-o") + 1] == str(files.consensus.path)
    assert int(consensus[consensus.index("--first") + 1]) == 12
    for words in (consensus, linear):
        assert words[words.index("--symmetry") + 1] == "D7"
    assert "--symmetry" not in check + network
    with pytest.raises(ConfigError, match="holds a run with symmetry D7, not None"):
        run_all(settings, Commands())


def test_training_takes_up_what_an_earlier_call_left(settings, run_all):
    commands = Commands()
    run_all(settings, commands)
    line = commands.typed[STEPS.index("train_vae")]
    assert line[line.index("--load") + 1] == "latest"


def test_the_network_is_trained_on_the_linear_model_where_its_latent_has_room(
    settings, run_all
):
    for signals, option in ((0, "--from"), (2, "--from"), (3, "--init-z")):
        commands = Commands(signals=signals)
        here = {"outdir": settings["outdir"] / str(signals), "zdim": 2}
        files = run_all(settings | here, commands)
        line = commands.typed[2]
        assert line[line.index(option) + 1] == str(files.linear.path)
        assert ("--from" in line) != ("--init-z" in line)
        # The recipe sets batches and rate, where they are not given.
        assert ("--recipe" in line) == ("--from" in line) == ("-b" not in line)
        assert ("--lr" in line) == ("--init-z" in line)
    here = {"outdir": settings["outdir"] / "given", "zdim": 2, "batch_size": 8}
    commands = Commands(signals=2)
    run_all(settings | here, commands)
    line = commands.typed[2]
    assert line[line.index("-b") + 1] == "8"
    assert line[line.index("--recipe") + 1] == "fast"
    assert "--lr" not in line


def test_the_network_goes_on_with_poses_that_the_linear_model_corrected(settings, run_all):
    for corrects in (False, True):
        commands = Commands(corrects=corrects)
        here = {"outdir": settings["outdir"] / str(corrects)}
        files = run_all(settings | here, commands)
        _, linear, network, *_ = commands.typed
        assert linear[linear.index("--refine-poses") + 1] == "1"
        poses = network[network.index("--poses") + 1] if "--poses" in network else None
        assert poses == (str(files.linear.poses()) if corrects else None)
        assert "check judges conventions and sees no errors" in files.log.read_text()
        # Nuisances are looked for in what the network saw.
        last = commands.typed[-1]
        assert (last[last.index("--poses") + 1] if "--poses" in last else None) == poses


def test_white_particles_are_inverted_and_said(settings, run_all):
    commands = Commands(changes=[WRONG_SIGN])
    files = run_all(settings, commands)
    assert "--invert-data" not in commands.typed[0]
    assert "--invert-data" in commands.typed[1]
    assert "--invert-data" in commands.typed[2]
    choices = json.loads(files.manifest.read_text())["choices"]
    assert "density comes out negative" in choices["--invert-data"]["reason"]


def test_particles_that_do_not_fit_their_poses_are_not_trained_on(settings, run_all):
    commands = Commands(changes=["rotations are the inverse"])
    with pytest.raises(MetadataError, match=r"No good. See .*check.html"):
        run_all(settings, commands)
    assert commands.names == ["check"]


def test_a_folder_of_a_training_run_is_refused(settings, run_all):
    settings["outdir"].mkdir()
    (settings["outdir"] / "config.yaml").touch()
    with pytest.raises(ConfigError, match="holds a training run, not one of cryodrgn run"):
        run_all(settings, Commands())
    assert [path.name for path in settings["outdir"].iterdir()] == ["config.yaml"]


def test_runs_of_other_settings_or_particles_are_not_mixed(settings, run_all):
    run_all(settings, Commands())
    with pytest.raises(ConfigError, match="holds a run with latent_dim 8, not 2"):
        run_all(settings | {"zdim": 2}, Commands())
    star = settings["particles"]
    star.write_text(star.read_text().replace("opticsGroup1", "opticsGroup2"))
    with pytest.raises(ConfigError, match="particles.star has changed since"):
        run_all(settings, Commands())


def test_one_manifest_holds_versions_seed_and_hashes_of_all_inputs(settings, run_all):
    files = run_all(settings, Commands())
    manifest = json.loads(files.manifest.read_text())
    assert {"cryodrgn", "torch", "numpy", "python"} <= manifest["versions"].keys()
    assert manifest["request"]["seed"] == 0
    assert manifest["inputs"].keys() == {str(settings["particles"]), "image stacks"}
    for found in manifest["inputs"].values():
        assert len(found["sha256"]) == 64
    assert all(choice["reason"] for choice in manifest["choices"].values())


class Recorder:
    """Keeps the events that it is told."""

    def __init__(self):
        self.told = []

    def tell(self, event):
        self.told.append(event)


def test_a_whole_run_tells_of_its_steps(settings, run_all):
    recorder = Recorder()
    with listening(recorder), pytest.raises(CryodrgnError, match="it failed"):
        run_all(settings, Commands(dies_in="train_linear"))
    with listening(recorder):
        files = run_all(settings, Commands())
    begun = [event for event in recorder.told if isinstance(event, StepBegun)]
    ended = [event for event in recorder.told if isinstance(event, StepFinished)]
    names = ["check", "linear", "linear", "training", "analysis", "nuisance"]
    assert [event.step for event in begun] == [event.step for event in ended] == names
    assert [event.error is None for event in ended] == [True, False, True, True, True, True]
    assert "it failed" in ended[1].error
    assert all(event.seconds > 0 for event in begun)
    assert begun[-1].seconds_after == 0
    last = recorder.told[-1]
    assert (last.verdict, last.report) == ("All is well.", files.report)
    # The file is of the last call.
    read = [event["event"] for event in read_events(files.events)]
    assert read == ["StepBegun", "StepFinished"] * 4 + ["ReportWritten"]


def values(*args, **more):
    return {choice.setting: choice.value for choice in choose(*args, **more)}


def test_settings_follow_the_data_unless_they_are_given():
    few = values(2000, 64, 3.0)
    assert (few["box_size"], few["held_out"]) == (32, 0.1)
    large = values(200_000, 256, 1.2)
    assert (large["box_size"], large["decoder_dim"], large["held_out"]) == (104, 1024, 0.05)
    assert values(5, 64, 3.0)["held_out"] == 0
    # Particles are held out, of which expanded sets list each several times.
    expanded = values(14_000, 64, 3.0, num_different=2000)
    assert expanded["held_out"] == few["held_out"] > values(14_000, 64, 3.0)["held_out"]
    chosen = {
        choice.setting: choice for choice in choose(2000, 64, 3.0, given={"box_size": 48.0})
    }
    assert (chosen["box_size"].value, chosen["box_size"].reason) == (48.0, "given")
    assert all(choice.reason for choice in chosen.values())


def test_the_window_leaves_the_molecule_whole():
    assert values(2000, 64, 3.0, molecule_radius=0.6)["window_radius"] == 0.85
    assert values(2000, 64, 3.0, molecule_radius=0.9)["window_radius"] == 0.9
    assert values(2000, 64, 3.0, molecule_radius=1.0)["window_radius"] == 0.95


def test_quick_is_coarser_and_shorter_and_full_finer_and_longer():
    quick, normal, full = (values(50_000, 300, 1.0, effort=effort) for effort in BOUNDS)
    for option in ("box_size", "num_epochs"):
        assert quick[option] < normal[option] < full[option]
    assert quick["decoder_dim"] < normal["decoder_dim"]


@pytest.mark.parametrize("converged", [False, True])
def test_a_latent_is_not_said_to_be_noise_before_training_has_converged(tmp_path, converged):
    files = WholeRunFiles(tmp_path)
    for path in (files.check.json, files.nuisance.json):
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"verdict": "It is structure."}))
    files.training.path.mkdir()
    found = HalfImageExchangeTest(gain=0.1, error=0.2, score=0.5, num_images=60)
    record = EpochRecord(
        epoch=2,
        error=0.5,
        explained=0.5,
        map_change=0.1,
        exchange=found,
        shells=(0.5,),
        converged=converged,
    )
    write_records(files.training.convergence, [record])
    verdicts = run_page.verdicts_of(files)
    assert verdicts["Training"].startswith("no heterogeneity above noise found")
    assert ("is no structure" in verdicts["Latent"]) == converged
    assert ("more epochs" in verdicts["Latent"]) == (not converged)
