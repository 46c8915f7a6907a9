"""Options, signal handling and start-up that the training commands share."""

import argparse
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from cryodrgn.cli.ignored_flags import PREFIX
from cryodrgn.cli.options import (
    add_ctf,
    add_datadir,
    add_device,
    add_multigpu,
    add_poses,
    add_screen,
    inverts_data,
    particle_files,
)
from cryodrgn.cli.processes import joined
from cryodrgn.errors import ConfigError

if TYPE_CHECKING:
    from cryodrgn.models.settings import ModelConfig
    from cryodrgn.particles.particle_set import ParticleSet
    from cryodrgn.preflight.screening import Screen
    from cryodrgn.rundir import RunDirectory
    from cryodrgn.training.config import DataConfig, HeldOutConfig, RunConfig, TrainConfig

logger = logging.getLogger(__name__)

# Options that may be given beside a bare ``--load latest``, with the setting they change.
CHANGEABLE = {
    "num_epochs": "num_epochs",
    "checkpoint": "checkpoint_interval",
    "checkpoint_minutes": "checkpoint_minutes",
    "log_interval": "log_interval",
    "lazy": "on_disk",
    "memory": "memory_gb",
    "cache_dir": "cache_dir",
}
HALF = "half"
WITHOUT_SETTING = frozenset(
    {"command", "outdir", "load", "verbose", "device", "overwrite", "stop_when_converged"}
)


def add_run(parser: argparse.ArgumentParser, *, with_poses: bool = True) -> None:
    """Options of the run: output folder, weights to begin with, checkpoints, logging, seeds."""
    parser.add_argument(
        "particles",
        type=Path,
        nargs="?",
        help="Input particles (.mrcs, .star, .cs, or .txt); not needed to go on with a run",
    )
    parser.add_argument(
        "-o", "--outdir", type=Path, required=True, help="Output directory to save model"
    )
    if with_poses:
        add_poses(parser)
    add_ctf(parser)
    parser.add_argument(
        "--load",
        help="Initialize training from a checkpoint: a weights file, or 'latest' to go on with "
        "the run in OUTDIR, which needs no other option",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="Replace the run that OUTDIR holds"
    )
    parser.add_argument(
        "--checkpoint",
        type=int,
        default=1,
        help="Checkpointing interval in N_EPOCHS (default: %(default)s)",
    )
    parser.add_argument(
        "--checkpoint-minutes",
        type=float,
        metavar="MINUTES",
        help="Also write a checkpoint at this interval within epochs, for queues with a limit",
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
    parser.add_argument(
        "--shuffle-seed",
        type=int,
        metavar="SEED",
        help="Random seed of the order of the images (default: that of --seed)",
    )


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """Options of image preprocessing: sign, window, selection of rows, screening."""
    group = parser.add_argument_group("Dataset loading")
    sign = group.add_mutually_exclusive_group()
    sign.add_argument("--invert-data", action="store_true", help="Invert data sign")
    sign.add_argument(
        "--uninvert-data", action="store_true", help="Do not invert data sign (the default)"
    )
    window = group.add_mutually_exclusive_group()
    window.add_argument("--window", action="store_true", help="Real space windowing of dataset")
    window.add_argument(
        "--no-window", action="store_true", help="No real space windowing (the default)"
    )
    group.add_argument(
        "--window-r",
        type=float,
        metavar="R",
        help="Window from this fraction of half the box on (default: 0.85); implies --window",
    )
    group.add_argument(
        "--ind",
        type=Path,
        help="Filter particle stack by these indices (.pkl, .npy or .txt: row numbers from 0, "
        "or a boolean for each particle)",
    )
    add_screen(group)
    group.add_argument(
        "--lazy",
        action="store_true",
        help="Keep prepared images in a scratch file in OUTDIR rather than in memory, which "
        "otherwise happens only if they do not fit",
    )
    add_datadir(group)


def add_storage(parser: argparse.ArgumentParser) -> None:
    """The box size of training, and where prepared images are kept."""
    group = parser.add_argument_group("Large data sets")
    group.add_argument(
        "-D",
        dest="crop_box_size",
        type=int,
        metavar="BOX",
        help="Fourier-crop images to this box size on the fly (default: as they are)",
    )
    group.add_argument(
        "--memory",
        type=float,
        metavar="GB",
        help="Memory that prepared images may take; beyond, they stream from a file (default: "
        "60 %% of what is free)",
    )
    group.add_argument(
        "--cache-dir",
        type=Path,
        metavar="DIR",
        help="Keep prepared images in this folder, on a fast disk, for other runs on the same "
        "images",
    )


def epochs(text: str) -> int | str:
    """A number of epochs, or the word for half of them."""
    return HALF if text == HALF else int(text)


def add_training(
    parser: argparse.ArgumentParser,
    *,
    batch_size: int = 8,
    num_epochs: int = 20,
    learning_rate: float = 1e-4,
) -> argparse._ArgumentGroup:
    """Options of the optimisation; returns their group, to which a command may add its own."""
    group = parser.add_argument_group("Training parameters")
    group.add_argument(
        "-n",
        "--num-epochs",
        type=int,
        default=num_epochs,
        help="Number of training epochs (default: %(default)s)",
    )
    group.add_argument(
        "-b",
        "--batch-size",
        type=int,
        default=batch_size,
        help="Minibatch size (default: %(default)s)",
    )
    group.add_argument(
        "--curriculum",
        type=epochs,
        nargs="?",
        const=HALF,
        metavar="EPOCHS",
        help="Low frequencies first: all are compared only after this number of epochs (if "
        "none is given, half of the epochs)",
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
        default=learning_rate,
        help="Learning rate in Adam optimizer (default: %(default)s)",
    )
    group.add_argument(
        "--norm",
        type=float,
        nargs=2,
        help="Data normalization as shift, 1/scale (default: 0, std of dataset)",
    )
    _add_precision(group)
    add_device(group)
    add_multigpu(group)
    return group


def _add_precision(group: argparse._ArgumentGroup) -> None:
    precision = group.add_mutually_exclusive_group()
    precision.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="Number type of the matrix products (default: %(default)s, bfloat16 where the "
        "device has units for it)",
    )
    precision.add_argument(
        "--no-amp", action="store_true", help="The same as --precision float32"
    )


def add_held_out(parser: argparse.ArgumentParser) -> None:
    """Particles that tell when training has come to its end."""
    group = parser.add_argument_group("Convergence")
    group.add_argument(
        "--held-out",
        type=float,
        metavar="SHARE",
        help="Keep this share of the particles, 0.05 for instance, out of training; how well "
        "their images are explained tells whether training has converged and whether there is "
        "heterogeneity above noise. They get latents like all others (default: train on all)",
    )
    group.add_argument(
        "--stop-when-converged",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="Stop before the last epoch once they say that training has converged; keeps out "
        "0.05 unless --held-out says otherwise (default: train all epochs)",
    )


def add_pose_refinement(
    parser: argparse.ArgumentParser, *, pretrain: int, learning_rate: float, name: str
) -> None:
    """Refinement of poses along with the network; ``name`` is the option of its pretraining."""
    group = parser.add_argument_group("Pose SGD")
    group.add_argument(
        "--do-pose-sgd", action="store_true", help="Refine poses with gradient descent"
    )
    group.add_argument(
        name,
        dest="pose_pretrain",
        type=int,
        default=pretrain,
        metavar="EPOCHS",
        help="Number of epochs with fixed poses before pose SGD (default: %(default)s)",
    )
    group.add_argument(
        "--emb-type",
        choices=("s2s2", "quat"),
        default="quat",
        help="SO(3) embedding type for pose SGD (default: %(default)s)",
    )
    group.add_argument(
        "--pose-lr",
        type=float,
        default=learning_rate,
        help="Learning rate for pose optimizer (default: %(default)s)",
    )


def train_config(args: argparse.Namespace, **more: Any) -> "TrainConfig":
    """The training settings that the options describe; ``more`` are those of one command."""
    from cryodrgn.training.config import TrainConfig
    from cryodrgn.training.pose_table import PoseConfig
    from cryodrgn.training.schedules import Curriculum

    if "held_out" in vars(args):
        more["held_out"] = _held_out(args)
    poses = None
    if getattr(args, "do_pose_sgd", False):
        poses = PoseConfig(
            embedding=args.emb_type, learning_rate=args.pose_lr, pretrain=args.pose_pretrain
        )
    curriculum = None
    if args.curriculum is not None:
        half = max(1, args.num_epochs // 2)
        epochs = half if args.curriculum == HALF else args.curriculum
        curriculum = Curriculum(num_epochs=epochs)
    return TrainConfig(
        curriculum=curriculum,
        num_epochs=args.num_epochs,
        batch_size=args.batch_size,
        learning_rate=args.lr,
        weight_decay=args.wd,
        poses=poses,
        checkpoint_interval=args.checkpoint,
        checkpoint_minutes=args.checkpoint_minutes,
        log_interval=args.log_interval,
        on_disk=args.lazy or None,
        memory_gb=args.memory,
        cache_dir=args.cache_dir,
        seed=args.seed,
        shuffle_seed=args.shuffle_seed,
        precision="float32" if args.no_amp else args.precision,
        **more,
    )


def _held_out(args: argparse.Namespace) -> "HeldOutConfig | None":
    """Which particles the options keep out of training; none by default."""
    from cryodrgn.training.config import HeldOutConfig

    if args.held_out is None and not args.stop_when_converged:
        return None
    if args.held_out == 0 and not args.stop_when_converged:
        return None
    if args.held_out is None:
        return HeldOutConfig(stop=True)
    return HeldOutConfig(fraction=args.held_out, stop=args.stop_when_converged)


def run_training(
    args: argparse.Namespace,
    model: "Callable[[argparse.Namespace, int], ModelConfig]",
    training: "Callable[[argparse.Namespace], TrainConfig]",
) -> None:
    """Run a training command.

    Args:
        args: Its options.
        model: Makes the model's settings from the options and the box size.
        training: Makes the training settings from the options.
    """
    from cryodrgn.preflight.plan import require_output
    from cryodrgn.preflight.plans import training_plan
    from cryodrgn.preflight.screening import on_sound_images, screen_data
    from cryodrgn.rundir import RunDirectory, ScreeningFiles
    from cryodrgn.training.assembly import storage_of
    from cryodrgn.training.runner import train
    from cryodrgn.training.start import find_start

    if args.verbose:
        logging.getLogger("cryodrgn").setLevel(logging.DEBUG)
    run = RunDirectory(args.outdir)
    load = Path(args.load) if args.load not in {None, "latest"} else args.load
    goes_on_alone = load == "latest" and args.particles is None
    if load == "latest" and args.overwrite:
        logger.warning("--load latest has no effect with --overwrite: a new run begins")
    if goes_on_alone:
        config = _recorded(run, args)
        particles = config.data.open()
    else:
        config, particles = _described(args, model, training)
    require_output(run.path)

    def screened(how: "Screen") -> "tuple[RunConfig, ParticleSet]":
        data, kept = screen_data(config.data, particles, ScreeningFiles(run.path), how)
        return replace(config, data=data), kept

    with joined(args) as (team, device), stop_on_signals() as should_stop:

        def work(chosen: "tuple[RunConfig, ParticleSet]") -> None:
            config, particles = chosen
            start = find_start(run, config, load, overwrite=args.overwrite)
            storage = storage_of(config.training, run)
            plan = training_plan(config, particles, run.path, device, storage)
            plan.announce("training")
            train(config, particles, run, start, device, should_stop, team)

        # A run that goes on has left bad images out when it began.
        on_sound_images(screened, work, "none" if goes_on_alone else args.screen)


def _described(
    args: argparse.Namespace,
    model: "Callable[[argparse.Namespace, int], ModelConfig]",
    training: "Callable[[argparse.Namespace], TrainConfig]",
) -> "tuple[RunConfig, ParticleSet]":
    """The settings that the options describe, and the particles.

    Raises:
        ConfigError: There are no particles.
    """
    from cryodrgn.training.config import RunConfig

    if args.particles is None:
        msg = "the particles are missing; only --load latest goes without them"
        raise ConfigError(msg)
    settings, data = training(args), data_config(args)
    particles = data.open()
    config = RunConfig(data=data, model=model(args, particles.box_size), training=settings)
    return config, particles


def data_config(args: argparse.Namespace) -> "DataConfig":
    """The images that the options describe, and what is done to them."""
    from cryodrgn.training.config import DataConfig

    return DataConfig(
        files=particle_files(args),
        window_radius=window_radius(args),
        invert=inverts_data(args),
        norm=None if args.norm is None else tuple(args.norm),
        box_size=args.crop_box_size,
    )


def window_radius(args: argparse.Namespace) -> float | None:
    """Where the window begins that the options ask for; None for no window."""
    from cryodrgn.imaging.masks import WINDOW_INNER_RADIUS

    default = WINDOW_INNER_RADIUS if args.window else None
    return None if args.no_window else args.window_r or default


def _recorded(run: "RunDirectory", args: argparse.Namespace) -> "RunConfig":
    """The settings of the run in a folder, with the few that may be changed.

    Raises:
        ConfigError: There is no run, or an option was given that cannot be changed.
    """
    from cryodrgn.training.start import recorded_config

    config = recorded_config(run)
    if config is None:
        msg = f"{run.path} holds no run to go on with"
        raise ConfigError(msg)
    given = {name for name in args.given if not name.startswith(PREFIX)}
    fixed = sorted(given - CHANGEABLE.keys() - WITHOUT_SETTING)
    if fixed:
        msg = (
            f"--load latest takes its settings from {run.config_yaml}; leave out "
            f"{', '.join(fixed)}, or give the whole command line"
        )
        raise ConfigError(msg)
    changes = {CHANGEABLE[name]: getattr(args, name) for name in args.given & CHANGEABLE.keys()}
    if config.training.cache_dir is not None and "cache_dir" not in args.given:
        # A folder may come from a colleague, and must not say where files are written.
        changes["cache_dir"] = None
        logger.info("--cache-dir was %s; give it again to use it", config.training.cache_dir)
    if "stop_when_converged" in args.given:
        held_out = config.training.held_out
        if held_out is None:
            msg = f"{run.path} keeps no particles out, so nothing tells when it has converged"
            raise ConfigError(msg)
        changes["held_out"] = replace(held_out, stop=args.stop_when_converged)
    return config.with_training(**changes)


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """While it lasts, SIGTERM and Ctrl-C ask for a stop; a second Ctrl-C interrupts at once."""
    asked: list[int] = []

    def ask(number: int, _: FrameType | None) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)
        logger.info("%s: writing a checkpoint", signal.Signals(number).name)

    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
