"""Images are weighted by the noise that the network leaves unexplained."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from cryodrgn.cli.main import main
from cryodrgn.data.fixed_density import FixedDensity
from cryodrgn.data.prepared import Storage, prepare_all
from cryodrgn.data.preprocessing import Preprocessing
from cryodrgn.data.training_set import TrainingSet
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.imaging.likelihood import ContrastPrior, ImageLikelihood
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.mrc import stack_writer
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.models.build import build_model
from cryodrgn.models.settings import DecoderConfig, EncoderConfig, ModelConfig
from cryodrgn.parallel import ALONE
from cryodrgn.progress import Progress
from cryodrgn.training.likelihood_bounds import (
    Candidate,
    Conditions,
    conditions_of,
    likelihood_bounds,
)
from cryodrgn.training.noise_and_contrast import NoiseAndContrast
from cryodrgn.training.objectives import VaeObjective
from cryodrgn.training.schedules import KlWeighting
from cryodrgn.training.whole_step import StepInputs
from finished_run import SMALL_VAE, Finished

BOX, COUNT = 16, 1200
DRAWN = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    words = f"simulate -D {BOX} --Apix 12 -n {COUNT} --num-states 2 -o"
    assert main([*words.split(), str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def opened(simulated):
    return open_particles(ParticleFiles(particles=simulated / "particles.star"))


def prepared(particles, folder, *, lattice=None, window=None):
    images = prepare_all(
        particles,
        lattice or HalfPlaneFrequencies.disc(BOX),
        Preprocessing(scale=16.0, window_radius=window),
        storage=Storage(scratch_dir=folder),
    )
    return TrainingSet(particles, images, torch.device("cpu"))


@pytest.fixture
def images(opened, tmp_path):
    return prepared(opened, tmp_path)


def small_model(mask_radius=None):
    config = ModelConfig(
        box_size=BOX,
        latent_dim=2,
        encoder=EncoderConfig(hidden_dim=12, mask_radius=mask_radius),
        decoder=DecoderConfig(hidden_dim=12),
    )
    return build_model(config)


def along(images, particles, model=None):
    return NoiseAndContrast(images, particles, model or small_model(), None, torch.float32)


def gradients(model, images):
    target = VaeObjective(model, KlWeighting(), torch.float32)
    parts = [images.batch(part) for part in torch.arange(6).split(2)]
    return target.gradients(parts, DRAWN, 0, 6.0)


def test_the_likelihood_of_white_noise_is_the_plain_loss_bit_for_bit(images, opened):
    model = small_model()
    plain = gradients(model, images)
    noise = along(images, opened, model)
    for variance in (1.0, 1.0, 7.3):
        found = gradients(model, images)
        assert torch.equal(found.losses.total, plain.losses.total)
        for one, other in zip(found.of_parameters, plain.of_parameters, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)
        state = noise.state_dict()
        spectra = torch.full_like(state["spectra"], variance)
        noise.load_state_dict(state | {"spectra": spectra})
        noise.take(spectra)


def test_errors_are_weighted_by_the_inverse_variance_of_their_shell(images, opened):
    model = small_model()
    noise = along(images, opened, model)
    variances = 1 / (1 + torch.arange(BOX // 2 + 1.0))[None]
    noise.take(variances)
    found = gradients(model, images)

    batch = images.batch(torch.arange(6))
    mean, log_variance = model.encoder(batch.phase_flipped())
    latent = mean + DRAWN * (log_variance / 2).exp()
    predicted = model.decoder(batch.coordinates, latent) * batch.ctf[..., None]
    of_points = variances[0, images.shells]
    squares = (predicted - batch.images).square().sum(-1) / of_points * of_points.mean()
    loss = squares.mean()
    torch.testing.assert_close(found.losses.reconstruction, loss.detach())
    kl = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).mean()
    (loss + kl / (2 * images.num_points)).backward()
    for one, parameter in zip(found.of_parameters, model.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("radius", [None, 5])
@pytest.mark.parametrize("spread", [0.0, 0.2])
def test_the_whole_step_has_the_loss_of_the_step_in_parts(images, opened, radius, spread):
    model = small_model()
    noise = NoiseAndContrast(
        images, opened, model, None, torch.float32, with_contrast=spread > 0
    )
    noise.take(1 / (1 + torch.arange(BOX // 2 + 1.0))[None], spread)
    if spread:
        volume = torch.randn(BOX, BOX, BOX, generator=torch.Generator().manual_seed(0))
        images.show_beside(FixedDensity(volume / BOX, images.device))
    rows = torch.arange(6)
    target = VaeObjective(model, KlWeighting(), torch.float32)
    parts = [images.batch(part, radius=radius) for part in rows.split(2)]
    expected = target.gradients(parts, DRAWN, 0, 6.0)
    weights = torch.ones(images.num_points)
    if radius is not None:
        weights.zero_()[images.compared(radius)] = 1
    inputs = StepInputs(
        stored=images.stored(rows),
        frequencies=images.frequencies(),
        compared=images.compared(None),
        point_weights=weights,
        particle_weights=torch.ones(6),
        noise=DRAWN,
        numbers=torch.tensor([6.0, 1.0, 0.0]),
        turns=False,
    )
    found = target.whole_loss(inputs)
    torch.testing.assert_close(found[2].detach(), expected.losses.total)
    of_all = torch.autograd.grad(found[2], list(model.parameters()))
    for one, other in zip(of_all, expected.of_parameters, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_the_likelihood_is_that_of_a_gaussian_whose_contrast_is_integrated_out():
    generator = torch.Generator().manual_seed(0)
    predicted, observed = torch.randn(2, 3, 4, 2, generator=generator)
    variances = torch.rand(3, 4, generator=generator) + 0.5
    level, spread = variances.mean(), 0.3
    prior = ContrastPrior(variance=torch.tensor(spread**2), level=level)
    likelihood = ImageLikelihood(weights=level / variances, contrast=prior)
    found = likelihood.errors(predicted, observed) / level
    for image in range(3):
        h, y = predicted[image].flatten(), observed[image].flatten()
        noise = variances[image].repeat_interleave(2)
        gaussian = torch.distributions.MultivariateNormal(
            h, noise.diag() + spread**2 * h[:, None] * h
        )
        expected = -2 * gaussian.log_prob(y) - (2 * torch.pi * noise).log().sum()
        torch.testing.assert_close(found[image], expected, rtol=1e-4, atol=1e-4)
        # E[a | y] of jointly Gaussian a and y.
        covariance = noise.diag() + spread**2 * h[:, None] * h
        mean = 1 + spread**2 * h @ torch.linalg.solve(covariance, y - h)
        torch.testing.assert_close(likelihood.contrasts(predicted, observed)[image], mean)


def test_contrasts_that_do_not_vary_change_nothing():
    predicted, observed = torch.randn(2, 3, 4, 2)
    predicted.requires_grad_()
    prior = ContrastPrior(variance=torch.zeros(()), level=torch.ones(()))
    plain, found = ImageLikelihood(), ImageLikelihood(contrast=prior)
    torch.testing.assert_close(
        found.errors(predicted, observed), plain.errors(predicted, observed)
    )
    slopes = [
        torch.autograd.grad(one.errors(predicted, observed).sum(), predicted)[0]
        for one in (plain, found)
    ]
    torch.testing.assert_close(*slopes)


class TrueVolume(torch.nn.Module):
    """A decoder that knows the transform of a Gaussian blob, whatever the latent."""

    latent_dim = 2

    def __init__(self, amplitude):
        super().__init__()
        self.amplitude = amplitude

    def forward(self, points, latent, dtype):
        values = self.amplitude * torch.exp(-10 * points.square().sum(-1))
        return torch.stack([values, torch.zeros_like(values)], -1)


@pytest.mark.parametrize("is_white", [True, False])
def test_contrasts_and_their_spread_are_recovered(opened, tmp_path, is_white):
    images = prepared(opened, tmp_path)
    model = small_model()
    model.decoder = TrueVolume(3.0)
    noise = NoiseAndContrast(
        images, opened, model, None, torch.float32, is_white=is_white, with_contrast=True
    )
    generator = torch.Generator().manual_seed(0)
    truth = 1 + 0.2 * torch.randn(COUNT, generator=generator)
    latents = torch.zeros(2, COUNT, 2)
    batch = images.batch(torch.arange(COUNT))
    slices = model.decoder(batch.coordinates, None, torch.float32)
    clean = slices * batch.ctf[..., None] * truth[:, None, None]
    drawn = 0.7 * torch.randn(clean.shape, generator=generator)
    batch.images.copy_(clean + drawn)
    images._resident.copy_(clean + drawn)
    noise.write_contrasts(tmp_path / "contrast.npy")
    found = np.load(tmp_path / "contrast.npy")
    assert np.corrcoef(found, truth)[0, 1] > 0.8
    state = noise.state_dict()
    assert float(state["contrast_variance"]) ** 0.5 == pytest.approx(0.2, rel=0.1)
    assert float(state["level"]) == pytest.approx(0.49, rel=0.02)
    # Posterior means regress to 1 by what noise hides, no more.
    slope = np.polyfit(found, truth, 1)[0]
    assert slope == pytest.approx(1, abs=0.1)
    # Models are judged under the same noise and spread.
    judged = Candidate(
        decode=partial(model.decoder, dtype=torch.float32), posterior=(latents[0], latents[1])
    )
    conditions = conditions_of(judged, images, torch.arange(COUNT), ALONE)
    assert conditions.spread == pytest.approx(0.2, rel=0.1)
    torch.testing.assert_close(
        conditions.variances[1:], torch.full((BOX // 2,), 0.49), rtol=0.06, atol=0
    )


def test_models_are_judged_by_a_likelihood_with_contrasts_integrated_out(images):
    model, rows = small_model(), torch.arange(3)

    def decode(points, latent):
        return 20 * model.decoder(points, torch.zeros_like(latent))

    # The latent makes no difference, and its posterior is its prior: the bound is exact.
    judged = Candidate(decode=decode, posterior=(torch.zeros(3, 2), torch.zeros(3, 2)))
    variances = 1 / (1 + torch.arange(BOX // 2 + 1.0))
    likelihood = Conditions(variances=variances, spread=0.3).likelihood(images)
    drawn = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), Progress(3, "judging") as progress:
        found = likelihood_bounds(judged, images, rows, likelihood, drawn, progress)
        batch = images.batch(rows)
        slices = decode(batch.coordinates, torch.zeros(3, 2)) * batch.ctf[..., None]
    noise = variances[images.shells].repeat_interleave(2)
    for image in range(3):
        h, y = slices[image].flatten(), batch.images[image].flatten()
        gaussian = torch.distributions.MultivariateNormal(
            h, noise.diag() + 0.3**2 * h[:, None] * h
        )
        expected = gaussian.log_prob(y) + 0.5 * (2 * torch.pi * noise).log().sum()
        torch.testing.assert_close(found[image], expected, rtol=1e-4, atol=1e-3)


def test_the_spectrum_of_every_optics_group_is_recovered(opened, tmp_path):
    rng, falls = np.random.default_rng(0), (1.0, 3.0)
    axis = np.fft.fftfreq(BOX)
    radius = np.hypot(axis[:, None], axis[: BOX // 2 + 1]) / 0.5
    groups = np.arange(COUNT) % 2
    with stack_writer(tmp_path / "noise.mrcs", BOX, 12.0) as writer:
        for group in groups:
            spectrum = np.fft.rfft2(rng.normal(size=(BOX, BOX))) * falls[group] ** -radius
            writer.append(np.fft.irfft2(spectrum, s=(BOX, BOX)).astype(np.float32)[None])
    stack = ImageStack.whole_files([tmp_path / "noise.mrcs"])
    table = replace(opened.images, pixels=stack, optics_groups=groups)
    particles = replace(opened, images=table)
    images, model = prepared(particles, tmp_path), small_model()
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.zero_()
    noise = along(images, particles, model)
    noise.estimate()
    # A real number of an image's transform has the variance box² / 2, divided by the scale².
    shells = torch.arange(1, BOX // 2 + 1) / (BOX // 2)
    for group, fall in enumerate(falls):
        expected = 0.5 * fall ** (-2 * shells)
        torch.testing.assert_close(noise.noise.spectra[group, 1:], expected, rtol=0.06, atol=0)
    chosen = noise.likelihood(torch.tensor([0, 1])).weights
    assert chosen is not None
    spectra = noise.noise.spectra[:, images.shells]
    torch.testing.assert_close(chosen * spectra, spectra.mean().expand_as(chosen))


def test_stored_corners_that_are_never_compared_have_weights(opened, tmp_path):
    images = prepared(opened, tmp_path, lattice=HalfPlaneFrequencies.square(BOX))
    noise = along(images, opened, small_model(mask_radius=-1))
    noise.estimate()
    weights = noise.likelihood(torch.arange(3)).weights
    assert weights is not None
    assert weights.shape == (3, len(images.lattice))
    assert (weights > 0).all()
    compared = images.batch(torch.arange(3)).compared_likelihood().weights
    assert compared is not None
    assert compared.shape[1] == images.num_points


def test_a_run_with_a_spectrum_begins_as_a_plain_one_and_weighs_from_the_second_epoch(
    simulated, tmp_path
):
    runs = {}
    for model in ("white", "radial"):
        words = ("--zdim", 2, "-n", 2, "-b", 32, *SMALL_VAE, "--precision", "float32")
        line = ("train_vae", simulated / "particles.star", *words, "--noise-model", model)
        assert main([str(word) for word in (*line, "-o", tmp_path / model)]) == 0
        runs[model] = Finished(tmp_path / model)
    first = [run.weights(0) for run in runs.values()]
    assert all(torch.equal(first[0][name], first[1][name]) for name in first[0])
    last = [run.weights() for run in runs.values()]
    assert any(not torch.equal(last[0][name], last[1][name]) for name in last[0])
    assert "noise: amplitude" in runs["radial"].log
    assert "noise: amplitude" not in runs["white"].log
