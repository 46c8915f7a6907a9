"""Settings of a training run, and their record in the run's config file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from cryodrgn.errors import ConfigError
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.locate import stack_folders
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.models.config_file import (
    decoder_of_record,
    encoder_of_record,
    model_mapping,
    recorded_settings,
)
from cryodrgn.models.registry import ENCODERS
from cryodrgn.models.settings import ModelConfig
from cryodrgn.orientation.settings import GridSettings
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.particles.sampling import Sampling
from cryodrgn.particles.tilt_series import TiltSeriesSettings
from cryodrgn.training.optimizers import RateSchedule, Tuning
from cryodrgn.training.pose_table import PoseConfig
from cryodrgn.training.schedules import Curriculum, Equivariance, KlWeighting
from cryodrgn.training.search_config import SearchConfig
from cryodrgn.training.warm_start import WarmStart

NoiseName = Literal["white", "radial"]
Precision = Literal["auto", "float32", "bfloat16"]
Compilation = Literal["auto", "off", "on", "graphs", "triton"]
OptimizerName = Literal["adam", "muon"]
InputWeighting = Literal["none", "snr"]

# What may change when a run goes on: how long it is, how it is computed, and what it reports.
CHANGEABLE = frozenset(
    f"training.{name}"
    for name in (
        "num_epochs",
        "checkpoint_interval",
        "checkpoint_minutes",
        "log_interval",
        "on_disk",
        "memory_gb",
        "cache_dir",
        "compilation",
        "held_out.stop",
    )
) | {"data.files.found_in"}


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Images, and their preprocessing before they are compared with slices.

    Attributes:
        files: The particle file and what goes with it.
        window_radius: Where the soft window begins to fall, as a fraction of half the box;
            None applies no window.
        invert: Whether to change the sign of the data.
        norm: Offset and scale of the Hartley values; None estimates the scale from the data
            and takes 0 for the offset.
        box_size: Side in pixels to which images are Fourier-cropped on the fly; None keeps
            their own.
    """

    files: ParticleFiles
    window_radius: float | None = None
    invert: bool = False
    norm: tuple[float, float] | None = None
    box_size: int | None = None

    def with_places(self, particles: ParticleSet) -> "DataConfig":
        """These settings, with the folders in which :meth:`open` found stacks as the first."""
        pixels = particles.images.pixels
        if not isinstance(pixels, ImageStack):
            return self
        folders = stack_folders(pixels.paths)
        return replace(self, files=replace(self.files, found_in=folders))

    def open(self) -> ParticleSet:
        """The particles.

        Raises:
            CryodrgnError: A file cannot be used, the images differ in pixel size, or the box
                size is not possible.
        """
        particles = open_particles(self.files)
        particles.require_pixel_size()
        return particles if self.box_size is None else particles.cropped(self.box_size)

    def __post_init__(self) -> None:
        """Refuse numbers that are out of range.

        Raises:
            ConfigError: The window or the scale is impossible.
        """
        if self.window_radius is not None and not 0 < self.window_radius < 0.99:
            msg = f"--window-r must lie between 0 and 0.99, got {self.window_radius}"
            raise ConfigError(msg)
        if self.norm is not None and not self.norm[1] > 0:
            msg = f"the scale of --norm must be positive, got {self.norm[1]}"
            raise ConfigError(msg)

    def to_mapping(
        self, norm: tuple[float, float], sampling: Sampling | None
    ) -> dict[str, Any]:
        """The group ``dataset_args`` of a config file.

        Args:
            norm: Offset and scale that are used.
            sampling: Lattice on which images of several kinds are prepared.
        """
        mapping = {
            "particles": self.files.particles,
            "ind": self.files.indices,
            "datadir": self.files.datadir,
            "ctf": self.files.ctf,
            "poses": self.files.poses,
        }
        if self.files.tilted is not None:
            mapping["particles_tilt"] = self.files.tilted
        more: dict[str, Any] = {}
        if self.files.found_in:
            more["stack_folders"] = [str(folder) for folder in self.files.found_in]
        if self.files.correction is not None:
            more["ctf_applied"] = self.files.correction
        if self.files.tilted is not None:
            more["tilt_deg"] = self.files.tilt_deg
        if sampling is not None:
            more["sampling"] = sampling.uncropped().record()
        return {name: _absolute(path) for name, path in mapping.items()} | {
            **more,
            **self.files.series.to_mapping(),
            "norm": list(norm),
            "invert_data": self.invert,
            "window": self.window_radius is not None,
            "window_r": self.window_radius or 0.85,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentTableConfig:
    """Latents that are free numbers of each particle, without an encoder.

    Attributes:
        learning_rate: Length of their steps, see
            :class:`cryodrgn.training.row_table.PerParticleParameters`.
        pretrain: Epochs in which they stay as they are.
        initial: A ``z.pkl``, or the folder of a run that holds one, to begin with; None draws
            them from a standard normal.
    """

    learning_rate: float = 1e-4
    pretrain: int = 0
    initial: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOutConfig:
    """Held-out particles, by which the convergence of training is judged.

    Attributes:
        fraction: Share of the particles.
        stop: Whether to stop before the last epoch once training has converged.
    """

    fraction: float = 0.05
    stop: bool = False

    def __post_init__(self) -> None:
        """Refuse shares that leave nothing to train with, or nothing to judge by.

        Raises:
            ConfigError: The share is out of range.
        """
        if not 0 < self.fraction <= 0.5:
            msg = f"--held-out must be a share of the particles up to 0.5, got {self.fraction}"
            raise ConfigError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Settings of the optimisation.

    Attributes:
        num_epochs: Passes through the data.
        batch_size: Particles per step.
        tilts_drawn: Images of a particle that an epoch visits, drawn anew for each; None visits
            all.
        learning_rate: Of Adam, the highest where it changes.
        weight_decay: Of Adam.
        optimizer: ``muon`` moves the matrices of hidden layers by Muon, all else by Adam.
        rate_schedule: Course of the learning rate.
        rate_warm_up: Epochs in which it rises from 0.
        averaging: Share of the steps so far over which weights are averaged; 0 for none.
        input_weighting: ``snr`` weights what the encoder sees by the signal-to-noise ratio,
            see :mod:`cryodrgn.training.input_weights`.
        kl: How the KL divergence enters the loss.
        equivariance: Penalty on latents that change when an image is turned; None for none.
        noise_model: Noise of the images: white, or with a spectrum of every optics group.
        with_contrast: Whether every image has a contrast of its own.
        mask: Solvent mask, by which decoded volumes are multiplied.
        focus_mask: Mask outside of which a consensus explains the images.
        consensus: That map; None backprojects the particles.
        keeps_decoder: Whether the decoder stays as it is, and only an encoder learns.
        curriculum: Which frequencies are compared in early epochs; None compares all.
        latents: How free latents are learnt, for models that have them.
        warm_start: Latents that the encoder learns before all else is trained.
        linear_run: Run of the linear model on which the network is trained; None for a network
            alone.
        poses: How poses are refined; None keeps them.
        search: How poses are found where none are known; None takes those of the particles.
        held_out: Particles to keep out of training; None keeps out none.
        checkpoint_interval: Epochs between checkpoints.
        checkpoint_minutes: Minutes between checkpoints within an epoch; None makes none.
        log_interval: Images between lines of the log.
        on_disk: Whether prepared images are kept in a scratch file; None decides by memory.
        memory_gb: Memory in GB that they may take; None takes a share of what is free.
        cache_dir: Folder in which their file stays for other runs; None keeps none.
        seed: Of all random numbers.
        shuffle_seed: Of the order of the images; None takes ``seed``.
        precision: Number type of the network's matrix products; ``auto`` measures which is
            faster.
        compilation: Execution of a step: compiled or not, see
            :mod:`cryodrgn.training.execution`; ``auto`` decides by the device.
    """

    num_epochs: int = 20
    batch_size: int = 8
    tilts_drawn: int | None = None
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    optimizer: OptimizerName = "adam"
    rate_schedule: RateSchedule = "constant"
    rate_warm_up: float = 0.0
    averaging: float = 0.0
    input_weighting: InputWeighting = "none"
    kl: KlWeighting = field(default_factory=KlWeighting)
    equivariance: Equivariance | None = None
    noise_model: NoiseName = "white"
    with_contrast: bool = False
    mask: Path | None = None
    focus_mask: Path | None = None
    consensus: Path | None = None
    keeps_decoder: bool = False
    curriculum: Curriculum | None = None
    latents: LatentTableConfig | None = None
    warm_start: WarmStart | None = None
    linear_run: Path | None = None
    poses: PoseConfig | None = None
    search: SearchConfig | None = None
    held_out: HeldOutConfig | None = None
    checkpoint_interval: int = 1
    checkpoint_minutes: float | None = None
    log_interval: int = 1000
    on_disk: bool | None = None
    memory_gb: float | None = None
    cache_dir: Path | None = None
    seed: int = 0
    shuffle_seed: int | None = None
    precision: Precision = "auto"
    compilation: Compilation = "auto"

    def __post_init__(self) -> None:
        """Refuse settings with which nothing can be trained.

        Raises:
            ConfigError: A number is out of range.
        """
        at_least_one = {
            "-n": self.num_epochs,
            "-b": self.batch_size,
            "--checkpoint": self.checkpoint_interval,
            "--log-interval": self.log_interval,
        }
        for option, value in at_least_one.items():
            if value < 1:
                msg = f"{option} must be at least 1, got {value}"
                raise ConfigError(msg)
        positive = {
            "--lr": self.learning_rate,
            "--checkpoint-minutes": self.checkpoint_minutes,
            "--memory": self.memory_gb,
        }
        for option, value in positive.items():
            if value is not None and not value > 0:
                msg = f"{option} must be positive, got {value}"
                raise ConfigError(msg)
        if self.consensus is not None and self.focus_mask is None:
            msg = (
                "--consensus explains what lies outside of a focus mask, but there is none; "
                "give --focus-mask, or leave it out"
            )
            raise ConfigError(msg)
        if self.focus_mask is not None and self.linear_run is not None:
            msg = (
                "--focus-mask does not go with --from, whose mean explains what lies outside "
                "already; confine the components instead: train_linear --focus-mask"
            )
            raise ConfigError(msg)
        if not (self.weight_decay >= 0 and self.seed >= 0):
            msg = "--wd and --seed must not be negative"
            raise ConfigError(msg)
        self.tuning.require_within(self.num_epochs)

    @property
    def tuning(self) -> Tuning:
        """Departures from plain Adam."""
        return Tuning(
            muon=self.optimizer == "muon",
            schedule=self.rate_schedule,
            warm_up=self.rate_warm_up,
            averaging=self.averaging,
            scales_inputs=self.input_weighting == "snr",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """A whole run.

    Attributes:
        data: The images.
        model: The networks.
        training: How they are trained.
    """

    data: DataConfig
    model: ModelConfig
    training: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        """Refuse parts that do not go together.

        Raises:
            ConfigError: The encoder wants tilt pairs that are not there.
        """
        encoder = self.model.encoder
        if encoder is not None and encoder.name == "tilt" and self.data.files.tilted is None:
            msg = "--encode-mode tilt needs the second images of the tilt pairs; give --tilt"
            raise ConfigError(msg)
        if (
            encoder is not None
            and self.training.search is not None
            and ENCODERS.find(encoder.name).needs_poses
        ):
            msg = (
                f"--encode-mode {encoder.name} adds up images by their poses, which are still "
                "to be found; take another encoder"
            )
            raise ConfigError(msg)
        if self.training.held_out is None:
            return
        if self.training.poses is not None or self.model.kind == "dec":
            learnt = "poses" if self.training.poses is not None else "latents"
            msg = (
                f"--held-out does not go with {learnt} that are learnt for every particle: "
                "those of the particles kept out would stay as they are"
            )
            raise ConfigError(msg)

    def to_mapping(
        self, norm: tuple[float, float], sampling: Sampling | None = None, **more: Any
    ) -> dict[str, Any]:
        """The run as written to ``config.yaml``, in the layout of cryoDRGN.

        Args:
            norm: Offset and scale that are used.
            sampling: Lattice on which images of several kinds are prepared.
            more: Entries added to the group ``training``, which is our own.
        """
        encoder = self.model.encoder
        dataset = self.data.to_mapping(norm, sampling)
        dataset["keepreal"] = getattr(encoder, "use_real", False)
        dataset["do_pose_sgd"] = self.training.poses is not None
        return {
            "dataset_args": dataset,
            **model_mapping(self.model),
            "seed": self.training.seed,
            "training": more | {"settings": self.settings()},
        }

    def settings(self) -> dict[str, Any]:
        """All settings as plain values; :meth:`from_settings` makes the run again."""
        settings, model = _plain(asdict(self)), self.model
        settings["model"]["decoder"] = _plain(recorded_settings(model.decoder))
        if model.encoder is not None:
            settings["model"]["encoder"] = _plain(recorded_settings(model.encoder))
        return settings

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "RunConfig":
        """The run that wrote :meth:`settings`.

        Raises:
            ConfigError: They are of another version.
        """
        try:
            data, model, training = (dict(settings[n]) for n in ("data", "model", "training"))
            data["files"] = _recorded_files(data)
            data["norm"] = None if data["norm"] is None else tuple(data["norm"])
            encoder = model.pop("encoder")
            model["encoder"] = None if encoder is None else encoder_of_record(encoder)
            model["decoder"] = decoder_of_record(model["decoder"])
            for name in ("cache_dir", "linear_run", "mask", "focus_mask", "consensus"):
                training[name] = _path(training.get(name))
            training["kl"] = KlWeighting(**training["kl"])
            if training.get("equivariance") is not None:
                training["equivariance"] = Equivariance(**training["equivariance"])
            if training["poses"] is not None:
                training["poses"] = PoseConfig(**training["poses"])
            if training["latents"] is not None:
                latents = training["latents"]
                latents = latents | {"initial": _path(latents["initial"])}
                training["latents"] = LatentTableConfig(**latents)
            if training.get("curriculum") is not None:
                training["curriculum"] = Curriculum(**training["curriculum"])
            if training.get("held_out") is not None:
                training["held_out"] = HeldOutConfig(**training["held_out"])
            warm = training.get("warm_start")
            if warm is not None:
                warm = warm | {"latents": Path(warm["latents"])}
                training["warm_start"] = WarmStart(**warm)
            search = training.get("search")
            if search is not None:
                grids = search["grids"]
                centre = tuple(grids["shift_centre_px"])
                grids = GridSettings(**(grids | {"shift_centre_px": centre}))
                training["search"] = SearchConfig(**(search | {"grids": grids}))
            return cls(
                data=DataConfig(**data),
                model=ModelConfig(**model),
                training=TrainConfig(**training),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            msg = f"the run was written by another version of cryodrgn: {error}"
            raise ConfigError(msg) from error

    def differences(self, other: "RunConfig") -> dict[str, tuple[Any, Any]]:
        """Settings in which two runs differ other than in length and reporting, by name."""
        mine, theirs = _flat(self.settings()), _flat(other.settings())
        names = sorted((mine.keys() | theirs.keys()) - CHANGEABLE)
        pairs = {name: (mine.get(name), theirs.get(name)) for name in names}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    def with_training(self, **changes: Any) -> "RunConfig":
        """This run with some training settings changed."""
        return replace(self, training=replace(self.training, **changes))


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.resolve())


def _recorded_files(data: dict[str, Any]) -> ParticleFiles:
    """The files that recorded settings name, which are taken out of them."""
    files = dict(data.pop("files"))
    # Runs of versions before had these two beside the files.
    for name in ("tilted", "tilt_deg"):
        if name in data:
            files[name] = data.pop(name)
    tilt_deg = files.pop("tilt_deg", 45.0)
    series = TiltSeriesSettings(**files.pop("series", {}))
    images = {
        "correction": files.pop("correction", None),
        "box_size": files.pop("box_size", None),
        "sampling": Sampling.of_record(files.pop("sampling", None)),
    }
    found_in = tuple(Path(folder) for folder in files.pop("found_in", ()))
    paths = {name: _path(value) for name, value in files.items()}
    return ParticleFiles(**paths, found_in=found_in, tilt_deg=tilt_deg, series=series, **images)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _plain(value: Any) -> Any:
    """Nested containers with paths as absolute text and tuples as lists."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return _absolute(value) if isinstance(value, Path) else value


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
