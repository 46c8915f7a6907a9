import mrcfile
import numpy as np
import pytest
import torch

from cryodrgn.data.preprocessing import Preprocessing
from cryodrgn.fourier.half_grid import RfftVolumeGrid
from cryodrgn.fourier.shells import fourier_shell_correlation
from cryodrgn.io.mrc import read_volume, write_volume
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.io.star import read_star, write_star
from cryodrgn.kernels.gridding import SliceAccumulator
from cryodrgn.reconstruction.backproject import backproject
from mrc_orders import assert_in_one_place, write_consensus


def fsc(first, second):
    volumes = [torch.from_numpy(read_volume(path)[0]) for path in (first, second)]
    return fourier_shell_correlation(*volumes).values


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    from cryodrgn.cli.main import main

    folder = tmp_path_factory.mktemp("simulated")
    arguments = "simulate -D 32 --Apix 6 -n 600 --num-states 1 --snr 1 --shift 2 -o"
    assert main([*arguments.split(), str(folder)]) == 0
    return folder


def test_the_true_volume_comes_back_through_star_and_through_pickles(run, simulated, tmp_path):
    run("backproject_voxel", simulated / "particles.star", "-o", tmp_path / "star.mrc")
    run(
        "backproject_voxel",
        simulated / "particles.mrcs",
        *("--poses", simulated / "poses.pkl", "--ctf", simulated / "ctf.pkl"),
        *("-o", tmp_path / "pickles.mrc"),
    )
    assert fsc(tmp_path / "star.mrc", simulated / "gt/state_000.mrc")[:8].min() > 0.97
    assert fsc(tmp_path / "star.mrc", tmp_path / "pickles.mrc").min() > 0.99999


def test_the_order_of_rows_does_not_matter(run, simulated, tmp_path):
    table = read_star(simulated / "particles.star")
    order = np.random.default_rng(0).permutation(600)
    columns = {}
    for name in table["particles"].names:
        values = table["particles"].text(name)
        columns[name] = [values[row] for row in order]
    optics = {name: table["optics"].text(name) for name in table["optics"].names}
    shuffled = simulated / "shuffled.star"
    write_star(shuffled, {"optics": optics, "particles": columns})
    for path in (simulated / "particles.star", shuffled):
        run("backproject_voxel", path, "-o", tmp_path / f"{path.stem}.mrc")
    assert fsc(tmp_path / "particles.mrc", tmp_path / "shuffled.mrc").min() > 0.9999


def test_half_maps_fsc_text_and_plot_stand_beside_the_volume(run, simulated, tmp_path):
    output = run(
        "backproject_voxel", simulated / "particles.star", "-o", tmp_path / "new" / "map.mrc"
    )
    names = {path.name for path in (tmp_path / "new").iterdir()}
    assert names == {
        "map.mrc",
        "map_half_map_a.mrc",
        "map_half_map_b.mrc",
        "map_fsc.txt",
        "map_fsc.png",
    }
    table = np.loadtxt(tmp_path / "new/map_fsc.txt")
    assert table.shape == (15, 2)
    halves = fsc(tmp_path / "new/map_half_map_a.mrc", tmp_path / "new/map_half_map_b.mrc")
    np.testing.assert_allclose(table[:, 1], halves, atol=1e-5)
    assert "at FSC 0.143 the half maps agree to" in output
    with mrcfile.open(tmp_path / "new/map.mrc") as mrc:
        assert mrc.voxel_size.x == 6.0


def test_map_and_half_maps_lie_on_the_map_that_is_given(run, fail, simulated, tmp_path):
    consensus = write_consensus(tmp_path / "consensus.mrc")
    words = ("backproject_voxel", simulated / "particles.star", "--first", 20)
    run(*words, "--like", consensus, "-o", tmp_path / "new")
    assert_in_one_place(list((tmp_path / "new").glob("*.mrc")), consensus)
    larger = tmp_path / "larger.mrc"
    write_volume(larger, np.zeros((32, 32, 32), np.float32), 7.0)
    assert "fills a box of 224.0 Å" in fail(*words, "--like", larger, "-o", tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_a_folder_gets_the_names_of_later_versions(run, simulated, tmp_path):
    run("backproject_voxel", simulated / "particles.star", "-o", tmp_path / "bp")
    assert {path.name for path in (tmp_path / "bp").iterdir()} == {
        "backproject.mrc",
        "half_map_a.mrc",
        "half_map_b.mrc",
        "fsc-vals.txt",
        "fsc-plot.png",
    }


def test_inverting_the_data_inverts_the_map(run, simulated, tmp_path):
    star = simulated / "particles.star"
    run("backproject_voxel", star, "-o", tmp_path / "a.mrc")
    run("backproject_voxel", star, "--invert-data", "-o", tmp_path / "b.mrc")
    np.testing.assert_allclose(
        read_volume(tmp_path / "a.mrc")[0], -read_volume(tmp_path / "b.mrc")[0], atol=1e-6
    )


def test_first_and_ind_choose_the_same_images(run, simulated, write_pickle, tmp_path):
    star = simulated / "particles.star"
    ind = write_pickle(np.arange(100), "ind.pkl")
    run("backproject_voxel", star, "--first", 100, "-o", tmp_path / "a.mrc")
    run("backproject_voxel", star, "--ind", ind, "-o", tmp_path / "b.mrc")
    run("backproject_voxel", star, "-o", tmp_path / "c.mrc")
    a, b, c = (read_volume(tmp_path / f"{name}.mrc")[0] for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 0.01 * np.abs(c).max()


def test_flipping_phases_gives_nearly_the_same_map(run, simulated, tmp_path):
    star = simulated / "particles.star"
    run("backproject_voxel", star, "-o", tmp_path / "a.mrc")
    run("backproject_voxel", star, "--ctf-alg", "flip", "-o", tmp_path / "b.mrc")
    assert fsc(tmp_path / "a.mrc", tmp_path / "b.mrc")[:8].min() > 0.95


def test_a_tilted_exposure_adds_its_slices(run, simulated, tmp_path):
    truth = simulated / "gt/state_000.mrc"
    star = simulated / "particles.star"
    tilted = simulated / "tilted.star"
    tables = read_star(star)
    columns = {name: tables["particles"].text(name) for name in tables["particles"].names}
    # The tilted exposure of a pose R has the pose X R.
    from cryodrgn.geometry.conventions import (
        matrices_from_relion_angles,
        relion_angles_from_matrices,
    )
    from cryodrgn.geometry.rotations import rotation_about_x

    names = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
    angles = np.stack([tables["particles"].numbers(name) for name in names], axis=1)
    untilted = rotation_about_x(np.deg2rad(30)).numpy().T @ matrices_from_relion_angles(angles)
    columns |= dict(zip(names, relion_angles_from_matrices(untilted).T.tolist(), strict=True))
    optics = {name: tables["optics"].text(name) for name in tables["optics"].names}
    write_star(tilted, {"optics": optics, "particles": columns})
    # Taking the set for the 30° exposure of its back-rotated poses gives the volume again.
    arguments = ("backproject_voxel", tilted, "--tilt", simulated / "particles.mrcs")
    run(*arguments, "--tilt-deg", 30, "--first", 300, "-o", tmp_path / "right.mrc")
    run(*arguments, "--tilt-deg", -30, "--first", 300, "-o", tmp_path / "wrong.mrc")
    right, wrong = (fsc(tmp_path / f"{name}.mrc", truth)[5] for name in ("right", "wrong"))
    assert right > wrong + 0.1


def test_one_image_cannot_make_half_maps(fail, simulated, tmp_path):
    message = fail(
        "backproject_voxel",
        simulated / "particles.star",
        "--first",
        1,
        "-o",
        tmp_path / "x.mrc",
    )
    assert "half maps need at least two different images, got 1" in message
    assert not list(tmp_path.glob("x*"))


def test_accumulated_sums_are_hermitian_and_keep_the_total_weight():
    generator = torch.Generator().manual_seed(0)
    sums = SliceAccumulator(RfftVolumeGrid(8), 1, 1, torch.device("cpu"))
    points = 6 * torch.rand(5, 10, 3, generator=generator) - 3
    values = torch.randn(5, 10, 2, generator=generator)
    sums.add(points, values, torch.ones(5, 10), torch.ones(5, 1), torch.ones(5, 1))
    totals, weights = sums.totals()
    weights = weights.view(sums.grid.shape)
    plane = torch.view_as_complex(totals.view(*sums.grid.shape, 2)[:, :, 0].contiguous())
    torch.testing.assert_close(plane.flip(0, 1), plane.conj().resolve_conj())
    # Every point and its mate: the plane kx = 0 is counted whole, the rest once.
    assert weights[:, :, 0].sum() / 2 + weights[:, :, 1:].sum() == pytest.approx(50, rel=1e-5)


def test_the_map_does_not_depend_on_batches_of_which_a_half_has_no_image(
    simulated, monkeypatch
):
    files = ParticleFiles(particles=simulated / "particles.star")
    particles = open_particles(files).select(np.arange(5))
    whole = backproject(particles, Preprocessing())
    monkeypatch.setattr("cryodrgn.reconstruction.backproject.POINTS_PER_BATCH", 1)
    one_by_one = backproject(particles, Preprocessing())
    torch.testing.assert_close(one_by_one.volume, whole.volume, atol=1e-5, rtol=0)
