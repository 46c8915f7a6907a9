"""Training of a network on a linear model: the run that it begins with."""

import logging
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryodrgn.counts import counted
from cryodrgn.errors import ConfigError
from cryodrgn.jobs.architecture import OF_ENCODERS, LatentOptions
from cryodrgn.settings import option, settings
from cryodrgn.training.model_choice import FEWEST_PARTICLES, remedy_for_few
from cryodrgn.training.options import TRAINING, LinearRunOptions

if TYPE_CHECKING:
    import torch

    from cryodrgn.data.prepared import Storage
    from cryodrgn.linear.linear_run import LinearRun
    from cryodrgn.models.settings import (
        LinearEncoderConfig,
        LinearNetworkConfig,
        ModelConfig,
    )
    from cryodrgn.parallel import Team
    from cryodrgn.particles.particle_set import ParticleSet
    from cryodrgn.training.linear_start import LinearStart
    from cryodrgn.training.run_config import RunConfig

logger = logging.getLogger(__name__)


@settings
class LinearStartOptions(LinearRunOptions, LatentOptions):
    """The linear model that a network begins with."""

    train_volumes: bool = option(
        "--train-volumes",
        default=False,
        group=TRAINING,
        help="With --from: train the volumes of the linear model too, with a tenth of the "
        "learning rate",
    )

    @property
    def has_latent_dim(self) -> bool:
        """True if the settings, or the linear model that they name, say the dimension."""
        return self.zdim is not None or self.linear_run is not None

    @property
    def latent_dim(self) -> int:
        """The dimension of the latent: as many as the linear model has, unless more are given.

        Raises:
            ConfigError: It was not given, or is less than the linear model needs.
        """
        if self.linear_run is None:
            return super().latent_dim
        needed = self._sizes[0].linear_dim
        if self.zdim is not None and self.zdim < needed:
            msg = (
                f"{self.linear_run} has a latent of {counted(needed, 'dimension')}, `zdim` is "
                f"{self.zdim}; give {needed} or more, or leave it out"
            )
            raise ConfigError(msg)
        return self.zdim or needed

    def on_linear_model(self, usual: "ModelConfig", particles: "ParticleSet") -> "ModelConfig":
        """A model whose network learns what the linear model does not say.

        Args:
            usual: The model with a network alone.
            particles: The particles.

        Raises:
            ConfigError: The linear model does not go with the particles or with other settings.
        """
        from cryodrgn.models.settings import DecoderConfig, EncoderConfig

        decoder, encoder = self._sizes
        if self.going_on is None:
            self._opened.check(particles, invert=bool(getattr(self, "invert", False)))
        if not isinstance(usual.decoder, DecoderConfig):
            msg = f"`linear_run` goes with the perceptron, not with {usual.decoder.name}"
            raise ConfigError(msg)
        decoder = replace(decoder, trains_volumes=self.train_volumes)
        summed = replace(decoder, **asdict(usual.decoder))
        if usual.encoder is None:
            return replace(usual, decoder=summed)
        if encoder is None:
            msg = (
                f"{self.linear_run} has latents that no run of train_linear tells, so that "
                "images have none; give a run of train_linear, or one of reconstruct_states on "
                "it, or train free latents with train_dec"
            )
            raise ConfigError(msg)
        assert isinstance(usual.encoder, EncoderConfig)
        corrected = replace(
            encoder,
            num_layers=usual.encoder.num_layers,
            hidden_dim=usual.encoder.hidden_dim,
            mask_radius=usual.encoder.mask_radius,
            activation=usual.encoder.activation,
        )
        return replace(usual, decoder=summed, encoder=corrected)

    def with_contrasts_of_start(self, described: "RunConfig") -> "RunConfig":
        """The run that is described, with contrasts if the linear model has them.

        Without them the sum would not be the linear model before the first step, and the
        latent would have to follow the contrasts.
        """
        given: frozenset[str] = getattr(self, "given", frozenset())
        if self.linear_run is None:
            return described
        if "with_contrast" in given:
            self._tell_of_contrasts_left_out(has_contrasts=described.training.with_contrast)
            return described
        if self.going_on is not None:
            has_contrasts = self.going_on.training.with_contrast
        else:
            spread = self._opened.contrast_spread
            has_contrasts = spread > 0
            if has_contrasts:
                logger.info(
                    "images have contrasts (`with_contrast`), which vary by %.2g, as in %s",
                    spread,
                    self.linear_run,
                )
        training = replace(described.training, with_contrast=has_contrasts)
        return replace(described, training=training)

    def _tell_of_contrasts_left_out(self, *, has_contrasts: bool) -> None:
        """Warn where the linear model has contrasts, and the sum with the network none."""
        if has_contrasts or self.going_on is not None or not self._opened.contrast_spread:
            return
        logger.warning(
            "contrasts are taken for 1 (`with_contrast=False`), though they vary by %.2g in "
            "%s: latents may follow them",
            self._opened.contrast_spread,
            self.linear_run,
        )

    def refuse_volumes_without_model(self) -> None:
        """Refuse to train volumes where there are none.

        Raises:
            ConfigError: `train_volumes` is given without a linear model.
        """
        if self.train_volumes and self.linear_run is None:
            msg = (
                "`train_volumes` lets volumes of a linear model learn, and there is none; give "
                "its run (`linear_run`), or leave it out"
            )
            raise ConfigError(msg)

    def refuse_other_encoders(self) -> None:
        """Refuse settings of encoders that are not used beside a linear model.

        Raises:
            ConfigError: One of them is given.
        """
        given: frozenset[str] = getattr(self, "given", frozenset())
        others = {"encode_mode", "initial_latents", *(OF_ENCODERS & {"use_real"})}
        for name in sorted(others & given):
            msg = (
                f"`linear_run` reads latents off the images by the linear model itself; leave "
                f"out `{name}`"
            )
            raise ConfigError(msg)

    def linear_start(
        self,
        config: "RunConfig",
        particles: "ParticleSet",
        device: "torch.device",
        storage: "Storage",
        team: "Team",
    ) -> "tuple[RunConfig, LinearStart | None]":
        """The linear model that an untrained network begins with; None for a network alone.

        The settings are those of a network on the functions that this model has.

        Args:
            config: The run.
            particles: Its particles.
            device: Where to compute.
            storage: Where prepared images are kept.
            team: Processes that share the images.
        """
        import torch

        from cryodrgn.linear.linear_run import LinearRun
        from cryodrgn.training.assembly import held_out_particles

        folder, seed = config.training.linear_run, config.training.seed
        if folder is None:
            return config, None
        is_known = self.linear_run is not None and self.going_on is None
        opened = self._opened if is_known else LinearRun.open(folder, seed)
        opened.check(particles, invert=config.data.invert)
        opened.latents.warn_of_noise("the linear model that the network stands on is noise")
        held_out, visited = held_out_particles(config.training, particles), None
        if held_out is not None:
            if config.model.encoder is not None:
                _tell_of_few(particles.select(held_out.numpy()), particles)
                if opened.may_hide_contrasts:
                    logger.warning(
                        "%s: the linear model took contrasts of images for 1, as it was told "
                        "(train_linear `with_contrast=False`): where they vary, its components "
                        "follow them, which hides their spread from the comparison with held-"
                        "out particles, and the network can seem better than it is; let "
                        "train_linear find out",
                        folder,
                    )
            everyone = torch.arange(len(particles))
            visited = everyone[~torch.isin(everyone, held_out)]
        start = opened.start(
            config.data,
            particles,
            visited,
            device,
            storage,
            team=team,
            with_encoder=config.model.encoder is not None,
        )
        return replace(config, model=start.fitted(config.model)), start

    @cached_property
    def _opened(self) -> "LinearRun":
        """The linear run."""
        from cryodrgn.linear.linear_run import LinearRun

        assert self.linear_run is not None
        seed: Any = getattr(self, "seed", 0)
        return LinearRun.open(self.linear_run, seed)

    @cached_property
    def going_on(self) -> "RunConfig | None":
        """The run on a linear model that goes on; None if a new one begins.

        What it began with is in its weights, and need not be there any more.
        """
        from cryodrgn.rundir import RunDirectory
        from cryodrgn.training.start import recorded_config

        assert self.linear_run is not None
        load = getattr(self, "load", None)
        if load is None or (load == "latest" and getattr(self, "overwrite", False)):
            return None
        folder = getattr(self, "outdir") if load == "latest" else Path(load).parent  # noqa: B009
        recorded = recorded_config(RunDirectory(folder))
        if recorded is None or recorded.training.linear_run != self.linear_run.resolve():
            return None
        return recorded

    @cached_property
    def _sizes(self) -> "tuple[LinearNetworkConfig, LinearEncoderConfig | None]":
        """Sizes of the linear model in a decoder and in an encoder, beside any network."""
        from cryodrgn.models.settings import LinearEncoderConfig, LinearNetworkConfig

        if self.going_on is not None:
            model = self.going_on.model
            decoder, encoder = model.decoder, model.encoder
            assert isinstance(decoder, LinearNetworkConfig)
            is_told = isinstance(encoder, LinearEncoderConfig)
            return decoder, encoder if is_told else None
        return self._opened.sizes()


def _tell_of_few(held_out: "ParticleSet", particles: "ParticleSet") -> None:
    """Warn where fewer different particles are held out than a model is chosen by."""
    count = held_out.num_different
    if count < FEWEST_PARTICLES:
        logger.warning(
            "%d particles are held out, too few to say at the end if the network helps; at "
            "least %d are needed: %s",
            count,
            FEWEST_PARTICLES,
            remedy_for_few(particles.num_different),
        )
