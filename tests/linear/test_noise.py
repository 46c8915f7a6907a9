"""Noise by optics group: who belongs together, and that each group keeps its own spectrum."""

from dataclasses import dataclass

import numpy as np
import torch

from cryodrgn.imaging.noise import NoiseModel, ResidualPower
from cryodrgn.particles.image_table import ImageTable
from cryodrgn.particles.optics import CtfTable
from cryodrgn.particles.optics_groups import (
    LEAST_GROUP,
    groups_by_optics,
    optics_groups,
    optics_of_groups,
    shares_of_optics,
)


def images_of(voltages):
    """Images that differ in nothing but their voltage."""
    voltages = np.asarray(voltages, np.float32)
    some = np.ones_like(voltages)
    ctf = CtfTable(
        defocus_u=1e4 * some,
        defocus_v=1e4 * some,
        defocus_angle=0 * some,
        voltage_kv=voltages,
        spherical_aberration_mm=2.7 * some,
        amplitude_contrast=0.1 * some,
        phase_shift=0 * some,
        source="test",
    )
    return ImageTable(
        pixels=Images(len(voltages)),
        pixel_sizes=some,
        poses=None,
        ctf=ctf,
        rows=np.arange(len(voltages)),
        source="test",
    )


@dataclass
class Images:
    """The number of images and their side are all that is asked of them here."""

    count: int
    box_size: int = 16

    def __len__(self):
        return self.count


def test_groups_are_those_of_equal_optics_and_small_ones_share_one():
    sizes = (LEAST_GROUP, 20, LEAST_GROUP + 1, 30)
    voltages = np.repeat([300.0, 120.0, 200.0, 100.0], sizes)
    order = np.random.default_rng(0).permutation(len(voltages))
    images = images_of(voltages[order])
    groups = optics_groups(images)
    named = {v: set(groups[voltages[order] == v].tolist()) for v in np.unique(voltages)}
    assert all(len(names) == 1 for names in named.values())
    assert named[120.0] == named[100.0]
    assert len(named[300.0] | named[200.0] | named[120.0]) == 3

    optics, known = optics_of_groups(images, groups)
    assert known[groups_by_optics(images_of([301.0]), optics)] == named[300.0].pop()
    assert known[groups_by_optics(images_of([199.0]), optics)] == named[200.0].pop()


def test_images_find_the_group_that_they_were_fitted_in_whichever_it_was_put_into():
    # Those of 290 kV are more like the large group than like the others of their own.
    voltages = np.repeat([300.0, 290.0, 120.0], (LEAST_GROUP, 20, 30))
    images = images_of(voltages)
    groups = optics_groups(images)
    optics, known = optics_of_groups(images, groups)
    assert groups[LEAST_GROUP] == groups[-1] != groups[0]
    np.testing.assert_array_equal(known[groups_by_optics(images, optics)], groups)


def test_groups_of_other_images_are_found_by_their_optics():
    # There, 200 kV was the second group; here, it is put together with 120 kV.
    optics = np.float32([[1, 300, 2.7, 0.1], [1, 200, 2.7, 0.1], [1, 120, 2.7, 0.1]])
    images = images_of(np.repeat([120.0, 200.0, 300.0], (100, 300, LEAST_GROUP)))
    shares = shares_of_optics(images, optics)
    groups = optics_groups(images)
    np.testing.assert_allclose(shares[groups[0]], [0, 0.75, 0.25])
    np.testing.assert_allclose(shares[groups[-1]], [1, 0, 0])


def test_every_group_gets_the_noise_of_its_own_images():
    shells = torch.tensor([0, 1, 1, 2, 2, 2])
    groups = torch.tensor([0, 1] * 50)
    noise = NoiseModel(groups=groups, spectra=torch.ones(2, 3), shells=shells)
    variances = torch.tensor([[1.0, 2.0, 3.0], [4.0, 8.0, 16.0]])
    residuals = ResidualPower(noise, len(shells))
    rows = torch.arange(100)
    for part in rows.split(7):
        residuals.add(part, variances[groups[part]] * noise.points_of_shells(len(shells)))
    updated = residuals.updated()
    torch.testing.assert_close(updated.spectra, variances)
    precision = updated.precision(torch.tensor([3, 4]), len(shells))
    torch.testing.assert_close(precision[0], 1 / variances[1][shells])
    torch.testing.assert_close(precision[1], 1 / variances[0][shells])


def test_a_group_none_of_whose_images_were_looked_at_begins_with_the_mean_of_the_others():
    shells = torch.tensor([0, 1, 1])
    groups = torch.tensor([0, 1, 2] * 10)
    noise = NoiseModel(groups=groups, spectra=torch.ones(3, 2), shells=shells)
    residuals = ResidualPower(noise, len(shells))
    variances = torch.tensor([[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]])
    seen = torch.nonzero(groups < 2).squeeze(1)
    residuals.add(seen, variances[groups[seen]] * noise.points_of_shells(len(shells)))
    found = residuals.first().spectra
    torch.testing.assert_close(found[:2], variances[:2])
    torch.testing.assert_close(found[2], torch.tensor([2.0, 4.0]))
    # Later on it keeps what is known of it.
    torch.testing.assert_close(residuals.updated().spectra[2], torch.ones(2))
