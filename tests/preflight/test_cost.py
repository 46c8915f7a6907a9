"""Times of plans are counts of work times what a moment of it takes on this machine."""

import time
from pathlib import Path

import pytest
import torch

from cryodrgn.data.config import DataConfig
from cryodrgn.data.preprocessing import Preprocessing, preprocess
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.io.particle_files import ParticleFiles
from cryodrgn.linear.config import LinearConfig
from cryodrgn.models.settings import DecoderConfig, ModelConfig
from cryodrgn.preflight import cost
from cryodrgn.processors import useful_threads

CPU = torch.device("cpu")
DATA = DataConfig(files=ParticleFiles(particles=Path("particles.star")))


@pytest.fixture
def clock(monkeypatch):
    """A second for every moment of work that is measured, and the moments."""
    measured = []

    def second(step, device):
        step()
        measured.append(device)
        return 1.0

    monkeypatch.setattr(cost, "shortest_time", second)
    monkeypatch.setattr(cost, "operations_per_second", lambda device: 1e10)
    functions = [value for value in vars(cost).values() if hasattr(value, "cache_clear")]
    for function in functions:
        function.cache_clear()
    yield measured
    for function in functions:
        function.cache_clear()


def test_times_of_images_grow_with_their_number_and_are_measured_once(clock):
    one = cost.backprojecting(100, 16, 1, CPU)
    cost.preparing(1, 16)
    moments = len(clock)
    more = cost.backprojecting(300, 16, 1, CPU)
    solved = cost.backprojecting(0, 16, 1, CPU)
    assert more - solved == pytest.approx(3 * (one - solved))
    assert cost.preparing(8, 16) == pytest.approx(8 * cost.preparing(1, 16))
    assert len(clock) == moments


def test_a_fit_of_more_components_mates_or_rounds_takes_longer(clock):
    def seconds(slices=1, **more):
        return cost.fitting(LinearConfig(data=DATA, **more), 1000, 16, CPU, slices)

    plain = seconds(num_components=1, radius=5)
    assert seconds(slices=2, num_components=1, radius=5) > plain
    begun = cost.host_seconds(cost.STARTED)
    thrice = seconds(num_components=1, radius=5, pose_rounds=2)
    assert thrice - begun == pytest.approx(3 * (plain - begun))
    known = seconds(num_components=1, radius=5, with_contrast=False)
    assert plain > known > 0


def test_volumes_that_are_decoded_cost_points_and_those_that_are_stored_do_not(clock):
    decoder = DecoderConfig(hidden_dim=16)
    model = ModelConfig(box_size=16, latent_dim=2, encoder=None, decoder=decoder)
    twice = cost.decoding(model, 10, 2e4, CPU, stored=0)
    assert twice == pytest.approx(2 * cost.decoding(model, 10, 1e4, CPU, stored=0))
    assert cost.decoding(model, 0, 1e4, CPU, stored=0) == 0
    stored = cost.decoding(model, 10, 1e4, CPU, stored=3)
    assert stored == pytest.approx(10 * 3 * 16**3 / 1e10 / cost.SUSTAINED)


def test_what_is_measured_is_what_the_work_takes():
    count, box_size = 256, 32
    lattice, images = HalfPlaneFrequencies.disc(box_size), torch.ones(64, box_size, box_size)
    shifts = torch.zeros(64, 2)
    taken = []
    for _ in range(5):
        begun = time.process_time()
        for _ in range(count // 64):
            preprocess(images, lattice, Preprocessing(window_radius=0.85), shifts)
        taken.append(time.process_time() - begun)
    planned = cost.SUSTAINED * useful_threads() * cost.preparing(count, box_size)
    assert planned / 4 < min(taken) < 4 * planned
