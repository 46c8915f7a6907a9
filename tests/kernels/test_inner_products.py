import pytest
import torch

from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.geometry.rotations import random_rotations
from cryodrgn.imaging.slices import slice_coordinates
from cryodrgn.kernels import backends
from cryodrgn.kernels.gridding import interpolate
from cryodrgn.linear.subspace import Subspace

BOX_SIZE, RADIUS, NUM_IMAGES = 20, 7, 5


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    lattice = HalfPlaneFrequencies.disc(BOX_SIZE).by_radius()
    radii = lattice.points.double().norm(dim=-1)
    num_points = int((radii <= RADIUS).sum())
    shells = radii[:num_points].round().long()
    rotations = random_rotations(NUM_IMAGES, generator)
    frequencies = lattice.frequencies.float()[:num_points]
    images = torch.randn(NUM_IMAGES, num_points, 2, generator=generator)
    transfer = torch.randn(NUM_IMAGES, num_points, generator=generator)
    points = slice_coordinates(frequencies, rotations)
    volumes = torch.randn(3, *3 * (2 * (RADIUS + 2),), generator=generator)
    subspace = Subspace(volumes=volumes, prior=torch.ones(3, RADIUS + 2), radius=RADIUS)
    return subspace, (points, images, transfer), shells


@pytest.mark.parametrize("way", ["compiled", "torch"])
def test_shells_hold_the_products_of_slices_and_images(case, monkeypatch, way):
    if way == "torch":
        monkeypatch.setattr(backends, "HAS_NUMBA", False)
    subspace, seen, shells = case
    points, images, transfer = seen
    starts = [0, *torch.bincount(shells).cumsum(0).tolist()]
    kernels = backends.kernels_for(images.device)
    found = kernels.inner_products(subspace.grid, subspace.table(), *seen, starts, BOX_SIZE)

    slices = interpolate(subspace.grid, subspace.table(), points.reshape(-1, 3) * BOX_SIZE)
    slices = slices.view(NUM_IMAGES, len(shells), 2, 3) * transfer[..., None, None]
    vectors = torch.cat([slices, images[..., None]], dim=-1)
    for shell in range(len(starts) - 1):
        part = vectors[:, shells == shell]
        expected = torch.einsum("bpri,bprj->bij", part, part)
        torch.testing.assert_close(found[:, shell], expected, atol=1e-3, rtol=1e-4)
