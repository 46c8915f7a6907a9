"""Declared files are found again by their declarations, and no others are."""

from pathlib import Path

import pytest

from cryodrgn.cli.reference import folders
from cryodrgn.folders import EachEpoch, Named, Numbered
from cryodrgn.rundir import (
    AnalysisFiles,
    FilesBesideVolume,
    RunDirectory,
    ScreeningFilesInRun,
    VolumeSeries,
)


def create(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize("kind", folders())
def test_what_is_written_under_a_declared_name_is_found_by_its_declaration(kind, tmp_path):
    folder = kind(tmp_path / "folder.mrc")
    if kind is FilesBesideVolume:
        assert folder.volume == folder.path
        assert folder.fsc_text.name == "folder_fsc.txt"
        return
    if kind is ScreeningFilesInRun:
        assert folder.kept.name == "folder.screened_ind.pkl"
        return
    for name, entry in kind.entries().items():
        place = getattr(folder, name)
        arguments = {Numbered: (1234,), Named: ("word",), EachEpoch: (3,)}.get(type(entry))
        place = place if arguments is None else place(*arguments)
        path = place if entry.kind is Path else place.path
        if entry.name != ".":
            create(folder.path, path)
            number = arguments[0] if isinstance(entry, Numbered | EachEpoch) else None
            assert entry.existing(folder)[path] == number
            path.unlink()


def test_a_run_lists_what_was_trained_and_leaves_what_others_put_beside_it(tmp_path):
    trained = [
        "component10.fsc.txt",
        "config.yaml",
        "mean.mrc",
        "weights.12.pkl",
        "weights.pkl",
    ]
    create(tmp_path, *trained, "weights.x.pkl", "component.mrc", "z.1.pkl.bak", "analyze.3/a")
    run = RunDirectory(tmp_path)
    assert [path.name for path in run.written_files()] == trained
    assert run.epochs() == [12]
    assert run.analysed_epochs() == [3]
    assert [plain.name for _, plain in run.results(1)][-1] == "weights.pkl"


def test_volumes_and_pictures_have_the_numbers_of_their_names(tmp_path):
    create(tmp_path, "difference_002.png", "vol_001.mrc", "vol_1000.png", "vol_2.mrc", "a.gif")
    found = {path.name: number for path, number in VolumeSeries(tmp_path).numbered().items()}
    assert found == {"difference_002.png": 2, "vol_001.mrc": 1, "vol_1000.png": 1000}


def test_components_come_in_the_order_of_their_numbers(tmp_path):
    create(tmp_path, "pc10/vol_000.mrc", "pc2/vol_000.mrc", "pcs/vol_000.mrc")
    components = AnalysisFiles(tmp_path).components()
    assert [series.path.name for series in components] == ["pc2", "pc10"]
