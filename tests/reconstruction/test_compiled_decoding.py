"""Volumes made by one compiled program are those of the plain evaluation."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from cryodrgn import compiled_code
from cryodrgn.cli.main import main
from cryodrgn.io.mrc import read_volume
from cryodrgn.models import pointwise
from cryodrgn.models.build import build_model
from cryodrgn.models.settings import DecoderConfig, ModelConfig
from cryodrgn.reconstruction import decode
from cryodrgn.reconstruction.decode import VolumeDecoder
from device_commands import line, make_inputs
from simulated_card import simulated_card

CPU = torch.device("cpu")
# Kernels one after another: processes that compile several at once take longer to start.
ALONE = {"TORCHINDUCTOR_COMPILE_THREADS": "1"}


@pytest.fixture
def programs(monkeypatch):
    """Functions that would be compiled, by the shapes of what they were called with."""
    shapes: list[tuple[torch.Size, ...]] = []

    def compiled(function):
        def noted(*values):
            shapes.append(tuple(value.shape for value in values))
            return function(*values)

        return noted

    monkeypatch.setattr(compiled_code, "compiled", compiled)
    monkeypatch.setattr(compiled_code, "compiler_problem", lambda device: None)
    return shapes


def decoder(compilation, domain="fourier", hidden_dim=16, dtype=torch.float32, device=CPU):
    config = DecoderConfig(hidden_dim=hidden_dim, domain=domain, num_layers=2)
    settings = ModelConfig(box_size=16, latent_dim=2, encoder=None, decoder=config)
    model = build_model(settings, seed=1).decoder
    return VolumeDecoder(model, 0.5, 2.0, device, dtype, compilation=compilation)


@pytest.mark.parametrize("count", [1, 3, 9])
@pytest.mark.parametrize(("domain", "hidden_dim"), [("fourier", 16), ("hartley", 24)])
def test_the_program_gives_the_volumes_of_the_plain_evaluation(
    programs, monkeypatch, domain, hidden_dim, count
):
    # Parts of 700 points: several, the last of them smaller, and several latents in each.
    monkeypatch.setitem(pointwise.VALUES_PER_PART, "cpu", 700 * hidden_dim)
    latents = torch.randn(count, 2, generator=torch.Generator().manual_seed(count))
    found, expected = (
        torch.stack(list(decoder(how, domain, hidden_dim).volumes(latents)))
        for how in ("on", "off")
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert len(programs) > 1
    assert len(set(programs)) == 1, "shapes differ, and each would be compiled"


def test_several_small_volumes_are_one_batch(programs):
    volumes = list(decoder("on").volumes(torch.randn(12, 2)[:11], 8))
    assert len(volumes) == 11
    ((first, shares),) = set(programs)
    assert len(programs) == 1
    assert shares == (16, 16)
    assert len(first) == 2


def test_small_networks_in_bfloat16_stay_near(programs):
    exact, rounded = (
        decoder("on", dtype=dtype).volume(torch.tensor([0.5, -1.0]))
        for dtype in (torch.float32, torch.bfloat16)
    )
    torch.testing.assert_close(rounded, exact, rtol=0, atol=0.05 * float(exact.abs().max()))


def test_a_program_that_fails_is_said_once_and_done_without(monkeypatch, caplog):
    def broken(function):
        def fail(*_):
            msg = "the compiler crashed\nlong story"
            raise RuntimeError(msg)

        return fail

    monkeypatch.setattr(compiled_code, "compiled", broken)
    monkeypatch.setattr(compiled_code, "compiler_problem", lambda device: None)
    latents = torch.randn(3, 2)
    found, expected = (list(decoder(how).volumes(latents)) for how in ("on", "off"))
    assert caplog.messages == [
        "the decoding of volumes is not compiled: RuntimeError: the compiler crashed"
    ]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_machine_that_cannot_compile_is_said_once(monkeypatch, caplog):
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    made = decoder("on")
    for _ in range(2):
        assert len(list(made.volumes(torch.zeros(1, 2)))) == 1
    (said,) = caplog.messages
    assert "on: this machine has no compiler (g++, clang++, c++); volumes are decoded" in said


@pytest.mark.parametrize(
    ("device", "least", "expected"),
    [("cpu", 0, False), ("cuda:0", 0, True), ("cuda:0", 1e16, False)],
)
def test_auto_compiles_on_cards_what_takes_long(programs, monkeypatch, device, least, expected):
    monkeypatch.setattr(decode, "LEAST_OPERATIONS", least)
    with simulated_card(monkeypatch):
        list(decoder("auto", device=torch.device(device)).volumes(torch.zeros(1, 2)))
    assert bool(programs) == expected


@pytest.mark.slow  # a compiler's half a minute
@pytest.mark.skipif(
    compiled_code.compiler_problem(CPU) is not None, reason="needs a C++ compiler"
)
def test_compiled_volumes_are_the_plain_ones(tmp_path):
    made = make_inputs(tmp_path)
    for how in ("off", "on"):
        words = [*line("eval_vol", made, tmp_path / how, "cpu"), "--compile", how]
        if how == "off":
            assert main(words) == 0
            continue
        # Without the checks of shapes, which compilers cannot look through.
        done = subprocess.run(
            [sys.executable, "-m", "cryodrgn", *words],
            env=os.environ | ALONE | {compiled_code.CACHE_VARIABLE: str(tmp_path / "compiled")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "not compiled" not in done.stderr
        assert any((tmp_path / "compiled").iterdir())
    for number in range(2):
        found, expected = (
            read_volume(tmp_path / how / f"vol_{number:03d}.mrc")[0] for how in ("on", "off")
        )
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
