"""Whatever stops a command, its files are whole or absent, and the same command succeeds after.

More of the same, by hand: ``python benchmarks/reliability.py``.
"""

import shutil
import tempfile
from pathlib import Path

import pytest

from writing import harness

NAMES = (
    *("simulate", "downsample", "downsample --chunk", "downsample --is-vol", "parse_pose_star"),
    *("parse_ctf_star", "backproject_voxel", "train_vae", "train_nn", "train_dec"),
    *("train_linear", "power", "power --plant", "eval_images", "eval_vol", "analyze"),
    *("pc_traversal", "direct_traversal", "select", "export", "postprocess", "add_noise"),
    *("filter_mrcs", "filter_star", "filter_pkl", "flip_hand", "invert_contrast", "gen_mask"),
    "select_random",
)


@pytest.fixture(scope="module")
def inputs():
    # Readable by everybody, which pytest's own folders are not.
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    folder.chmod(0o755)
    harness.make_inputs(folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def commands(inputs):
    found = harness.commands(inputs)
    assert tuple(found) == NAMES
    return found


@pytest.fixture(scope="module")
def whole(commands, inputs):
    known: dict[str, harness.Whole] = {}

    def of(name):
        if name not in known:
            known[name] = harness.undisturbed(commands[name], inputs / f"whole {name}")
        return known[name]

    return of


@pytest.mark.parametrize("name", NAMES)
def test_a_kill_leaves_whole_files_and_the_command_succeeds_after(
    commands, whole, inputs, name
):
    command, expected = commands[name], whole(name)
    out = inputs / f"killed {name}"
    if name in {"downsample", "train_vae", "eval_vol"}:
        assert harness.kill_at_write(command, out, 1)
    harness.kill_at_random(command, out, expected, name)
    assert not harness.damaged(harness.visible(out), expected.files, all_of=False)
    status, said = harness.call(command.line(out), inputs / "log")
    # The kill may have come after the last epoch, or behind all that was to be written.
    is_over = "nothing is left to train" in said or "holds particles already" in said
    assert status == 0 or is_over, said
    assert not harness.damaged(harness.visible(out), expected.files, all_of=True)
    left = [path.name for path in out.rglob(".*") if path.is_file()]
    assert not left


@pytest.mark.parametrize(("name", "kept"), [("downsample", 35), ("downsample --chunk", 35)])
def test_a_downsampling_killed_in_the_middle_goes_on_where_it_was(
    commands, whole, inputs, name, kept
):
    command, expected = commands[name], whole(name)
    out, log = inputs / f"killed in the middle {name}", inputs / "log"
    # Of 60 images in batches of 5; chunks of 7 are written as 5 and 2.
    batches = kept // 5 if name == "downsample" else 2 * kept // 7
    assert harness.kill_in_the_middle(command, out, batches)
    assert "x.mrcs" not in harness.visible(out)
    process = harness.start(command.line(out), log, harness.count_written)
    status, said = harness.finish(process, log)
    assert status == 0, said
    written = [int(line.split()[1]) for line in said.splitlines() if line.startswith("written")]
    assert sum(written) == 60 - kept
    assert ("goes on behind 35 images" in said) == (name == "downsample")
    assert harness.visible(out) == expected.files
    assert not [path for path in out.rglob(".*") if path.is_file()]


@pytest.mark.parametrize(
    ("name", "share"),
    [
        *(("downsample", 0.1), ("downsample", 0.7), ("train_vae", 0.1), ("train_vae", 0.7)),
        ("analyze", 0.7),
    ],
)
def test_a_full_disk_is_said_and_the_command_succeeds_after(
    commands, whole, inputs, name, share
):
    command, expected = commands[name], whole(name)
    needed = sum(map(len, expected.files.values()))
    disk = inputs / f"disk {name} {share}"
    with harness.small_disk(disk, max(int(share * needed), 4096)) as resize:
        if resize is None:
            pytest.skip("no disk can be mounted here")
        out = disk / "out"
        status, said = harness.call(command.line(out), inputs / "log")
        assert status == 2, said
        message = said.strip().splitlines()[-1]
        assert str(out) in message
        assert "needs" in message
        assert "has room for" in message
        assert "Traceback" not in said
        assert not harness.damaged(harness.visible(out), expected.files, all_of=False)
        resize(20 * needed + 2**20)
        status, said = harness.call(command.line(out), inputs / "log")
        assert status == 0, said
        assert not harness.damaged(harness.visible(out), expected.files, all_of=True)


@pytest.mark.parametrize("name", ["downsample", "train_vae", "analyze", "simulate", "eval_vol"])
def test_a_file_that_does_not_fit_is_said(commands, whole, inputs, name):
    command, expected = commands[name], whole(name)
    largest = max(map(len, expected.files.values()))
    out, log = inputs / f"limited {name}", inputs / "log"
    prepare = harness.limited_files(largest // 2)
    status, said = harness.finish(harness.start(command.line(out), log, prepare), log)
    assert status == 2, said
    assert "cannot be written: it needs" in said.strip().splitlines()[-1]
    assert not harness.damaged(harness.visible(out), expected.files, all_of=False)
    status, said = harness.call(command.line(out), log)
    assert status == 0, said
    assert not harness.damaged(harness.visible(out), expected.files, all_of=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_that_cannot_be_written_is_said(commands, inputs, name):
    log = inputs / "log of nobody"
    out = inputs / f"refused {name}"
    out.mkdir()
    out.chmod(0o555)
    log.touch()
    process = harness.start(commands[name].line(out), log, harness.as_nobody)
    status, said = harness.finish(process, log)
    assert status == 2, said
    assert "Permission denied" in said.strip().splitlines()[-1]
    assert str(out) in said.strip().splitlines()[-1]
    assert "Traceback" not in said
    assert not list(out.iterdir())
