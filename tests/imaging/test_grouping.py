"""Images of one particle in a flat list of images."""

import pytest
import torch

from cryodrgn.imaging.grouping import Grouping

UNEQUAL = Grouping(num_images=6, counts=torch.tensor([1, 3, 2]))
PAIRS = Grouping(num_images=6, counts=2)


@pytest.mark.parametrize(
    ("grouping", "owners"), [(UNEQUAL, [0, 1, 1, 1, 2, 2]), (PAIRS, [0, 0, 1, 1, 2, 2])]
)
def test_values_go_to_the_images_of_their_particle_and_back(grouping, owners):
    index = torch.tensor(owners)
    assert torch.equal(grouping.spread(torch.arange(3)), index)
    values = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(grouping.spread(values), values[index])
    images = torch.randn(6, 2, generator=torch.Generator().manual_seed(1))
    sums = torch.zeros(3, 2).index_add_(0, index, images)
    torch.testing.assert_close(grouping.total(images), sums)
    torch.testing.assert_close(grouping.mean(images), sums / index.bincount()[:, None])
    first = [owners.index(particle) for particle in range(3)]
    assert torch.equal(grouping.first(images), images[first])


@pytest.mark.parametrize("grouping", [UNEQUAL, PAIRS])
def test_gradients_of_sums_and_means_are_those_of_their_formulas(grouping):
    images = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(grouping.total, images)
    assert torch.autograd.gradcheck(grouping.mean, images)


def test_with_one_image_each_nothing_is_copied():
    alone, values = Grouping(num_images=3), torch.randn(3, 2)
    for method in (alone.spread, alone.total, alone.mean, alone.first):
        assert method(values) is values


def test_lists_are_joined():
    both = Grouping.joined([UNEQUAL, UNEQUAL])
    assert both.num_images == 12
    owners = both.spread(torch.arange(6))
    assert owners.tolist() == [0, 1, 1, 1, 2, 2, 3, 4, 4, 4, 5, 5]
    assert Grouping.joined([PAIRS, PAIRS]).spread(torch.arange(6)).tolist()[-2:] == [5, 5]
