"""The steps of the README fit together: what one command writes is where the next looks."""

import pytest

from pages import Line, lines_of


def steps() -> list[Line]:
    """From a refinement's metadata file to particles exported to it."""
    lines = [line for line in lines_of("README.md") if line.command != "run"]
    return [line for line in lines if {"run_data.star", "00_z8"} & set(line.words)]


def test_the_steps_of_the_readme_run_one_after_another(simulated, tmp_path, monkeypatch):
    for name in ("particles.star", "particles.mrcs"):
        (tmp_path / name).symlink_to(simulated / name)
    (tmp_path / "particles.star").rename(tmp_path / "run_data.star")
    monkeypatch.chdir(tmp_path)
    typed = steps()
    names = [line.command for line in typed]
    assert names == [
        *("check", "backproject_voxel", "train_linear", "train_vae", "analyze"),
        *("select", "export"),
    ]
    for line in typed:
        line.run()
    for written in ("00_z8/analyze/report.html", "kept.star"):
        assert (tmp_path / written).is_file()


@pytest.mark.slow
def test_the_steps_of_the_documentation_run_on_downsampled_images(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("simulate", "-D", 132, "--Apix", 2, "-n", 4, "--num-states", 1, "-o", tmp_path)
    lines = [line for line in lines_of("README.md") if line.command != "run"]
    for line in [line for line in lines if line not in steps()]:
        line.run()
    assert (tmp_path / "mean.mrc").is_file()
    assert (tmp_path / "backproject.128.mrc").is_file()
