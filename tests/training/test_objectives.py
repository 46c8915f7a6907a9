from dataclasses import replace

import pytest
import torch

from cryodrgn import threads
from cryodrgn.data.prepared import Storage, prepare_all
from cryodrgn.data.preprocessing import Preprocessing
from cryodrgn.data.training_set import TrainingSet
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.imaging.image_rotation import rotate_in_plane
from cryodrgn.imaging.likelihood import kl_divergence, reconstruction_loss
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.models.build import build_model
from cryodrgn.models.model import sample_latent
from cryodrgn.models.settings import DecoderConfig, EncoderConfig, ModelConfig
from cryodrgn.training.objectives import VaeObjective
from cryodrgn.training.schedules import Equivariance, KlWeighting

NOISE = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def particles(run, tmp_path):
    run("simulate", "-D", 16, "--Apix", 12, "-n", 6, "--num-states", 2, "-o", tmp_path / "sim")
    particles = open_particles(ParticleFiles(particles=tmp_path / "sim/particles.star"))
    lattice = HalfPlaneFrequencies.disc(16)
    images = prepare_all(
        particles, lattice, Preprocessing(scale=16.0), storage=Storage(scratch_dir=tmp_path)
    )
    return TrainingSet(particles, images, torch.device("cpu"))


def objective(beta=3.0, equivariance=None) -> VaeObjective:
    config = ModelConfig(
        box_size=16,
        latent_dim=2,
        encoder=EncoderConfig(hidden_dim=12),
        decoder=DecoderConfig(hidden_dim=12),
    )
    return VaeObjective(
        build_model(config),
        KlWeighting(beta=beta),
        torch.float32,
        equivariance=equivariance,
        lattice=HalfPlaneFrequencies.disc(16),
    )


def test_gradients_are_the_same_bit_for_bit_with_any_number_of_threads(particles, monkeypatch):
    monkeypatch.setattr(threads, "most_threads", lambda: 3)
    found = []
    for count in (1, 2, 3):
        monkeypatch.setattr(threads, "useful_threads", lambda count=count: count)
        target = objective()
        parts = [particles.batch(rows) for rows in torch.arange(6).split(2)]
        found.append(target.gradients(parts, NOISE, 0, 6.0).of_parameters)
    for others in found[1:]:
        assert all(map(torch.equal, found[0], others))


def test_gradients_are_those_of_the_documented_loss(particles):
    target, batch = objective(beta=3.0), particles.batch(torch.arange(6))
    of_step = target.gradients([batch], NOISE, 0, 6.0)
    losses = of_step.losses

    plain = objective().model
    mean, log_variance = plain.encoder(batch.phase_flipped())
    latent = sample_latent(mean, log_variance, NOISE)
    predicted = plain.decoder(batch.coordinates, latent)
    reconstruction = reconstruction_loss(predicted, batch.images, batch.ctf)
    kl = kl_divergence(mean, log_variance)
    # P is the number of Hartley values within the mask: 196 at 16 px.
    total = reconstruction + 3.0 * kl / 196
    total.backward()
    torch.testing.assert_close(losses.total, total.detach())
    torch.testing.assert_close(losses.kl, kl.detach())
    for found, expected in zip(of_step.of_parameters, plain.parameters(), strict=True):
        torch.testing.assert_close(found, expected.grad, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_parts_of_a_batch_add_up_to_the_whole(particles, size):
    rows = torch.arange(6)
    whole, in_parts = objective(), objective()
    expected = whole.gradients([particles.batch(rows)], NOISE, 0, 6.0)
    parts = [particles.batch(part) for part in rows.split(size)]
    found = in_parts.gradients(parts, NOISE, 0, 6.0)
    torch.testing.assert_close(found.losses.total, expected.losses.total)
    for a, b in zip(found.of_parameters, expected.of_parameters, strict=True):
        torch.testing.assert_close(a, b, atol=1e-7, rtol=1e-4)


def test_latents_that_change_when_images_are_turned_cost_what_is_documented(particles):
    penalty = Equivariance(weight=2.0, start=100.0, end=200.0)
    batch = particles.batch(torch.arange(6))
    noise = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    before, half, full = (objective(equivariance=penalty) for _ in range(3))
    plain = objective()
    steps = [
        target.gradients([batch], noise[:, : target.noise_dim], seen, 6.0)
        for target, seen in ((plain, 0), (before, 100), (half, 150), (full, 1000))
    ]
    losses = [step.losses for step in steps]
    torch.testing.assert_close(losses[1].total, losses[0].total)

    view = batch.phase_flipped()
    angles = torch.atan2(noise[:, 3], noise[:, 2])
    turned = replace(view, images=rotate_in_plane(view.images, particles.lattice, angles))
    model = objective().model
    distance = model.encoder(view)[0] - model.encoder(turned)[0]
    expected = distance.square().sum(1).mean()
    assert float(expected.detach()) > 0
    torch.testing.assert_close(losses[2].total - losses[0].total, expected.detach())
    torch.testing.assert_close(losses[3].total - losses[0].total, 2 * expected.detach())
    expected.backward()
    for found, alone, of_penalty in zip(
        steps[2].of_parameters, steps[0].of_parameters, model.parameters(), strict=True
    ):
        own = torch.zeros_like(alone) if of_penalty.grad is None else of_penalty.grad
        torch.testing.assert_close(found - alone, own, atol=1e-6, rtol=1e-3)
