"""Terms of the optics that a command ignores: each says them, once and in one sentence."""

from dataclasses import fields

import numpy as np
import pytest

from cli.said import parsed_commands
from cryodrgn.cli import tools
from cryodrgn.cli.main import main
from cryodrgn.cli.topics import ALIASES, TOOL_ALIASES
from cryodrgn.cli.topics import JOBS as COMMANDS_OF_MAIN
from cryodrgn.errors import MetadataError
from cryodrgn.io import optics_report, parse, particle_files
from cryodrgn.io.star import read_star, write_star
from cryodrgn.runs.run import open_run
from finished_run import SMALL_VAE

DETECTOR = "the detector's MTF (mtf.star of optics group 1)"
TILT = "antisymmetric aberrations (beam tilt, trefoil) of up to "
# Commands that predict images account for everything but the detector's MTF.
PREDICTING = {
    "backproject_voxel": "-o {out}/map.mrc",
    "check": "-o {out}",
    "reconstruct_states": "--latents {z} -o {out} --particles",
    "train_vae": "-o {out} --zdim 1 -n 1",
    "train_dec": "-o {out} --zdim 1 -n 1",
    "train_nn": "-o {out} -n 1",
    "train_linear": "-o {out}",
    "abinit": "-o {out}",
    "abinit_homo": "-o {out}",
    "abinit_het": "-o {out} --zdim 1",
    "nuisance": "{z} -o {out}",
    "power": "--model {map} {map} -o {out}",
    "eval_images": "{run}/weights.pkl -c {run}/config.yaml -o {out}/z.pkl",
    "run": "-o {out}",
    "select": "--pixel-size 12 -o {out}/ind.pkl --particles",
    "write_star": "-o {out}/x.star",
    "write_cs": "-o {out}/x.cs",
}
# Those that write stacks or pickles say all that these do not hold.
WITHOUT_FILE = {
    "downsample": "-D 8 -o {out}/x.mrcs",
    "view_mrcs": "-o {out}/x.png",
    "filter_mrcs": "--ind {folder}/ind.npy -o {out}/x.mrcs",
    "phase_flip": "{folder}/ctf.pkl -o {out}/x.mrcs",
    "translate_mrcs": "{folder}/poses.pkl -o {out}/x.mrcs",
    "add_noise": "--snr 1 -o {out}/x.mrcs",
    "parse_ctf_star": "-o {out}/ctf.pkl",
    "parse_pose_star": "-o {out}/poses.pkl",
    "parse_star": "--ctf {out}/ctf.pkl --poses {out}/poses.pkl",
}
# Those that copy rows keep their columns, and those of .cs files have the same two readers.
COPYING = {"export", "expand", "parse_relion"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ignored")
    line = f"simulate -D 16 --Apix 12 -n 16 --num-states 1 --snr 5 -o {folder}"
    assert main(line.split()) == 0
    words = f"train_vae {folder}/particles.star -o {folder}/run --zdim 1 -n 1 --screen none"
    assert main([*words.split(), *map(str, SMALL_VAE)]) == 0
    tables = {
        name: {column: table.text(column) for column in table.names}
        for name, table in read_star(folder / "particles.star").items()
    }
    tables["optics"] |= {
        "rlnMtfFileName": ["mtf.star"],
        "rlnBeamTiltX": ["0.5"],
        "rlnBeamTiltY": ["0"],
        "rlnEvenZernike": ["[0,0,0,0,0,0,90]"],
        "rlnMagMat00": ["1.02"],
        "rlnMagMat01": ["0"],
        "rlnMagMat10": ["0"],
        "rlnMagMat11": ["1"],
    }
    tables["particles"]["rlnCtfBfactor"] = ["40"] * 16
    write_star(folder / "everything.star", tables)
    np.save(folder / "ind.npy", np.arange(3))
    return folder


@pytest.fixture
def said(folder, tmp_path, caplog, capsys, monkeypatch):
    """What a command says of ignored terms until its particles are open."""
    caplog.set_level("INFO")
    maps = folder / "density.mrc"
    places = {"out": tmp_path, "folder": folder, "run": folder / "run", "map": maps}
    places["z"] = folder / "run/z.pkl"

    def tell(*arguments):
        optics_report.tell_of_ignored(*arguments)
        msg = "stopped once the terms are said"
        raise MetadataError(msg)

    for module in (parse, particle_files):
        monkeypatch.setattr(module, "tell_of_ignored", tell)

    def told(command, line):
        options, star = line.format(**places).split(), str(folder / "everything.star")
        # Some name the particles by an option, which then stands last.
        words = [*options, star] if options[-1] == "--particles" else [star, *options]
        program = main if command in COMMANDS_OF_MAIN else tools.main
        assert program([command, *words]) == 2
        assert "stopped once the terms are said" in capsys.readouterr().err
        return [text for text in caplog.messages if text.startswith("ignored of ")]

    return told


@pytest.mark.parametrize("command", PREDICTING)
def test_commands_that_predict_images_ignore_the_detector(said, command):
    (sentence,) = said(command, PREDICTING[command])
    assert DETECTOR in sentence
    assert TILT not in sentence


@pytest.mark.parametrize("command", WITHOUT_FILE)
def test_commands_without_a_table_say_what_they_do_not_hold(said, command):
    (sentence,) = said(command, WITHOUT_FILE[command])
    assert "anisotropic magnifications (by up to 2 %, optics group 1)" in sentence or (
        command == "phase_flip"
    )
    phases = "° at the Nyquist frequency, optics group 1"
    assert (TILT in sentence and phases in sentence) or command == "parse_pose_star"


def test_a_whole_command_says_it_once(run, folder, tmp_path, caplog):
    caplog.set_level("INFO")
    run("backproject_voxel", folder / "everything.star", "-o", tmp_path / "map.mrc")
    run("downsample", folder / "everything.star", "-D", 8, "-o", tmp_path / "x.mrcs")
    first, second = [text for text in caplog.messages if text.startswith("ignored of ")]
    assert TILT not in first
    assert TILT in second


def test_particles_of_a_run_say_it_too(folder, caplog):
    caplog.set_level("INFO")
    trained = open_run(folder / "run")
    assert trained.particles() is not None
    assert not [text for text in caplog.messages if text.startswith("ignored of ")]


def test_every_command_that_reads_particles_is_here():
    found = {
        name
        for name, command in parsed_commands().items()
        if {field.name for field in fields(command.job)} & {"particles", "datadir"}
    }
    listed = {name for name in (*PREDICTING, *WITHOUT_FILE) if not name.startswith("parse_")}
    assert listed | COPYING == found - {*ALIASES, *TOOL_ALIASES}
