import pytest
import torch

from cryodrgn.errors import ShapeMismatchError
from cryodrgn.geometry.rotations import random_rotations, rotation_distance
from cryodrgn.kernels.projection import move_volume
from cryodrgn.reconstruction.align import AlignmentSettings, align_volume
from cryodrgn.simulation.states import hinge_states


@pytest.fixture(scope="module")
def molecule():
    return torch.from_numpy(hinge_states(1, 90.0, 24, 8.0).volumes[0])


def test_a_moved_and_noisy_volume_is_brought_back(molecule):
    generator = torch.Generator().manual_seed(2)
    rotation = random_rotations(1, generator)[0]
    shift = torch.tensor([1.3, -0.7, 0.4])
    target = move_volume(molecule, rotation, shift)
    target = target + 0.5 * target.std() * torch.randn(target.shape, generator=generator)
    found = align_volume(target, molecule, settings=AlignmentSettings(num_levels=2))
    assert rotation_distance(found.rotation[None], rotation[None]).item() < 0.01
    torch.testing.assert_close(found.shift, shift, atol=0.1, rtol=0)
    assert found.correlation > 0.9


def test_volumes_of_different_size_are_refused(molecule):
    with pytest.raises(ShapeMismatchError, match="24 and 20 voxels"):
        align_volume(molecule, torch.zeros(20, 20, 20))
