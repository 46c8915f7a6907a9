"""Poses with respect to a map that is known."""

import pytest
import torch

from cryodrgn.errors import ConfigError
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.resample import downsample_volume
from cryodrgn.fourier.shifts import phases, shifted
from cryodrgn.geometry.rotations import random_rotations, rotation_distance
from cryodrgn.imaging.likelihood import log_likelihood_ratios
from cryodrgn.imaging.slices import slice_axes
from cryodrgn.kernels import backends
from cryodrgn.kernels.projection import VolumeSlicer
from cryodrgn.orientation.branching import BranchAndBoundSearch
from cryodrgn.orientation.comparison import FrequencyDisc, WhitenedImages
from cryodrgn.orientation.settings import GridSettings
from cryodrgn.orientation.slices import Slices, box_within
from cryodrgn.orientation.trial_shifts import local_pose_search, shift_grid


def test_gains_are_differences_of_squared_distances(views):
    generator = torch.Generator().manual_seed(0)
    count, radius = 5, 6
    disc = views.disc.within(radius)
    images = torch.randn(count, len(disc.points), 2, generator=generator)
    ctf = torch.randn(count, len(disc.points), generator=generator)
    variance = disc.shell_means(torch.rand(len(disc.points), generator=generator) + 0.5)
    slices = torch.randn(7, len(disc.points), 2, generator=generator)
    shifts = torch.rand(3, 2, generator=generator) / 10
    observed = WhitenedImages.of(images, ctf, variance)
    moved = shifted(observed.images, phases(disc.points, shifts)[None])
    found = log_likelihood_ratios(moved, observed.weights, slices)

    turned = shifted(images, phases(disc.points, shifts)[None])[:, :, None]
    predicted = ctf[:, None, None, :, None] * slices

    def distance(difference):
        return (difference.square().sum(-1) / variance).sum(-1) / 2

    expected = distance(turned) - distance(turned - predicted)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


def test_slices_of_a_small_map_are_those_of_the_whole(views):
    radius = 8
    disc = views.disc.within(radius)
    small = downsample_volume(views.volume, box_within(radius))
    found = Slices(small[None], radius).at(disc.points, views.rotations[:20])[0]
    lattice = HalfPlaneFrequencies.disc(len(views.volume))
    exact = VolumeSlicer(views.volume).slices(lattice, views.rotations[:20])
    error = found - exact[:, disc.positions]
    assert float(error.norm() / found.norm()) < 0.03


def finder_for(
    views, radius: int, settings: GridSettings, dtype=torch.float32
) -> BranchAndBoundSearch:
    volume = downsample_volume(views.volume, box_within(radius))
    disc = views.disc.within(radius)
    variance = torch.ones(len(disc.points))
    reference = Slices(volume[None], radius)
    radii = settings.radii(radius)
    return BranchAndBoundSearch(
        reference, disc, variance, settings, radii, len(views.volume), dtype=dtype
    )


SETTINGS = GridSettings(radius_start=6, radius_end=11, num_levels=3, shift_extent_px=2.0)


def magnified(rotations):
    """Axes of slices of magnified images."""
    magnification = torch.tensor([[1.04, 0.01], [0.0, 0.97]])
    return slice_axes(rotations, magnification.expand(len(rotations), 2, 2))


@pytest.mark.parametrize("with_ctf", [True, False])
@pytest.mark.parametrize("is_magnified", [False, True])
def test_compiled_loops_find_what_products_of_matrices_find(
    views, with_ctf, is_magnified, monkeypatch
):
    if not backends.HAS_NUMBA:
        pytest.skip("numba is not installed")
    generator = torch.Generator().manual_seed(5)
    batch, kept, parts, radius = 70, 3, 4, 10
    disc = views.disc.within(radius)
    count = len(disc.points)
    volumes = torch.randn(1, *[box_within(11)] * 3, generator=generator)
    images = torch.randn(batch, count, 2, generator=generator)
    ctf = torch.randn(batch, count, generator=generator) if with_ctf else None
    variance = torch.rand(count, generator=generator) + 0.5
    rotations = random_rotations(batch * kept * parts, generator)
    shifts = torch.rand(batch, kept, 2, generator=generator) / 10
    steps = torch.cartesian_prod(*[torch.tensor([-0.02, 0.0, 0.02])] * 2)
    case = (
        Slices(volumes, 11),
        disc.points,
        WhitenedImages.of(images, ctf, variance),
        (magnified(rotations) if is_magnified else rotations).view(batch, kept, parts, -1, 3),
        shifts,
        steps,
    )
    found, which = local_pose_search(*case)
    monkeypatch.setattr(backends, "HAS_NUMBA", False)
    expected, expected_which = local_pose_search(*case)
    scale = float(expected.std())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * scale)
    assert torch.equal(which, expected_which)
    assert len(which.unique()) == len(steps)


def test_magnified_slices_of_inner_frequencies_are_those_of_all(views):
    axes = magnified(views.rotations[:5])
    slices, inner = Slices(views.volume[None], 11), views.disc.within(6)
    whole = slices.at(views.disc.points, axes)[0, :, : len(inner.points)]
    torch.testing.assert_close(slices.at(inner.points, axes)[0], whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_poses_are_found_to_the_spacing_of_the_last_grid(views, dtype):
    finder = finder_for(views, 11, SETTINGS, dtype)
    found = finder.find(views.images[:64], views.ctf[:64])
    # The first grid is 15° fine, and was refined three times.
    angles = rotation_distance(found.rotations, views.rotations[:64]).rad2deg()
    assert float(angles.quantile(0.95)) < 15 / 8
    distances = (found.shifts - views.shifts[:64]).norm(dim=1) * len(views.volume)
    assert float(distances.quantile(0.95)) < 0.2


def test_images_without_ctf_and_without_shifts_are_searched(views):
    disc = views.disc
    settings = GridSettings(radius_start=6, radius_end=11, shift_extent_px=0.0)
    plain = Slices(views.volume[None], 11).at(disc.points, views.rotations[:16])[0]
    found = finder_for(views, 11, settings).find(plain, None)
    angles = rotation_distance(found.rotations, views.rotations[:16]).rad2deg()
    assert float(angles.max()) < 2
    assert not found.shifts.any()


def test_what_is_found_explains_the_image_as_well_as_it_says(views):
    finder = finder_for(views, 11, SETTINGS)
    found = finder.find(views.images[:8], views.ctf[:8])
    disc = views.disc
    volume = downsample_volume(views.volume, box_within(11))
    slices = Slices(volume[None], 11).at(disc.points, found.rotations)[0]
    moved = shifted(views.images[:8], phases(disc.points, found.shifts)[:, None])[:, 0]
    left = (moved - views.ctf[:8, :, None] * slices).square().sum((-1, -2)) / 2
    gain = moved.square().sum((-1, -2)) / 2 - left
    torch.testing.assert_close(found.gains, gain, rtol=1e-3, atol=1e-2)


def test_all_images_may_be_searched_in_any_batches(views):
    finder = finder_for(views, 11, SETTINGS)
    whole = finder.find(views.images[:12], views.ctf[:12])
    parts = [finder.find(views.images[i : i + 5], views.ctf[i : i + 5]) for i in (0, 5)]
    joined = torch.cat([part.rotations for part in parts])
    torch.testing.assert_close(joined, whole.rotations[:10])


def test_shifts_are_centred_and_no_finer_than_frequencies_tell():
    settings = GridSettings(shift_extent_px=10.0, num_shifts=7, shift_centre_px=(1.0, -2.0))
    shifts, spacing = shift_grid(settings, level=2, radius=12, box_size=64)
    assert len(shifts) == 14**2
    assert spacing * 64 == pytest.approx(20 / 14)
    torch.testing.assert_close(shifts.mean(0) * 64, torch.tensor([1.0, -2.0]))
    # The middles of the outermost cells lie half a spacing within the extent; x runs fast.
    torch.testing.assert_close(shifts[1] - shifts[0], torch.tensor([spacing, 0.0]))
    few, spacing = shift_grid(GridSettings(shift_extent_px=2.0), 2, 6, 24)
    assert len(few) == 4**2
    assert spacing == pytest.approx(1 / 24)


def test_radii_rise_to_what_was_learnt():
    settings = GridSettings(radius_start=12, radius_end=32, num_levels=4)
    assert settings.radii(64) == [12, 17, 22, 27, 32]
    assert settings.radii(20) == [12, 14, 16, 18, 20]
    assert settings.radii(8) == [8] * 5


@pytest.mark.parametrize(
    ("change", "option"),
    [
        ({"radius_start": 2}, "`radius_start`"),
        ({"radius_end": 5}, "`l_end`"),
        ({"num_kept": 0}, "`num_kept`"),
        ({"base_level": 9}, "`base_level`"),
        ({"shift_extent_px": -1.0}, "`shift_extent_px`"),
    ],
)
def test_grids_that_cannot_be_searched_are_refused(change, option):
    with pytest.raises(ConfigError, match=option):
        GridSettings(**change)


def test_discs_stand_in_each_other():
    disc = FrequencyDisc.of(HalfPlaneFrequencies.disc(16), 7, torch.device("cpu"))
    inner = FrequencyDisc.of(HalfPlaneFrequencies.disc(16), 4, torch.device("cpu"))
    assert torch.equal(disc.within(4).points, inner.points)
    assert torch.equal(disc.within(4).positions, inner.positions)
    flat = disc.shell_means(torch.arange(len(disc.points)).float())
    assert len(flat.unique()) == 7
