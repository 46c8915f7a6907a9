"""Names of the files that commands write; the only place that knows them.

A training run with output directory ``RUN`` holds, for every checkpointed epoch ``E``
(counted from 0), ``weights.E.pkl`` and ``z.E.pkl``, at its end the same without a number,
and beside them ``config.yaml``, ``config.pkl`` (the same settings as cryoDRGN 0.2.0 writes
them), ``run.log``, ``metrics.csv`` and ``events.jsonl``.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryodrgn.analysisdir import AnalysisFiles, LandscapeFiles
from cryodrgn.lineardir import LinearFiles


class RunDirectory:
    """The files of one training run.

    Args:
        path: The output directory; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def config_yaml(self) -> Path:
        """Settings of the run, as text."""
        return self.path / "config.yaml"

    @property
    def config_pickle(self) -> Path:
        """Settings of the run, in the layout of cryoDRGN 0.2.0."""
        return self.path / "config.pkl"

    @property
    def log(self) -> Path:
        """Log of the run, one line per message."""
        return self.path / "run.log"

    @property
    def metrics(self) -> Path:
        """Losses along the run, as a table."""
        return self.path / "metrics.csv"

    @property
    def events(self) -> Path:
        """Events of the run as they happen, one JSON object per line."""
        return self.path / "events.jsonl"

    @property
    def convergence(self) -> Path:
        """Table of the held-out evaluation after every epoch."""
        return self.path / "convergence.csv"

    def weights(self, epoch: int | None = None) -> Path:
        """Network weights after ``epoch``, or of the finished run."""
        return self._numbered("weights", epoch)

    def latents(self, epoch: int | None = None) -> Path:
        """Latent mean and log-variance of every particle."""
        return self._numbered("z", epoch)

    def poses(self, epoch: int | None = None) -> Path:
        """Refined poses."""
        return self._numbered("pose", epoch)

    def reconstruction(self, epoch: int | None = None) -> Path:
        """The volume of a homogeneous run."""
        return self._numbered("reconstruct", epoch, "mrc")

    def results(self, epoch: int) -> list[tuple[Path, Path]]:
        """Files that an epoch may have left, each with its place in the finished run."""
        names = (self.latents, self.poses, self.reconstruction, self.weights)
        return [(name(epoch), name()) for name in names]

    @property
    def checkpoint(self) -> Path:
        """State of a run within an epoch."""
        return self.path / "checkpoint.pkl"

    def epochs(self) -> list[int]:
        """Epochs that have weights, in order."""
        return self._numbers("weights")

    def latent_epochs(self) -> list[int]:
        """Epochs that have latents, in order."""
        return self._numbers("z")

    def analysis(self, epoch: int | None = None) -> AnalysisFiles:
        """Default folder for the analysis of an epoch."""
        return AnalysisFiles(self.path / ("analyze" if epoch is None else f"analyze.{epoch}"))

    def landscape(self, epoch: int | None = None) -> LandscapeFiles:
        """Default folder for the landscape of an epoch."""
        name = "landscape" if epoch is None else f"landscape.{epoch}"
        return LandscapeFiles(self.path / name)

    @property
    def linear(self) -> LinearFiles:
        """Files of a linear run beside those of every run."""
        return LinearFiles(self.path)

    def written_files(self) -> list[Path]:
        """Everything in the folder that a training run wrote."""
        fixed = (self.config_yaml, self.config_pickle, self.log, self.metrics, self.checkpoint)
        fixed += (self.events, self.convergence, *self.linear.fixed())
        pattern = re.compile(
            r"(weights|z|pose)(\.\d+)?\.pkl|reconstruct(\.\d+)?\.mrc|component\d+(\.fsc\.txt|\.mrc)"
        )
        found = [path for path in self.path.glob("*") if pattern.fullmatch(path.name)]
        return sorted(found + [path for path in fixed if path.exists()])

    def _numbers(self, stem: str) -> list[int]:
        pattern = re.compile(rf"{stem}\.(\d+)\.pkl")
        matches = (pattern.fullmatch(path.name) for path in self.path.glob(f"{stem}.*.pkl"))
        return sorted(int(match.group(1)) for match in matches if match)

    def _numbered(self, stem: str, epoch: int | None, ending: str = "pkl") -> Path:
        return self.path / (f"{stem}.{ending}" if epoch is None else f"{stem}.{epoch}.{ending}")


def latents_at(path: Path) -> Path:
    """A file of latents that a user names by itself or by the folder of its run."""
    return RunDirectory(path).latents() if path.is_dir() else path


@dataclass(frozen=True, slots=True)
class StateFiles:
    """The files of states reconstructed from images.

    The folder is also that of a run: the model of smooth functions stands in ``weights.pkl``.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def run(self) -> RunDirectory:
        """The model, as a run."""
        return RunDirectory(self.path)

    @property
    def table(self) -> Path:
        """Table of the states: latent, particles, resolution."""
        return self.path / "states.csv"

    @property
    def figure(self) -> Path:
        """All of it at a glance."""
        return self.path / "states.png"

    def volume(self, number: int) -> Path:
        """The volume of a state."""
        return self.path / f"state_{number:03d}.mrc"

    def half_map(self, number: int, half: int) -> Path:
        """One of its half maps, 0 or 1."""
        return self.path / f"state_{number:03d}_half_map_{'ab'[half]}.mrc"

    def fsc(self, number: int) -> Path:
        """Their correlation."""
        return self.path / f"state_{number:03d}_fsc.txt"

    def local_resolution(self, number: int) -> Path:
        """Local resolution in Å."""
        return self.path / f"state_{number:03d}_local_resolution.mrc"

    def standard_error(self, number: int) -> Path:
        """Standard error of every voxel."""
        return self.path / f"state_{number:03d}_standard_error.mrc"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReconstructionFiles:
    """The files of one backprojection."""

    volume: Path
    half_map_a: Path
    half_map_b: Path
    fsc_text: Path
    fsc_plot: Path

    @classmethod
    def named(cls, output: Path) -> Self:
        """Names that follow from the output the user gave: a ``.mrc`` file, or a folder."""
        if output.suffix != ".mrc":
            return cls(
                volume=output / "backproject.mrc",
                half_map_a=output / "half_map_a.mrc",
                half_map_b=output / "half_map_b.mrc",
                fsc_text=output / "fsc-vals.txt",
                fsc_plot=output / "fsc-plot.png",
            )
        base = output.with_suffix("")
        return cls(
            volume=output,
            half_map_a=base.with_name(f"{base.name}_half_map_a.mrc"),
            half_map_b=base.with_name(f"{base.name}_half_map_b.mrc"),
            fsc_text=base.with_name(f"{base.name}_fsc.txt"),
            fsc_plot=base.with_name(f"{base.name}_fsc.png"),
        )


@dataclass(frozen=True, slots=True)
class SimulationFiles:
    """The files of one simulated particle set.

    Attributes:
        path: The folder that holds them.
    """

    path: Path

    @property
    def particles(self) -> Path:
        """The images."""
        return self.path / "particles.mrcs"

    @property
    def tilted(self) -> Path:
        """The images of the second exposure of tilt pairs."""
        return self.path / "particles_tilt.mrcs"

    @property
    def clean_images(self) -> Path:
        """Images without noise, kept only while the set is made."""
        return self.path / "clean.npy"

    @property
    def star(self) -> Path:
        """Images, poses and CTF as RELION 3.1 writes them."""
        return self.path / "particles.star"

    @property
    def poses(self) -> Path:
        """The true poses."""
        return self.path / "poses.pkl"

    @property
    def ctf(self) -> Path:
        """The true CTF parameters."""
        return self.path / "ctf.pkl"

    @property
    def labels(self) -> Path:
        """Number of the true state of every image."""
        return self.path / "labels.npy"

    @property
    def settings(self) -> Path:
        """Settings with which the set was made."""
        return self.path / "simulation.yaml"

    def state(self, number: int) -> Path:
        """The true volume of a state."""
        return self.path / "gt" / f"state_{number:03d}.mrc"


@dataclass(frozen=True, slots=True)
class DemoFiles:
    """The files of one demo.

    Attributes:
        path: The folder that holds them.
    """

    path: Path

    @property
    def simulation(self) -> SimulationFiles:
        """The simulated particle set."""
        return SimulationFiles(self.path / "simulated")

    @property
    def particles(self) -> Path:
        """The downsampled stack."""
        return self.path / "particles.32.mrcs"

    @property
    def poses(self) -> Path:
        """Parsed poses."""
        return self.path / "pose.pkl"

    @property
    def ctf(self) -> Path:
        """Parsed CTF parameters."""
        return self.path / "ctf.pkl"

    @property
    def consensus(self) -> Path:
        """The backprojected volume."""
        return self.path / "backproject.32.mrc"

    @property
    def consensus_fsc(self) -> Path:
        """The correlation of its half maps."""
        return ReconstructionFiles.named(self.consensus).fsc_text

    @property
    def run(self) -> RunDirectory:
        """The training run."""
        return RunDirectory(self.path / "00_vae32_z1")

    @property
    def z_values(self) -> Path:
        """Points of the latent space along the motion."""
        return self.path / "z_values.txt"

    @property
    def volumes(self) -> Path:
        """The volumes at those points."""
        return self.path / "volumes"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"

    def volume(self, number: int) -> Path:
        """One of the volumes."""
        return self.volumes / f"vol_{number:03d}.mrc"


@dataclass(frozen=True, slots=True)
class CheckFiles:
    """The files of one check.

    Attributes:
        path: The folder that holds them.
    """

    path: Path

    @property
    def page(self) -> Path:
        """Report with pictures."""
        return self.path / "check.html"

    @property
    def json(self) -> Path:
        """Results for programs."""
        return self.path / "check.json"

    @property
    def map(self) -> Path:
        """The map of the sample, at low resolution."""
        return self.path / "map.mrc"


@dataclass(frozen=True, slots=True)
class NuisanceFiles:
    """The files of one nuisance report.

    Attributes:
        path: The folder that holds them.
    """

    path: Path

    @property
    def page(self) -> Path:
        """Report with pictures."""
        return self.path / "nuisance.html"

    @property
    def json(self) -> Path:
        """Results for programs."""
        return self.path / "nuisance.json"


@dataclass(frozen=True, slots=True)
class WholeRunFiles:
    """The files of one run from check to report.

    Attributes:
        path: The folder that holds them.
    """

    path: Path

    @property
    def manifest(self) -> Path:
        """Versions, seeds, inputs with hashes, choices with reasons, and steps of the run."""
        return self.path / "run.json"

    @property
    def log(self) -> Path:
        """Log of all steps, one line per message."""
        return self.path / "run.log"

    @property
    def check(self) -> CheckFiles:
        """The check of the particles."""
        return CheckFiles(self.path / "check")

    @property
    def linear(self) -> RunDirectory:
        """The linear run, whose mean is the first volume."""
        return RunDirectory(self.path / "linear")

    @property
    def training(self) -> RunDirectory:
        """The training run."""
        return RunDirectory(self.path / "training")

    @property
    def analysis(self) -> AnalysisFiles:
        """The analysis of the training run."""
        return self.training.analysis()

    @property
    def nuisance(self) -> NuisanceFiles:
        """Files of the report on nuisance variables."""
        return NuisanceFiles(self.path / "nuisance")

    @property
    def report(self) -> Path:
        """All of it on one page."""
        return self.path / "report.html"


@dataclass(frozen=True, slots=True)
class ScreeningFiles:
    """Files about images that cannot be used.

    Attributes:
        path: The folder of the results.
    """

    path: Path

    @property
    def table(self) -> Path:
        """Row and reason of every bad image."""
        return self.path / "screened.csv"

    @property
    def kept(self) -> Path:
        """Rows of the images that are used, as an index pickle."""
        return self.path / "screened_ind.pkl"
