import numpy as np
import pytest
import torch

from cryodrgn.diagnosis.conventions import STATED, Convention, alternatives
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.transforms import images_from_lattice
from cryodrgn.geometry.rotations import random_rotations
from cryodrgn.kernels.projection import VolumeSlicer


def test_the_stated_convention_changes_nothing(rng):
    rotations = random_rotations(4, torch.Generator().manual_seed(0)).numpy()
    shifts = rng.normal(size=(4, 2)).astype(np.float32)
    np.testing.assert_array_equal(STATED.rotations(rotations), rotations)
    np.testing.assert_array_equal(STATED.shifts(shifts), shifts)


def test_mirrored_images_are_projections_of_the_mirrored_volume():
    # This is why an upside-down stack can be told, but a wrong hand cannot.
    generator = torch.Generator().manual_seed(1)
    volume = torch.nn.functional.pad(torch.rand(8, 8, 8, generator=generator), (4,) * 6)
    rotations = random_rotations(3, generator)
    lattice = HalfPlaneFrequencies.disc(16)

    def project(volume, rotations):
        return images_from_lattice(VolumeSlicer(volume).slices(lattice, rotations), lattice)

    mirrored = torch.roll(volume.flip(0), 1, 0)
    changed = torch.from_numpy(Convention(upside_down=True).rotations(rotations.numpy()))
    expected = torch.roll(project(volume, rotations).flip(1), 1, 1)
    torch.testing.assert_close(project(mirrored, changed), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("convention", "expected"),
    [
        (Convention(shift="negative"), [-1.0, -2.0]),
        (Convention(shift="off"), [0.0, 0.0]),
        (Convention(shift="exchanged", shift_scale=2.0), [4.0, 2.0]),
        (Convention(upside_down=True), [1.0, -2.0]),
    ],
)
def test_shifts_are_understood_as_the_convention_says(convention, expected):
    found = convention.shifts(np.array([[1.0, 2.0]], dtype=np.float32))
    np.testing.assert_array_equal(found[0], expected)


def test_changes_add_up():
    both = Convention(rotation="inverse").combined(Convention(pixel_scale=2.0))
    assert both == Convention(rotation="inverse", pixel_scale=2.0)
    assert len(set(alternatives(has_ctf=True, has_shifts=True).values())) == 23
    assert len(alternatives(has_ctf=False, has_shifts=False)) == 4
