"""Poses that the linear model corrects."""

import re

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform, shift

from cryodrgn.cli.main import main
from cryodrgn.fourier.shells import fourier_shell_correlation
from cryodrgn.geometry.rotations import rotation_distance, rotation_from_vector
from cryodrgn.io.cryodrgn_pickle import load_poses, save_pickles
from cryodrgn.io.mrc import read_volume
from cryodrgn.io.run_config import load_run_config
from cryodrgn.linear.pose_refinement import MovedPoses, rigid_motions
from cryodrgn.particles.poses import Poses

BOX_SIZE, PIXEL_SIZE = 32, 6


@pytest.fixture(scope="module")
def blob():
    """A smooth volume without symmetry, far from the faces of its box."""
    axis = torch.arange(BOX_SIZE) - BOX_SIZE // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    balls = [((3, 0, 1), 1.0), ((-2, 4, 0), 0.7), ((0, -3, -4), 1.3)]
    return sum(
        height * torch.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 12)
        for (a, b, c), height in balls
    ).float()


def turned(volume, vector):
    # scipy asks where in the old volume (z, y, x) every voxel of the new one comes from.
    back = rotation_from_vector(vector).T.flip(0, 1).numpy()
    centre = np.full(3, BOX_SIZE // 2)
    return affine_transform(volume.numpy(), back, centre - back @ centre, order=5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_small_turn_is_the_motion_times_its_angle(blob, axis):
    vector = torch.zeros(3)
    vector[axis] = 0.02
    expected = (turned(blob, vector) - turned(blob, -vector)) / 0.04
    found = rigid_motions(blob)[axis].numpy()
    np.testing.assert_allclose(found, expected, atol=3e-3 * np.abs(expected).max())


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_small_step_is_the_motion_times_its_length(blob, axis):
    step = np.zeros(3)
    step[2 - axis] = 0.02
    there, back = (shift(blob.numpy(), way * step, order=5) for way in (1, -1))
    expected = (there - back) / 0.04
    found = rigid_motions(blob)[3 + axis].numpy()
    np.testing.assert_allclose(found, expected, atol=3e-3 * np.abs(expected).max())


def test_moves_are_seen_through_the_rotation_of_each_image():
    generator = torch.Generator().manual_seed(1)
    vectors = torch.randn(4, 3, generator=generator)
    poses = Poses(
        rotations=rotation_from_vector(vectors).numpy(),
        shifts=np.ones((4, 2), np.float32),
        source="test",
    )
    moved = MovedPoses(poses, torch.device("cpu"))
    step = torch.tensor([[1.0, 2.0, 3.0]])
    moved.move(torch.tensor([2]), torch.tensor([[0.0, 0.0, 0.1]]), step)
    kept = np.array([0, 1, 3])
    np.testing.assert_array_equal(moved.poses().rotations[kept], poses.rotations[kept])
    np.testing.assert_array_equal(moved.poses().shifts[kept], poses.shifts[kept])
    seen = poses.rotations[2] @ step[0].numpy()
    np.testing.assert_allclose(moved.poses().shifts[2], 1 - seen[:2], atol=1e-6)
    both = (torch.from_numpy(found.rotations[[2]]) for found in (moved.poses(), poses))
    assert float(rotation_distance(*both)) == pytest.approx(0.1, abs=1e-4)


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory):
    """A rigid molecule of which every image has a wrong pose; the true poses beside it."""
    folder = tmp_path_factory.mktemp("disturbed")
    words = ("-D", BOX_SIZE, "--Apix", PIXEL_SIZE, "-n", 500, "--num-states", 1, "--snr", 1)
    assert main([str(word) for word in ("simulate", *words, "-o", folder)]) == 0
    rotations, shifts = load_poses(folder / "poses.pkl")
    rng = np.random.default_rng(3)
    turns = torch.from_numpy(np.deg2rad(3) * rng.normal(size=(len(rotations), 3)) / 3**0.5)
    wrong = rotation_from_vector(turns.float()).numpy() @ rotations
    moved = shifts + rng.normal(size=shifts.shape) * 0.5 / BOX_SIZE
    save_pickles(folder / "wrong.pkl", [(wrong, moved.astype(np.float32))])
    return folder


@pytest.fixture(scope="module")
def corrected(disturbed):
    return refined(disturbed, "wrong.pkl", "corrected", "--refine-poses", 2)


def refined(folder, poses, name, *options):
    files = (folder / "particles.star", "--poses", folder / poses, "-o", folder / name)
    words = ("train_linear", *files, "--components", 2, *options)
    assert main([str(word) for word in words]) == 0
    return folder / name


def errors(found, truth):
    """Median error of the rotation in degrees and of the shift in pixels."""
    (a, b), (c, d) = load_poses(found), load_poses(truth)
    turns = rotation_distance(torch.from_numpy(a), torch.from_numpy(c))
    steps = np.linalg.norm(b - d, axis=1) * BOX_SIZE
    return np.rad2deg(np.median(turns.numpy())), np.median(steps)


def test_wrong_poses_are_corrected(disturbed, corrected):
    before = errors(disturbed / "wrong.pkl", disturbed / "poses.pkl")
    after = errors(corrected / "pose.pkl", disturbed / "poses.pkl")
    assert after[0] < 0.7 * before[0]
    assert after[1] < 0.5 * before[1]
    said = (corrected / "run.log").read_text()
    together, left = map(
        float, re.search(r"of ([\d.]+)° about .* leave ([\d.]+)°", said).groups()
    )
    assert 0 < left < together
    recorded = load_run_config(corrected / "config.yaml")["training"]
    assert recorded["poses_corrected"]
    assert recorded["poses"] in said


def test_maps_are_sharper_for_it(disturbed, corrected):
    plain = refined(disturbed, "wrong.pkl", "plain")
    assert not (plain / "pose.pkl").exists()
    truth = torch.from_numpy(read_volume(disturbed / "gt" / "state_000.mrc")[0])
    sharp, dull = (
        fourier_shell_correlation(torch.from_numpy(read_volume(run / "mean.mrc")[0]), truth)
        for run in (corrected, plain)
    )
    assert sharp.area() > dull.area() + 0.01


def test_states_are_made_in_the_corrected_poses(run, disturbed, corrected, tmp_path):
    run("reconstruct_states", corrected, "-z", 0, "-o", tmp_path / "states")
    given = ("--poses", disturbed / "wrong.pkl")
    run("reconstruct_states", corrected, *given, "-z", 0, "-o", tmp_path / "wrong")
    areas = [
        np.loadtxt(tmp_path / name / "state_000_fsc.txt", skiprows=1)[:, 1].mean()
        for name in ("states", "wrong")
    ]
    assert areas[0] > areas[1] + 0.02


def test_right_poses_stay_where_they_are(disturbed):
    found = refined(disturbed, "poses.pkl", "right", "--refine-poses", 1)
    turn, step = errors(found / "pose.pkl", disturbed / "poses.pkl")
    assert turn < 0.5
    assert step < 0.05
