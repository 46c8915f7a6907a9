"""A trained model, out of the files of a run of this program or of cryoDRGN."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.data.fixed_density import FixedDensity
from cryodrgn.data.prepared import Storage
from cryodrgn.data.preprocessing import Preprocessing
from cryodrgn.data.training_set import TrainingSet, build_training_set
from cryodrgn.errors import ConfigError, InputFileError, ShapeMismatchError
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.imaging.ewald import Curvature
from cryodrgn.io.checkpoints import load_checkpoint
from cryodrgn.io.masks import read_mask
from cryodrgn.io.mrc import read_volume
from cryodrgn.io.run_config import reconstruction_of_record
from cryodrgn.models.build import (
    build_model,
    decoder_sizes,
    encoder_sizes,
    load_named_weights,
    stored_lattice,
)
from cryodrgn.models.config_file import model_config
from cryodrgn.models.model import Model
from cryodrgn.models.settings import ModelConfig
from cryodrgn.parallel import ALONE, Team
from cryodrgn.particles.optics import correction_of_record
from cryodrgn.particles.options import Correction, TiltSeriesSettings
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.particles.sampling import Sampling
from cryodrgn.reconstruction.decode import VolumeDecoder
from cryodrgn.reconstruction.options import DecodingCompilation
from cryodrgn.rundir import RunDirectory

logger = logging.getLogger(__name__)

# A config may describe a model of so many times the numbers of its weight file, to be refused
# by name when the weights are put into it, before it is refused for its size alone.
LARGER = 16
# Relative difference of sides in Å that pixel sizes of a file may have.
SAME_FIELD = 0.01


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrainedModel:
    """A model with its weights and what it was trained on.

    Attributes:
        model: The decoder, and the encoder if it has one.
        config: Its shape.
        offset: Offset of the Hartley values it was trained on.
        scale: Their scale.
        pixel_size: Å/px of its images; 1 where the run does not say it.
        window_radius: Window of its images; None without one.
        invert: Whether the sign of its images was changed.
        is_foreign: Whether it is a run of cryoDRGN, not of this program.
        ewald: Hand of the curvature of the Ewald sphere for its images; 0 takes it for flat.
        sampling: Lattice on which its images were prepared; None if they were of one kind.
        correction: How its images were corrected for their CTF; None if their file says it.
        ctf: File of CTF parameters that it was trained with; None without one of its own.
        series: Settings of tilt series with which its particles were read.
        tilt_deg: Angle between the exposures of its tilt pairs; None for other images.
        mask: What its volumes are multiplied by; None for nothing.
        outside: Density outside of its focus mask, which stands beside the model's in every
            image, in units of normalised images; None without one.
    """

    model: Model
    config: ModelConfig
    offset: float
    scale: float
    pixel_size: float
    window_radius: float | None
    invert: bool
    is_foreign: bool
    ewald: Curvature = 0
    sampling: Sampling | None = None
    correction: Correction | None = None
    ctf: str | None = None
    series: TiltSeriesSettings = field(default_factory=TiltSeriesSettings)
    tilt_deg: float | None = None
    mask: Float[Tensor, "box box box"] | None = None
    outside: Float[Tensor, "box box box"] | None = None

    @classmethod
    def load(
        cls,
        weights: Path,
        settings: dict[str, Any],
        *,
        config_path: Path | None = None,
        instead: str = "",
    ) -> "TrainedModel":
        """Read a model.

        Args:
            weights: The run's ``weights.pkl`` or ``weights.E.pkl``.
            settings: The content of its config file.
            config_path: That file, where one of another folder was given; None for the run's.
            instead: Settings, with their values, that were given in place of the file's.

        Raises:
            InputFileError: The weights cannot be read, or belong to another config.
            ConfigError: The config is incomplete.
        """
        content = load_checkpoint(weights)["model_state_dict"]
        misfit = f"{weights} does not fit the config"
        if config_path is not None:
            misfit = f"{weights} does not fit the model of `config` {config_path}"
        if instead:
            misfit += f" with {instead} in place of its own settings; leave that out"
        advice = ""
        if config_path is not None and not instead:
            advice = "; leave `config` out, or give that of the run that wrote the weights"
        config = model_config(settings)
        model = _with_weights(config, content, misfit, advice)
        dataset = settings.get("dataset_args", {})
        if dataset.get("norm") is None:
            msg = f"the config of {weights} holds no norm; give it with `norm`"
            raise ConfigError(msg)
        offset, scale = (float(value) for value in dataset["norm"])
        ours = settings.get("training", {})
        return cls(
            model=model,
            config=config,
            offset=offset,
            scale=scale,
            pixel_size=ours.get("pixel_size") or 1.0,
            window_radius=dataset.get("window_r", 0.85) if dataset.get("window") else None,
            invert=bool(dataset.get("invert_data")),
            is_foreign="settings" not in ours,
            ewald=_curvature(ours),
            sampling=Sampling.of_record(dataset.get("sampling")),
            correction=correction_of_record(dataset.get("ctf_applied")),
            ctf=None if dataset.get("ctf") is None else str(dataset["ctf"]),
            series=TiltSeriesSettings.from_mapping(dataset),
            tilt_deg=dataset.get("tilt_deg"),
            mask=_mask_of(ours, weights.parent, config.box_size),
            outside=_outside_of(ours, weights.parent),
        )

    def require_field_of_view(self, particles: ParticleSet) -> None:
        """Refuse images that show another area than those that the model was trained on.

        Their frequencies would be others. Nothing is asked of those whose pixel size, or that
        of the run, nobody says (1 Å/px).

        Raises:
            ShapeMismatchError: Their sides in Å differ by more than 1 %.
        """
        images = particles.images
        own, known = float(images.side_lengths[0]), self.config.box_size * self.pixel_size
        stored = float(images.pixel_sizes_in_files[0])
        if 1.0 in {self.pixel_size, stored} or abs(own / known - 1) <= SAME_FIELD:
            return
        msg = (
            f"images of {particles.source} are {own:.4g} Å wide, but the model was trained on "
            f"images of {known:.4g} Å; give `field_box_size` {2 * round(known / stored / 2)}, "
            "to which they are cut or padded"
        )
        raise ShapeMismatchError(msg)

    def volume_decoder(
        self,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        compilation: DecodingCompilation = "off",
    ) -> VolumeDecoder:
        """Volume source with the conventions of the program that trained the model.

        Args:
            device: Where to compute.
            dtype: Number type of the network's matrix products.
            compilation: See :class:`~cryodrgn.reconstruction.decode.VolumeDecoder`.
        """
        decoder = self.model.decoder
        whole_cube = self.is_foreign and decoder.domain == "hartley"
        return VolumeDecoder(
            decoder,
            self.offset,
            self.scale,
            device,
            dtype,
            whole_cube=whole_cube,
            mask=self.mask,
            compilation=compilation,
        )


def prepare_as_trained(
    trained: TrainedModel,
    particles: ParticleSet,
    device: torch.device,
    *,
    storage: Storage,
    lattice: HalfPlaneFrequencies | None = None,
    team: Team = ALONE,
) -> TrainingSet:
    """Images made ready as those the model was trained on.

    Args:
        trained: The model.
        particles: The images, with poses.
        device: Where they are wanted.
        storage: Where they are kept.
        lattice: Frequencies to keep; None takes those of the training.
        team: Processes that share them.

    Raises:
        ShapeMismatchError: The images are smaller than those of the training. Larger ones are
            cropped.
    """
    if particles.box_size > trained.config.box_size:
        particles = particles.cropped(trained.config.box_size)
    if particles.box_size != trained.config.box_size:
        msg = (
            f"{particles.source} has images of {particles.box_size} px, but the model was "
            f"trained on {trained.config.box_size} px"
        )
        raise ShapeMismatchError(msg)
    lattice = lattice or stored_lattice(trained.config)
    settings = Preprocessing(
        window_radius=trained.window_radius,
        invert=trained.invert,
        offset=trained.offset,
        scale=trained.scale,
    )
    images = build_training_set(
        particles,
        lattice,
        settings,
        device,
        storage=storage,
        team=team,
    )
    if trained.outside is not None:
        images.show_beside(FixedDensity(trained.outside, device))
    return images


def _mask_of(
    recorded: dict[str, Any], folder: Path, box_size: int
) -> Float[Tensor, "box box box"] | None:
    """The mask by which a run multiplies its volumes, from its folder; None without one.

    Raises:
        InputFileError: It cannot be read.
    """
    training = _training_settings(recorded)
    if not (training.get("mask") or training.get("focus_mask")):
        return None
    path = RunDirectory(folder).linear.mask
    if not path.exists():
        logger.warning("%s is missing: volumes are not multiplied by the run's mask", path)
        return None
    return read_mask(path, box_size, None)


def _outside_of(recorded: dict[str, Any], folder: Path) -> Float[Tensor, "box box box"] | None:
    """The density outside of the focus mask of a run, from its folder; None without one."""
    if not _training_settings(recorded).get("focus_mask"):
        return None
    path = RunDirectory(folder).outside
    if not path.exists():
        logger.warning(
            "%s is missing: images are compared with the density within the focus mask alone",
            path,
        )
        return None
    return torch.from_numpy(read_volume(path)[0])


def _training_settings(recorded: dict[str, Any]) -> dict[str, Any]:
    """Settings of the training as a run of this program recorded them; none of another's."""
    settings = recorded.get("settings")
    training = settings.get("training") if isinstance(settings, dict) else None
    return training if isinstance(training, dict) else {}


def _curvature(recorded: dict[str, Any]) -> Curvature:
    """Hand of the Ewald sphere's curvature with which a run of linear volumes was made."""
    sign = reconstruction_of_record(recorded).get("ewald")
    return 1 if sign == 1 else -1 if sign == -1 else 0


def _with_weights(
    config: ModelConfig, weights: dict[str, Any], misfit: str, advice: str
) -> Model:
    """A model with weights.

    Raises:
        InputFileError: They are those of another one.
    """
    _require_room_for(config, weights, misfit)
    model = build_model(config)
    try:
        load_named_weights(model, weights)
    except InputFileError as error:
        msg = f"{misfit}: {error}{advice}"
        raise InputFileError(msg) from error
    return model


def _require_room_for(config: ModelConfig, weights: dict[str, Any], misfit: str) -> None:
    """Refuse a config of a model far larger than its weights, before the model is made.

    Raises:
        InputFileError: The model would hold many more numbers than the file.
    """
    tensors = [value for value in weights.values() if isinstance(value, torch.Tensor)]
    needed = decoder_sizes(config).weights + encoder_sizes(config).weights
    fits = needed <= LARGER * sum(tensor.numel() for tensor in tensors)
    if not fits or len(tensors) < len(weights):
        msg = f"{misfit}: the model that it describes is another size"
        raise InputFileError(msg)
