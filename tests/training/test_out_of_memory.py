"""A device that runs out of memory computes the same batch in smaller parts."""

import pytest
import torch

from cryodrgn.cli.main import main
from finished_run import SMALL_VAE, Finished
from small_device import hold_whole_batches, limit


@pytest.fixture(scope="module")
def star(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    words = "simulate -D 16 --Apix 12 -n 24 --num-states 2 --snr 1 -o"
    assert main([*words.split(), str(folder)]) == 0
    return folder / "particles.star"


@pytest.fixture
def small_device(monkeypatch):
    """A device that holds the activations of so many images, and keeps count of what it saw."""
    hold_whole_batches(monkeypatch.setattr)
    return lambda images: limit("decoder", images, monkeypatch.setattr)


def line(star, out):
    return ("train_vae", star, "--zdim", 2, "-n", 2, "-b", 12, *SMALL_VAE, "-o", out)


def test_the_batch_stays_the_same_when_its_parts_are_halved(
    run, star, small_device, tmp_path, capsys
):
    run(*line(star, tmp_path / "large"))
    seen = small_device(3)
    status = main([str(word) for word in line(star, tmp_path / "small")])
    assert status == 0
    assert "12 are now computed 3 images at a time" in capsys.readouterr().err
    # Three failures, then four parts of every batch; the size is kept.
    assert seen[:3] == [12, 6, 3] or seen[:2] == [12, 6]
    assert set(seen[3:]) == {3}
    large, small = Finished(tmp_path / "large"), Finished(tmp_path / "small")
    assert [row["images"] for row in small.metrics] == [row["images"] for row in large.metrics]
    for name, value in large.weights().items():
        torch.testing.assert_close(small.weights()[name], value, rtol=1e-4, atol=1e-5)


def test_a_device_without_room_for_one_image_is_said(
    fail, star, small_device, tmp_path, capsys
):
    small_device(0)
    status = main([str(word) for word in line(star, tmp_path / "out")])
    captured = capsys.readouterr()
    assert status == 2
    assert "has too little memory for this run; take smaller networks" in captured.err
    assert "Traceback" not in captured.err
