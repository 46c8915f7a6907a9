"""Volumes against recorded ones and against known truths."""

import mrcfile
import numpy as np
import pytest
import torch

from cryodrgn.fourier.shells import fourier_shell_correlation
from cryodrgn.io.mrc import read_volume
from cryodrgn.io.star import read_star, write_star


def volume(path):
    return torch.from_numpy(read_volume(path)[0])


def correlation(first, second):
    return np.corrcoef(first.flatten(), second.flatten())[0, 1]


def test_decoded_volume_at_the_origin_of_the_latent_space(run, acceptance, tmp_path):
    upstream = acceptance / "upstream"
    out = tmp_path / "vol.mrc"
    run(
        *("eval_vol", upstream / "het_weights.pkl", "--config", upstream / "het_config.yaml"),
        *("-z", *[0] * 8, "-o", out),
    )
    with mrcfile.open(out) as mrc:
        found = mrc.data.astype(np.float64)
    # reference.md §4.5.
    assert found.mean() == pytest.approx(-1.6727e-3, rel=1e-4)
    assert found.std() == pytest.approx(0.0643446, rel=1e-4)
    assert found.min() == pytest.approx(-5.74958, rel=1e-4)
    assert found.max() == pytest.approx(2.079276, rel=1e-4)
    assert np.unravel_index(found.argmin(), found.shape) == (32, 32, 32)


def test_backprojected_toy_agrees_with_the_true_model_in_every_shell(run, acceptance, tmp_path):
    upstream = acceptance / "upstream"
    out = tmp_path / "toy.mrc"
    poses = ("--poses", upstream / "toy_angles.pkl")
    run("backproject_voxel", upstream / "toy_projections.mrcs", *poses, "-o", out)
    truth = volume(upstream / "toymodel_small_nocenter.mrc")
    curve = fourier_shell_correlation(volume(out), truth)
    assert curve.values.min() >= 0.977
    assert correlation(volume(out), truth) > 0.975


def test_backprojected_hand_agrees_with_the_map_of_0_2_0(run, acceptance, tmp_path):
    upstream = acceptance / "upstream"
    poses = ("--poses", upstream / "hand_rot.pkl")
    run("backproject_voxel", upstream / "hand.mrcs", *poses, "-o", tmp_path / "hand.mrc")
    found = volume(tmp_path / "hand.mrc")
    assert correlation(found, volume(acceptance / "reference/bp02_hand.mrc")) >= 0.99
    # Version 4.3 inverts its data.
    assert correlation(found, volume(acceptance / "reference/bp43_hand.mrc")) <= -0.99


def test_half_maps_of_the_hand_agree_to_the_last_shell(run, acceptance, tmp_path):
    upstream = acceptance / "upstream"
    poses = ("--poses", upstream / "hand_rot.pkl")
    run("backproject_voxel", upstream / "hand.mrcs", *poses, "-o", tmp_path / "hand.mrc")
    # reference.md §5.2 has 0.61 of shells one further in.
    assert np.loadtxt(tmp_path / "hand_fsc.txt")[-1, 1] > 0.5


def test_backprojected_tilt_pair_agrees_with_the_map_of_0_2_0(run, acceptance, tmp_path):
    upstream = acceptance / "upstream"
    run(
        *("backproject_voxel", upstream / "hand.mrcs", "--tilt", upstream / "hand_tilt.mrcs"),
        *("--poses", upstream / "hand_rot.pkl", "-o", tmp_path / "hand.mrc"),
    )
    expected = volume(acceptance / "reference/bp02_hand_tiltpair.mrc")
    assert correlation(volume(tmp_path / "hand.mrc"), expected) >= 0.99


@pytest.fixture(scope="module")
def antibody(acceptance, tmp_path_factory):
    from cryodrgn.cli.main import main

    out = tmp_path_factory.mktemp("antibody")
    arguments = [
        "-D",
        "64",
        "--Apix",
        "4.5",
        "--snr",
        "0.5",
        "-n",
        "2000",
        "--shift",
        "3",
        "-o",
    ]
    assert (
        main(["simulate", str(acceptance / "structures/1hzh.pdb"), *arguments, str(out)]) == 0
    )
    return out


def test_a_simulated_antibody_comes_back_through_star_and_pickles_alike(
    run, antibody, tmp_path
):
    run("backproject_voxel", antibody / "particles.star", "-o", tmp_path / "star.mrc")
    pickles = ("--poses", antibody / "poses.pkl", "--ctf", antibody / "ctf.pkl")
    stack = antibody / "particles.mrcs"
    run("backproject_voxel", stack, *pickles, "-o", tmp_path / "pickles.mrc")
    truth = volume(antibody / "gt/state_000.mrc")
    for name in ("star.mrc", "pickles.mrc"):
        curve = fourier_shell_correlation(volume(tmp_path / name), truth)
        assert curve.values[:16].min() >= 0.95, name
        assert curve.values[-1] >= 0.84, name


def test_a_shuffled_star_file_gives_the_same_volume(run, antibody, tmp_path):
    tables = read_star(antibody / "particles.star")
    order = np.random.default_rng(0).permutation(2000)
    columns = {}
    for name in tables["particles"].names:
        values = tables["particles"].text(name)
        columns[name] = [values[row] for row in order]
    optics = {name: tables["optics"].text(name) for name in tables["optics"].names}
    write_star(antibody / "shuffled.star", {"optics": optics, "particles": columns})
    for name in ("particles", "shuffled"):
        run("backproject_voxel", antibody / f"{name}.star", "-o", tmp_path / f"{name}.mrc")
    curve = fourier_shell_correlation(
        volume(tmp_path / "particles.mrc"), volume(tmp_path / "shuffled.mrc")
    )
    assert curve.values.min() > 0.999
