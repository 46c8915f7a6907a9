import mrcfile
import numpy as np
import pytest

from cryodrgn.errors import ConfigError
from cryodrgn.io.mrc_edit import describe_header, rewrite_map


@pytest.fixture(params=["<", ">"], ids=["little", "big"])
def volume(request, tmp_path, rng):
    """An int16 map with an extended header, labels, an origin, and unequal sides."""
    path = tmp_path / "map.mrc"
    data = rng.integers(-1000, 1000, size=(4, 6, 8)).astype(f"{request.param}i2")
    with mrcfile.new(path) as mrc:
        mrc.set_data(data)
        mrc.set_extended_header(np.frombuffer(b"x" * 160, dtype="V1"))
        mrc.header.exttyp = b"SERI"
        mrc.header.origin = (1, 2, 3)
        mrc.add_label("made by hand")
    return path


def test_only_the_cell_of_a_map_changes_with_its_pixel_size(volume, tmp_path):
    rewrite_map(volume, tmp_path / "out.mrc", pixel_size=1.5)
    before, after = volume.read_bytes(), (tmp_path / "out.mrc").read_bytes()
    changed = [place for place in range(len(before)) if before[place] != after[place]]
    # Words 11 to 13 of the header.
    assert changed
    assert set(changed) <= set(range(40, 52))
    with mrcfile.open(tmp_path / "out.mrc") as mrc:
        assert mrc.voxel_size.tolist() == (1.5, 1.5, 1.5)


def test_mirroring_twice_gives_the_file_back(volume, tmp_path):
    rewrite_map(volume, tmp_path / "a.mrc", reverse=True)
    rewrite_map(tmp_path / "a.mrc", tmp_path / "b.mrc", reverse=True)
    assert (tmp_path / "b.mrc").read_bytes() == volume.read_bytes()
    with mrcfile.open(volume) as old, mrcfile.open(tmp_path / "a.mrc") as new:
        np.testing.assert_array_equal(new.data, old.data[::-1])


def test_a_stack_in_reverse_order_is_no_mirrored_volume(volume, tmp_path, caplog):
    rewrite_map(volume, tmp_path / "a.mrc", negate=True)
    assert not caplog.text
    rewrite_map(volume, tmp_path / "a.mrc", reverse=True)
    assert "no cubic volume (4 × 6 × 8): its sections are put in reverse order" in caplog.text


def test_the_sign_changes_in_float32_and_with_it_the_statistics(volume, tmp_path):
    rewrite_map(volume, tmp_path / "out.mrc", negate=True)
    with mrcfile.open(volume) as old, mrcfile.open(tmp_path / "out.mrc") as new:
        np.testing.assert_array_equal(new.data, -old.data.astype(np.float32))
        assert new.data.dtype.str[1:] == "f4"
        assert new.header.dmax == -old.header.dmin
        assert new.extended_header.tobytes() == old.extended_header.tobytes()
    assert mrcfile.validate(tmp_path / "out.mrc")


def test_unsigned_numbers_do_not_wrap_around(tmp_path):
    with mrcfile.new(tmp_path / "a.mrc") as mrc:
        mrc.set_data(np.array([[[0, 65535], [1, 2]]] * 2, dtype=np.uint16))
    rewrite_map(tmp_path / "a.mrc", tmp_path / "b.mrc", negate=True)
    with mrcfile.open(tmp_path / "b.mrc") as mrc:
        assert mrc.data.min() == -65535


def test_a_map_can_be_rewritten_in_its_place(volume):
    rewrite_map(volume, volume, pixel_size=3.0)
    assert any("pixel size 3 Å/px" in line for line in describe_header(volume))


def test_the_header_is_shown_with_its_labels(volume):
    lines = describe_header(volume)
    assert "nx: 8" in lines
    assert any(line.startswith("label") and "made by hand" in line for line in lines)
    assert any("4 sections of 6 × 8" in line for line in lines)


def test_pixel_sizes_that_cannot_be_are_refused(volume, tmp_path):
    with pytest.raises(ConfigError, match="must be positive"):
        rewrite_map(volume, tmp_path / "out.mrc", pixel_size=0.0)
    assert not (tmp_path / "out.mrc").exists()
