"""Change of the box size by cropping in Fourier space.

The values of the transform are kept, hence the sum over all pixels too; the pixel size
grows by the ratio of the box sizes.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.errors import ConfigError


def check_new_box_size(old: int, new: int) -> None:
    """Refuse box sizes to which an array of side ``old`` cannot be downsampled.

    Raises:
        ConfigError: One of them is odd, or the new one is larger than the old one.
    """
    if old % 2:
        msg = f"the box size must be even, but the input has {old} pixels"
        raise ConfigError(msg)
    if new % 2 or new < 2:
        msg = f"the new box size must be even and positive, got {new}"
        raise ConfigError(msg)
    if new > old:
        msg = (
            f"the new box size of {new} pixels is larger than the input's {old}; give {old} "
            "or less"
        )
        raise ConfigError(msg)


def downsample_images(
    images: Float[Tensor, "batch box box"], new_box_size: int
) -> Float[Tensor, "batch new new"]:
    """Low-pass images to a smaller box.

    Args:
        images: Real images of even side.
        new_box_size: Even side of the result.
    """
    return _crop_spectrum(images, new_box_size, num_dims=2)


def downsample_volume(
    volume: Float[Tensor, "box box box"], new_box_size: int
) -> Float[Tensor, "new new new"]:
    """Low-pass a volume to a smaller box."""
    return _crop_spectrum(volume, new_box_size, num_dims=3)


def resize_volume(
    volume: Float[Tensor, "box box box"], new_box_size: int
) -> Float[Tensor, "new new new"]:
    """A volume on a finer or coarser grid in the same box, the values of its transform kept.

    Args:
        volume: A volume of even side. To be enlarged exactly it must hold nothing at its
            Nyquist frequency.
        new_box_size: Even side of the result.
    """
    old = len(volume)
    if new_box_size <= old:
        return downsample_volume(volume, new_box_size)
    half = old // 2
    inner = torch.fft.fftshift(torch.fft.rfftn(volume), dim=(0, 1))[..., :half]
    spectrum = inner.new_zeros(new_box_size, new_box_size, new_box_size // 2 + 1)
    margin = (new_box_size - old) // 2
    kept = slice(margin, margin + old)
    spectrum[kept, kept, :half] = inner
    spectrum = torch.fft.ifftshift(spectrum, dim=(0, 1))
    return torch.fft.irfftn(spectrum, s=(new_box_size,) * 3)


def _crop_spectrum(array: Tensor, new: int, num_dims: int) -> Tensor:
    check_new_box_size(array.shape[-1], new)
    if not array.numel():
        return array.new_zeros(*array.shape[:-num_dims], *[new] * num_dims)
    axes = tuple(range(-num_dims, 0))
    spectrum = torch.fft.rfftn(array, dim=axes)[..., : new // 2 + 1]
    for axis in axes[:-1]:
        # Non-negative frequencies stand first, negative ones last. The new Nyquist frequency
        # is its own negative: it takes the mean of both, as it does on the last axis, where
        # the inverse transform sees to it.
        old = spectrum.shape[axis]
        positive = spectrum.narrow(axis, 0, new // 2 + 1)
        negative = spectrum.narrow(axis, old - new // 2, new // 2)
        ends = positive.narrow(axis, new // 2, 1), negative.narrow(axis, 0, 1)
        pieces = [
            positive.narrow(axis, 0, new // 2),
            (ends[0] + ends[1]) / 2,
            negative.narrow(axis, 1, new // 2 - 1),
        ]
        spectrum = torch.cat(pieces, dim=axis)
    return torch.fft.irfftn(spectrum, s=(new,) * num_dims, dim=axes)
