"""Stacks of Hartley transforms give the images that were transformed."""

import numpy as np
import pytest

from cryodrgn.cli.main import main
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.mrc import read_volume


def preprocessed(images: np.ndarray) -> np.ndarray:
    """Hartley transforms by their definition, the first row and column again at the end."""
    side = images.shape[-1]
    numbers = np.arange(side) - side // 2
    angle = 2 * np.pi * np.outer(numbers, numbers) / side
    cosine, sine = np.cos(angle), np.sin(angle)
    # cas(a + b) = cos a (cos b + sin b) + sin a (cos b − sin b)
    rows = cosine @ images @ (cosine + sine) + sine @ images @ (cosine - sine)
    return np.pad(rows, [(0, 0), (0, 1), (0, 1)], mode="wrap")


def test_transforms_are_recognised_and_transformed_back(write_stack, caplog):
    images = np.random.default_rng(0).normal(size=(5, 12, 12))
    caplog.set_level("INFO")
    stack = ImageStack.whole_files([write_stack(preprocessed(images), "ht.mrcs")])
    assert "images of 12 px are computed from them" in caplog.text
    assert (len(stack), stack.box_size, stack.pixel_size) == (5, 12, 2.0)
    assert stack.dtype == "float32"
    np.testing.assert_allclose(stack.read(np.array([3, 0])), images[[3, 0]], atol=1e-5)


@pytest.mark.parametrize("margin", [0, 2], ids=["noise", "margin of zeros"])
def test_odd_images_are_taken_as_they_are(write_stack, margin):
    images = np.random.default_rng(0).normal(size=(2, 13 - 2 * margin, 13 - 2 * margin))
    images = np.pad(images, [(0, 0), (margin, margin), (margin, margin)]).astype(np.float32)
    stack = ImageStack.whole_files([write_stack(images, "odd.mrcs")])
    np.testing.assert_array_equal(stack.read(np.arange(2)), images)


def test_a_map_from_transforms_is_that_from_images(write_stack, tmp_path, caplog):
    made = tmp_path / "sim"
    assert main(["simulate", "-n", "40", "-D", "16", "--Apix", "12", "-o", str(made)]) == 0
    images = ImageStack.whole_files([made / "particles.mrcs"]).read(np.arange(40))
    stack = write_stack(preprocessed(images.astype(np.float64)), "ht.mrcs", 12.0)
    inputs = ["--poses", str(made / "poses.pkl"), "--ctf", str(made / "ctf.pkl")]
    maps = []
    for path in (made / "particles.mrcs", stack):
        out = tmp_path / f"{path.stem}.mrc"
        assert main(["backproject_voxel", str(path), *inputs, "-o", str(out)]) == 0
        maps.append(read_volume(out)[0])
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-4 * np.abs(maps[0]).max())
    networks = ["--zdim", "2", "-n", "1", "--qdim", "8", "--pdim", "8", "--preprocessed"]
    words = ["train_vae", str(stack), *inputs, "-o", str(tmp_path / "out"), *networks]
    assert main(words) == 0
    assert "stacks that `cryodrgn preprocess` wrote are recognised" in caplog.text
