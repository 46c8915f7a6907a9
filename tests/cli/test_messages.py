"""Every mistake of a table ends in its exact sentence, status 2, within seconds."""

import time

import pytest

from cli.messages import lines, make_files
from cryodrgn.cli.main import main

MOST_SECONDS = 5.0


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistakes")
    make_files(folder)
    return folder


def test_the_table_is_long_enough():
    assert len(lines()) >= 60
    assert len({line for line, _ in lines()}) == len(lines())
    assert sum(sentence is None for _, sentence in lines()) <= 10


@pytest.mark.parametrize(("line", "sentence"), lines())
def test_a_mistake_ends_in_its_sentence(files, capfd, line, sentence):
    words = line.format(files).split()
    started = time.process_time()
    assert main(words) == 2
    assert time.process_time() - started < MOST_SECONDS
    captured = capfd.readouterr()
    said = captured.err.splitlines()
    assert "Traceback" not in captured.err
    assert all(text.startswith("warning: ") for text in said[:-1])
    start = f"cryodrgn {words[0]}: "
    if sentence is None:
        assert said[-1].startswith(start)
        assert len(said[-1]) > len(start) + 10
    else:
        assert said[-1] == start + sentence.format(files)
    out = files / "out"
    assert not out.exists() or {path.name for path in out.iterdir()} <= {"screened.csv"}
