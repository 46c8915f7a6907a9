"""Files made to harm: none runs code, takes more memory than it is worth, or is waited for."""

import io
import os
import pickle
import struct
import tracemalloc
import zipfile
from fractions import Fraction

import numpy as np
import pytest
import torch
import yaml
from mrcfile.dtypes import HEADER_DTYPE

from cryodrgn.analysis.landscape import VolumeSpace
from cryodrgn.errors import CryodrgnError, InputFileError
from cryodrgn.io.arrays import read_npy
from cryodrgn.io.checkpoints import load_checkpoint
from cryodrgn.io.cryodrgn_pickle import (
    load_array,
    load_ctf,
    load_labels,
    load_latents,
    load_pickles,
    load_poses,
    load_shifts,
)
from cryodrgn.io.cryosparc import CryosparcParticles
from cryodrgn.io.latent_text import load_index_text
from cryodrgn.io.mrc import MrcFile, read_volume
from cryodrgn.io.mrc_edit import describe_header
from cryodrgn.io.particle_files import open_stack
from cryodrgn.io.pickle_rows import filter_pickle
from cryodrgn.io.relion import RelionParticles
from cryodrgn.io.run_config import load_run_config
from cryodrgn.io.selection_files import load_indices
from cryodrgn.io.star_rows import StarRows
from cryodrgn.io.text import read_json, read_text, read_yaml
from cryodrgn.linear.latents import file_latents
from cryodrgn.simulation.density import read_models

MEGABYTE = 2**20


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def filter_first(path):
    filter_pickle(path, np.array([0]), path.with_suffix(".out"))


PICKLES = (
    *(load_pickles, load_array, load_ctf, load_indices, load_labels, load_latents),
    *(load_poses, load_shifts, load_run_config, load_checkpoint, filter_first),
)


@pytest.fixture
def refuse(tmp_path):
    """Reads a file that must be refused, in a sentence and within a megabyte or two."""

    def read_file(read, content, name="x.pkl", most=4 * MEGABYTE):
        path = tmp_path / name
        path.write_bytes(content)
        tracemalloc.start()
        try:
            with pytest.raises(CryodrgnError, match=name) as refused:
                read(path)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert "\n" not in str(refused.value)
        assert peak < most + 20 * len(content)
        return str(refused.value)

    return read_file


@pytest.mark.parametrize("read", PICKLES)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_calls_a_function_is_refused_and_calls_none(
    refuse, tmp_path, read, protocol
):
    target = tmp_path / "called"
    for content in (Malicious(target), (np.eye(3)[None], [Malicious(target)])):
        refuse(read, pickle.dumps(content, protocol=protocol))
        assert not target.exists()


@pytest.mark.parametrize("is_zipped", [True, False])
def test_weights_that_call_a_function_are_refused_and_call_none(refuse, tmp_path, is_zipped):
    target, buffer = tmp_path / "called", io.BytesIO()
    content = {"model_state_dict": {"a": torch.zeros(1)}, "x": Malicious(target)}
    torch.save(content, buffer, _use_new_zipfile_serialization=is_zipped)
    refuse(load_checkpoint, buffer.getvalue())
    assert not target.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("subprocess", "Popen"),
        ("numpy", "load"),
        ("numpy", "fromfile"),
        ("torch", "load"),
        ("codecs", "encode"),
        ("numpy.core.multiarray", "_reconstruct.__globals__"),
    ],
)
@pytest.mark.parametrize("read", [load_pickles, load_checkpoint])
def test_no_name_but_those_of_arrays_is_looked_up(refuse, read, module, name):
    refuse(read, b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"U\x02idR.")


def test_arrays_of_objects_are_refused(refuse, tmp_path):
    target = tmp_path / "called"
    objects = np.array([Malicious(target)], dtype=object)
    refuse(load_array, pickle.dumps(objects))
    for save, read, name in (
        (np.save, read_npy, "x.npy"),
        (np.save, CryosparcParticles, "x.cs"),
        (np.savez, VolumeSpace.load, "x.npz"),
    ):
        buffer = io.BytesIO()
        save(buffer, objects)
        refuse(read, buffer.getvalue(), name)
        assert not target.exists()


def test_yaml_that_constructs_objects_is_refused(refuse, tmp_path):
    target = tmp_path / "called"
    for tag in ("object/apply:os.system", "object/new:os.system", "name:os.system"):
        refuse(read_yaml, f"a: !!python/{tag} [touch {target}]".encode(), "x.yaml")
    assert not target.exists()


def nested_lists(depth: int, width: int) -> list:
    bomb: list = [1] * width
    for _ in range(depth):
        bomb = [bomb] * width
    return bomb


@pytest.mark.parametrize("read", PICKLES)
def test_lists_that_hold_one_another_do_not_explode(refuse, read):
    endless: list = []
    endless.append(endless)
    for bomb in (nested_lists(3, 100), nested_lists(30, 10), nested_lists(300, 2), endless):
        if read is load_pickles and bomb is not endless and len(bomb) == 100:
            continue
        if read is load_pickles and len(bomb) == 10:
            continue
        refuse(read, pickle.dumps(bomb))


def test_yaml_that_refers_to_itself_does_not_explode(refuse):
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    refuse(read_yaml, "\n".join(lines).encode(), "x.yaml")
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 30)]
    refuse(read_yaml, "\n".join(lines).encode(), "x.yaml")
    refuse(read_yaml, b"a: &a [*a]", "x.yaml")
    refuse(read_yaml, b"[" * 100_000, "x.yaml")
    refuse(read_yaml, b"- " * 10_000, "x.yaml")
    refuse(read_json, b"[" * 100_000, "x.json")


def test_yaml_is_read_alike_however_deep_it_may_be(tmp_path):
    """Shallow files are read by a faster reader than those that may be deep."""
    known = {"a": [1, -2.5, "x"], "b": {"c": None, "d": [True, "1e3", 1.0e-5, "α: β"]}, 7: []}
    written = yaml.safe_dump(known, allow_unicode=True)
    for more in ("", "".join(f"e{number}: [{{}}]\n" for number in range(60))):
        (tmp_path / "x.yaml").write_text(written + more)
        found = read_yaml(tmp_path / "x.yaml")
        assert {name: found[name] for name in known} == known
        assert len(found) == len(known) + more.count("\n")


HUGE = struct.pack("<Q", 2**40)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x8e" + HUGE + b"short",  # bytes
        b"\x80\x05\x96" + HUGE + b"short",  # bytearray
        b"\x80\x04\x8d" + HUGE + b"short",  # text
        b"\x80\x04\x95" + HUGE + b"short",  # a frame
        b"\x80\x02\x8b\xff\xff\xff\x7f1",  # a whole number
    ],
)
@pytest.mark.parametrize("read", [load_array, load_checkpoint])
def test_pickles_promise_no_more_than_they_hold(refuse, read, content):
    refuse(read, content)


def test_a_large_place_among_earlier_objects_is_no_checkpoint(refuse):
    refuse(load_checkpoint, b"\x80\x04K\x01r\xff\xff\xff\xff.")


def test_a_large_place_among_earlier_objects_takes_no_memory(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x04K\x01r\xff\xff\xff\xff.")
    tracemalloc.start()
    assert load_pickles(path) == [1]
    assert tracemalloc.get_traced_memory()[1] < MEGABYTE
    tracemalloc.stop()


def state_of_array(shape, dtype=b"f8") -> bytes:
    """A pickle of an array of any shape with a few bytes."""
    sides = b"".join(b"\x8a\x08" + struct.pack("<q", side) for side in shape)
    return (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01(" + sides + b"tcnumpy\ndtype\nU\x02" + dtype + b"K\x00K\x01\x87R"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08\x00\x00\x00\x00"
        b"\x00\x00\x00\x00tb."
    )


@pytest.mark.parametrize(
    "shape", [(10**12,), (2**40, 3, 3), (2**33, 0), (-1,), (2**62, 4), (1, 1, 2)]
)
@pytest.mark.parametrize("read", [load_array, load_latents, load_poses, load_checkpoint])
def test_arrays_are_no_larger_than_their_bytes(refuse, read, shape):
    refuse(read, state_of_array(shape))


def test_an_array_of_that_layout_is_read(tmp_path):
    (tmp_path / "x.pkl").write_bytes(state_of_array((1,)))
    assert load_array(tmp_path / "x.pkl").tolist() == [0.0]


def header_of(**fields) -> bytes:
    record = np.zeros((), HEADER_DTYPE)
    record["map"], record["machst"] = b"MAP ", (0x44, 0x44, 0, 0)
    for name, value in ({"mode": 2, "nx": 8, "ny": 8, "nz": 1} | fields).items():
        record[name] = value
    return record.tobytes()


LARGEST = 2**31 - 1


@pytest.mark.parametrize(
    "fields",
    [
        {"nz": 10**9},
        {"nx": LARGEST, "ny": LARGEST, "nz": LARGEST},  # more than 64 bits can count
        {"nx": 2**22, "ny": 2**21, "nz": 2**21},  # a multiple of what 64 bits can count
        {"nsymbt": LARGEST},
        {"nz": -1},
        {"mode": 77},
        {"mode": 4},
    ],
)
@pytest.mark.parametrize("read", [MrcFile.open, read_volume, describe_header])
def test_mrc_headers_are_believed_as_far_as_the_file_goes(refuse, read, fields):
    refuse(read, header_of(**fields) + bytes(64), "x.mrc")


@pytest.mark.parametrize("start", [b"\x1f\x8b\x08", b"BZh9"])
def test_compressed_maps_are_not_unpacked(refuse, start):
    assert "compressed" in refuse(MrcFile.open, start + bytes(2000), "x.mrcs")


@pytest.mark.parametrize("rows", [10**9, 2**62])
@pytest.mark.parametrize(
    ("read", "name"),
    [(read_npy, "x.npy"), (file_latents, "x.npy"), (CryosparcParticles, "x.cs")],
)
def test_numpy_headers_are_believed_as_far_as_the_file_goes(refuse, read, name, rows):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": [("uid", "<u8")], "fortran_order": False, "shape": (rows,)}
    )
    refuse(read, buffer.getvalue() + bytes(80), name)


def test_archives_do_not_unpack_to_far_more_than_they_are(refuse, tmp_path):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, mask=np.zeros(MEGABYTE * 16))
    refuse(VolumeSpace.load, buffer.getvalue(), "x.npz")
    torch.save({"model_state_dict": {"a": torch.zeros(MEGABYTE)}}, tmp_path / "plain")
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(tmp_path / "plain") as plain,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    assert "compressed" in refuse(load_checkpoint, buffer.getvalue())


def test_tensors_are_no_larger_than_their_file(refuse):
    buffer = io.BytesIO()
    torch.save({"model_state_dict": {"a": torch.zeros(1).expand(10**12)}}, buffer)
    assert "larger than the file" in refuse(load_checkpoint, buffer.getvalue())


@pytest.mark.parametrize(
    "rows",
    [
        b"9" * 5000 + b"@x.mrcs",
        b"99999999999999999999@x.mrcs",
        b"-1@x.mrcs",
        b"0@x.mrcs",
        b"1@",
        "٣@x.mrcs".encode(),
        b"\xff\xfe@x.mrcs",
    ],
)
def test_names_of_images_are_a_number_and_a_name(tmp_path, rows):
    path = tmp_path / "x.star"
    path.write_bytes(b"data_\nloop_\n_rlnImageName\n" + rows + b"\n")
    with pytest.raises(CryodrgnError) as refused:
        RelionParticles(path).image_names()
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (load_pickles, "x.pkl"),
        (load_checkpoint, "x.pkl"),
        (MrcFile.open, "x.mrcs"),
        (RelionParticles, "x.star"),
        (StarRows.read, "x.star"),
        (CryosparcParticles, "x.cs"),
        (read_text, "x.txt"),
        (load_index_text, "x.txt"),
        (read_yaml, "x.yaml"),
        (VolumeSpace.load, "x.npz"),
        (read_models, "x.pdb"),
    ],
)
def test_pipes_and_devices_are_not_waited_for(tmp_path, read, name):
    path = tmp_path / name
    os.mkfifo(path)
    with pytest.raises(CryodrgnError):
        read(path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(CryodrgnError):
        read(path)


@pytest.mark.parametrize(
    "name", ["/dev/zero", "pipe", "../../../../etc/passwd", "/etc/passwd", "~/x", "a\x00b"]
)
def test_stacks_that_a_file_names_are_only_ever_read_as_stacks(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "x.txt").write_text(name)
    with pytest.raises(CryodrgnError):
        open_stack(tmp_path / "x.txt")
    (tmp_path / "x.star").write_text(f"data_\nloop_\n_rlnImageName\n1@{name}\n")
    with pytest.raises(CryodrgnError):
        open_stack(tmp_path / "x.star")
    table = np.array([(name.encode(), 0)], [("blob/path", "S40"), ("blob/idx", "u4")])
    with (tmp_path / "x.cs").open("wb") as file:
        np.save(file, table)
    with pytest.raises(CryodrgnError):
        open_stack(tmp_path / "x.cs")


def test_messages_hold_nothing_that_a_terminal_obeys(tmp_path):
    (tmp_path / "x.star").write_bytes(b"data_\nloop_\n_rlnImageName\n\x1b]0;title\x07\n")
    with pytest.raises(CryodrgnError) as refused:
        RelionParticles(tmp_path / "x.star").image_names()
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (np.zeros((3, 2)), "it holds arrays of shape (3, 2), as latents"),
        ((np.zeros((3, 3, 3)), np.zeros((3, 2))), "arrays of shape (3, 3, 3) and (3, 2), as"),
        (Fraction(1, 2), "an object of the class fractions.Fraction"),
        ({"a": 1}, "it is a pickle without weights"),
    ],
)
def test_what_is_no_weight_file_is_said(tmp_path, content, said):
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(InputFileError) as caught:
        load_checkpoint(path)
    assert said in str(caught.value)
