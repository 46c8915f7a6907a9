"""Every mistake of a table ends in its exact sentence, status 2, within seconds."""

import re
import shutil
import time

import pytest

from cli.messages import NEAR, SIZE, lines
from cli.wrong_files import make_files
from cryodrgn.cli.main import main
from cryodrgn.io.text import missing_in_words

MOST_SECONDS = 5.0


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistakes")
    make_files(folder)
    return folder


def test_the_table_is_long_enough():
    assert len(lines()) >= 60
    assert len({line for line, _ in lines()}) == len(lines())


@pytest.mark.parametrize(("line", "sentence"), lines())
def test_a_mistake_ends_in_its_sentence(files, capfd, line, sentence):
    out = files / "out"
    shutil.rmtree(out, ignore_errors=True)
    words = line.format(files).split()
    started = time.process_time()
    assert main(words) == 2
    assert time.process_time() - started < MOST_SECONDS
    captured = capfd.readouterr()
    said = captured.err.splitlines()
    assert "Traceback" not in captured.err
    assert all(text.startswith("warning: ") for text in said[:-1])
    expected = re.escape(f"cryodrgn {words[0]}: {sentence.format(files)}")
    expected = expected.replace(re.escape(SIZE), r"[\d.]+ [kMGT]?B")
    near = r"(similar names in \S+: [\w.]+(, [\w.]+)*|nothing in \S+ has a similar name)"
    assert re.fullmatch(expected.replace(NEAR, near), said[-1])
    assert not out.exists() or {path.name for path in out.iterdir()} <= {"screened.csv"}


def test_the_nearest_names_of_the_folder_are_told(tmp_path):
    (tmp_path / "weights.12.pkl").touch()
    said = missing_in_words(tmp_path / "weights.13.pkl")
    assert said.endswith(f"does not exist; similar names in {tmp_path}: weights.12.pkl")
    said = missing_in_words(tmp_path / "no" / "weights.pkl")
    assert said.endswith(f"neither does the folder {tmp_path / 'no'}")
