"""The linear model and states under symmetry, and with a curved Ewald sphere."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from atom_images import Microscope, listed, particle_set, rotations
from cryodrgn.data.config import DataConfig
from cryodrgn.data.noise import initial_noise
from cryodrgn.data.prepared import Storage
from cryodrgn.errors import ConfigError
from cryodrgn.fourier.shells import fourier_shell_correlation
from cryodrgn.geometry.symmetry import point_group
from cryodrgn.io.cryodrgn_pickle import load_latents
from cryodrgn.io.mrc import read_volume
from cryodrgn.io.particle_files import ParticleFiles
from cryodrgn.io.run_config import load_run_config
from cryodrgn.linear.embed import embed, subspace_of
from cryodrgn.linear.linear_run import LinearRun
from cryodrgn.linear.regression import Coefficients, regress
from cryodrgn.linear.runner import prepare_disc

CURVED = Microscope(box=32, pixel_size=0.4, voltage=10.0, cs=0.0, width=0.3, curvature=-1)
CPU = torch.device("cpu")


def disc(particles, folder, **how):
    data = DataConfig(files=ParticleFiles(particles=Path("numpy")))
    storage = Storage(scratch_dir=folder)
    return prepare_disc(data, particles, (0.0, 1.0), CPU, storage=storage, **how)


def mean_of(images):
    rows, box_size = torch.arange(len(images)), images.box_size
    noise = initial_noise(images.images, np.zeros(images.images.num_images(rows), np.int64))
    none = Coefficients(values=torch.zeros(len(images), 0))
    mask = torch.ones(box_size, box_size, box_size)
    return regress(images, images.halves(rows), none, noise, mask, focus=mask), noise


@pytest.fixture(scope="module")
def curved_set():
    rng = np.random.default_rng(3)
    atoms = 4.0 * rng.normal(size=(25, 3)) / 1.7
    particles = particle_set(atoms, rotations(200, rng), CURVED, rng, noise=0.3)
    return particles, torch.from_numpy(CURVED.volume(atoms))


def test_the_mean_needs_the_curvature_and_its_sign(curved_set, tmp_path):
    particles, truth = curved_set
    found = {
        sign: float(
            fourier_shell_correlation(
                mean_of(disc(particles, tmp_path, ewald=sign))[0].volumes[0], truth
            )
            .values[:14]
            .mean()
        )
        for sign in (-1, 0, 1)
    }
    assert found[-1] > found[0] + 0.01
    assert found[0] > found[1] + 0.03


def test_images_are_explained_best_with_the_curvature_they_have(curved_set, tmp_path):
    particles, truth = curved_set
    left = {}
    for sign in (-1, 0, 1):
        images = disc(particles, tmp_path, ewald=sign)
        _, noise = mean_of(images)
        subspace = subspace_of(torch.stack([truth, 0.01 * truth.flip(0)]), 14)
        left[sign] = embed(images, torch.arange(len(images)), subspace, noise)[1]
    assert left[-1] < left[0] < left[1]


def test_a_symmetric_mean_is_that_of_the_expanded_set(tmp_path):
    rng, group, microscope = np.random.default_rng(4), point_group("D3"), Microscope(box=24)
    atoms = np.concatenate([rng.normal(scale=7, size=(5, 3)) @ mate.T for mate in group])
    particles = particle_set(atoms, rotations(40, rng), microscope, rng, noise=1.0)
    table, rows = particles.images, np.repeat(np.arange(40), len(group))
    poses = (table.poses.rotations[:, None] @ group[None]).reshape(-1, 3, 3)
    copies = listed(table.read(rows), poses, table.ctf.defocus_u[rows], microscope, rows)
    symmetric, _ = mean_of(disc(particles, tmp_path, symmetry="D3"))
    expanded, _ = mean_of(disc(copies, tmp_path))
    assert symmetric.num_images == expanded.num_images == 40
    volume = symmetric.volumes[0]
    limit = 1e-3 * float(volume.abs().max())
    torch.testing.assert_close(expanded.volumes[0], volume, atol=limit, rtol=0)
    for one, other in zip(symmetric.half_maps, expanded.half_maps, strict=True):
        torch.testing.assert_close(one, other, atol=limit, rtol=0)


def test_a_run_remembers_its_symmetry_and_its_curvature(run, tmp_path):
    words = "simulate -D 16 --Apix 12 -n 120 --num-states 2 --snr 2 -o"
    run(*words.split(), tmp_path / "set")
    particles, out = tmp_path / "set/particles.star", tmp_path / "run"
    how = ("--symmetry", "c2", "--ewald", "+1")
    said = run("train_linear", particles, "--components", 2, "--radius", 6, *how, "-o", out)
    assert "symmetry C2: each of 120 different images is added at 2 mates" in said
    assert "curvature +1 is accounted for, which changes little" in said
    recorded = load_run_config(out / "config.yaml")["training"]["linear"]
    assert (recorded["symmetry"], recorded["ewald"]) == ("C2", 1)
    mean = read_volume(out / "mean.mrc")[0][:, 1:, 1:]
    # The mask, which the volumes draw, may differ in a voxel at its edge.
    assert np.abs(mean - mean[:, ::-1, ::-1]).mean() < 1e-3 * np.abs(mean).max()
    # Latents of the run come back only with the side bands that it was fitted with.
    run("eval_images", particles, out / "weights.pkl", "-o", tmp_path / "evaluated.pkl")
    found, expected = load_latents(tmp_path / "evaluated.pkl"), load_latents(out / "z.pkl")
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())
    states = ("reconstruct_states", out, "--num-states", 2, "--functions", 0, "-o")
    run(*states, tmp_path / "states")
    again = load_run_config(tmp_path / "states/config.yaml")["training"]["states"]
    assert (again["symmetry"], again["ewald"]) == ("C2", 1)
    # So do a folder of states, and either of them where the images are in another file.
    other = shutil.copy(particles, tmp_path / "set/other.star")
    for number, folder in enumerate((out, tmp_path / "states")):
        words = ("reconstruct_states", folder, "--particles", other, *states[2:])
        run(*words, tmp_path / f"other{number}")
        again = load_run_config(tmp_path / f"other{number}/config.yaml")["training"]["states"]
        assert (again["symmetry"], again["ewald"]) == ("C2", 1)
    with pytest.raises(ConfigError, match="curvature of the Ewald sphere"):
        LinearRun.open(tmp_path / "states", seed=0)
    run(*states, tmp_path / "plain", "--symmetry", "C1", "--ewald", 0)
    plain = load_run_config(tmp_path / "plain/config.yaml")["training"]["states"]
    assert (plain["symmetry"], plain["ewald"]) == ("C1", 0)


def test_curvature_without_ctf_or_with_flipped_phases_is_refused(fail, run, tmp_path):
    words = "simulate -D 16 --Apix 10 -n 8 --num-states 1 --no-ctf -o"
    run(*words.split(), tmp_path)
    line = ("backproject_voxel", tmp_path / "particles.star", "--ewald", -1)
    assert "gives no CTF parameters" in fail(*line, "-o", tmp_path / "map.mrc")
    assert "told apart by the whole CTF" in fail(
        *line, "--ctf-alg", "flip", "-o", tmp_path / "map.mrc"
    )
    assert "must be +1 or -1" in fail(*line[:3], 2, "-o", tmp_path / "map.mrc")
