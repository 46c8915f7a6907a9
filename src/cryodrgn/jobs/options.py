"""Groups of settings that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cryodrgn.data.options import WINDOW_RADIUS, PreprocessingOptions
from cryodrgn.errors import ConfigError
from cryodrgn.jobs.tilt_options import TiltOptions, TiltSeriesOptions
from cryodrgn.particles.options import (
    LOADING,
    ParticleFileOptions,
    ParticleOptions,
    TiltSeriesSettings,
)
from cryodrgn.settings import (
    Check,
    Settings,
    option,
    part_of,
    same_as,
    settings,
    within,
)
from cryodrgn.training.options import (
    POSES,
    AdamOptions,
    CacheOptions,
    ExecutionOptions,
    HeldOutConfig,
    LengthOptions,
    PoseConfig,
    RotationNumbers,
)
from cryodrgn.training.schedules import Curriculum

if TYPE_CHECKING:
    from cryodrgn.data.config import DataConfig
    from cryodrgn.io.particle_files import ParticleFiles

HALF = "half"
MRC_ENDINGS = (".mrc", ".mrcs")
PICKLE_ENDINGS = (".pkl", ".pik")
Half = Literal["half"]


@settings
class DeviceOptions(Settings):
    """Device to compute on."""

    device: str = option(
        "--device",
        default="auto",
        help="cpu, cuda, cuda:1, mps …; auto takes a GPU if there is one",
    )


@settings
class ComputeOptions(DeviceOptions):
    """Devices to compute on, one or all of the machine."""

    multigpu: bool = option(
        "--multigpu",
        default=False,
        help="Compute on all GPUs of this machine, as if started with torchrun",
    )


@settings
class SumOptions(DeviceOptions):
    """Device to compute on, and the order of sums there."""

    deterministic: bool = option(
        "--deterministic",
        default=False,
        help="On a GPU, sum in the same order in every run, so that the same seed gives the "
        "same files bit for bit, as it does on a CPU; slower",
    )


@settings
class BoxOptions(Settings):
    """Field of view of the images."""

    field_box_size: int | None = same_as(ParticleFileOptions, "box_size")


@settings
class SelectionOptions(TiltSeriesOptions, ParticleOptions):
    """Selection of particles, and of images that are screened."""

    screen: Literal["sample", "all", "none"] = option(
        "--screen",
        default="sample",
        group=LOADING,
        help="Images to look at for bad ones (values that are not finite, no contrast, hot "
        "pixels): a sample of up to 1000, and all if bad ones turn up in it or later; all of "
        "them; or none. A few bad images are left out and listed in screened.csv",
    )


@settings
class DataOptions(SelectionOptions):
    """Preprocessing of images."""

    invert: bool = same_as(PreprocessingOptions, "invert")
    window: bool | None = option(
        "--window",
        default=None,
        group=LOADING,
        help="Real space windowing of dataset",
        constants={"--no-window": (False, "No real space windowing (the default)")},
    )
    window_radius: float | None = same_as(PreprocessingOptions, "window_radius")
    lazy: bool = option(
        "--lazy",
        default=False,
        group=LOADING,
        resumes_as="on_disk",
        help="Keep prepared images in a scratch file in OUTDIR instead of memory; this is "
        "done anyway if they do not fit",
    )

    @property
    def window_in_use(self) -> float | None:
        """Radius of the window; None for none."""
        if self.window is False:
            return None
        return self.window_radius or (WINDOW_RADIUS if self.window else None)


@settings
class TrainingBoxOptions(Settings):
    """Box size of training."""

    box_size: int | None = same_as(PreprocessingOptions, "box_size")


@settings
class StorageOptions(CacheOptions, TrainingBoxOptions):
    """Box size of training, and storage of prepared images."""


def _epochs(text: str) -> int | str:
    """A number of epochs, or the word for half of them."""
    return HALF if text == HALF else int(text)


@settings
class CurriculumOptions(Settings):
    """Frequencies that are compared in early epochs."""

    curriculum: int | Half | None = same_as(
        Curriculum,
        "num_epochs",
        default=None,
        parse=_epochs,
        check=Check(words="at least 1", holds=lambda value: value == HALF or value >= 1),
        bare=HALF,
    )


@settings
class NormOptions(Settings):
    """Normalisation of the data."""

    norm: tuple[float, float] | None = same_as(PreprocessingOptions, "norm")


@settings
class TrainingOptions(
    ExecutionOptions,
    NormOptions,
    AdamOptions,
    CurriculumOptions,
    LengthOptions,
    SumOptions,
    ComputeOptions,
):
    """Optimisation of networks."""

    @property
    def frequency_curriculum(self) -> Curriculum | None:
        """Frequencies compared in early epochs; None for all of them."""
        if self.curriculum is None:
            return None
        half = max(1, self.num_epochs // 2)
        return Curriculum(num_epochs=half if self.curriculum == HALF else int(self.curriculum))


@settings
class HeldOutOptions(Settings):
    """Held-out particles, which tell when training has converged."""

    held_out: float | None = same_as(
        HeldOutConfig, "fraction", default=None, check=within(0, 0.5)
    )
    stop_when_converged: bool = same_as(HeldOutConfig, "stop")

    @property
    def held_out_settings(self) -> HeldOutConfig | None:
        """Settings of the particles that are held out; None for none."""
        if not self.held_out and not self.stop_when_converged:
            return None
        if self.held_out is None:
            return HeldOutConfig(stop=True)
        return part_of(self, HeldOutConfig)


@settings
class PoseRefinementOptions(Settings):
    """Refinement of poses by gradient descent, along with the network."""

    refine_poses: bool = option(
        "--do-pose-sgd", default=False, group=POSES, help="Refine poses with gradient descent"
    )
    pose_pretrain: int = same_as(PoseConfig, "pretrain")
    pose_embedding: RotationNumbers = same_as(PoseConfig, "embedding")
    pose_learning_rate: float = same_as(PoseConfig, "learning_rate")


def particle_files(job: Settings, particles: Path) -> "ParticleFiles":
    """The files that describe the particles; rows are particles to jobs without tilt series."""
    from cryodrgn.io.particle_files import ParticleFiles

    is_aware = isinstance(job, TiltSeriesOptions)
    series = job.series if is_aware else TiltSeriesSettings(is_series=False)
    tilted = job.second_exposures if isinstance(job, TiltOptions) else None
    return part_of(
        job, ParticleFiles, {"particles": particles, "series": series, "tilted": tilted}
    )


def data_config(job: DataOptions, particles: Path) -> "DataConfig":
    """Images and their preprocessing, as the settings say."""
    from cryodrgn.data.config import DataConfig

    files = particle_files(job, particles)
    return part_of(job, DataConfig, {"files": files, "window_radius": job.window_in_use})


def output_flags(kind: str) -> tuple[str, ...]:
    """Names of the option for the file that a command writes, those of 4.x among them.

    Args:
        kind: What the file is, such as ``pkl`` or ``mrc``.
    """
    return ("-o", "--output", "--outfile", f"--out{kind}")


def require_ending(path: Path, endings: tuple[str, ...], setting: str) -> None:
    """Refuse an output path of the wrong type before any work is done.

    Raises:
        ConfigError: The path ends in something else.
    """
    if path.suffix not in endings:
        msg = f"`{setting}` {path} must end in {' or '.join(endings)}"
        raise ConfigError(msg)
    if path.is_dir():
        msg = f"`{setting}` {path} is a folder, expected the name of a file"
        raise ConfigError(msg)
