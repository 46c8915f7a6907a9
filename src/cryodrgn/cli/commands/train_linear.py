"""``cryodrgn train_linear``."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.cli.options import add_device, add_particles, add_pose_and_ctf, add_tilt
from cryodrgn.cli.processes import joined
from cryodrgn.cli.training import add_dataset, add_storage, data_config

if TYPE_CHECKING:
    from cryodrgn.particles.particle_set import ParticleSet
    from cryodrgn.preflight.screening import Screen
    from cryodrgn.training.config import DataConfig

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_particles(parser)
    parser.add_argument(
        "-o", "--outdir", type=Path, required=True, help="Output directory of the run"
    )
    add_pose_and_ctf(parser)
    parser.add_argument(
        "--overwrite", action="store_true", help="Replace the run that OUTDIR holds"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="Random seed (default: %(default)s)"
    )
    add_dataset(parser)
    add_storage(parser)
    add_tilt(parser)
    group = parser.add_argument_group("Linear model")
    group.add_argument(
        "--components",
        type=int,
        default=8,
        metavar="K",
        help="Components to look for; those that do not stand out from noise are dropped "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--radius",
        type=int,
        default=16,
        metavar="R",
        help="Use the images up to this radius in Fourier pixels to find the latent "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--fit-images",
        type=int,
        default=50_000,
        metavar="N",
        help="Fit the model to at most so many images and embed the rest "
        "(default: %(default)s)",
    )
    group.add_argument("--contrast", action="store_true", help="Fit a contrast for every image")
    group.add_argument(
        "--refine-poses",
        type=int,
        nargs="?",
        const=4,
        default=0,
        metavar="ROUNDS",
        help="Correct poses that are off by a few degrees and pixels, and fit the model anew, "
        "as often as half maps agree better for it, at most ROUNDS times (default: keep poses; "
        "without a number: 4)",
    )
    _add_masks(group)
    add_device(group)


def _add_masks(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--mask", type=Path, metavar="MRC", help="Solvent mask (default: found by itself)"
    )
    group.add_argument(
        "--focus-mask",
        type=Path,
        metavar="MRC",
        help="Look for heterogeneity within this mask only",
    )


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from dataclasses import replace

    from cryodrgn.linear.config import LinearConfig
    from cryodrgn.linear.runner import train_linear
    from cryodrgn.preflight.plan import require_output
    from cryodrgn.preflight.plans import linear_plan
    from cryodrgn.preflight.screening import on_sound_images, screen_data
    from cryodrgn.rundir import RunDirectory, ScreeningFiles

    args.norm = None
    config = LinearConfig(
        data=data_config(args),
        num_components=args.components,
        fit_images=args.fit_images,
        radius=args.radius,
        with_contrast=args.contrast,
        pose_rounds=args.refine_poses,
        mask=args.mask,
        focus_mask=args.focus_mask,
        seed=args.seed,
        on_disk=args.lazy or None,
        memory_gb=args.memory,
        cache_dir=args.cache_dir,
    )
    particles = config.data.open()
    directory = RunDirectory(args.outdir)
    require_output(args.outdir)

    def screened(how: "Screen") -> "tuple[DataConfig, ParticleSet]":
        return screen_data(config.data, particles, ScreeningFiles(args.outdir), how)

    with joined(args) as (team, device):

        def work(chosen: "tuple[DataConfig, ParticleSet]") -> None:
            data, particles = chosen
            settings = replace(config, data=data)
            linear_plan(settings, particles, args.outdir, device).announce("the fit")
            train_linear(
                settings, particles, directory, device, overwrite=args.overwrite, team=team
            )

        on_sound_images(screened, work, args.screen)
    logger.info("wrote the run to %s", args.outdir)
