"""A mistyped line ends with the usage of its command and what was probably meant."""

import pytest

from cryodrgn.cli import tools
from cryodrgn.cli.main import CRYODRGN, main
from cryodrgn.cli.tools import CRYODRGN_UTILS


def refusal(capsys, words, program=main):
    with pytest.raises(SystemExit, match="2"):
        program(words.split())
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("train_vae p.star -o out --zdm 8", "unknown option --zdm; did you mean --zdim?"),
        ("train_vae p.star -o out --num_epochs 8", "did you mean --num-epochs?"),
        ("backproject_voxel p.star --outdri x", "did you mean --outdir?"),
        ("backproject_voxel p.star --dim 3", "--dim; see cryodrgn backproject_voxel --help"),
        ("train_nn p.star -o o --quux=3", "see cryodrgn train_nn --help"),
        ("downsample p.mrcs -o o -Q 3", "unknown option -Q; see cryodrgn downsample --help"),
        ("downsample p.mrcs more.mrcs -o o -D 8", "too many arguments: more.mrcs"),
    ],
)
def test_an_unknown_option_is_answered_by_its_command(capsys, line, hint):
    said = refusal(capsys, line)
    assert said.startswith(f"usage: cryodrgn {line.split()[0]} ")
    assert hint in said.splitlines()[-1]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            "train_vae p.star -o o --symmetry D7",
            "cryodrgn expand FILE --symmetry GROUP -o",
        ),
        ("train_vae p.star -o o --dim 9", "--qdim says, decoders as --pdim; --zdim is that of"),
        ("train_dec p.star -o o --ewald 1", "or give smaller images, -D"),
        ("abinit_homo p.star -o o --symmetry D7", "give backproject_voxel --symmetry"),
    ],
)
def test_an_option_that_is_elsewhere_says_what_takes_its_place(capsys, line, reason):
    assert reason in refusal(capsys, line).splitlines()[-1]


@pytest.mark.parametrize(
    ("program", "line", "hint"),
    [
        (main, "trian_vae", "did you mean train_vae?"),
        (main, "--zdim 8 train_vae", "after the command: cryodrgn train_vae --zdim …"),
        (main, "fsc a b", "type cryodrgn_utils fsc"),
        (main, "preprocess out", "images are prepared when a run begins"),
        (tools.main, "train_vae p", "type cryodrgn train_vae"),
        (tools.main, "nothing_like_it", "see cryodrgn_utils --help"),
    ],
)
def test_an_unknown_command_says_what_to_type(capsys, program, line, hint):
    assert hint in refusal(capsys, line, program).splitlines()[-1]


@pytest.mark.parametrize("program", [CRYODRGN, CRYODRGN_UTILS], ids=lambda p: p.name)
def test_help_lists_commands_by_topic_in_the_order_of_a_project(capsys, program):
    with pytest.raises(SystemExit, match="0"):
        program.run(["--help"])
    said = capsys.readouterr().out
    places = [said.index(f"\n{topic}:\n") for topic in program.topics]
    places += [said.index(f"\n  {name} ") for name in program.commands]
    assert places[: len(program.topics)] == sorted(places[: len(program.topics)])
    assert places[len(program.topics) :] == sorted(places[len(program.topics) :])
    assert "notebook needs" not in said
    assert max(map(len, said.splitlines())) <= 130


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            "--batch-size-sgd 4 -b 8",
            "--batch-size-sgd and -b are names of one option: the last counts, -b 8",
        ),
        ("-b4 -b 8", "-b was given more than once: the last counts, 8"),
        ("--batch-size-s=4 --batch-size-sgd 8", "--batch-size-sgd was given more than once"),
    ],
)
def test_an_option_that_was_given_twice_takes_its_last_value(tmp_path, capfd, typed, said):
    line = f"abinit no.mrcs -o {tmp_path} --zdim 0 {typed}"
    assert main(line.split()) == 2
    assert f"warning: {said}" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["-o", "--outdir"])
def test_a_message_names_options_as_they_were_typed(fail, tmp_path, name):
    said = fail("train_vae", name, tmp_path, "--load", "latest")
    assert f"give the folder of a run with {name}, or" in said


def test_an_option_that_is_no_number_was_given_once(fail, tmp_path):
    said = fail(
        "train_linear", tmp_path / "x.star", "-o", tmp_path / "run", "--window-r", "nan"
    )
    assert "more than once" not in said


def test_an_option_that_no_part_of_a_command_read_is_named(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr("cryodrgn.jobs.demo.Demo.run", lambda job: job.outdir)
    assert main(["demo", "-o", str(tmp_path), "--seed", "3"]) == 0
    assert "warning: --seed had no effect in this command" in capfd.readouterr().err
