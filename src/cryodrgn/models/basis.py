"""Volumes as sums over functions of a latent: V(z) = V_0 + Σ_k φ_k(z) V_k.

The functions are the latent's own coordinates (a linear model) or smooth functions known at
landmarks and extended to any point.
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.resample import check_new_box_size, downsample_volume
from cryodrgn.models.protocols import DecoderSizes, VolumeModel
from cryodrgn.models.settings import BasisConfig

ROWS_PER_BATCH = 1000
# Complex numbers that a transform at arbitrary frequencies holds at a time.
VALUES_AT_A_TIME = 1 << 22


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


class BasisModel(VolumeModel[BasisConfig]):
    """V(z) = V_0 + Σ_k φ_k(z) V_k, in real space and in the units of the images.

    Args:
        config: The shape.
    """

    settings_type = BasisConfig
    is_normalised = False

    def __init__(self, config: BasisConfig) -> None:
        super().__init__(config, box_size=config.box_size, latent_dim=config.latent_dim)
        side = config.box_size
        shape = (config.num_functions + 1, side, side, side)
        self.register_buffer("volumes", torch.zeros(shape))
        self.functions = SmoothFunctions(config) if config.kind == "basis" else nn.Identity()
        if config.num_groups:
            self.register_buffer("noise", torch.ones(config.num_groups, side // 2 + 1))
            self.register_buffer("optics", torch.zeros(config.num_groups, 4))
            self.register_buffer("contrast_spread", torch.zeros(()))

    @classmethod
    def build(cls, config: BasisConfig, *, box_size: int, latent_dim: int) -> "BasisModel":  # noqa: ARG003
        """The model with volumes of zeros; its settings say all its sizes."""
        return cls(config)

    @classmethod
    def sizes(cls, config: BasisConfig, *, box_size: int, latent_dim: int) -> DecoderSizes:
        """Sizes of a sum of volumes, and of its transform as a sum over voxels."""
        voxels, count = box_size**3, config.num_functions + 1
        landmarks = config.num_landmarks * (latent_dim + config.num_functions + 2)
        beside = latent_dim**2 + config.num_groups * (box_size // 2 + 5)
        return DecoderSizes(
            weights=count * voxels + landmarks + beside,
            multiply_adds=voxels,
            training_values=4 * box_size**2,
            evaluated_values=4 * box_size**2,
            volume_multiply_adds=config.num_functions,
            stored_volumes=count,
        )

    @classmethod
    def stored_lattice(cls, box_size: int) -> HalfPlaneFrequencies:
        """The disc up to Nyquist, ordered by radius: coarse iterations read a prefix."""
        return HalfPlaneFrequencies.disc(box_size).by_radius()

    def combined(self, latents: Float[Tensor, "batch z"]) -> Float[Tensor, "batch box box box"]:
        """The volumes at some points of the latent space."""
        volumes = self.get_buffer("volumes")
        return volumes[0] + torch.tensordot(self.functions(latents), volumes[1:], dims=1)

    def forward(
        self,
        frequencies: Float[Tensor, "batch points 3"],
        latent: Float[Tensor, "batch z"],
        dtype: torch.dtype = torch.float32,  # noqa: ARG002
    ) -> Float[Tensor, "batch points 2"]:
        """Σ_x V(x) exp(−2πi q·x) over all voxels x, the centre of the box being 0.

        Exact at any frequency, at the cost of a multiply-add per voxel.

        Args:
            frequencies: (kx, ky, kz) in cycles per pixel.
            latent: State of each image.
            dtype: Not used; all is float32.
        """
        axis = torch.arange(self.box_size, device=frequencies.device) - self.box_size // 2
        size = max(1, VALUES_AT_A_TIME // self.box_size**2)
        transforms = []
        for volume, points in zip(self.combined(latent), frequencies, strict=True):
            parts = []
            for part in points.split(size):
                phases = (-2 * math.pi * part[..., None] * axis).unbind(1)
                along_x, along_y, along_z = (torch.polar(torch.ones_like(p), p) for p in phases)
                planes = torch.einsum("px,zyx->pzy", along_x, volume.to(along_x.dtype))
                lines = torch.einsum("py,pzy->pz", along_y, planes)
                parts.append(torch.view_as_real((along_z * lines).sum(1)))
            transforms.append(torch.cat(parts))
        return torch.stack(transforms)

    def make_volumes(
        self,
        latents: Float[Tensor, "volumes z"],
        box_size: int | None = None,
        *,
        dtype: torch.dtype = torch.float32,  # noqa: ARG002
        offset: float = 0.0,
        scale: float = 1.0,
        whole_cube: bool = False,  # noqa: ARG002
    ) -> Iterator[Float[Tensor, "box box box"]]:
        """The volumes at points of the latent space, added up in real space.

        Args:
            latents: The points, on the device of the model.
            box_size: A smaller even side.
            dtype: Not used; sums are float32.
            offset: Must be 0: volumes are in units of the images.
            scale: Must be 1.
            whole_cube: Not used; nothing of the stored volumes is left out.

        Raises:
            ConfigError: The side is odd or too large.
        """
        assert (offset, scale) == (0.0, 1.0)
        check_new_box_size(self.box_size, box_size or self.box_size)
        for latent in latents:
            yield self._volume(latent, box_size)

    @torch.inference_mode()
    def _volume(
        self, latent: Float[Tensor, " z"], box_size: int | None
    ) -> Float[Tensor, "box box box"]:
        volume = self.combined(latent[None])[0]
        if box_size is not None and box_size != self.box_size:
            volume = downsample_volume(volume, box_size)
        return volume.cpu()
