"""Groups of settings that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cryodrgn.errors import ConfigError
from cryodrgn.jobs.tilt_options import TiltOptions, TiltSeriesOptions
from cryodrgn.settings import (
    EVEN,
    POSITIVE,
    Check,
    Settings,
    at_least,
    between,
    option,
    part_of,
    same_as,
    settings,
    within,
)
from cryodrgn.training.options import (
    LARGE,
    POSES,
    TRAINING,
    AdamOptions,
    CacheOptions,
    ExecutionOptions,
    HeldOutConfig,
    LengthOptions,
    PoseConfig,
    RotationNumbers,
)

if TYPE_CHECKING:
    from cryodrgn.data.config import DataConfig
    from cryodrgn.io.particle_files import ParticleFiles
    from cryodrgn.reconstruction.decode import PostProcessing
    from cryodrgn.training.schedules import Curriculum

# Radius, as a fraction of half the box, at which the window of images begins to fall.
WINDOW_RADIUS = 0.85
HALF = "half"
MRC_ENDINGS = (".mrc", ".mrcs")
PICKLE_ENDINGS = (".pkl", ".pik")
Half = Literal["half"]
LOADING = "Dataset loading"


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
class DecodingOptions(Settings):
    """Execution of networks that make volumes."""

    compilation: Literal["auto", "on", "off"] = option(
        "--compile",
        default="auto",
        help="Compile the code that generates volumes (on) or not (off); auto compiles on "
        "CUDA where the volumes would take longer than compiling",
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
class TableOptions(Settings):
    """Tables of poses and CTF beside the particle file."""

    poses: Path | None = option(
        "--poses",
        default=None,
        help="Image poses (.pkl); taken from the particles if they are a .star or .cs file",
    )
    ctf: Path | None = option(
        "--ctf",
        default=None,
        metavar="pkl",
        help="CTF parameters (.pkl) if particle stack is not phase flipped; taken from the "
        "particles if they are a .star or .cs file",
    )
    correction: Literal["none", "flipped", "multiplied"] | None = option(
        "--ctf-applied",
        default=None,
        help="How the images were corrected for their CTF before: not at all, phases flipped, "
        "or multiplied by it; .cs and .pkl files do not say",
        default_words="as a .star file says, else none",
    )


@settings
class ParticleOptions(Settings):
    """Particles, and the folder of their stacks."""

    indices: Path | None = option(
        "--ind", default=None, group=LOADING, help="Filter particle stack by these indices"
    )
    datadir: Path | None = option(
        "--datadir",
        default=None,
        group=LOADING,
        metavar="DIR",
        help="Folder of the image stacks that a .star or .cs file names, if they are not found "
        "from the folder of that file upwards",
    )


@settings
class BoxOptions(Settings):
    """Field of view of the images."""

    field_box_size: int | None = option(
        "--box",
        default=None,
        group=LOADING,
        unit="px",
        check=EVEN,
        help="Crop images in real space to this even box size, centred on the particle, or "
        "pad them with zeros, before any other step; in pixels of the most frequent pixel "
        "size",
        default_words="box size of the images; if any are odd or not square, the largest "
        "even box within all of them",
    )


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

    invert: bool = option(
        "--invert-data",
        default=False,
        group=LOADING,
        help="Invert data sign",
        constants={"--uninvert-data": (False, "Do not invert data sign (the default)")},
    )
    window: bool | None = option(
        "--window",
        default=None,
        group=LOADING,
        help="Real space windowing of dataset",
        constants={"--no-window": (False, "No real space windowing (the default)")},
    )
    window_radius: float | None = option(
        "--window-r",
        default=None,
        group=LOADING,
        metavar="R",
        check=between(0, 0.99),
        help="Radius at which the window begins to fall, as a fraction of half the box; "
        "implies a window",
        default_words=str(WINDOW_RADIUS),
    )
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

    box_size: int | None = option(
        "-D",
        default=None,
        group=LARGE,
        metavar="BOX",
        unit="px",
        check=EVEN,
        help="Fourier-crop images to this box size on the fly",
        default_words="as they are",
    )


@settings
class StorageOptions(CacheOptions, TrainingBoxOptions):
    """Box size of training, and storage of prepared images."""


def _epochs(text: str) -> int | str:
    """A number of epochs, or the word for half of them."""
    return HALF if text == HALF else int(text)


@settings
class CurriculumOptions(Settings):
    """Frequencies that are compared in early epochs."""

    curriculum: int | Half | None = option(
        "--curriculum",
        default=None,
        group=TRAINING,
        parse=_epochs,
        check=Check(words="at least 1", holds=lambda value: value == HALF or value >= 1),
        bare=HALF,
        metavar="EPOCHS",
        help="Train on low spatial frequencies first, and on all of them after this number "
        "of epochs (if no number is given, half of the epochs)",
    )


NORM = Check(words="a shift and a positive scale", holds=lambda pair: pair[1] > 0)


@settings
class NormOptions(Settings):
    """Normalisation of the data."""

    norm: tuple[float, float] | None = option(
        "--norm",
        default=None,
        group=TRAINING,
        check=NORM,
        help="Data normalization as shift, 1/scale",
        default_words="0, std of dataset",
    )


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
    def frequency_curriculum(self) -> "Curriculum | None":
        """Frequencies compared in early epochs; None for all of them."""
        from cryodrgn.training.schedules import Curriculum

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


def particle_files(
    particles: Path,
    tables: TableOptions,
    chosen: ParticleOptions,
    tilt: TiltOptions | None = None,
) -> "ParticleFiles":
    """The files that describe the particles; rows are particles to jobs without tilt series."""
    from cryodrgn.io.particle_files import ParticleFiles
    from cryodrgn.particles.tilt_series import TiltSeriesSettings

    is_aware = isinstance(chosen, TiltSeriesOptions)
    return ParticleFiles(
        particles=particles,
        poses=tables.poses,
        ctf=tables.ctf,
        correction=tables.correction,
        indices=chosen.indices,
        datadir=chosen.datadir,
        tilted=None if tilt is None else tilt.second_exposures,
        tilt_deg=45.0 if tilt is None else tilt.tilt_deg,
        box_size=chosen.field_box_size if isinstance(chosen, BoxOptions) else None,
        series=chosen.series if is_aware else TiltSeriesSettings(is_series=False),
    )


def data_config(
    particles: Path,
    data: DataOptions,
    tables: TableOptions,
    *,
    box_size: int | None,
    norm: tuple[float, float] | None = None,
    tilt: TiltOptions | None = None,
) -> "DataConfig":
    """Images and their preprocessing, as the groups of settings say."""
    from cryodrgn.data.config import DataConfig

    return DataConfig(
        files=particle_files(particles, tables, data, tilt),
        window_radius=data.window_in_use,
        invert=data.invert,
        norm=norm,
        box_size=box_size,
    )


@settings
class LikeOptions(Settings):
    """Map that volumes lie on."""

    like: Path | None = option(
        "--like",
        default=None,
        group="Volume arguments",
        metavar="MRC",
        help="Map whose origin is copied so that volumes overlay it in ChimeraX, for "
        "instance that of the refinement the poses come from (default: the first voxel lies "
        "at zero)",
    )


@settings
class VolumeOptions(LikeOptions):
    """Processing of decoded volumes: pixel size, hand, sign, box size."""

    pixel_size: float | None = option(
        "--Apix",
        default=None,
        group="Volume arguments",
        check=POSITIVE,
        unit="Å/px",
        help="Angstroms per pixel of the training images (default: as in the config, else 1)",
    )
    flip: bool = option(
        "--flip", default=False, group="Volume arguments", help="Flip handedness of the volumes"
    )
    invert: bool = option(
        "--invert",
        default=False,
        group="Volume arguments",
        help="Invert contrast of the volumes",
    )
    volume_box_size: int | None = option(
        "-d",
        "--downsample",
        default=None,
        group="Volume arguments",
        metavar="BOX",
        unit="px",
        check=EVEN,
        help="Downsample volumes to this box size (pixels)",
    )
    low_pass: float | None = option(
        "--low-pass",
        default=None,
        group="Volume arguments",
        metavar="Å",
        unit="Å",
        check=POSITIVE,
        help="Low-pass filter in Å",
    )
    crop: int | None = option(
        "--crop",
        default=None,
        group="Volume arguments",
        metavar="PIX",
        unit="px",
        check=at_least(1),
        help="Crop volumes to this box size after filtering",
    )

    @property
    def processing(self) -> "PostProcessing":
        """The processing."""
        from cryodrgn.reconstruction.decode import PostProcessing

        return PostProcessing(
            flip=self.flip, invert=self.invert, low_pass=self.low_pass, crop=self.crop
        )


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
