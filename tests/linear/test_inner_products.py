import pytest
import torch

from cryodrgn.data.training_set import Batch
from cryodrgn.fourier import compiled
from cryodrgn.fourier.gridding import interpolate
from cryodrgn.fourier.grids import HalfLattice
from cryodrgn.geometry.rotations import random_rotations
from cryodrgn.imaging.grouping import Grouping
from cryodrgn.imaging.slices import slice_coordinates
from cryodrgn.linear.inner_products import inner_products
from cryodrgn.linear.subspace import Subspace

BOX_SIZE, RADIUS, NUM_IMAGES = 20, 7, 5


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    lattice = HalfLattice.disc(BOX_SIZE).by_radius()
    radii = lattice.points.double().norm(dim=-1)
    num_points = int((radii <= RADIUS).sum())
    shells = radii[:num_points].round().long()
    rotations = random_rotations(NUM_IMAGES, generator)
    frequencies = lattice.frequencies.float()[:num_points]
    batch = Batch(
        rows=torch.arange(NUM_IMAGES),
        image_rows=torch.arange(NUM_IMAGES),
        grouping=Grouping(num_images=NUM_IMAGES),
        images_per_particle=1.0,
        weights=None,
        images=torch.randn(NUM_IMAGES, num_points, 2, generator=generator),
        ctf=torch.randn(NUM_IMAGES, num_points, generator=generator),
        coordinates=slice_coordinates(frequencies, rotations),
        compared=None,
    )
    volumes = torch.randn(3, *3 * (2 * (RADIUS + 2),), generator=generator)
    subspace = Subspace(volumes=volumes, prior=torch.ones(3, RADIUS + 2), radius=RADIUS)
    return subspace, batch, shells


@pytest.mark.parametrize("way", ["compiled", "torch"])
def test_shells_hold_the_products_of_slices_and_images(case, monkeypatch, way):
    if way == "torch":
        monkeypatch.setattr(compiled, "IS_AVAILABLE", False)
    subspace, batch, shells = case
    starts = [0, *torch.bincount(shells).cumsum(0).tolist()]
    found = inner_products(subspace.grid, subspace.table(), batch, starts, BOX_SIZE)

    points = batch.coordinates.reshape(-1, 3) * BOX_SIZE
    slices = interpolate(subspace.grid, subspace.table(), points)
    slices = slices.view(NUM_IMAGES, len(shells), 2, 3) * batch.ctf[..., None, None]
    vectors = torch.cat([slices, batch.images[..., None]], dim=-1)
    for shell in range(len(starts) - 1):
        part = vectors[:, shells == shell]
        expected = torch.einsum("bpri,bprj->bij", part, part)
        torch.testing.assert_close(found[:, shell], expected, atol=1e-3, rtol=1e-4)
