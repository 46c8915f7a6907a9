"""Multi-layer perceptrons with residual layers."""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cryodrgn.kernels.backends import kernels_for
from cryodrgn.models.settings import Activation

ACTIVATIONS: dict[str, type[nn.ReLU | nn.LeakyReLU]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
}


# What negative values are multiplied with.
SLOPES: dict[str, float] = {"relu": 0.0, "leaky_relu": nn.LeakyReLU().negative_slope}


def count_perceptron(in_dim: int, num_layers: int, hidden_dim: int, out_dim: int) -> int:
    """Number of weights and biases of an :class:`Mlp`."""
    hidden = num_layers * (hidden_dim + 1) * hidden_dim
    return (in_dim + 1) * hidden_dim + hidden + (hidden_dim + 1) * out_dim


class ResidualLinear(nn.Module):
    """x ↦ W x + b + x."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, dim)

    def forward(self, values: Float[Tensor, "... dim"]) -> Float[Tensor, "... dim"]:
        """Apply the layer."""
        return self.linear(values) + values


class Mlp(nn.Module):
    """A first layer, hidden layers with an activation before each, and a last layer.

    Args:
        in_dim: Number of inputs.
        num_layers: Number of hidden layers; there are two more, at the ends.
        hidden_dim: Their width.
        out_dim: Number of outputs.
        activation: Between all layers.
        residual: Whether layers of equal input and output width add their input.
    """

    def __init__(
        self,
        in_dim: int,
        num_layers: int,
        hidden_dim: int,
        out_dim: int,
        activation: Activation = "relu",
        *,
        residual: bool = True,
    ) -> None:
        super().__init__()
        dims = [in_dim, *[hidden_dim] * (num_layers + 1), out_dim]
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(itertools.pairwise(dims)):
            if number:
                layers.append(ACTIVATIONS[activation](inplace=True))
            adds = residual and before == after
            layers.append(ResidualLinear(before) if adds else nn.Linear(before, after))
        self.main = nn.Sequential(*layers)
        self._slope = SLOPES[activation]
        self._is_fused = False

    def fuse(self) -> int:
        """Compute residual layers together with the activation before; the number of them."""
        fused = sum(isinstance(layer, ResidualLinear) for layer in self.main)
        self._is_fused = fused > 0
        return fused

    def forward(self, values: Float[Tensor, "... in"]) -> Float[Tensor, "... out"]:
        """Apply the network."""
        return self.main(values)

    def conditioned(
        self, features: Float[Tensor, "batch points features"], latent: Float[Tensor, "batch z"]
    ) -> Float[Tensor, "batch points out"]:
        """Apply the network to every point's features followed by its image's latent.

        The latent is the same for all points of an image, so its share of the first layer is
        computed once per image and added.
        """
        first = self.main[0]
        if not isinstance(first, nn.Linear):
            repeated = latent[:, None].expand(-1, features.shape[1], -1)
            return self.main(torch.cat([features, repeated], dim=-1))
        of_features, of_latent = first.weight.split(
            [features.shape[-1], latent.shape[-1]], dim=1
        )
        from_latent = nn.functional.linear(latent, of_latent, first.bias)
        values = nn.functional.linear(features, of_features) + from_latent[:, None]
        if self._is_fused:
            return self._fused(values)
        for layer in itertools.islice(self.main, 1, None):
            values = layer(values)
        return values

    def _fused(self, values: Float[Tensor, "... hidden"]) -> Float[Tensor, "... out"]:
        """All that follows the first layer; pairs of activation and layer at a time."""
        kernels = kernels_for(values.device, fused=True)
        layers = list(self.main)[1:]
        for activation, layer in zip(layers[::2], layers[1::2], strict=True):
            if isinstance(layer, ResidualLinear):
                linear = layer.linear
                values = kernels.residual_layer(values, linear.weight, linear.bias, self._slope)
            else:
                values = layer(activation(values))
        return values


def fuse_residual_layers(model: nn.Module) -> int:
    """Let a kernel of the device compute residual layers together with their activations.

    Args:
        model: Whose perceptrons do so from now on.

    Returns:
        Number of layers that do.
    """
    perceptrons = [module for module in model.modules() if isinstance(module, Mlp)]
    return sum(perceptron.fuse() for perceptron in perceptrons)
