"""Training of a decoder with a free latent for every particle."""

from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.jobs.linear_start import LinearStartOptions
from cryodrgn.jobs.options import PoseRefinementOptions
from cryodrgn.jobs.recipe_options import RecipeOptions
from cryodrgn.jobs.tilt_options import RandomTiltOptions
from cryodrgn.jobs.train_nn import BareDecoderOptions
from cryodrgn.jobs.training import TrainingJob
from cryodrgn.settings import POSITIVE, at_least, function_of, option, settings, with_default
from cryodrgn.training.options import LikelihoodOptions

if TYPE_CHECKING:
    from cryodrgn.models.settings import ModelConfig
    from cryodrgn.particles.particle_set import ParticleSet
    from cryodrgn.training.config import TrainConfig

LATENTS = "Latents"


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

    initial_latents: Path | None = option(
        "--load-z",
        default=None,
        group=LATENTS,
        metavar="PKL",
        help="Begin with the latents of this z.pkl, or of this run (of train_linear, for "
        "instance)",
    )
    latent_learning_rate: float = option(
        "--z-lr",
        default=1e-4,
        group=LATENTS,
        check=POSITIVE,
        help="Learning rate of the latents",
    )
    latent_pretrain: int = option(
        "--pretrain-z",
        default=0,
        group=LATENTS,
        metavar="EPOCHS",
        check=at_least(0),
        help="Number of epochs with fixed latents",
    )
    decoder_dim: int = with_default(BareDecoderOptions, "decoder_dim", default=1024)
    pose_pretrain: int = with_default(
        PoseRefinementOptions, "pose_pretrain", default=5, flags=("--pretrain-pose",)
    )
    pose_learning_rate: float = with_default(
        PoseRefinementOptions, "pose_learning_rate", default=1e-4
    )

    def model(self, particles: "ParticleSet") -> "ModelConfig":
        """A decoder with a latent."""
        self.refuse_volumes_without_model()
        usual = self.decoder_alone(particles.box_size, self.latent_dim)
        return usual if self.linear_run is None else self.on_linear_model(usual, particles)

    def optimisation(self) -> "TrainConfig":
        """Optimisation of the decoder and of the latents."""
        from cryodrgn.training.config import LatentTableConfig

        return self.train_config(
            latents=LatentTableConfig(
                learning_rate=self.latent_learning_rate,
                pretrain=self.latent_pretrain,
                initial=self.initial_latents or self.linear_run,
            )
        )


train_dec = function_of(TrainDec)
