"""Training of a variational auto-encoder on images with known poses."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.counts import counted
from cryodrgn.errors import ConfigError, CryodrgnError
from cryodrgn.jobs.architecture import AutoEncoderOptions, TiltEncoderOptions
from cryodrgn.jobs.linear_start import LinearStartOptions
from cryodrgn.jobs.options import HeldOutOptions, PoseRefinementOptions
from cryodrgn.jobs.recipe_options import RecipeOptions
from cryodrgn.jobs.tilt_options import TILTS_OF_4, RandomTiltOptions, TiltOptions
from cryodrgn.jobs.training import TrainingJob
from cryodrgn.settings import Settings, function_of, part_of, same_as, settings
from cryodrgn.training.options import EncoderInputOptions, LikelihoodOptions, WarmStart
from cryodrgn.training.schedules import KlWeighting

if TYPE_CHECKING:
    import torch

    from cryodrgn.models.settings import ModelConfig
    from cryodrgn.parallel import Team
    from cryodrgn.particles.options import TiltSeriesSettings
    from cryodrgn.particles.particle_set import ParticleSet
    from cryodrgn.rundir import RunDirectory
    from cryodrgn.training.run_config import RunConfig, TrainConfig

logger = logging.getLogger(__name__)

# Encoders that read one image of a particle.
OF_ONE_IMAGE = frozenset({"resid", "mlp", "conv"})
# Mean variance v of the noise of a real or imaginary part, where Hartley values have unit
# variance and are mostly noise.
VARIANCE_OF_NOISE = 0.5


@settings
class DivergenceOptions(Settings):
    """Weight of the KL divergence in the loss."""

    beta: float | str = same_as(KlWeighting, "beta")
    beta_control: float | None = same_as(KlWeighting, "control")

    def __post_init__(self) -> None:
        """Refuse a schedule without its control, before files are read."""
        super().__post_init__()
        part_of(self, KlWeighting)


@settings
class TrainVae(
    LinearStartOptions,
    AutoEncoderOptions,
    TiltEncoderOptions,
    RandomTiltOptions,
    PoseRefinementOptions,
    HeldOutOptions,
    LikelihoodOptions,
    RecipeOptions,
    EncoderInputOptions,
    DivergenceOptions,
    TiltOptions,
    TrainingJob,
):
    """Train a VAE for heterogeneous reconstruction with known pose."""

    beta: float | str = same_as(
        DivergenceOptions,
        "beta",
        default_words="1.0; with --from and no --beta-control twice the dimensions of z, "
        "divided by the number of images of a particle",
    )
    initial_latents: Path | None = same_as(WarmStart, "latents", default=None)
    initial_epochs: int = same_as(WarmStart, "epochs")

    @property
    def series(self) -> "TiltSeriesSettings":
        """The settings of tilt series, of which cryoDRGN's encoder reads a fixed number."""
        said = super().series
        if self._reads_fixed_number and said.num_tilts is None and not self.random_tilts:
            return replace(said, num_tilts=TILTS_OF_4)
        return said

    @property
    def _recipe_chooses_encoder(self) -> bool:
        """True if a recipe is given, and nothing that says what an encoder sees."""
        says_inputs = self.use_real or self.encoder_mask is not None
        is_weighted = self.input_weighting != "none"
        is_free = self.encode_mode is None and not says_inputs and not is_weighted
        return self.recipe is not None and is_free

    @property
    def _reads_fixed_number(self) -> bool:
        """True if the encoder reads the same number of tilts of every particle."""
        is_series = self.tilt is None and not self.single_images
        return self.encode_mode == "tilt" and is_series

    def model(self, particles: "ParticleSet") -> "ModelConfig":
        """Encoder and decoder."""
        self.refuse_volumes_without_model()
        if self.linear_run is not None:
            self.refuse_other_encoders()
            usual = self.auto_encoder(particles.box_size, "resid")
            return self.on_linear_model(usual, particles)
        if self.tilt is not None:
            return self.auto_encoder(particles.box_size, "tilt")
        if not self._reads_fixed_number:
            usual = "resid" if particles.offsets is None else "subtomogram"
            if usual == "resid" and self._recipe_chooses_encoder:
                usual = "subtomogram"
                logger.info(
                    "`recipe` %s sets `encode_mode` %s: the encoder is told the pose of an "
                    "image; `encode_mode` resid is the one that cryoDRGN reads",
                    self.recipe,
                    usual,
                )
            if particles.offsets is not None and self.encode_mode in OF_ONE_IMAGE:
                logger.warning(
                    "`encode_mode` %s reads the image of the smallest dose of every particle "
                    "alone; subtomogram reads all of them",
                    self.encode_mode,
                )
            return self.auto_encoder(particles.box_size, usual)
        source = particles.source
        if particles.offsets is None:
            msg = (
                f"`encode_mode` tilt needs several images of a particle, but {source} has "
                "one of each; give the second images of tilt pairs with `tilt`, or the "
                ".star file of tilt series"
            )
            raise ConfigError(msg)
        num_tilts = self.num_tilts or TILTS_OF_4
        fewest = int(particles.image_counts.min())
        if fewest < num_tilts:
            few = int((particles.image_counts < num_tilts).sum())
            msg = (
                f"`encode_mode` tilt reads {num_tilts} tilts of every particle, but {few} of "
                f"{len(particles)} in {source} have fewer (the fewest {fewest}); give a "
                "smaller `num_tilts`, or take subtomogram, which reads any number of them"
            )
            raise ConfigError(msg)
        return self.auto_encoder(particles.box_size, num_tilts=num_tilts)

    def is_to_judge(self, run: "RunDirectory") -> bool:
        """True if the run was interrupted after training, before its particles were judged."""
        return not run.judged.picture.is_file()

    def judge(
        self,
        config: "RunConfig",
        particles: "ParticleSet",
        run: "RunDirectory",
        device: "torch.device",
        team: "Team",
    ) -> None:
        """Name the particles that look like junk, and draw some of them."""
        from cryodrgn.linear.network_scores import judge_run
        from cryodrgn.training.assembly import storage_of
        from cryodrgn.workflow.junk_gallery import draw_junk

        # All have finished before one reads what was written.
        team.wait()
        if not team.is_writer:
            return
        data = config.data
        try:
            if run.poses().is_file():
                particles = replace(data, files=replace(data.files, poses=run.poses())).open()
            storage = storage_of(config.training, run)
            settings = config.training
            alone = settings.num_epochs if settings.linear_run is None else None
            scores = judge_run(run, particles, device, storage, alone)
            draw_junk(scores, particles, data, run)
        except CryodrgnError as error:
            # Training is done and its results are written: latents that are not finite, or
            # files that have changed since, are no reason to fail.
            logger.warning("particles are not judged: %s", error)

    def optimisation(self) -> "TrainConfig":
        """Optimisation of the evidence lower bound."""
        warm_start = None if self.initial_latents is None else part_of(self, WarmStart)
        kl = part_of(self, KlWeighting)
        return replace(self.train_config(), kl=kl, warm_start=warm_start)

    def _described(self, particles: "ParticleSet") -> "RunConfig":
        """The run that the settings describe, with β of the bound on a linear model."""
        described = super()._described(particles)
        if self.linear_run is None or {"beta", "beta_control"} & self.given:
            return described
        if self.going_on is not None:
            kl = self.going_on.training.kl
            logger.info("`beta` is %s, as in the run that goes on", kl.beta)
        else:
            kl = KlWeighting(beta=self._beta_of_bound(particles))
        return replace(described, training=replace(described.training, kl=kl))

    def _beta_of_bound(self, particles: "ParticleSet") -> float:
        """The weight by which the loss is the evidence lower bound.

        The posterior of a linear model is the best one by this bound; with a smaller weight an
        encoder leaves it for narrower ones. 4 v Z / N for particles of N images
        (docs/methods.md).
        """
        count = float(self.tilts_drawn or particles.image_counts.mean())
        beta = 4 * VARIANCE_OF_NOISE * self.latent_dim / count
        logger.info(
            "`beta` is %.3g, 2 × %s of z%s: on a linear model the loss is the "
            "evidence lower bound of images that are mostly noise (1 without `linear_run`)",
            beta,
            counted(self.latent_dim, "dimension"),
            "" if count == 1 else f" / {count:.3g} images of a particle",
        )
        return beta


train_vae = function_of(TrainVae)
