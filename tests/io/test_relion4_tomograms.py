"""Tomograms of RELION 4: every particle is where its matrices put it, in every tilt image.

The project is written by code that shares nothing with the reader (tests/tomogram_layouts.py).
"""

import numpy as np
import pytest

from cryodrgn.errors import InputFileError
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.io.relion import RelionParticles
from tomogram_layouts import TILT_PIXEL_SIZE, Project, write, write_relion4

BOX = 12


@pytest.fixture
def project(rng):
    """Particles near the middle of their tomograms."""
    project = Project.random(rng, missing=0)
    for particle in project.particles:
        particle.coordinate = particle.coordinate * 0.06
    return project


def line(folder, *options):
    files = ("-t", folder / "tomograms.star", "-p", folder / "particles.star")
    return ("parse_relion", *files, "-o", folder / "tilts.star", *options)


def test_particles_are_cut_out_where_they_are_seen(tool, project, tmp_path):
    write_relion4(project, tmp_path)
    tool(*line(tmp_path, "--box", BOX))
    particles = open_particles(ParticleFiles(particles=tmp_path / "tilts.star"))
    particles = particles.select(np.argsort(particles.names))
    expected = sorted(project.images(), key=lambda image: (image.particle.name, image.dose))
    table = particles.images
    assert len(table) == len(expected) == 6 * 13
    assert table.pixel_sizes == pytest.approx(TILT_PIXEL_SIZE)
    rotations = np.stack([image.rotation for image in expected])
    np.testing.assert_allclose(table.poses.rotations, rotations, atol=1e-4)
    defocus = np.array([image.defocus[:2] for image in expected])
    found = np.stack([table.ctf.defocus_u, table.ctf.defocus_v], axis=1)
    np.testing.assert_allclose(found, defocus, rtol=1e-6)
    np.testing.assert_allclose(table.doses, [image.dose for image in expected], atol=1e-4)
    np.testing.assert_allclose(table.weights, [image.scale for image in expected], atol=1e-4)
    assert table.ctf.amplitude_contrast == pytest.approx(0.07)
    assert table.ctf.correction is None
    images = table.read(np.arange(len(table)))
    # Neighbours that are in the box are as bright.
    np.testing.assert_allclose(images[:, BOX // 2, BOX // 2], images.max((1, 2)), rtol=1e-5)
    axis = np.arange(BOX) - BOX // 2
    around = images[:, np.hypot(axis[:, None], axis) > BOX / 2]
    np.testing.assert_allclose(around.mean(1), 0, atol=1e-4)


def test_what_is_left_of_a_pixel_is_the_shift(tool, project, tmp_path):
    """Particles at whole pixels have no shift; moved by a part of one, they have that part."""
    found = []
    for moved in (0.0, 0.3):
        for particle in project.particles:
            particle.origin = np.zeros(3)
            particle.coordinate = np.array([4.0 + moved * TILT_PIXEL_SIZE, -6.0, 0.0])
        for tilts in project.tilts.values():
            for name in ("x", "y", "z"):
                tilts[name] = np.zeros(13)
            tilts["shift"] = np.zeros((13, 2))
        write_relion4(project, tmp_path)
        tool(*line(tmp_path, "--box", BOX))
        table = open_particles(ParticleFiles(particles=tmp_path / "tilts.star")).images
        found.append(table.poses.shifts)
    np.testing.assert_allclose(found[0], 0, atol=1e-5)
    np.testing.assert_allclose(found[1][:, 0], -0.3 * TILT_PIXEL_SIZE, atol=1e-5)
    np.testing.assert_allclose(found[1][:, 1], 0, atol=1e-5)


def test_images_beyond_their_tilt_image_are_left_out(tool, project, tmp_path):
    project.particles[0].coordinate = np.array([150.0, 0.0, 0.0])
    write_relion4(project, tmp_path)
    said = tool(*line(tmp_path, "--box", BOX))
    assert "images that reach beyond their tilt image are left out" in said
    assert "wrote 6" in said


def test_what_cannot_be_cut_is_refused(fail_tool, project, tmp_path):
    write_relion4(project, tmp_path)
    assert "parse_relion -t" in fail_tool(*line(tmp_path))
    optimisation = {
        "rlnTomoParticlesFile": ["particles.star"],
        "rlnTomoTomogramsFile": ["tomograms.star"],
    }
    path = write(tmp_path / "optimisation_set.star", {"set": optimisation})
    with pytest.raises(InputFileError, match="of RELION 4, which writes no images .*--box PX"):
        RelionParticles(path)
    text = (tmp_path / "tomograms.star").read_text()
    (tmp_path / "tomograms.star").write_text(text.replace("[0.0", "[0.9"))
    assert "hold no rotation" in fail_tool(*line(tmp_path, "--box", BOX))
    (tmp_path / "TS_02.mrc").unlink()
    (tmp_path / "tomograms.star").write_text(text)
    assert "TS_02.mrc" in fail_tool(*line(tmp_path, "--box", BOX))
    assert not (tmp_path / "tilts.star").exists()
