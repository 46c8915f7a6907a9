"""A training run from its settings to its files."""

import logging
import sys
import time
from datetime import timedelta

import torch

import cryodrgn
from cryodrgn.data.prepared import prepare_all
from cryodrgn.data.preprocessing import Preprocessing, estimate_scale
from cryodrgn.data.training_set import TrainingSet
from cryodrgn.devices import choose_network_dtype, describe_device
from cryodrgn.io.atomic import make_folder
from cryodrgn.io.checkpoints import save_checkpoint
from cryodrgn.io.legacy_pickle import save_latents
from cryodrgn.io.run_config import save_run_config
from cryodrgn.models.build import build_vae
from cryodrgn.models.vae import Vae
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.progress import Progress
from cryodrgn.reconstruction.encode import encode_all
from cryodrgn.rundir import RunDirectory
from cryodrgn.training.config import RunConfig
from cryodrgn.training.loop import RunningMean, Trainer
from cryodrgn.training.objectives import VaeObjective
from cryodrgn.training.run_log import MetricsFile, log_to_file

logger = logging.getLogger(__name__)


def train_vae(
    config: RunConfig, particles: ParticleSet, run: RunDirectory, device: torch.device
) -> None:
    """Train a variational auto-encoder on images with known poses.

    Args:
        config: Settings of the run.
        particles: The images, with poses.
        run: Folder for everything the run writes.
        device: Where to compute.

    Raises:
        CryodrgnError: The settings or the data cannot be used.
    """
    particles.require_poses()
    model = build_vae(config.model, config.training.seed).to(device)
    # Everything that a user's mistake can stop comes before the first file.
    training_set, norm = _training_set(config, particles, run, device)
    make_folder(run.path)
    with log_to_file(run.log):
        logger.info("%s", " ".join(sys.argv))
        logger.info("cryodrgn %s on %s", cryodrgn.__version__, describe_device(device))
        started = time.monotonic()
        dtype = _network_dtype(config, device)
        save_run_config(run, _record(config, particles, norm, dtype))
        logger.info("images are normalized by (x - %g) / %g", *norm)
        logger.info("%d parameters", sum(p.numel() for p in model.parameters()))
        _run_epochs(config, model, training_set, run, dtype)
        logger.info("finished in %s", _clock(time.monotonic() - started))


def _network_dtype(config: RunConfig, device: torch.device) -> torch.dtype:
    if config.training.precision != "auto":
        return getattr(torch, config.training.precision)
    dtype = choose_network_dtype(device)
    logger.info("matrix products in %s, which is the fastest here", str(dtype).split(".")[1])
    return dtype


def _training_set(
    config: RunConfig, particles: ParticleSet, run: RunDirectory, device: torch.device
) -> tuple[TrainingSet, tuple[float, float]]:
    """The images made ready, and the offset and scale that were used."""
    data = config.data
    lattice = config.model.encoder.stored_lattice(config.model.box_size)
    settings = Preprocessing(window_radius=data.window_radius, invert=data.invert)
    norm = data.norm or (0.0, estimate_scale(particles, lattice, settings))
    settings = Preprocessing(
        window_radius=data.window_radius, invert=data.invert, offset=norm[0], scale=norm[1]
    )
    prepared = prepare_all(particles, lattice, settings, scratch_dir=run.path)
    return TrainingSet(particles, [prepared], [torch.eye(3)], device), norm


def _record(
    config: RunConfig, particles: ParticleSet, norm: tuple[float, float], dtype: torch.dtype
) -> dict[str, object]:
    """The run's config file."""
    mapping = config.to_mapping(
        norm,
        pixel_size=float(particles.pixel_sizes[0]),
        num_particles=len(particles),
        network_dtype=str(dtype).split(".")[1],
    )
    return mapping | {"version": cryodrgn.__version__, "cmd": list(sys.argv)}


def _run_epochs(
    config: RunConfig,
    model: Vae,
    particles: TrainingSet,
    run: RunDirectory,
    dtype: torch.dtype,
) -> None:
    training = config.training
    optimizer = torch.optim.Adam(
        model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
    )
    objective = VaeObjective(model, beta=training.beta, dtype=dtype)
    metrics = MetricsFile(run.metrics)
    with Progress(training.num_epochs * len(particles), "training") as progress:
        trainer = Trainer(objective, optimizer, particles, training, metrics, progress)
        for epoch in range(training.num_epochs):
            started = time.monotonic()
            average = trainer.train_epoch(epoch)
            _log_epoch(epoch, average, time.monotonic() - started)
            if epoch % training.checkpoint_interval == 0:
                _save(run, epoch, epoch, model, optimizer, particles, dtype)
    _save(run, None, training.num_epochs - 1, model, optimizer, particles, dtype)


def _log_epoch(epoch: int, average: RunningMean, seconds: float) -> None:
    """The line that parsers of learning curves look for; it counts epochs from 1."""
    logger.info(
        "# =====> Epoch: %d Average gen loss = %.6f, KLD = %.6f, total loss = %.6f; "
        "Finished in %s",
        epoch + 1,
        average.reconstruction,
        average.kl,
        average.total,
        _clock(seconds),
    )


def _save(
    run: RunDirectory,
    number: int | None,
    epoch: int,
    model: Vae,
    optimizer: torch.optim.Optimizer,
    particles: TrainingSet,
    dtype: torch.dtype,
) -> None:
    """Latents first, so that weights never stand without them."""
    save_latents(run.latents(number), *encode_all(model, particles, dtype))
    save_checkpoint(
        run.weights(number),
        {
            "epoch": epoch,
            "model_state_dict": model.state_dict(),
            "optimizer_state_dict": optimizer.state_dict(),
        },
    )


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
