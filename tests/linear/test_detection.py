import math

import pytest
import torch

from cryodrgn.linear.detection import (
    UNFINISHED,
    Calibration,
    Component,
    Trial,
    calibrated,
    forecast,
    free_values,
    mask_shares,
    needed_particles,
    trial_of,
)

RADIUS = 6
NOTHING = Trial(expected=0.0, found=0.1)


def in_one_shell(signal, shell=5):
    """A component all of whose signal is in one shell."""
    values = torch.zeros(RADIUS + 1)
    values[shell] = signal
    return Component(signal=values, power=values)


@pytest.mark.parametrize("signal", [0.5, 2.0, 10.0])
@pytest.mark.parametrize("count", [500.0, 4000.0])
def test_beyond_the_edge_the_fixed_point_is_that_of_a_spiked_matrix(signal, count):
    share, inside = 0.3, 0.2
    found = forecast(in_one_shell(signal), share, count, lambda _: inside)
    ratio = share * (1 - share) * signal
    free = float(free_values(RADIUS, inside)[5])
    edge = count / 2 * ratio**2 / free
    assert found.edge == pytest.approx(edge, rel=1e-5)
    # In closed form t = (E − 1) / (E / λ (1 + λ)), 0 below the edge.
    latent = max(0.0, (edge - 1) / (edge / ratio * (1 + ratio)))
    assert found.latent == pytest.approx(latent, abs=1e-3)
    strength = latent * count / 2 * ratio / free
    expected = strength / (1 + strength) * edge / (edge + UNFINISHED)
    assert found.correlation == pytest.approx(expected, abs=1e-3)


def test_more_particles_a_larger_share_and_a_smaller_mask_help():
    component = in_one_shell(3.0)

    def correlation(share=0.2, count=2000.0, inside=0.3):
        return forecast(component, share, count, lambda _: inside).correlation

    assert correlation(count=4000.0) > correlation() > correlation(count=1000.0)
    assert correlation(share=0.5) > correlation() > correlation(share=0.1)
    assert correlation(inside=0.1) > correlation() > correlation(inside=0.9)
    assert correlation(share=0.2) == pytest.approx(correlation(share=0.8))


def test_trials_move_the_forecast_and_narrow_it():
    before = Calibration()
    found = calibrated([Trial(expected=0.4, found=0.6, shift=0.5)] * 6 + [NOTHING])
    assert 0.4 < found.shift < 0.5
    assert found.shift_error < before.shift_error
    assert before.probability(1000.0, 1000.0) == pytest.approx(0.5)
    assert found.probability(1000.0, 1000.0) > 0.9
    assert found.probability(500.0, 1000.0, -1.645) < found.probability(500.0, 1000.0, 1.645)


def test_a_trial_says_with_how_many_particles_the_forecast_would_be_right():
    component, share = in_one_shell(6.0), 0.4
    needed = needed_particles(component, share, lambda _: 0.3, 0.6)
    expected = forecast(component, share, needed, lambda _: 0.3).correlation
    assert expected == pytest.approx(0.6, abs=0.01)
    trial = trial_of(component, share, needed / 2, lambda _: 0.3, found=0.6)
    assert trial.shift == pytest.approx(math.log(2), abs=0.02)
    assert trial_of(component, share, 10.0, lambda _: 0.3, found=0.05).shift is None
    lost = trial_of(component, share, needed, lambda _: 0.3, found=0.01)
    assert lost.shift is not None
    assert lost.shift < 0


def test_noise_taken_for_signal_is_part_of_every_chance():
    found = calibrated([Trial(expected=0.0, found=0.5)] * 3)
    assert found.false_alarms == pytest.approx(0.75)
    assert found.probability(10.0, 1e6) == pytest.approx(0.75, abs=0.01)
    assert calibrated([]).false_alarms == 0


def test_the_mask_grows_with_the_noise():
    axis = torch.arange(24) - 12
    squares = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2
    consensus = torch.exp(-squares / 12.0)
    shares = mask_shares(consensus, torch.full((9,), 1e-5), 2, 8, 100_000)
    found = [shares(count) for count in (100_000, 3000, 500)]
    assert found[0] < 0.5 * found[-1]
    assert sorted(found) == found
