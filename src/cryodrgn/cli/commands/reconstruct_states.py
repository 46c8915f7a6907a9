"""``cryodrgn reconstruct_states``."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryodrgn.cli.options import add_device, add_like, add_pose_and_ctf
from cryodrgn.cli.processes import joined
from cryodrgn.cli.training import add_dataset, add_storage, data_config, window_radius
from cryodrgn.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from cryodrgn.io.map_geometry import MapGeometry
    from cryodrgn.linear.latents import Latents
    from cryodrgn.linear.state_files import StateSummary
    from cryodrgn.parallel import Team
    from cryodrgn.particles.particle_set import ParticleSet
    from cryodrgn.preflight.screening import Screen
    from cryodrgn.rundir import RunDirectory
    from cryodrgn.training.config import DataConfig

    # Images that have been screened, and their latents.
    _Chosen = tuple[DataConfig, ParticleSet, Latents]

logger = logging.getLogger(__name__)

INDEPENDENT_NOTE = "half maps: images and latents of each half are independent of the other's"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("workdir", type=Path, nargs="?", help="Folder of a run of any trainer")
    parser.add_argument(
        "epoch",
        type=int,
        nargs="?",
        help="Epoch of the latents (default: the last)",
    )
    parser.add_argument(
        "-o", "--outdir", type=Path, required=True, help="Folder for states and model"
    )
    group = parser.add_argument_group("Choose states, in one of three ways")
    group.add_argument("-z", type=float, nargs="+", help="One z-value")
    group.add_argument("--zfile", type=Path, help="Text file of z-values, one row per state")
    group.add_argument(
        "--num-states",
        type=int,
        default=10,
        metavar="N",
        help="Particles nearest to N k-means centres (default: %(default)s)",
    )
    group = parser.add_argument_group("Reconstruction")
    group.add_argument(
        "--method",
        choices=("basis", "kernel"),
        default="basis",
        help="Regress on smooth functions of z, or average the images near each state with a "
        "bandwidth for every shell (default: %(default)s)",
    )
    group.add_argument(
        "--functions",
        type=int,
        default=20,
        metavar="K",
        help="Number of smooth functions; 0 takes the coordinates of z (default: %(default)s)",
    )
    group.add_argument(
        "--mask", type=Path, metavar="MRC", help="Solvent mask (default: found by itself)"
    )
    add_like(group)
    group.add_argument("--seed", type=int, default=0, help="Random seed (default: %(default)s)")
    add_device(group)
    group = parser.add_argument_group("Latents or particles other than those of the run")
    group.add_argument("--latents", type=Path, help="Latents (z.pkl, or .npy)")
    group.add_argument("--particles", type=Path, help="Particles (.mrcs, .star, .cs, .txt)")
    add_pose_and_ctf(group)
    add_dataset(parser)
    add_storage(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.io.reference_map import geometry_like
    from cryodrgn.linear.state_files import check_states
    from cryodrgn.preflight.plan import require_output
    from cryodrgn.preflight.screening import on_sound_images, places_kept, screen_data
    from cryodrgn.rundir import RunDirectory, ScreeningFiles, StateFiles

    if args.functions < 0:
        msg = f"--functions must not be negative, got {args.functions}"
        raise ConfigError(msg)
    source = None if args.workdir is None else RunDirectory(args.workdir)
    data, latents = _data(args, source), _latents(args, source)
    particles = data.open()
    latents.require_count(len(particles), particles.source)
    given, mask = _given_points(args, latents), args.mask or _mask_of(source)
    check_states(particles, latents, given, StateFiles(args.outdir), mask)
    pixel_size = particles.require_pixel_size()
    geometry = geometry_like(args.like, particles.box_size, pixel_size)
    require_output(args.outdir)

    def screened(how: "Screen") -> "_Chosen":
        files = ScreeningFiles(args.outdir)
        chosen, kept = screen_data(data, particles, files, how)
        return chosen, kept, latents.select(places_kept(particles, kept))

    with joined(args) as (team, device):

        def work(chosen: "_Chosen") -> "list[StateSummary]":
            return _reconstructed(chosen, given, mask, geometry, args, device, team)

        summaries = on_sound_images(screened, work, args.screen)
    if team.is_writer:
        _draw(summaries, latents, args)
        logger.info("wrote %d states to %s", len(summaries), args.outdir)


def _reconstructed(
    chosen: "_Chosen",
    given: "np.ndarray | None",
    mask: Path | None,
    geometry: "MapGeometry",
    args: argparse.Namespace,
    device: "torch.device",
    team: "Team",
) -> "list[StateSummary]":
    """The states, from images that have been screened."""
    from cryodrgn.analysis.clusters import cluster_by_means
    from cryodrgn.data.prepared import Storage
    from cryodrgn.linear.state_files import reconstruct_states
    from cryodrgn.linear.states import StateSettings
    from cryodrgn.preflight.plans import states_plan
    from cryodrgn.rundir import StateFiles

    data, particles, latents = chosen
    points = given
    if points is None:
        points = cluster_by_means(latents.mean, args.num_states, seed=args.seed).centres
    settings = StateSettings(
        method=args.method,
        functions="auto" if args.functions else "linear",
        num_functions=args.functions,
        seed=args.seed,
    )
    storage = Storage(
        scratch_dir=args.outdir,
        on_disk=args.lazy or None,
        memory=None if args.memory is None else int(1e9 * args.memory),
        cache_dir=args.cache_dir,
    )
    plan = states_plan(
        *(particles, latents.mean.shape[1], settings, len(points)),
        *(args.outdir, device, storage),
    )
    plan.announce("the reconstruction")
    return reconstruct_states(
        *(data, particles, latents, points, settings, StateFiles(args.outdir), device),
        storage=storage,
        mask_path=mask,
        geometry=geometry,
        team=team,
    )


def _data(args: argparse.Namespace, work: "RunDirectory | None") -> "DataConfig":
    """The images: those of the run, unless the options name others."""
    from dataclasses import replace

    from cryodrgn.io.run_config import find_run_config, load_run_config
    from cryodrgn.linear.latents import recorded_data

    args.norm = None
    if args.particles is not None:
        return data_config(args)
    if work is None:
        msg = "name a run, or give --particles and --latents"
        raise ConfigError(msg)
    data = recorded_data(load_run_config(find_run_config(work.weights(args.epoch))))
    poses = work.poses(args.epoch)
    given = {
        "poses": args.poses or (poses if poses.exists() else None),
        "ctf": args.ctf,
        "indices": args.ind,
        "datadir": args.datadir,
    }
    changes = {name: path for name, path in given.items() if path is not None}
    return replace(data, files=replace(data.files, **changes), **_treatment(args))


def _treatment(args: argparse.Namespace) -> dict[str, Any]:
    """What is done to the images otherwise than in the run, where options say so."""
    asked: dict[str, Any] = {}
    if args.invert_data or args.uninvert_data:
        asked["invert"] = args.invert_data
    if args.window or args.no_window or args.window_r:
        asked["window_radius"] = window_radius(args)
    if args.crop_box_size:
        asked["box_size"] = args.crop_box_size
    return asked


def _latents(args: argparse.Namespace, work: "RunDirectory | None") -> "Latents":
    from cryodrgn.linear.latents import file_latents, run_latents

    if args.latents is not None:
        return file_latents(args.latents)
    if work is None:
        msg = "name a run, or give --latents"
        raise ConfigError(msg)
    return run_latents(work, args.epoch)


def _given_points(args: argparse.Namespace, latents: "Latents") -> "np.ndarray | None":
    """The states that the options name; None if they are to be found among the latents."""
    import numpy as np

    from cryodrgn.io.latent_text import load_latent_text

    if args.z is not None and args.zfile is not None:
        msg = "give -z or --zfile, not both"
        raise ConfigError(msg)
    if args.z is not None:
        return np.array([args.z], dtype=np.float32)
    if args.zfile is not None:
        return load_latent_text(args.zfile, latents.mean.shape[1])
    return None


def _mask_of(work: "RunDirectory | None") -> Path | None:
    """The mask that a linear run found."""
    if work is None or not work.linear.mask.exists():
        return None
    return work.linear.mask


def _draw(
    summaries: "list[StateSummary]", latents: "Latents", args: argparse.Namespace
) -> None:
    """Draw the states, where there is a library to draw with."""
    from cryodrgn.linear.state_files import SHARED_LATENT_NOTE
    from cryodrgn.rundir import StateFiles

    try:
        from cryodrgn.analysis.plots import save_figure
        from cryodrgn.analysis.state_plots import StatePanel, plot_states
    except MissingDependencyError as error:
        logger.warning("the states were not drawn: %s", error)
        return
    panels = [
        StatePanel(
            title=f"state {number}",
            section=summary.section,
            projection=summary.projection,
            fsc=summary.fsc,
            words=summary.in_words(),
            is_supported=summary.is_supported,
        )
        for number, summary in enumerate(summaries)
    ]
    independent = latents.half_means is not None
    note = INDEPENDENT_NOTE if independent else SHARED_LATENT_NOTE
    figure = plot_states(panels, summaries[0].pixel_size, note)
    save_figure(figure, StateFiles(args.outdir).figure)
