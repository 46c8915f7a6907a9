import numpy as np
import pytest

from cryodrgn.diagnosis.screening import find_bad, screen_images
from cryodrgn.io.image_stack import ImageStack


def test_odd_images_are_listed_by_what_is_odd_about_them(write_stack, rng):
    images = rng.normal(size=(60, 16, 16))
    images[3, 2, 2] = np.nan
    images[7] = 5.0
    images[11, 4, 4] = 500.0
    images[20] *= 40
    stack = ImageStack.whole_files([write_stack(images)])
    found = screen_images(stack, np.arange(60))
    assert found.not_finite.tolist() == [3]
    assert found.constant.tolist() == [7]
    assert found.hot_pixels.tolist() == [11]
    assert 20 in found.extreme.tolist()
    assert found.unusable.tolist() == [3, 7]
    assert "1 with no contrast at all" in found.in_words()


def test_sound_images_have_nothing_odd(write_stack, rng):
    stack = ImageStack.whole_files([write_stack(rng.normal(size=(40, 16, 16)))])
    found = screen_images(stack, np.arange(0, 40, 2))
    assert not found.findings()
    assert found.num_screened == 20
    assert "none is bad" in found.in_words()


def test_particles_that_stand_out_of_little_noise_are_not_hot_pixels(write_stack, rng):
    images = rng.normal(size=(60, 24, 24)).astype(np.float32)
    images[:, 12, 12] += rng.uniform(8, 24, 60)
    images[7, 3, 3] = 200
    stack = ImageStack.whole_files([write_stack(images)])
    screening = screen_images(stack, np.arange(60))
    assert screening.hot_pixels.tolist() == [7]


@pytest.mark.parametrize("box", [8, 16, 64, 130])
@pytest.mark.parametrize("count", [1, 5, 40])
def test_bad_images_are_found_in_passing_among_few_and_many(rng, box, count):
    images = rng.normal(5, 2, size=(count, box, box)).astype(np.float32)
    assert find_bad(images) == {}
    images[-1, 1, box // 2] = 60
    assert find_bad(images)["hot pixels"].tolist() == [count - 1]
    images[0] = 3
    found = {what: bad.tolist() for what, bad in find_bad(images).items()}
    assert found["no contrast at all"] == [0]
    assert count == 1 or found["hot pixels"] == [count - 1]
    for value in (np.nan, np.inf, -np.inf):
        images[0, 0, 0] = value
        assert find_bad(images)["pixels that are not finite numbers"].tolist() == [0]


def test_particles_that_stand_out_are_no_hot_pixels_in_passing(rng):
    images = rng.normal(size=(60, 24, 24)).astype(np.float32)
    images[:, 12, 12] += rng.uniform(8, 24, 60)
    assert find_bad(images) == {}
    images[7, 3, 3] = 200
    assert find_bad(images)["hot pixels"].tolist() == [7]


@pytest.mark.parametrize("shape", [(12, 16), (16, 12)])
def test_oblong_images_are_screened_to_their_last_pixel(rng, shape):
    images = rng.normal(size=(8, *shape)).astype(np.float32)
    images[3, -1, -1] = 1000
    assert find_bad(images)["hot pixels"].tolist() == [3]
    # A bright corner is no single pixel, also where it goes on at the opposite edges.
    images[3, -1, 0] = images[3, 0, -1] = 900
    assert find_bad(images) == {}
