"""``cryodrgn_utils write_star``."""

import argparse
import logging

from cryodrgn.cli.options import (
    add_datadir,
    add_particles,
    add_pose_and_ctf,
    particle_files,
    require_ending,
)
from cryodrgn.cli.tool_options import add_indices, add_output

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_particles(parser)
    add_pose_and_ctf(parser)
    add_indices(parser, required=False)
    add_datadir(parser)
    parser.add_argument(
        "--full-path", action="store_true", help="Write the absolute paths of stacks"
    )
    parser.add_argument(
        "--relion30", action="store_true", help="Write the layout of RELION 3.0, without optics"
    )
    add_output(parser, "Output (.star)", kind="star")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.io.particle_files import open_images, open_metadata, open_particles
    from cryodrgn.io.relion_write import write_particle_star

    require_ending(args.output, (".star",), "-o")
    particles = open_particles(particle_files(args))
    images = open_images(args.particles, open_metadata(args.particles), args.datadir)
    names = images.select(particles.original_rows).names(
        None if args.full_path else args.output.parent
    )
    if particles.images.ctf is None:
        logger.warning(
            "%s has no CTF parameters, and neither has %s; give them with --ctf",
            args.output,
            args.particles,
        )
    if particles.images.poses is None:
        logger.info("no poses are written; give them with --poses")
    write_particle_star(
        args.output,
        names,
        box_size=particles.box_size,
        pixel_sizes=particles.images.pixel_sizes,
        poses=particles.images.poses,
        ctf=particles.images.ctf,
        relion30=args.relion30,
    )
    logger.info("wrote %d particles to %s", len(particles), args.output)
