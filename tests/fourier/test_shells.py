import pytest
import torch

from cryodrgn.fourier.shells import (
    ShellCurve,
    fourier_shell_correlation,
    mask_corrected_fsc,
    randomise_phases,
    shell_numbers,
)
from cryodrgn.fourier.transforms import centred_fft, centred_ifft
from cryodrgn.imaging.masks import soft_sphere


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
    assert frequencies[0] * 16 == pytest.approx((6 + 12 * 2**0.5) / 18, rel=1e-5)
    assert (frequencies * 16 - torch.arange(1, 8)).abs().max() < 0.35


def test_resolution_is_read_at_the_first_crossing():
    curve = ShellCurve(torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([1.0, 0.4, 0.9, 0.1]))
    assert curve.first_crossing(0.5) == pytest.approx(0.1 + 0.1 * 0.5 / 0.6)
    assert curve.first_crossing(0.05) == pytest.approx(0.4)
    assert curve.first_crossing(1.5) is None


def test_area_is_that_of_the_trapezoids():
    curve = ShellCurve(torch.tensor([0.0, 0.1, 0.3]), torch.tensor([1.0, 1.0, 0.0]))
    assert curve.area() == pytest.approx(0.2)


def test_randomised_phases_keep_amplitudes_and_low_shells_and_stay_real():
    generator = torch.Generator().manual_seed(0)
    volume = torch.randn(16, 16, 16, generator=generator)
    changed = randomise_phases(volume, 4, generator)
    before, after = centred_fft(volume.double(), 3), centred_fft(changed.double(), 3)
    torch.testing.assert_close(after.abs(), before.abs(), atol=1e-3, rtol=1e-4)
    shells = shell_numbers(16)
    torch.testing.assert_close(after[shells < 4], before[shells < 4], atol=1e-3, rtol=1e-4)
    # A Hermitian spectrum has a real volume: nothing was cut off by taking the real part.
    curve = fourier_shell_correlation(volume, changed).values
    assert curve[:3].min() > 0.9999
    assert curve[3:].abs().max() < 0.5


def test_what_a_mask_alone_correlates_is_corrected_away():
    masked, corrected = [], []
    mask = soft_sphere(32, 9.0, 2.0)
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        first, second, signal = torch.randn(3, 32, 32, 32, generator=generator)
        # Common signal in the low shells only, which the mask smears into the others.
        transform = centred_fft(signal.double(), 3) * (shell_numbers(32) < 5)
        common = 10 * centred_ifft(transform, 3).real.float()
        halves = (common + first, common + second)
        curve = fourier_shell_correlation(halves[0] * mask, halves[1] * mask)
        masked.append(curve.values)
        corrected.append(mask_corrected_fsc(halves, mask, 5, generator).values)
    masked, corrected = torch.stack(masked).mean(0), torch.stack(corrected).mean(0)
    assert masked[6:10].mean() > 0.2
    assert corrected[6:10].abs().max() < 0.15
    torch.testing.assert_close(corrected[:6], masked[:6])


def test_half_maps_that_agree_still_agree_after_the_correction():
    volume = noise(0)
    generator = torch.Generator().manual_seed(1)
    curve = mask_corrected_fsc((volume, volume), soft_sphere(16, 5.0, 2.0), 3, generator)
    torch.testing.assert_close(curve.values, torch.ones(7))
