import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.transforms import images_from_lattice, transform_on_lattice
from cryodrgn.geometry.rotations import random_rotations
from cryodrgn.imaging.slices import slice_coordinates
from cryodrgn.kernels import backends, torch_kernels
from cryodrgn.kernels.projection import VolumeSlicer


def blobs(centres: np.ndarray, box_size: int = 32, width: float = 1.5) -> np.ndarray:
    """A sum of Gaussians at positions (x, y, z) relative to the origin."""
    axis = np.arange(box_size) - box_size // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    volume = np.zeros_like(x, dtype=float)
    for cx, cy, cz in centres:
        volume += np.exp(-((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / (2 * width**2))
    return volume


def test_projections_of_blobs_are_blobs_at_the_rotated_positions():
    centres = np.array([[5.0, 2.0, -3.0], [-4.0, 6.0, 1.0], [0.0, -7.0, 4.0]])
    rotations = random_rotations(5, torch.Generator().manual_seed(0))
    slicer = VolumeSlicer(torch.from_numpy(blobs(centres)).float())
    lattice = HalfPlaneFrequencies.disc(32)
    images = images_from_lattice(slicer.slices(lattice, rotations), lattice)
    axis = np.arange(32) - 16
    y, x = np.meshgrid(axis, axis, indexing="ij")
    for image, rotation in zip(images, rotations.double().numpy(), strict=True):
        expected = np.zeros((32, 32))
        for px, py, _ in centres @ rotation.T:
            expected += np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 1.5**2))
        expected *= 1.5 * np.sqrt(2 * np.pi)
        # The slice holds everything but the mean.
        np.testing.assert_allclose(
            image, expected - expected.mean(), atol=0.01 * expected.max()
        )


def test_the_unrotated_projection_is_the_sum_along_z():
    noise = np.random.default_rng(0).normal(size=(24, 24, 24))
    axis = np.arange(24) - 12
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    ball = x**2 + y**2 + z**2 < 8**2
    volume = torch.from_numpy(gaussian_filter(noise, 1) * ball).float()
    lattice = HalfPlaneFrequencies.disc(24, 11)
    expected = transform_on_lattice(volume.sum(0)[None], lattice)
    found = VolumeSlicer(volume).slices(lattice, torch.eye(3)[None])
    assert (found - expected).norm() / expected.norm() < 0.025


def test_images_come_back_from_their_lattice_values():
    lattice = HalfPlaneFrequencies.disc(12)
    values = torch.randn(2, len(lattice), 2, generator=torch.Generator().manual_seed(0))
    # The transform of a real image is real at the Nyquist frequency of each axis.
    values[:, (lattice.points.abs() == 6).any(-1), 1] = 0
    images = images_from_lattice(values, lattice)
    torch.testing.assert_close(transform_on_lattice(images, lattice), values, atol=1e-5, rtol=0)


def test_compiled_and_torch_readings_of_a_transform_are_the_same_bits():
    if not backends.HAS_NUMBA:
        pytest.skip("numba is not installed")
    volume = torch.randn(12, 12, 12, generator=torch.Generator().manual_seed(0))
    transform = torch.view_as_real(torch.fft.rfftn(volume))
    rotations = random_rotations(40, torch.Generator().manual_seed(1))
    # The axes of the first images lie along those of the volume: edges of the grid.
    rotations[:3] = torch.eye(3)[torch.tensor([[0, 1, 2], [1, 2, 0], [2, 0, 1]])]
    lattice = HalfPlaneFrequencies.disc(12)
    points = slice_coordinates(lattice.points.float(), rotations).reshape(-1, 3)
    compiled = backends.kernels_for(torch.device("cpu"))
    expected = torch_kernels.read_transform(transform, points)
    assert torch.equal(compiled.read_transform(transform, points), expected)


def test_at_frequencies_of_the_grid_a_transform_is_read_as_it_is():
    volume = torch.randn(10, 10, 10, generator=torch.Generator().manual_seed(0))
    transform = torch.view_as_real(torch.fft.rfftn(volume))
    whole = torch.view_as_real(torch.fft.fftn(volume))
    points = torch.tensor([[1, 2, -3], [-1, 4, 0], [0, -4, 3], [-3, -1, -2], [5, 0, 0]])
    expected = whole[points[:, 2], points[:, 1], points[:, 0]]
    for kernels in (torch_kernels, backends.kernels_for(torch.device("cpu"))):
        found = kernels.read_transform(transform, points.float())
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
