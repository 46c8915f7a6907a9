"""The steps of the README fit together: what one command writes is where the next looks."""

import re
import shlex
from pathlib import Path

from cryodrgn.cli.main import main

README = Path(__file__).parents[2] / "README.md"
SMALLER = {
    "train_linear": "--components 2",
    "train_vae": "-n 1 --qdim 16 --pdim 16",
    "analyze": "--skip-umap",
}


def steps() -> list[str]:
    """From a refinement's metadata file to particles exported to it."""
    text = README.read_text(encoding="utf-8")
    lines = re.findall(r"^    cryodrgn (.*)$", text, flags=re.MULTILINE)
    lines = [line for line in lines if "run_data.star" in line or "00_z8" in line]
    return [line for line in lines if not line.startswith("run ")]


def test_the_steps_of_the_readme_run_one_after_another(simulated, tmp_path, monkeypatch):
    for name in ("particles.star", "particles.mrcs"):
        (tmp_path / name).symlink_to(simulated / name)
    (tmp_path / "particles.star").rename(tmp_path / "run_data.star")
    monkeypatch.chdir(tmp_path)
    typed = steps()
    names = [line.split()[0] for line in typed]
    assert names == [
        *("check", "backproject_voxel", "train_linear", "train_vae", "analyze"),
        *("select", "export"),
    ]
    for name, line in zip(names, typed, strict=True):
        words = shlex.split(line, comments=True) + SMALLER.get(name, "").split()
        assert main(words) == 0, line
    for written in ("00_z8/analyze/report.html", "kept.star"):
        assert (tmp_path / written).is_file()
