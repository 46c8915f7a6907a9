import mrcfile
import numpy as np
import pytest

from cryodrgn.errors import ConfigError, InputFileError, ShapeMismatchError
from cryodrgn.io.image_stack import ImageStack


def numbered(count: int, first: int = 0, box_size: int = 4) -> np.ndarray:
    values = np.arange(first, first + count, dtype=np.float32)
    return np.broadcast_to(values[:, None, None], (count, box_size, box_size))


@pytest.fixture
def two_files(write_stack):
    return [write_stack(numbered(5), "a.mrcs"), write_stack(numbered(4, 100), "b.mrcs")]


def test_whole_files_follow_one_another(two_files):
    stack = ImageStack.whole_files(two_files)
    assert (len(stack), stack.box_size, stack.pixel_size) == (9, 4, 2.0)
    assert stack.read(np.arange(9))[:, 0, 0].tolist() == [0, 1, 2, 3, 4, 100, 101, 102, 103]


def test_images_come_in_the_order_asked_for(two_files):
    stack = ImageStack.whole_files(two_files)
    rows = np.array([8, 0, 3, 3, 7, 1, 4])
    assert stack.read(rows)[:, 0, 0].tolist() == [103, 0, 3, 3, 102, 1, 4]
    assert stack.read(np.array([], dtype=np.int64)).shape == (0, 4, 4)


def test_selection_is_a_view_in_a_new_order(two_files):
    stack = ImageStack.whole_files(two_files).select(np.array([7, 2]))
    assert stack.read(np.array([0, 1]))[:, 0, 0].tolist() == [102, 2]
    assert stack.select(np.array([1])).read(np.array([0]))[0, 0, 0] == 2


def test_chunks_cover_everything_once(two_files):
    chunks = list(ImageStack.whole_files(two_files).chunks(4))
    assert [len(chunk) for chunk in chunks] == [4, 4, 1]
    assert np.concatenate(chunks)[:, 0, 0].tolist() == [0, 1, 2, 3, 4, 100, 101, 102, 103]


def test_names_and_frames_lead_to_images(two_files):
    paths = {"A": two_files[0], "B": two_files[1]}
    stack = ImageStack.from_names(paths, ["B", "A", "B"], np.array([3, 0, 1]))
    assert stack.read(np.arange(3))[:, 0, 0].tolist() == [103, 0, 101]


def test_a_stack_that_is_too_short_is_refused(two_files):
    paths = {"A": two_files[0]}
    with pytest.raises(InputFileError, match=r"a.mrcs holds 5 images, but image 6 of it"):
        ImageStack.from_names(paths, ["A", "A"], np.array([4, 5]))


def test_images_that_differ_in_size_are_refused_and_odd_ones_where_asked(
    write_stack, two_files
):
    other = write_stack(numbered(2, box_size=6), "c.mrcs")
    with pytest.raises(ShapeMismatchError, match=r"c.mrcs has images of 6 × 6.*squares of 4"):
        ImageStack.whole_files([two_files[0], other]).require_one_shape()
    odd = write_stack(numbered(2, box_size=5), "d.mrcs")
    with pytest.raises(ConfigError, match=r"d.mrcs has images of 5 pixels; it must be an even"):
        ImageStack.whole_files([odd]).require_even_box()


def test_images_of_several_shapes_are_read_a_shape_at_a_time(write_stack, two_files):
    oblong = two_files[0].with_name("oblong.mrcs")
    with mrcfile.new(oblong) as mrc:
        mrc.set_data(np.ones((2, 6, 5), np.float32))
        mrc.set_image_stack()
    stack = ImageStack.whole_files([two_files[0], oblong])
    assert stack.shapes[-3:].tolist() == [[4, 4], [6, 5], [6, 5]]
    last = len(stack) - 1
    assert stack.read(np.array([last, last - 1])).shape == (2, 6, 5)
    assert stack.select(np.array([last, 0])).shapes.tolist() == [[6, 5], [4, 4]]


def test_pixels_that_are_not_finite_are_refused_by_image(write_stack):
    images = numbered(3).copy()
    images[1, 2, 2] = np.nan
    stack = ImageStack.whole_files([write_stack(images)])
    with pytest.raises(
        InputFileError, match=r"image 1 of .*number 1 of those chosen.*`indices`"
    ):
        stack.read(np.arange(3))
    assert stack.select(np.array([0, 2])).read(np.arange(2))[:, 0, 0].tolist() == [0, 2]
