"""Times of plans are counts of work times what a moment of it takes on this machine."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from cryodrgn.data.config import DataConfig
from cryodrgn.data.preprocessing import Preprocessing, preprocess
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.linear.config import LinearConfig
from cryodrgn.models.settings import DecoderConfig, ModelConfig
from cryodrgn.preflight import cost
from cryodrgn.processors import useful_threads

CPU = torch.device("cpu")
DATA = DataConfig(files=ParticleFiles(particles=Path("particles.star")))


@pytest.fixture
def clock(monkeypatch, measured):
    """A second for every moment of work that is measured, and the moments."""
    moments = []

    def second(step, device):
        step()
        moments.append(device)
        return 1.0

    monkeypatch.setattr(cost, "shortest_time", second)
    monkeypatch.setattr(cost, "operations_per_second", lambda device: 1e10)
    return moments


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
    drawn = cost.drawing(cost.AXES_OF_JUNK)
    thrice = seconds(num_components=1, radius=5, pose_rounds=2)
    assert thrice - drawn == pytest.approx(3 * (plain - drawn))
    known = seconds(num_components=1, radius=5, with_contrast=False)
    assert plain > known > 0


def test_half_latents_cost_another_pass_and_two_solutions_of_a_regression(clock):
    def seconds(points, **more):
        return cost.regressing(points, 16, 3, CPU, **more)

    solved, point = seconds(0), seconds(1) - seconds(0)
    for points in (0, 1000):
        again = seconds(points, with_half_latents=True) - seconds(points)
        assert again > points * point
    # Without points a volume of the sums is solved for five times, then seven, and every pass
    # correlates each volume once.
    assert seconds(0, with_half_latents=True) - solved == pytest.approx(
        2 * cost._solved_voxel(3, CPU) * 16**3 + 3 * cost._correlated_voxel(16, CPU) * 16**3
    )
    compared = cost.comparing(1000, 16, 3, 500, CPU, 1)
    assert compared > cost.regressing(1000, 16, 3, CPU)


def test_states_are_described_one_by_one_and_at_most_eight_share_a_figure(clock):
    assert cost.describing(0, 16, CPU) == 0
    took = [cost.describing(count, 16, CPU) for count in (1, 2, 8, 9)]
    assert took[2] == pytest.approx(8 * took[0])
    assert took[3] - took[2] < took[1] - took[0]


def test_reading_is_measured_on_the_images_themselves(clock, write_stack, monkeypatch):
    stack = write_stack(np.ones((100, 8, 8)))
    table = open_particles(ParticleFiles(particles=stack)).images
    asked = []
    monkeypatch.setattr(type(table), "read", lambda _, rows: asked.append(rows.tolist()))
    assert cost.reading(table) == pytest.approx(100 / 64)
    assert cost.reading(table, step=2) == pytest.approx(100 / 50)
    assert asked == [list(range(64)), list(range(0, 100, 2))]


def test_volumes_that_are_decoded_cost_points_and_those_that_are_stored_do_not(clock):
    decoder = DecoderConfig(hidden_dim=16)
    model = ModelConfig(box_size=16, latent_dim=2, encoder=None, decoder=decoder)
    twice = cost.decoding(model, 10, 2e4, CPU, stored=0)
    assert twice == pytest.approx(2 * cost.decoding(model, 10, 1e4, CPU, stored=0))
    assert cost.decoding(model, 0, 1e4, CPU, stored=0) == 0
    stored = cost.decoding(model, 10, 1e4, CPU, stored=3)
    assert stored == pytest.approx(10 * 3 * 16**3 / 1e10)


def test_what_is_measured_is_what_the_work_takes(measured):
    count, box_size = 256, 32
    lattice, images = HalfPlaneFrequencies.disc(box_size), torch.ones(64, box_size, box_size)
    shifts = torch.zeros(64, 2)
    taken = []
    for _ in range(5):
        begun = time.process_time()
        for _ in range(count // 64):
            preprocess(images, lattice, Preprocessing(window_radius=0.85), shifts)
        taken.append(time.process_time() - begun)
    planned = useful_threads() * cost.preparing(count, box_size)
    assert planned / 4 < min(taken) < 4 * planned
