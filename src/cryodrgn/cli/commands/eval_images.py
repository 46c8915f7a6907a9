"""``cryodrgn eval_images``."""

import argparse
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.cli.ignored_flags import EVALUATION_FLAGS, add_ignored_flags
from cryodrgn.cli.network_options import add_config_overrides, load_trained
from cryodrgn.cli.options import (
    add_device,
    add_particles,
    add_pose_and_ctf,
    add_tilt,
    output_names,
    particle_files,
    require_ending,
)
from cryodrgn.cli.processes import joined
from cryodrgn.cli.training import add_dataset, window_radius
from cryodrgn.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from cryodrgn.parallel import Team
    from cryodrgn.particles.particle_set import ParticleSet
    from cryodrgn.preflight.screening import Screen
    from cryodrgn.reconstruction.encode import Evaluation
    from cryodrgn.reconstruction.trained import TrainedModel

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_particles(parser)
    parser.add_argument("weights", type=Path, help="Model weights (weights.pkl)")
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        metavar="PKL",
        help="Settings of the run, config.pkl or config.yaml (default: beside the weights)",
    )
    parser.add_argument(
        *output_names("pkl"),
        dest="output",
        type=Path,
        required=True,
        metavar="PKL",
        help="Output of latents and losses (.pkl)",
    )
    parser.add_argument(
        "--out-z",
        type=Path,
        metavar="PKL",
        help="Write the latents here, and the losses alone to -o",
    )
    add_pose_and_ctf(parser)
    parser.add_argument(
        "-b", "--batch-size", type=int, default=50, help="Minibatch size (default: %(default)s)"
    )
    parser.add_argument(
        "--beta", type=float, default=1.0, help="KLD weight (default: %(default)s)"
    )
    add_dataset(parser)
    add_tilt(parser)
    add_config_overrides(parser)
    add_device(parser)
    add_ignored_flags(parser, EVALUATION_FLAGS)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.io.particle_files import open_particles
    from cryodrgn.preflight.plan import require_output
    from cryodrgn.preflight.screening import on_sound_images, screen_particles
    from cryodrgn.rundir import ScreeningFiles

    require_ending(args.output, (".pkl",), "-o")
    if args.batch_size < 1:
        msg = f"-b must be at least 1, got {args.batch_size}"
        raise ConfigError(msg)
    trained = _with_data_options(load_trained(args), args)
    particles = open_particles(particle_files(args))
    particles.require_pixel_size()
    require_output(args.output.parent)

    def screened(how: "Screen") -> "ParticleSet":
        files = ScreeningFiles(args.output.parent)
        return screen_particles(particles, files, how)

    with joined(args) as (team, device):

        def work(particles: "ParticleSet") -> "Evaluation":
            return _evaluated(trained, particles, args, device, team)

        result = on_sound_images(screened, work, args.screen)
        if team.is_writer:
            _write(result, args)


def _write(result: "Evaluation", args: argparse.Namespace) -> None:
    """Latents and losses, in one file as 0.2.0 or in two as 4.x."""
    from cryodrgn.io.legacy_pickle import save_latents, save_pickles

    latents, count = [result.mean, result.log_variance], len(result.mean)
    if args.out_z is None:
        sums = [count * v for v in (result.loss, result.reconstruction, result.kl)]
        save_pickles(args.output, [*latents, sums])
    else:
        save_latents(args.out_z, *latents)
        losses = {"loss": result.loss, "recon": result.reconstruction, "kld": result.kl}
        save_pickles(args.output, [losses])
    logger.info(
        "%d images: reconstruction %.7f, KL %.7f, loss %.7f",
        count,
        result.reconstruction,
        result.kl,
        result.loss,
    )


def _evaluated(
    trained: "TrainedModel",
    particles: "ParticleSet",
    args: argparse.Namespace,
    device: "torch.device",
    team: "Team",
) -> "Evaluation":
    """Latents by the encoder, or by the linear model."""
    from cryodrgn.data.prepared import Storage
    from cryodrgn.linear.embed import evaluate_linear
    from cryodrgn.linear.iteration import DiscImages
    from cryodrgn.models.registry import sum_of_volumes
    from cryodrgn.preflight.plans import encoding_plan
    from cryodrgn.reconstruction.encode import evaluate_all
    from cryodrgn.reconstruction.trained import prepare_as_trained

    volumes = sum_of_volumes(trained.model.decoder)
    if volumes is None and not trained.model.has_encoder:
        msg = (
            f"{args.weights} holds no encoder; only runs of train_vae and train_linear can "
            "encode images"
        )
        raise ConfigError(msg)
    storage = Storage(scratch_dir=args.output.parent, on_disk=args.lazy or None)
    plan = encoding_plan(
        *(trained, particles, args.batch_size),
        *(args.output.parent, device, storage),
    )
    plan.announce("encoding")
    images = prepare_as_trained(
        trained,
        particles,
        device,
        storage=storage,
        team=team,
    )
    if volumes is not None:
        return evaluate_linear(
            volumes, particles, DiscImages(images, team), scale=trained.scale, beta=args.beta
        )
    model = trained.model.to(device)
    return evaluate_all(model, images, beta=args.beta, batch_size=args.batch_size, team=team)


def _with_data_options(trained: "TrainedModel", args: argparse.Namespace) -> "TrainedModel":
    """Images are treated as in training, unless the options say otherwise."""
    if args.invert_data or args.uninvert_data:
        trained = replace(trained, invert=args.invert_data)
    if args.window or args.no_window or args.window_r:
        trained = replace(trained, window_radius=window_radius(args))
    return trained
