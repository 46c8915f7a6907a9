"""``cryodrgn simulate``."""

import argparse
import logging
from pathlib import Path

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "models",
        nargs="*",
        type=Path,
        metavar="MODEL",
        help="One volume (.mrc) or atomic model (.pdb, .cif) per state; without any, a "
        "built-in molecule whose two domains open and close about a hinge",
    )
    parser.add_argument(
        "-o", "--outdir", type=Path, required=True, help="Folder to write the particle set into"
    )
    parser.add_argument(
        "-n",
        "--num-images",
        type=int,
        default=2000,
        help="Number of images (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="Random seed (default: %(default)s)"
    )
    group = parser.add_argument_group("Volumes")
    group.add_argument(
        "-D",
        dest="box_size",
        type=int,
        help="Box size in pixels (default: 64, or the volumes')",
    )
    group.add_argument(
        "--Apix",
        dest="pixel_size",
        type=float,
        help="Angstroms per pixel (default: 3, or the volumes')",
    )
    group.add_argument(
        "--resolution",
        type=float,
        help="Nominal resolution of atomic models in Å (default: twice the pixel size)",
    )
    group.add_argument(
        "--num-states",
        type=int,
        default=20,
        help="Number of hinge angles of the built-in molecule (default: %(default)s)",
    )
    group.add_argument(
        "--hinge-range",
        type=float,
        default=90.0,
        help="Range of the hinge angle in degrees (default: %(default)s)",
    )
    _add_imaging(parser.add_argument_group("Images"))


def _add_imaging(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--snr",
        type=float,
        default=0.1,
        help="Signal-to-noise ratio: variance of clean images over that of the noise "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--shift",
        type=float,
        default=3.0,
        help="Largest shift along x and y in pixels (default: %(default)s)",
    )
    group.add_argument("--no-ctf", action="store_true", help="Images without CTF")
    group.add_argument(
        "--defocus",
        type=float,
        nargs=2,
        default=(0.8, 2.5),
        metavar=("LOW", "HIGH"),
        help="Range of the defocus in µm underfocus (default: 0.8 2.5)",
    )
    group.add_argument(
        "--kv", type=float, default=300.0, help="Voltage in kV (default: %(default)s)"
    )
    group.add_argument(
        "--cs",
        type=float,
        default=2.7,
        help="Spherical aberration in mm (default: %(default)s)",
    )
    group.add_argument(
        "-w", type=float, default=0.1, help="Amplitude contrast (default: %(default)s)"
    )
    group.add_argument(
        "--b-factor", type=float, default=0.0, help="B factor in Å² (default: %(default)s)"
    )
    group.add_argument(
        "--white",
        action="store_true",
        help="Write particles white on black; they then need --invert-data",
    )
    group.add_argument("--float16", action="store_true", help="Write images in float16")
    group.add_argument(
        "--tilt-deg",
        type=float,
        metavar="DEG",
        help="Also write a second exposure of every particle, the stage turned by this angle "
        "about x",
    )


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.preflight.plans import simulation_plan
    from cryodrgn.simulation.simulate import SimulationSettings, simulate
    from cryodrgn.simulation.states import (
        VOLUMES,
        hinge_size,
        hinge_states,
        size_of_files,
        states_from_files,
    )

    if args.models:
        size = size_of_files(args.models, args.box_size, args.pixel_size)
    else:
        size = hinge_size(args.num_states, args.box_size or 64, args.pixel_size or 3.0)
    settings = SimulationSettings(
        num_images=args.num_images,
        pixel_size=size.pixel_size,
        snr=args.snr,
        shift_extent_px=args.shift,
        has_ctf=not args.no_ctf,
        defocus_range_um=tuple(args.defocus),
        voltage_kv=args.kv,
        spherical_aberration_mm=args.cs,
        amplitude_contrast=args.w,
        b_factor=args.b_factor,
        invert=args.white,
        half_precision=args.float16,
        tilt_deg=args.tilt_deg,
        seed=args.seed,
    )
    if args.resolution is not None and any(path.suffix in VOLUMES for path in args.models):
        logger.warning("--resolution has no effect: volumes are taken as they are")
    simulation_plan(size, settings, args.outdir).announce("the simulation")
    if args.models:
        states = states_from_files(args.models, args.box_size, args.pixel_size, args.resolution)
    else:
        states = hinge_states(
            *(size.count, args.hinge_range, size.box_size, size.pixel_size, args.resolution)
        )
    files = simulate(states.volumes, settings, args.outdir, states.description)
    logger.info(
        "wrote %d images of %d states (%d px of %g Å) to %s",
        args.num_images,
        len(states.volumes),
        size.box_size,
        size.pixel_size,
        files.star,
    )
