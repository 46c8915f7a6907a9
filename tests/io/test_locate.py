import pytest

from cryodrgn.errors import InputFileError
from cryodrgn.io.locate import locate_stacks


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")


def test_the_project_root_is_found_from_the_metadata_file_upwards(tmp_path):
    make(tmp_path, "project/Extract/job1/a.mrcs", "project/Refine3D/job2/run_data.star")
    star = tmp_path / "project/Refine3D/job2/run_data.star"
    found = locate_stacks(["Extract/job1/a.mrcs"], star)
    assert found == {"Extract/job1/a.mrcs": tmp_path / "project/Extract/job1/a.mrcs"}


def test_the_bare_name_beside_the_metadata_file_is_the_last_resort(tmp_path):
    make(tmp_path, "copy/a.mrcs", "copy/run_data.star")
    found = locate_stacks(["Extract/job1/a.mrcs"], tmp_path / "copy/run_data.star")
    assert found["Extract/job1/a.mrcs"] == tmp_path / "copy/a.mrcs"


def test_datadir_takes_names_shortened_from_the_left_but_the_longest_first(tmp_path):
    make(tmp_path, "data/job1/a.mrcs", "data/a.mrcs", "x.star")
    found = locate_stacks(["Extract/job1/a.mrcs"], tmp_path / "x.star", tmp_path / "data")
    assert found["Extract/job1/a.mrcs"] == tmp_path / "data/job1/a.mrcs"


def test_absolute_paths_are_taken_as_they_are_and_found_again_after_a_move(tmp_path):
    make(tmp_path, "data/a.mrcs", "new/b.mrcs", "new/x.star")
    name = str(tmp_path / "data/a.mrcs")
    assert locate_stacks([name], tmp_path / "new/x.star")[name] == tmp_path / "data/a.mrcs"
    moved = locate_stacks(["/gone/b.mrcs"], tmp_path / "new/x.star", tmp_path / "new")
    assert moved["/gone/b.mrcs"] == tmp_path / "new/b.mrcs"


def test_every_place_tried_is_shown(tmp_path):
    make(tmp_path, "project/x.star")
    with pytest.raises(InputFileError) as caught:
        locate_stacks(["Extract/a.mrcs"], tmp_path / "project/x.star")
    message = str(caught.value)
    assert "names Extract/a.mrcs, which was not found; tried" in message
    for place in ("elsewhere/Extract/a.mrcs", "project/Extract/a.mrcs", "project/a.mrcs"):
        assert str(tmp_path / place) in message
    assert "`datadir`" in message
    tried = message.split("tried ")[1].split("; ")[0].split(", ")
    assert len(tried) == len(set(tried))


def test_a_name_that_fits_two_different_files_is_refused(tmp_path):
    make(tmp_path, "project/Extract/a.mrcs", "Extract/a.mrcs", "project/job/x.star")
    with pytest.raises(InputFileError, match="could be .* or .*; say which with `datadir`"):
        locate_stacks(["Extract/a.mrcs"], tmp_path / "project/job/x.star")


def test_the_folder_of_the_metadata_file_comes_before_the_working_directory(tmp_path, caplog):
    make(tmp_path, "job/a.mrcs", "elsewhere/a.mrcs", "a.mrcs", "job/x.star")
    found = locate_stacks(["a.mrcs"], tmp_path / "job/x.star")
    assert found["a.mrcs"] == tmp_path / "job/a.mrcs"
    assert f"{tmp_path}/job/a.mrcs is read, in the folder of the file" in caplog.text
    assert f"not {tmp_path}/elsewhere/a.mrcs" in caplog.text


def test_two_folders_may_link_to_one_stack(tmp_path):
    make(tmp_path, "stacks/a.mrcs", "Import/job1/none", "Import/job2/none", "x.star")
    names = ["Import/job1/a.mrcs", "Import/job2/a.mrcs"]
    for name in names:
        (tmp_path / name).symlink_to(tmp_path / "stacks/a.mrcs")
    found = locate_stacks(names, tmp_path / "x.star")
    assert list(found.values()) == [tmp_path / "stacks/a.mrcs"] * 2


def test_links_by_which_a_run_found_its_stacks_are_its_stacks(tmp_path, caplog):
    make(tmp_path, "stacks/a.mrcs", "J1/none", "J2/none", "x.star")
    names = ["J1/a.mrcs", "J2/a.mrcs", "J2/0042_a.mrcs"]
    for name in names:
        (tmp_path / name).symlink_to(tmp_path / "stacks/a.mrcs")
    for datadir in (None, tmp_path):
        found = locate_stacks(names, tmp_path / "x.star", datadir, [tmp_path / "stacks"])
        assert list(found.values()) == [tmp_path / "stacks/a.mrcs"] * 3
    assert not caplog.text


def test_one_file_reached_in_two_ways_is_no_conflict(tmp_path):
    make(tmp_path, "project/Extract/a.mrcs", "project/job/x.star")
    (tmp_path / "project/job/Extract").symlink_to(tmp_path / "project/Extract")
    found = locate_stacks(["Extract/a.mrcs"], tmp_path / "project/job/x.star")
    assert found["Extract/a.mrcs"] == tmp_path / "project/Extract/a.mrcs"


def test_stacks_of_two_jobs_that_share_a_bare_name_are_not_confused(tmp_path):
    make(tmp_path, "data/a.mrcs", "x.star")
    with pytest.raises(InputFileError, match=r"names job1/a.mrcs and job2/a.mrcs, but only"):
        locate_stacks(["job1/a.mrcs", "job2/a.mrcs"], tmp_path / "x.star", tmp_path / "data")
    with pytest.raises(InputFileError, match=r"names a.mrcs and job2/a.mrcs, but only"):
        locate_stacks(["a.mrcs", "job2/a.mrcs"], tmp_path / "x.star", tmp_path / "data")


def test_a_datadir_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(InputFileError, match="`datadir` .*nowhere is no folder"):
        locate_stacks(["a.mrcs"], tmp_path / "x.star", tmp_path / "nowhere")
