"""``cryodrgn train_vae``."""

import argparse
from pathlib import Path

from cryodrgn.cli.options import (
    add_datadir,
    add_decoder_architecture,
    add_device,
    add_encoder_architecture,
    add_particles,
    add_pose_and_ctf,
    model_config,
    particle_files,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_particles(parser)
    parser.add_argument(
        "-o", "--outdir", type=Path, required=True, help="Output directory to save model"
    )
    parser.add_argument("--zdim", type=int, required=True, help="Dimension of latent variable")
    add_pose_and_ctf(parser)
    parser.add_argument(
        "--checkpoint",
        type=int,
        default=1,
        help="Checkpointing interval in N_EPOCHS (default: %(default)s)",
    )
    parser.add_argument(
        "--log-interval",
        type=int,
        default=1000,
        help="Logging interval in N_IMGS (default: %(default)s)",
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="Log every interval, not only every epoch"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="Random seed (default: %(default)s)"
    )
    _add_data(parser.add_argument_group("Dataset loading"))
    _add_training(parser.add_argument_group("Training parameters"))
    add_encoder_architecture(parser.add_argument_group("Encoder Network"))
    add_decoder_architecture(parser.add_argument_group("Decoder Network"))


def _add_data(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--invert-data", action="store_true", help="Invert data sign")
    group.add_argument("--window", action="store_true", help="Real space windowing of dataset")
    group.add_argument("--ind", type=Path, help="Filter particle stack by these indices")
    add_datadir(group)


def _add_training(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-n",
        "--num-epochs",
        type=int,
        default=20,
        help="Number of training epochs (default: %(default)s)",
    )
    group.add_argument(
        "-b", "--batch-size", type=int, default=8, help="Minibatch size (default: %(default)s)"
    )
    group.add_argument(
        "--wd",
        type=float,
        default=0.0,
        help="Weight decay in Adam optimizer (default: %(default)s)",
    )
    group.add_argument(
        "--lr",
        type=float,
        default=1e-4,
        help="Learning rate in Adam optimizer (default: %(default)s)",
    )
    group.add_argument(
        "--beta", type=float, default=1.0, help="Constant for KLD weight (default: %(default)s)"
    )
    group.add_argument(
        "--norm",
        type=float,
        nargs=2,
        help="Data normalization as shift, 1/scale (default: 0, std of dataset)",
    )
    group.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="Number type of the matrix products (default: %(default)s, whichever is measured "
        "to be faster)",
    )
    add_device(group)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    import logging

    from cryodrgn.devices import choose_device
    from cryodrgn.imaging.masks import WINDOW_INNER_RADIUS
    from cryodrgn.io.particle_files import open_particles
    from cryodrgn.rundir import RunDirectory
    from cryodrgn.training.config import DataConfig, RunConfig, TrainConfig
    from cryodrgn.training.runner import train_vae

    if args.verbose:
        logging.getLogger("cryodrgn").setLevel(logging.DEBUG)
    training = TrainConfig(
        num_epochs=args.num_epochs,
        batch_size=args.batch_size,
        learning_rate=args.lr,
        weight_decay=args.wd,
        beta=args.beta,
        checkpoint_interval=args.checkpoint,
        log_interval=args.log_interval,
        seed=args.seed,
        precision=args.precision,
    )
    data = DataConfig(
        files=particle_files(args),
        window_radius=WINDOW_INNER_RADIUS if args.window else None,
        invert=args.invert_data,
        norm=None if args.norm is None else tuple(args.norm),
    )
    particles = open_particles(data.files)
    config = RunConfig(
        data=data, model=model_config(args, particles.box_size), training=training
    )
    train_vae(config, particles, RunDirectory(args.outdir), choose_device(args.device))
