"""A network from a latent to the volume's principal components in a landscape."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from cryodrgn.errors import ConfigError
from cryodrgn.models.layers import Mlp
from cryodrgn.progress import Progress

TRAINING_SHARE = 0.75


@dataclass(frozen=True, kw_only=True, slots=True)
class MappingConfig:
    """Settings of the map from latents to volume components.

    Attributes:
        hidden_dim: Width of the hidden layers.
        num_layers: Hidden layers.
        epochs: Passes through the training volumes.
        batch_size: Volumes per step.
        learning_rate: Of Adam.
        seed: Of weights, split and order.
    """

    hidden_dim: int = 512
    num_layers: int = 3
    epochs: int = 200
    batch_size: int = 64
    learning_rate: float = 1e-4
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LearntMapping:
    """Latents → coordinates of their volumes.

    Attributes:
        network: Takes and returns canonicalise numbers.
        inputs: Mean and scale of the latents.
        outputs: Mean and scale of the coordinates.
        explained: Share of the variance of each coordinate that the network explains for
            volumes it was not trained on; below zero where it is worse than the mean.
    """

    network: nn.Module
    inputs: tuple[Tensor, Tensor]
    outputs: tuple[Tensor, Tensor]
    explained: Float[np.ndarray, " components"]

    @torch.inference_mode()
    def __call__(
        self, latents: Float[np.ndarray, "particles z"], batch_size: int = 10_000
    ) -> Float[np.ndarray, "particles components"]:
        """Coordinates of the volumes at some latents."""
        device = self.inputs[0].device
        found = []
        for part in torch.from_numpy(latents).split(batch_size):
            scaled = (part.to(device) - self.inputs[0]) / self.inputs[1]
            found.append((self.network(scaled) * self.outputs[1] + self.outputs[0]).cpu())
        return torch.cat(found).numpy()


def learn_mapping(
    latents: Float[np.ndarray, "volumes z"],
    coordinates: Float[np.ndarray, "volumes components"],
    config: MappingConfig,
    device: torch.device,
) -> LearntMapping:
    """Learn the mapping from three quarters of some volumes, and judge it by the others.

    Args:
        latents: Where volumes were made.
        coordinates: Where they lie in the space of volumes.
        config: How to learn.
        device: Where to compute.

    Raises:
        ConfigError: There are too few volumes, or a setting is out of range.
    """
    if len(latents) < 8 or config.epochs < 1 or config.batch_size < 1:
        msg = (
            f"learning the mapping needs at least 8 volumes, one epoch and one volume per "
            f"batch, got {len(latents)}, {config.epochs} and {config.batch_size}"
        )
        raise ConfigError(msg)
    generator = torch.Generator().manual_seed(config.seed)
    order = torch.randperm(len(latents), generator=generator)
    training, held_out = order.tensor_split([round(TRAINING_SHARE * len(latents))])
    x, y = (torch.from_numpy(array).float().to(device) for array in (latents, coordinates))
    inputs, outputs = (_standardisation(values[training]) for values in (x, y))
    x, y = (x - inputs[0]) / inputs[1], (y - outputs[0]) / outputs[1]

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        network = Mlp(x.shape[1], config.num_layers, config.hidden_dim, y.shape[1]).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    with Progress(config.epochs, "learning the mapping", "epoch") as progress:
        for _ in range(config.epochs):
            rows = training[torch.randperm(len(training), generator=generator)]
            for batch in rows.split(config.batch_size):
                optimizer.zero_grad(set_to_none=True)
                loss = (network(x[batch]) - y[batch]).square().mean()
                loss.backward()
                optimizer.step()
            progress.advance()
    with torch.inference_mode():
        residual = (network(x[held_out]) - y[held_out]).square().mean(0)
    spread = y[held_out].var(0, correction=0).clamp_min(1e-12)
    explained = (1 - residual / spread).cpu().numpy()
    return LearntMapping(network=network, inputs=inputs, outputs=outputs, explained=explained)


def _standardisation(values: Tensor) -> tuple[Tensor, Tensor]:
    return values.mean(0), values.std(0).clamp_min(1e-6)
