from dataclasses import replace

import numpy as np
import torch

from cryodrgn.diagnosis.conventions import STATED
from cryodrgn.diagnosis.fit import QuickImages
from cryodrgn.diagnosis.views import view_averages
from cryodrgn.fourier.resample import downsample_volume
from cryodrgn.io.mrc import read_volume
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.simulation.simulate import SimulationSettings, simulate
from cryodrgn.simulation.states import hinge_states


def test_averages_of_images_look_like_projections_of_the_molecule(tmp_path):
    settings = SimulationSettings(num_images=400, pixel_size=8.0, snr=1.0)
    files = simulate(hinge_states(1, 90.0, 24, 8.0).volumes, settings, tmp_path)
    table = open_particles(ParticleFiles(particles=files.star)).images
    images = QuickImages(table, np.arange(400))
    volume = torch.from_numpy(read_volume(files.state(0))[0])
    averages, projections, numbers = view_averages(
        images, STATED, downsample_volume(volume, images.grid.box_size), count=4
    )
    assert sum(numbers) > 100
    both = np.corrcoef(averages.flatten(1), projections.flatten(1))[:4, 4:]
    # Averages are weighted by the CTF and blurred by 30°: far from equal, but own is nearest.
    assert both.diagonal().min() > 0.45
    assert both.argmax(1).tolist() == [0, 1, 2, 3]


def test_only_directions_from_which_there_are_images_are_averaged(tmp_path):
    settings = SimulationSettings(num_images=30, pixel_size=12.0, snr=1.0)
    files = simulate(hinge_states(1, 90.0, 16, 12.0).volumes, settings, tmp_path)
    table = open_particles(ParticleFiles(particles=files.star)).images
    # A third of the images are seen from above, the others along an axis in the plane.
    above, aside = np.eye(3), np.eye(3)[[1, 2, 0]]
    rotations = np.stack([above if row % 3 == 0 else aside for row in range(30)])
    poses = replace(table.require_poses(), rotations=rotations.astype(np.float32))
    images = QuickImages(replace(table, poses=poses), np.arange(30))
    side = images.grid.box_size
    averages, projections, numbers = view_averages(images, STATED, torch.rand(side, side, side))
    assert numbers == [20, 10]
    assert len(averages) == len(projections) == 2
    assert averages.isfinite().all()
