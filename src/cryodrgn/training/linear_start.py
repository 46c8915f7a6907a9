"""A linear model as the beginning of training: what a network on it starts from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.errors import ConfigError
from cryodrgn.fourier.resample import resize_volume
from cryodrgn.models.linear_encoder import LinearEncoder
from cryodrgn.models.linear_network import LinearNetwork
from cryodrgn.models.model import Model
from cryodrgn.models.settings import LinearNetworkConfig, ModelConfig


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Embedding:
    """The linear model that tells latents of images, in units of the images.

    Attributes:
        volumes: Mean and components.
        noise: Variance of the noise of one real number by shell.
    """

    volumes: Float[Tensor, "volumes box box box"]
    noise: Float[Tensor, " shells"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LinearStart:
    """Volumes, functions and latents that a network begins with, in units of the images.

    Attributes:
        volumes: V_0 … V_K.
        functions: Tables of the smooth functions by name; none where the functions are the
            coordinates of the latent.
        embedding: Tells the latents of images; None where latents are numbers of particles.
        contrast_spread: Standard deviation of the contrasts of images; 0 where all are 1.
        noise: Variance of the noise of one real number, by optics group of the particles and
            shell; None where no linear model tells it.
    """

    volumes: Float[Tensor, "volumes box box box"]
    functions: Mapping[str, Tensor]
    embedding: Embedding | None
    contrast_spread: float = 0.0
    noise: Float[Tensor, "groups shells"] | None = None

    def fitted(self, config: ModelConfig) -> ModelConfig:
        """The settings of a model with the functions that it begins with.

        Args:
            config: The same with smooth functions, which the images may not bear.
        """
        if self.functions:
            return config
        assert isinstance(config.decoder, LinearNetworkConfig)
        count = len(self.volumes) - 1
        decoder = replace(
            config.decoder, num_functions=count, num_landmarks=0, num_neighbours=0
        )
        return replace(config, decoder=decoder)

    def put_into(self, model: Model, norm: tuple[float, float]) -> None:
        """Let an untrained model be the linear one.

        Args:
            model: A model on a linear model.
            norm: Offset and scale of the images of the run.

        Raises:
            ConfigError: The images have an offset, which the linear model does not know.
        """
        offset, scale = norm
        if offset:
            msg = (
                f"the offset of `norm` is {offset:g}, but a linear model is of images without "
                "one; give `norm` 0 and a scale"
            )
            raise ConfigError(msg)
        decoder = model.decoder
        assert isinstance(decoder, LinearNetwork)
        device = decoder.get_buffer("volumes").device
        if self.functions:
            decoder.functions.load_state_dict(dict(self.functions))
        decoder.put_volumes(self.volumes.to(device) / scale)
        if self.embedding is None:
            return
        encoder = model.encoder
        assert isinstance(encoder, LinearEncoder)
        side, embedding = encoder.config.grid_size, self.embedding
        small = [resize_volume(volume.to(device), side) for volume in embedding.volumes]
        encoder.put_model(
            torch.stack(small) / scale,
            embedding.noise.to(device) / scale**2,
            self.contrast_spread,
        )
