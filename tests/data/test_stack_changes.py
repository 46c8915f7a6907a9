import numpy as np
import pytest
import torch

from cryodrgn.data.stack_changes import (
    change_stack,
    phase_flip,
    signal_strength,
    translate,
    white_noise,
)
from cryodrgn.errors import ConfigError
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.particles.optics import CtfTable


@pytest.fixture
def images(rng):
    return rng.normal(size=(3, 16, 16)).astype(np.float32)


def ctf(count, defocus=15000.0):
    def same(value):
        return np.full(count, value, dtype=np.float32)

    return CtfTable(
        defocus_u=same(defocus),
        defocus_v=same(defocus),
        defocus_angle=same(0),
        voltage_kv=same(300),
        spherical_aberration_mm=same(2.7),
        amplitude_contrast=same(0.1),
        phase_shift=same(0),
        source="test",
    )


def test_moving_by_whole_pixels_rolls_the_image(images):
    shifts = np.array([[2.0, 5.0], [-1.0, 0.0], [0.0, 0.0]])
    moved = translate(shifts)(torch.from_numpy(images), np.arange(3))
    for image, before, (x, y) in zip(moved, images, shifts.astype(int), strict=True):
        np.testing.assert_allclose(image, np.roll(before, (y, x), (0, 1)), atol=1e-5)


def test_flipping_phases_twice_changes_nothing(images):
    flip = phase_flip(ctf(3), np.full(3, 2.0))
    once = flip(torch.from_numpy(images), np.arange(3))
    assert np.abs(once.numpy() - images).max() > 0.1
    np.testing.assert_allclose(flip(once, np.arange(3)), images, atol=1e-5)


def test_flipping_phases_keeps_every_amplitude(images):
    once = phase_flip(ctf(3), np.full(3, 2.0))(torch.from_numpy(images), np.arange(3))
    np.testing.assert_allclose(
        np.abs(np.fft.fft2(once)), np.abs(np.fft.fft2(images)), atol=1e-3
    )


def test_noise_has_the_strength_asked_for():
    noise = white_noise(3.0, torch.Generator().manual_seed(0))
    assert noise(torch.zeros(50, 32, 32), np.arange(50)).std().item() == pytest.approx(
        3, rel=0.01
    )
    with pytest.raises(ConfigError, match="must not be negative"):
        white_noise(-1.0, torch.Generator())


def test_the_signal_is_measured_where_it_is_asked_for(write_stack):
    images = np.zeros((2, 8, 8))
    images[:, 4, 4] = [1.0, 3.0]
    stack = ImageStack.whole_files([write_stack(images)])
    assert signal_strength(stack) == pytest.approx(images.std(), rel=1e-5)
    assert signal_strength(stack, "strict") == pytest.approx(1.0, rel=1e-5)
    assert signal_strength(stack, "circular", 0.5) == pytest.approx(1.0, rel=1e-5)


def test_images_of_half_precision_stay_what_they_are(tmp_path, images):
    from cryodrgn.io.mrc import stack_writer

    with stack_writer(tmp_path / "a.mrcs", 16, 1.5, "float16") as writer:
        writer.append(images)
    stack = ImageStack.whole_files([tmp_path / "a.mrcs"])
    change_stack(stack.select(np.array([2, 0])), tmp_path / "b.mrcs", None, 1.5)
    kept = ImageStack.whole_files([tmp_path / "b.mrcs"])
    assert kept.dtype == "float16"
    assert kept.pixel_size == 1.5
    np.testing.assert_array_equal(
        kept.read(np.arange(2)), images[[2, 0]].astype(np.float16).astype(np.float32)
    )


def test_the_images_that_are_read_are_not_overwritten(fail, write_stack, tmp_path, images):
    stack = write_stack(images)
    before = stack.read_bytes()
    (tmp_path / "list.txt").write_text(f"{stack.name}\n")
    said = fail("downsample", tmp_path / "list.txt", "-D", 8, "-o", stack)
    assert "give the output another name" in said
    with pytest.raises(ConfigError, match="holds the images that are read"):
        change_stack(ImageStack.whole_files([stack]), stack, None, 1.0)
    assert stack.read_bytes() == before
