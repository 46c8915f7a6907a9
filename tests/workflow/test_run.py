"""The order of the steps of a run, with commands that only leave their files behind."""

import json
from pathlib import Path

import pytest

from cryodrgn.diagnosis.verdict import WRONG_SIGN
from cryodrgn.errors import ConfigError, CryodrgnError, MetadataError
from cryodrgn.io.particle_files import ParticleFiles
from cryodrgn.workflow.run import RunSettings, choose, run_all


@pytest.fixture
def settings(run, tmp_path):
    run("simulate", "-D", 16, "--Apix", 12, "-n", 12, "--num-states", 1, "-o", tmp_path / "s")
    files = ParticleFiles(particles=tmp_path / "s/particles.star")
    return RunSettings(files=files, output=tmp_path / "out", given={})


class Commands:
    """Stands for the command line: remembers what was typed and leaves results."""

    def __init__(self, changes=(), dies_in=None):
        self.typed = []
        self.changes, self.dies_in = list(changes), dies_in

    def __call__(self, words):
        self.typed.append(words)
        name, output = words[0], Path(words[words.index("-o") + 1]) if "-o" in words else None
        if name == self.dies_in:
            (output / "weights.3.pkl").parent.mkdir(parents=True)
            (output / "weights.3.pkl").touch()
            return 1
        results = {
            "check": lambda: output / "check.json",
            "train_vae": lambda: output / "weights.pkl",
            "analyze": lambda: Path(words[1]) / "analyze/report.html",
        }
        path = results[name]()
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"changes": self.changes, "verdict": "No good.", "map_skewness": 1.0}
        path.write_text(json.dumps(content))
        return 0

    @property
    def names(self):
        return [words[0] for words in self.typed]


def test_steps_are_made_once_and_in_order(settings):
    commands = Commands()
    files = run_all(settings, commands)
    assert commands.names == ["check", "train_vae", "analyze"]
    assert files.report.is_file()
    again = Commands()
    run_all(settings, again)
    assert not again.typed


def test_an_interrupted_training_is_taken_up_again(settings):
    with pytest.raises(CryodrgnError, match="the run stopped because this failed: .*train_vae"):
        run_all(settings, Commands(dies_in="train_vae"))
    commands = Commands()
    run_all(settings, commands)
    assert commands.names == ["train_vae", "analyze"]
    assert commands.typed[0][-2:] == ["--load", "latest"]


def test_white_particles_are_inverted_and_said(settings):
    commands = Commands(changes=[WRONG_SIGN])
    files = run_all(settings, commands)
    assert "--invert-data" in commands.typed[1]
    assert json.loads(files.manifest.read_text())["invert_data"]


def test_particles_that_do_not_fit_their_poses_are_not_trained_on(settings):
    commands = Commands(changes=["rotations are the inverse"])
    with pytest.raises(MetadataError, match=r"No good. See .*check.html"):
        run_all(settings, commands)
    assert commands.names == ["check"]


def test_runs_of_other_settings_are_not_mixed(settings):
    from dataclasses import replace

    run_all(settings, Commands())
    with pytest.raises(ConfigError, match="holds a run with other choices"):
        run_all(replace(settings, latent_dim=2), Commands())


def test_settings_follow_the_data_unless_they_are_given(settings):
    from dataclasses import replace

    values = {c.option: c.value for c in choose(2000, 64, 3.0, settings)}
    assert values["-D"] == 32
    assert values["-n"] == 20
    large = {c.option: c.value for c in choose(200_000, 256, 1.2, settings)}
    assert large["-D"] == 104
    assert large["--pdim"] == 1024
    assert large["-n"] == 5
    given = replace(settings, given={"-D": 48.0})
    chosen = {c.option: c for c in choose(2000, 64, 3.0, given)}
    assert (chosen["-D"].value, chosen["-D"].reason) == (48.0, "given")
    assert all(choice.reason for choice in chosen.values())
