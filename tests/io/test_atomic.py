import pytest

from cryodrgn.errors import OutputFileError
from cryodrgn.io.atomic import atomic_path


def test_a_file_appears_when_the_block_ends(tmp_path):
    target = tmp_path / "new folder" / "file"
    with atomic_path(target) as partial:
        partial.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(target) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputFileError, match="file/inside cannot be written"):
        with atomic_path(tmp_path / "file" / "inside") as partial:
            partial.write_text("x")
