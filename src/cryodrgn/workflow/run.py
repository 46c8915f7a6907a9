"""From a particle file to a report, in steps that a user could type, each made only once."""

import json
import logging
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cryodrgn
from cryodrgn.diagnosis.verdict import WRONG_SIGN
from cryodrgn.errors import ConfigError, CryodrgnError, MetadataError
from cryodrgn.io.atomic import atomic_path
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.io.text import read_json
from cryodrgn.rundir import WholeRunFiles

logger = logging.getLogger(__name__)

RunCommand = Callable[[Sequence[str]], int]
Effort = Literal["quick", "normal", "full"]
# Images that the networks see in all, by effort.
IMAGES_SEEN: Mapping[Effort, int] = {"quick": 20_000, "normal": 400_000, "full": 2_000_000}
# With more passes over few images, networks learn their noise: on 2,000 images of the hinge the
# latent follows the angle best after 20 epochs (rank correlation 0.94, after 50 it is 0.88).
FEWEST_EPOCHS, MOST_EPOCHS = 5, 20
SMALLEST_BOX, LARGEST_BOX = 24, 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A setting, and why it has its value.

    Attributes:
        option: The option of ``train_vae`` that sets it.
        value: Its value.
        reason: Why.
    """

    option: str
    value: float
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSettings:
    """What the user asks of a run.

    Attributes:
        files: The files that describe the particles.
        output: Folder for everything.
        latent_dim: Dimensions of the latent.
        effort: How long to train.
        seed: Of all random numbers.
        given: Settings that the user chose, by option of ``train_vae``.
        invert: Sign of the data; None finds it out.
    """

    files: ParticleFiles
    output: Path
    latent_dim: int = 8
    effort: Effort = "normal"
    seed: int = 0
    given: Mapping[str, float]
    invert: bool | None = None


def choose(count: int, box_size: int, pixel_size: float, settings: RunSettings) -> list[Choice]:
    """Settings of the training, from the number and size of the images.

    Args:
        count: Number of particles.
        box_size: Side of the images in pixels.
        pixel_size: Å/px.
        settings: What the user asks for; what is given there is taken as it is.
    """
    target = 6.0 if count < 10_000 else 4.5 if count < 50_000 else 3.0
    wanted = 4 * math.ceil(box_size * pixel_size / target / 4)
    box = min(max(wanted, SMALLEST_BOX), LARGEST_BOX, box_size)
    sampling = pixel_size * box_size / box
    width = 128 if count < 10_000 else 256 if count < 100_000 else 1024
    epochs = round(IMAGES_SEEN[settings.effort] / count)
    epochs = min(max(epochs, FEWEST_EPOCHS), MOST_EPOCHS)
    few = f"{count} particles"
    chosen = [
        Choice(
            option="--zdim",
            value=settings.latent_dim,
            reason="room for several motions; unused dimensions stay empty",
        ),
        Choice(
            option="-D",
            value=box,
            reason=f"{few} reach about {2 * sampling:.0f} Å, which {sampling:.2g} Å/px hold",
        ),
        Choice(option="--qdim", value=width, reason=f"encoder in proportion to {few}"),
        Choice(option="--pdim", value=width, reason=f"decoder in proportion to {few}"),
        Choice(option="-b", value=16 if count < 100_000 else 64, reason="steps per epoch"),
        Choice(
            option="--lr",
            value=1e-3 if width < 1024 else 3e-4,
            reason=f"stable for networks of width {width}",
        ),
        Choice(
            option="-n",
            value=epochs,
            reason=f"{epochs * count} images seen in all ({settings.effort})",
        ),
    ]
    return [
        replace(choice, value=settings.given[choice.option], reason="given")
        if choice.option in settings.given
        else choice
        for choice in chosen
    ]


def run_all(settings: RunSettings, run_command: RunCommand) -> WholeRunFiles:
    """Check, train and analyse; what an earlier call with the same settings made is kept.

    Args:
        settings: What to do.
        run_command: Runs a command line without the program's name; returns its status.

    Raises:
        CryodrgnError: The particles cannot be used, a command failed, or the folder holds a
            run of other settings.
    """
    files = WholeRunFiles(settings.output)
    particles = open_particles(settings.files)
    choices = choose(
        len(particles), particles.box_size, float(particles.pixel_sizes[0]), settings
    )
    manifest = _manifest(settings, choices)
    _require_same(files.manifest, manifest)
    _log_choices(choices)
    steps = _Steps(run_command)
    if files.check.json.is_file():
        logger.info("the check is there already: %s", files.check.page)
    else:
        steps.run(["check", *_particle_options(settings), *_sign(settings), "--accept"])
    invert = _checked_sign(settings, files)
    with atomic_path(files.manifest) as partial:
        partial.write_text(json.dumps(manifest | {"invert_data": invert}, indent=1) + "\n")
    if files.training.weights().is_file():
        logger.info("the trained model is there already: %s", files.training.weights())
    else:
        steps.run(_training(settings, choices, files, invert=invert))
    if files.report.is_file():
        logger.info("the analysis is there already")
    else:
        steps.run(["analyze", files.training.path, -1])
    logger.info("The report is %s", files.report)
    return files


class _Steps:
    """Prints commands as a user would type them, and runs them."""

    def __init__(self, run_command: RunCommand) -> None:
        self._run_command = run_command

    def run(self, arguments: Sequence[object]) -> None:
        words = [str(argument) for argument in arguments]
        line = f"cryodrgn {shlex.join(words)}"
        logger.info("\n$ %s", line)
        if self._run_command(words):
            msg = f"the run stopped because this failed: {line}"
            raise CryodrgnError(msg)


def _particle_options(settings: RunSettings) -> list[object]:
    files = settings.files
    options: list[object] = [files.particles]
    for name, path in (
        ("--poses", files.poses),
        ("--ctf", files.ctf),
        ("--ind", files.indices),
        ("--datadir", files.datadir),
    ):
        options += [] if path is None else [name, path]
    return options


def _sign(settings: RunSettings) -> list[object]:
    flag = ["--invert-data"] if settings.invert else []
    check = WholeRunFiles(settings.output).check
    return [*flag, "--seed", settings.seed, "-o", check.path]


def _training(
    settings: RunSettings, choices: Sequence[Choice], files: WholeRunFiles, *, invert: bool
) -> list[object]:
    line: list[object] = ["train_vae", *_particle_options(settings)]
    for choice in choices:
        line += [choice.option, f"{choice.value:g}"]
    line += ["--window", "--seed", settings.seed, "-o", files.training.path]
    line += ["--invert-data"] if invert else []
    if files.training.written_files():
        line += ["--load", "latest"]
    return line


def _checked_sign(settings: RunSettings, files: WholeRunFiles) -> bool:
    """Whether to invert the data; refuses particles that do not fit their poses."""
    found = read_json(files.check.json)
    others = [change for change in found["changes"] if change != WRONG_SIGN]
    if others or (found["changes"] and settings.invert is not None):
        msg = f"{found['verdict']} See {files.check.page}"
        raise MetadataError(msg)
    if settings.invert is not None:
        return settings.invert
    invert = WRONG_SIGN in found["changes"]
    sign = "white on black and are inverted" if invert else "dark, as they should be"
    logger.info("particles are %s (skewness of the map %s)", sign, found["map_skewness"])
    return invert


def _log_choices(choices: Sequence[Choice]) -> None:
    for choice in choices:
        logger.info("%-7s %-6g %s", choice.option, choice.value, choice.reason)


def _manifest(settings: RunSettings, choices: Sequence[Choice]) -> dict[str, Any]:
    return {
        "version": cryodrgn.__version__,
        "particles": [str(word) for word in _particle_options(settings)],
        "seed": settings.seed,
        "choices": {
            choice.option: {"value": choice.value, "reason": choice.reason}
            for choice in choices
        },
    }


def _require_same(path: Path, manifest: Mapping[str, Any]) -> None:
    """Refuse to mix runs of different settings in one folder."""
    if not path.is_file():
        return
    earlier = read_json(path)
    for name in ("particles", "seed", "choices"):
        if earlier.get(name) != manifest[name]:
            msg = (
                f"{path.parent} holds a run with other {name}; give another folder with -o, "
                "or the settings of that run"
            )
            raise ConfigError(msg)
