import numpy as np
import pytest

from cryodrgn.errors import MetadataError
from cryodrgn.io.relion import RelionParticles
from cryodrgn.io.star import write_star

PARTICLES = {
    "rlnImageName": ["000003@a/b.mrcs", "1@c.mrcs"],
    "rlnDefocusU": [12000.0, 13000.0],
    "rlnDefocusV": [11000.0, 12500.0],
    "rlnDefocusAngle": [30.0, -45.0],
    "rlnAngleRot": [10.0, 20.0],
    "rlnAngleTilt": [30.0, 40.0],
    "rlnAnglePsi": [50.0, 60.0],
    "rlnOriginXAngst": [2.5, -1.0],
    "rlnOriginYAngst": [0.5, 1.0],
    "rlnOpticsGroup": [2, 1],
}
OPTICS = {
    "rlnOpticsGroup": [1, 2],
    "rlnImagePixelSize": [1.0, 1.25],
    "rlnImageSize": [64, 64],
    "rlnVoltage": [300.0, 200.0],
    "rlnSphericalAberration": [2.7, 2.0],
    "rlnAmplitudeContrast": [0.1, 0.07],
}
PIXELS = np.ones(2)


def star(tmp_path, particles=PARTICLES, optics=OPTICS):
    path = tmp_path / "particles.star"
    blocks = {"optics": optics} if optics else {}
    write_star(path, blocks | {"particles": particles})
    return path


def without(columns, *names):
    return {name: values for name, values in columns.items() if name not in names}


def test_optics_are_joined_by_their_group(tmp_path):
    metadata = RelionParticles(star(tmp_path))
    ctf = metadata.ctf()
    assert ctf.voltage_kv.tolist() == [200.0, 300.0]
    assert ctf.spherical_aberration_mm.tolist() == [2.0, pytest.approx(2.7)]
    assert metadata.pixel_sizes().tolist() == [1.25, 1.0]
    assert metadata.box_sizes().tolist() == [64, 64]
    np.testing.assert_allclose(ctf.defocus_angle, np.deg2rad([30, -45]), rtol=1e-6)


def test_image_names_are_split_into_stack_and_frame_from_zero(tmp_path):
    names, frames = RelionParticles(star(tmp_path)).image_names()
    assert names == ["a/b.mrcs", "c.mrcs"]
    assert frames.tolist() == [2, 0]


def test_selected_rows_keep_everything_together(tmp_path):
    whole = RelionParticles(star(tmp_path))
    last = whole.select(np.array([1]))
    assert len(last) == 1
    assert last.image_names()[0] == ["c.mrcs"]
    assert last.ctf().voltage_kv.tolist() == [300.0]
    np.testing.assert_array_equal(
        last.poses(PIXELS[:1]).rotations[0], whole.poses(PIXELS).rotations[1]
    )


def test_shifts_in_pixels_and_in_angstrom_agree(tmp_path):
    in_angstrom = RelionParticles(star(tmp_path)).poses(PIXELS)
    old = without(PARTICLES, "rlnOriginXAngst", "rlnOriginYAngst") | {
        "rlnOriginX": [2.0, -1.0],
        "rlnOriginY": [0.4, 1.0],
        "rlnDetectorPixelSize": [5.0, 5.0],
        "rlnMagnification": [40000.0, 50000.0],
    }
    metadata = RelionParticles(star(tmp_path, without(old, "rlnOpticsGroup"), None))
    np.testing.assert_allclose(metadata.pixel_sizes(), [1.25, 1.0])
    in_pixels = metadata.poses(metadata.pixel_sizes())
    np.testing.assert_allclose(in_pixels.shifts, in_angstrom.shifts, rtol=1e-6)


def test_missing_shifts_are_zero_and_said(tmp_path, caplog):
    path = star(tmp_path, without(PARTICLES, "rlnOriginXAngst", "rlnOriginYAngst"))
    assert not RelionParticles(path).poses(PIXELS).shifts.any()
    assert "has no shifts" in caplog.text


def test_missing_phase_shift_is_zero_and_said(tmp_path, caplog):
    caplog.set_level("INFO")
    assert not RelionParticles(star(tmp_path)).ctf().phase_shift.any()
    assert "no phase shift" in caplog.text


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("rlnDefocusV", r"no defocus \(no column rlnDefocusV\); run RELION's CTF estimation"),
        ("rlnAnglePsi", r"no poses \(no column rlnAnglePsi\).*Refine3D"),
    ],
)
def test_missing_columns_name_the_job_that_makes_them(tmp_path, missing, words):
    metadata = RelionParticles(star(tmp_path, without(PARTICLES, missing)))
    with pytest.raises(MetadataError, match=words):
        _ = metadata.ctf(), metadata.poses(PIXELS)


@pytest.mark.parametrize("missing", ["rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"])
def test_a_file_with_some_columns_of_the_defocus_is_not_one_without_ctf(tmp_path, missing):
    """Images would else be taken to carry no CTF."""
    assert RelionParticles(star(tmp_path, without(PARTICLES, missing))).has_ctf()
    bare = {name: values for name, values in PARTICLES.items() if "Defocus" not in name}
    assert not RelionParticles(star(tmp_path, bare)).has_ctf()


def test_a_missing_optics_value_names_its_option_and_can_be_given(tmp_path):
    path = star(tmp_path, optics=without(OPTICS, "rlnAmplitudeContrast"))
    with pytest.raises(
        MetadataError, match=r"no column rlnAmplitudeContrast; .*_star `amplitude_contrast`"
    ):
        RelionParticles(path).ctf()
    given = RelionParticles(path, {"amplitude_contrast": 0.08}).ctf()
    assert given.amplitude_contrast.tolist() == [pytest.approx(0.08)] * 2


def test_an_unknown_optics_group_is_refused(tmp_path):
    with pytest.raises(MetadataError, match=r"row 1 belongs to optics group 7.* has 1, 2"):
        RelionParticles(star(tmp_path, PARTICLES | {"rlnOpticsGroup": [2, 7]}))


def test_every_optics_group_has_its_box(tmp_path):
    mixed = RelionParticles(star(tmp_path, optics=OPTICS | {"rlnImageSize": [64, 128]}))
    assert mixed.box_sizes().tolist() == [128, 64]
    wrong = RelionParticles(star(tmp_path, optics=OPTICS | {"rlnImageSize": [64, 12.5]}))
    with pytest.raises(
        MetadataError, match=r"rlnImageSize of row \d is 12.5, expected a number"
    ):
        wrong.box_sizes()


def test_a_magnification_matrix_is_that_of_the_optics_group(tmp_path):
    numbers = {"00": [1.01, 1], "01": [0.002, 0], "10": [-0.003, 0], "11": [0.99, 1]}
    columns = {f"rlnMagMat{name}": values for name, values in numbers.items()}
    found = RelionParticles(star(tmp_path, optics=OPTICS | columns)).magnifications()
    # The first particle belongs to the second group.
    expected = [np.eye(2), [[1.01, 0.002], [-0.003, 0.99]]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    plain = {name: [float(name[-2] == name[-1])] * 2 for name in columns}
    assert RelionParticles(star(tmp_path, optics=OPTICS | plain)).magnifications() is None
    del columns["rlnMagMat10"]
    with pytest.raises(MetadataError, match=r"part of the magnification.*no rlnMagMat10"):
        RelionParticles(star(tmp_path, optics=OPTICS | columns)).magnifications()


@pytest.mark.parametrize("name", ["c.mrcs", "@c.mrcs", "0@c.mrcs", "x@c.mrcs"])
def test_malformed_image_names_are_refused(tmp_path, name):
    path = star(tmp_path, PARTICLES | {"rlnImageName": ["1@a.mrcs", name]})
    with pytest.raises(MetadataError, match=r"row 1 is '.*', not NUMBER@STACK"):
        RelionParticles(path).image_names()
