"""Comparison of finished runs by the likelihood of images that none of them was trained on.

Every model is judged by the same number, the lower bound of the log-likelihood of all images of
a particle that :mod:`cryodrgn.training.likelihood_bounds` describes, with the latents that its
run gave the particle as the distribution from which samples are drawn, as they are or with the
variances that they would have with the KL divergence of the evidence lower bound, whichever
makes the model better. A linear run leaves no particle out, which favours it where particles
are few (:meth:`.RunComparison.favoured`).
"""

import functools
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cryodrgn.data.batches import generator_at
from cryodrgn.data.prepared import Storage
from cryodrgn.data.training_set import TrainingSet
from cryodrgn.errors import ConfigError, InputFileError
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.half_grid import RfftVolumeGrid
from cryodrgn.imaging.linear_posterior import with_one
from cryodrgn.kernels.gridding import table_of_volumes
from cryodrgn.linear.latents import Latents, run_latents
from cryodrgn.models.linear_encoder import LinearEncoder
from cryodrgn.models.linear_network import padding_of, slices_of_sum
from cryodrgn.models.registry import sum_of_volumes
from cryodrgn.parallel import ALONE
from cryodrgn.particles.copies import mean_of_copies
from cryodrgn.particles.half_sets import rows_of
from cryodrgn.particles.optics import CORRECTIONS, CtfTable
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.progress import Progress
from cryodrgn.reconstruction.trained import TrainedModel, prepare_as_trained
from cryodrgn.runs.run import Run
from cryodrgn.training.held_out import choose_held_out
from cryodrgn.training.likelihood_bounds import (
    SAMPLES,
    STREAM,
    Candidate,
    Conditions,
    Decode,
    closed_posterior,
    conditions_of,
    highest,
    likelihood_bounds,
    untempered,
)
from cryodrgn.training.model_choice import FEWEST_PARTICLES, remedy_for_few
from cryodrgn.workflow.run_comparison import RunComparison

logger = logging.getLogger(__name__)


@torch.inference_mode()
def compare_runs(runs: Sequence[Run], device: torch.device, seed: int = 0) -> RunComparison:
    """Judge finished runs on the same images by particles kept out of training.

    Args:
        runs: Runs of ``train_vae`` and ``train_linear``.
        device: Where to compute.
        seed: Of the samples of latents.

    Raises:
        CryodrgnError: The runs are not of the same images, keep out no particles in common, or
            have latents without variances.
    """
    if len({run.path.resolve() for run in runs}) < max(2, len(runs)):
        msg = "give two or more different runs"
        raise ConfigError(msg)
    for run in runs:
        _require_latents(run)
    # Before weights and images are read.
    _require_held_out(runs)
    models = [_model_of(run, runs[0]) for run in runs]
    judged, sets = _judged(runs)
    for run, particles in zip(runs, sets, strict=True):
        _require_same_images(run, particles, runs[0], sets[0])
    rows = torch.arange(len(judged))
    prepared = [
        _prepared(run, trained, particles, judged, device)
        for run, trained, particles in zip(runs, models, sets, strict=True)
    ]
    # All models are judged under one noise, the least that one of them leaves of the images.
    left = [conditions_of(*pair, rows, ALONE) for pair in prepared]
    totals = [
        float(one.variances.sum()) * trained.scale**2
        for one, trained in zip(left, models, strict=True)
    ]
    least = int(np.nan_to_num(totals, nan=np.inf).argmin())
    logger.info("contrasts of images vary by %.2g; they are integrated out", left[least].spread)
    found = []
    for (candidate, images), trained, run in zip(prepared, models, runs, strict=True):
        variances = left[least].variances * (models[least].scale / trained.scale) ** 2
        conditions = replace(left[least], variances=variances)
        bounds = _bounds_of(run, trained, candidate, images, conditions, seed)
        of_copies = bounds.double().cpu().numpy()
        found.append(highest([mean_of_copies(one, sets[0].numbers) for one in of_copies]))
    return RunComparison(
        names=tuple(str(run.path) for run in runs),
        likelihoods=np.stack(found),
        epochs=tuple(_epochs_of(run) for run in runs),
    )


def _bounds_of(
    run: Run,
    trained: TrainedModel,
    candidate: Candidate,
    images: TrainingSet,
    conditions: Conditions,
    seed: int,
) -> Float[Tensor, "posteriors rows"]:
    """Bounds of a run with its latents as they are, and as if the images counted once.

    A network on a linear model has those of that model's closed form, too.

    Raises:
        ConfigError: The model predicts images that are not finite.
    """
    rows = torch.arange(len(candidate.posterior[0]))
    shape = SAMPLES, len(rows), run.latent_dim
    noise = torch.randn(shape, generator=generator_at(seed, (STREAM,))).to(images.device)
    likelihood = conditions.likelihood(images)
    posteriors = [candidate.posterior]
    if (times := _times_counted(run, images, conditions.variances)) != 1:
        posteriors.append(untempered(candidate.posterior, times))
    encoder = trained.model.encoder if trained.model.has_encoder else None
    if isinstance(encoder, LinearEncoder):
        own = encoder.stored_lattice(encoder.config, trained.config.box_size)
        # It takes the values of an image by their places.
        if torch.equal(own.points, images.lattice.points):
            told = closed_posterior(encoder.to(images.device).eval(), images, rows)
            posteriors.append(told)
    with Progress(len(posteriors) * len(rows), f"judging {run.path}", "particles") as progress:
        found = [
            likelihood_bounds(
                replace(candidate, posterior=told), images, rows, likelihood, noise, progress
            )
            for told in posteriors
        ]
    bounds = torch.stack(found)
    if not bool(bounds.isfinite().all()):
        msg = f"{run.path} predicts images that are not finite numbers; leave it out"
        raise ConfigError(msg)
    return bounds


def _require_latents(run: Run) -> None:
    """Refuse a run that is not finished, or has no latents.

    Raises:
        ConfigError: It is one.
    """
    if not run.files.weights().is_file():
        msg = (
            f"{run.path} is not finished, there is no {run.files.weights().name}; wait for it, "
            "or go on with train_vae `load` latest"
        )
        raise ConfigError(msg)
    if run.latent_dim == 0:
        msg = (
            f"{run.path} is a run of a single structure, without latents; only runs of "
            "train_vae and train_linear can be compared"
        )
        raise ConfigError(msg)


def _model_of(run: Run, first: Run) -> TrainedModel:
    """The model of a run, if it can be compared with the first one.

    Raises:
        ConfigError: It cannot.
    """
    trained, reference = run.model(), first.settings
    dataset, other = (
        settings.get("dataset_args", {}) for settings in (run.settings, reference)
    )
    for name, words in (("invert_data", "sign"), ("window", "window"), ("window_r", "window")):
        if dataset.get(name) != other.get(name):
            msg = (
                f"{run.path} and {first.path} were trained on images with another {words} "
                f"({name} {dataset.get(name)} and {other.get(name)}); train them alike"
            )
            raise ConfigError(msg)
    if run.box_size != first.box_size:
        msg = (
            f"{run.path} was trained on images of {run.box_size} px, {first.path} of "
            f"{first.box_size} px; give train_vae and train_linear the same `box_size`"
        )
        raise ConfigError(msg)
    training = _training_of(run)
    for name, is_there in (
        ("a focus mask (train_vae `focus_mask`)", bool(training.get("focus_mask"))),
        ("the curvature of the Ewald sphere (train_linear `ewald`)", trained.ewald != 0),
        ("an offset (train_vae `norm`)", trained.offset != 0),
        ("tilt pairs (train_vae `tilt`)", bool(dataset.get("particles_tilt"))),
    ):
        if is_there:
            msg = f"{run.path} was trained with {name}, and cannot be compared; leave it out"
            raise ConfigError(msg)
    return trained


def _times_counted(run: Run, images: TrainingSet, variances: Float[Tensor, " shells"]) -> float:
    """Number of times that the latents of a run count the images: 4 v Z / (β N).

    v is the mean variance of the noise of a real number, Z the dimension of the latent, and N
    the mean number of images of a particle (docs/methods.md). 1 for linear models, where a
    schedule or a control sets β, and where it is not recorded.
    """
    training = _training_of(run)
    kl = training.get("kl") or {}
    beta = kl.get("beta") if kl.get("control") is None else None
    if run.files.linear.covariances.exists() or not beta:
        return 1.0
    count = training.get("tilts_drawn") or images.images_per_particle
    return 4 * float(variances[images.shells].mean()) * run.latent_dim / (beta * count)


def _epochs_of(run: Run) -> int | None:
    number = _training_of(run).get("num_epochs")
    return None if number is None else int(number)


def _training_of(run: Run) -> dict:
    settings = run.settings.get("training", {}).get("settings")
    return settings.get("training") or {} if isinstance(settings, dict) else {}


def _held_out_of(run: Run) -> tuple[float, int] | None:
    """Share of the particles that a network kept out, and the seed that drew them."""
    training = _training_of(run)
    held_out = training.get("held_out")
    return None if held_out is None else (held_out["fraction"], training["seed"])


def _require_held_out(runs: Sequence[Run]) -> None:
    """Refuse networks that kept out no particles, and linear models alone.

    Raises:
        ConfigError: There are no particles by which they can be judged.
    """
    without = [run for run in runs if _held_out_of(run) is None]
    for run in without:
        if not run.files.linear.covariances.exists():
            msg = f"{run.path} kept no particles out of training; use train_vae `held_out` 0.05"
            raise ConfigError(msg)
    if len(without) == len(runs):
        names = " and ".join(str(run.path) for run in runs)
        msg = (
            f"{names} are linear models, which leave no particles out by which they could be "
            "judged; give a run of train_vae `held_out` 0.05 on the same particles, too"
        )
        raise ConfigError(msg)


def _judged(runs: Sequence[Run]) -> tuple[Int[np.ndarray, " judged"], list[ParticleSet]]:
    """Original rows of particles that no network was trained on, and these of every run.

    Raises:
        ConfigError: There are not enough.
    """
    sets = [run.particles() for run in runs]
    for run, particles in zip(runs, sets, strict=True):
        if particles.source != sets[0].source:
            msg = (
                f"{run.path} is of {particles.source}, {runs[0].path} of {sets[0].source}; "
                "give runs on the same file"
            )
            raise ConfigError(msg)
    rows = [_rows_to_judge(run, particles) for run, particles in zip(runs, sets, strict=True)]
    common = functools.reduce(np.intersect1d, rows)
    chosen = [
        particles.select(_places(run, common, len(particles)))
        for run, particles in zip(runs, sets, strict=True)
    ]
    count = chosen[0].num_different if len(common) else 0
    if count < FEWEST_PARTICLES:
        msg = (
            f"the runs keep {count} particles out of training in common, at least "
            f"{FEWEST_PARTICLES} are needed: {_why_few(runs, sets)}"
        )
        raise ConfigError(msg)
    return common, chosen


def _rows_to_judge(run: Run, particles: ParticleSet) -> Int[np.ndarray, " rows"]:
    """Original rows that a network was not trained on; all those of a linear model."""
    held_out, own = _held_out_of(run), run.original_rows(len(particles))
    if held_out is None:
        return np.sort(own)
    numbers = choose_held_out(particles.num_different, *held_out)
    return np.sort(own[rows_of(numbers.numpy(), particles.numbers)])


def _why_few(runs: Sequence[Run], sets: Sequence[ParticleSet]) -> str:
    """Reason for few held-out particles in common, and what to do, in words."""
    networks = [
        (run, particles, held_out)
        for run, particles in zip(runs, sets, strict=True)
        for held_out in [_held_out_of(run)]
        if held_out is not None
    ]
    for run, particles, (fraction, _) in networks:
        total = particles.num_different
        if round(fraction * total) < FEWEST_PARTICLES:
            few = f"{run.path} keeps out {round(fraction * total)} of its {total}"
            return f"{few}; {remedy_for_few(total)}"
    seeds = {seed for _, _, (_, seed) in networks}
    if len(seeds) > 1:
        drawn = ", ".join(f"{run.path} by {seed}" for run, _, (_, seed) in networks)
        return f"they were drawn by different seeds ({drawn}); give train_vae the same `seed`"
    counts = ", ".join(
        f"{run.path} has {len(particles)}" for run, particles in zip(runs, sets, strict=True)
    )
    return f"they are of different particles ({counts}); give train_vae the same `indices`"


def _places(
    run: Run, judged: Int[np.ndarray, " judged"], count: int
) -> Int[np.ndarray, " judged"]:
    """Rows of a run of so many particles that have some rows in the original file."""
    own = run.original_rows(count)
    order = np.argsort(own)
    return order[np.searchsorted(own, judged, sorter=order)]


def _require_same_images(
    run: Run, particles: ParticleSet, first: Run, others: ParticleSet
) -> None:
    """Refuse models of other numbers than the images of the first run.

    Raises:
        ConfigError: The images differ.
    """
    images, known = particles.images, others.images
    if not np.array_equal(images.rows, known.rows):
        found = f"{len(images)} and {len(known)} images of the same particles", "`num_tilts`"
    elif not np.allclose(images.side_lengths, known.side_lengths, rtol=1e-3):
        sides = f"{images.side_lengths[0]:.4g} and {known.side_lengths[0]:.4g} Å"
        found = f"images cut to sides of {sides}", "`field_box_size`"
    elif not np.array_equal(_are_multiplied(images.ctf), _are_multiplied(known.ctf)):
        found = "images that are divided by their CTF and others that are not", "`correction`"
    else:
        return
    msg = (
        f"{run.path} and {first.path} are of {found[0]}; give train_vae and train_linear the "
        f"same {found[1]}"
    )
    raise ConfigError(msg)


def _are_multiplied(ctf: CtfTable | None) -> bool | Bool[np.ndarray, " images"]:
    """The images that are divided by their CTF as they are prepared."""
    if ctf is None or ctf.correction is None:
        return False
    multiplied = ctf.correction == CORRECTIONS["multiplied"]
    return multiplied if multiplied.any() else False


def _prepared(
    run: Run,
    trained: TrainedModel,
    particles: ParticleSet,
    judged: Int[np.ndarray, " judged"],
    device: torch.device,
) -> tuple[Candidate, TrainingSet]:
    """A model with its latents, and the images with the poses that its run found."""
    refined = run.files.poses()
    if refined.is_file():
        logger.info("%s: images in the poses that the run refined", run.path)
        whole = run.particles(poses=refined)
        particles = whole.select(_places(run, judged, len(whole)))
    latents = run_latents(run.files)
    count = len(latents.mean)
    mean, log_variance = _posterior(latents.select(_places(run, judged, count)))
    images = prepare_as_trained(
        trained,
        particles,
        device,
        storage=Storage(scratch_dir=Path(tempfile.gettempdir())),
        lattice=HalfPlaneFrequencies.disc(trained.config.box_size),
    )
    posterior = mean.to(device), log_variance.to(device)
    return Candidate(decode=_decode_of(trained, device), posterior=posterior), images


def _decode_of(trained: TrainedModel, device: torch.device) -> Decode:
    """Slices of a model at points and latents."""
    decoder = trained.model.decoder.to(device).eval()
    volumes = sum_of_volumes(decoder)
    if volumes is None:
        return partial(decoder, dtype=torch.float32)
    # The exact sum over all voxels would take a thousand times as long.
    stored, side = volumes.get_buffer("volumes"), trained.config.box_size
    unit = 1.0 if decoder.is_normalised else trained.scale
    padding = padding_of(len(stored), side)
    grid = RfftVolumeGrid(padding * side)
    table = table_of_volumes(stored / unit, side // 2, padding)

    def decode(frequencies: Tensor, latent: Tensor) -> Tensor:
        return slices_of_sum(grid, table, frequencies, with_one(volumes.functions(latent)))

    return decode


def _posterior(latents: Latents) -> tuple[Float[Tensor, "rows z"], Float[Tensor, "rows z"]]:
    """Means and log-variances of independent normal distributions nearest to the latents'.

    Of a normal distribution of covariance C the nearest one (by the Kullback–Leibler
    divergence from it) without correlations has the variances 1 / (C⁻¹)_ii (Bishop 2006, 10.1).

    Raises:
        ConfigError: The latents have no covariances.
        InputFileError: Their covariances are not finite and positive.
    """
    if latents.covariances is None:
        msg = (
            f"{latents.source} has latents without variances; only runs of train_vae and "
            "train_linear can be compared"
        )
        raise ConfigError(msg)
    covariances = latents.covariances.astype(np.float64)
    if not (np.isfinite(covariances).all() and (np.linalg.det(covariances) > 0).all()):
        msg = (
            f"{latents.source} has variances of latents that are not finite and positive; "
            "leave this run out"
        )
        raise InputFileError(msg)
    log_variances = -np.log(np.einsum("nii->ni", np.linalg.inv(covariances)))
    return torch.from_numpy(latents.mean), torch.from_numpy(log_variances.astype(np.float32))
