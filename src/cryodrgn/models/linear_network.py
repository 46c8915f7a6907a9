"""A network on a linear model: V(z) = V_0 + Σ_k φ_k(z) V_k + network(k, z).

Volumes and functions are those of a linear model that is known (:mod:`cryodrgn.linear`); the
last layer of the network begins at zero, so that an untrained model is the linear one. Where
the volumes learn, too, their changes begin at zero (:mod:`cryodrgn.models.volume_changes`).
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cryodrgn.fourier.half_grid import RfftVolumeGrid
from cryodrgn.fourier.resample import check_new_box_size, downsample_volume
from cryodrgn.imaging.linear_posterior import with_one
from cryodrgn.kernels.gridding import interpolate, table_of_volumes
from cryodrgn.models.basis import SmoothFunctions
from cryodrgn.models.decoders import Decoder
from cryodrgn.models.layers import ResidualLinear
from cryodrgn.models.protocols import DecoderSizes, PointEvaluator, VolumeModel
from cryodrgn.models.settings import LinearNetworkConfig
from cryodrgn.models.volume_changes import VolumeChanges
from cryodrgn.models.volumes import grid_points, volumes_of_transform

# Where the functions say nothing, the network is still asked in units of this share of the
# mean volume.
SHARE_OF_MEAN = 0.05
POINTS_PER_PART = 1 << 16
# Volumes are padded to twice their side before slices are read off their transforms, so that
# the network need not learn the errors of interpolation; larger tables are made without.
PADDING, LARGEST_PADDED = 2, 2 << 30


def _read_anew(model: "LinearNetwork", _: object) -> None:
    """Make all that follows from volumes anew, once weights are loaded."""
    model._read_volumes()
    model._measure_changes()


class LinearNetwork(VolumeModel[LinearNetworkConfig]):
    """The sum of volumes times functions of the latent and of a perceptron.

    The perceptron answers in units of how much the volumes differ from particle to particle at
    a frequency, a curve over shells that the linear model tells: steps of one length then
    change all frequencies alike, and noise beyond the resolution of the linear model is not
    learnt.

    Args:
        config: The shape.
        box_size: Side of images and volumes in pixels.
        latent_dim: Dimensions of the latent, of which functions see the first.
    """

    settings_type = LinearNetworkConfig

    def __init__(self, config: LinearNetworkConfig, *, box_size: int, latent_dim: int) -> None:
        super().__init__(config, box_size=box_size, latent_dim=latent_dim)
        self.register_load_state_dict_post_hook(_read_anew)
        self.padding = padding_of(config.num_functions + 1, box_size)
        self.grid = RfftVolumeGrid(self.padding * box_size)
        shape = (config.num_functions + 1, box_size, box_size, box_size)
        self.register_buffer("volumes", torch.zeros(shape))
        self.register_buffer("amplitudes", torch.zeros(box_size // 2 + 2))
        self.register_buffer("table", torch.zeros(0, 2 * shape[0]), persistent=False)
        basis = config.functions(box_size)
        self.functions = SmoothFunctions(basis) if config.num_landmarks else nn.Identity()
        self.network = Decoder(config.network, box_size=box_size, latent_dim=latent_dim)
        self.domain = self.network.domain
        begin_at_zero(self.network.decoder.main)
        self.changes: VolumeChanges | None = None
        if config.trains_volumes:
            self.changes = VolumeChanges(shape[0], box_size)

    @classmethod
    def sizes(
        cls, config: LinearNetworkConfig, *, box_size: int, latent_dim: int
    ) -> DecoderSizes:
        """Sizes of the perceptron and, beside it, of the volumes and their functions."""
        network = Decoder.sizes(config.network, box_size=box_size, latent_dim=latent_dim)
        count, dim = config.num_functions + 1, config.linear_dim
        fixed = count * box_size**3 + box_size // 2 + 2
        if config.num_landmarks:
            fixed += dim**2 + config.num_landmarks * (dim + config.num_functions + 2)
        changes, reading = 0, 16 * count
        if config.trains_volumes:
            changes, reading = VolumeChanges.num_weights(count, box_size), 2 * reading
        return DecoderSizes(
            weights=network.weights + fixed + changes,
            multiply_adds=network.multiply_adds + reading,
            training_values=network.training_values + 4 * count,
            evaluated_values=network.evaluated_values + 4 * count,
            volume_multiply_adds=network.volume_multiply_adds + count,
            shared_multiply_adds=network.shared_multiply_adds,
            fixed=fixed,
            changes=changes,
        )

    @torch.no_grad()
    def put_volumes(self, volumes: Float[Tensor, "volumes box box box"]) -> None:
        """Take these for the volumes V_0 … V_K, in normalised units."""
        self.get_buffer("volumes").copy_(volumes)
        self._read_volumes()
        self.get_buffer("amplitudes").copy_(self._amplitudes())
        self._measure_changes()

    def forward(
        self,
        frequencies: Float[Tensor, "batch points 3"],
        latent: Float[Tensor, "batch z"],
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "batch points 2"]:
        """The transform as pairs (real, imaginary).

        Args:
            frequencies: (kx, ky, kz) in cycles per pixel.
            latent: State of each image.
            dtype: Number type of the perceptron's matrix products.
        """
        correction = self.correction(frequencies, latent, dtype)
        return self.linear(frequencies, latent) + correction

    def correction(
        self,
        frequencies: Float[Tensor, "batch points 3"],
        latent: Float[Tensor, "batch z"],
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "batch points 2"]:
        """All that was learnt beside the linear model, by network and volumes.

        Args:
            frequencies: (kx, ky, kz) in cycles per pixel.
            latent: State of each image.
            dtype: Number type of the perceptron's matrix products.
        """
        said = self.network(frequencies, latent, dtype) * self.scale_at(frequencies)
        if self.changes is None:
            return said
        return said + self.changes(frequencies, self.coefficients(latent))

    def linear(
        self, frequencies: Float[Tensor, "batch points 3"], latent: Float[Tensor, "batch z"]
    ) -> Float[Tensor, "batch points 2"]:
        """The transform of the linear model, interpolated between points of a grid.

        Args:
            frequencies: (kx, ky, kz) in cycles per pixel.
            latent: State of each image.
        """
        if not len(self.get_buffer("table")):
            # Volumes that nobody has put or loaded are zero.
            self._read_volumes()
        table = self.get_buffer("table")
        return slices_of_sum(self.grid, table, frequencies, self.coefficients(latent))

    def coefficients(self, latent: Float[Tensor, "batch z"]) -> Float[Tensor, "batch volumes"]:
        """(1, φ): how much of each volume is in the sum."""
        return with_one(self.functions(latent[:, : self.config.linear_dim]))

    def scale_at(self, frequencies: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 1"]:
        """Factor of the perceptron's values at frequencies in cycles per pixel."""
        amplitudes = self.get_buffer("amplitudes")
        radii = (frequencies.detach() * self.box_size).norm(dim=-1)
        radii = radii.clamp(max=len(amplitudes) - 1.001)
        shell = radii.long()
        upper = radii - shell
        return torch.lerp(amplitudes[shell], amplitudes[shell + 1], upper)[..., None]

    def fast_evaluation(self, dtype: torch.dtype = torch.float32) -> PointEvaluator:
        """The sum, with what all latents have in common computed once."""
        return _SumEvaluator(self, _ScaledNetwork(self, dtype))

    def make_volumes(
        self,
        latents: Float[Tensor, "volumes z"],
        box_size: int | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        offset: float = 0.0,
        scale: float = 1.0,
        whole_cube: bool = False,
    ) -> Iterator[Float[Tensor, "box box box"]]:
        """The volumes at points of the latent space: sums in real space plus the network's.

        Args:
            latents: The points, on the device of the model.
            box_size: A smaller even side.
            dtype: Number type of the perceptron's matrix products.
            offset: Added to the perceptron's Hartley values after scaling.
            scale: Factor of the values.
            whole_cube: Whether to ask the perceptron also beyond the Nyquist sphere.

        Raises:
            ConfigError: The side is odd or too large.
        """
        size = box_size or self.box_size
        check_new_box_size(self.box_size, size)
        evaluator = _ScaledNetwork(self, dtype)
        corrections = volumes_of_transform(
            evaluator,
            grid_points(size, self.domain, whole_cube=whole_cube).to(latents.device),
            latents,
            outputs=evaluator.outputs,
            box_size=self.box_size,
            new_box_size=size,
            offset=offset,
            scale=scale,
        )
        for latent, correction in zip(latents, corrections, strict=True):
            yield correction + scale * self._linear_volume(latent, size)

    @torch.inference_mode()
    def _linear_volume(
        self, latent: Float[Tensor, " z"], size: int
    ) -> Float[Tensor, "box box box"]:
        coefficients = self.coefficients(latent[None])[0]
        volume = torch.tensordot(coefficients, self.get_buffer("volumes"), dims=1)
        if self.changes is not None:
            volume = volume + self.changes.volume(coefficients)
        return (volume if size == self.box_size else downsample_volume(volume, size)).cpu()

    def _read_volumes(self) -> None:
        """Make the table from which slices are read anew."""
        # A table made in inference mode could not be read while gradients are taken.
        with torch.inference_mode(mode=False), torch.no_grad():
            volumes = self.get_buffer("volumes")
            self.table = table_of_volumes(volumes, self.box_size // 2, self.padding)

    def _amplitudes(self) -> Float[Tensor, " shells"]:
        """Root mean square by shell of the differences between particles."""
        table = self.get_buffer("table")
        amplitudes = self.get_buffer("amplitudes")
        power = table.square().unflatten(1, (2, -1)).sum(1)
        radii = self.grid.radii(table.device).flatten() / self.padding
        shells = radii.round().long().clamp_max(len(amplitudes) - 1)
        sums = power.new_zeros(len(amplitudes), power.shape[1]).index_add_(0, shells, power)
        counts = torch.bincount(shells, minlength=len(amplitudes)).clamp_min(1)
        means = sums / counts[:, None]
        varying = means[:, 1:].sum(1) + SHARE_OF_MEAN**2 * means[:, 0]
        return (varying / 2).sqrt()

    def _measure_changes(self) -> None:
        if self.changes is not None:
            radii = self.changes.grid.radii(self.get_buffer("volumes").device)
            along = torch.nn.functional.pad(radii[..., None] / self.box_size, (0, 2))
            self.changes.measure_in(self.scale_at(along))


def slices_of_sum(
    grid: RfftVolumeGrid,
    table: Float[Tensor, "voxels columns"],
    frequencies: Float[Tensor, "batch points 3"],
    coefficients: Float[Tensor, "batch volumes"],
) -> Float[Tensor, "batch points 2"]:
    """The transform of sums of volumes, interpolated between points of a grid.

    Args:
        grid: The grid.
        table: Transforms of the volumes on it, see
            :func:`~cryodrgn.kernels.gridding.table_of_volumes`.
        frequencies: (kx, ky, kz) in cycles per pixel.
        coefficients: Share of each volume in the sum.
    """
    points = (frequencies * grid.box_size).reshape(-1, 3)
    slices = interpolate(grid, table, points).view(*frequencies.shape[:2], 2, -1)
    return (slices.flatten(1, 2) @ coefficients[..., None]).view(slices.shape[:3])


def padding_of(count: int, box_size: int) -> int:
    """Ratio of the side of the grid from which slices are read to that of the volumes.

    Args:
        count: Number of volumes.
        box_size: Their side.
    """
    voxels = math.prod(RfftVolumeGrid(PADDING * box_size).shape)
    return PADDING if 8 * count * voxels <= LARGEST_PADDED else 1


class _ScaledNetwork:
    """Fast evaluation of the perceptron, in the units of the model.

    Args:
        model: The model.
        dtype: Number type of the matrix products.
    """

    def __init__(self, model: LinearNetwork, dtype: torch.dtype) -> None:
        self._model = model
        self._network = model.network.fast_evaluation(dtype)

    @property
    def outputs(self) -> int:
        """Numbers per point."""
        return self._network.outputs

    @torch.inference_mode()
    def __call__(
        self, points: Float[Tensor, "points 3"], latents: Float[Tensor, "volumes z"]
    ) -> Float[Tensor, "volumes points out"]:
        """Values at frequencies in cycles per pixel, for all latents."""
        return self._network(points, latents).float() * self._model.scale_at(points)


class _SumEvaluator:
    """Fast evaluation of the whole model.

    Args:
        model: The model.
        network: The perceptron's share of it.
    """

    def __init__(self, model: LinearNetwork, network: _ScaledNetwork) -> None:
        self._model, self._network = model, network
        self.outputs = network.outputs

    @torch.inference_mode()
    def __call__(
        self, points: Float[Tensor, "points 3"], latents: Float[Tensor, "volumes z"]
    ) -> Float[Tensor, "volumes points out"]:
        """Values at frequencies in cycles per pixel, for all latents."""
        values, model = self._network(points, latents), self._model
        table = None if model.changes is None else model.changes.table()
        for number, latent in enumerate(latents):
            for start in range(0, len(points), POINTS_PER_PART):
                part = slice(start, start + POINTS_PER_PART)
                pairs = model.linear(points[None, part], latent[None])[0]
                if model.changes is not None:
                    coefficients = model.coefficients(latent[None])
                    pairs = pairs + model.changes(points[None, part], coefficients, table)[0]
                if self.outputs == 1:
                    pairs = pairs[:, :1] - pairs[:, 1:]
                values[number, part] += pairs
        return values


def begin_at_zero(layers: nn.Sequential) -> None:
    """Let the last of some layers say nothing before it has learnt something.

    One as wide as its input would add that; it becomes a plain one.
    """
    layer = layers[-1]
    if isinstance(layer, ResidualLinear):
        layer = layers[-1] = layer.linear
    assert isinstance(layer, nn.Linear)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
