"""The time of training is measured on the device, before it and after its first steps."""

import logging
import re
from types import SimpleNamespace

import pytest
import torch

from cryodrgn import progress
from cryodrgn.models.decoders import Decoder
from cryodrgn.models.settings import DecoderConfig, EncoderConfig, ModelConfig
from cryodrgn.training import cost
from simulated_card import simulated_card

CPU = torch.device("cpu")


def model(width: int, box_size: int = 32) -> ModelConfig:
    return ModelConfig(
        box_size=box_size,
        latent_dim=2,
        encoder=EncoderConfig(hidden_dim=width),
        decoder=DecoderConfig(hidden_dim=width),
    )


def test_a_wider_network_takes_longer(measured):
    narrow, wide = (
        cost.seconds_per_particle(model(width), CPU, torch.float32, 8) for width in (16, 256)
    )
    assert wide > 5 * narrow > 0


def test_operations_are_those_of_the_products():
    # 96 features and 2 latent dimensions of each point; three layers of 16, and 2 outputs.
    layers = 96 * 16 * 4 + (2 * 16 + 16 + 3 * (16 * 17) + 2 * 17) * 6
    found = cost.operations_per_particle(model(16))
    decoded = found - 4 * cost.encoder_sizes(model(16)).multiply_adds
    points = len(cost.HalfPlaneFrequencies.disc(32))
    assert decoded == pytest.approx(points * layers, rel=1e-6)


def test_the_rate_on_a_card_is_said_as_a_share_of_its_products(monkeypatch):
    with simulated_card(monkeypatch):
        words = cost.RateInWords(model(16), torch.device("cuda", 0), torch.float32, 1.0)
        monkeypatch.setattr(cost, "operations_per_second", lambda *_, **__: 1e12)
        rate = 0.25e12 / cost.operations_per_particle(model(16))
        assert (
            words(rate) == f"{rate:,.0f} images/s (25 % of what products of this shape allow)"
        )

        def full(*_, **__):
            raise torch.OutOfMemoryError

        monkeypatch.setattr(cost, "operations_per_second", full)
        words = cost.RateInWords(model(16), torch.device("cuda", 0), torch.float32, 1.0)
        assert words(2000.0) == words(2000.0) == "2,000 images/s"
    assert cost.RateInWords(model(16), CPU, torch.float32, 1.0)(12.34) == "12.3 images/s"


def test_the_first_hundred_steps_tell_how_long_the_rest_takes(monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr(cost, "time", SimpleNamespace(monotonic=lambda: now[0]))
    caplog.set_level(logging.INFO)
    first = cost.FirstSteps(100_000, lambda rate: f"{rate:.0f} images/s")
    for _ in range(150):
        first.count(0)
    for step in range(1, 150):
        # Compiling makes the first step a long one.
        now[0] += 60.0 if step == 1 else 0.1
        # Poses are searched before the second epoch, and a first map is learnt.
        for _ in range(50 if step == 5 else 1):
            first.count(8 * step)
    said = re.findall("after 100 steps: (.*); training takes (.*) more", caplog.text)
    assert said == [("80 images/s", progress.format_duration((100_000 - 800) / 80))]


def test_work_of_which_nothing_is_done_yet_has_no_time_left(monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    caplog.set_level(logging.INFO)
    with progress.Progress(10, "searching") as bar:
        now[0] += 30.0
        bar.advance(0, "at the first")
    assert caplog.messages == ["searching: 0 of 10 img (0 %), at the first"]


def test_a_slow_beginning_does_not_spoil_what_is_left_for_long(monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    caplog.set_level(logging.INFO)
    with progress.Progress(10_000, "training") as bar:
        for _ in range(9):
            now[0] += 110.0 if now[0] == 0 else 10.0
            bar.advance(100)
    last = [record.message for record in caplog.records][-1]
    assert "(9 %), 15 min 10 s left" in last


def test_a_device_with_little_memory_is_measured_with_fewer_points(monkeypatch, measured):
    forward, asked = Decoder.forward, []

    def limited(self, points, *rest):
        asked.append(points.shape[1])
        if points.shape[1] > 600:
            raise torch.OutOfMemoryError
        return forward(self, points, *rest)

    expected = cost.seconds_per_particle(model(16), CPU, torch.float32, 8)
    monkeypatch.setattr(Decoder, "forward", limited)
    found = cost.seconds_per_particle(model(16), CPU, torch.float32, 8)
    assert asked[0] > 600 > asked[-1]
    assert expected / 20 < found < 20 * expected
