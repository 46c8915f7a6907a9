"""Tomograms of RELION 5 and series of WARP: the same particles, images, poses and defoci.

Both are written by code that shares nothing with the readers (tests/tomogram_layouts.py).
"""

import numpy as np
import pytest

from cryodrgn.cli.tools import main as tools
from cryodrgn.errors import InputFileError, MetadataError, ShapeMismatchError
from cryodrgn.io.mrc import stack_writer
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.io.relion import RelionParticles
from cryodrgn.io.star import read_star
from tomogram_layouts import (
    BOX,
    HANDS,
    PIXEL_SIZE,
    TILT_PIXEL_SIZE,
    Project,
    turn,
    write_relion5,
    write_warp,
    write_warp2,
)


@pytest.fixture
def project(rng):
    return Project.random(rng)


@pytest.fixture
def folder(project, tmp_path):
    """A folder with the stacks; the first pixel of an image says which it is."""
    for particle in project.particles:
        images = [i for i in project.images() if i.particle is particle]
        path = tmp_path / images[0].stack
        path.parent.mkdir(parents=True, exist_ok=True)
        with stack_writer(path, BOX, PIXEL_SIZE) as writer:
            writer.append(np.stack([marked(image) for image in images]))
    return tmp_path


def marked(image):
    pixels = np.zeros((BOX, BOX), np.float32)
    pixels[0, :2] = int(image.particle.name.partition("/")[2]), image.tilt
    return pixels


def opened(path):
    particles = open_particles(ParticleFiles(particles=path))
    return particles.select(np.argsort(particles.names))


def assert_as_simulated(particles, project):
    """Every image has the pose, shift, defocus, dose, scale and pixels that it was given."""
    images = sorted(project.images(), key=lambda i: (i.particle.name, i.dose))
    assert particles.names.tolist() == sorted(p.name for p in project.particles)
    assert [name[:5] for name in particles.tomograms] == [n[:5] for n in particles.names]
    assert len(particles.images) == len(images)
    table = particles.images
    expected = {
        "rotations": [image.rotation for image in images],
        "shifts": [image.shift for image in images],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(table.poses, name), np.stack(values), atol=1e-4)
    defocus = np.array([image.defocus for image in images])
    found = [table.ctf.defocus_u, table.ctf.defocus_v, np.rad2deg(table.ctf.defocus_angle)]
    np.testing.assert_allclose(np.stack(found, axis=1), defocus, rtol=1e-7, atol=1e-4)
    np.testing.assert_allclose(table.doses, [image.dose for image in images], atol=1e-4)
    np.testing.assert_allclose(table.weights, [image.scale for image in images], atol=1e-4)
    assert table.b_factors is None
    pixels = table.read(np.arange(len(images)))
    np.testing.assert_array_equal(pixels, np.stack([marked(image) for image in images]))


def test_turns_of_the_simulation_are_right_handed():
    np.testing.assert_allclose(turn(2, 90) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(turn(0, 90) @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(turn(1, 90) @ [0, 0, 1], [1, 0, 0], atol=1e-12)


@pytest.mark.parametrize("shuffled", [False, True])
def test_particles_of_relion_5_are_as_simulated(project, folder, rng, shuffled):
    order = rng.permutation(len(project.particles)).tolist() if shuffled else None
    path = write_relion5(project, folder, order)
    assert_as_simulated(opened(path), project)
    assert set(RelionParticles(path).categories()["optics group"]) == {"1"}


@pytest.mark.parametrize("shuffled", [False, True])
def test_particles_of_warp_are_as_simulated(project, folder, rng, shuffled):
    order = rng.permutation(len(project.images())).tolist() if shuffled else None
    assert_as_simulated(opened(write_warp(project, folder / "warp.star", order)), project)


@pytest.mark.parametrize("shuffled", [False, True])
def test_particles_that_warptools_and_m_export_as_stacks_are_as_simulated(
    project, folder, rng, shuffled
):
    order = rng.permutation(len(project.particles)).tolist() if shuffled else None
    path = write_warp2(project, folder, order)
    particles = opened(path)
    assert_as_simulated(particles, project)
    assert set(particles.images.ctf.correction.tolist()) == {2}
    changed(folder / "matching_tomograms.star", "data_TS_02.tomostar", "data_TS_02")
    with pytest.raises(InputFileError, match=r"neither a column .* nor a table data_TS_02.tom"):
        opened(path)


def test_places_in_the_tilt_images_of_warp_are_those_of_its_matrices(project, folder):
    write_warp2(project, folder)
    line = ["parse_relion", "-t", str(folder / "matching_tomograms.star"), "--tilt-dim", "1"]
    output = folder / "tilts.star"
    assert tools([*line, "1", "-p", str(folder / "matching.star"), "-o", str(output)]) == 0
    assert_as_simulated(opened(output), project)
    table = read_star(output)["particles"]
    images = sorted(
        project.images(), key=lambda i: (project.particles.index(i.particle), i.dose)
    )
    for axis, name in enumerate(("rlnCoordinateX", "rlnCoordinateY")):
        tilts = [project.tilts[i.particle.tomogram] for i in images]
        seen = [
            (turn(2, t["z"][i.tilt]) @ turn(1, t["y"][i.tilt]) @ turn(0, t["x"][i.tilt]))[:2]
            @ i.particle.coordinate
            - i.shift
            + t["shift"][i.tilt]
            for i, t in zip(images, tilts, strict=True)
        ]
        expected = np.array(seen)[:, axis] / TILT_PIXEL_SIZE + [240, 250][axis]
        np.testing.assert_allclose(table.numbers(name), expected, atol=1e-4)


def test_rows_written_by_parse_relion_are_the_same_images(project, folder):
    write_relion5(project, folder)
    line = ["parse_relion", "-t", str(folder / "tomograms.star"), "-p"]
    line += [str(folder / "particles.star"), "--tilt-dim", "400", "300"]
    output = folder / "two_dimensional.star"
    assert tools([*line, "-o", str(output)]) == 0
    assert_as_simulated(opened(output), project)
    table = read_star(output)["particles"]
    places = np.stack([table.numbers(f"rlnCoordinate{axis}") for axis in "XY"], axis=1)
    first = project.particles[0]
    image = next(i for i in project.images() if i.particle is first)
    tilts = project.tilts[first.tomogram]
    turned = turn(2, tilts["z"][0]) @ turn(1, tilts["y"][0]) @ turn(0, tilts["x"][0])
    seen = (turned @ first.coordinate)[:2] - image.shift + tilts["shift"][0]
    np.testing.assert_allclose(places[0], seen / 2 + [200, 150], atol=1e-4)


def test_a_feature_of_the_particle_is_seen_where_the_microscope_puts_it(project, folder, rng):
    """Rotation and shift of an image, judged by a point of the particle in the tomogram."""
    particles = opened(write_relion5(project, folder))
    images = sorted(project.images(), key=lambda i: (i.particle.name, i.dose))
    feature = rng.normal(0, 20, 3)
    poses = particles.images.poses
    for place, image in enumerate(images):
        particle, tilts = image.particle, project.tilts[image.particle.tomogram]
        turned = (
            turn(2, tilts["z"][image.tilt])
            @ turn(1, tilts["y"][image.tilt])
            @ turn(0, tilts["x"][image.tilt])
        )
        rot, tilt, psi = particle.subtomogram
        box = turn(2, -psi) @ turn(1, -tilt) @ turn(2, -rot)
        rot, tilt, psi = particle.angles
        pose = turn(2, -psi) @ turn(1, -tilt) @ turn(2, -rot)
        in_box = pose @ feature - particle.origin
        seen = (turned @ (box @ in_box))[:2]
        found = (poses.rotations[place] @ feature)[:2] - poses.shifts[place]
        np.testing.assert_allclose(found, seen, atol=1e-4)


def changed(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        (
            "particles",
            "[1,",
            "[",
            "rlnTomoVisibleFrames of row . is .*13 tilts",
        ),
        ("particles", "_stack2d.mrcs", "_stack2d.mrc", "is no stack of images .*2-D stacks"),
        ("particles", "CenteredCoordinateX", "CoordinateX", "no column rlnCenteredCoordinateX"),
        ("tomograms", "TS_02", "TS_03", "tomograms.star lists no tomogram TS_02"),
        ("tomograms", "_rlnTomoHand", "_rlnTomoHands", "no column rlnTomoHand"),
        ("tilt_series/TS_01", "_rlnTomoZRot", "_rlnTomoRot", "TS_01.star has no column"),
        ("optimisation_set", "tomograms.star", "t.star", "names t.star, which was not found"),
    ],
)
def test_files_that_do_not_fit_are_named(project, folder, name, old, new, words):
    path = write_relion5(project, folder)
    changed(folder / f"{name}.star", old, new)
    with pytest.raises((MetadataError, InputFileError, ShapeMismatchError), match=words):
        RelionParticles(path)


def test_two_particles_of_one_name_are_refused_and_one_listed_twice_is_one(project, folder):
    path = write_relion5(project, folder)
    listed = folder / "particles.star"
    text = listed.read_text()
    (row,) = [line for line in text.splitlines() if "TS_01/3_stack" in line]
    listed.write_text(f"{text.rstrip()}\n{row}\n")
    particles = open_particles(ParticleFiles(particles=path))
    assert len(particles) == len(project.particles)
    listed.write_text(text.replace(row, row.replace(" TS_01/3 ", " TS_01/1 ")))
    with pytest.raises(MetadataError, match="rows 0 and 2 are particles of the name TS_01/1"):
        RelionParticles(path)
    # As rows of images, there are two of every dose.
    project.particles[2].visible[:] = project.particles[0].visible
    text = write_warp(project, folder / "warp.star").read_text()
    (folder / "warp.star").write_text(text.replace(" TS_01/3 ", " TS_01/1 "))
    with pytest.raises(MetadataError, match=r"TS_01/1 .* has two images or more of"):
        open_particles(ParticleFiles(particles=folder / "warp.star"))


def test_the_list_of_particles_alone_names_the_file_to_take(project, folder):
    write_relion5(project, folder)
    for name in ("particles", "tomograms", "tilt_series/TS_01"):
        with pytest.raises(InputFileError, match="take the optimisation_set.star"):
            RelionParticles(folder / f"{name}.star")


def test_two_hands_of_defocus_are_two(project):
    assert sorted(HANDS.values()) == [-1, 1]
    assert {p.tomogram for p in project.particles} == set(HANDS)
