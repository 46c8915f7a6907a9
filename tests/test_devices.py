"""Which device computes, what is said of it, and in which number type networks are."""

import warnings

import pytest
import torch

from cryodrgn import devices
from cryodrgn.devices import (
    choose_device,
    choose_network_dtype,
    describe_device,
    deterministic,
)
from cryodrgn.errors import ConfigError
from cryodrgn.jobs.options import DeviceOptions
from cryodrgn.jobs.processes import joined
from simulated_card import simulated_card

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx2 avx512f avx512_bf16 avx512_vnni", torch.bfloat16),
        ("fpu avx512f amx_tile amx_bf16", torch.bfloat16),
        ("fpu avx2 avx512f avx512_vnni amx_tile", torch.float32),
    ],
)
def test_processors_with_units_for_bfloat16_use_them(tmp_path, flags, expected):
    processors = tmp_path / "cpuinfo"
    processors.write_text(f"processor\t: 0\nmodel name\t: some\nflags\t\t: {flags}\n")
    assert choose_network_dtype(CPU, processors) == expected


def test_where_nothing_is_known_of_the_processor_products_are_float32(tmp_path):
    assert choose_network_dtype(CPU, tmp_path / "missing") == torch.float32
    assert choose_network_dtype(torch.device("mps")) == torch.float32


@pytest.fixture
def no_card(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(devices, "DRIVERS", ())


def test_the_number_of_a_card_that_is_not_there_is_the_processor(no_card, caplog):
    assert choose_device("0") == CPU
    assert caplog.messages == [
        "`device` 0: PyTorch finds no CUDA device on this machine; computing on cpu instead"
    ]


@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_cuda_by_name_is_refused_without_a_card(no_card, name):
    with pytest.raises(ConfigError, match="finds no CUDA device on this machine; try `device`"):
        choose_device(name)


def test_nothing_is_said_of_a_machine_that_has_no_card(no_card, caplog):
    assert choose_device("auto") == CPU
    assert not caplog.messages


def test_a_driver_that_is_too_old_is_said(no_card, monkeypatch, tmp_path, caplog):
    def is_available() -> bool:
        warnings.warn("CUDA initialization: The NVIDIA driver is too old\n(4.2)", stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(devices, "DRIVERS", (tmp_path,))
    assert choose_device("auto") == CPU
    (said,) = caplog.messages
    assert "with CUDA 13.0 (CUDA initialization: The NVIDIA driver is too old (4.2))" in said
    with pytest.raises(ConfigError, match="driver is too old"):
        choose_device("cuda")


def test_a_pytorch_without_cuda_beside_a_driver_is_said(no_card, monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(devices, "DRIVERS", (tmp_path,))
    assert choose_device("auto") == CPU
    (said,) = caplog.messages
    assert "is built without CUDA; computing on cpu instead" in said


def test_a_card_that_cannot_compute_is_said_and_the_processor_computes(monkeypatch, caplog):
    def zeros(*_: object, **__: object) -> torch.Tensor:
        raise RuntimeError("CUDA error: no kernel image is available\nCompile with …")

    with simulated_card(monkeypatch):
        monkeypatch.setattr(torch, "zeros", zeros)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        assert choose_device("auto") == CPU
        (said,) = caplog.messages
        assert said == (
            "cuda:0 cannot be used (CUDA error: no kernel image is available); "
            "computing on cpu instead"
        )
        with pytest.raises(ConfigError, match="no kernel image is available"):
            choose_device("cuda")


@pytest.mark.parametrize("name", ["1", "cuda:7"])
def test_a_card_beyond_the_last_is_refused(monkeypatch, name):
    with simulated_card(monkeypatch), pytest.raises(ConfigError, match="that PyTorch finds is"):
        choose_device(name)


def test_every_process_of_a_machine_takes_a_card_of_its_own(monkeypatch):
    with simulated_card(monkeypatch):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
        assert choose_device("cuda", 6) == torch.device("cuda", 2)


def test_a_card_too_old_for_bfloat16_computes_in_float32_and_is_said(monkeypatch):
    with simulated_card(monkeypatch, capability=(7, 5)):
        device = choose_device("cuda")
        assert choose_network_dtype(device) == torch.float32
        assert "compute capability 7.5, too old for bfloat16" in describe_device(device)


def test_the_number_of_a_card_has_no_effect_where_every_process_has_its_own(
    monkeypatch, caplog
):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with simulated_card(monkeypatch):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
        monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
        for name in ("0", "cuda:1", "cuda"):
            with joined(DeviceOptions(device=name)) as (_, device):
                assert device == torch.device("cuda", 2)


def test_what_has_no_order_on_a_card_is_refused_in_a_sentence(monkeypatch):
    numbers = torch.tensor([0, 1])
    with simulated_card(monkeypatch):
        device = choose_device("cuda")
        counts = torch.bincount(numbers.to(device), numbers.float().to(device))
        assert counts.tolist() == [0, 1]
        with (
            pytest.raises(
                ConfigError, match=r"aten.bincount does not have a .*; leave it out$"
            ),
            deterministic(device, wanted=True),
        ):
            torch.bincount(numbers.to(device), numbers.float().to(device))
        assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("name", "words"), [("cpu", "sums have one order there"), ("mps", "sums may have another")]
)
def test_an_order_of_sums_that_is_not_chosen_is_said(caplog, name, words):
    with deterministic(torch.device(name), wanted=True):
        assert not torch.are_deterministic_algorithms_enabled()
    assert words in caplog.text
    with deterministic(torch.device(name), wanted=False):
        assert len(caplog.messages) == 1
