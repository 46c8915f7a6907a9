"""Tilt series, subtomograms and files without particles, apart from those of single images."""

import logging

import pytest

from cryodrgn.errors import InputFileError, MetadataError
from cryodrgn.io.relion import RelionParticles
from cryodrgn.io.star import write_star
from cryodrgn.particles.options import TiltSeriesSettings

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
    "groups of micrographs of other doses": {
        "rlnGroupName": ["a"] * ROWS,
        "rlnMicrographPreExposure": [0.0, 1.0] * 3,
    },
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
        metadata = RelionParticles(star(tmp_path, IMAGES | SINGLE[name]))
        assert metadata.tilt_series(TiltSeriesSettings()) is None
    assert not caplog.records


@pytest.mark.parametrize("name", TILTS)
def test_tilt_images_are_recognised_and_said_to_be(tmp_path, caplog, name):
    path = star(tmp_path, IMAGES | TILTS[name])
    with caplog.at_level(logging.INFO):
        series = RelionParticles(path).tilt_series(TiltSeriesSettings())
    assert series.counts.tolist() == [3, 3]
    assert f"x.star lists {ROWS} images of 2 particles in tilt series" in caplog.text


@pytest.mark.parametrize("name", TILTS)
def test_tilt_images_can_be_taken_for_particles_of_their_own(tmp_path, name):
    settings = TiltSeriesSettings(is_series=False)
    path = star(tmp_path, IMAGES | TILTS[name])
    assert RelionParticles(path).tilt_series(settings) is None


def test_tilt_images_that_name_no_particle_are_refused(tmp_path):
    metadata = RelionParticles(star(tmp_path, IMAGES | {"rlnTomoName": ["TS_01"] * ROWS}))
    with pytest.raises(MetadataError, match="rlnTomoName.*rlnTomoParticleName or rlnGroupName"):
        metadata.tilt_series(TiltSeriesSettings())
    with pytest.raises(MetadataError, match="no column rlnTomoParticleName or rlnGroupName"):
        metadata.tilt_series(TiltSeriesSettings(is_series=True))
    assert metadata.tilt_series(TiltSeriesSettings(is_series=False)) is None


@pytest.mark.parametrize(
    ("columns", "mark"),
    [
        ({"rlnTomoSubtomogramRot": [1.0] * ROWS}, "rlnTomoSubtomogramRot"),
        ({"rlnImageDimensionality": [3] * ROWS}, "rlnImageDimensionality 3"),
        ({"rlnCtfImage": ["ctf.mrc"] * ROWS}, "rlnCtfImage"),
        # As WARP exports volumes.
        (
            {
                "rlnImageName": ["subtomo/TS_1/TS_1_0000001_10.00A.mrc"] * ROWS,
                "rlnCtfImage": ["subtomo/TS_1/TS_1_0000001_ctf_10.00A.mrc"] * ROWS,
                "rlnMicrographName": ["TS_1.tomostar"] * ROWS,
            },
            "rlnCtfImage",
        ),
        (
            {"rlnTomoVisibleFrames": ["[1,1,0]"] * ROWS, "rlnTomoName": ["TS"] * ROWS},
            "rlnTomoVisibleFrames",
        ),
        (
            {"rlnTomoName": ["TS"] * ROWS, "rlnImageName": ["1_stack2d.mrcs"] * ROWS},
            "rlnTomoName",
        ),
    ],
)
def test_subtomograms_are_refused_with_what_leads_to_their_images(tmp_path, columns, mark):
    # Only the name of a tomogram leads back to its tilt series.
    remedy = "take .* parse_relion" if "rlnTomoName" in columns else "export .* 2-D stacks"
    said = rf"particles of tomograms \({mark}\), one row for many images; {remedy}"
    with pytest.raises(InputFileError, match=said):
        RelionParticles(star(tmp_path, IMAGES | columns))


def test_subtomograms_are_recognised_by_their_optics(tmp_path):
    optics = OPTICS | {"rlnImageDimensionality": [3]}
    with pytest.raises(InputFileError, match="particles of tomograms"):
        RelionParticles(star(tmp_path, IMAGES | {"rlnOpticsGroup": [1] * ROWS}, optics=optics))


def test_picks_of_a_tomogram_are_refused(tmp_path):
    columns = {"rlnTomoName": ["TS"], "rlnCoordinateX": [1.0], "rlnCoordinateZ": [2.0]}
    with pytest.raises(InputFileError, match="particles of tomograms"):
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
            "tomograms.star.*take the optimisation_set.star",
        ),
        (
            {"": {"rlnTomoParticlesFile": ["p.star"], "rlnTomoTomogramsFile": ["t.star"]}},
            "names p.star, which was not found.*keep the folders of the project together",
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
            "table of cisTEM without images, angles, .*as RELION does .rlnImageName.*export",
        ),
        (
            {"noname": {"image": ["1@a.stk"], "anglePsi": [1.0]}},
            "table of Xmipp.*image, anglePsi",
        ),
        (
            {"": {"wrpFoo": [1], "wrpBar": [2]}},
            "table of WARP or M with the columns wrpFoo, wrpBar.*tilt series as 2-D",
        ),
        (
            {"": {"wrpCoordinateX1": [1.0], "wrpSourceName": ["TS_01.tomostar"]}},
            "M's own list of particles .*optimisation_set.star.* cryodrgn export --chosen-from",
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
