import gemmi
import mrcfile
import numpy as np
import pytest
import starfile
import yaml

from cryodrgn.io.mrc import write_volume
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.simulation.hinge import hinge_models

SMALL = ("-D", 32, "--Apix", 6, "-n", 30, "--num-states", 3)


def test_the_set_is_complete_and_its_files_agree(run, tmp_path):
    run("simulate", *SMALL, "-o", tmp_path / "sim")
    names = {path.name for path in (tmp_path / "sim").iterdir()}
    assert names == {
        "particles.mrcs",
        "particles.star",
        "poses.pkl",
        "ctf.pkl",
        "labels.npy",
        "simulation.yaml",
        "gt",
    }
    from_star = open_particles(ParticleFiles(particles=tmp_path / "sim/particles.star"))
    files = ParticleFiles(
        particles=tmp_path / "sim/particles.mrcs",
        poses=tmp_path / "sim/poses.pkl",
        ctf=tmp_path / "sim/ctf.pkl",
    )
    from_pickles = open_particles(files)
    np.testing.assert_allclose(
        from_star.images.poses.rotations, from_pickles.images.poses.rotations, atol=1e-6
    )
    np.testing.assert_allclose(
        from_star.images.poses.shifts, from_pickles.images.poses.shifts, atol=1e-5
    )
    for name, values in from_star.images.ctf.columns().items():
        np.testing.assert_allclose(
            values, from_pickles.images.ctf.columns()[name], rtol=1e-5, atol=1e-6
        )
    np.testing.assert_allclose(from_star.images.pixel_sizes, 6.0)

    labels = np.load(tmp_path / "sim/labels.npy")
    assert np.bincount(labels).tolist() == [10, 10, 10]
    assert (np.diff(labels) < 0).any()
    settings = yaml.safe_load((tmp_path / "sim/simulation.yaml").read_text())
    assert settings["hinge_angles_deg"] == [50.0, 95.0, 140.0]
    assert sorted(p.name for p in (tmp_path / "sim/gt").iterdir()) == [
        f"state_{number:03d}.mrc" for number in range(3)
    ]


def test_particles_that_are_there_are_replaced_only_if_asked_to(run, fail, tmp_path):
    (tmp_path / "particles.star").write_text("of somebody")
    line = ("simulate", "-D", 16, "--Apix", 12, "-n", 4, "--num-states", 1, "-o", tmp_path)
    message = fail(*line)
    assert f"{tmp_path} holds particles already (particles.star); choose another" in message
    assert [path.name for path in tmp_path.iterdir()] == ["particles.star"]
    run(*line, "--overwrite")
    assert len(open_particles(ParticleFiles(particles=tmp_path / "particles.star"))) == 4
    assert "(particles.star and particles.mrcs)" in fail(*line, "--seed", 1)


def test_starfile_reads_what_simulate_writes(run, tmp_path):
    run("simulate", *SMALL, "-o", tmp_path)
    blocks = starfile.read(tmp_path / "particles.star")
    assert blocks["optics"]["rlnImagePixelSize"].item() == 6.0
    assert len(blocks["particles"]) == 30


def test_the_same_seed_gives_the_same_files_and_another_does_not(run, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run("simulate", *SMALL, "-o", tmp_path / name, "--seed", seed)
    for name in ("particles.mrcs", "poses.pkl", "particles.star", "gt/state_001.mrc"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (tmp_path / "a/poses.pkl").read_bytes() != (tmp_path / "c/poses.pkl").read_bytes()


def test_signal_to_noise_is_the_ratio_of_variances(run, tmp_path):
    run("simulate", *SMALL, "-n", 300, "-o", tmp_path, "--snr", 0.25)
    with mrcfile.open(tmp_path / "particles.mrcs") as mrc:
        # The noise has unit variance, the signal a quarter.
        assert mrc.data.std() ** 2 == pytest.approx(1.25, rel=0.02)


def test_float16_halves_the_stack(run, tmp_path):
    run("simulate", *SMALL, "-o", tmp_path, "--float16")
    with mrcfile.open(tmp_path / "particles.mrcs") as mrc:
        assert mrc.data.dtype == np.float16


def test_white_particles_are_the_negative_of_dark_ones(run, tmp_path):
    for name, flags in (("dark", ()), ("white", ("--white",))):
        run("simulate", *SMALL, "-o", tmp_path / name, "--snr", 1e6, *flags)
    dark, white = (
        open_particles(ParticleFiles(particles=tmp_path / name / "particles.star"))
        for name in ("dark", "white")
    )
    rows = np.arange(30)
    np.testing.assert_allclose(dark.images.read(rows), -white.images.read(rows), atol=10)
    # Positive density with CTF(0) = −w: most of the signal is dark.
    assert dark.images.read(rows).min() < -dark.images.read(rows).max()


def test_without_ctf_there_is_none_in_any_file(run, tmp_path):
    run("simulate", *SMALL, "-o", tmp_path, "--no-ctf")
    assert not (tmp_path / "ctf.pkl").exists()
    assert (
        open_particles(ParticleFiles(particles=tmp_path / "particles.star")).images.ctf is None
    )


def test_volumes_keep_their_pixel_size(run, tmp_path, rng):
    paths = []
    for number in range(2):
        paths.append(tmp_path / f"v{number}.mrc")
        write_volume(paths[-1], rng.normal(size=(16, 16, 16)).astype(np.float32), 2.2)
    run("simulate", *paths, "-n", 10, "-o", tmp_path / "sim")
    particles = open_particles(ParticleFiles(particles=tmp_path / "sim/particles.star"))
    assert particles.box_size == 16
    np.testing.assert_allclose(particles.images.pixel_sizes, 2.2, rtol=1e-6)


@pytest.mark.parametrize("ending", [".pdb", ".cif"])
def test_atomic_models_are_placed_by_their_coordinates(run, tmp_path, ending):
    structure = gemmi.Structure()
    structure.add_model(hinge_models([0.0])[0])
    path = tmp_path / f"model{ending}"
    if ending == ".pdb":
        structure.write_pdb(str(path))
    else:
        structure.make_mmcif_document().write_file(str(path))
    run("simulate", path, "-D", 40, "--Apix", 5, "-n", 4, "-o", tmp_path / "sim")
    atoms = np.array([site.atom.pos.tolist() for site in structure[0].all()])
    with mrcfile.open(tmp_path / "sim/gt/state_000.mrc") as mrc:
        volume = mrc.data.astype(float)
    axis = 5.0 * (np.arange(40) - 20)
    for number, name in enumerate("zyx"):
        others = tuple(axis_number for axis_number in range(3) if axis_number != number)
        profile = volume.sum(others)
        column = atoms[:, "xyz".index(name)]
        assert (profile * axis).sum() / profile.sum() == pytest.approx(0, abs=0.2)
        spread = np.sqrt((profile * axis**2).sum() / profile.sum())
        blur = 10 / (np.pi * np.sqrt(2))
        assert spread == pytest.approx(np.hypot(column.std(), blur), rel=0.02)


def test_mistakes_end_in_one_sentence_and_leave_no_folder(fail, tmp_path):
    out = tmp_path / "sim"
    assert "-D must be even" in fail("simulate", "-D", 33, "-o", out)
    assert "--snr must be positive" in fail("simulate", *SMALL, "--snr", 0, "-o", out)
    assert "Å across, but the box only" in fail("simulate", "-D", 32, "--Apix", 2, "-o", out)
    assert "does not exist" in fail("simulate", tmp_path / "missing.pdb", "-o", out)
    assert "--defocus must be two positive numbers, the lower first" in fail(
        "simulate", *SMALL, "--defocus", 2, 1, "-o", out
    )
    assert not out.exists()


def test_a_second_exposure_shows_the_particles_from_the_tilted_stage(run, tmp_path):
    from scipy.spatial.transform import Rotation

    from cryodrgn.io.cryodrgn_pickle import load_poses, save_pickles

    line = ("simulate", "-D", 32, "--Apix", 6, "-n", 200, "--num-states", 1, "--snr", 1e6)
    run(*line, "--no-ctf", "--shift", 0, "--tilt-deg", 60, "-o", tmp_path / "a")
    rotations, shifts = load_poses(tmp_path / "a/poses.pkl")
    turned = Rotation.from_euler("x", 60, degrees=True).as_matrix() @ rotations
    save_pickles(tmp_path / "turned.pkl", [(turned.astype(np.float32), shifts)])
    maps = []
    for stack, poses in (
        (tmp_path / "a/particles.mrcs", tmp_path / "a/poses.pkl"),
        (tmp_path / "a/particles_tilt.mrcs", tmp_path / "turned.pkl"),
        (tmp_path / "a/particles_tilt.mrcs", tmp_path / "a/poses.pkl"),
    ):
        run("backproject_voxel", stack, "--poses", poses, "-o", tmp_path / "map.mrc")
        with mrcfile.open(tmp_path / "map.mrc") as mrc:
            maps.append(mrc.data.copy().ravel())
    first, tilted, wrong = maps
    assert np.corrcoef(first, tilted)[0, 1] > 0.95
    assert np.corrcoef(first, wrong)[0, 1] < 0.85
