"""Backprojected maps beside their truth, beside plain gridding, and of nothing but noise."""

import numpy as np
import pytest
import torch

from cryodrgn.data.preprocessing import Preprocessing, prepare_images
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.half_grid import RfftVolumeGrid, interpolation_envelope
from cryodrgn.fourier.shells import ShellCurve, fourier_shell_correlation
from cryodrgn.imaging.masks import soft_sphere
from cryodrgn.imaging.slices import slice_coordinates
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.mrc import stack_writer
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.kernels.gridding import SliceAccumulator
from cryodrgn.reconstruction.backproject import backproject
from cryodrgn.reconstruction.wiener import filter_by_distance
from cryodrgn.simulation.simulate import SimulationSettings, simulate

BOX, WINDOWED = 32, Preprocessing(window_radius=0.85)


def molecule():
    """Twenty small balls in the middle half of the box, sharp enough for the last shell."""
    places = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)).clamp(-2, 2) * 3
    axis = (torch.arange(BOX) - BOX // 2).float()
    near = (-(axis - places[..., None]).square() / 1.5).exp()
    return torch.einsum("bz,by,bx->zyx", near[:, 2], near[:, 1], near[:, 0])


def simulated(folder, num_images, snr, *, with_ctf=True):
    settings = SimulationSettings(
        num_images=num_images, pixel_size=4.5, snr=snr, has_ctf=with_ctf
    )
    files = simulate([molecule().numpy()], settings, folder)
    return open_particles(
        ParticleFiles(
            particles=files.particles, poses=files.poses, ctf=files.ctf if with_ctf else None
        )
    )


def agreement(volume):
    return fourier_shell_correlation(volume, molecule())


def plain_gridding(particles):
    """Sums of images without CTF over their weights, voxel by voxel of the finer grid."""
    lattice, grid = HalfPlaneFrequencies.disc(BOX), RfftVolumeGrid(2 * BOX)
    rows = np.arange(len(particles))
    values = prepare_images(particles.images, rows, lattice, WINDOWED)
    rotations = torch.from_numpy(particles.images.require_poses().rotations)
    points = slice_coordinates(2 * lattice.points.float(), rotations)
    sums = SliceAccumulator(grid, 1, 1, torch.device("cpu"))
    ones = torch.ones(len(values), 1)
    sums.add(points, values, torch.ones(values.shape[:2]), ones, ones)
    totals, weights = sums.totals()
    quotient = totals[:, 0] / weights.clamp_min(1e-3 * float(weights.mean()))
    spectrum = torch.view_as_complex(quotient.contiguous()).view(grid.shape)
    volume = grid.volume_of(spectrum * (grid.radii() <= BOX), BOX)
    return volume / interpolation_envelope(BOX, 2 * BOX) * soft_sphere(BOX, BOX / 2, 4.0)


def test_noise_free_images_give_back_the_molecule_to_the_last_shell(tmp_path):
    found = backproject(simulated(tmp_path, 600, 1e8), WINDOWED)
    assert agreement(found.volume).values.min() > 0.99
    assert found.fsc.values.min() > 0.99


@pytest.mark.parametrize(
    ("num_images", "snr", "margin"), [(300, 0.1, 0.04), (50, 0.3, 0.04), (50, 1e8, 0.0005)]
)
def test_maps_are_nearer_to_the_molecule_than_by_plain_gridding(
    tmp_path, num_images, snr, margin
):
    particles = simulated(tmp_path, num_images, snr, with_ctf=False)
    found = agreement(backproject(particles, WINDOWED).volume)
    assert found.area() > agreement(plain_gridding(particles)).area() + margin


def test_half_maps_of_noise_have_nothing_in_common(tmp_path):
    particles = simulated(tmp_path, 200, 1.0)
    noise = np.random.default_rng(0).normal(size=(200, BOX, BOX)).astype(np.float32)
    with stack_writer(tmp_path / "noise.mrcs", BOX, 4.5) as writer:
        writer.append(noise)
    images = ImageStack.whole_files([tmp_path / "noise.mrcs"])
    found = backproject(particles.with_images({"pixels": images}), WINDOWED)
    # A shell of radius r has 2 π r² independent values, fewer within the window.
    values = found.fsc.values[4:]
    assert abs(float(values.mean())) < 0.03
    assert float(values.abs().max()) < 0.15
    assert torch.isfinite(found.volume).all()


def curve(value):
    return ShellCurve(torch.arange(1, BOX // 2) / BOX, torch.full((BOX // 2 - 1,), value))


def test_half_maps_that_agree_leave_the_map_as_it_is():
    volume = molecule()
    filtered = filter_by_distance(volume, (volume, volume), curve(1.0))
    torch.testing.assert_close(filtered, volume, rtol=1e-4, atol=0)


def test_a_map_is_damped_beyond_the_particle_and_not_within_it():
    volume, generator = molecule(), torch.Generator().manual_seed(0)
    noise = 0.1 * torch.randn(2, *volume.shape, generator=generator)
    filtered = filter_by_distance(
        volume + noise.mean(0), (volume + noise[0], volume + noise[1]), curve(0.9)
    )
    weights = filtered / (volume + noise.mean(0))
    distance = (torch.arange(BOX) - BOX // 2).abs()
    along_x = weights[BOX // 2, BOX // 2]
    assert along_x[distance <= 4].min() > 0.9
    assert along_x[distance >= 14].max() < 0.2
