"""Settings of a trained model, with those that take the place of its config's."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryodrgn.data.options import PreprocessingOptions
from cryodrgn.jobs.architecture import DecoderOptions, EncoderOptions
from cryodrgn.models.settings import Activation, Domain, EncodingName
from cryodrgn.settings import (
    EVEN,
    POSITIVE,
    Settings,
    at_least,
    option,
    positional,
    same_as,
    settings,
)

if TYPE_CHECKING:
    from cryodrgn.reconstruction.trained import TrainedModel

logger = logging.getLogger(__name__)

OVERRIDES = "Overwrite architecture of the config"
# Names of settings in config files, by our own.
CONFIG_NAMES = {
    "latent_dim": "zdim",
    "encoder_layers": "qlayers",
    "encoder_dim": "qdim",
    "encode_mode": "encode_mode",
    "encoder_mask": "enc_mask",
    "use_real": "use_real",
    "decoder_layers": "players",
    "decoder_dim": "pdim",
    "encoding": "pe_type",
    "encoding_dim": "pe_dim",
    "feature_sigma": "feat_sigma",
    "domain": "domain",
    "activation": "activation",
}


def _overrides(owner: type, name: str, default_words: str | None = None) -> Any:
    """A setting of the architecture that is taken from the config unless given."""
    return same_as(owner, name, default=None, group=OVERRIDES, default_words=default_words)


@settings
class TrainedModelOptions(Settings):
    """Weights, config, and the settings that take the place of those in the config."""

    weights: Path = positional(help="Model weights (weights.pkl)")
    config: Path | None = option(
        "-c",
        "--config",
        default=None,
        metavar="PKL",
        help="Settings of the run, config.pkl or config.yaml (default: beside the weights)",
    )
    norm: tuple[float, float] | None = same_as(
        PreprocessingOptions,
        "norm",
        group=OVERRIDES,
        help="Data normalization: shift, 1/scale",
        default_words=None,
    )
    box_size: int | None = option(
        "-D", default=None, group=OVERRIDES, check=EVEN, help="Box size of the training images"
    )
    latent_dim: int | None = option(
        "--zdim",
        default=None,
        group=OVERRIDES,
        check=at_least(1),
        help="Dimension of latent variable",
    )
    lattice_extent: float | None = option(
        "--l-extent",
        default=None,
        group=OVERRIDES,
        check=POSITIVE,
        help="Coordinate lattice size",
    )
    encoder_layers: int | None = _overrides(EncoderOptions, "encoder_layers")
    encoder_dim: int | None = _overrides(EncoderOptions, "encoder_dim")
    encode_mode: str | None = same_as(
        EncoderOptions,
        "encode_mode",
        group=OVERRIDES,
        help="Type of encoder network",
        default_words=None,
    )
    encoder_mask: int | None = _overrides(
        EncoderOptions, "encoder_mask", default_words="D/2; -1 for no mask"
    )
    use_real: bool | None = same_as(
        EncoderOptions,
        "use_real",
        default=None,
        group=OVERRIDES,
        help="The encoder sees real space images",
    )
    decoder_layers: int | None = _overrides(DecoderOptions, "decoder_layers")
    decoder_dim: int | None = _overrides(DecoderOptions, "decoder_dim")
    encoding: EncodingName | None = _overrides(DecoderOptions, "encoding")
    encoding_dim: int | None = _overrides(DecoderOptions, "encoding_dim", default_words="D/2")
    feature_sigma: float | None = _overrides(DecoderOptions, "feature_sigma")
    domain: Domain | None = _overrides(DecoderOptions, "domain")
    activation: Activation | None = _overrides(DecoderOptions, "activation")

    def stack_folders(self, particles: Path) -> tuple[Path, ...]:
        """Folders in which the run found the stacks of a particle file, if it was its own."""
        from cryodrgn.io.run_config import find_run_config, load_run_config, stack_folders_of

        config = load_run_config(self.config or find_run_config(self.weights))
        return stack_folders_of(config, particles)

    def _warn_of_other_norm(self, config: Mapping[str, Any]) -> None:
        """Say that the config that was given is of another run than the weights."""
        from cryodrgn.errors import InputFileError
        from cryodrgn.io.run_config import find_run_config, load_run_config

        if self.config is None or self.norm is not None:
            return
        try:
            own = load_run_config(path := find_run_config(self.weights))
        except InputFileError:
            return
        norms = [one.get("dataset_args", {}).get("norm") for one in (config, own)]
        if norms[0] != norms[1]:
            logger.warning(
                "`config` %s is of another run than %s beside the weights: norm (%s there, %s "
                "here) and pixel size are taken from it; leave `config` out to take the run's",
                self.config,
                path,
                norms[0],
                norms[1],
            )

    def trained(self) -> "TrainedModel":
        """The model.

        Raises:
            CryodrgnError: Weights or config cannot be used.
        """
        from cryodrgn.io.run_config import find_run_config, load_run_config
        from cryodrgn.io.text import require_plain_file
        from cryodrgn.reconstruction.trained import TrainedModel

        require_plain_file(self.weights)
        config = load_run_config(self.config or find_run_config(self.weights))
        self._warn_of_other_norm(config)
        given = {name: getattr(self, name) for name in CONFIG_NAMES}
        given = {name: value for name, value in given.items() if value is not None}
        if given.get("use_real") and self.encode_mode is None and _sees_transforms(config):
            logger.info(
                "the encoder of the run sees transforms of images, and goes on to: `use_real` "
                "has no effect"
            )
            del given["use_real"]
        config["model_args"] |= {CONFIG_NAMES[name]: value for name, value in given.items()}
        if self.norm is not None:
            config.setdefault("dataset_args", {})["norm"] = list(self.norm)
        if self.box_size is not None:
            config["lattice_args"]["D"] = self.box_size + 1
        if self.lattice_extent is not None:
            config["lattice_args"]["extent"] = self.lattice_extent
        instead = ", ".join(
            f"`{name}`" if value is True else f"`{name}` {value}"
            for name, value in given.items()
        )
        return TrainedModel.load(self.weights, config, config_path=self.config, instead=instead)


def _sees_transforms(config: Mapping[str, Any]) -> bool:
    """True if a config says that its encoder sees no pixels; some of cryoDRGN say nothing."""
    told = config.get("dataset_args", {}).get("keepreal")
    return config["model_args"].get("use_real", told) is False
