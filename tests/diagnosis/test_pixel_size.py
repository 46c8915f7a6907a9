"""A group whose pixel size is wrong is told by a map of the others; images of numpy alone."""

import numpy as np
import pytest

import optics_simulation as simulated
from cryodrgn.data.preprocessing import Preprocessing
from cryodrgn.diagnosis.conventions import STATED
from cryodrgn.diagnosis.pixel_size import group_sizes
from cryodrgn.fourier.shells import fourier_shell_correlation
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.reconstruction.backproject import backproject

DESIGN = simulated.Design(box_size=48, pixel_size=2.0, num_images=150, num_balls=20)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> ParticleSet:
    folder = tmp_path_factory.mktemp("mixed")
    second = simulated.at_the_same_dose(DESIGN, 40, 2.4)
    stars = [
        simulated.write_set(folder / name, design, simulated.Term())
        for name, design in (("a", DESIGN), ("b", second))
    ]
    star = simulated.joined(*stars, folder / "both.star")
    return open_particles(ParticleFiles(particles=star))


def stated(particles: ParticleSet, factor: float) -> ParticleSet:
    """The set whose second group is said to have another pixel size."""
    sizes = particles.images.pixel_sizes_in_files.copy()
    sizes[sizes > 2.2] *= factor
    return particles.with_images({"stored_pixel_sizes": sizes})


@pytest.mark.parametrize("factor", [0.99, 1.0, 1.01])
def test_an_error_of_one_per_cent_is_told(mixed, factor):
    images = stated(mixed, factor).images
    (found,) = group_sizes(images, np.arange(len(images)), STATED)
    assert found.stated == pytest.approx(2.4 * factor)
    assert found.scale == pytest.approx(1 / factor, abs=0.003)
    assert found.is_wrong == (factor != 1)


def test_both_groups_make_one_map(mixed):
    truth, settings = DESIGN.truth(), Preprocessing(window_radius=0.85)
    rows = np.arange(len(mixed))
    first = mixed.select(rows[: DESIGN.num_images])
    curves = [
        fourier_shell_correlation(backproject(part, settings).volume, torch_of(truth)).values
        for part in (first, mixed, stated(mixed, 2.0 / 2.4))
    ]
    alone, together, as_if_alike = (float(curve[1:-1].mean()) for curve in curves)
    assert together > alone - 0.001
    assert as_if_alike < alone - 0.02


def torch_of(volume):
    import torch

    return torch.from_numpy(volume)


@pytest.mark.parametrize("size", [0.02, 0.04])
def test_magnified_images_make_the_map_of_plain_ones(tmp_path, size):
    entries = (1 + size, 0.4 * size, 0.6 * size, 1 - size)
    areas = []
    for number, term in enumerate((simulated.Term(), simulated.magnification(*entries))):
        star = simulated.write_set(tmp_path / str(number), DESIGN, term)
        particles = open_particles(ParticleFiles(particles=star))
        turned = None
        if particles.images.magnifications is not None:
            turned = np.linalg.inv(particles.images.magnifications).astype(np.float32)
        for matrices in (particles.images.magnifications, None, turned):
            part = particles.with_images({"magnifications": matrices})
            volume = backproject(part, Preprocessing(window_radius=0.85)).volume
            curve = fourier_shell_correlation(volume, torch_of(DESIGN.truth())).values
            areas.append(float(curve[1:-1].mean()))
    plain, _, _, right, ignored, wrong = areas
    assert right > plain - 0.003
    assert ignored < right - 0.001
    assert wrong < ignored
