"""Files that are not what their name says are named for what they are, by every reader."""

import bz2
import gzip
import io
import lzma
import pickle
import zipfile

import numpy as np
import pytest

from cryodrgn.errors import CryodrgnError, InputFileError
from cryodrgn.io.arrays import read_npy
from cryodrgn.io.cryodrgn_pickle import load_pickles
from cryodrgn.io.mrc import MrcFile
from cryodrgn.io.recognise import ARRAY, MRC, PICKLE, STAR
from cryodrgn.io.selection_files import load_selection
from cryodrgn.io.star import read_star
from cryodrgn.io.text import read_text
from fuzz.readers import all_readers

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
GROUP = b"""created: 2024-01-01
group:
    name: particles
results:
    alignments3D:
        metafile: '>J20_005_particles.cs'
        num_items: 12
    ctf:
        metafile: '>J20_passthrough_particles.cs'
version: v4.4.1
"""


def buffer_of(write):
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def zipped(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"x" * 100)
    return buffer.getvalue()


MISTAKEN = {
    "empty": (b"", "is empty .0 bytes."),
    "gzip": (gzip.compress(bytes(3000)), "compressed with gzip; unpack it first"),
    "bzip2": (bz2.compress(bytes(3000)), "compressed with bzip2; unpack it first"),
    "xz": (lzma.compress(bytes(3000)), "compressed with xz; unpack it first"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(2000), "compressed with Zstandard; unpack"),
    "zip": (zipped("particles.star"), "a zip archive; unpack it first"),
    "arrays": (zipped("arr_0.npy"), "holds several arrays .*numpy.save"),
    "EMAN2": (b"#LSX\n# This file is in fast LST format\n# 40\n", "a list of EMAN2.*RELION"),
    "FREALIGN": (
        b"C           PSI   THETA     PHI       SHX       SHY     MAG  FILM\n",
        "a parameter file of FREALIGN.*RELION",
    ),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(3000), "an HDF5 file.*MRC stacks"),
    "cisTEM": (b"SQLite format 3\x00" + bytes(3000), "a database .SQLite.*RELION"),
    "weights": (zipped("weights/data.pkl"), "holds weights of a network"),
    "git-LFS": (LFS, "placeholder of git-LFS.*git lfs pull"),
    "git-annex": (b"/annex/objects/SHA256E-s12--ab.mrcs\n", "placeholder of git-annex"),
    "web page": (b"\n<!DOCTYPE HTML>\n<html>" + b" " * 2000, "web page .HTML.*download"),
    "csdat": (b"\x94CSDAT" + bytes(2000), "format CSDAT.*cryosparc-tools"),
    "csg": (GROUP, "take J20_005_particles.cs or J20_passthrough_particles.cs beside it"),
}
# Weights and archives of arrays are zip archives; a run that has just begun has empty logs.
ZIPS = {"weights.pkl", "npz space"}
LOGS = {"metrics.csv", "events.jsonl", "run.log"}


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    return all_readers(tmp_path_factory.mktemp("made"))


@pytest.mark.parametrize("kind", MISTAKEN)
def test_every_reader_says_what_the_file_is(readers, tmp_path, kind):
    content, words = MISTAKEN[kind]
    assert len(readers) > 20
    for title, reader in readers.items():
        if (title in ZIPS and kind in {"zip", "arrays", "weights"}) or (
            title in LOGS and kind == "empty"
        ):
            continue
        folder = tmp_path / title.replace(" ", "_")
        folder.mkdir()
        for name, other in reader.beside.items():
            (folder / name).write_bytes(other)
        path = folder / reader.name
        path.write_bytes(content)
        with pytest.raises(CryodrgnError, match=words) as refused:
            reader.read(path)
        assert isinstance(refused.value, InputFileError), title
        assert str(refused.value).startswith(str(path)), title


def test_stacks_that_a_file_names_are_recognised_too(readers, tmp_path):
    for title in ("star", "cs", "txt list"):
        reader = readers[title]
        (tmp_path / reader.name).write_bytes(reader.seeds[0])
        (tmp_path / "stack.mrcs").write_bytes(LFS)
        with pytest.raises(InputFileError, match="stack.mrcs is a placeholder of git-LFS"):
            reader.read(tmp_path / reader.name)


@pytest.mark.parametrize(
    "content", [b"a", b"<1>\n", b"<htm", b"PK", b"BZ", b"metafile: x.cs\n"]
)
def test_what_only_begins_alike_is_no_mistake(tmp_path, content):
    path = tmp_path / "x.txt"
    path.write_bytes(content)
    assert read_text(path).encode() == content


FORMATS = {
    STAR: (read_star, b"# a comment\n\ndata_particles\n\nloop_\n_rlnImageName #1\n1@a.mrcs\n"),
    ARRAY: (read_npy, buffer_of(lambda file: np.save(file, np.zeros(400)))),
    PICKLE: (load_pickles, pickle.dumps([np.zeros(400)])),
    MRC: (MrcFile.open, bytes(208) + b"MAP \x44\x44" + bytes(2000)),
}


@pytest.mark.parametrize("expected", FORMATS)
@pytest.mark.parametrize("found", FORMATS)
def test_another_format_that_is_read_here_is_named(tmp_path, expected, found):
    path = tmp_path / "x"
    path.write_bytes(FORMATS[found][1])
    read, _ = FORMATS[expected]
    if found == expected == MRC:
        with pytest.raises(InputFileError, match="x holds no real images"):
            read(path)
    elif found == expected:
        assert read(path) is not None
    else:
        with pytest.raises(InputFileError) as refused:
            read(path)
        assert str(refused.value) == f"{path} is {found}, expected {expected}"


def test_a_selection_that_must_be_fetched_first_gets_no_other_advice(tmp_path):
    path = tmp_path / "ind.pkl"
    path.write_bytes(LFS)
    with pytest.raises(InputFileError, match=r"git lfs pull$"):
        load_selection(path)
