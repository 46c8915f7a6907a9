import numpy as np
import pytest
import torch

from cryodrgn.data.batches import generator_at
from cryodrgn.data.prepared import Storage, prepare_all
from cryodrgn.data.preprocessing import Preprocessing
from cryodrgn.data.training_set import TrainingSet
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.geometry.rotations import rotation_about_x
from cryodrgn.io.particle_files import ParticleFiles, open_particles

CPU = torch.device("cpu")


@pytest.fixture
def particles(run, tmp_path):
    run("simulate", "-D", 16, "--Apix", 12, "-n", 9, "--num-states", 1, "-o", tmp_path / "sim")
    return open_particles(ParticleFiles(particles=tmp_path / "sim/particles.star"))


def training_set(particles, lattice, tmp_path, on_disk=False):
    images = prepare_all(
        particles,
        lattice,
        Preprocessing(),
        storage=Storage(scratch_dir=tmp_path, on_disk=on_disk),
    )
    return TrainingSet(particles, images, CPU)


def test_a_batch_holds_its_rows_in_the_order_asked_for(particles, tmp_path):
    whole = training_set(particles, HalfPlaneFrequencies.disc(16), tmp_path)
    all_rows = whole.batch(torch.arange(9))
    some = whole.batch(torch.tensor([7, 2, 2]))
    for name in ("images", "ctf", "coordinates"):
        torch.testing.assert_close(getattr(some, name), getattr(all_rows, name)[[7, 2, 2]])


def test_images_in_memory_and_on_disk_give_the_same_batches(particles, tmp_path):
    rows = torch.tensor([3, 1])
    in_memory, on_disk = (
        training_set(particles, HalfPlaneFrequencies.disc(16), tmp_path, kept).batch(rows)
        for kept in (False, True)
    )
    assert torch.equal(in_memory.images, on_disk.images)


def test_a_square_of_stored_values_is_compared_only_on_the_disc(particles, tmp_path):
    rows = torch.tensor([0, 4])
    disc = training_set(particles, HalfPlaneFrequencies.disc(16), tmp_path)
    square = training_set(particles, HalfPlaneFrequencies.square(16), tmp_path)
    a, b = disc.batch(rows), square.batch(rows)
    assert b.images.shape[1] > a.images.shape[1] == disc.num_points == square.num_points
    torch.testing.assert_close(a.targets(), b.targets())
    torch.testing.assert_close(a.compared_transfer(), b.compared_transfer())
    torch.testing.assert_close(a.coordinates, b.coordinates)


@pytest.mark.parametrize(
    "lattice", [HalfPlaneFrequencies.disc(16), HalfPlaneFrequencies.square(16)]
)
def test_images_are_compared_within_a_radius(particles, tmp_path, lattice):
    images = training_set(particles, lattice, tmp_path)
    rows = torch.tensor([0, 4])
    whole = images.batch(rows)
    inner = images.batch(rows, radius=4)
    kept = torch.linalg.vector_norm(whole.coordinates[0], dim=-1) * 16 < 4.01
    assert images.points_within(4) == kept.sum() < images.points_within(8) == images.num_points
    assert torch.equal(inner.images, whole.images)
    assert torch.equal(inner.targets(), whole.targets()[:, kept])
    assert torch.equal(inner.compared_transfer(), whole.compared_transfer()[:, kept])
    # Products of other sizes may round their last digits otherwise.
    torch.testing.assert_close(inner.coordinates, whole.coordinates[:, kept])
    beyond = images.batch(rows, radius=100)
    assert torch.equal(beyond.coordinates, whole.coordinates)


@pytest.mark.parametrize("shape", ["disc", "square"])
def test_inner_frequencies_of_magnified_images_are_read_where_those_of_all_are(
    particles, tmp_path, shape
):
    matrices = np.tile(np.float32([[1.04, 0.01], [0, 0.97]]), (9, 1, 1))
    lattice = getattr(HalfPlaneFrequencies, shape)(16)
    magnified = particles.with_images({"magnifications": matrices})
    images = training_set(magnified, lattice, tmp_path)
    whole, inner = images.batch(torch.arange(9)), images.batch(torch.arange(9), radius=4)
    kept = images.compared_points.norm(dim=-1) <= 4
    assert float(whole.coordinates.norm(dim=-1).max()) <= 0.5
    assert float(inner.coordinates.norm(dim=-1).max()) > 4.1 / 16
    torch.testing.assert_close(inner.coordinates, whole.coordinates[:, kept])


def test_phase_flipping_changes_the_sign_where_the_ctf_is_negative(particles, tmp_path):
    exposure = training_set(particles, HalfPlaneFrequencies.disc(16), tmp_path).batch(
        torch.arange(9)
    )
    expected = torch.where(exposure.ctf[..., None] < 0, -exposure.images, exposure.images)
    torch.testing.assert_close(exposure.phase_flipped().images, expected)


def test_the_second_image_of_a_tilt_pair_is_compared_with_the_tilted_slice(particles, tmp_path):
    stack = tmp_path / "sim/particles.mrcs"
    files = ParticleFiles(
        particles=tmp_path / "sim/particles.star", tilted=stack, tilt_deg=np.rad2deg(0.5)
    )
    both = training_set(open_particles(files), HalfPlaneFrequencies.disc(16), tmp_path)
    batch = both.batch(torch.tensor([3]))
    rotation = rotation_about_x(0.5) @ torch.from_numpy(particles.images.poses.rotations[3])
    expected = HalfPlaneFrequencies.disc(16).frequencies @ rotation[:2]
    torch.testing.assert_close(batch.coordinates[1], expected)
    assert torch.equal(batch.images[0], batch.images[1])


def test_generators_of_different_places_are_independent():
    places = [(0, 0), (0, 1), (1, 0), (0, 0, 0), (10, 1), (1, 10)]
    draws = [torch.randn(4, generator=generator_at(7, place)) for place in places]
    assert len({tuple(draw.tolist()) for draw in draws}) == len(places)
    np.testing.assert_array_equal(draws[2], torch.randn(4, generator=generator_at(7, (1, 0))))
