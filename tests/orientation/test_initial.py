"""Maps made from images alone."""

import pytest
import torch

from cryodrgn.errors import NumericalError
from cryodrgn.orientation.initial import Sample
from cryodrgn.orientation.maps import at_radius, map_of_slices
from cryodrgn.orientation.pose_alignment import align_poses
from cryodrgn.orientation.settings import GridSettings
from cryodrgn.orientation.slices import Slices, box_within
from cryodrgn.orientation.starts import (
    CERTAIN,
    compare_starts,
    effective_directions,
    why_collapsed,
)

SETTINGS = GridSettings(radius_start=8, radius_end=11, shift_extent_px=2.0)


def sample_of(views, images, num_held_out=20) -> Sample:
    disc = views.disc.within(8)
    count = len(disc.points)
    return Sample(
        images=images[:, :count],
        ctf=views.ctf[: len(images), :count],
        disc=disc,
        box_size=len(views.volume),
        num_held_out=num_held_out,
    )


@pytest.fixture(scope="module")
def noisy(views):
    generator = torch.Generator().manual_seed(1)
    images = views.images[:200]
    sigma = images.square().mean().sqrt()
    return images + sigma * torch.randn(images.shape, generator=generator)


@pytest.mark.slow
def test_poses_are_found_from_nothing_whatever_the_seed(views, noisy):
    found = compare_starts(sample_of(views, noisy), SETTINGS, [0, 1])
    for start in (found.best, *found.others):
        aligned = align_poses((views.rotations[:200], None), (start.rotations, None))
        # The grid is 15° fine: the median distance of random rotations to it is 8°.
        assert aligned.median_deg < 15
        assert start.score > 5 * start.score_error
    assert found.distances_deg[0] < 15


def test_noise_has_no_structure(views, noisy):
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(noisy[:120].shape, generator=generator)
    with pytest.raises(NumericalError, match=r"no better than a featureless blob.*`seed`"):
        compare_starts(sample_of(views, noise), SETTINGS, [0])


def test_few_images_without_noise_have_structure(views):
    few = GridSettings(radius_start=6, shift_extent_px=2.0, num_shifts=3)
    found = compare_starts(sample_of(views, views.images[:20], 2), few, [0])
    assert found.best.score > CERTAIN


def test_images_that_are_all_certain_need_not_be_equally_so(views):
    # A hundred images without noise: these ten judged a map that explains 95 % of the power.
    ratios = torch.tensor([169.7, 262, 259.5, 432, 1594.9, 164.6, 97.6, 207, 118.7, 817.6])
    assert why_collapsed(ratios, views.rotations) is None
    by_chance = torch.tensor([0.4, 0.3])
    for undecided in (ratios * torch.tensor([1, -1] * 5), -ratios, by_chance):
        reason = why_collapsed(undecided, views.rotations)
        assert reason is not None
        assert "blob" in reason


def test_a_map_of_its_own_slices_is_the_map(views):
    radius = 8
    disc = views.disc.within(radius)
    full = Slices(views.volume[None], 11).at(disc.points, views.rotations)[0]
    weights = torch.ones(full.shape[:2])
    found = map_of_slices(disc.points, radius, views.rotations, full, weights)
    assert len(found) == box_within(radius)
    again = Slices(found[None], radius).at(disc.points, views.rotations)[0]
    correlation = (again * full).sum() / (again.norm() * full.norm())
    assert float(correlation) > 0.98


def test_more_frequencies_are_added_empty_and_taken_away_again(views):
    small = at_radius(at_radius(views.volume, 8), 8)
    assert len(small) == 18
    grown = at_radius(small, 11)
    torch.testing.assert_close(at_radius(grown, 8), small, rtol=1e-4, atol=1e-5)


def test_poses_along_one_direction_have_collapsed(views):
    advantages = torch.ones(20) + 0.1 * torch.arange(20)
    same = views.rotations[:1].expand(100, 3, 3)
    reason = why_collapsed(advantages, same)
    assert reason is not None
    assert "directions" in reason
    assert why_collapsed(advantages, views.rotations) is None
    assert effective_directions(same) == pytest.approx(1)
