"""Volumes as sums over functions of a latent: V(z) = V_0 + Σ_k φ_k(z) V_k.

The functions are the latent's own coordinates (a linear model) or smooth functions known at
landmarks and extended to any point.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cryodrgn.errors import ConfigError

BasisKind = Literal["linear", "basis"]
ROWS_PER_BATCH = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class BasisConfig:
    """Shape of a model that is a sum over functions.

    Attributes:
        kind: ``linear`` for the latent's own coordinates, ``basis`` for smooth functions.
        box_size: Side of images and volumes in pixels.
        latent_dim: Dimensions of the latent.
        num_functions: Number of functions.
        num_landmarks: Points at which smooth functions are known.
        num_groups: Optics groups with a noise spectrum of their own; 0 for models that embed
            no images.
        num_neighbours: Landmarks that a point is compared with.
        radius: Radius in cycles per box up to which images are embedded; 0 for models that
            embed none.
    """

    kind: BasisKind
    box_size: int
    latent_dim: int
    num_functions: int
    num_landmarks: int = 0
    num_groups: int = 0
    num_neighbours: int = 0
    radius: int = 0

    def to_mapping(self) -> dict[str, dict[str, Any]]:
        """The groups ``lattice_args`` and ``model_args`` of a config file."""
        lattice = {"D": self.box_size + 1, "extent": 0.5, "ignore_DC": True}
        model = {
            "kind": self.kind,
            "zdim": self.latent_dim,
            "functions": self.num_functions,
            "landmarks": self.num_landmarks,
            "groups": self.num_groups,
            "neighbours": self.num_neighbours,
            "radius": self.radius,
        }
        return {"lattice_args": lattice, "model_args": model}

    @classmethod
    def describes(cls, mapping: Mapping[str, Any]) -> bool:
        """True if a config file describes a model of basis functions."""
        return mapping.get("model_args", {}).get("kind") in {"linear", "basis"}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> "BasisConfig":
        """Read the groups that :meth:`to_mapping` writes.

        Raises:
            ConfigError: A key is missing.
        """
        try:
            model = mapping["model_args"]
            return cls(
                kind=model["kind"],
                box_size=int(mapping["lattice_args"]["D"]) - 1,
                latent_dim=model["zdim"],
                num_functions=model["functions"],
                num_landmarks=model["landmarks"],
                num_groups=model["groups"],
                num_neighbours=model["neighbours"],
                radius=model["radius"],
            )
        except (KeyError, TypeError) as error:
            msg = f"the config describes no model: {error} is missing"
            raise ConfigError(msg) from error


class SmoothFunctions(nn.Module):
    """Functions known at landmarks, extended to any point by the average of its neighbours.

    With weights w(z, j) = exp(−2 d² / (e(z) e_j)), e being distances to a near neighbour and q
    the densities of landmarks, φ_k(z) = Σ_j w/q_j φ_kj / (λ_k Σ_j w/q_j) (Nyström extension of
    a diffusion map, Coifman & Lafon 2006). Far from all landmarks φ stays what it is at the
    nearest of them.

    Args:
        config: The shape.
    """

    def __init__(self, config: BasisConfig) -> None:
        super().__init__()
        self.num_neighbours = config.num_neighbours
        count = config.num_landmarks
        self.register_buffer("metric", torch.zeros(config.latent_dim, config.latent_dim))
        self.register_buffer("landmarks", torch.zeros(count, config.latent_dim))
        self.register_buffer("values", torch.zeros(count, config.num_functions))
        self.register_buffer("scales", torch.ones(count))
        self.register_buffer("densities", torch.ones(count))

    def forward(self, latents: Float[Tensor, "batch z"]) -> Float[Tensor, "batch functions"]:
        """The functions at some points."""
        return torch.cat([self._extended(part) for part in latents.split(ROWS_PER_BATCH)])

    def distances(self, latents: Float[Tensor, "batch z"]) -> Float[Tensor, "batch neighbours"]:
        """Distances to the nearest landmarks, in the metric of the functions."""
        parts = [self._neighbours(part)[0] for part in latents.split(ROWS_PER_BATCH)]
        return torch.cat(parts)

    def _neighbours(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        metric, landmarks = self.get_buffer("metric"), self.get_buffer("landmarks")
        distances = torch.cdist(latents @ metric, landmarks)
        found = distances.topk(self.num_neighbours, dim=1, largest=False)
        return found.values, found.indices

    def _extended(self, latents: Tensor) -> Tensor:
        distances, nearest = self._neighbours(latents)
        scale = distances[:, -1:].clamp_min(1e-12)
        exponent = -2 * distances.square() / (scale * self.get_buffer("scales")[nearest])
        weights = torch.softmax(exponent - self.get_buffer("densities")[nearest].log(), dim=1)
        return (weights[..., None] * self.get_buffer("values")[nearest]).sum(1)


class BasisModel(nn.Module):
    """V(z) = V_0 + Σ_k φ_k(z) V_k, in real space and in the units of the images.

    Args:
        config: The shape.
    """

    def __init__(self, config: BasisConfig) -> None:
        super().__init__()
        self.config = config
        side = config.box_size
        shape = (config.num_functions + 1, side, side, side)
        self.register_buffer("volumes", torch.zeros(shape))
        self.functions = SmoothFunctions(config) if config.kind == "basis" else nn.Identity()
        if config.num_groups:
            self.register_buffer("noise", torch.ones(config.num_groups, side // 2 + 1))
            self.register_buffer("optics", torch.zeros(config.num_groups, 4))
            self.register_buffer("contrast_spread", torch.zeros(()))

    @property
    def box_size(self) -> int:
        """Side of the volumes in voxels."""
        return self.config.box_size

    @property
    def latent_dim(self) -> int:
        """Dimensions of the latent."""
        return self.config.latent_dim

    def combined(self, latents: Float[Tensor, "batch z"]) -> Float[Tensor, "batch box box box"]:
        """The volumes at some points of the latent space."""
        volumes = self.get_buffer("volumes")
        return volumes[0] + torch.tensordot(self.functions(latents), volumes[1:], dims=1)
