"""Training of a variational auto-encoder on images with known poses."""

from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.jobs.architecture import AutoEncoderOptions
from cryodrgn.jobs.options import TRAINING, HeldOutOptions, PoseRefinementOptions, TiltOptions
from cryodrgn.jobs.training import TrainingJob
from cryodrgn.settings import Settings, at_least, function_of, option, settings

if TYPE_CHECKING:
    from cryodrgn.models.settings import ModelConfig
    from cryodrgn.training.config import TrainConfig
    from cryodrgn.training.schedules import KlWeighting


@settings
class DivergenceOptions(Settings):
    """Weight of the KL divergence in the loss."""

    beta: str | float = option(
        "--beta",
        default="1.0",
        group=TRAINING,
        parse=str,
        help="Choice of beta schedule (a, b, c, d) or a constant for KLD weight",
    )
    beta_control: float | None = option(
        "--beta-control",
        default=None,
        group=TRAINING,
        help="KL-Controlled VAE gamma. Beta is KL target. (default: None)",
    )

    def kl_weighting(self) -> "KlWeighting":
        """The weight."""
        from cryodrgn.training.schedules import KlWeighting, parse_beta

        return KlWeighting(beta=parse_beta(str(self.beta)), control=self.beta_control)


@settings
class TrainVae(
    AutoEncoderOptions,
    PoseRefinementOptions,
    HeldOutOptions,
    DivergenceOptions,
    TiltOptions,
    TrainingJob,
):
    """Train a VAE for heterogeneous reconstruction with known pose."""

    initial_latents: Path | None = option(
        "--init-z",
        default=None,
        group=TRAINING,
        metavar="RUN",
        help="Teach the encoder the latents of this run (of train_linear, for instance) or "
        "z.pkl, before all else is trained",
    )
    initial_epochs: int = option(
        "--init-epochs",
        default=10,
        group=TRAINING,
        metavar="EPOCHS",
        check=at_least(1),
        help="Epochs of that",
    )

    def model(self, box_size: int) -> "ModelConfig":
        """Encoder and decoder."""
        return self.auto_encoder(box_size, has_pairs=self.tilt is not None)

    def optimisation(self) -> "TrainConfig":
        """Optimisation of the evidence lower bound."""
        from cryodrgn.training.warm_start import WarmStart

        warm_start = None
        if self.initial_latents is not None:
            warm_start = WarmStart(latents=self.initial_latents, epochs=self.initial_epochs)
        return self.train_config(kl=self.kl_weighting(), warm_start=warm_start)


train_vae = function_of(TrainVae)
