"""The script of ``benchmarks/gpu.sh``, tried on the processor."""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cryodrgn.io.particle_files import ParticleFiles, open_particles

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def gpu():
    sys.path.insert(0, str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("gpu_script", BENCHMARKS / "gpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]
    sys.path.remove(str(BENCHMARKS))


def test_tiled_particles_are_the_same_particles_again(gpu, run, tmp_path):
    run("simulate", "-D", 16, "--Apix", 12, "-n", 5, "--num-states", 1, "-o", tmp_path)
    star, tiled = tmp_path / "particles.star", tmp_path / "tiled.star"
    assert importlib.import_module("gpu_sections").tile(star, tiled, 3) == 15
    once, thrice = (open_particles(ParticleFiles(particles=path)) for path in (star, tiled))
    rows = np.arange(15)
    np.testing.assert_array_equal(thrice.images.read(rows), once.images.read(rows % 5))
    np.testing.assert_array_equal(
        thrice.images.require_poses().rotations, once.images.require_poses().rotations[rows % 5]
    )


def test_every_size_that_is_asked_for_is_measured_first(gpu):
    order = gpu.Sizes().in_order()
    assert len(order) == len(set(order)) == 18
    assert set(order[: len(gpu.WANTED)]) == set(gpu.WANTED)
    assert sum(gpu.SECTIONS.values()) > 470 > gpu.SECTIONS["table"] + gpu.SECTIONS["suite"]


def test_the_table_says_why_a_figure_is_missing(gpu):
    rows = [
        {"size": (128, 256, 8), "variant": "off", "images/s": 5432.1, "share": 0.12},
        {"size": (128, 256, 8), "variant": "on", "reason": "no compiler"},
        {"size": (128, 256, 8), "variant": "graphs", "reason": "no compiler"},
        {"size": (128, 256, 8), "variant": "triton", "reason": "no time was left"},
    ]
    text = "\n".join(gpu.report({"table": {"rows": rows}, "whole": {"all, s": 61.5}}))
    assert ("| 128 px, 256×3, batch 8 | 5,000 | 5,432 (12%) | – [1] | – [1] | – [2] |") in text
    assert "1. no compiler\n2. no time was left" in text
    assert "## whole\n\n- all, s: 61.50" in text


def test_a_section_that_fails_says_why_and_costs_no_other(gpu, tmp_path):
    args = argparse.Namespace(figures=tmp_path, device="nowhere", small=True)
    found = gpu.run_section("linear", args, 60.0)
    assert found["reason"].startswith("ended with status 1: ")


def test_without_a_card_the_script_says_so_in_a_sentence(gpu, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    args = argparse.Namespace(
        figures=tmp_path, device="cuda", small=True, budget=10.0, sections=["table"]
    )
    assert gpu.measure(args) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "benchmarks/gpu.sh: device 'cuda' cannot be used" in said


@pytest.mark.gpu  # a quarter of an hour on a processor
def test_the_whole_script_runs_on_a_processor(tmp_path):
    settings = {
        "DEVICE": "cpu",
        "SMALL": "1",
        "FIGURES": str(tmp_path),
        "PYTHON": sys.executable,
    }
    done = subprocess.run(
        ["sh", str(BENCHMARKS / "gpu.sh")],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads((tmp_path / "gpu.json").read_text())
    names = "data whole linear search profile decoding sums table suite"
    assert list(figures) == names.split()
    assert len(figures["decoding"]) == 5
    assert figures["whole"]["first 1,000 images of a second start, s"] > 0
    assert figures["data"]["images"] == 120
    assert len(figures["whole"]["epochs, s"]) == 3
    rows = figures["table"]["rows"]
    assert len(rows) == 4
    assert all(row["images/s"] > 0 for row in rows if row["variant"] == "off")
    assert all(("images/s" in row) != ("reason" in row) for row in rows)
    assert "1 passed" in figures["suite"]["result"]
    assert (tmp_path / "gpu.md").read_text().startswith("# On a card\n\nToy sizes")
