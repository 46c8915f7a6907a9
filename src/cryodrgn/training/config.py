"""Everything that fixes a training run, and its record in the run's config file."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from cryodrgn.errors import ConfigError
from cryodrgn.io.particle_files import ParticleFiles
from cryodrgn.models.build import ModelConfig

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Which images, and what is done to them before they are compared with slices.

    Attributes:
        files: The particle file and what goes with it.
        window_radius: Where the soft window begins to fall, as a fraction of half the box;
            None applies no window.
        invert: Whether to change the sign of the data.
        norm: Offset and scale of the Hartley values; None estimates the scale from the data
            and takes 0 for the offset.
    """

    files: ParticleFiles
    window_radius: float | None = None
    invert: bool = False
    norm: tuple[float, float] | None = None

    def to_mapping(self, norm: tuple[float, float]) -> dict[str, Any]:
        """The group ``dataset_args`` of a config file, with the norm that is used."""
        paths = {
            "particles": self.files.particles,
            "ind": self.files.indices,
            "datadir": self.files.datadir,
            "ctf": self.files.ctf,
            "poses": self.files.poses,
        }
        absolute = {
            name: None if path is None else str(path.resolve()) for name, path in paths.items()
        }
        return absolute | {
            "norm": list(norm),
            "invert_data": self.invert,
            "window": self.window_radius is not None,
            "window_r": self.window_radius,
            "keepreal": False,
            "do_pose_sgd": False,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How a model is trained.

    Attributes:
        num_epochs: Passes through the data.
        batch_size: Images per step.
        learning_rate: Of Adam.
        weight_decay: Of Adam.
        beta: Weight of the KL divergence.
        checkpoint_interval: Epochs between checkpoints.
        log_interval: Images between lines of the log.
        seed: Of all random numbers.
        precision: Number type of the network's matrix products; ``auto`` measures which is
            faster.
    """

    num_epochs: int = 20
    batch_size: int = 8
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    beta: float = 1.0
    checkpoint_interval: int = 1
    log_interval: int = 1000
    seed: int = 0
    precision: Precision = "auto"

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
        if not self.learning_rate > 0:
            msg = f"--lr must be positive, got {self.learning_rate}"
            raise ConfigError(msg)
        if not (self.weight_decay >= 0 and self.seed >= 0):
            msg = "--wd and --seed must not be negative"
            raise ConfigError(msg)


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

    def to_mapping(self, norm: tuple[float, float], **more: Any) -> dict[str, Any]:
        """The run as written to ``config.yaml``, in the layout of cryoDRGN.

        Args:
            norm: Offset and scale that are used.
            more: Entries added to the group ``training``, which is our own.
        """
        return {
            "dataset_args": self.data.to_mapping(norm),
            **self.model.to_mapping(),
            "seed": self.training.seed,
            "training": asdict(self.training) | more,
        }
