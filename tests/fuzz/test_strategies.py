"""Files of the right kind with any content are read, or refused in one sentence."""

import io
import pickle

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cryodrgn.errors import CryodrgnError
from cryodrgn.io.arrays import read_npy, read_npz
from cryodrgn.io.checkpoints import load_checkpoint, save_checkpoint
from cryodrgn.io.cryodrgn_pickle import (
    load_array,
    load_ctf,
    load_labels,
    load_latents,
    load_pickles,
    load_poses,
    save_pickles,
)
from cryodrgn.io.cryosparc import CryosparcParticles
from cryodrgn.io.latent_text import load_index_text, load_latent_text
from cryodrgn.io.mrc import MrcFile
from cryodrgn.io.relion import RelionParticles
from cryodrgn.io.run_config import load_run_config
from cryodrgn.io.selection_files import load_indices
from cryodrgn.io.star import write_star
from cryodrgn.io.star_rows import StarRows
from cryodrgn.io.text import read_json, read_yaml

few = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])

NUMBERS = st.one_of(st.integers(-(2**70), 2**70), st.floats(), st.booleans())
PLAIN = st.recursive(
    st.one_of(st.none(), NUMBERS, st.text(max_size=5), st.binary(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=4), inner, max_size=4),
    ),
    max_leaves=12,
)
DTYPES = st.sampled_from(["f4", "f8", "i4", "i8", "u1", "?", ">f4", "<i2", "S3", "U2", "f2"])
SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
ARRAYS = arrays.arrays(DTYPES, SHAPES)


def reads(read, path) -> bool:
    try:
        read(path)
    except CryodrgnError as error:
        message = str(error)
    else:
        return True
    assert "\n" not in message
    return False


@few
@given(item=st.one_of(PLAIN, ARRAYS, st.tuples(ARRAYS, ARRAYS)), protocol=st.integers(0, 5))
def test_every_reader_of_pickles_reads_or_refuses_any_content(tmp_path, item, protocol):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(item, protocol=protocol))
    for read in (load_array, load_ctf, load_indices, load_labels, load_latents, load_poses):
        reads(read, path)
    reads(load_run_config, path)


@few
@given(array=ARRAYS, protocol=st.integers(0, 5))
def test_arrays_come_back_from_pickles_as_they_were(tmp_path, array, protocol):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(np.asarray(array), protocol=protocol))
    (found,) = load_pickles(path)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@few
@given(item=PLAIN)
def test_plain_objects_come_back_from_pickles_as_they_were(tmp_path, item):
    save_pickles(tmp_path / "x.pkl", [item])
    assert repr(load_pickles(tmp_path / "x.pkl")) == repr([item])


@few
@given(content=st.binary(max_size=200))
@pytest.mark.parametrize("name", ["x.pkl", "x.star", "x.cs", "x.mrcs", "x.txt", "x.yaml"])
def test_any_bytes_are_read_or_refused(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    for read in (load_pickles, read_npy, read_npz, MrcFile.open, load_index_text, read_json):
        reads(read, path)
    for read in (
        RelionParticles,
        CryosparcParticles,
        StarRows.read,
        load_checkpoint,
        read_yaml,
    ):
        reads(read, path)
    reads(lambda path: load_latent_text(path, 2), path)


@few
@given(content=PLAIN)
def test_settings_of_any_kind_are_read_or_refused(tmp_path, content):
    for group in ("model_args", "dataset_args", "lattice_args", "training"):
        (tmp_path / "config.yaml").write_text(
            yaml.safe_dump({"model_args": {"zdim": 2}, group: content})
        )
        reads(load_run_config, tmp_path / "config.yaml")


@few
@given(
    header=st.dictionaries(
        st.sampled_from(["nx", "ny", "nz", "mode", "nsymbt", "mx", "my", "mz"]),
        st.integers(-(2**31), 2**31 - 1),
    ),
    stamp=st.binary(min_size=4, max_size=4),
)
def test_mrc_headers_promise_no_more_than_there_is(tmp_path, write_stack, header, stamp):
    path = write_stack(np.ones((2, 4, 4)))
    from mrcfile.dtypes import HEADER_DTYPE

    content = bytearray(path.read_bytes())
    record = np.frombuffer(content[:1024], HEADER_DTYPE).copy()
    for name, value in header.items():
        record[name] = value
    record["machst"] = np.frombuffer(stamp, "u1")
    path.write_bytes(record.tobytes() + content[1024:])
    if reads(MrcFile.open, path):
        file = MrcFile.open(path)
        assert file.sections().nbytes <= len(content)


@few
@given(
    table=arrays.arrays(
        st.sampled_from(
            [
                [("blob/path", "S4"), ("blob/idx", "i4"), ("blob/shape", "f4", (2,))],
                [("blob/path", "f4"), ("blob/idx", "f8")],
                [("alignments3D/pose", "f8", (3,)), ("alignments3D/shift", "f2", (2,))],
                [("alignments3D/pose", "f4", (2,)), ("alignments3D/shift", "S2")],
                [("ctf/df1_A", "U3"), ("blob/psize_A", "f8")],
            ]
        ),
        st.integers(0, 4),
    )
)
def test_cryosparc_tables_of_any_columns_are_read_or_refused(tmp_path, table):
    buffer = io.BytesIO()
    np.save(buffer, table)
    path = tmp_path / "x.cs"
    path.write_bytes(buffer.getvalue())
    if not reads(CryosparcParticles, path):
        return
    particles = CryosparcParticles(path)
    for ask in (particles.image_names, particles.box_sizes, particles.pixel_sizes):
        reads(lambda _, ask=ask: ask(), path)
    reads(lambda _: particles.poses(np.ones(len(particles))), path)
    reads(lambda _: particles.ctf(), path)


WORDS = st.one_of(
    st.floats(),
    st.integers(),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8),
)
COLUMNS = [
    "rlnImageName",
    "rlnAngleRot",
    "rlnAngleTilt",
    "rlnAnglePsi",
    "rlnOriginXAngst",
    "rlnOriginYAngst",
    "rlnDefocusU",
    "rlnDefocusV",
    "rlnDefocusAngle",
    "rlnOpticsGroup",
]


@few
@given(rows=st.lists(st.lists(WORDS, min_size=10, max_size=10), min_size=1, max_size=3))
def test_star_files_of_any_values_are_read_or_refused(tmp_path, rows):
    path = tmp_path / "x.star"
    columns = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
    optics = {"rlnOpticsGroup": [1], "rlnVoltage": [300.0], "rlnImagePixelSize": [1.0]}
    write_star(path, {"optics": optics, "particles": columns})
    if not reads(RelionParticles, path):
        return
    particles = RelionParticles(path)
    for ask in (particles.image_names, particles.ctf, particles.categories):
        reads(lambda _, ask=ask: ask(), path)
    reads(lambda _: particles.poses(np.ones(len(particles))), path)


@few
@given(
    values=st.dictionaries(st.text(max_size=5), ARRAYS.filter(lambda a: a.dtype.kind in "fi"))
)
def test_weights_come_back_as_they_were(tmp_path, values):
    tensors = {
        name: torch.from_numpy(np.array(value, value.dtype.newbyteorder("=")))
        for name, value in values.items()
    }
    save_checkpoint(tmp_path / "w.pkl", {"model_state_dict": tensors, "epoch": 3})
    found = load_checkpoint(tmp_path / "w.pkl")
    assert found["epoch"] == 3
    for name, tensor in tensors.items():
        torch.testing.assert_close(
            found["model_state_dict"][name], tensor, equal_nan=True, rtol=0, atol=0
        )
