"""Images turned in their plane."""

import math

import torch

from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.transforms import images_from_lattice, transform_on_lattice
from cryodrgn.geometry.rotations import random_rotations
from cryodrgn.imaging.image_rotation import rotate_in_plane
from cryodrgn.kernels.projection import VolumeSlicer

BOX = 32
LATTICE = HalfPlaneFrequencies.disc(BOX)


def blob(x: float, y: float) -> torch.Tensor:
    axis = torch.arange(BOX) - BOX // 2
    return torch.exp(-((axis - x) ** 2 + (axis[:, None] - y) ** 2) / 8.0)


def test_what_stood_on_the_axis_x_stands_on_the_axis_y_after_a_quarter():
    images = torch.stack([blob(7, 0), blob(7, 0), blob(7, 0)])
    angles = torch.tensor([math.pi / 2, -math.pi / 2, math.pi])
    turned = rotate_in_plane(transform_on_lattice(images, LATTICE), LATTICE, angles)
    expected = torch.stack([blob(0, 7), blob(0, -7), blob(-7, 0)])
    found = images_from_lattice(turned, LATTICE)
    # The lattice leaves out the mean and the corners.
    kept = images_from_lattice(transform_on_lattice(expected, LATTICE), LATTICE)
    torch.testing.assert_close(found, kept, atol=1e-2, rtol=0)


def test_turned_projections_are_those_of_turned_poses():
    generator = torch.Generator().manual_seed(0)
    places = (torch.rand(6, 3, generator=generator) - 0.5) * 14
    axis = torch.arange(BOX) - BOX // 2
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    volume = sum(torch.exp(-(grid - place).square().sum(-1) / 10.0) for place in places)
    rotations = random_rotations(5, generator)
    angles = torch.rand(5, generator=generator) * 2 * math.pi
    cosine, sine = angles.cos(), angles.sin()
    zero, one = torch.zeros(5), torch.ones(5)
    turns = torch.stack([cosine, -sine, zero, sine, cosine, zero, zero, zero, one], dim=-1)
    slicer = VolumeSlicer(volume)
    expected = slicer.slices(LATTICE, turns.view(-1, 3, 3) @ rotations)
    found = rotate_in_plane(slicer.slices(LATTICE, rotations), LATTICE, angles)
    assert float((found - expected).norm() / expected.norm()) < 0.06
