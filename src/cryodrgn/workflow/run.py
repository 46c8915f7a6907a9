"""From a particle file to a report, in steps that a user could type, each made only once."""

import logging
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryodrgn.diagnosis.verdict import WRONG_SIGN
from cryodrgn.errors import CryodrgnError, MetadataError
from cryodrgn.io.atomic import make_folder
from cryodrgn.io.particle_files import ParticleFiles, open_images, open_metadata, open_particles
from cryodrgn.io.provenance import describe_files, describe_many_files
from cryodrgn.io.run_config import load_run_config
from cryodrgn.io.text import read_json
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.progress import followed_by, format_duration
from cryodrgn.rundir import ScreeningFiles, WholeRunFiles
from cryodrgn.training.run_log import log_to_file
from cryodrgn.workflow.choices import Choice, Effort, choose
from cryodrgn.workflow.estimates import estimated_seconds, measured_speed
from cryodrgn.workflow.manifest import Manifest
from cryodrgn.workflow.run_page import write_run_page

logger = logging.getLogger(__name__)

RunCommand = Callable[[Sequence[str]], int]
# A linear model of fewer particles says nothing.
FEWEST_LINEAR = 200
WORDS = {
    "check": "do poses, CTF and sign fit the images?",
    "linear": "a first volume, and what moves",
    "training": "the heterogeneous reconstruction",
    "analysis": "volumes and plots",
    "nuisance": "does the latent follow structure, or poses and optics?",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSettings:
    """Settings of a run, as the user gave them.

    Attributes:
        files: The files that describe the particles.
        output: Folder for everything.
        latent_dim: Dimensions of the latent.
        effort: How far to go.
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

    def request(self) -> dict[str, Any]:
        """Settings that must be the same when a run is resumed."""
        return {
            "particles": [str(word) for word in self.particle_options()],
            "latent_dim": self.latent_dim,
            "effort": self.effort,
            "seed": self.seed,
            "given": dict(self.given),
            "invert": self.invert,
        }

    def particle_options(self) -> list[object]:
        """The particles on a command line."""
        files = self.files
        options: list[object] = [files.particles]
        for name, path in (
            ("--poses", files.poses),
            ("--ctf", files.ctf),
            ("--ind", files.indices),
            ("--datadir", files.datadir),
        ):
            options += [] if path is None else [name, path]
        return options


def run_all(settings: RunSettings, run_command: RunCommand) -> WholeRunFiles:
    """Check, train, analyse, report; what an earlier call with these settings made is kept.

    Args:
        settings: What to do.
        run_command: Runs a command line without the program's name; returns its status.

    Raises:
        CryodrgnError: The particles cannot be used, a command failed, or the folder holds a
            run of other settings or other particles.
    """
    files = WholeRunFiles(settings.output)
    particles = open_particles(settings.files)
    particles.images.require_poses()
    particles.require_pixel_size()
    manifest = Manifest(files.manifest)
    manifest.begin(settings.request(), input_files(settings.files))
    make_folder(files.path)
    with log_to_file(files.log):
        _Pipeline(settings, files, particles, manifest, run_command).perform()
    return files


def input_files(files: ParticleFiles) -> dict[str, dict[str, Any]]:
    """Everything a run is made from, with sizes and hashes."""
    tables = [files.particles, files.poses, files.ctf, files.indices]
    described = describe_files([path for path in tables if path is not None])
    found: dict[str, dict[str, Any]] = {str(item.pop("file")): dict(item) for item in described}
    stack = open_images(files.particles, open_metadata(files.particles), files.datadir)
    return found | {"image stacks": describe_many_files(stack.paths)}


class _Pipeline:
    """The steps of one run."""

    def __init__(
        self,
        settings: RunSettings,
        files: WholeRunFiles,
        particles: ParticleSet,
        manifest: Manifest,
        run_command: RunCommand,
    ) -> None:
        self._settings, self._files, self._particles = settings, files, particles
        self._manifest, self._run_command = manifest, run_command
        self._speed = measured_speed()
        self._results = {
            "check": files.check.json,
            "linear": files.linear.weights(),
            "training": files.training.weights(),
            "analysis": files.analysis.report,
            "nuisance": files.nuisance.json,
        }
        if len(particles) < FEWEST_LINEAR:
            logger.info("no linear model: %d particles are too few", len(particles))
            del self._results["linear"]

    def perform(self) -> None:
        """Make every step whose result is not there, and the page."""
        settings, files = self._settings, self._files
        choices = self._choose(None)
        particles = settings.particle_options()
        self._step("check", choices, ["check", *particles, *self._sign(), "--accept"])
        invert = self._checked_sign()
        choices = self._choose(read_json(files.check.json).get("density_radius"))
        self._log_choices(choices, invert=invert)
        values = {choice.option: choice.value for choice in choices}
        data: list[object] = [*particles, "-D", f"{values['-D']:g}"]
        data += ["--window-r", f"{values['--window-r']:g}", "--seed", settings.seed]
        data += ["--invert-data"] if invert else []
        if "linear" in self._results:
            line = ["train_linear", *data, "--overwrite", "-o", files.linear.path]
            self._step("linear", choices, line)
            logger.info("the first volume at full size is %s", files.linear.linear.mean)
        self._step("training", choices, self._training(choices, data))
        self._step("analysis", choices, ["analyze", files.training.path, -1])
        latents = files.training.latents()
        kept = ScreeningFiles(files.training.path).kept
        if kept.is_file():
            # Training left images out, and has latents of the others alone.
            settings = replace(settings, files=replace(settings.files, indices=kept))
            particles = settings.particle_options()
        line = ["nuisance", particles[0], latents, *particles[1:], "--seed", settings.seed]
        self._step("nuisance", choices, [*line, "-o", files.nuisance.path])
        sentence = write_run_page(files, self._manifest.content)
        self._manifest.record(verdict=sentence)
        logger.info("\n%s\nThe report is %s", sentence, files.report)

    def _choose(self, molecule_radius: float | None) -> list[Choice]:
        particles, settings = self._particles, self._settings
        return choose(
            *(len(particles), particles.box_size, particles.require_pixel_size()),
            latent_dim=settings.latent_dim,
            effort=settings.effort,
            molecule_radius=molecule_radius,
            given=settings.given,
        )

    def _step(self, name: str, choices: Sequence[Choice], arguments: Sequence[object]) -> None:
        """Run a command as a user would type it, unless its result is there."""
        result = self._results[name]
        if result.is_file():
            logger.info("%s is there already: %s", name, result)
            return
        values = {choice.option: choice.value for choice in choices}
        seconds = estimated_seconds(
            len(self._particles), self._particles.box_size, values, self._speed
        )
        names = list(self._results)
        after = [later for later in names[names.index(name) + 1 :] if not self._is_done(later)]
        rest = sum(seconds[later] for later in after)
        words = [str(argument) for argument in arguments]
        line = f"cryodrgn {shlex.join(words)}"
        logger.info(
            "\n[%d of %d] %s: %s\nabout %s, with all steps after it about %s%s\n$ %s",
            *(names.index(name) + 1, len(names), name, WORDS[name]),
            *(format_duration(seconds[name]), format_duration(seconds[name] + rest)),
            ", or less if training converges early" if name in {"check", "training"} else "",
            line,
        )
        started = time.monotonic()
        with followed_by(rest):
            status = self._run_command(words)
        if status or not result.is_file():
            # A command that was asked to stop ends well, without its result.
            what = "this failed" if status else "this was stopped"
            msg = f"the run ended because {what}: {line}; call it again to go on"
            raise CryodrgnError(msg)
        self._manifest.add_step(name, line, time.monotonic() - started)

    def _is_done(self, name: str) -> bool:
        return self._results[name].is_file()

    def _sign(self) -> list[object]:
        flag = ["--invert-data"] if self._settings.invert else []
        return [*flag, "--seed", self._settings.seed, "-o", self._files.check.path]

    def _training(self, choices: Sequence[Choice], data: Sequence[object]) -> list[object]:
        files = self._files
        line: list[object] = ["train_vae", *data]
        for choice in choices:
            if choice.option not in {"-D", "--window-r", "--held-out"}:
                line += [choice.option, f"{choice.value:g}"]
        held_out = next(c.value for c in choices if c.option == "--held-out")
        if held_out:
            line += ["--held-out", f"{held_out:g}", "--stop-when-converged"]
        signals = self._linear_signals()
        if signals:
            line += ["--init-z", files.linear.path]
            logger.info(
                "training begins with the linear latent, %d components of which carry signal",
                signals,
            )
        return [*line, "-o", files.training.path, "--load", "latest"]

    def _linear_signals(self) -> int:
        """Components of the linear model that carry signal."""
        if "linear" not in self._results:
            return 0
        record = load_run_config(self._files.linear.config_yaml)["training"]
        return int(record["components_with_signal"])

    def _checked_sign(self) -> bool:
        """True if the data must be inverted; refuses particles that do not fit their poses."""
        check, given = self._files.check, self._settings.invert
        found = read_json(check.json)
        others = [change for change in found["changes"] if change != WRONG_SIGN]
        if others or (found["changes"] and given is not None):
            msg = f"{found['verdict']} See {check.page}"
            raise MetadataError(msg)
        return WRONG_SIGN in found["changes"] if given is None else given

    def _log_choices(self, choices: Sequence[Choice], *, invert: bool) -> None:
        if self._settings.invert is not None:
            reason = "given"
        else:
            skewness = read_json(self._files.check.json)["map_skewness"]
            density = "negative" if invert else "positive"
            reason = f"density comes out {density} as the file stands (skewness {skewness:.2f})"
        sign = "--invert-data" if invert else "--uninvert-data"
        logger.info("\n%-15s %-6s %s", sign, "", reason)
        for choice in choices:
            logger.info("%-15s %-6g %s", choice.option, choice.value, choice.reason)
        self._manifest.record(
            choices={
                sign: {"value": None, "reason": reason},
                **{c.option: {"value": c.value, "reason": c.reason} for c in choices},
            }
        )
