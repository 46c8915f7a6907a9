"""Checkpoints that are written beside training."""

import threading

import pytest
import torch

from cryodrgn.cli.main import main
from cryodrgn.errors import OutputFileError
from cryodrgn.io.checkpoints import on_host
from cryodrgn.training import runner
from cryodrgn.training.writing import Writer
from finished_run import SMALL_VAE, Finished
from simulated_card import simulated_card


@pytest.fixture(scope="module")
def star(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    words = "simulate -D 16 --Apix 12 -n 24 --num-states 2 --snr 1 -o"
    assert main([*words.split(), str(folder)]) == 0
    return folder / "particles.star"


def line(star, out):
    words = ("train_vae", star, "--zdim", 2, "-n", 3, "-b", 8, *SMALL_VAE, "--compile", "off")
    return [str(word) for word in (*words, "--no-amp", "--device", "cuda", "-o", out)]


def test_what_is_written_beside_training_is_what_training_was_then(star, tmp_path, monkeypatch):
    """The first checkpoint is held up until all steps have been taken."""
    release, save, threads = threading.Event(), runner.save_checkpoint, []

    def late(path, content):
        threads.append(threading.current_thread().name)
        assert release.wait(60)
        save(path, content)

    finish = Writer.finish

    def finished(self):
        release.set()
        finish(self)

    with simulated_card(monkeypatch):
        assert main(line(star, tmp_path / "plain")) == 0
        monkeypatch.setattr(runner, "save_checkpoint", late)
        monkeypatch.setattr(Writer, "finish", finished)
        assert main(line(star, tmp_path / "late")) == 0
    assert all(name.startswith("write") for name in threads)
    plain, late_run = Finished(tmp_path / "plain"), Finished(tmp_path / "late")
    assert plain.has_the_weights_of(late_run)
    for name in ("weights.0.pkl", "weights.1.pkl"):
        assert (plain.path / name).read_bytes() == (late_run.path / name).read_bytes()


def test_an_error_of_writing_beside_training_ends_the_run(star, tmp_path, monkeypatch, capsys):
    def fail(path, content):
        msg = f"{path} cannot be written: it needs 9 GB"
        raise OutputFileError(msg)

    monkeypatch.setattr(runner, "save_checkpoint", fail)
    with simulated_card(monkeypatch):
        assert main(line(star, tmp_path / "full")) == 2
    assert "weights.0.pkl cannot be written: it needs 9 GB" in capsys.readouterr().err
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("write")]


def test_a_writer_keeps_the_order_and_tells_it():
    told, writer = [], Writer(is_beside=True)
    for number in range(5):
        writer.write(lambda n=number: told.append(("written", n)), lambda: told.append("then"))
    writer.finish()
    writer.close()
    expected = [one for n in range(5) for one in (("written", n), "then")]
    assert told == expected


def test_a_copy_on_the_host_shares_no_memory():
    content = {"a": torch.zeros(3), "b": [torch.ones(2)]}
    copied = on_host(content)
    content["a"] += 1
    content["b"][0] += 1
    assert copied["a"].eq(0).all()
    assert copied["b"][0].eq(1).all()
