"""Training of a decoder with a free latent for every particle."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.jobs.linear_start import LinearStartOptions
from cryodrgn.jobs.options import PoseRefinementOptions
from cryodrgn.jobs.recipe_options import RecipeOptions
from cryodrgn.jobs.tilt_options import RandomTiltOptions
from cryodrgn.jobs.train_nn import BareDecoderOptions
from cryodrgn.jobs.training import TrainingJob
from cryodrgn.settings import function_of, part_of, same_as, settings
from cryodrgn.training.options import LatentTableConfig, LikelihoodOptions

if TYPE_CHECKING:
    from cryodrgn.models.settings import ModelConfig
    from cryodrgn.particles.particle_set import ParticleSet
    from cryodrgn.training.run_config import TrainConfig


@settings
class TrainDec(
    BareDecoderOptions,
    RandomTiltOptions,
    PoseRefinementOptions,
    LinearStartOptions,
    LikelihoodOptions,
    RecipeOptions,
    TrainingJob,
):
    """Train a decoder with a free latent for every particle (auto-decoder)."""

    initial_latents: Path | None = same_as(LatentTableConfig, "initial")
    latent_learning_rate: float = same_as(LatentTableConfig, "learning_rate")
    latent_pretrain: int = same_as(LatentTableConfig, "pretrain")
    decoder_dim: int = same_as(BareDecoderOptions, "decoder_dim", default=1024)
    pose_pretrain: int = same_as(
        PoseRefinementOptions, "pose_pretrain", default=5, flags=("--pretrain-pose",)
    )
    pose_learning_rate: float = same_as(
        PoseRefinementOptions, "pose_learning_rate", default=1e-4
    )

    def model(self, particles: "ParticleSet") -> "ModelConfig":
        """A decoder with a latent."""
        self.refuse_volumes_without_model()
        usual = self.decoder_alone(particles.box_size, self.latent_dim)
        return usual if self.linear_run is None else self.on_linear_model(usual, particles)

    def optimisation(self) -> "TrainConfig":
        """Optimisation of the decoder and of the latents."""
        initial = self.initial_latents or self.linear_run
        return replace(
            self.train_config(), latents=part_of(self, LatentTableConfig, {"initial": initial})
        )


train_dec = function_of(TrainDec)
