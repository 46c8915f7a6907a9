import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from cryodrgn.errors import CryodrgnError
from cryodrgn.fourier.resample import downsample_volume
from cryodrgn.io.mrc import read_volume
from cryodrgn.jobs.demo import (
    Backproject,
    Downsample,
    ParseCtfStar,
    ParsePoseStar,
    Simulate,
    TrainVae,
    demo,
)
from cryodrgn.rundir import DemoFiles


def small(path):
    """A true volume at the box size of the demo."""
    return downsample_volume(torch.from_numpy(read_volume(path)[0]), 32).numpy().ravel()


@pytest.mark.slow
def test_the_demo_finds_the_motion_and_shows_it_in_one_self_contained_page(run, tmp_path):
    output = run("demo", "-o", tmp_path / "demo")
    *_, sentence, _, how_to_look = output.splitlines()
    assert how_to_look.endswith(f"cryodrgn dashboard {tmp_path}/demo/00_vae32_z1")
    numbers = [float(number) for number in re.findall(r"\d\.\d{3}", sentence)]
    correlation, area, rigid, ceiling = numbers
    assert correlation >= 0.9
    assert rigid + 0.02 < area < ceiling
    # The very commands a user would type.
    typed = re.findall(r"^\$ cryodrgn (\w+)", output, flags=re.MULTILINE)
    assert typed == [
        "simulate",
        "downsample",
        "parse_pose_star",
        "parse_ctf_star",
        "backproject_voxel",
        "train_vae",
        "analyze",
        "eval_vol",
    ]
    # Along the latent the volumes go through the true motion in its order.
    truths = [small(path) for path in sorted((tmp_path / "demo/simulated/gt").iterdir())]
    line = sorted((tmp_path / "demo/00_vae32_z1/analyze").glob("vol_*.mrc"))
    found = [read_volume(path)[0].ravel() for path in line]
    best = [
        np.argmax([np.corrcoef(volume, truth)[0, 1] for truth in truths]) for volume in found
    ]
    assert len(best) == 10
    assert abs(spearmanr(best, range(10))[0]) >= 0.9

    page = (tmp_path / "demo/report.html").read_text()
    # Three figures against the truth, then what analyze shows: two plots of the latent, two of
    # the training, a film, ten volumes and nine differences.
    assert page.count('src="data:image/png;base64,') == 3 + 2 + 2 + 10 + 9
    assert page.count('src="data:image/gif;base64,') == 1
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert sentence in page


def test_a_command_that_fails_stops_the_demo(tmp_path, monkeypatch):
    def fail(_):
        raise CryodrgnError("no room")

    monkeypatch.setattr(Simulate, "run", fail)
    with pytest.raises(CryodrgnError, match="stopped because this failed: cryodrgn simulate"):
        demo(tmp_path)


def test_make_demo_ends_with_the_way_to_open_its_run():
    """The program is in the environment that make has built, which no shell knows yet."""
    text = (Path(__file__).parents[2] / "Makefile").read_text()
    (told,) = re.findall(r"@echo 'In the browser: (.*)'", text)
    assert told == f"$(BIN)/cryodrgn dashboard {DemoFiles(Path('demo')).run.path}"
    assert "$(INSTALL) --editable '.[analysis,dashboard]'" in text


def test_a_demo_begins_again_unless_it_has_trained(tmp_path, monkeypatch):
    given = []

    def stop(job):
        given.append(job.overwrite)
        raise CryodrgnError("stopped")

    monkeypatch.setattr(Simulate, "run", stop)
    files = DemoFiles(tmp_path)
    for path in (None, files.simulation.star, files.run.config_yaml):
        if path is not None:
            path.parent.mkdir()
            path.touch()
        with pytest.raises(CryodrgnError) as caught:
            demo(tmp_path)
    assert given == [False, True]
    assert "holds a demo already; remove it" in str(caught.value)


def test_a_demo_ends_when_its_training_is_stopped(tmp_path, monkeypatch):
    for kind in (Simulate, Downsample, ParsePoseStar, ParseCtfStar, Backproject, TrainVae):
        monkeypatch.setattr(kind, "run", lambda _: None)
    with pytest.raises(CryodrgnError, match="ended because this was stopped: .* train_vae"):
        demo(tmp_path)


@pytest.mark.parametrize(
    ("outdir", "there", "said"),
    [
        ("run", "run/config.yaml", "is in the folder of a run"),
        ("run/demo", "run/config.pkl", "is in the folder of a run"),
        ("mine", "mine/notes.txt", "holds other files (notes.txt)"),
    ],
)
def test_a_demo_has_a_folder_of_its_own(fail, tmp_path, outdir, there, said):
    path = tmp_path / there
    path.parent.mkdir(exist_ok=True)
    path.touch()
    before = set(tmp_path.rglob("*"))
    assert said in fail("demo", "-o", tmp_path / outdir)
    assert set(tmp_path.rglob("*")) == before


def test_a_demo_that_cannot_write_ends_before_its_first_step(fail, tmp_path, monkeypatch):
    monkeypatch.setattr(Simulate, "run", lambda _: pytest.fail("a step was begun"))
    (tmp_path / "file").touch()
    assert "cannot be written" in fail("demo", "-o", tmp_path / "file/demo")
