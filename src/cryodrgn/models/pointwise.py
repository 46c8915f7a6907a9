"""Fast evaluation of the perceptron decoder: many points, one latent after another.

The features of a point and their share of the first layer do not depend on the latent, so
they are computed once for all volumes. A residual layer x ↦ W x + b + x is the plain layer
with the weights W + 1.

What follows the first layer may be one compiled program for several latents. Its shapes never
change: points are cut into equal parts, the last of which is filled up, and so are latents.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cryodrgn.compiled_code import CompiledFunction
from cryodrgn.models.layers import Mlp, ResidualLinear

# Hidden values of one part: they stay in a processor's cache, or fill a GPU.
VALUES_PER_PART = {"cpu": 1 << 19}
VALUES_PER_PART_ON_GPU = 1 << 26
NAME = "the decoding of volumes is"


class PointwiseNetwork:
    """The perceptron of a decoder, arranged for fixed points and changing latents.

    Args:
        network: The perceptron; later changes of its weights are not seen.
        features: Its input at frequencies in cycles per pixel, in a number type.
        latent_dim: Dimensions of the latent, which follows the features.
        dtype: Number type of the matrix products.
        is_compiled: Whether all that follows the first layer is compiled.
    """

    def __init__(
        self,
        network: Mlp,
        features: Callable[[Tensor, torch.dtype], Tensor],
        latent_dim: int,
        dtype: torch.dtype,
        *,
        is_compiled: bool = False,
    ) -> None:
        layers = [_as_plain(layer) for layer in list(network.main)[::2]]
        self._features = features
        self._dtype = dtype
        self._activation = network.main[1]
        (first, self._first_bias), *others = layers
        num_features = first.shape[1] - latent_dim
        of_features, self._of_latent = first.split([num_features, latent_dim], dim=1)
        self._of_features = of_features.to(dtype)
        self._others = [(weight.to(dtype).mT, bias.to(dtype)) for weight, bias in others]
        self._program = CompiledFunction(self._of_several, NAME) if is_compiled else None
        self._size, self._together = 0, 1

    @property
    def outputs(self) -> int:
        """Numbers returned per point."""
        return self._others[-1][0].shape[1]

    @property
    def points_per_part(self) -> int:
        """Points that are best evaluated together."""
        values = VALUES_PER_PART.get(self._of_latent.device.type, VALUES_PER_PART_ON_GPU)
        return max(256, values // len(self._of_latent))

    @torch.inference_mode()
    def __call__(
        self, points: Float[Tensor, "points 3"], latents: Float[Tensor, "volumes z"]
    ) -> Float[Tensor, "volumes points out"]:
        """Values at all points for all latents.

        Args:
            points: Frequencies in cycles per pixel.
            latents: The latents.
        """
        shares = nn.functional.linear(latents, self._of_latent, self._first_bias)
        shares = shares.to(self._dtype)
        values = points.new_empty(len(latents), len(points), self.outputs)
        if self._program is not None:
            return self._in_equal_parts(points, shares, values)
        size = self.points_per_part
        buffers = [shares.new_empty(size, len(self._of_latent)) for _ in range(2)]
        for start in range(0, len(points), size):
            part = slice(start, start + size)
            features = self._features(points[part], self._dtype)
            first = nn.functional.linear(features, self._of_features)
            for number, share in enumerate(shares):
                values[number, part] = self._rest(first, share, buffers)
        return values

    def _in_equal_parts(
        self,
        points: Float[Tensor, "points 3"],
        shares: Float[Tensor, "volumes hidden"],
        values: Float[Tensor, "volumes points out"],
    ) -> Float[Tensor, "volumes points out"]:
        """The values, by the compiled program."""
        assert self._program is not None
        most = self.points_per_part
        size = -(-len(points) // -(-len(points) // most))
        if size != self._size:
            self._size, self._together = size, 1
        # A power of two, so that few shapes are compiled; once compiled, it does not shrink.
        while self._together < len(shares) and 2 * self._together * size <= most:
            self._together *= 2
        for start in range(0, len(points), size):
            part = slice(start, start + size)
            chosen = points[part]
            count = len(chosen)
            chosen = nn.functional.pad(chosen, (0, 0, 0, size - count))
            features = self._features(chosen, self._dtype)
            first = nn.functional.linear(features, self._of_features)
            for number in range(0, len(shares), self._together):
                few = shares[number : number + self._together]
                filled = nn.functional.pad(few, (0, 0, 0, self._together - len(few)))
                found = self._program(first, filled)
                values[number : number + len(few), part] = found[: len(few), :count]
        return values

    def _of_several(
        self, first: Float[Tensor, "points hidden"], shares: Float[Tensor, "volumes hidden"]
    ) -> Float[Tensor, "volumes points out"]:
        """All that follows the product of the first layer's features, for several latents."""
        found = first + shares[:, None]
        for weight, bias in self._others:
            found = self._activation(found) @ weight + bias
        return found

    def _rest(
        self,
        first: Float[Tensor, "points hidden"],
        share: Float[Tensor, " hidden"],
        buffers: list[Tensor],
    ) -> Float[Tensor, "points out"]:
        """All that follows the product of the first layer's features."""
        source, target = (buffer[: len(first)] for buffer in buffers)
        torch.add(first, share, out=source)
        for weight, bias in self._others[:-1]:
            torch.addmm(bias, self._activation(source), weight, out=target)
            source, target = target, source
        weight, bias = self._others[-1]
        return torch.addmm(bias, self._activation(source), weight)


def _as_plain(
    layer: nn.Module,
) -> tuple[Float[Tensor, "out in"], Float[Tensor, " out"]]:
    """Weights and biases of a layer, without its residual connection."""
    if isinstance(layer, ResidualLinear):
        weight = layer.linear.weight.detach()
        identity = torch.eye(len(weight), device=weight.device)
        return weight + identity, layer.linear.bias.detach()
    assert isinstance(layer, nn.Linear)
    return layer.weight.detach(), layer.bias.detach()
