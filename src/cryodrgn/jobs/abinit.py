"""Ab initio reconstruction: structure, poses and latents from images and CTF alone."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cryodrgn.errors import ConfigError
from cryodrgn.jobs.architecture import AutoEncoderOptions, DecoderOptions, LatentOptions
from cryodrgn.jobs.options import DataOptions, TrainingOptions
from cryodrgn.jobs.pose_search import GridOptions, ScheduleOptions
from cryodrgn.jobs.train_nn import BareDecoderOptions
from cryodrgn.jobs.train_vae import DivergenceOptions
from cryodrgn.jobs.training import TrainingJob
from cryodrgn.particles.options import TableOptions
from cryodrgn.settings import (
    at_least,
    function_of,
    option,
    part_of,
    same_as,
    settings,
)
from cryodrgn.training.options import LatentTableConfig, PoseConfig
from cryodrgn.training.schedules import Equivariance, KlWeighting
from cryodrgn.training.search_config import LATENT, SearchConfig

if TYPE_CHECKING:
    from cryodrgn.models.settings import ModelConfig
    from cryodrgn.particles.particle_set import ParticleSet
    from cryodrgn.training.run_config import TrainConfig

ENCODER_TRAINING = "Training of an encoder"


@settings
class AbInitioJob(ScheduleOptions, GridOptions, TrainingJob):
    """Ab initio reconstruction, whatever its model."""

    poses: Path | None = same_as(
        TableOptions,
        "poses",
        default=None,
        flags=("--load-poses",),
        metavar="PKL",
        help="Start from these poses instead of ab initio models",
    )
    num_epochs: int = same_as(TrainingOptions, "num_epochs", default=30)
    learning_rate: float = same_as(TrainingOptions, "learning_rate", default=5e-4)
    batch_size: int = same_as(
        TrainingOptions,
        "batch_size",
        default=8,
        flags=("-b", "--batch-size", "--batch-size-sgd"),
    )
    window_radius: float | None = same_as(
        DataOptions,
        "window_radius",
        default=None,
        flags=("--window-r", "--window-radius-gt-real"),
    )

    def search_config(self) -> "TrainConfig":
        """Settings of the optimisation with a pose search."""
        if self.curriculum is not None:
            msg = "frequencies rise with `ramp_epochs` here; leave out `curriculum`"
            raise ConfigError(msg)
        interval, refine_epochs = self._intervals()
        mask = self.output_mask
        search = part_of(
            self,
            SearchConfig,
            {
                "grids": self.grids(),
                "interval": interval,
                "refine_epochs": refine_epochs,
                "ramps_model": mask == "frequency_marching" if mask else bool(self.ramps_model),
                "takes_given": self.poses is not None,
            },
        )
        pretrain = max(0, self.num_epochs - refine_epochs)
        poses = part_of(self, PoseConfig, {"pretrain": pretrain})
        return replace(self.train_config(), search=search, poses=poses)

    def _intervals(self) -> tuple[int, int]:
        """Epochs from search to search, and those at the end that have none."""
        searched = self.search_epochs
        if searched is None:
            return self.search_interval, self.refine_epochs
        also = [n for n in ("search_interval", "refine_epochs") if n in self.given]
        if also:
            msg = f"`search_epochs` takes the place of `{also[0]}`; leave out one of them"
            raise ConfigError(msg)
        if not 0 <= searched <= self.num_epochs:
            msg = (
                f"`search_epochs` must lie between 0 and the {self.num_epochs} of "
                f"`num_epochs`, got {searched}"
            )
            raise ConfigError(msg)
        return 1, self.num_epochs - searched


@settings
class AbinitHomo(BareDecoderOptions, AbInitioJob):
    """Ab initio reconstruction of a single structure, from images and CTF."""

    domain: Literal["hartley", "fourier"] = same_as(
        DecoderOptions,
        "domain",
        default="fourier",
        flags=("--domain", "--hypervolume-domain"),
    )

    def model(self, particles: "ParticleSet") -> "ModelConfig":
        """A decoder without latent."""
        return self.decoder_alone(particles.box_size)

    def optimisation(self) -> "TrainConfig":
        """Optimisation with a pose search, which has no latents to find."""
        config = self.search_config()
        assert config.search is not None
        of_one = {"latent_spread": 0.0, "num_classes": 1, "num_references": 1}
        return replace(config, search=replace(config.search, **of_one))


@settings
class EncoderTrainingOptions(DivergenceOptions):
    """Training of an encoder where poses are searched."""

    beta: float | str = same_as(
        DivergenceOptions,
        "beta",
        group=ENCODER_TRAINING,
        help="Choice of beta schedule (a, b, c, d) or a constant for KLD weight, with an "
        "encoder",
    )
    beta_control: float | None = same_as(
        DivergenceOptions, "beta_control", group=ENCODER_TRAINING
    )
    encoder_only: bool = option(
        "--enc-only",
        default=False,
        group=ENCODER_TRAINING,
        help="Freeze the decoder of --load and train only an encoder",
    )
    equivariance: float | None = same_as(
        Equivariance, "weight", default=None, group=ENCODER_TRAINING
    )
    equivariance_start: float = same_as(Equivariance, "start", group=ENCODER_TRAINING)
    equivariance_end: float = same_as(Equivariance, "end", group=ENCODER_TRAINING)


@settings
class AbinitHet(AutoEncoderOptions, EncoderTrainingOptions, AbInitioJob):
    """Ab initio reconstruction with a latent: poses, latents and volumes."""

    use_conf_encoder: bool = option(
        "--use-conf-encoder",
        default=False,
        group=LATENT,
        help="Predict latents from images with an encoder, as train_vae does (default: "
        "latents are free parameters of each particle, as in train_dec)",
    )
    latent_learning_rate: float = same_as(
        LatentTableConfig,
        "learning_rate",
        default=1e-2,
        flags=("--z-lr", "--lr-conf-table"),
        group=LATENT,
        help="Learning rate of free latents",
    )
    initial_latents: Path | None = same_as(
        LatentTableConfig,
        "initial",
        flags=("--initial-conf",),
        group=LATENT,
        help="Start from these latents (default: from the classes of the initial model)",
    )
    latent_spread: float = same_as(SearchConfig, "latent_spread")
    num_classes: int = same_as(SearchConfig, "num_classes")
    num_references: int = same_as(SearchConfig, "num_references")
    domain: Literal["hartley", "fourier"] = same_as(
        DecoderOptions,
        "domain",
        default="fourier",
        flags=("--domain", "--hypervolume-domain"),
    )

    def model(self, particles: "ParticleSet") -> "ModelConfig":
        """An auto-encoder, or a decoder alone."""
        if not self.use_conf_encoder:
            return self.decoder_alone(particles.box_size, self.latent_dim)
        return self.auto_encoder(particles.box_size)

    def optimisation(self) -> "TrainConfig":
        """Optimisation with a pose search and a latent."""
        if self.encoder_only and self.load is None:
            msg = (
                "`encoder_only` keeps the decoder as it is; give the weights it has with `load`"
            )
            raise ConfigError(msg)
        penalty = None if self.equivariance is None else part_of(self, Equivariance)
        if self.use_conf_encoder:
            return replace(
                self.search_config(),
                kl=part_of(self, KlWeighting),
                equivariance=penalty,
                keeps_decoder=self.encoder_only,
            )
        if self.encoder_only or penalty is not None:
            name = "encoder_only" if self.encoder_only else "equivariance"
            msg = f"`{name}` is about an encoder, and there is none; add `use_conf_encoder`"
            raise ConfigError(msg)
        return replace(self.search_config(), latents=part_of(self, LatentTableConfig))


@settings
class Abinit(AbinitHet):
    """Ab initio reconstruction of a structure and the poses of its images."""

    zdim: int | None = same_as(
        LatentOptions,
        "zdim",
        default=None,
        check=at_least(0),
        help="Dimension of latent variable; 0 for a single structure",
    )
    decoder_layers: int = same_as(
        DecoderOptions,
        "decoder_layers",
        default=3,
        flags=("--players", "--dec-layers", "--layers"),
    )
    decoder_dim: int = same_as(
        DecoderOptions, "decoder_dim", default=256, flags=("--pdim", "--dec-dim", "--dim")
    )

    def model(self, particles: "ParticleSet") -> "ModelConfig":
        """A model with a latent, or of a single structure."""
        return (
            self.decoder_alone(particles.box_size)
            if self.zdim == 0
            else super().model(particles)
        )

    def optimisation(self) -> "TrainConfig":
        """Optimisation with a pose search, and a latent if there is one."""
        return super().optimisation() if self.zdim else self.search_config()


abinit_homo = function_of(AbinitHomo)
abinit_het = function_of(AbinitHet)
abinit = function_of(Abinit)
