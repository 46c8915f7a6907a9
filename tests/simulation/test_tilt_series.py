"""Simulated tilt series: what their files say is how their images were made."""

import mrcfile
import numpy as np
import pytest
import starfile
from scipy.spatial.transform import Rotation

from cryodrgn.io.cryodrgn_pickle import load_poses

SMALL = (
    *("-D", 16, "--Apix", 12, "-n", 5, "--num-states", 2, "--tilt-series", "--tilt-step", 20),
    *("--per-tomogram", 3, "--snr", 1e8),
)
TILTS = [0, 20, -20, 40, -40, 60, -60]


@pytest.fixture
def rows(run, tmp_path):
    run("simulate", *SMALL, "-o", tmp_path)
    return starfile.read(tmp_path / "particles.star")["particles"]


def test_a_scheme_of_three_degrees_takes_41_tilts_at_three_electrons_each(run, tmp_path):
    run("simulate", *SMALL[:4], "-n", 2, "--num-states", 1, "--tilt-series", "-o", tmp_path)
    rows = starfile.read(tmp_path / "particles.star")["particles"]
    assert len(rows) == 82
    first = rows[rows.rlnTomoParticleName == "TS_001/1"]
    assert first.rlnMicrographPreExposure.tolist() == [3.0 * tilt for tilt in range(41)]
    angles = np.rad2deg(np.arccos(first.rlnCtfScalefactor))
    np.testing.assert_allclose(angles, 3 * np.ceil(np.arange(41) / 2), atol=1e-3)


def test_every_particle_has_a_name_and_a_series_of_its_own(rows, tmp_path):
    assert rows.groupby("rlnTomoParticleName").size().tolist() == [7] * 5
    assert rows.groupby("rlnGroupName").size().tolist() == [7] * 5
    assert rows.groupby("rlnTomoName").size().to_dict() == {"TS_001": 21, "TS_002": 14}
    np.testing.assert_allclose(rows.rlnCtfBfactor, -4 * rows.rlnMicrographPreExposure)
    labels = np.load(tmp_path / "labels.npy")
    assert (rows.rlnClassNumber.to_numpy().reshape(5, 7) == labels[:, None] + 1).all()


def test_tilts_turn_the_particle_about_one_axis_of_the_image(rows, tmp_path):
    rotations, _ = load_poses(tmp_path / "poses.pkl")
    series = rotations.reshape(5, 7, 3, 3).astype(float)
    for tilt, angle in enumerate(np.deg2rad(TILTS)):
        # The stage turns about y, and with it the whole specimen about z by 85 degrees.
        stage = Rotation.from_euler("y", angle).as_matrix()
        in_plane = Rotation.from_euler("z", 85, degrees=True).as_matrix()
        first = in_plane.T @ series[:, 0]
        np.testing.assert_allclose(in_plane @ stage @ first, series[:, tilt], atol=1e-5)


def test_defocus_follows_the_height_of_a_particle_in_the_tilted_specimen(rows):
    """A particle at (x, z) of the untilted specimen is at height z cos α − x sin α."""
    defocus = rows.rlnDefocusU.to_numpy().reshape(5, 7)
    angles = np.deg2rad(TILTS)
    design = np.stack([np.ones(7), np.cos(angles), -np.sin(angles)], axis=1)
    found, *_ = np.linalg.lstsq(design, defocus.T, rcond=None)
    np.testing.assert_allclose(design @ found, defocus.T, atol=0.05)
    assert (np.abs(found[1]) <= 400).all()
    assert np.abs(found[2]).max() > 500
    astigmatism = rows.rlnDefocusU - rows.rlnDefocusV
    assert rows.assign(a=astigmatism.round(2)).groupby("rlnTomoName").a.nunique().max() <= 2


def test_dose_and_tilt_weaken_the_images_by_the_published_formula(run, rows, tmp_path):
    """Images with and without dose differ by exp(−dose / 2 N(s)), N = 0.245 s^−1.665 + 2.81."""
    run("simulate", *SMALL, "--dose-per-tilt", 0, "-o", tmp_path / "fresh")
    damaged, fresh = (
        np.fft.fft2(mrcfile.read(folder / "particles.mrcs").astype(float))
        for folder in (tmp_path, tmp_path / "fresh")
    )
    axis = np.fft.fftfreq(16, 12.0)
    radius = np.hypot(axis[:, None], axis)
    inside = (radius > 0) & (radius < 7 / (16 * 12.0))
    critical = 0.245 * radius[inside] ** -1.665 + 2.81
    factors = (damaged[:, inside] / fresh[:, inside]).reshape(5, 7, -1)
    relative = factors / factors[:, :1]
    for tilt in range(7):
        dose = 3 * tilt
        expected = np.exp(-dose / (2 * critical)) * (dose < 2.51284 * critical)
        found = np.median(relative[:, tilt].real, axis=0)
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_tilt_series_and_tilt_pairs_exclude_one_another(fail, tmp_path):
    said = fail("simulate", *SMALL, "--tilt-deg", 30, "-o", tmp_path)
    assert "either by tilt series or by tilt pairs" in said
    said = fail("simulate", *SMALL, "--no-ctf", "-o", tmp_path)
    assert "what dose does to images depends on the voltage" in said
