"""Base classes of decoders and encoders, ours and those of other packages.

They are classes and not ``typing.Protocol``, because a model is a ``torch.nn.Module`` and most
of what is asked of it has an answer that is right for all of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.resample import check_new_box_size
from cryodrgn.imaging.grouping import ImageSets
from cryodrgn.models.settings import DecoderSettings, Domain, EncoderSettings
from cryodrgn.models.volumes import grid_points, volumes_of_transform

Posterior = tuple[Float[Tensor, "batch z"], Float[Tensor, "batch z"]]
D = TypeVar("D", bound=DecoderSettings)
E = TypeVar("E", bound=EncoderSettings)

# Points that a model without a fast evaluation of its own is asked at together.
POINTS_PER_PART = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderSizes:
    """Sizes of a decoder, from which memory and computing time are forecast.

    Attributes:
        weights: Numbers in its ``state_dict``.
        multiply_adds: Multiply-adds per point of an image and evaluation.
        training_values: Values (float32) per point that a training step holds.
        evaluated_values: Values per point that an evaluation without gradients holds.
        volume_multiply_adds: Multiply-adds per point and volume of the fast evaluation.
        shared_multiply_adds: Those per point that volumes evaluated together share.
        stored_volumes: Volumes in real space that the model holds and adds up; 0 for a model
            that is evaluated in Fourier space.
        fixed: Those of its weights that do not learn.
        changes: Those that a training step makes tables of, which every part of a batch holds.
    """

    weights: int
    multiply_adds: int | float
    training_values: int | float
    evaluated_values: int | float
    volume_multiply_adds: int | float
    shared_multiply_adds: int | float = 0
    stored_volumes: int = 0
    fixed: int = 0
    changes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderSizes:
    """Sizes of an encoder, from which memory and computing time are forecast.

    Attributes:
        weights: Numbers in its ``state_dict``.
        multiply_adds: Multiply-adds per particle.
    """

    weights: int
    multiply_adds: int | float


@runtime_checkable
class PointEvaluator(Protocol):
    """Evaluates a decoder at fixed points for one latent after another, without gradients."""

    @property
    def outputs(self) -> int:
        """Numbers per point: 2 for (real, imaginary), 1 for a Hartley value."""
        ...

    def __call__(
        self, points: Float[Tensor, "points 3"], latents: Float[Tensor, "volumes z"]
    ) -> Float[Tensor, "volumes points out"]:
        """Values at frequencies (kx, ky, kz) in cycles per pixel, for all latents."""
        ...


class VolumeModel(nn.Module, ABC, Generic[D]):
    """A decoder: the Fourier transform of a volume at any frequency and latent.

    The transform is centred, without factor, and Hermitian: F(−k) = conj F(k).

    Attributes:
        settings_type: Class of its settings.
        is_normalised: Whether its values are those of normalised images, which the norm of the
            run turns into those of the images; otherwise they are in units of the images.
        domain: Values of its fast evaluation: ``fourier`` for (real, imaginary), ``hartley``
            for Hartley values.
        compiles: Whether its fast evaluation should be compiled, if it knows how.

    Args:
        config: Its settings.
        box_size: Side of images and volumes in pixels.
        latent_dim: Dimensions of the latent; 0 for a single structure.
    """

    settings_type: ClassVar[type]
    is_normalised: ClassVar[bool] = True
    domain: Domain = "fourier"
    compiles: bool = False

    def __init__(self, config: D, *, box_size: int, latent_dim: int) -> None:
        super().__init__()
        self.config = config
        self.box_size = box_size
        self.latent_dim = latent_dim

    @classmethod
    def build(cls, config: D, *, box_size: int, latent_dim: int) -> "VolumeModel":
        """The model with freshly drawn weights."""
        return cls(config, box_size=box_size, latent_dim=latent_dim)

    @classmethod
    @abstractmethod
    def sizes(cls, config: D, *, box_size: int, latent_dim: int) -> DecoderSizes:
        """Sizes of the model that settings describe, without making it."""

    @classmethod
    def stored_lattice(cls, box_size: int) -> HalfPlaneFrequencies:
        """Frequencies at which images are stored for a model without an encoder."""
        return HalfPlaneFrequencies.disc(box_size)

    @abstractmethod
    def forward(
        self,
        frequencies: Float[Tensor, "batch points 3"],
        latent: Float[Tensor, "batch z"],
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "batch points 2"]:
        """The transform as pairs (real, imaginary), float32.

        Args:
            frequencies: (kx, ky, kz) in cycles per pixel.
            latent: State of each image; of width 0 for a single structure.
            dtype: Number type of the matrix products.
        """

    def fast_evaluation(self, dtype: torch.dtype = torch.float32) -> PointEvaluator:
        """An evaluator for many points and latents; later changes of weights may not count.

        Args:
            dtype: Number type of the matrix products.
        """
        return _Forward(self, dtype)

    def compile_evaluation(self, compiles: bool) -> None:  # noqa: FBT001 (what it sets)
        """Have the fast evaluation of this model and its parts compiled, or not."""
        parts: list[Any] = [part for part in self.modules() if hasattr(part, "compiles")]
        for part in parts:
            part.compiles = compiles

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
        """The volumes at points of the latent space, one after another, in ordinary memory.

        Args:
            latents: The points, on the device of the model.
            box_size: A smaller even side, which leaves out the frequencies beyond it; the
                values of the transform are kept.
            dtype: Number type of the matrix products.
            offset: Added to the Hartley values after scaling.
            scale: Factor of the values.
            whole_cube: Whether to evaluate the model also beyond the Nyquist sphere.

        Raises:
            ConfigError: The side is odd or too large.
        """
        size = box_size or self.box_size
        check_new_box_size(self.box_size, size)
        evaluator = self.fast_evaluation(dtype)
        points = grid_points(size, self.domain, whole_cube=whole_cube).to(latents.device)
        yield from volumes_of_transform(
            evaluator,
            points,
            latents,
            outputs=evaluator.outputs,
            box_size=self.box_size,
            new_box_size=size,
            offset=offset,
            scale=scale,
        )

    @property
    def renamed_weights(self) -> tuple[str, str]:
        """Prefix of names of weights here, and what stands for it in weight files."""
        return "", ""


class _Forward:
    """Evaluation by a model's ``forward``, part by part."""

    outputs = 2

    def __init__(self, model: VolumeModel[Any], dtype: torch.dtype) -> None:
        self._model, self._dtype = model, dtype

    @torch.inference_mode()
    def __call__(
        self, points: Float[Tensor, "points 3"], latents: Float[Tensor, "volumes z"]
    ) -> Float[Tensor, "volumes points 2"]:
        """Values at all points for all latents."""
        values = points.new_empty(len(latents), len(points), 2)
        for number, latent in enumerate(latents):
            for start in range(0, len(points), POINTS_PER_PART):
                part = slice(start, start + POINTS_PER_PART)
                decoded = self._model(points[None, part], latent[None], self._dtype)
                values[number, part] = decoded[0]
        return values


class Encoder(nn.Module, ABC, Generic[E]):
    """A network that reads the latent of a particle off its images.

    Images are phase-flipped, centred transforms on :meth:`stored_lattice`.

    Attributes:
        settings_type: Class of its settings.
        needs_poses: Whether it must know the poses of the images.

    Args:
        config: Its settings.
        box_size: Side of the images in pixels.
        latent_dim: Dimensions of the latent.
    """

    settings_type: ClassVar[type]
    needs_poses: ClassVar[bool] = False

    def __init__(self, config: E, *, box_size: int, latent_dim: int) -> None:
        super().__init__()
        self.config = config
        self.box_size = box_size
        self.latent_dim = latent_dim

    @classmethod
    def build(cls, config: E, *, box_size: int, latent_dim: int) -> "Encoder":
        """The encoder with freshly drawn weights."""
        return cls(config, box_size=box_size, latent_dim=latent_dim)

    @classmethod
    @abstractmethod
    def sizes(cls, config: E, *, box_size: int, latent_dim: int) -> EncoderSizes:
        """Sizes of the encoder that settings describe, without making it."""

    @classmethod
    def stored_lattice(cls, config: E, box_size: int) -> HalfPlaneFrequencies:  # noqa: ARG003
        """Frequencies at which images must be stored for it: the disc up to Nyquist."""
        return HalfPlaneFrequencies.disc(box_size)

    def input_columns(
        self,
        weights: Float[Tensor, " points"],  # noqa: ARG002
    ) -> tuple[nn.Parameter, Float[Tensor, " inputs"]] | None:
        """Weights of the first layer, and those of what each of its columns multiplies.

        Args:
            weights: Of the stored frequencies.

        Returns:
            The parameter, whose columns are the inputs, and a number for each; None for
            encoders whose inputs are no values at frequencies.
        """
        return None

    @abstractmethod
    def forward(self, sets: ImageSets, dtype: torch.dtype = torch.float32) -> Posterior:
        """Mean and log-variance of the latent of every particle, float32.

        Args:
            sets: The images of the particles; any number of each.
            dtype: Number type of the matrix products.
        """
