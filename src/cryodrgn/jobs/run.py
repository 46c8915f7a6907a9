"""From a particle file to a report: check, train and analyze, each step made only once."""

import logging
import math
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from cryodrgn import compat
from cryodrgn.counts import counted
from cryodrgn.errors import CryodrgnError, MetadataError
from cryodrgn.jobs.analyze import Analyze
from cryodrgn.jobs.backproject import Backproject
from cryodrgn.jobs.check import Check
from cryodrgn.jobs.chosen_settings import DECIDED, ChosenSettings
from cryodrgn.jobs.command_words import in_flags, words_of
from cryodrgn.jobs.nuisance import Nuisance
from cryodrgn.jobs.options import BoxOptions, particle_files
from cryodrgn.jobs.recipe_options import RECIPES
from cryodrgn.jobs.reconstruction_options import SymmetryOptions
from cryodrgn.jobs.tilt_options import TiltSeriesOptions
from cryodrgn.jobs.train_linear import TrainLinear
from cryodrgn.jobs.train_vae import TrainVae
from cryodrgn.particles.options import ParticleOptions, TableOptions
from cryodrgn.settings import (
    Job,
    SeedOptions,
    at_least,
    function_of,
    option,
    options_of,
    positional,
    same_as,
    settings,
)

if TYPE_CHECKING:
    from cryodrgn.particles.particle_set import ParticleSet
    from cryodrgn.rundir import RunDirectory, WholeRunFiles
    from cryodrgn.training.events import Listeners
    from cryodrgn.workflow.auto_settings import Choice
    from cryodrgn.workflow.manifest import Manifest

logger = logging.getLogger(__name__)

# A linear model of fewer particles says nothing.
FEWEST_LINEAR = 200
WORDS = {
    "check": "do poses, CTF and sign fit the images?",
    "consensus": "the map with its symmetry, half maps and their FSC",
    "linear": "a first volume, and what moves",
    "training": "the heterogeneous reconstruction",
    "analysis": "volumes and plots",
    "nuisance": "does the latent follow structure, or poses and optics?",
}


@settings
class RunAll(
    ChosenSettings,
    SymmetryOptions,
    BoxOptions,
    TiltSeriesOptions,
    ParticleOptions,
    TableOptions,
    Job["WholeRunFiles"],
):
    """From a particle file to a report: check, train and analyze."""

    command = "run"

    particles: Path = positional(help="Input particles (.mrcs, .star, .cs, or .txt)")
    outdir: Path = option("-o", "--outdir", kw_only=False, help="Output folder of all steps")
    effort: Literal["quick", "normal", "full"] = option(
        default="normal",
        help="Effort",
        constants={
            "--quick": (
                "quick",
                (
                    "A first look: coarser images (at most 64 px), small networks, at most 8 "
                    "epochs"
                ),
            ),
            "--full": (
                "full",
                (
                    "All the detail in the data: finer images (at most 256 px) and at most "
                    "100 epochs; without --quick or --full, at most 128 px and 50 epochs"
                ),
            ),
        },
    )
    seed: int = same_as(SeedOptions, "seed")
    rounds: int = option(
        "--rounds",
        default=1,
        check=at_least(1),
        help="Fit the linear model at most this many times, each time without the particles "
        "that looked like junk, until no more are found than expected by chance; training "
        "and analysis use the particles that are left (1: all particles)",
    )

    @property
    def decided(self) -> dict[str, float]:
        """Settings that the user decided in place of the data."""
        given = {name: getattr(self, name) for name in DECIDED}
        return {name: value for name, value in given.items() if value is not None}

    def request(self) -> dict[str, Any]:
        """Settings that must be the same when a run is resumed."""
        return {
            "particles": words_of(_about(self, Check))[1:],
            "latent_dim": self.zdim,
            "effort": self.effort,
            "seed": self.seed,
            "rounds": self.rounds,
            "given": {_flag(name): value for name, value in self.decided.items()},
            "invert": self.invert,
            "symmetry": self.point_group,
        }

    @property
    def point_group(self) -> str | None:
        """Name of the point group; None without symmetry."""
        from cryodrgn.geometry.point_groups import canonical_name

        name = canonical_name(self.symmetry)
        return None if name == "C1" else name

    def run(self) -> "WholeRunFiles":
        """Check, train, analyse, report; what an earlier call with these settings made is kept.

        Raises:
            CryodrgnError: The particles cannot be used, a step failed, or the folder holds a
                run of other settings or other particles.
        """
        from cryodrgn.io.atomic import make_folder
        from cryodrgn.io.log import log_to_file
        from cryodrgn.io.particle_files import open_particles
        from cryodrgn.preflight.plan import require_output
        from cryodrgn.reconstruction.assumptions import check_symmetry
        from cryodrgn.rundir import WholeRunFiles
        from cryodrgn.training.events import Listeners, added_listeners
        from cryodrgn.training.run_log import EventsFile
        from cryodrgn.workflow.manifest import Manifest, input_files

        files, given = WholeRunFiles(self.outdir), particle_files(self, self.particles)
        require_output(files.path)
        particles = open_particles(given)
        particles.images.require_poses()
        particles.require_pixel_size()
        check_symmetry(particles, self.symmetry)
        manifest = Manifest(files.manifest)
        manifest.begin(self.request(), input_files(given))
        make_folder(files.path)
        # Sign and window are found out, not taken for granted.
        listeners = Listeners((EventsFile(files.events),), added_listeners())
        with log_to_file(files.log), compat.meaning(compat.OLD):
            _Pipeline(self, files, particles, manifest, listeners).perform()
        return files


def _flag(setting: str) -> str:
    """Flag of a setting of the training, by which manifests name it."""
    return options_of(TrainVae)[setting][1].flags[0]


def _about(
    run: RunAll, job: type[Job[Any]], more: Mapping[str, Any] = MappingProxyType({})
) -> Any:
    """A step on the particles of the run.

    Args:
        run: The run.
        job: What is done.
        more: Its other settings.
    """
    names = ("particles", "poses", "ctf", "correction", "indices", "datadir")
    names += (*options_of(BoxOptions), *options_of(TiltSeriesOptions))
    values = {name: getattr(run, name) for name in names}
    given = {
        n: value for n, value in values.items() if value is not None and value is not False
    }
    return job.with_given({**given, **more})


def _record_of(run: "RunDirectory") -> dict[str, Any]:
    """Results that a linear run recorded."""
    from cryodrgn.io.run_config import load_run_config

    return load_run_config(run.config_yaml)["training"]


class _Pipeline:
    """The steps of one run."""

    def __init__(
        self,
        run: RunAll,
        files: "WholeRunFiles",
        particles: "ParticleSet",
        manifest: "Manifest",
        listeners: "Listeners",
    ) -> None:
        self._run, self._files, self._particles = run, files, particles
        self._manifest, self._listeners = manifest, listeners
        self._results = {
            "check": files.check.json,
            **({"consensus": files.consensus.volume} if run.point_group else {}),
            "linear": files.linear.weights(),
            **{
                f"linear {number}": files.linear_round(number).weights()
                for number in range(2, run.rounds + 1)
            },
            "training": files.training.weights(),
            "analysis": files.analysis.report,
            "nuisance": files.nuisance.json,
        }
        if particles.num_different < FEWEST_LINEAR:
            logger.info("no linear model: %d particles are too few", particles.num_different)
            self._forget_linear_after(0)
        self._linear = files.linear

    def perform(self) -> None:
        """Make every step whose result is not there, and the page."""
        from cryodrgn.training.events import ReportWritten
        from cryodrgn.workflow.run_page import write_run_page

        run, files = self._run, self._files
        choices = self._choose(None)
        sign = {"invert": True} if run.invert else {}
        own = {"outdir": files.check.path, "accept": True, **sign, "seed": run.seed}
        step = _about(run, Check, own)
        self._step("check", choices, step)
        invert = self._checked_sign()
        choices = self._choose(_read(files.check.json).get("density_radius"))
        self._log_choices(choices, invert=invert)
        data = self._data(choices, invert=invert)
        if run.point_group is not None:
            self._step("consensus", choices, self._consensus(run.point_group, invert=invert))
        if "linear" in self._results:
            # Every later step has the particles and poses that the network is trained on.
            run = self._run = self._with_corrected_poses(self._fit_linear(choices, data))
        step = _about(run, TrainVae, data | self._training(choices))
        self._step("training", choices, step)
        own = {"workdir": files.training.path, "epoch": -1, "seed": run.seed}
        step = Analyze.with_given(own)
        self._step("analysis", choices, step)
        self._step("nuisance", choices, self._nuisance())
        sentence = write_run_page(files, self._manifest.content, run.point_group)
        self._manifest.record({"verdict": sentence})
        self._listeners.tell(ReportWritten(verdict=sentence, report=files.report))
        logger.info("\n%s\nThe report is %s", sentence, files.report)

    def _consensus(self, group: str, *, invert: bool) -> Job[Any]:
        """The map that all images make with their symmetry."""
        sign = {"invert": True} if invert else {}
        own = {"output": self._files.consensus.path, "symmetry": group}
        return _about(self._run, Backproject, {**own, "first": len(self._particles), **sign})

    def _fit_linear(self, choices: Sequence["Choice"], data: Mapping[str, Any]) -> RunAll:
        """Fit the linear model, again without junk as often as asked.

        Returns:
            The run, whose particles are those of the last fit.
        """
        from cryodrgn.workflow.corrected_poses import rounds_for

        run = self._run
        rounds = rounds_for(self._particles)
        data = {**data, **({"pose_rounds": rounds} if rounds else {})}
        if run.point_group is not None:
            data["symmetry"] = run.point_group
        for number in range(1, run.rounds + 1):
            name = "linear" if number == 1 else f"linear {number}"
            here = self._files.linear if number == 1 else self._files.linear_round(number)
            step = _about(run, TrainLinear, {"outdir": here.path, "overwrite": True, **data})
            self._step(name, choices, step)
            self._linear = here
            record = _record_of(here)
            logger.info("%s", record["junk"])
            by_chance = record["junk_by_chance"]
            spread = record.get("junk_by_chance_spread", math.sqrt(by_chance))
            if record["num_junk"] <= by_chance + 3 * spread:
                if run.rounds > 1:
                    more = "nothing" if number == 1 else "nothing else"
                    logger.info("no more than by chance: %s is left out", more)
                self._forget_linear_after(number)
                break
            if number < run.rounds:
                run = replace(run, indices=here.judged.good)
            elif run.rounds > 1:
                logger.info("they stay: %d rounds were asked for (`rounds`)", run.rounds)
        logger.info("the first volume at full size is %s", self._linear.linear.mean)
        return run

    def _with_corrected_poses(self, run: RunAll) -> RunAll:
        """The run with the poses that its linear model corrected, if any."""
        from cryodrgn.rundir import ScreeningFiles
        from cryodrgn.workflow.corrected_poses import corrected_poses

        linear = self._linear
        poses = corrected_poses(linear, _record_of(linear))
        if poses is None:
            return run
        kept = ScreeningFiles(linear.path).kept
        return replace(run, poses=poses, indices=kept if kept.is_file() else run.indices)

    def _forget_linear_after(self, number: int) -> None:
        """Drop the steps of linear models after some number of them."""
        names = [name for name in self._results if name.split()[0] == "linear"]
        for name in names[number:]:
            del self._results[name]

    def _data(self, choices: Sequence["Choice"], *, invert: bool = False) -> dict[str, Any]:
        """Settings of the images of both models."""
        values = {choice.setting: choice.value for choice in choices}
        data = {
            "box_size": round(values["box_size"]),
            "window_radius": values["window_radius"],
            "seed": self._run.seed,
        }
        return data | ({"invert": True} if invert else {})

    def _nuisance(self) -> Job[Any]:
        from cryodrgn.rundir import ScreeningFiles

        run, files = self._run, self._files
        kept = ScreeningFiles(files.training.path).kept
        if kept.is_file():
            # Training left images out, and has latents of the others alone.
            run = replace(run, indices=kept)
        latents = files.training.latents()
        outdir = files.nuisance.path
        return _about(run, Nuisance, {"latents": latents, "outdir": outdir, "seed": run.seed})

    def _choose(self, molecule_radius: float | None) -> list["Choice"]:
        from cryodrgn.workflow.auto_settings import choose

        particles, run = self._particles, self._run
        return choose(
            len(particles),
            particles.box_size,
            particles.require_pixel_size(),
            latent_dim=run.zdim,
            effort=run.effort,
            molecule_radius=molecule_radius,
            given=run.decided,
            num_different=particles.num_different,
        )

    def _step(self, name: str, choices: Sequence["Choice"], job: Job[Any]) -> None:
        """Do a job, and say how a user would type it, unless its result is there."""
        from cryodrgn.progress import followed_by
        from cryodrgn.training.events import StepFinished

        result = self._results[name]
        if result.is_file():
            logger.info("%s is there already: %s", name, result)
            return
        line = shlex.join(["cryodrgn", *words_of(job)])
        rest = self._announce(name, choices, line)
        started, problem, cause = time.monotonic(), None, None
        try:
            with followed_by(rest):
                job.run()
            if not result.is_file():
                # A job that was asked to stop ends well, without its result.
                problem = f"the run ended because this was stopped: {line}"
        except CryodrgnError as error:
            cause, reason = error, in_flags(str(error), type(job))
            problem = f"{reason}; the run ended because this failed: {line}"
        seconds = time.monotonic() - started
        self._listeners.tell(StepFinished(step=name, seconds=seconds, error=problem))
        if problem is not None:
            msg = f"{problem}; call it again to go on"
            raise CryodrgnError(msg) from cause
        self._manifest.add_step(name, line, seconds)

    def _announce(self, name: str, choices: Sequence["Choice"], line: str) -> float:
        """Log what comes now, how long it takes, and return the seconds of what follows."""
        from cryodrgn.progress import format_duration
        from cryodrgn.training.events import StepBegun
        from cryodrgn.workflow.estimates import estimated_seconds

        values = {choice.setting: choice.value for choice in choices}
        own = {"outdir": self._linear.path, "symmetry": self._run.symmetry}
        linear = _about(self._run, TrainLinear, own | self._data(choices))
        seconds = estimated_seconds(self._particles, values, linear.config())
        names = list(self._results)
        after = [later for later in names[names.index(name) + 1 :] if not self._is_done(later)]
        rest = sum(seconds[later.split()[0]] for later in after)
        step = name.split()[0]
        early = ", or less if training converges early"
        logger.info(
            "\n[%d of %d] %s: %s\nabout %s, with all steps after it about %s%s\n$ %s",
            names.index(name) + 1,
            len(names),
            name,
            WORDS[step],
            format_duration(seconds[step]),
            format_duration(seconds[step] + rest),
            early if name in {"check", "training"} else "",
            line,
        )
        begun = StepBegun(
            folder=self._files.path,
            step=name,
            steps=tuple(names),
            command=line,
            seconds=seconds[step],
            seconds_after=rest,
        )
        self._listeners.tell(begun)
        return rest

    def _is_done(self, name: str) -> bool:
        return self._results[name].is_file()

    def _training(self, choices: Sequence["Choice"]) -> dict[str, Any]:
        """Settings of the training beyond those of the images."""
        files, values = self._files, {choice.setting: choice.value for choice in choices}
        whole = ("zdim", "encoder_dim", "decoder_dim", "batch_size", "num_epochs")
        chosen: dict[str, Any] = {name: round(values[name]) for name in whole}
        chosen["learning_rate"] = values["learning_rate"]
        if values["held_out"]:
            chosen |= {"held_out": values["held_out"], "stop_when_converged": True}
        if "linear" in self._results:
            chosen |= self._on_linear_model(chosen["zdim"])
        if "recipe" in chosen:
            # What the data chose gives way to the recipe, and what is given does not.
            for name in (chosen.keys() & RECIPES["fast"].keys()) - self._run.decided.keys():
                del chosen[name]
        return chosen | {"outdir": files.training.path, "load": "latest"}

    def _on_linear_model(self, latent_dim: int) -> dict[str, Any]:
        """Settings by which the network begins with the linear model."""
        signals = int(_record_of(self._linear)["components_with_signal"])
        if signals <= latent_dim:
            logger.info(
                "the network is trained on the linear model, %s signal",
                counted(signals, "component of which carries", "components of which carry"),
            )
            return {"linear_run": self._linear.path, "recipe": "fast"}
        logger.info(
            "a latent of %s has no room for the %d components of the linear model: "
            "the network is trained alone, and begins with the first of them",
            counted(latent_dim, "dimension"),
            signals,
        )
        return {"initial_latents": self._linear.path}

    def _checked_sign(self) -> bool:
        """True if the data must be inverted; refuses particles that do not fit their poses."""
        from cryodrgn.diagnosis.convention_verdict import WRONG_SIGN

        def is_sign(change: str) -> bool:
            # Checks of earlier versions end it otherwise.
            return change.partition(" (")[0] == WRONG_SIGN.partition(" (")[0]

        check, given = self._files.check, self._run.invert
        found = _read(check.json)
        others = [change for change in found["changes"] if not is_sign(change)]
        if others or (found["changes"] and given is not None):
            msg = f"{found['verdict']} See {check.page}"
            raise MetadataError(msg)
        return any(map(is_sign, found["changes"])) if given is None else given

    def _log_choices(self, choices: Sequence["Choice"], *, invert: bool) -> None:
        if self._run.invert is not None:
            reason = "given"
        else:
            skewness = _read(self._files.check.json)["map_skewness"]
            density = "negative" if invert else "positive"
            reason = f"density comes out {density} as the file stands (skewness {skewness:.2f})"
        said = options_of(TrainVae)["invert"][1]
        sign = said.flags[0] if invert else next(iter(said.constants))
        logger.info("\n%-15s %-6s %s", sign, "", reason)
        for choice in choices:
            logger.info("%-15s %-6g %s", _flag(choice.setting), choice.value, choice.reason)
        reasons = {_flag(c.setting): {"value": c.value, "reason": c.reason} for c in choices}
        reasons = {sign: {"value": None, "reason": reason}} | reasons
        self._manifest.record({"choices": reasons})


def _read(path: Path) -> Mapping[str, Any]:
    from cryodrgn.io.text import read_json

    return read_json(path)


run = function_of(RunAll)
