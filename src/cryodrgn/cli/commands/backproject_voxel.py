"""``cryodrgn backproject_voxel``."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.cli.ignored_flags import BACKPROJECTION_FLAGS, add_ignored_flags
from cryodrgn.cli.options import (
    add_datadir,
    add_device,
    add_like,
    add_particles,
    add_pose_and_ctf,
    add_screen,
    add_tilt,
    inverts_data,
    particle_files,
)
from cryodrgn.cli.processes import joined
from cryodrgn.errors import MissingDependencyError

if TYPE_CHECKING:
    from cryodrgn.io.map_geometry import MapGeometry
    from cryodrgn.particles.particle_set import ParticleSet
    from cryodrgn.preflight.screening import Screen
    from cryodrgn.reconstruction.backproject import Reconstruction
    from cryodrgn.rundir import ReconstructionFiles

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_particles(parser)
    add_pose_and_ctf(parser)
    parser.add_argument(
        "-o",
        "--outdir",
        dest="output",
        type=Path,
        required=True,
        metavar="MRC",
        help="Output volume (.mrc), with half maps and FSC written beside it; or a folder for "
        "all of them",
    )
    group = parser.add_argument_group("Dataset loading")
    sign = group.add_mutually_exclusive_group()
    sign.add_argument("--invert-data", action="store_true", help="Invert data sign")
    sign.add_argument(
        "--uninvert-data", action="store_true", help="Do not invert data sign (the default)"
    )
    add_datadir(group)
    group.add_argument("--ind", type=Path, help="Use only these particles (.pkl, .npy or .txt)")
    add_screen(group)
    group.add_argument(
        "--first",
        type=int,
        default=10000,
        metavar="N",
        help="Backproject the first N images (default: %(default)s, or all of --ind)",
    )
    add_tilt(parser)
    group = parser.add_argument_group("Reconstruction")
    group.add_argument(
        "--ctf-alg",
        choices=("mul", "flip"),
        default="mul",
        help="Weight images by their CTF, or only flip phases (default: %(default)s)",
    )
    add_like(group)
    group.add_argument("--no-half-maps", action="store_true", help="Write no half maps")
    group.add_argument("--no-fsc-vals", action="store_true", help="Write no FSC")
    add_device(group)
    add_ignored_flags(parser, BACKPROJECTION_FLAGS)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.data.preprocessing import Preprocessing
    from cryodrgn.imaging.masks import WINDOW_INNER_RADIUS
    from cryodrgn.io.particle_files import open_particles
    from cryodrgn.io.reference_map import geometry_like
    from cryodrgn.preflight.plan import require_output
    from cryodrgn.preflight.plans import backprojection_plan
    from cryodrgn.preflight.screening import on_sound_images, screen_particles
    from cryodrgn.reconstruction.backproject import backproject
    from cryodrgn.rundir import ReconstructionFiles, ScreeningFiles

    files = ReconstructionFiles.named(args.output)
    particles = _chosen(open_particles(particle_files(args)), args)
    particles.images.require_poses()
    pixel_size = particles.require_pixel_size()
    geometry = geometry_like(args.like, particles.box_size, pixel_size)
    require_output(files.volume.parent)

    def screened(how: "Screen") -> "ParticleSet":
        screening = ScreeningFiles(files.volume.parent)
        return screen_particles(particles, screening, how)

    with joined(args) as (team, device):

        def work(particles: "ParticleSet") -> "Reconstruction":
            plan = backprojection_plan(particles, files.volume.parent, device)
            plan.announce("backprojection")
            return backproject(
                particles,
                Preprocessing(window_radius=WINDOW_INNER_RADIUS, invert=inverts_data(args)),
                ctf_correction="flip" if args.ctf_alg == "flip" else "multiply",
                device=device,
                team=team,
            )

        reconstruction = on_sound_images(screened, work, args.screen)
    if team.is_writer:
        _write(reconstruction, files, args, geometry)


def _chosen(particles: "ParticleSet", args: argparse.Namespace) -> "ParticleSet":
    """The first images, unless the user chose others."""
    import numpy as np

    if args.ind is not None:
        return particles
    return particles.select(np.arange(min(max(args.first, 0), len(particles))))


def _write(
    reconstruction: "Reconstruction",
    files: "ReconstructionFiles",
    args: argparse.Namespace,
    geometry: "MapGeometry",
) -> None:
    """Write the volume, and of half maps and FSC what the options do not forbid."""
    from cryodrgn.io.curves import write_fsc
    from cryodrgn.io.mrc import write_volume
    from cryodrgn.reconstruction.backproject import save_reconstruction
    from cryodrgn.reconstruction.map_agreement import describe_resolution

    pixel_size = geometry.pixel_size or 1.0
    if args.no_half_maps or args.no_fsc_vals:
        if not args.no_half_maps:
            halves = (files.half_map_a, files.half_map_b)
            for path, half in zip(halves, reconstruction.half_maps, strict=True):
                write_volume(path, half.numpy(), geometry)
        if not args.no_fsc_vals:
            write_fsc(files.fsc_text, reconstruction.fsc)
            describe_resolution(reconstruction.fsc, pixel_size)
        write_volume(files.volume, reconstruction.volume.numpy(), geometry)
        logger.info("wrote %s", files.volume)
    else:
        save_reconstruction(reconstruction, files, geometry)
    if not args.no_fsc_vals:
        _draw(reconstruction, files, pixel_size)


def _draw(
    reconstruction: "Reconstruction", files: "ReconstructionFiles", pixel_size: float
) -> None:
    """Plot the FSC, where there is a library to plot with."""
    try:
        from cryodrgn.analysis.plots import plot_fsc, save_figure
    except MissingDependencyError as error:
        logger.warning("the FSC was not plotted: %s", error)
        return
    save_figure(plot_fsc({"half maps": reconstruction.fsc}, pixel_size), files.fsc_plot)
