"""Pose refinement finds perturbed poses again, together with the structure."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from cryodrgn.geometry.rotations import rotation_distance
from cryodrgn.io.cryodrgn_pickle import load_poses, save_pickles

BOX, COUNT = 32, 500


@pytest.fixture(scope="module")
def perturbed(tmp_path_factory):
    """A rigid molecule, every pose turned by 3° and moved by 1 px in a random direction."""
    from cryodrgn.cli.main import main

    folder = tmp_path_factory.mktemp("rigid")
    line = f"simulate -D {BOX} --Apix 5 -n {COUNT} --num-states 1 --snr 10 -o"
    assert main([*line.split(), str(folder)]) == 0
    rotations, shifts = load_poses(folder / "poses.pkl")
    rng = np.random.default_rng(0)
    axes, directions = rng.normal(size=(COUNT, 3)), rng.normal(size=(COUNT, 2))
    axes *= np.deg2rad(3) / np.linalg.norm(axes, axis=1, keepdims=True)
    directions /= BOX * np.linalg.norm(directions, axis=1, keepdims=True)
    turned = Rotation.from_rotvec(axes).as_matrix() @ rotations
    poses = (turned.astype(np.float32), (shifts + directions).astype(np.float32))
    save_pickles(folder / "perturbed.pkl", [poses])
    return folder


def median_errors(truth, found):
    """Degrees and pixels, after the turn of the whole structure that fits best."""
    (expected, true_shifts), (rotations, shifts) = truth, found
    u, _, vt = np.linalg.svd(np.einsum("nij,nik->jk", rotations, expected))
    whole = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    turned = torch.from_numpy((rotations @ whole).astype(np.float32))
    angles = rotation_distance(torch.from_numpy(expected), turned)
    pixels = BOX * np.linalg.norm(shifts - true_shifts, axis=1)
    return np.rad2deg(float(angles.median())), float(np.median(pixels))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("train_nn", ("--dim", 64)),
        ("train_vae", ("--zdim", 1, "--pdim", 64, "--qdim", 32)),
    ],
)
def test_perturbed_poses_are_found_again(run, perturbed, tmp_path, command, options):
    run(
        *(command, perturbed / "particles.star", "--poses", perturbed / "perturbed.pkl"),
        *("--do-pose-sgd", "--pretrain", 4, "--pose-lr", 5e-3, "--lr", 1e-3, "-n", 24),
        *(*options, "--checkpoint", 12, "-o", tmp_path),
    )
    truth = load_poses(perturbed / "poses.pkl")
    degrees, pixels = median_errors(truth, load_poses(perturbed / "perturbed.pkl"))
    assert degrees == pytest.approx(3, abs=0.1)
    assert pixels == pytest.approx(1, abs=0.01)
    degrees, pixels = median_errors(truth, load_poses(tmp_path / "pose.pkl"))
    assert degrees < 1
    assert pixels < 0.3
