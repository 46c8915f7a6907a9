import mrcfile
import numpy as np
import pytest

from cryodrgn.errors import InputFileError
from cryodrgn.io.map_geometry import MapGeometry
from cryodrgn.io.mrc import MrcFile, read_volume, stack_writer, write_volume


def write_by_hand(path, data, mode, byte_order="<", extended=0, cell=None, intervals=None):
    """An MRC file written without any library, from the MRC2014 description."""
    nz, ny, nx = data.shape
    words = np.zeros(256, dtype=f"{byte_order}i4")
    words[:4] = nx, ny, nz, mode
    words[7:10] = intervals or (nx, ny, nz)
    words[10:13] = np.array(cell or (nx, ny, nz), dtype=f"{byte_order}f4").view(
        f"{byte_order}i4"
    )
    words[23] = extended
    header = bytearray(words.tobytes())
    header[208:212] = b"MAP "
    header[212:216] = b"DD\0\0" if byte_order == "<" else b"\x11\x11\0\0"
    stored = data.astype(data.dtype.newbyteorder(byte_order))
    path.write_bytes(bytes(header) + bytes(extended) + stored.tobytes())


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("extended", [0, 160])
@pytest.mark.parametrize(
    ("mode", "dtype"), [(0, "i1"), (1, "i2"), (2, "f4"), (6, "u2"), (12, "f2")]
)
def test_every_mode_and_byte_order_reads_as_the_numbers_that_were_written(
    tmp_path, mode, dtype, byte_order, extended
):
    low = 0 if dtype == "u2" else -100
    data = np.random.default_rng(0).integers(low, 100, (3, 4, 6)).astype(dtype)
    path = tmp_path / "file.mrcs"
    write_by_hand(path, data, mode, byte_order, extended)
    file = MrcFile.open(path)
    assert file.shape == (3, 4, 6)
    np.testing.assert_array_equal(file.sections().astype(np.float32), data.astype(np.float32))
    np.testing.assert_array_equal(file.sections(1, 2)[0], data[1])


@pytest.mark.parametrize(
    ("cell", "intervals", "expected"),
    [
        ((12.0, 8.0, 3.0), (6, 4, 3), 2.0),
        ((1.0, 1.0, 1.0), (1, 1, 1), 1.0),
        # cryoDRGN 0.2.0 exchanged mx and mz.
        ((7.5, 5.0, 3.75), (3, 4, 6), 1.25),
        ((0.0, 0.0, 0.0), (6, 4, 3), None),
        ((0.0, float("nan"), 0.0), (6, 4, 3), None),
    ],
)
def test_pixel_size_is_read_from_cell_and_intervals(tmp_path, cell, intervals, expected):
    path = tmp_path / "file.mrcs"
    write_by_hand(path, np.zeros((3, 4, 6), np.float32), 2, cell=cell, intervals=intervals)
    assert MrcFile.open(path).pixel_size == expected


def test_a_written_volume_is_valid_and_reads_back(tmp_path):
    volume = np.random.default_rng(0).normal(size=(6, 6, 6)).astype(np.float32)
    path = tmp_path / "volume.mrc"
    write_volume(path, volume, MapGeometry(pixel_size=1.35, origin=(2.0, 2.0, 2.0)))
    assert mrcfile.validate(path)
    with mrcfile.open(path) as mrc:
        assert mrc.is_volume()
        assert mrc.voxel_size.x == pytest.approx(1.35)
        assert mrc.header.origin.x == 2.0
    data, pixel_size = read_volume(path)
    np.testing.assert_array_equal(data, volume)
    assert pixel_size == 1.35


@pytest.mark.parametrize(("dtype", "mode"), [("float32", 2), ("float16", 12)])
def test_a_written_stack_is_valid_and_has_the_statistics_of_its_images(tmp_path, dtype, mode):
    images = np.random.default_rng(0).normal(3, 2, size=(8, 8, 8)).astype(np.float32)
    path = tmp_path / "stack.mrcs"
    with stack_writer(path, 8, 2.5, dtype) as writer:
        writer.append(images[:3])
        writer.append(images[3:])
    assert mrcfile.validate(path)
    with mrcfile.open(path) as mrc:
        # A stack of as many images as pixels is still a stack.
        assert mrc.is_image_stack()
        assert mrc.header.mode == mode
        np.testing.assert_allclose(mrc.data, images.astype(dtype))
        assert mrc.header.dmean == pytest.approx(images.mean(), rel=1e-5)
        assert mrc.header.rms == pytest.approx(images.std(), rel=1e-4)
        assert (mrc.header.dmin, mrc.header.dmax) == (mrc.data.min(), mrc.data.max())
        assert mrc.voxel_size.y == 2.5


def test_equal_data_give_equal_files(tmp_path):
    for name in ("a", "b"):
        write_volume(tmp_path / name, np.ones((4, 4, 4), np.float32), 1.0)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_stack_that_fails_half_way_does_not_appear(tmp_path):
    with pytest.raises(RuntimeError), stack_writer(tmp_path / "s.mrcs", 4, None) as writer:
        writer.append(np.zeros((2, 4, 4), np.float32))
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_unusable_files_are_refused_with_the_reason(tmp_path):
    truncated = tmp_path / "short.mrcs"
    write_by_hand(truncated, np.zeros((3, 4, 4), np.float32), 2)
    truncated.write_bytes(truncated.read_bytes()[:-10])
    with pytest.raises(InputFileError, match=r"short.mrcs is truncated.*1216 bytes.*has 1206"):
        MrcFile.open(truncated)

    complex_file = tmp_path / "complex.mrc"
    write_by_hand(complex_file, np.zeros((2, 2, 2), np.complex64), 4)
    with pytest.raises(InputFileError, match="no real images"):
        MrcFile.open(complex_file)

    text = tmp_path / "text.mrc"
    text.write_text("hello " * 300)
    with pytest.raises(InputFileError, match=r"text.mrc"):
        MrcFile.open(text)
    with pytest.raises(InputFileError, match="does not exist"):
        MrcFile.open(tmp_path / "missing.mrc")

    stack = tmp_path / "stack.mrc"
    write_by_hand(stack, np.zeros((3, 4, 4), np.float32), 2)
    with pytest.raises(InputFileError, match="no cubic volume: 3 × 4 × 4"):
        read_volume(stack)
