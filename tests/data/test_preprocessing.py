import numpy as np
import pytest
import torch

from cryodrgn.data.preprocessing import (
    Preprocessing,
    estimate_scale,
    prepare_images,
    preprocess,
)
from cryodrgn.errors import NumericalError
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.transforms import centred_fft, hartley, symmetrise
from cryodrgn.imaging.masks import circular_window
from cryodrgn.io.particle_files import ParticleFiles, open_particles

IMAGES = torch.randn(3, 12, 12, generator=torch.Generator().manual_seed(0))


def test_window_sign_offset_and_scale_act_in_this_order_on_hartley_values():
    lattice = HalfPlaneFrequencies.square(12)
    settings = Preprocessing(window_radius=0.85, invert=True, offset=0.5, scale=4.0)
    found = lattice.to_hartley(preprocess(IMAGES, lattice, settings))
    windowed = symmetrise(hartley(IMAGES * circular_window(12), 2), 2).flatten(1)
    torch.testing.assert_close(found, (-windowed - 0.5) / 4)


def test_the_transform_of_a_cropped_image_is_part_of_that_of_the_image():
    small = HalfPlaneFrequencies.disc(8)
    found = torch.view_as_complex(preprocess(IMAGES, small, Preprocessing()))
    kx, ky = small.points.unbind(-1)
    expected = centred_fft(IMAGES, 2)[:, ky + 6, kx + 6]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_shifts_centre_particles_by_each_ones_own_pixel_size(write_stack, write_pickle):
    image = torch.zeros(12, 12)
    image[6, 6] = 1
    # The same shift of +2 px in x and −3 px in y, at two pixel sizes.
    stack = write_stack(image.roll((3, -2), (0, 1)).expand(2, 12, 12).numpy())
    poses = write_pickle(
        (np.tile(np.eye(3), (2, 1, 1)), np.tile([2 / 12, -3 / 12], (2, 1))), "poses.pkl"
    )
    ctf = np.tile(np.array([12, 1.0, 1e4, 1e4, 0, 300, 2.7, 0.1, 0], np.float32), (2, 1))
    ctf[1, 1] = 1.7
    files = ParticleFiles(particles=stack, poses=poses, ctf=write_pickle(ctf, "ctf.pkl"))
    lattice = HalfPlaneFrequencies.disc(12, 5)
    values = prepare_images(
        open_particles(files).images, np.arange(2), lattice, Preprocessing()
    )
    centred = torch.tensor([1.0, 0.0]).repeat(*values.shape[:2], 1)
    # Whole shells within 12 / 2 / 1.7 = 3.53 cycles per box, scaled with the pixel size.
    shown = lattice.points.square().sum(1) < 3.5**2
    centred[1] = 1.7 * centred[1] * shown[:, None]
    torch.testing.assert_close(values, centred, atol=1e-5, rtol=0)


def test_scale_makes_the_compared_values_of_noise_unit_variance(write_stack, rng):
    stack = write_stack(5 + 3 * rng.normal(size=(300, 16, 16)))
    particles = open_particles(ParticleFiles(particles=stack))
    lattice = HalfPlaneFrequencies.disc(16)
    scale = estimate_scale(particles, lattice, Preprocessing())
    assert scale == pytest.approx(3 * 16, rel=0.02)
    windowed = Preprocessing(window_radius=0.85)
    settings = Preprocessing(
        window_radius=0.85, scale=estimate_scale(particles, lattice, windowed)
    )
    values = prepare_images(particles.images, np.arange(300), lattice, settings)
    assert lattice.to_hartley(values).square().mean() == pytest.approx(1, rel=1e-3)


def test_a_set_of_empty_images_is_refused(write_stack):
    particles = open_particles(ParticleFiles(particles=write_stack(np.zeros((3, 8, 8)))))
    with pytest.raises(NumericalError, match="all images are zero"):
        estimate_scale(particles, HalfPlaneFrequencies.disc(8), Preprocessing())
