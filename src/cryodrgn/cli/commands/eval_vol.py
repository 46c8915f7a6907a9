"""``cryodrgn eval_vol``, in the documentation of 0.2.0 also ``eval_decoder.py``."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.cli.network_options import add_config_overrides, load_trained
from cryodrgn.cli.options import (
    MRC_ENDINGS,
    add_device,
    add_multigpu,
    add_volume_processing,
    output_names,
    require_ending,
)
from cryodrgn.cli.processes import joined
from cryodrgn.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from cryodrgn.parallel import Team

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("weights", type=Path, help="Model weights (weights.pkl)")
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        metavar="PKL",
        help="Settings of the run, config.pkl or config.yaml (default: beside the weights)",
    )
    parser.add_argument(
        *output_names("mrc"),
        dest="output",
        type=Path,
        required=True,
        help="Output .mrc file, or folder for several volumes",
    )
    parser.add_argument(
        "--prefix",
        default="vol_",
        help="Prefix of the names of several volumes (default: %(default)s)",
    )
    parser.add_argument(
        "--vol-start-index",
        type=int,
        default=0,
        metavar="N",
        help="Number of the first of several volumes (default: %(default)s)",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="Say every z-value")
    _add_latents(parser.add_argument_group("Specify z values, in one of three ways"))
    group = parser.add_argument_group("Volume arguments")
    add_volume_processing(group)
    add_device(group)
    add_multigpu(group)
    add_config_overrides(parser)


def _add_latents(group: argparse._ArgumentGroup) -> None:
    group.add_argument("-z", type=float, nargs="*", help="One z-value")
    group.add_argument("--z-start", type=float, nargs="*", help="Start of a straight path")
    group.add_argument("--z-end", type=float, nargs="*", help="End of the path")
    group.add_argument(
        "-n", type=int, default=10, help="Volumes along the path (default: %(default)s)"
    )
    group.add_argument("--zfile", type=Path, help="Text file of z-values, one row per volume")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    with joined(args) as (team, device):
        _decode(args, device, team)


def _decode(args: argparse.Namespace, device: "torch.device", team: "Team") -> None:
    from cryodrgn.fourier.resample import check_new_box_size
    from cryodrgn.io.reference_map import geometry_like
    from cryodrgn.preflight.plans import volumes_plan
    from cryodrgn.reconstruction.decode import PostProcessing, help_to_write, write_volumes

    trained = load_trained(args)
    decoder = trained.volume_decoder(device)
    if not team.is_writer:
        help_to_write(decoder, team)
        return
    latents = _latents(args, decoder.latent_dim)
    paths = _paths(args, len(latents))
    box_size = args.downsample or decoder.box_size
    check_new_box_size(decoder.box_size, box_size)
    pixel_size = args.pixel_size or trained.pixel_size
    geometry = geometry_like(args.like, decoder.box_size, pixel_size)
    plan = volumes_plan(trained.config, len(latents), box_size, paths[0].parent, device)
    plan.announce("decoding")
    if args.verbose:
        for path, latent in zip(paths, latents.tolist(), strict=True):
            logger.info("%s: z = %s", path.name, " ".join(f"{value:g}" for value in latent))
    write_volumes(
        decoder,
        latents,
        paths,
        geometry=geometry,
        box_size=args.downsample,
        processing=PostProcessing(
            flip=args.flip, invert=args.invert, low_pass=args.low_pass, crop=args.crop
        ),
        team=team,
    )
    logger.info("wrote %d volumes to %s", len(paths), args.output)


def _latents(args: argparse.Namespace, latent_dim: int) -> "Tensor":
    """The z-values that the options name."""
    import torch

    from cryodrgn.io.latent_text import load_latent_text
    from cryodrgn.reconstruction.decode import straight_path

    path = args.z_start is not None or args.z_end is not None
    if (args.z is not None) + path + (args.zfile is not None) != 1:
        msg = "give z-values in one way: -z, or --z-start and --z-end, or --zfile"
        raise ConfigError(msg)
    if args.z is not None:
        return torch.tensor([args.z])
    if args.zfile is None:
        if not (args.z_start and args.z_end and len(args.z_start) == len(args.z_end)):
            msg = "--z-start and --z-end must both be given, with equally many numbers"
            raise ConfigError(msg)
        return straight_path(torch.tensor(args.z_start), torch.tensor(args.z_end), args.n)
    return torch.from_numpy(load_latent_text(args.zfile, latent_dim))


def _paths(args: argparse.Namespace, count: int) -> list[Path]:
    """One file for a single -z, numbered files in a folder otherwise."""
    if args.z is not None:
        require_ending(args.output, MRC_ENDINGS, "-o")
        return [args.output]
    if args.output.suffix in MRC_ENDINGS or args.output.is_file():
        msg = f"-o {args.output} must be a folder for several volumes"
        raise ConfigError(msg)
    numbers = range(args.vol_start_index, args.vol_start_index + count)
    return [args.output / f"{args.prefix}{number:03d}.mrc" for number in numbers]
