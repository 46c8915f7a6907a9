import numpy as np
import pytest
import torch

from cryodrgn.errors import ConfigError
from cryodrgn.fourier.resample import downsample_images, downsample_volume
from cryodrgn.fourier.transforms import centred_fft


def test_transform_below_the_new_nyquist_frequency_is_kept():
    images = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(0))
    before = centred_fft(images, 2)[:, 5:12, 5:12]
    after = centred_fft(downsample_images(images, 8), 2)[:, 1:, 1:]
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


def test_sum_over_voxels_is_kept():
    volume = torch.rand(12, 12, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(downsample_volume(volume, 6).sum(), volume.sum())


def test_same_box_size_changes_nothing():
    images = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(downsample_images(images, 8), images)


def test_mirroring_commutes_with_downsampling():
    images = torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(0))

    def mirror(x: torch.Tensor, axis: int) -> torch.Tensor:
        return x.flip(axis).roll(1, axis)

    for axis in (1, 2):
        torch.testing.assert_close(
            downsample_images(mirror(images, axis), 6),
            mirror(downsample_images(images, 6), axis),
        )


def test_a_slow_wave_is_sampled_at_the_new_pixels():
    x = np.arange(32)
    wave = torch.tensor(np.cos(2 * np.pi * 3 * x / 32 + 0.3), dtype=torch.float32)
    image = wave[None, None, :].expand(1, 32, 32)
    expected = wave[::2] * 4
    torch.testing.assert_close(
        downsample_images(image, 16)[0, 0], expected, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [(15, 8, "even"), (16, 7, "even"), (16, 18, "larger"), (16, 0, "positive")],
)
def test_box_sizes_that_cannot_be_are_refused(old, new, words):
    with pytest.raises(ConfigError, match=words):
        downsample_images(torch.zeros(1, old, old), new)
