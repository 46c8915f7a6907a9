"""Particles and the images that show them: two tables that stay together."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryodrgn.errors import ConfigError, MetadataError, ShapeMismatchError
from cryodrgn.particles.image_table import ImageTable
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.particles.poses import Poses


@dataclass
class Numbered:
    """Images of which every pixel is the number of the image."""

    numbers: np.ndarray
    box_size: int = 4

    def __len__(self):
        return len(self.numbers)

    def read(self, rows):
        return np.broadcast_to(self.numbers[rows][:, None, None], (len(rows), 4, 4))

    def select(self, rows):
        return Numbered(self.numbers[rows])

    def fingerprint(self):
        return self.numbers.tobytes()


def table(count, **columns) -> ImageTable:
    numbers = np.arange(count)
    shifts = np.stack([numbers, numbers], axis=1).astype(np.float32)
    rotations = np.tile(np.eye(3, dtype=np.float32), (count, 1, 1))
    return ImageTable(
        pixels=Numbered(numbers.astype(np.float32)),
        pixel_sizes=np.full(count, 2, np.float32),
        poses=Poses(rotations=rotations, shifts=shifts, source="poses.pkl"),
        ctf=None,
        rows=100 + numbers,
        source="images.star",
        **columns,
    )


def particles_of(counts) -> ParticleSet:
    offsets = np.concatenate([[0], np.cumsum(counts)])
    doses = np.arange(offsets[-1], dtype=np.float32)
    return ParticleSet(
        images=table(offsets[-1], doses=doses),
        original_rows=10 * np.arange(len(counts)),
        offsets=offsets,
    )


counts_and_rows = st.lists(st.integers(1, 4), min_size=1, max_size=6).flatmap(
    lambda counts: st.tuples(
        st.just(counts), st.lists(st.integers(0, len(counts) - 1), min_size=1, max_size=8)
    )
)


@given(counts_and_rows)
def test_chosen_particles_keep_all_of_their_images_in_order(case):
    counts, rows = case
    chosen = particles_of(counts).select(np.array(rows))
    starts = np.concatenate([[0], np.cumsum(counts)])
    expected = [image for row in rows for image in range(starts[row], starts[row + 1])]
    assert chosen.original_rows.tolist() == [10 * row for row in rows]
    assert chosen.images.rows.tolist() == [100 + image for image in expected]
    assert chosen.images.doses.tolist() == expected
    assert chosen.images.poses.shifts[:, 0].tolist() == expected
    assert chosen.images.read(np.arange(len(expected)))[:, 0, 0].tolist() == expected
    owners = [place for place, row in enumerate(rows) for _ in range(counts[row])]
    assert chosen.particle_of_image.tolist() == owners
    assert chosen.first_images.rows.tolist() == [100 + starts[row] for row in rows]
    assert chosen.images_per_particle == len(expected) / len(rows)


def test_with_one_image_each_particles_and_images_are_the_same_rows():
    images = table(5)
    particles = ParticleSet.of_single_images(images)
    rows = np.array([3, 1])
    assert particles.image_rows(rows) is rows
    assert particles.first_images is images
    assert particles.select(rows).images.rows.tolist() == [103, 101]
    assert particles.require_single_images("this") is particles


def test_what_needs_one_image_of_every_particle_says_so():
    with pytest.raises(ConfigError, match=r"--x needs one image.*has 5 images of 2 particles"):
        particles_of([2, 3]).require_single_images("--x")


@pytest.mark.parametrize("offsets", [[0, 2, 2, 5], [0, 2, 4], [1, 2, 3, 5], [0, 5]])
def test_images_without_particle_and_particles_without_image_are_refused(offsets):
    with pytest.raises(ShapeMismatchError, match=r"images.star: 5 images do not belong"):
        ParticleSet(images=table(5), original_rows=np.arange(3), offsets=np.array(offsets))


@pytest.mark.parametrize(
    ("columns", "error", "words"),
    [
        ({"doses": np.zeros(4)}, ShapeMismatchError, "5 images, but 4 values of doses"),
        ({"doses": np.full(5, -1.0)}, MetadataError, "doses of row 0 is -1.0"),
        ({"tilt_angles": np.full(5, np.nan)}, MetadataError, "tilt_angles of row 0 is nan"),
    ],
)
def test_columns_that_no_images_have_are_refused(columns, error, words):
    with pytest.raises(error, match=words):
        table(5, **columns)


def test_cropping_keeps_the_side_in_angstrom():
    images = replace(table(3), pixels=Numbered(np.zeros(3, np.float32), box_size=8))
    cropped = ParticleSet.of_single_images(images).cropped(4)
    assert cropped.box_size == cropped.images.box_size == 4
    np.testing.assert_allclose(cropped.images.side_lengths, images.side_lengths)


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [("doses", -1.0, "a number ≥ 0"), ("tilt_angles", np.nan, "a finite number")],
)
def test_a_column_says_which_numbers_it_may_hold(column, value, expected):
    values = np.array([0.5, value], dtype=np.float32)
    with pytest.raises(MetadataError, match=f"{column} of row 1 is .*, expected {expected}$"):
        table(2, **{column: values})
