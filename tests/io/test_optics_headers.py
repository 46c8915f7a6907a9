"""Headers of other programs' files, written by hand from their documentation."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryodrgn.errors import InputFileError, MetadataError
from cryodrgn.imaging.aberrations import zernike_orders
from cryodrgn.io.cryosparc import CryosparcParticles
from cryodrgn.io.optics_report import BY_ALL, WITHOUT_FILE, tell_of_ignored
from cryodrgn.io.parse import parse_ctf
from cryodrgn.io.relion import RelionParticles
from cryodrgn.io.relion_optics import parse_vector
from cryodrgn.io.relion_write import write_particle_star
from cryodrgn.io.star import write_star
from cryodrgn.particles.options import TiltSeriesSettings

# RELION 3.0: one table, aberrations in every row. 3.1: the optics table, with aberrations
# fitted by CtfRefine. 4: extraction can multiply by the CTF, and that table says so. 5, after
# CtfRefine and import of images from elsewhere: both corrections, coefficients and matrices. 5,
# particles of tomograms as 2-D stacks: sampling of the tilt series and binning stand beside the
# pixel size of the images, which are multiplied by the CTF unless told otherwise.
RELION_30, RELION_31, RELION_4, RELION_5, RELION_5_TOMOGRAPHY = (
    (Path(__file__).parent / "headers" / f"relion_{version}.star").read_text()
    for version in ("3.0", "3.1", "4", "5", "5_tomography")
)
NONE = ("odd_zernike", "even_zernike", "correction")


def read(tmp_path, text):
    path = tmp_path / "particles.star"
    path.write_text(text)
    return RelionParticles(path)


def test_relion_30_lists_beam_tilts_and_b_factors_by_particle(tmp_path):
    particles = read(tmp_path, RELION_30)
    ctf = particles.ctf()
    # −2π Cs λ² t / 3 with λ = 0.0196868 Å.
    unit = -2 * np.pi * 2.7e7 * 0.0196868**2 * 1e-3 / 3
    expected = unit * np.array([-0.6, 0.3, 0, -0.3, 0.15])
    np.testing.assert_allclose(ctf.odd_zernike, [expected, 0 * expected], rtol=1e-4)
    assert ctf.even_zernike is None
    assert ctf.correction is None
    assert {name: list(values) for name, values in particles.attenuation().items()} == {
        "b_factors": [0, 25],
        "weights": [1, pytest.approx(0.8)],
    }


def test_relion_31_gives_aberrations_by_optics_group(tmp_path):
    particles = read(tmp_path, RELION_31)
    ctf = particles.ctf()
    assert not ctf.odd_zernike[1].any()
    unit = -2 * np.pi * 2.7e7 * 0.0196868**2 * 1e-3 / 3
    tilt = unit * np.array([0.4, 0.2, 0, 0.2, 0.1, 0])
    zernike = np.array([0.5, 0, 12.5, 0, 0, -7])
    np.testing.assert_allclose(ctf.odd_zernike[0], tilt + zernike, rtol=1e-4)
    assert ctf.even_zernike.tolist() == [[0, 0, 0, 0, 3, 0, 80, 0, -2], [0] * 9]
    assert not particles.attenuation()


def test_relion_4_says_which_images_are_multiplied(tmp_path):
    particles = read(tmp_path, RELION_4)
    assert particles.ctf().correction.tolist() == [2, 0]
    assert particles.pixel_sizes().tolist() == [1.5, 1.5]
    plain = read(tmp_path, RELION_4.replace("1.5 64 2 1", "1.5 64 2 0")).ctf()
    assert all(getattr(plain, name) is None for name in NONE)
    selected = particles.ctf().select(np.array([1, 1, 0]))
    assert selected.correction.tolist() == [0, 0, 2]


def test_relion_5_gives_both_corrections_aberrations_and_magnification(tmp_path):
    particles = read(tmp_path, RELION_5)
    ctf = particles.ctf()
    assert ctf.correction.tolist() == [2, 1]
    assert particles.pixel_sizes().tolist() == [1.78, 1.78]
    assert particles.box_sizes().tolist() == [224, 224]
    odd, even = [0.47, 0.42, 34.4, 0, 0, 10.8], [46.1, 61.3, 71.7, -58.9, -20.4, 21.2, 25.6]
    np.testing.assert_allclose(ctf.odd_zernike, [[0] * 6, odd], rtol=1e-6)
    np.testing.assert_allclose(ctf.even_zernike, [[0] * 9, [*even, -20.2, -17]], rtol=1e-6)
    matrices = [np.eye(2), [[1.007178, 0.00768], [0.007699, 0.993671]]]
    np.testing.assert_allclose(particles.magnifications(), matrices, rtol=1e-6)
    assert particles.detector_curves() == dict.fromkeys("12", "mtf_falcon4EC_300kV.star")
    name, scales = particles.refined_scales()
    assert (name, scales.tolist()) == ("rlnNormCorrection", [0.812, 1.021])
    poses = particles.poses(particles.pixel_sizes())
    np.testing.assert_array_equal(poses.shifts, np.float32([[1.335, -2.225], [0, 0]]))


def test_the_images_of_relion_5_tomograms_have_their_own_pixel_size(tmp_path):
    with pytest.raises(InputFileError, match=r"one row for many images; take the optim"):
        read(tmp_path, RELION_5_TOMOGRAPHY)
    (tmp_path / "tomograms.star").write_text(
        "data_global\nloop_\n_rlnTomoName\n_rlnTomoTiltSeriesStarFile\n"
        "_rlnTomoTiltSeriesPixelSize\n_rlnTomoHand\nTS_01 TS_01.star 1.35 -1\n"
    )
    names = ("XTilt", "YTilt", "ZRot")
    columns = [f"_rlnTomo{name}" for name in names]
    columns += [f"_rlnDefocus{name}" for name in ("U", "V", "Angle")]
    text = "\n".join(["data_TS_01", "loop_", *columns, "_rlnMicrographPreExposure"])
    tilts = "\n0 -3 85 30000 29000 10 3\n0 0 85 30000 29000 10 0\n0 3 85 30000 29000 10 6\n"
    (tmp_path / "TS_01.star").write_text(text + tilts)
    (tmp_path / "set.star").write_text(
        "data_\n_rlnTomoParticlesFile particles.star\n_rlnTomoTomogramsFile tomograms.star\n"
    )
    particles = RelionParticles(tmp_path / "set.star")
    assert particles.pixel_sizes().tolist() == [2.7, 2.7]
    assert particles.box_sizes().tolist() == [128, 128]
    assert particles.ctf().correction.tolist() == [2, 2]
    # The first frame is not there; the others come in the order of their dose.
    stack = "Extract/job013/Subtomograms/TS_01/2_stack2d.mrcs"
    names, frames = particles.image_names()
    assert (names, frames.tolist()) == ([stack] * 2, [0, 1])
    assert particles.tilt_series(TiltSeriesSettings()).doses.tolist() == [0, 6]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[0.5,0,12.5,0,0,-7]", "[0.5,x]", r"rlnOddZernike holds '\[0.5,x\]', expected"),
        ("[0.5,0,12.5,0,0,-7]", "[0.5,nan]", r"rlnOddZernike holds '\[0.5,nan\]'"),
        ("[0.5,0,12.5,0,0,-7]", f"[{'0,' * 200}1]", "expected up to 100 numbers"),
    ],
)
def test_coefficients_that_are_no_vector_are_refused(tmp_path, old, new, words):
    with pytest.raises(MetadataError, match=words):
        read(tmp_path, RELION_31.replace(old, new)).ctf()


def test_attenuation_that_no_image_has_is_refused(tmp_path, caplog):
    mixed = RELION_30.replace("1 0.0 1.0", "1 -9.0 1.0")
    with pytest.raises(MetadataError, match=r"rlnCtfBfactor of row 0 is -9, but others are"):
        read(tmp_path, mixed).attenuation()
    with pytest.raises(MetadataError, match=r"rlnCtfScalefactor of row 1 is -0.8, expected"):
        read(tmp_path, RELION_30.replace("25.0 0.8", "25.0 -0.8")).attenuation()
    caplog.set_level("INFO")
    warp = read(tmp_path, RELION_30.replace("25.0 0.8", "-25.0 0.8")).attenuation()
    assert warp["b_factors"].tolist() == [0, 25]
    assert "is negative, as Warp and M write it" in caplog.text


def test_images_cannot_be_flipped_and_multiplied(tmp_path):
    text = (
        RELION_4.replace(
            "_rlnCtfDataAreCtfPremultiplied #11",
            ("_rlnCtfDataAreCtfPremultiplied #11\n_rlnCtfDataArePhaseFlipped #12"),
        )
        .replace("1.5 64 2 0", "1.5 64 2 0 0")
        .replace("1.5 64 2 1", "1.5 64 2 1 1")
    )
    with pytest.raises(MetadataError, match="said to be both phase flipped and multiplied"):
        read(tmp_path, text).ctf()


PLAIN_CTF = {
    "ctf/type": ("S9", b"imported"),
    "ctf/exp_group_id": ("u4", 1),
    "ctf/accel_kv": ("f4", 300),
    "ctf/cs_mm": ("f4", 2.7),
    "ctf/amp_contrast": ("f4", 0.1),
    "ctf/df1_A": ("f4", 12000),
    "ctf/df2_A": ("f4", 11000),
    "ctf/df_angle_rad": ("f4", 0.3),
    "ctf/phase_shift_rad": ("f4", 0),
}
# cryoSPARC 2 wrote the CTF alone at first, then the terms of Global CTF Refinement; anisomag
# came with version 3.
CRYOSPARC_2 = PLAIN_CTF | {
    "ctf/scale": ("f4", 1),
    "ctf/scale_const": ("f4", 0),
    "ctf/shift_A": (("f4", (2,)), (0, 0)),
    "ctf/tilt_A": (("f4", (2,)), (0, 0)),
    "ctf/trefoil_A": (("f4", (2,)), (0, 0)),
    "ctf/tetra_A": (("f4", (4,)), (0, 0, 0, 0)),
}
CRYOSPARC_3 = CRYOSPARC_2 | {"ctf/anisomag": (("f4", (4,)), (0, 0, 0, 0))}
CRYOSPARC_4 = CRYOSPARC_3 | {"ctf/bfactor": ("f4", 0)}


def read_cs(tmp_path, fields, **changes):
    fields = fields | {name: (fields[name][0], value) for name, value in changes.items()}
    array = np.zeros(
        2, [(name, *(k if isinstance(k, tuple) else (k,))) for name, (k, _) in fields.items()]
    )
    for name, (_, value) in fields.items():
        array[name] = value
    path = tmp_path / "particles.cs"
    with path.open("wb") as file:
        np.save(file, array)
    return CryosparcParticles(path)


@pytest.mark.parametrize("fields", [PLAIN_CTF, CRYOSPARC_2, CRYOSPARC_3, CRYOSPARC_4])
def test_cryosparc_without_refined_terms_has_none(tmp_path, fields):
    particles = read_cs(tmp_path, fields)
    ctf = particles.ctf()
    assert all(getattr(ctf, name) is None for name in NONE)
    assert not particles.attenuation()


def test_cryosparc_gives_terms_as_lengths(tmp_path):
    particles = read_cs(
        tmp_path,
        CRYOSPARC_4,
        **{
            "ctf/tilt_A": (2700, -1350),
            "ctf/trefoil_A": (900, 300),
            "ctf/shift_A": (0.25, 0.5),
            "ctf/tetra_A": (8e4, 4e4, 2e4, 1e4),
            "ctf/bfactor": 30,
            "ctf/scale": 0.9,
        },
    )
    ctf, wavelength = particles.ctf(), 0.0196868
    odd = dict(zip(zernike_orders(6, is_odd=True), ctf.odd_zernike[0], strict=True))
    even = dict(zip(zernike_orders(9, is_odd=False), ctf.even_zernike[0], strict=True))
    # A tilt of 0.1 mrad at Cs 2.7 mm is 2700 Å, as in RELION.
    unit = 2 * np.pi * wavelength**2
    assert odd[3, 1] == pytest.approx(-unit * 2700 / 3, rel=1e-4)
    assert odd[1, 1] == pytest.approx(-unit * 2700 * 2 / 3 - 2 * np.pi * 0.25, rel=1e-4)
    assert odd[3, 3] == pytest.approx(-unit / 3 * 900, rel=1e-4)
    assert odd[3, -3] == pytest.approx(-unit / 3 * 300, rel=1e-4)
    unit = 2 * np.pi * wavelength**3
    assert even[4, 2] == pytest.approx(unit * 8e4 / 4, rel=1e-4)
    assert even[2, 2] == pytest.approx(unit * 8e4 * 3 / 4, rel=1e-4)
    assert even[4, -2] == pytest.approx(unit * 4e4 / 4, rel=1e-4)
    assert even[4, 4] == pytest.approx(unit * 2e4 / 4, rel=1e-4)
    assert even[4, -4] == pytest.approx(unit * 1e4 / 4, rel=1e-4)
    found = particles.attenuation()
    assert found["b_factors"].tolist() == [30, 30]
    assert found["weights"].tolist() == [pytest.approx(0.9)] * 2
    with pytest.raises(MetadataError, match="ctf/bfactor of row 0 is -4, expected 0 or more"):
        read_cs(tmp_path, CRYOSPARC_4, **{"ctf/bfactor": -4}).attenuation()


def test_a_tilt_is_the_same_in_both_programs(tmp_path):
    star = read(tmp_path, RELION_30).ctf().odd_zernike[0]
    lengths = 2.7e7 * 1e-3 * np.array([0.15, -0.30])
    cs = read_cs(tmp_path, CRYOSPARC_2, **{"ctf/tilt_A": lengths}).ctf().odd_zernike[0]
    np.testing.assert_allclose(cs[:5], star, rtol=1e-6)


@pytest.mark.parametrize("relion30", [False, True])
def test_a_written_star_keeps_what_was_read(tmp_path, relion30):
    text = (
        RELION_31.replace(
            "000001@a.mrcs 12000.0 11000.0 30.0 0.0 1.0",
            ("000001@a.mrcs 12000.0 11000.0 30.0 40.0 0.7"),
        )
        .replace("_rlnMagMat00 #14", "_rlnCtfDataAreCtfPremultiplied #14")
        .replace("] 1 0 0 1", "] 1 0 0 1")
    )
    particles = read(tmp_path, text)
    ctf, weakening = particles.ctf(), particles.attenuation()
    assert ctf.correction.tolist() == [2, 2]
    written = tmp_path / "written.star"
    write_particle_star(
        written,
        ["000001@a.mrcs", "000002@a.mrcs"],
        box_size=64,
        pixel_sizes=np.full(2, 1.5),
        ctf=ctf,
        b_factors=weakening["b_factors"],
        scales=weakening["weights"],
        relion30=relion30,
    )
    again = RelionParticles(written)
    for name, values in ctf.optional_columns().items():
        np.testing.assert_allclose(getattr(again.ctf(), name), values, rtol=1e-6)
    for name, values in weakening.items():
        np.testing.assert_array_equal(again.attenuation()[name], values)


def test_parsing_says_once_what_a_pickle_cannot_hold(tmp_path, caplog):
    text = RELION_31.replace("0,80,0,-2] 1 0 0 1", "0,80,0,-2] 1.02 0 0 1")
    particles = read(tmp_path, text.replace("30.0 0.0 1.0", "30.0 40.0 1.0"))
    parse_ctf(particles, tmp_path / "ctf.pkl")
    (record,) = [r for r in caplog.records if r.levelname == "WARNING"]
    said = record.getMessage()
    assert "antisymmetric aberrations (beam tilt, trefoil) of up to " in said
    assert "optics group 2" in said
    assert "B factors (amplitudes down to 0.33 at the Nyquist frequency, optics group" in said
    assert "anisotropic magnifications (by up to 2 %, optics group 2)" in said
    assert "a ctf.pkl cannot hold that; give particles.star itself to the commands" in said
    assert said.startswith("ignored of ")
    caplog.clear()
    parse_ctf(read(tmp_path, RELION_4.replace("1.5 64 2 1", "1.5 64 2 0")), tmp_path / "b.pkl")
    assert not [r for r in caplog.records if r.levelname == "WARNING"]


def test_an_mtf_that_is_ignored_is_said_with_its_groups(tmp_path, caplog):
    caplog.set_level("INFO")
    tell_of_ignored(read(tmp_path, RELION_4), np.full(2, 1.5), BY_ALL)
    (said,) = caplog.messages
    assert "mtf_k2_300kV.star of optics group 1, mtf_k2_300kV.star of optics group 2" in said
    assert "0° at the Nyquist frequency" in said
    caplog.clear()
    for text in (RELION_31, RELION_4.replace("mtf_k2_300kV.star", "None")):
        tell_of_ignored(read(tmp_path, text), np.full(2, 1.5), BY_ALL)
    assert not caplog.messages


def test_scales_of_a_refinement_are_said_to_be_ignored(tmp_path, caplog):
    caplog.set_level("INFO")
    text = RELION_30.replace("_rlnBeamTiltClass", "_rlnNormCorrection")
    tell_of_ignored(read(tmp_path, text), None, BY_ALL)
    fields = CRYOSPARC_4 | {"alignments3D/alpha": ("f4", np.array([0.5, 0.75]))}
    tell_of_ignored(read_cs(tmp_path, fields), None, BY_ALL)
    relion, cryosparc = caplog.messages
    assert "(rlnNormCorrection from 1 to 2)" in relion
    assert "(alignments3D/alpha from 0.5 to 0.75, optics group 1)" in cryosparc
    caplog.clear()
    tell_of_ignored(read(tmp_path, RELION_30), None, BY_ALL)
    tell_of_ignored(read_cs(tmp_path, CRYOSPARC_4), None, BY_ALL)
    assert not caplog.messages


def test_the_phase_said_is_that_at_the_nyquist_frequency(tmp_path, caplog):
    particles = read(tmp_path, RELION_30)
    size = -2 * np.pi * 2.7e7 * 0.0196868**2 * 1e-3 * np.hypot(0.15, 0.30) / 3**3
    tell_of_ignored(particles, np.full(2, 1.5), WITHOUT_FILE)
    words = f"of up to {abs(np.rad2deg(size)):.0f}° at the Nyquist frequency"
    assert words in caplog.messages[0]


@given(st.text(alphabet="[]0123456789.,-+eE naifx_", max_size=60))
def test_any_text_is_a_vector_of_numbers_or_refused(text):
    numbers = []
    with suppress(MetadataError):
        numbers = parse_vector(text, Path("x.star"), "rlnOddZernike")
    assert np.isfinite(numbers).all()


def test_numbers_beyond_single_precision_are_refused(tmp_path):
    huge = read(tmp_path, RELION_31.replace("[0.5,0,12.5,0,0,-7]", "[1e300]"))
    with pytest.raises(MetadataError, match="odd_zernike of row 0 is .*inf.*, expected finite"):
        huge.ctf()
    with pytest.raises(MetadataError, match="odd_zernike of row 0"):
        read(tmp_path, RELION_30.replace("1.5 0.15 -0.30", "1.5 1e300 -0.30")).ctf()
    with pytest.raises(MetadataError, match="odd_zernike of row 0"):
        read_cs(tmp_path, CRYOSPARC_4, **{"ctf/shift_A": (3e38, 0)}).ctf()


def test_half_of_a_beam_tilt_is_refused(tmp_path):
    text = RELION_30.replace("_rlnBeamTiltY", "_rlnOther")
    with pytest.raises(MetadataError, match="rlnBeamTiltX, but no rlnBeamTiltY"):
        read(tmp_path, text).ctf()


def test_images_of_scale_zero_are_named_and_a_file_of_such_alone_is_refused(tmp_path, caplog):
    path = tmp_path / "x.star"
    names = ["1@x.mrcs", "2@x.mrcs", "3@x.mrcs"]
    write_star(path, {"particles": {"rlnImageName": names, "rlnCtfScalefactor": [0, 1, 1]}})
    assert RelionParticles(path).attenuation()["weights"].tolist() == [0, 1, 1]
    assert "rlnCtfScalefactor is 0 for 1 of 3 images, which count nothing" in caplog.text
    write_star(path, {"particles": {"rlnImageName": names, "rlnCtfScalefactor": [0, 0, 0]}})
    with pytest.raises(MetadataError, match="is 0 for every image that is read"):
        RelionParticles(path).attenuation()


def test_an_optics_group_of_two_rows_that_differ_is_refused(tmp_path):
    path = tmp_path / "x.star"
    optics = {"rlnOpticsGroup": [1, 1], "rlnVoltage": [300, 300]}
    particles = {"rlnImageName": ["1@x.mrcs", "2@x.mrcs"], "rlnOpticsGroup": [1, 1]}
    write_star(path, {"optics": optics, "particles": particles})
    assert len(RelionParticles(path)) == 2
    write_star(path, {"optics": optics | {"rlnVoltage": [300, 200]}, "particles": particles})
    with pytest.raises(MetadataError, match="2 rows of optics group 1, .* in rlnVoltage"):
        RelionParticles(path)


def test_columns_of_both_tables_that_differ_are_named(tmp_path, caplog):
    path = tmp_path / "x.star"
    optics = {"rlnOpticsGroup": [1, 2], "rlnVoltage": ["300", "200"]}
    names = ["1@x.mrcs", "2@x.mrcs"]
    particles = {"rlnImageName": names, "rlnOpticsGroup": [2, 1]}
    particles["rlnVoltage"] = ["200.000", "300.0"]
    write_star(path, {"optics": optics, "particles": particles})
    RelionParticles(path)
    assert caplog.text == ""
    particles["rlnVoltage"] = ["200", "120"]
    write_star(path, {"optics": optics, "particles": particles})
    assert RelionParticles(path).column_if_any("rlnVoltage").tolist() == [200, 300]
    assert "has rlnVoltage in the table of optics groups and in that of the" in caplog.text
