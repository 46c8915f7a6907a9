import resource
import sys

import mrcfile
import numpy as np
import pytest

from cryodrgn.io.cryodrgn_pickle import save_pickles
from cryodrgn.io.mrc import MrcFile
from cryodrgn.io.particle_files import open_stack


def test_sum_is_kept_and_the_pixel_size_grows(run, write_stack, tmp_path, rng):
    images = rng.normal(size=(5, 16, 16)).astype(np.float32)
    run("downsample", write_stack(images), "-D", 8, "-o", tmp_path / "small.mrcs")
    with mrcfile.open(tmp_path / "small.mrcs") as mrc:
        assert mrc.data.shape == (5, 8, 8)
        assert mrc.voxel_size.x == 4.0
        np.testing.assert_allclose(mrc.data.sum((1, 2)), images.sum((1, 2)), rtol=1e-4)


def test_chosen_images_are_those_of_the_whole_stack(run, write_stack, tmp_path, rng):
    stack = write_stack(rng.normal(size=(7, 12, 12)))
    save_pickles(tmp_path / "ind.pkl", [np.array([5, 0, 2])])
    run("downsample", stack, "-D", 6, "-o", tmp_path / "whole.mrcs")
    few = ("--ind", tmp_path / "ind.pkl", "-o", tmp_path / "few.mrcs")
    run("downsample", stack, "-D", 6, *few)
    whole, chosen = (open_stack(tmp_path / f"{name}.mrcs")[0] for name in ("whole", "few"))
    np.testing.assert_array_equal(chosen.read(np.arange(3)), whole.read(np.array([5, 0, 2])))


def test_volumes_are_cropped_in_three_dimensions(run, write_stack, tmp_path, rng):
    volume = write_stack(rng.normal(size=(12, 12, 12)), "volume.mrc")
    run("downsample", volume, "-D", 6, "--is-vol", "-o", tmp_path / "small.mrc")
    with mrcfile.open(tmp_path / "small.mrc") as mrc:
        assert mrc.data.shape == (6, 6, 6)
        assert mrc.is_volume()
        assert mrc.voxel_size.x == 4.0


def test_odd_images_are_cut_to_an_even_box_which_is_said(
    run, write_stack, tmp_path, rng, caplog
):
    stack = write_stack(rng.normal(size=(3, 15, 15)))
    run("downsample", stack, "-D", 8, "-o", tmp_path / "small.mrcs")
    # 14 of 15 pixels of 2 Å.
    assert MrcFile.open(tmp_path / "small.mrcs").pixel_size == pytest.approx(14 * 2 / 8)
    assert "show another area than those of" in caplog.text


def test_chunks_together_are_the_whole_stack(run, write_stack, tmp_path, rng):
    stack = write_stack(rng.normal(size=(7, 12, 12)))
    run("downsample", stack, "-D", 6, "-o", tmp_path / "whole.mrcs")
    run("downsample", stack, "-D", 6, "-o", tmp_path / "part.mrcs", "--chunk", 3)
    assert (tmp_path / "part.txt").read_text() == "part.0.mrcs\npart.1.mrcs\npart.2.mrcs"
    rows = np.arange(7)
    np.testing.assert_allclose(
        open_stack(tmp_path / "part.txt")[0].read(rows),
        open_stack(tmp_path / "whole.mrcs")[0].read(rows),
        atol=1e-5,
    )


def test_too_many_bad_images_leave_no_file_but_their_list(fail, write_stack, tmp_path, rng):
    images = rng.normal(size=(7, 12, 12)).astype(np.float32)
    images[6] = np.inf
    stack = write_stack(images)
    before = set(tmp_path.iterdir())
    message = fail("downsample", stack, "-D", 6, "-o", tmp_path / "part.mrcs", "--chunk", 3)
    assert "1 of 7 images screened cannot be used (rows 6" in message
    assert set(tmp_path.iterdir()) - before == {tmp_path / "screened.csv"}


def test_a_volume_passed_as_a_stack_is_noticed(run, write_stack, tmp_path, rng, caplog):
    volume = write_stack(rng.normal(size=(12, 12, 12)), "volume.mrc")
    run("downsample", volume, "-D", 6, "-o", tmp_path / "small.mrcs")
    assert "is it a volume? Then add `is_volume`" in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory counts differently elsewhere")
def test_memory_does_not_grow_with_the_stack(run, write_stack, tmp_path):
    stack = write_stack(np.zeros((4000, 128, 128), np.float32))
    words = ("downsample", stack, "-D", 64, "--screen", "none", "-o")
    run(*words, tmp_path / "warm.mrcs", "--chunk", 2000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(*words, tmp_path / "small.mrcs")
    # The stack has 262 MB; reading it whole would show.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000
