"""Tilt series, subtomograms and files without particles, apart from those of single images."""

import logging

import pytest

from cryodrgn.errors import InputFileError
from cryodrgn.io.relion import RelionParticles
from cryodrgn.io.star import write_star

ROWS = 6
IMAGES = {
    "rlnImageName": [f"{row + 1}@a.mrcs" for row in range(ROWS)],
    "rlnAngleRot": [10.0] * ROWS,
    "rlnAngleTilt": [20.0] * ROWS,
    "rlnAnglePsi": [30.0] * ROWS,
}
REPEATED = ["a", "a", "a", "b", "b", "b"]
# Columns of single particles, grouped by micrograph, and of the tilt images of two particles.
SINGLE = {
    "plain": {},
    "groups of micrographs": {"rlnGroupName": REPEATED},
    "groups with one scale": {"rlnGroupName": REPEATED, "rlnCtfScalefactor": [1.0] * ROWS},
    "a scale for each group": {
        "rlnGroupName": REPEATED,
        "rlnCtfScalefactor": [1.0] * 3 + [0.9] * 3,
    },
    "a scale for each image": {
        "rlnGroupName": list("abcdef"),
        "rlnCtfScalefactor": [1.0, 0.9, 0.8, 0.7, 0.6, 0.5],
    },
    "numbers of groups": {"rlnGroupNumber": [1, 1, 1, 2, 2, 2]},
    "two dimensions": {"rlnImageDimensionality": [2] * ROWS},
}
TILTS = {
    "M": {"rlnGroupName": REPEATED, "rlnCtfScalefactor": [1.0, 0.9, 0.8] * 2},
    "group numbers": {
        "rlnGroupNumber": [1, 2, 1, 2, 1, 2],
        "rlnCtfScalefactor": [1.0, 1.0, 0.8, 0.8, 0.6, 0.6],
    },
    "dose": {"rlnGroupName": REPEATED, "rlnMicrographPreExposure": [0.0, 3.0, 6.0] * 2},
    "names of particles": {"rlnTomoParticleName": [f"TS_01/{n}" for n in REPEATED]},
    "a tomogram": {"rlnTomoName": ["TS_01"] * ROWS, "rlnGroupName": REPEATED},
}
OPTICS = {"rlnOpticsGroup": [1], "rlnImagePixelSize": [1.0]}


def star(tmp_path, columns, **blocks):
    path = tmp_path / "x.star"
    write_star(path, blocks | {"particles": columns})
    return path


@pytest.mark.parametrize("name", SINGLE)
def test_single_images_pass_without_a_word(tmp_path, caplog, name):
    with caplog.at_level(logging.INFO):
        assert len(RelionParticles(star(tmp_path, IMAGES | SINGLE[name]))) == ROWS
    assert not caplog.records


@pytest.mark.parametrize("name", TILTS)
def test_tilt_images_are_named_once(tmp_path, caplog, name):
    path = star(tmp_path, IMAGES | TILTS[name])
    for _ in range(2):
        assert len(RelionParticles(path)) == ROWS
    (record,) = caplog.records
    assert f"x.star lists {ROWS} tilt images of 2 particles" in record.getMessage()
    assert "tilt series are not supported" in record.getMessage()


def test_tilt_images_that_name_no_particle_are_named(tmp_path, caplog):
    RelionParticles(star(tmp_path, IMAGES | {"rlnTomoName": ["TS_01"] * ROWS}))
    assert f"lists {ROWS} tilt images (rlnTomoName)" in caplog.text


@pytest.mark.parametrize("command", ["parse_pose_star", "downsample"])
def test_every_command_that_reads_particles_warns_of_tilt_images(
    command, write_stack, rng, tmp_path, capsys
):
    from cryodrgn.cli.main import main

    write_stack(rng.normal(size=(ROWS, 8, 8)), "a.mrcs")
    path = star(tmp_path, IMAGES | TILTS["M"] | {"rlnImageSize": [8] * ROWS})
    output = {"parse_pose_star": "x.pkl", "downsample": "y.mrcs"}[command]
    options = ["-D", "4"] if command == "downsample" else []
    assert main([command, str(path), *options, "-o", str(tmp_path / output)]) == 0
    assert capsys.readouterr().err.count("tilt images of 2 particles") == 1


@pytest.mark.parametrize(
    ("columns", "mark"),
    [
        ({"rlnTomoSubtomogramRot": [1.0] * ROWS}, "rlnTomoSubtomogramRot"),
        ({"rlnImageDimensionality": [3] * ROWS}, "rlnImageDimensionality 3"),
        ({"rlnCtfImage": ["ctf.mrc"] * ROWS}, "rlnCtfImage"),
        ({"rlnTomoVisibleFrames": ["[1,1,0]"] * ROWS}, "rlnTomoVisibleFrames"),
        (
            {"rlnTomoName": ["TS"] * ROWS, "rlnImageName": ["1_stack2d.mrcs"] * ROWS},
            "rlnTomoName",
        ),
    ],
)
def test_subtomograms_are_refused(tmp_path, columns, mark):
    with pytest.raises(InputFileError, match=rf"tilt series \({mark}\).*not supported; take"):
        RelionParticles(star(tmp_path, IMAGES | columns))


def test_subtomograms_are_recognised_by_their_optics(tmp_path):
    optics = OPTICS | {"rlnImageDimensionality": [3]}
    with pytest.raises(InputFileError, match="subtomograms"):
        RelionParticles(star(tmp_path, IMAGES | {"rlnOpticsGroup": [1] * ROWS}, optics=optics))


def test_picks_of_a_tomogram_are_refused(tmp_path):
    columns = {"rlnTomoName": ["TS"], "rlnCoordinateX": [1.0], "rlnCoordinateZ": [2.0]}
    with pytest.raises(InputFileError, match="particles of tilt series"):
        RelionParticles(star(tmp_path, columns))


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        (
            {"optimiser_general": {"rlnExperimentalDataStarFile": ["R/job1/run_data.star"]}},
            "settings of a refinement.*take R/job1/run_data.star, which it names",
        ),
        ({"model_general": {"rlnOriginalImageSize": [64]}}, "model.star.*take the data file"),
        ({"model_classes": {"rlnReferenceImage": ["x.mrc"]}}, "model.star.*take the data file"),
        ({"sampling_general": {"rlnHealpixOrder": [2]}}, "orientations that were searched"),
        ({"joboptions_values": {"rlnJobOptionValue": ["x"]}}, "settings of a job"),
        ({"pipeline_general": {"rlnPipeLineJobCounter": [3]}}, "jobs of a project"),
        (
            {"global": {"rlnTomoName": ["TS"], "rlnTomoTiltSeriesStarFile": ["TS.star"]}},
            "tomograms.star.*tilt series are not supported",
        ),
        (
            {"": {"rlnTomoParticlesFile": ["p.star"], "rlnTomoTomogramsFile": ["t.star"]}},
            "optimisation_set.star",
        ),
        ({"movies": {"rlnMicrographMovieName": ["x.tif"]}}, "movies.*extract the particles"),
        (
            {"": {"rlnCoordinateX": [1.0], "rlnAnglePsi": [2.0]}},
            "picked.*extract the particles",
        ),
        (
            {"micrographs": {"rlnMicrographName": ["x"], "rlnDefocusU": [1.0]}},
            "lists micrographs",
        ),
        (
            {"": {"cisTEMPositionInStack": [1], "cisTEMAnglePsi": [1.0]}},
            "table of cisTEM and lacks the columns of RELION .rlnImageName.*export",
        ),
        (
            {"noname": {"image": ["1@a.stk"], "anglePsi": [1.0]}},
            "table of Xmipp.*image, anglePsi",
        ),
        (
            {"": {"wrpFoo": [1], "wrpBar": [2]}},
            "another program with the columns wrpFoo, wrpBar",
        ),
        ({"x": {"atom_site.id": [1]}}, "atomic model"),
        ({"": {"rlnClassNumber": [1]}}, "no column rlnImageName, but rlnClassNumber"),
    ],
)
def test_files_without_particles_are_named_and_the_right_one_with_them(tmp_path, blocks, words):
    write_star(tmp_path / "x.star", blocks)
    with pytest.raises(InputFileError, match=rf"x.star .*{words}") as refused:
        RelionParticles(tmp_path / "x.star")
    assert str(refused.value).count("; ") >= 1


def test_poses_without_images_are_still_read(tmp_path):
    columns = {name: values for name, values in IMAGES.items() if name != "rlnImageName"}
    assert RelionParticles(star(tmp_path, columns)).has_poses()
