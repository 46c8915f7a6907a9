"""Settings of a training run, and their record in the run's config file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cryodrgn.data.config import DataConfig, absolute_or_none
from cryodrgn.errors import ConfigError
from cryodrgn.models.config_file import (
    decoder_of_record,
    encoder_of_record,
    model_mapping,
    recorded_settings,
)
from cryodrgn.models.registry import ENCODERS
from cryodrgn.models.settings import ModelConfig
from cryodrgn.particles.sampling import Sampling
from cryodrgn.settings import from_record, options_of, settings
from cryodrgn.training.optimizers import Tuning
from cryodrgn.training.options import (
    AdamOptions,
    CacheOptions,
    EncoderInputOptions,
    ExecutionOptions,
    HeldOutConfig,
    LatentTableConfig,
    LengthOptions,
    LikelihoodOptions,
    LinearRunOptions,
    PoseConfig,
    ReportOptions,
    ShuffleOptions,
    TuningOptions,
    WarmStart,
)
from cryodrgn.training.schedules import Curriculum, Equivariance, KlWeighting
from cryodrgn.training.search_config import SearchConfig


@settings
class TrainConfig(
    ShuffleOptions,
    CacheOptions,
    ReportOptions,
    LinearRunOptions,
    LikelihoodOptions,
    EncoderInputOptions,
    TuningOptions,
    ExecutionOptions,
    AdamOptions,
    LengthOptions,
):
    """Settings of the optimisation: those of its options, and some that follow from others.

    Attributes:
        tilts_drawn: Images of a particle that an epoch visits, drawn anew for each; None visits
            all.
        kl: How the KL divergence enters the loss.
        equivariance: Penalty on latents that change when an image is turned; None for none.
        keeps_decoder: Whether the decoder stays as it is, and only an encoder learns.
        curriculum: Which frequencies are compared in early epochs; None compares all.
        latents: How free latents are learnt, for models that have them.
        warm_start: Latents that the encoder learns before all else is trained.
        poses: How poses are refined; None keeps them.
        search: How poses are found where none are known; None takes those of the particles.
        held_out: Particles to keep out of training; None keeps out none.
        on_disk: Whether prepared images are kept in a scratch file; None decides by memory.
    """

    tilts_drawn: int | None = None
    kl: KlWeighting = field(default_factory=KlWeighting)
    equivariance: Equivariance | None = None
    keeps_decoder: bool = False
    curriculum: Curriculum | None = None
    latents: LatentTableConfig | None = None
    warm_start: WarmStart | None = None
    poses: PoseConfig | None = None
    search: SearchConfig | None = None
    held_out: HeldOutConfig | None = None
    on_disk: bool | None = None

    def __post_init__(self) -> None:
        """Refuse settings with which nothing can be trained.

        Raises:
            ConfigError: A number is out of range, or two settings do not go together.
        """
        super().__post_init__()
        if self.consensus is not None and self.focus_mask is None:
            msg = (
                "`consensus` explains what lies outside of a focus mask, but there is none; "
                "give `focus_mask`, or leave it out"
            )
            raise ConfigError(msg)
        if self.focus_mask is not None and self.linear_run is not None:
            msg = (
                "`focus_mask` does not go with `linear_run`, whose mean explains what lies "
                "outside already; confine the components instead: train_linear `focus_mask`"
            )
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


# What may change when a run goes on: how long it is, how it is computed, and what it reports.
CHANGEABLE = frozenset(
    f"training.{said.resumes_as}"
    for part in (TrainConfig, HeldOutConfig)
    for _, said in options_of(part).values()
    if said.resumes_as is not None
) | {"training.on_disk", "data.files.found_in", "data.files.datadir"}


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
            ConfigError: The encoder wants tilt pairs that are not there, or poses of pairs are
                to be refined.
        """
        encoder = self.model.encoder
        if encoder is not None and encoder.name == "tilt" and self.data.files.tilted is None:
            msg = "`encode_mode` tilt needs the second images of the tilt pairs; give `tilt`"
            raise ConfigError(msg)
        if (
            encoder is not None
            and self.training.search is not None
            and ENCODERS.find(encoder.name).needs_poses
        ):
            msg = (
                f"`encode_mode` {encoder.name} adds up images by their poses, which are still "
                "to be found; take another encoder"
            )
            raise ConfigError(msg)
        if self.training.poses is not None and self.data.files.tilted is not None:
            msg = (
                "`refine_poses` does not go with `tilt`: a pair has one pose in its file, and "
                "its two images need two shifts; refine poses without `tilt`, then give the "
                "pose.pkl of that run with `poses` and `tilt`"
            )
            raise ConfigError(msg)
        if self.training.held_out is None:
            return
        if self.training.poses is not None or self.model.kind == "dec":
            learnt = "poses" if self.training.poses is not None else "latents"
            msg = (
                f"`held_out` does not go with {learnt} that are learnt for every particle: "
                "those of the particles kept out would stay as they are"
            )
            raise ConfigError(msg)

    def to_mapping(
        self,
        norm: tuple[float, float],
        sampling: Sampling | None = None,
        more: Mapping[str, Any] = MappingProxyType({}),
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
            "training": {**more, "settings": self.settings()},
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
            encoder = model.pop("encoder")
            model["encoder"] = None if encoder is None else encoder_of_record(encoder)
            model["decoder"] = decoder_of_record(model["decoder"])
            return cls(
                data=DataConfig.of_record(data),
                model=ModelConfig(**model),
                training=from_record(TrainConfig, training),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            msg = f"the run was written by another version of cryodrgn: {error}"
            raise ConfigError(msg) from error

    def flat_settings(self) -> dict[str, Any]:
        """All settings by their dotted names."""
        return _flat(self.settings())

    def differences(self, other: "RunConfig") -> dict[str, tuple[Any, Any]]:
        """Settings in which two runs differ other than in length and reporting, by name."""
        mine, theirs = self.flat_settings(), other.flat_settings()
        names = sorted((mine.keys() | theirs.keys()) - CHANGEABLE)
        pairs = {name: (mine.get(name), theirs.get(name)) for name in names}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _plain(value: Any) -> Any:
    """Nested containers with paths as absolute text and tuples as lists."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return absolute_or_none(value) if isinstance(value, Path) else value


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
