"""Bad images are left out by row, and everything after leads back to the original file."""

import shutil

import numpy as np
import pytest

from cryodrgn.errors import InputFileError
from cryodrgn.io.cryodrgn_pickle import load_latents, save_pickles
from cryodrgn.io.mrc import MrcFile
from cryodrgn.io.run_config import load_run_config, parent_indices
from cryodrgn.io.selection_files import load_indices
from cryodrgn.runs.run import open_run
from finished_run import SMALL_VAE

COUNT = 60


@pytest.fixture
def files(tmp_path, write_stack, rng):
    """A stack with three bad images, and poses."""

    def make(*bad):
        images = rng.normal(size=(COUNT, 16, 16))
        for number, row in enumerate(bad):
            images[row] = (np.nan, 0.0)[number] if number < 2 else images[row]
            images[row, 2, 2] += 1e4 if number == 2 else 0
        poses = (np.tile(np.eye(3), (COUNT, 1, 1)), np.zeros((COUNT, 2)))
        save_pickles(tmp_path / "poses.pkl", [poses])
        return write_stack(images), "--poses", tmp_path / "poses.pkl"

    return make


TRAIN = ("--zdim", 2, "-n", 1, *SMALL_VAE)


def table(folder):
    return (folder / "screened.csv").read_text().splitlines()


def test_a_few_bad_images_are_left_out_and_their_rows_listed(run, files, tmp_path):
    out = tmp_path / "out"
    run("train_vae", *files(7, 30, 41), *TRAIN, "-o", out)
    assert table(out) == ["row,reason", "7,not finite", "30,constant", "41,hot pixels"]
    assert len(load_latents(out / "z.pkl")) == COUNT - 3
    kept = load_indices(out / "screened_ind.pkl")
    assert kept.tolist() == sorted(set(range(COUNT)) - {7, 30, 41})
    # The run knows its particles by the same rows, as with --ind.
    assert parent_indices(out) == out / "screened_ind.pkl"
    dataset = load_run_config(out / "config.yaml")["dataset_args"]
    assert dataset["ind"] == str(out / "screened_ind.pkl")
    chosen = tmp_path / "chosen.pkl"
    run("select", out, "--random", "--count", COUNT - 3, "-o", chosen)
    assert sorted(load_indices(chosen)) == kept.tolist()


def test_rows_are_those_of_the_file_whatever_was_selected_before(run, files, tmp_path):
    out, index = tmp_path / "out", tmp_path / "ind.pkl"
    line = files(7, 30, 41)
    save_pickles(index, [np.arange(10, COUNT)[::-1].copy()])
    run("train_vae", *line, *TRAIN, "--ind", index, "-o", out)
    assert table(out) == ["row,reason", "30,constant", "41,hot pixels"]
    expected = [row for row in range(COUNT - 1, 9, -1) if row not in {30, 41}]
    assert load_indices(out / "screened_ind.pkl").tolist() == expected


def test_a_run_goes_on_with_the_images_it_began_with(run, files, tmp_path):
    out, line = tmp_path / "out", files(7)
    run("train_vae", *line, *TRAIN, "-o", out)
    run("train_vae", "-o", out, "--load", "latest", "-n", 2)
    run("train_vae", *line, *TRAIN, "-n", 3, "--load", "latest", "-o", out)
    assert len(load_latents(out / "z.2.pkl")) == COUNT - 1


def test_a_refused_command_leaves_no_list_of_bad_images(
    run, fail, files, tmp_path, rng, write_stack
):
    out, line = tmp_path / "out", files(7)
    run("train_vae", *line, *TRAIN, "-o", out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    images = rng.normal(size=(COUNT, 16, 16))
    images[30] = 0
    others = (write_stack(images, "others.mrcs"), *line[1:], *TRAIN)
    message = fail("train_vae", *others, "-n", 2, "--load", "latest", "-o", out)
    assert f"began with, of {line[0]}, which is there, not with {others[0]}" in message
    # Only once the images are prepared it turns out that these weights do not fit.
    weights = shutil.copy(out / "weights.pkl", tmp_path)
    wider = ("--pdim", 32, "--load", weights, "-n", 2)
    assert "does not fit" in fail("train_vae", *others, *wider, "--overwrite", "-o", out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert "does not fit" in fail("train_vae", *others, *wider, "-o", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_many_bad_images_are_refused(fail, files, tmp_path, rng, write_stack):
    line = files(1, 2, 3)
    images = rng.normal(size=(COUNT, 16, 16))
    images[:4] = 0
    stack = write_stack(images, "many.mrcs")
    message = fail("train_vae", stack, *line[1:], *TRAIN, "-o", tmp_path / "out")
    assert "4 of 60 images screened cannot be used (rows 0, 1, 2, 3;" in message
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["screened.csv"]


@pytest.fixture
def sparse(monkeypatch):
    """A sample of every other image."""
    monkeypatch.setattr("cryodrgn.preflight.screening.SAMPLE", 30)
    looked_at = np.linspace(0, COUNT - 1, 30).round()
    assert not {7, 21, 42} & set(looked_at)


LINEAR = ("--components", 1, "--radius", 4)
READERS = {
    "train_vae": (TRAIN, ""),
    "train_nn": (("-n", 1, "--dim", 16, "--layers", 1), ""),
    "train_dec": (("--zdim", 2, "-n", 1, "--dim", 16, "--layers", 1), ""),
    "train_linear": (LINEAR, ""),
    "backproject_voxel": ((), "x.mrc"),
}


@pytest.mark.parametrize("command", READERS)
def test_images_that_are_found_bad_late_are_left_out_as_if_found_early(
    run, files, tmp_path, sparse, command
):
    out, (options, name) = tmp_path / "out", READERS[command]
    line = (command, *files(7, 21, 42), *options)
    run(*line, "-o", out / name)
    assert table(out) == ["row,reason", "7,not finite", "21,constant", "42,hot pixels"]
    kept = sorted(set(range(COUNT)) - {7, 21, 42})
    assert load_indices(out / "screened_ind.pkl").tolist() == kept
    early = tmp_path / "early"
    run(*line, "--screen", "all", "-o", early / name)
    for path in (path for path in early.iterdir() if path.suffix in {".mrc", ".txt"}):
        assert path.read_bytes() == (out / path.name).read_bytes()
    latents = early / "z.pkl"
    if latents.exists():
        assert latents.read_bytes() == (out / "z.pkl").read_bytes()


def test_what_was_found_late_is_looked_at_first_when_a_run_goes_on(
    run, files, tmp_path, sparse
):
    out, line = tmp_path / "out", files(7, 21)
    said = run("train_vae", *line, *TRAIN, "-o", out)
    assert said.count("plan: ") == 2
    said = run("train_vae", *line, *TRAIN, "-n", 2, "--load", "latest", "-o", out)
    assert said.count("plan: ") == 1
    assert len(load_latents(out / "z.1.pkl")) == COUNT - 2


def test_an_old_list_that_is_wrong_changes_nothing(run, files, tmp_path, sparse):
    out = tmp_path / "out"
    out.mkdir()
    (out / "screened.csv").write_text("row,reason\n7,constant\n999,constant\nx")
    run("train_vae", *files(), *TRAIN, "-o", out)
    assert not (out / "screened.csv").exists()
    assert len(load_latents(out / "z.pkl")) == COUNT


def test_many_that_are_found_late_are_refused(
    files, tmp_path, rng, write_stack, sparse, capsys
):
    from cryodrgn.cli.main import main

    images, out = rng.normal(size=(COUNT, 16, 16)), tmp_path / "out"
    images[[7, 13, 21, 42]] = np.nan
    line = ("train_vae", write_stack(images, "many.mrcs"), *files()[1:], *TRAIN, "-o", out)
    assert main([str(word) for word in line]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].endswith("beyond the sample cannot be used; all are looked at now")
    assert "4 of 60 images screened cannot be used (rows 7, 13, 21, 42; why" in said[-1]
    assert [path.name for path in out.iterdir()] == ["screened.csv"]


def test_what_nobody_looks_for_is_used_unless_it_cannot_be(
    run, fail, files, tmp_path, rng, write_stack
):
    line = (*files(7), "--screen", "none", "-o", tmp_path / "x.mrc")
    assert "leave it out with --screen all or --ind" in fail("backproject_voxel", *line)
    images = rng.normal(size=(COUNT, 16, 16))
    images[21] = 0
    run("backproject_voxel", write_stack(images, "constant.mrcs"), *line[1:])
    assert not (tmp_path / "screened.csv").exists()


def test_the_second_exposure_of_tilt_pairs_is_judged_too(
    run, files, tmp_path, rng, write_stack, sparse
):
    images = rng.normal(size=(COUNT, 16, 16))
    images[21] = 0
    line = (*files(7), "--tilt", write_stack(images, "tilted.mrcs"))
    run("backproject_voxel", *line, "-o", tmp_path / "out/x.mrc")
    assert table(tmp_path / "out") == ["row,reason", "7,not finite", "21,constant"]


def test_encoding_leaves_out_what_it_finds_late(run, files, tmp_path, sparse):
    line = files(7, 21, 42)
    run("train_vae", *line, *TRAIN, "-o", tmp_path / "run")
    out = tmp_path / "out"
    run("eval_images", line[0], tmp_path / "run/weights.pkl", *line[1:], "-o", out / "z.pkl")
    kept = load_indices(out / "screened_ind.pkl")
    assert kept.tolist() == sorted(set(range(COUNT)) - {7, 21, 42})
    assert len(load_latents(out / "z.pkl")) == COUNT - 3


def test_other_images_in_the_folder_of_a_run_leave_its_rows_alone(
    run, fail, files, tmp_path, rng, write_stack
):
    out, line = tmp_path / "run", files(7)
    run("train_vae", *line, *TRAIN, "-o", out)
    names = ("screened.csv", "screened_ind.pkl")
    before = [(out / name).read_bytes() for name in names]
    images = rng.normal(size=(COUNT, 16, 16))
    images[30] = 0
    others, weights = write_stack(images, "others.mrcs"), out / "weights.pkl"
    run("eval_images", others, weights, *line[1:], "-o", out / "z_others.pkl")
    run("backproject_voxel", others, *line[1:], "-o", out / "map.mrc")
    run("downsample", others, "-D", 8, "-o", out / "others.8.mrcs")
    assert [(out / name).read_bytes() for name in names] == before
    for stem in ("z_others", "map"):
        kept = load_indices(out / f"{stem}.screened_ind.pkl")
        assert kept.tolist() == sorted(set(range(COUNT)) - {30})
    for stem in ("z_others", "map", "others.8"):
        assert (out / f"{stem}.screened.csv").read_text() == "row,reason\n30,constant\n"
    # Without bad images, too.
    images[30] = images[31]
    write_stack(images, "others.mrcs")
    run("eval_images", others, weights, *line[1:], "-o", out / "z_others.pkl")
    assert [(out / name).read_bytes() for name in names] == before
    # A run that cannot begin after its images were looked at leaves them as well.
    index = tmp_path / "few.pkl"
    save_pickles(index, [np.arange(COUNT - 2)])
    few = (np.tile(np.eye(3), (COUNT - 2, 1, 1)), np.zeros((COUNT - 2, 2)))
    save_pickles(tmp_path / "few_poses.pkl", [few])
    wrong = ("--ind", index, "--poses", tmp_path / "few_poses.pkl", "--overwrite", "-o", out)
    assert "images were left out" in fail("train_vae", line[0], *TRAIN, *wrong)
    assert [(out / name).read_bytes() for name in names] == before


def test_rows_of_an_earlier_run_in_the_folder_go(run, files, tmp_path, rng, write_stack):
    first, out = tmp_path / "first", tmp_path / "out"
    bad = files(7)
    for folder in (first, out):
        run("train_vae", *bad, *TRAIN, "-o", folder)
    save_pickles(out / "screened_ind.pkl", [np.arange(COUNT - 1)])
    index = ("--ind", first / "screened_ind.pkl")
    run("train_vae", *bad, *TRAIN, *index, "--overwrite", "-o", out)
    assert not (out / "screened_ind.pkl").exists()
    assert parent_indices(out) == first / "screened_ind.pkl"


def test_rows_of_a_run_that_have_changed_are_refused(run, fail, files, tmp_path):
    out = tmp_path / "run"
    run("train_vae", *files(7), *TRAIN, "-o", out)
    save_pickles(out / "screened_ind.pkl", [np.arange(COUNT - 2)])
    with pytest.raises(InputFileError, match="selects 58 particles, but .* has 59"):
        open_run(out).original_rows(COUNT - 1)
    chosen = ("--random", "--count", 5, "-o", tmp_path / "chosen.pkl")
    assert "selects 58 particles, but" in fail("select", out, *chosen)
    # As many others, as of an index file that was written again.
    save_pickles(out / "screened_ind.pkl", [np.arange(COUNT - 1)])
    with pytest.raises(InputFileError, match="selects 59 particles, but not those that"):
        open_run(out).original_rows(COUNT - 1)
    assert "selects 59 particles, but not those" in fail("select", out, *chosen)


def test_rows_in_the_order_of_an_index_file_are_known_again(run, files, tmp_path):
    rows = np.random.default_rng(4).permutation(COUNT)[:20]
    save_pickles(tmp_path / "ind.pkl", [rows])
    out = tmp_path / "run"
    run("train_vae", *files(), *TRAIN, "--ind", tmp_path / "ind.pkl", "-o", out)
    np.testing.assert_array_equal(open_run(out).original_rows(20), rows)
    assert parent_indices(out) == tmp_path / "ind.pkl"


def test_downsampling_lists_what_it_finds_late(run, files, tmp_path, sparse):
    stack, out = files(7, 21, 42)[0], tmp_path / "out"
    run("downsample", stack, "-D", 8, "-o", out / "x.mrcs")
    assert table(out) == ["row,reason", "7,not finite", "21,constant", "42,hot pixels"]
    assert len(MrcFile.open(out / "x.mrcs").sections()) == COUNT
    assert {path.name for path in out.iterdir()} == {"x.mrcs", "screened.csv"}


def test_downsampling_keeps_every_row(run, files, tmp_path):
    stack = files(7)[0]
    run("downsample", stack, "-D", 8, "-o", tmp_path / "out" / "x.mrcs")
    images = MrcFile.open(tmp_path / "out" / "x.mrcs").sections()
    assert len(images) == COUNT
    assert np.isnan(images[7]).all()
    assert np.isfinite(np.delete(images, 7, axis=0)).all()
    assert table(tmp_path / "out") == ["row,reason", "7,not finite"]


def test_latents_of_images_that_are_left_out_say_which(run, files, tmp_path):
    line = files(7)
    run("train_vae", *line, *TRAIN, "-o", tmp_path / "run")
    out = tmp_path / "out"
    run("eval_images", line[0], tmp_path / "run/weights.pkl", *line[1:], "-o", out / "z.pkl")
    assert len(load_latents(out / "z.pkl")) == COUNT - 1
    assert 7 not in load_indices(out / "screened_ind.pkl")


@pytest.fixture
def latents(tmp_path, rng):
    """Latents of all images; those of bad ones are far away."""
    table = rng.normal(size=(COUNT, 2)).astype(np.float32)
    table[[7, 21, 42]] += 1000
    save_pickles(tmp_path / "z.pkl", [table])
    return tmp_path / "z.pkl"


def test_states_are_reconstructed_from_images_that_can_be_used(
    run, files, latents, tmp_path, sparse
):
    stack, *poses = files(7, 21, 42)
    line = ("--particles", stack, *poses, "--latents", latents, "--num-states", 2)
    line = (*line, "--functions", 3)
    late, early = tmp_path / "late", tmp_path / "early"
    run("reconstruct_states", *line, "-o", late)
    assert table(late) == ["row,reason", "7,not finite", "21,constant", "42,hot pixels"]
    run("reconstruct_states", *line, "--screen", "all", "-o", early)
    kept = sorted(set(range(COUNT)) - {7, 21, 42})
    assert np.array_equal(load_latents(late / "z.pkl"), load_latents(latents)[kept])
    dataset = load_run_config(late / "config.yaml")["dataset_args"]
    assert dataset["ind"] == str(late / "screened_ind.pkl")
    for path in early.glob("*.mrc"):
        assert path.read_bytes() == (late / path.name).read_bytes()
    # Nor do they choose the states.
    states = np.genfromtxt(late / "states.csv", delimiter=",", skip_header=1, usecols=(1, 2))
    assert np.abs(states).max() < 10


def test_nuisances_are_sought_in_images_that_can_be_used(run, files, latents, tmp_path, sparse):
    line = files(7, 21, 42)
    words = ("nuisance", line[0], latents, *line[1:])
    late, early = tmp_path / "late", tmp_path / "early"
    run(*words, "-o", late)
    assert table(late) == ["row,reason", "7,not finite", "21,constant", "42,hot pixels"]
    run(*words, "--screen", "all", "-o", early)
    found = (late / "nuisance.json").read_text()
    assert (early / "nuisance.json").read_text() == found
    # The same as if the others had never been there.
    chosen, part = late / "screened_ind.pkl", tmp_path / "part.pkl"
    save_pickles(part, [load_latents(latents)[load_indices(chosen)]])
    run("nuisance", line[0], part, *line[1:], "--ind", chosen, "-o", tmp_path / "chosen")
    assert (tmp_path / "chosen/nuisance.json").read_text() == found


@pytest.mark.parametrize("command", ["reconstruct_states", "nuisance"])
def test_latents_of_many_bad_images_are_refused(
    fail, files, latents, tmp_path, rng, write_stack, command
):
    images, out = rng.normal(size=(COUNT, 16, 16)), tmp_path / "out"
    images[:4] = 0
    stack, poses = write_stack(images, "many.mrcs"), files()[1:]
    line = {
        "reconstruct_states": ("--particles", stack, "--latents", latents),
        "nuisance": (stack, latents),
    }
    message = fail(command, *line[command], *poses, "-o", out)
    assert "4 of 60 images screened cannot be used (rows 0, 1, 2, 3;" in message
    assert [path.name for path in out.iterdir()] == ["screened.csv"]
