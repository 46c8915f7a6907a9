from dataclasses import replace

import numpy as np
import pytest

from cryodrgn.errors import ConfigError, InputFileError, MetadataError, ShapeMismatchError
from cryodrgn.geometry.rotations import rotation_about_x
from cryodrgn.io.particle_files import ParticleFiles, open_particles, open_stack
from cryodrgn.io.star import write_star
from cryodrgn.particles.selection import Selection

COUNT, BOX = 6, 8


def ctf_array(count=COUNT, box=2 * BOX, pixel_size=1.0):
    row = [box, pixel_size, 15000, 14000, 30, 300, 2.7, 0.1, 0]
    return np.tile(np.array(row, dtype=np.float32), (count, 1))


@pytest.fixture
def stack(write_stack):
    values = np.arange(COUNT, dtype=np.float32)[:, None, None]
    return write_stack(np.broadcast_to(values, (COUNT, BOX, BOX)))


@pytest.fixture
def poses(write_pickle):
    fractions = np.zeros((COUNT, 2))
    fractions[:, 0] = np.arange(COUNT) / 16
    return write_pickle((np.tile(np.eye(3), (COUNT, 1, 1)), fractions), "poses.pkl")


@pytest.fixture
def star(stack, tmp_path):
    order = [3, 1, 5, 0, 2, 4]
    columns = {
        "rlnImageName": [f"{number + 1}@particles.mrcs" for number in order],
        "rlnAngleRot": [10.0 * number for number in order],
        "rlnAngleTilt": [5.0] * COUNT,
        "rlnAnglePsi": [0.0] * COUNT,
        "rlnOriginXAngst": [1.0 * number for number in order],
        "rlnOriginYAngst": [0.0] * COUNT,
        "rlnDefocusU": [10000.0 + number for number in order],
        "rlnDefocusV": [10000.0] * COUNT,
        "rlnDefocusAngle": [0.0] * COUNT,
        "rlnOpticsGroup": [1] * COUNT,
    }
    optics = {
        "rlnOpticsGroup": [1],
        "rlnImagePixelSize": [2.0],
        "rlnImageSize": [BOX],
        "rlnVoltage": [300.0],
        "rlnSphericalAberration": [2.7],
        "rlnAmplitudeContrast": [0.1],
    }
    path = tmp_path / "particles.star"
    write_star(path, {"optics": optics, "particles": columns})
    return path


def test_a_star_file_alone_gives_images_poses_and_ctf_row_by_row(star):
    particles = open_particles(ParticleFiles(particles=star))
    numbers = particles.images.read(np.arange(COUNT))[:, 0, 0]
    assert numbers.tolist() == [3, 1, 5, 0, 2, 4]
    np.testing.assert_array_equal(particles.images.poses.shifts[:, 0], numbers)
    np.testing.assert_array_equal(particles.images.ctf.defocus_u, 10000 + numbers)
    assert particles.images.pixel_sizes.tolist() == [2.0] * COUNT


def test_pickles_go_before_the_star_file(star, poses, write_pickle):
    ctf = write_pickle(ctf_array(box=BOX, pixel_size=2.0), "ctf.pkl")
    particles = open_particles(ParticleFiles(particles=star, poses=poses, ctf=ctf))
    np.testing.assert_array_equal(particles.images.poses.rotations[2], np.eye(3))
    assert set(particles.images.ctf.defocus_u.tolist()) == {15000.0}


def test_shifts_and_pixel_size_follow_the_ctf_of_the_images_before_downsampling(
    stack, poses, write_pickle
):
    ctf = write_pickle(ctf_array(box=2 * BOX, pixel_size=1.5), "ctf.pkl")
    particles = open_particles(ParticleFiles(particles=stack, poses=poses, ctf=ctf))
    assert particles.images.pixel_sizes.tolist() == [3.0] * COUNT
    np.testing.assert_allclose(
        particles.images.poses.shifts[:, 0], np.arange(COUNT) / 16 * BOX * 3
    )


def test_every_row_keeps_its_own_pixel_size(stack, write_pickle):
    array = ctf_array()
    array[:, 1] = np.linspace(1, 2, COUNT)
    ctf = write_pickle(array, "ctf.pkl")
    particles = open_particles(ParticleFiles(particles=stack, ctf=ctf))
    np.testing.assert_allclose(
        particles.images.pixel_sizes_in_files, 2 * np.linspace(1, 2, COUNT), rtol=1e-6
    )


def test_an_index_selects_from_everything_and_original_rows_are_remembered(
    star, poses, write_pickle
):
    ind = write_pickle(np.array([4, 0]), "ind.pkl")
    files = ParticleFiles(particles=star, indices=ind)
    particles = open_particles(files)
    assert particles.images.read(np.arange(2))[:, 0, 0].tolist() == [2, 3]
    assert particles.images.poses.shifts[:, 0].tolist() == [2, 3]
    assert particles.original_rows.tolist() == [4, 0]
    with_pickle = open_particles(replace(files, poses=poses))
    np.testing.assert_allclose(
        with_pickle.images.poses.shifts[:, 0], np.array([4, 0]) / 16 * BOX * 2
    )


def test_a_pickle_with_one_row_per_selected_particle_is_taken_as_it_is(
    stack, write_pickle, caplog
):
    caplog.set_level("INFO")
    ind = write_pickle(np.array([4, 0]), "ind.pkl")
    poses = write_pickle(
        (np.tile(np.eye(3), (2, 1, 1)), np.array([[0.5, 0], [0.25, 0]])), "p.pkl"
    )
    particles = open_particles(ParticleFiles(particles=stack, indices=ind, poses=poses))
    np.testing.assert_allclose(particles.images.poses.shifts[:, 0], [8, 4])
    assert "one row per selected particle" in caplog.text


@pytest.mark.parametrize(
    ("order", "warns"),
    [(range(COUNT), False), ([1, 0], False), ([1, 0, *range(2, COUNT)], True)],
)
def test_the_order_of_a_table_is_said_where_it_may_be_either(
    stack, write_pickle, caplog, order, warns
):
    ind = write_pickle(np.array(order), "ind.pkl")
    shifts = np.stack([np.arange(COUNT) / 10, np.zeros(COUNT)], axis=1)
    poses = write_pickle((np.tile(np.eye(3), (COUNT, 1, 1)), shifts), "p.pkl")
    particles = open_particles(ParticleFiles(particles=stack, indices=ind, poses=poses))
    found = particles.images.poses.shifts[:, 0] / particles.images.side_lengths
    np.testing.assert_allclose(found, shifts[list(order), 0], atol=1e-6)
    assert ("every particle gets the row of another" in caplog.text) == warns


def test_counts_that_disagree_name_both_files_and_both_counts(stack, write_pickle):
    poses = write_pickle(np.tile(np.eye(3), (COUNT + 1, 1, 1)), "poses.pkl")
    words = r"particles.mrcs lists 6 particles, but .*poses.pkl has 7 rows"
    with pytest.raises(ShapeMismatchError, match=words):
        open_particles(ParticleFiles(particles=stack, poses=poses))
    ctf = write_pickle(ctf_array(5), "ctf.pkl")
    with pytest.raises(
        ShapeMismatchError, match=r"lists 6 particles, but .*ctf.pkl has 5 rows"
    ):
        open_particles(ParticleFiles(particles=stack, ctf=ctf))


def test_an_index_beyond_the_particles_is_refused(stack, write_pickle):
    for wrong in (6, -1):
        ind = write_pickle(np.array([0, wrong]), "ind.pkl")
        with pytest.raises(ShapeMismatchError, match=rf"ind.pkl holds index {wrong}, .*0 to 5"):
            open_particles(ParticleFiles(particles=stack, indices=ind))


def test_ctf_and_star_that_disagree_on_the_pixel_size_are_refused(star, write_pickle):
    ctf = write_pickle(ctf_array(box=BOX, pixel_size=1.5), "ctf.pkl")
    with pytest.raises(ConfigError, match=r"ctf.pkl gives 1.5 Å/px, but .*star gives 2 "):
        open_particles(ParticleFiles(particles=star, ctf=ctf))


def test_a_star_whose_stack_was_downsampled_is_refused(star, write_stack):
    write_stack(np.zeros((COUNT, 4, 4)))
    with pytest.raises(ShapeMismatchError, match=r"says that images have 8 pixels.*have 4"):
        open_particles(ParticleFiles(particles=star))


def test_a_stack_alone_has_no_poses_and_says_so_when_asked(stack):
    particles = open_particles(ParticleFiles(particles=stack))
    assert particles.images.poses is particles.images.ctf is None
    with pytest.raises(MetadataError, match=r"particles.mrcs holds no poses; give.*`poses`"):
        particles.images.require_poses()


def test_a_list_names_stacks_relative_to_itself(tmp_path, write_stack):
    write_stack(np.zeros((2, BOX, BOX)), "one.mrcs")
    write_stack(np.ones((3, BOX, BOX)), "two.mrcs")
    (tmp_path / "list.txt").write_text("one.mrcs\n\ntwo.mrcs\none.mrcs\n")
    images, pixel_size = open_stack(tmp_path / "list.txt")
    assert images.read(np.arange(7))[:, 0, 0].tolist() == [0, 0, 1, 1, 1, 0, 0]
    assert pixel_size == 2.0
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(InputFileError, match=r"list.txt names no stacks"):
        open_stack(tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.mrcs", "does not exist"),
        (".", "is a folder, expected a file"),
        ("x.png", "unknown ending"),
    ],
)
def test_unusable_particle_files_are_refused(tmp_path, name, words):
    (tmp_path / "x.png").write_text("x")
    with pytest.raises(InputFileError, match=words):
        open_particles(ParticleFiles(particles=tmp_path / name))


def test_a_tilt_pair_is_a_particle_with_two_images(stack, poses, write_stack, write_pickle):
    ind = write_pickle(np.array([4, 0]), "ind.pkl")
    files = ParticleFiles(particles=stack, poses=poses, indices=ind)
    first = open_particles(files).images
    values = 100 + np.arange(COUNT, dtype=np.float32)[:, None, None]
    other = write_stack(np.broadcast_to(values, (COUNT, BOX, BOX)), "tilted.mrcs")
    pairs = open_particles(replace(files, tilted=other, tilt_deg=30))
    assert len(pairs) == 2
    assert pairs.original_rows.tolist() == [4, 0]
    assert pairs.images.rows.tolist() == [4, 4, 0, 0]
    pixels = pairs.images.read(np.arange(4))[:, 0, 0]
    assert pixels[1::2].tolist() == [104, 100]
    np.testing.assert_array_equal(pixels[::2], first.read(np.arange(2))[:, 0, 0])
    np.testing.assert_array_equal(pairs.first_images.poses.rotations, first.poses.rotations)
    np.testing.assert_array_equal(pairs.images.poses.shifts, first.poses.shifts.repeat(2, 0))
    stage = rotation_about_x(np.pi / 6).numpy()
    tilted = pairs.images.poses.rotations[1::2]
    np.testing.assert_allclose(tilted, stage @ first.poses.rotations, atol=1e-6)
    short = write_stack(np.zeros((3, BOX, BOX)), "short.mrcs")
    with pytest.raises(ShapeMismatchError, match=r"short.mrcs has 3 images"):
        open_particles(replace(files, tilted=short))


def test_shifts_in_angstrom_without_any_pixel_size_are_refused(star, poses, write_pickle):
    star.write_text(star.read_text().replace("rlnImagePixelSize", "rlnUnknown"))
    assert (
        open_particles(ParticleFiles(particles=star)).images.pixel_sizes.tolist()
        == [2.0] * COUNT
    )
    stack = star.with_name("particles.mrcs")
    content = bytearray(stack.read_bytes())
    # The size of the cell in Å.
    content[40:52] = bytes(12)
    stack.write_bytes(content)
    with pytest.raises(MetadataError, match=r"not say the pixel size; write .*`pixel_size`"):
        open_particles(ParticleFiles(particles=star))
    ctf = write_pickle(ctf_array(box=2 * BOX, pixel_size=1.5), "ctf.pkl")
    particles = open_particles(ParticleFiles(particles=star, poses=poses, ctf=ctf))
    assert particles.images.pixel_sizes.tolist() == [3.0] * COUNT


def test_every_stack_of_a_list_has_the_pixel_size_of_its_header(tmp_path, write_stack):
    write_stack(np.zeros((1, BOX, BOX)), "one.mrcs", pixel_size=1.0)
    write_stack(np.ones((2, BOX, BOX)), "two.mrcs", pixel_size=3.0)
    (tmp_path / "list.txt").write_text("one.mrcs\ntwo.mrcs\n")
    particles = open_particles(ParticleFiles(particles=tmp_path / "list.txt"))
    assert particles.images.pixel_sizes_in_files.tolist() == [1.0, 3.0, 3.0]
    # They are prepared at the more frequent of the two.
    assert particles.images.pixel_sizes.tolist() == [3.0, 3.0, 3.0]
    assert particles.require_pixel_size() == 3.0


def test_doubles_are_said_in_the_log_once(star, write_pickle, caplog):
    doubles = write_pickle([4, 0, 4], "ind.pkl")
    particles = open_particles(ParticleFiles(particles=star, indices=doubles))
    assert particles.original_rows.tolist() == [4, 0, 4]
    assert caplog.text.count("ind.pkl selects some particles more than once") == 1
    assert "3 entries for 2 different particles" in caplog.text
    caplog.clear()
    open_particles(ParticleFiles(particles=star, indices=write_pickle([4, 0], "once.pkl")))
    assert "more than once" not in caplog.text


def test_cluster_labels_are_not_taken_for_row_numbers():
    labels = Selection(indices=np.arange(100) % 20, source="labels.pkl")
    with pytest.raises(ShapeMismatchError, match=r"only 20 different ones, as cluster labels"):
        labels.rows_of(100, "particles.star")
    assert len(labels.rows_of(101, "particles.star")) == 100
