"""Every command on a real device beside the processor: ``make gpu-test``.

``DEVICE=cpu make gpu-test`` tries the suite itself on a machine without a card.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from cryodrgn.cli.main import main
from cryodrgn.devices import choose_network_dtype
from cryodrgn.io.cryodrgn_pickle import load_latents
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.mrc import read_volume
from cryodrgn.orientation import initial, starts
from device_commands import COMMANDS, line, make_inputs
from finished_run import SMALL_VAE, Finished
from small_device import hold_whole_batches, limit

# By how much the last loss may differ, as a share of it. First maps depend on which of nearly
# equal poses is the best one, so searches only end near one another.
LOSSES = {
    "train_vae": 1e-3,
    "train_nn": 1e-3,
    "train_dec": 5e-3,
    "abinit_homo": 0.2,
    "abinit_het": 0.2,
    "abinit": 0.2,
}
# By how much volumes may differ, as a share of their largest value. Analyses decode in the
# precision that is fast on the device.
VOLUMES = {
    "backproject_voxel": (".mrc", 1e-5),
    "eval_vol": ("/vol_001.mrc", 1e-4),
    "analyze": ("/kmeans2/vol_000.mrc", 5e-2),
    "analyze_landscape": ("/kmeans6/vol_000.mrc", 5e-2),
    "reconstruct_states": ("/state_000.mrc", 1e-3),
}
FREE_BYTES = 1_000_000_000


@pytest.fixture(scope="module")
def device():
    """The device of this machine, or that of the variable DEVICE."""
    name = os.environ.get("DEVICE")
    if name:
        return name
    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available():
        return "mps"
    pytest.skip("this machine has no GPU that PyTorch can use; DEVICE=cpu tries the suite")


@pytest.fixture(scope="module")
def made(device, tmp_path_factory):
    return make_inputs(tmp_path_factory.mktemp("made"))


def finish(words: list[str]) -> None:
    assert main([str(word) for word in words]) == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_gives_what_the_processor_gives(device, made, tmp_path, command, monkeypatch):
    # So few images make no map.
    monkeypatch.setattr(initial, "MOST_ITERATIONS", 5)
    monkeypatch.setattr(starts, "LEAST_ERRORS", -1e9)
    monkeypatch.setattr(starts, "LEAST_EVIDENCE", -torch.inf)
    if command == "analyze_landscape_full" and not made["landscape"].exists():
        finish(line("analyze_landscape", made, made["landscape"], "cpu"))
    theirs, ours = tmp_path / "processor", tmp_path / "device"
    finish(line(command, made, theirs, "cpu"))
    finish(line(command, made, ours, device))
    if command in LOSSES:
        losses = [Finished(path).metrics[-1]["total"] for path in (ours, theirs)]
        assert losses[0] == pytest.approx(losses[1], rel=LOSSES[command])
    if command in VOLUMES:
        ending, tolerance = VOLUMES[command]
        found, expected = (read_volume(Path(f"{p}{ending}"))[0] for p in (ours, theirs))
        np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())
    if command == "simulate":
        stacks = [ImageStack.whole_files([path / "particles.mrcs"]) for path in (ours, theirs)]
        found, expected = (stack.read(np.arange(len(stack))) for stack in stacks)
        np.testing.assert_allclose(found, expected, atol=1e-3)
    if command == "eval_images":
        found, expected = (load_latents(Path(f"{path}.z.pkl")) for path in (ours, theirs))
        np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())
    if command == "train_linear":
        found, expected = (load_latents(path / "z.pkl") for path in (ours, theirs))
        for ours_of_one, theirs_of_one in zip(found.T, expected.T, strict=True):
            assert abs(np.corrcoef(ours_of_one, theirs_of_one)[0, 1]) > 0.999


def test_a_run_goes_on_exactly(device, made, tmp_path):
    words = ["train_vae", made["star"], "--zdim", 2, "-b", 8, *SMALL_VAE, "--device", device]
    finish([*words, "-n", 3, "-o", tmp_path / "whole"])
    finish([*words, "-n", 1, "-o", tmp_path / "parts"])
    finish([*words, "-n", 3, "-o", tmp_path / "parts", "--load", "latest"])
    assert Finished(tmp_path / "parts").has_the_weights_of(Finished(tmp_path / "whole"))


@pytest.mark.parametrize("command", ["backproject_voxel", "reconstruct_states", "train_vae"])
def test_sums_of_one_order_give_the_same_files(device, made, tmp_path, command):
    for name in ("first", "second"):
        finish([*line(command, made, tmp_path / name, device), "--deterministic"])
    if command == "train_vae":
        first, second = (Finished(tmp_path / name) for name in ("first", "second"))
        assert first.has_the_weights_of(second)
        return
    ending, _ = VOLUMES[command]
    maps = [read_volume(Path(f"{tmp_path / name}{ending}"))[0] for name in ("first", "second")]
    np.testing.assert_array_equal(*maps)


def test_a_batch_that_does_not_fit_is_computed_in_parts(device, tmp_path, monkeypatch, capsys):
    sizes = ("--pdim", 256, "--players", 3, "--qdim", 32, "--qlayers", 1)
    side, batch = 64, 128
    if device == "cpu":
        # What a processor's cache holds, and the share of a thread, are parts anyway.
        sizes, side, batch = SMALL_VAE, 16, 12
    shape = ("-D", side, "--Apix", 256 / side, "-n", 128, "--num-states", 1)
    finish(["simulate", *shape, "-o", tmp_path])
    words = ["train_vae", tmp_path / "particles.star", "--zdim", 2, "-n", 1, *sizes]
    words += ["--precision", "float32", "--device", device]
    finish([*words, "-b", batch, "-o", tmp_path / "roomy"])
    if device == "cpu":
        hold_whole_batches(monkeypatch.setattr)
        limit("decoder", 3, monkeypatch.setattr)
    elif device.startswith("cuda"):
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(
            (torch.cuda.memory_reserved() + FREE_BYTES) / total
        )
    else:
        pytest.skip(f"the memory of {device} cannot be bounded")
    try:
        finish([*words, "-b", batch, "-o", tmp_path / "tight"])
    finally:
        if device.startswith("cuda"):
            torch.cuda.set_per_process_memory_fraction(1.0)
    said = f"ran out of memory: batches of {batch} are now computed"
    assert said in capsys.readouterr().err
    roomy, tight = (Finished(tmp_path / name).metrics for name in ("roomy", "tight"))
    assert tight[-1]["total"] == pytest.approx(roomy[-1]["total"], rel=1e-4)


def test_bfloat16_learns_as_float32_does(device, made, tmp_path):
    if device != "cpu" and choose_network_dtype(torch.device(device)) != torch.bfloat16:
        pytest.skip(f"{device} has no units for bfloat16")
    losses = []
    for precision in ("bfloat16", "float32"):
        words = ["train_vae", made["star"], "--zdim", 2, "-n", 5, "-b", 8, *SMALL_VAE]
        out = tmp_path / precision
        finish([*words, "--precision", precision, "--device", device, "-o", out])
        losses.append(Finished(out).metrics[-1]["total"])
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_all_gpus_of_a_machine_with_one_are_that_one(device, made, tmp_path, capsys):
    if torch.cuda.device_count() > 1:
        pytest.skip("this machine has several GPUs; tests/training/test_many_processes.py")
    words = ["train_vae", made["star"], "--zdim", 2, "-n", 1, "-b", 8, *SMALL_VAE]
    words += ["--device", device]
    finish([*words, "-o", tmp_path / "one"])
    finish([*words, "--multigpu", "-o", tmp_path / "all"])
    assert "--multigpu has no effect" in capsys.readouterr().err
    assert Finished(tmp_path / "all").has_the_weights_of(Finished(tmp_path / "one"))
