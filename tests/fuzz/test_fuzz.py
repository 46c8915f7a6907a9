"""A few seconds of damaged files for every reader, and all that ever got through.

The long run, by hand: ``python tests/fuzz/long_run.py --inputs 1000000``.
"""

from pathlib import Path

import pytest

from fuzz.long_run import FOUND, fuzz, outcome, prepare
from fuzz.readers import all_readers

INPUTS = 2600


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    return all_readers(tmp_path_factory.mktemp("readers"))


def test_damaged_files_end_in_our_own_errors(readers, tmp_path):
    results = fuzz(readers, tmp_path, INPUTS, seed=11, keep=False)
    for name, counts in results.items():
        assert counts["found"] == counts["slow"] == 0, name
        assert counts["refused"], name
    assert sum(counts.total() for counts in results.values()) >= INPUTS


FILES = sorted(path for path in FOUND.glob("*/*") if path.is_file())


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_found_once_stays_mended(readers, path, tmp_path):
    names = {name.replace(" ", "_"): name for name in readers}
    reader = readers[names[path.parent.name]]
    outcome(reader, prepare(reader, tmp_path), Path(path).read_bytes())


def test_some_files_were_found():
    assert len(FILES) > 5
