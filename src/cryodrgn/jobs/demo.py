"""Demonstration on simulated particles: from a particle stack to volumes along a motion."""

import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryodrgn import compat
from cryodrgn.errors import ConfigError, CryodrgnError
from cryodrgn.jobs.analyze import Analyze
from cryodrgn.jobs.backproject import Backproject
from cryodrgn.jobs.command_words import in_flags, words_of
from cryodrgn.jobs.downsample import Downsample
from cryodrgn.jobs.eval_vol import EvalVol
from cryodrgn.jobs.parse import ParseCtfStar, ParsePoseStar
from cryodrgn.jobs.simulate import Simulate
from cryodrgn.jobs.train_vae import TrainVae
from cryodrgn.settings import (
    Job,
    SeedOptions,
    function_of,
    option,
    same_as,
    settings,
)

if TYPE_CHECKING:
    from cryodrgn.rundir import DemoFiles
    from cryodrgn.workflow.demo import DemoResult

logger = logging.getLogger(__name__)


@settings
class Demo(Job["DemoResult"]):
    """Show the whole way on simulated particles, to a moving molecule."""

    outdir: Path = option(
        "-o",
        "--outdir",
        default=Path("cryodrgn_demo"),
        kw_only=False,
        help="Folder to write into",
    )
    seed: int = same_as(SeedOptions, "seed")

    def run(self) -> "DemoResult":
        """Simulate a hinged molecule, do what a user would do, and report.

        Raises:
            ConfigError: The folder holds the training of an earlier demonstration, or other
                files, or lies in the folder of a run.
            CryodrgnError: A step failed, or was stopped.
        """
        # Its images need no inversion, and its texts name files as 0.2.0 does.
        with compat.meaning(compat.OLD):
            return self._shown()

    def _shown(self) -> "DemoResult":
        from cryodrgn.preflight.plan import require_output
        from cryodrgn.rundir import DemoFiles
        from cryodrgn.workflow.demo import report_demo, write_centres

        files = DemoFiles(self.outdir)
        if files.run.config_yaml.exists():
            msg = f"{self.outdir} holds a demo already; remove it, or choose another folder"
            raise ConfigError(msg)
        _require_own_folder(files)
        require_output(files.path)
        lines = [_done(job) for job in self._preparation(files)]
        lines.append(_done(self._training(files), files.run.weights()))
        write_centres(files)
        lines.append(_done(Analyze.with_given({"workdir": files.run.path, "epoch": -1})))
        volumes = EvalVol.with_given(
            {
                "weights": files.run.weights(),
                "config": files.run.config_yaml,
                "z_file": files.z_values,
                "output": files.volumes.path,
            }
        )
        lines.append(_done(volumes))
        return report_demo(files, lines)

    def _preparation(self, files: "DemoFiles") -> list[Job[Any]]:
        """Simulated particles, their poses and CTF as pickles, and a consensus map."""
        from cryodrgn.workflow.demo import (
            BOX_SIZE,
            NUM_IMAGES,
            NUM_STATES,
            PIXEL_SIZE,
            SMALL_BOX_SIZE,
        )

        star = files.simulation.star
        # An earlier one may have been stopped before it trained.
        again = {"overwrite": True} if star.exists() else {}
        return [
            Simulate.with_given(
                {
                    **again,
                    "outdir": files.simulation.path,
                    "num_images": NUM_IMAGES,
                    "num_states": NUM_STATES,
                    "box_size": BOX_SIZE,
                    "pixel_size": float(PIXEL_SIZE),
                    "snr": 0.1,
                    "seed": self.seed,
                }
            ),
            Downsample.with_given(
                {"input": star, "output": files.particles, "box_size": SMALL_BOX_SIZE}
            ),
            ParsePoseStar.with_given(
                {"input": star, "output": files.poses, "box_size": BOX_SIZE}
            ),
            ParseCtfStar.with_given(
                {
                    "input": star,
                    "output": files.ctf,
                    "box_size": BOX_SIZE,
                    "pixel_size": float(PIXEL_SIZE),
                }
            ),
            Backproject.with_given(
                {
                    "particles": files.particles,
                    "output": files.consensus,
                    "poses": files.poses,
                    "ctf": files.ctf,
                }
            ),
        ]

    def _training(self, files: "DemoFiles") -> Job[Any]:
        return TrainVae.with_given(
            {
                "particles": files.particles,
                "outdir": files.run.path,
                "poses": files.poses,
                "ctf": files.ctf,
                "zdim": 1,
                "num_epochs": 5,
                "recipe": "fast",
                "batch_size": 16,
                "encoder_dim": 96,
                "decoder_dim": 96,
                "seed": self.seed,
            }
        )


def _require_own_folder(files: "DemoFiles") -> None:
    """Refuse a folder in which files of a demo would stand among others.

    Raises:
        ConfigError: It holds others, or is part of a run.
    """
    from cryodrgn.rundir import RunDirectory

    folder = files.path.resolve()
    for one in (folder, *folder.parents):
        if RunDirectory(one).holds_run:
            msg = (
                f"`outdir` {files.path} is in the folder of a run, {one}; choose another folder"
            )
            raise ConfigError(msg)
    # A demo begins with its particles.
    others = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if others and not files.simulation.path.exists():
        msg = (
            f"`outdir` {files.path} holds other files ({others[0]}), expected a new or an "
            "empty folder; choose another one"
        )
        raise ConfigError(msg)


def _done(job: Job[Any], result: Path | None = None) -> str:
    """Do a job, said as a user would type it; returns that line.

    Args:
        job: The job.
        result: What it leaves unless it is stopped.

    Raises:
        CryodrgnError: It failed, or was stopped.
    """
    line = f"cryodrgn {shlex.join(words_of(job))}"
    logger.info("\n$ %s", line)
    try:
        job.run()
    except CryodrgnError as error:
        reason = in_flags(str(error), type(job))
        msg = f"{reason}; the demo stopped because this failed: {line}"
        raise CryodrgnError(msg) from error
    if result is not None and not result.is_file():
        # A job that was asked to stop ends well, without its result.
        msg = f"the demo ended because this was stopped: {line}"
        raise CryodrgnError(msg)
    return line


demo = function_of(Demo)
