import pytest
import torch

from cryodrgn.fourier.shells import ShellCurve, fourier_shell_correlation


def noise(seed: int, box_size: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(box_size, box_size, box_size, generator=generator)


def test_a_volume_correlates_perfectly_with_itself_whatever_its_scale():
    volume = noise(0)
    torch.testing.assert_close(
        fourier_shell_correlation(volume, 3 * volume).values, torch.ones(7)
    )
    torch.testing.assert_close(
        fourier_shell_correlation(volume, -volume).values, -torch.ones(7)
    )


def test_independent_noise_does_not_correlate():
    values = fourier_shell_correlation(noise(0, 32), noise(1, 32)).values
    assert values[5:].abs().max() < 0.15


def test_equal_signal_with_noise_of_known_power_gives_the_known_correlation():
    signal = noise(0, 48)
    first, second = signal + noise(1, 48), signal + noise(2, 48)
    assert fourier_shell_correlation(first, second).values[10:].mean() == pytest.approx(
        0.5, abs=0.02
    )


def test_shells_are_labelled_with_their_mean_radius():
    frequencies = fourier_shell_correlation(noise(0), noise(1)).frequencies
    # Shell 1 of a cubic lattice: 6 voxels at distance 1 and 12 at √2.
    assert frequencies[0] * 16 == pytest.approx((6 + 12 * 2**0.5) / 18)
    assert (frequencies * 16 - torch.arange(1, 8)).abs().max() < 0.35


def test_resolution_is_read_at_the_first_crossing():
    curve = ShellCurve(torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([1.0, 0.4, 0.9, 0.1]))
    assert curve.first_crossing(0.5) == pytest.approx(0.1 + 0.1 * 0.5 / 0.6)
    assert curve.first_crossing(0.05) == pytest.approx(0.4)
    assert curve.first_crossing(1.5) is None


def test_area_is_that_of_the_trapezoids():
    curve = ShellCurve(torch.tensor([0.0, 0.1, 0.3]), torch.tensor([1.0, 1.0, 0.0]))
    assert curve.area() == pytest.approx(0.2)
