"""Particles shown by several images: what is asked of them is what the formulas say.

An image that is copied says what it said before, as often as there are copies.
"""

import numpy as np
import pytest
import torch

from cryodrgn.data.noise import initial_noise
from cryodrgn.data.prepared import Storage
from cryodrgn.data.preprocessing import Preprocessing, estimate_scale
from cryodrgn.data.training_set import build_training_set
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.shifts import shift_transform
from cryodrgn.geometry.rotations import random_rotations
from cryodrgn.imaging.linear_posterior import posterior_of
from cryodrgn.imaging.masks import WINDOW_INNER_RADIUS
from cryodrgn.imaging.noise import ResidualPower
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.linear.embed import embed, subspace_of
from cryodrgn.linear.expectation import Expectation
from cryodrgn.linear.iteration import DiscImages, add_batch, new_sums, run_pass
from cryodrgn.models.build import ModelConfig, build_model
from cryodrgn.models.decoders import DecoderConfig
from cryodrgn.models.encoders import EncoderConfig
from cryodrgn.particles.optics_groups import optics_groups
from cryodrgn.reconstruction.backproject import backproject
from cryodrgn.reconstruction.encode import evaluate_all
from cryodrgn.simulation.simulate import SimulationSettings, simulate
from cryodrgn.simulation.states import hinge_states
from cryodrgn.training.held_out import image_powers, shell_errors
from cryodrgn.training.objectives import VaeObjective
from cryodrgn.training.options import PoseConfig
from cryodrgn.training.pose_table import PoseTable
from cryodrgn.training.schedules import KlWeighting
from several_images import repeated

BOX, COUNT = 16, 12
CPU = torch.device("cpu")
COUNTS = [1, 3, 2, 1, 4, 2, 1, 1, 2, 5, 1, 3]
ROWS = torch.tensor([4, 0, 9, 1])


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    settings = SimulationSettings(num_images=COUNT, pixel_size=12.0, snr=1.0)
    states = hinge_states(2, 90.0, BOX, 12.0).volumes
    files = simulate(states, settings, tmp_path_factory.mktemp("simulated"))
    return open_particles(ParticleFiles(particles=files.star))


@pytest.fixture(scope="module")
def twice(single):
    return repeated(single, [2] * COUNT)


@pytest.fixture(scope="module")
def unequal(single):
    return repeated(single, COUNTS)


def prepared(particles, folder, *, by_radius=False, **options):
    lattice = HalfPlaneFrequencies.disc(BOX)
    lattice = lattice.by_radius() if by_radius else lattice
    storage = Storage(scratch_dir=folder, on_disk=options.pop("on_disk", None))
    settings = Preprocessing(scale=16.0)
    return build_training_set(particles, lattice, settings, CPU, storage=storage, **options)


def model(mode="resid"):
    return build_model(
        ModelConfig(
            box_size=BOX,
            latent_dim=2,
            encoder=EncoderConfig(mode=mode, hidden_dim=12),
            decoder=DecoderConfig(hidden_dim=12),
        )
    )


def turned_pairs(single):
    """Two images of every particle, of which the second is turned and displaced."""
    both = repeated(single, [2] * COUNT)
    poses = both.images.require_poses()
    rotations, shifts = poses.rotations.copy(), poses.shifts.copy()
    turns = random_rotations(COUNT, torch.Generator().manual_seed(3)).numpy()
    rotations[1::2] = turns @ rotations[1::2]
    shifts[1::2] += np.arange(2 * COUNT, dtype=np.float32).reshape(COUNT, 2)
    moved = type(poses)(rotations=rotations, shifts=shifts, source="test")
    return both.with_images({"poses": moved})


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_batch_lists_images_particle_after_particle(single, unequal, tmp_path, on_disk):
    alone = prepared(single, tmp_path).batch(ROWS)
    batch = prepared(unequal, tmp_path, on_disk=on_disk).batch(ROWS)
    counts = [COUNTS[row] for row in ROWS.tolist()]
    owners = torch.repeat_interleave(torch.arange(4), torch.tensor(counts))
    assert len(batch) == 4
    assert batch.num_images == sum(counts)
    assert torch.equal(batch.particle_of_image, owners)
    for name in ("images", "ctf", "coordinates"):
        assert torch.equal(getattr(batch, name), getattr(alone, name)[owners])
    assert torch.equal(batch.phase_flipped().images, alone.phase_flipped().images[owners])


def test_an_epoch_read_from_disk_visits_every_particle_with_all_its_images(
    unequal, tmp_path, monkeypatch
):
    monkeypatch.setattr("cryodrgn.data.batches.BUFFER_BYTES", 8000)
    monkeypatch.setattr("cryodrgn.data.batches.BLOCK_BYTES", 4000)
    in_memory = prepared(unequal, tmp_path)
    on_disk = prepared(unequal, tmp_path, on_disk=True, held_out=torch.tensor([2, 9]))
    with on_disk.epoch(0, 0) as rows:
        assert sorted(rows.tolist()) == [i for i in range(COUNT) if i not in {2, 9}]
        for part in rows.split(3):
            assert torch.equal(on_disk.batch(part).images, in_memory.batch(part).images)


def test_poses_that_move_carry_all_images_of_their_particle_along(single, tmp_path):
    pairs = turned_pairs(single)
    table = PoseTable(
        pairs.first_images.require_poses(),
        pairs.first_images.side_lengths,
        PoseConfig(),
        CPU,
        of_several=True,
    )
    kept = prepared(pairs, tmp_path).batch(ROWS)
    moving = prepared(pairs, tmp_path, moving_poses=table).batch(ROWS)
    torch.testing.assert_close(moving.coordinates, kept.coordinates, atol=1e-5, rtol=0)
    torch.testing.assert_close(moving.images, kept.images, atol=1e-4, rtol=1e-4)


class Displaced:
    """Poses of first images, and one step of every particle."""

    def __init__(self, particles, step):
        self.rotations = torch.from_numpy(particles.first_images.require_poses().rotations)
        self.steps = self.rotations @ step

    def at(self, rows):
        return self.rotations[rows], self.steps[rows]


@pytest.mark.parametrize("matrix", [None, [[0.96, 0.02], [-0.01, 0.97]]])
def test_a_step_of_a_particle_is_seen_by_each_image_from_its_side(single, tmp_path, matrix):
    """Transforms of a displaced point are flat once the step against it is taken."""
    pairs, place = turned_pairs(single), torch.tensor([20.0, -35.0, 15.0])
    if matrix is not None:
        pairs = pairs.with_images({"magnifications": np.tile(np.float32(matrix), (24, 1, 1))})
    stored = [
        prepared(pairs, tmp_path, moving_poses=Displaced(pairs, step)).stored(ROWS)
        for step in (torch.zeros(3), -place)
    ]
    frequencies = HalfPlaneFrequencies.disc(BOX).frequencies
    absolute = frequencies / stored[0].pixel_sizes[:, None, None]
    points = stored[0].batch(frequencies, None).coordinates / stored[0].pixel_sizes[0]
    angles = -2 * torch.pi * points @ place
    waves = torch.stack([angles.cos(), angles.sin()], dim=-1)
    found = shift_transform(waves, absolute, stored[1].shifts - stored[0].shifts)
    flat = torch.zeros_like(found)
    flat[..., 0] = 1
    torch.testing.assert_close(found, flat, atol=1e-4, rtol=0)


def test_poses_of_all_images_are_those_that_batches_have(single, tmp_path):
    pairs = turned_pairs(single)
    table = Displaced(pairs, torch.tensor([20.0, -35.0, 15.0]))
    images = prepared(pairs, tmp_path, moving_poses=table, images_drawn=1)
    poses, stored = images.moved_poses(), images.stored(ROWS)
    rows = stored.image_rows.numpy()
    np.testing.assert_allclose(poses.rotations[rows], stored.rotations, atol=1e-6)
    np.testing.assert_allclose(poses.shifts[rows], stored.shifts, atol=1e-5)
    given = pairs.images.require_poses()
    seen = given.rotations @ np.float32([20, -35, 15])
    np.testing.assert_allclose(poses.shifts, given.shifts + seen[:, :2], atol=1e-3)


def test_copies_leave_loss_and_gradients_as_they_are(single, twice, tmp_path):
    noise = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    found = []
    for particles in (single, twice):
        target = VaeObjective(model(), KlWeighting(beta=3.0), torch.float32)
        images = prepared(particles, tmp_path)
        parts = [images.batch(part) for part in ROWS.split(2)]
        step = target.gradients(parts, noise, 0, 4.0)
        found.append((step.losses, step.of_parameters))
    (alone, expected), (copied, gradients) = found
    torch.testing.assert_close(copied.total, alone.total)
    torch.testing.assert_close(copied.kl, alone.kl)
    for a, b in zip(gradients, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_every_image_counts_the_same_in_the_loss(single, unequal, tmp_path):
    """The squared error is Σ over images, the KL divergence Σ over particles."""
    noise = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    target = VaeObjective(model(), KlWeighting(beta=3.0), torch.float32)
    parts = [prepared(unequal, tmp_path).batch(part) for part in ROWS.split(3)]
    losses = target.gradients(parts, noise, 0, 4.0).losses

    plain, batch = model(), prepared(single, tmp_path).batch(ROWS)
    mean, log_variance = plain.encoder(batch.phase_flipped())
    latent = mean + torch.exp(log_variance / 2) * noise
    predicted = plain.decoder(batch.coordinates, latent) * batch.ctf[..., None]
    errors = (predicted - batch.images).square().sum(-1).mean(-1)
    shares = torch.tensor([COUNTS[row] for row in ROWS.tolist()]) / np.mean(COUNTS)
    torch.testing.assert_close(losses.reconstruction, (shares * errors).mean().detach())


def test_particles_of_many_images_are_computed_in_pieces(unequal, tmp_path, monkeypatch):
    noise = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    parts = [prepared(unequal, tmp_path).batch(part) for part in ROWS.split(3)]
    found = []
    for rows_in_cache in (1, 10**9):
        monkeypatch.setattr("cryodrgn.training.objectives.ROWS_IN_CACHE", rows_in_cache)
        target = VaeObjective(model(), KlWeighting(beta=3.0), torch.float32)
        found.append(target.gradients(parts, noise, 0, 4.0))
    in_pieces, whole = found
    torch.testing.assert_close(in_pieces.losses.total, whole.losses.total)
    for a, b in zip(in_pieces.of_parameters, whole.of_parameters, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


class TestDrawnImages:
    """Some images of each particle, drawn anew for every epoch."""

    def visited(self, images, epoch, seed=0):
        with images.epoch(seed, epoch) as order:
            return {int(r): images.image_rows(torch.tensor([int(r)])).tolist() for r in order}

    @pytest.mark.parametrize("on_disk", [False, True])
    def test_an_epoch_visits_some_images_of_every_particle(self, unequal, tmp_path, on_disk):
        images = prepared(unequal, tmp_path, on_disk=on_disk, images_drawn=2)
        everything = prepared(unequal, tmp_path)
        with images.epoch(0, 0) as order:
            assert images.images_per_particle == np.minimum(COUNTS, 2).mean()
            batch = images.batch(order[:5])
            assert batch.grouping.num_images == len(batch.image_rows)
            rows = torch.cat([images.image_rows(order[i : i + 1]) for i in range(5)])
            assert torch.equal(batch.image_rows, rows)
            stored = torch.as_tensor(everything._prepared.read(rows.numpy()))
            assert torch.equal(batch.images, stored)
        for row, chosen in self.visited(images, 0).items():
            own = everything.image_rows(torch.tensor([row])).tolist()
            assert len(chosen) == min(COUNTS[row], 2)
            assert set(chosen) <= set(own)
            assert chosen == sorted(set(chosen))

    def test_they_differ_between_epochs_and_are_the_same_when_asked_again(
        self, unequal, tmp_path
    ):
        images = prepared(unequal, tmp_path, images_drawn=2)
        assert self.visited(images, 3) == self.visited(images, 3)
        assert self.visited(images, 3) != self.visited(images, 4)

    def test_outside_of_epochs_all_images_are_there(self, unequal, tmp_path):
        images = prepared(unequal, tmp_path, images_drawn=2)
        self.visited(images, 0)
        assert images.num_images(torch.arange(COUNT)) == sum(COUNTS)

    def test_all_images_are_drawn_equally_often(self, twice, tmp_path):
        images = prepared(twice, tmp_path, images_drawn=1)
        drawn = [row for e in range(200) for (row,) in self.visited(images, e).values()]
        counts = np.bincount(drawn, minlength=2 * COUNT)
        assert counts.sum() == 200 * COUNT
        # Five standard deviations of a fair coin tossed 200 times.
        assert np.abs(counts - 100).max() < 5 * np.sqrt(50)


def test_the_held_out_error_of_a_particle_is_the_mean_of_its_images(single, unequal, tmp_path):
    decoder, latents = model().decoder.eval(), torch.randn(4, 2)
    alone, several = prepared(single, tmp_path), prepared(unequal, tmp_path)
    expected = shell_errors(decoder, latents, alone, ROWS)
    torch.testing.assert_close(shell_errors(decoder, latents, several, ROWS), expected)
    torch.testing.assert_close(image_powers(several, ROWS), image_powers(alone, ROWS))


def test_copies_are_encoded_and_evaluated_alike(single, twice, tmp_path):
    alone, copied = (
        evaluate_all(model(), prepared(particles, tmp_path), beta=1.0, batch_size=5)
        for particles in (single, twice)
    )
    np.testing.assert_array_equal(copied.mean, alone.mean)
    assert copied.reconstruction == pytest.approx(alone.reconstruction, rel=1e-5)


def test_the_scale_is_that_of_the_first_images(single, unequal):
    lattice = HalfPlaneFrequencies.disc(BOX)
    settings = Preprocessing(window_radius=WINDOW_INNER_RADIUS)
    found = [estimate_scale(particles, lattice, settings) for particles in (single, unequal)]
    assert found[0] == found[1]


class TestLinear:
    """The E step and the sums of the M step."""

    RADIUS = 6

    def case(self, particles, folder):
        images = DiscImages(prepared(particles, folder, by_radius=True))
        generator = torch.Generator().manual_seed(1)
        subspace = subspace_of(10 * torch.randn(3, BOX, BOX, BOX, generator=generator), 6)
        noise = initial_noise(images.images, optics_groups(particles.images))
        return images, subspace, noise

    def test_the_noise_of_copies_is_that_of_the_images(self, single, twice, tmp_path):
        _, _, alone = self.case(single, tmp_path)
        _, _, copied = self.case(twice, tmp_path)
        torch.testing.assert_close(copied.spectra, alone.spectra)

    def test_copies_multiply_what_is_known_of_a_latent(self, single, unequal, tmp_path):
        images, subspace, noise = self.case(single, tmp_path)
        count = images.num_points(self.RADIUS)
        gram = Expectation(subspace, noise, count).gram(images.images.batch(ROWS, count), BOX)
        numbers = torch.tensor([COUNTS[row] for row in ROWS.tolist()])
        expected = posterior_of(numbers[:, None, None] * gram, 0.2)

        several, _, _ = self.case(unequal, tmp_path)
        groups = torch.zeros(len(unequal.images), dtype=torch.long)
        same = type(noise)(groups=groups, spectra=noise.spectra, shells=noise.shells)
        found, _ = embed(several, ROWS, subspace, same, 0.2)
        for name in ("mean", "covariance", "contrast", "contrast_square"):
            torch.testing.assert_close(
                getattr(found, name), getattr(expected, name), atol=1e-4, rtol=1e-3
            )

    def test_a_pass_over_pairs_of_copies_adds_everything_twice(self, single, twice, tmp_path):
        """Residuals are per image, so that the noise they make is that of one image."""
        images, subspace, noise = self.case(twice, tmp_path)
        residuals = ResidualPower(noise, images.num_points(self.RADIUS))
        rows = torch.arange(COUNT)
        found = run_pass(images, rows, subspace, noise, residuals)
        assert len(found.posterior.mean) == COUNT

        alone, _, _ = self.case(single, tmp_path)
        count = alone.num_points(self.RADIUS)
        sums = new_sums(alone, self.RADIUS, subspace.num_components + 1)
        groups = torch.zeros(COUNT, dtype=torch.long)
        plain = type(noise)(groups=groups, spectra=noise.spectra, shells=noise.shells)
        add_batch(
            sums,
            alone.images.batch(rows, count),
            plain.precision(rows, count),
            found.posterior.coefficients(),
            found.posterior.products(),
            BOX,
        )
        torch.testing.assert_close(found.sums.table(), 2 * sums.table(), atol=1e-3, rtol=1e-3)

    def test_weights_of_images_act_as_factors_of_their_ctf(self, single, tmp_path):
        weights = np.linspace(0.2, 1, COUNT, dtype=np.float32)
        images, subspace, noise = self.case(single, tmp_path)
        weighted, _, _ = self.case(single.with_images({"weights": weights}), tmp_path)
        count = images.num_points(self.RADIUS)
        expectation = Expectation(subspace, noise, count)
        rows = torch.arange(COUNT)
        plain = expectation.gram(images.images.batch(rows, count), BOX)
        found = expectation.gram(weighted.images.batch(rows, count), BOX)
        scale = torch.ones(COUNT, plain.shape[1])
        scale[:, :-1] = torch.from_numpy(weights)[:, None]
        expected = plain * scale[:, :, None] * scale[:, None]
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_maps_of_copies_are_those_of_the_images(single, twice):
    alone, copied = (backproject(particles, Preprocessing()) for particles in (single, twice))
    torch.testing.assert_close(copied.volume, alone.volume, atol=1e-5, rtol=1e-3)
    for found, expected in zip(copied.half_maps, alone.half_maps, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-3)
