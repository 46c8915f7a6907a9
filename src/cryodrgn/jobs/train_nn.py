"""Training of a decoder for a single structure on images with known poses."""

from typing import TYPE_CHECKING

from cryodrgn.jobs.architecture import NETWORK, DecoderOptions
from cryodrgn.jobs.options import HeldOutOptions, PoseRefinementOptions
from cryodrgn.jobs.recipe_options import RecipeOptions
from cryodrgn.jobs.training import TrainingJob
from cryodrgn.settings import POSITIVE, function_of, option, same_as, settings
from cryodrgn.training.options import LikelihoodOptions

if TYPE_CHECKING:
    from cryodrgn.models.settings import ModelConfig
    from cryodrgn.particles.particle_set import ParticleSet


@settings
class BareDecoderOptions(DecoderOptions):
    """Architecture of a decoder that has no encoder beside it."""

    decoder_layers: int = same_as(
        DecoderOptions, "decoder_layers", default=3, flags=("--layers",), group=NETWORK
    )
    decoder_dim: int = same_as(
        DecoderOptions, "decoder_dim", default=256, flags=("--dim",), group=NETWORK
    )
    lattice_extent: float = option(
        "--l-extent",
        default=0.5,
        group=NETWORK,
        check=POSITIVE,
        help="Coordinate lattice size (if not using positional encoding)",
    )

    @property
    def extent(self) -> float:
        """Number that stands for Nyquist at the input, without positional encoding."""
        return self.lattice_extent


@settings
class TrainNn(
    BareDecoderOptions,
    PoseRefinementOptions,
    HeldOutOptions,
    LikelihoodOptions,
    RecipeOptions,
    TrainingJob,
):
    """Train a neural net to model a 3D EM density map."""

    pose_pretrain: int = same_as(PoseRefinementOptions, "pose_pretrain", default=5)
    pose_learning_rate: float = same_as(
        PoseRefinementOptions, "pose_learning_rate", default=1e-4
    )

    def model(self, particles: "ParticleSet") -> "ModelConfig":
        """A decoder without latent."""
        return self.decoder_alone(particles.box_size)


train_nn = function_of(TrainNn)
