"""Objectives and results by kind of training.

A batch comes in parts, each small enough for the processor's cache or the device's memory.
Gradients of parts are added up, so the result is that of the whole batch. An objective is a
function of what it is given: it writes no gradients into parameters and moves nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.data.batch import Batch, StoredBatch
from cryodrgn.data.training_set import TrainingSet
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.imaging.grouping import ImageSets
from cryodrgn.imaging.image_rotation import rotate_in_plane
from cryodrgn.imaging.likelihood import (
    Losses,
    kl_divergence,
    kl_penalty,
    reconstruction_loss,
)
from cryodrgn.io.cryodrgn_pickle import save_latents, save_pickles
from cryodrgn.io.mrc import write_volume
from cryodrgn.models.model import Model, sample_latent
from cryodrgn.models.protocols import Posterior, VolumeModel
from cryodrgn.parallel import ALONE, Team
from cryodrgn.reconstruction.decode import VolumeDecoder
from cryodrgn.reconstruction.encode import EncodeStored, encode_all
from cryodrgn.rundir import RunDirectory
from cryodrgn.threads import in_order
from cryodrgn.training.row_table import PerParticleParameters
from cryodrgn.training.schedules import Equivariance, KlWeighting
from cryodrgn.training.whole_step import (
    BETA,
    DIVISOR,
    TURNING,
    StepInputs,
    reconstruction_term,
    weighted_kl,
)

# Rows of a layer that a processor's cache holds; see benchmarks/training.py.
ROWS_IN_CACHE = 4096


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Gradients:
    """Losses of a batch, and their gradients.

    Attributes:
        losses: Of the whole batch.
        of_parameters: This process's share of the gradient of every parameter that learns;
            None where the loss does not depend on one.
        of_inputs: Images, points and latents of parts that were computed from rows of tables,
            each with the gradient of the loss.
    """

    losses: Losses
    of_parameters: list[Tensor | None]
    of_inputs: list[tuple[Tensor, Tensor]] = field(default_factory=list)


@runtime_checkable
class Objective(Protocol):
    """Objective of training: loss, gradients and results of one kind of model."""

    @property
    def model(self) -> Model:
        """The model whose weights are saved."""
        ...

    @property
    def noise_dim(self) -> int:
        """Standard normal numbers that each image needs."""
        ...

    def gradients(
        self,
        parts: Sequence[Batch],
        noise: Float[Tensor, "batch noise"],
        images_seen: int,
        divisor: float,
    ) -> Gradients:
        """Losses of a batch, and this process's share of their gradients.

        Args:
            parts: The images of the batch that are this process's.
            noise: Standard normal numbers for them.
            images_seen: Images that passed since the run began.
            divisor: What sums over these images are divided by; summed over all processes,
                the results are means over the batch.

        Raises:
            torch.OutOfMemoryError: Some process has too little memory, and all know it.
        """
        ...

    @property
    def is_sum_over_particles(self) -> bool:
        """True if the loss of a batch is the sum of those of its parts."""
        ...

    def numbers_at(self, images_seen: int) -> tuple[float, float]:
        """β, and the weight of the penalty on latents that change with turned images."""
        ...

    def latents_of(self, rows: Int[Tensor, " batch"]) -> Float[Tensor, "batch z"] | None:
        """Latents of some particles that are looked up; None if there are none."""
        ...

    def encode_by(self, execution: Callable[[EncodeStored], EncodeStored]) -> None:
        """Let the encoder's evaluation of all images be executed so, if there is one."""
        ...

    def whole_loss(self, inputs: StepInputs) -> Float[Tensor, " 3"]:
        """Reconstruction loss, KL divergence and total loss, the last to be differentiated.

        A function of tensors that can be compiled; sums over this process's images.
        """
        ...

    def write_results(
        self, run: RunDirectory, number: int | None, particles: TrainingSet
    ) -> None:
        """Write what belongs beside the weights of an epoch, or of the finished run."""
        ...


class VaeObjective:
    """Evidence lower bound of a variational auto-encoder.

    Args:
        model: Encoder and decoder.
        kl: How the KL divergence enters.
        dtype: Number type of the networks' matrix products.
        team: Processes that share the work.
        equivariance: Penalty on latents that change when an image is turned; None for none.
        lattice: Where the images are given; needed to turn them.
    """

    def __init__(
        self,
        model: Model,
        kl: KlWeighting,
        dtype: torch.dtype,
        team: Team = ALONE,
        equivariance: Equivariance | None = None,
        lattice: HalfPlaneFrequencies | None = None,
    ) -> None:
        self._team = team
        self.model = model
        self._kl = kl
        self._dtype = dtype
        self._equivariance, self._lattice = equivariance, lattice
        self._encode: EncodeStored | None = None

    @property
    def noise_dim(self) -> int:
        """One number per dimension of the latent, and two for the angle of turned images."""
        return self.model.decoder.latent_dim + 2 * (self._equivariance is not None)

    def gradients(
        self,
        parts: Sequence[Batch],
        noise: Float[Tensor, "batch noise"],
        images_seen: int,
        divisor: float,
    ) -> Gradients:
        """Losses and gradients at one random sample of every image's latent."""
        encoder, decoder = self.model.encoder, self.model.decoder
        with self._team.raise_on_all(torch.OutOfMemoryError):
            views = ImageSets.joined([part.phase_flipped() for part in parts])
            # Encoders say nothing of poses that move images.
            views = views.detached()
            mean, log_variance = encoder(views, self._dtype)
            latent = sample_latent(mean, log_variance, noise[:, : mean.shape[1]])
            # The decoder's graphs end at this copy; its gradient is passed on below.
            decoded = decoder_gradients(decoder, parts, latent.detach(), self._dtype, divisor)
            of_batch = len(mean) / divisor
            share = kl_divergence(mean, log_variance) * of_batch
            turned = of_batch * self._change_when_turned(
                views, mean, noise[:, mean.shape[1] :], images_seen
            )
        mine = torch.stack([decoded.loss, share.detach(), turned.detach()])
        reconstruction, kl, turning = self._team.total(mine).unbind()
        beta, control = self._kl.beta_at(images_seen), self._kl.control
        penalty = kl_penalty(kl, beta, control)
        slope = beta if control is None else 2 * control * (kl - beta)
        num_values = 2 * parts[0].coordinates.shape[1]
        surrogate = slope * share / num_values + (latent * decoded.of_latent).sum() + turned
        learning = [p for p in encoder.parameters() if p.requires_grad]
        of_encoder = torch.autograd.grad(surrogate, learning, allow_unused=True)
        total = reconstruction + penalty / num_values + turning
        return Gradients(
            losses=Losses(reconstruction=reconstruction, kl=kl, total=total),
            # In the order of the model's parameters.
            of_parameters=[*of_encoder, *decoded.of_weights],
            of_inputs=decoded.of_inputs,
        )

    def numbers_at(self, images_seen: int) -> tuple[float, float]:
        """β, and the weight of the penalty on latents that change with turned images."""
        turning = self._equivariance.weight_at(images_seen) if self._equivariance else 0.0
        return self._kl.beta_at(images_seen), turning

    def encode_by(self, execution: Callable[[EncodeStored], EncodeStored]) -> None:
        """Let the encoder's evaluation of all images be executed so."""
        self._encode = execution(self._encoded)

    def _encoded(
        self, stored: StoredBatch, frequencies: Float[Tensor, "points 2"]
    ) -> Posterior:
        views = stored.batch(frequencies, None).phase_flipped()
        return self.model.encoder(views, self._dtype)

    def latents_of(self, rows: Int[Tensor, " batch"]) -> None:
        """No latents are looked up; the encoder tells them."""

    @property
    def is_sum_over_particles(self) -> bool:
        """True unless the penalty on the KL divergence needs that of the whole batch first."""
        return self._kl.control is None

    def whole_loss(self, inputs: StepInputs) -> Float[Tensor, " 3"]:
        """Reconstruction loss, KL divergence and total loss of a whole batch."""
        batch = inputs.stored.batch(inputs.frequencies, inputs.compared)
        views = batch.phase_flipped().detached()
        mean, log_variance = self.model.encoder(views, self._dtype)
        width = mean.shape[1]
        latent = sample_latent(mean, log_variance, inputs.noise[:, :width])
        reconstruction = reconstruction_term(
            self.model.decoder, batch, latent, inputs, self._dtype
        )
        kl = weighted_kl(mean, log_variance, inputs)
        penalty = kl_penalty(kl, inputs.numbers[BETA], self._kl.control)
        total = reconstruction + penalty / inputs.num_values
        if inputs.turns:
            distances = self._distances_when_turned(views, mean, inputs.noise[:, width:])
            turned = (distances * inputs.particle_weights).sum() / inputs.numbers[DIVISOR]
            total = total + inputs.numbers[TURNING] * turned
        return torch.stack([reconstruction, kl, total])

    def _change_when_turned(
        self,
        views: ImageSets,
        mean: Float[Tensor, "batch z"],
        directions: Float[Tensor, "batch _"],
        images_seen: int,
    ) -> Float[Tensor, ""]:
        """The weighted penalty on latents of turned images that differ from those before."""
        _, weight = self.numbers_at(images_seen)
        if not weight:
            return mean.new_zeros(())
        return weight * self._distances_when_turned(views, mean, directions).mean()

    def _distances_when_turned(
        self,
        views: ImageSets,
        mean: Float[Tensor, "batch z"],
        directions: Float[Tensor, "batch _"],
    ) -> Float[Tensor, " batch"]:
        """Squared distances of the latents of turned images from those before."""
        assert self._lattice is not None
        # The direction of a normal vector is an angle of which all values are as probable.
        angles = torch.atan2(directions[:, 1], directions[:, 0])
        turned = rotate_in_plane(views.images, self._lattice, views.grouping.spread(angles))
        others, _ = self.model.encoder(replace(views, images=turned), self._dtype)
        return (mean - others).square().sum(1)

    def write_results(
        self, run: RunDirectory, number: int | None, particles: TrainingSet
    ) -> None:
        """Mean and log-variance of every particle's latent."""
        latents = encode_all(self.model, particles, self._dtype, self._team, self._encode)
        if self._team.is_writer:
            save_latents(run.latents(number), *latents)


class DecoderObjective:
    """Structures without an encoder: one for all images, or one for each.

    Args:
        model: A decoder alone.
        latents: A free latent of every particle; None if there is one structure.
        volumes: Makes volumes.
        pixel_size: Å/px of the volumes.
        dtype: Number type of the network's matrix products.
        team: Processes that share the work.
    """

    noise_dim = 0

    def __init__(
        self,
        model: Model,
        latents: PerParticleParameters | None,
        volumes: VolumeDecoder,
        pixel_size: float,
        dtype: torch.dtype,
        team: Team = ALONE,
    ) -> None:
        self._team = team
        self.model = model
        self._latents = latents
        self._volumes = volumes
        self._pixel_size = pixel_size
        self._dtype = dtype

    def gradients(
        self,
        parts: Sequence[Batch],
        noise: Float[Tensor, "batch noise"],
        images_seen: int,
        divisor: float,
    ) -> Gradients:
        """Reconstruction loss and its gradients, of the latents too."""
        with self._team.raise_on_all(torch.OutOfMemoryError):
            latents = self.latents_of(torch.cat([part.rows for part in parts]))
            if latents is None:
                latents = noise  # of no dimensions
            decoded = decoder_gradients(
                self.model.decoder, parts, latents.detach(), self._dtype, divisor
            )
        loss = self._team.total(decoded.loss)
        of_inputs = decoded.of_inputs
        if latents.requires_grad:
            of_inputs = [*of_inputs, (latents, decoded.of_latent)]
        return Gradients(
            losses=Losses(reconstruction=loss, kl=torch.zeros_like(loss), total=loss),
            of_parameters=decoded.of_weights,
            of_inputs=of_inputs,
        )

    @property
    def is_sum_over_particles(self) -> bool:
        """True: there is no term of the whole batch."""
        return True

    def numbers_at(self, images_seen: int) -> tuple[float, float]:
        """There is no KL divergence, and nothing that is to stay as images are turned."""
        return 0.0, 0.0

    def encode_by(self, execution: Callable[[EncodeStored], EncodeStored]) -> None:
        """There is no encoder."""

    def whole_loss(self, inputs: StepInputs) -> Float[Tensor, " 3"]:
        """Reconstruction loss of a whole batch; there is no KL divergence."""
        batch = inputs.stored.batch(inputs.frequencies, inputs.compared)
        latent = inputs.noise if inputs.latent is None else inputs.latent
        loss = reconstruction_term(self.model.decoder, batch, latent, inputs, self._dtype)
        return torch.stack([loss, torch.zeros_like(loss), loss])

    def latents_of(self, rows: Int[Tensor, " batch"]) -> Float[Tensor, "batch z"] | None:
        """The latents of some particles that are learnt one by one; None if there are none."""
        return None if self._latents is None else self._latents.rows(rows)

    def write_results(
        self, run: RunDirectory, number: int | None, particles: TrainingSet
    ) -> None:
        """The latents if there are any, and the volume at their mean."""
        if not self._team.is_writer:
            return
        centre = torch.zeros(0)
        if self._latents is not None:
            latents = self._latents.values.cpu()
            save_pickles(run.latents(number), [latents.numpy().astype(np.float32)])
            centre = latents.mean(0)
        volume = self._volumes.volume(centre)
        write_volume(run.reconstruction(number), volume.numpy(), self._pixel_size)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DecoderGradients:
    """Reconstruction loss of a batch, and its gradients.

    Attributes:
        loss: The sum over images of their mean squared errors, divided by the number of images
            of a particle and by the divisor of the batch.
        of_weights: Gradients of the decoder's weights that learn.
        of_latent: Gradient of the latents.
        of_inputs: Images and points that have graphs of their own, with their gradients.
    """

    loss: Float[Tensor, ""]
    of_weights: list[Tensor | None]
    of_latent: Float[Tensor, "batch z"]
    of_inputs: list[tuple[Tensor, Tensor]]


def decoder_gradients(
    decoder: VolumeModel,
    parts: Sequence[Batch],
    latent: Float[Tensor, "batch z"],
    dtype: torch.dtype,
    divisor: float,
) -> DecoderGradients:
    """The reconstruction loss and its gradients, part by part.

    On a processor, parts are shared by threads; their gradients are added in order. Particles
    of more images than the cache holds are taken in pieces there.
    """
    whole, of_pieces = latent.new_zeros(()), list[Tensor]()
    weights = [parameter for parameter in decoder.parameters() if parameter.requires_grad]
    sums: list[Tensor | None] = [None] * len(weights)
    of_inputs: list[tuple[Tensor, Tensor]] = []
    work = partial(_gradients_of, decoder, weights, dtype, divisor)
    latents = latent.split([len(part) for part in parts])
    divided = [_in_cache(*both) for both in zip(parts, latents, strict=True)]
    pieces = [piece for part in divided for piece in part]
    for share, of_weights, of_piece, beyond in in_order(work, pieces):
        whole += share
        of_pieces.append(of_piece)
        of_inputs += [(origin, g) for origin, g in beyond if g is not None]
        for number, gradient in enumerate(of_weights):
            present = sums[number]
            if gradient is None:
                continue
            if present is None:
                # A gradient may share its memory with another's, or have other strides.
                sums[number] = torch.empty_like(weights[number]).copy_(gradient)
            else:
                present += gradient
    remaining, of_latent = iter(of_pieces), list[Tensor]()
    for part, taken in zip(parts, divided, strict=True):
        found = torch.cat([next(remaining) for _ in taken])
        of_latent.append(part.grouping.total(found) if len(taken) > 1 else found)
    return DecoderGradients(
        loss=whole, of_weights=sums, of_latent=torch.cat(of_latent), of_inputs=of_inputs
    )


def _in_cache(
    part: Batch, latent: Float[Tensor, "part z"]
) -> list[tuple[Batch, Float[Tensor, "piece z"]]]:
    """A part with its latents; in pieces of single images, where its particles have many."""
    most = max(2, ROWS_IN_CACHE // part.coordinates.shape[1])
    if part.images.device.type != "cpu" or part.num_images <= most:
        return [(part, latent)]
    rows = torch.arange(part.num_images).tensor_split(-(-part.num_images // most))
    of_images = part.grouping.spread(latent)
    return [(part.of_images(piece), of_images[piece]) for piece in rows]


def _gradients_of(
    decoder: VolumeModel,
    weights: Sequence[Tensor],
    dtype: torch.dtype,
    divisor: float,
    piece: tuple[Batch, Float[Tensor, "part z"]],
) -> tuple[Tensor, Sequence[Tensor | None], Tensor, list[tuple[Tensor, Tensor | None]]]:
    """A part's share of the loss, its gradients, and those of tensors behind."""
    part, latent = piece
    # Graphs of different threads meet at the weights alone: they end at copies of all else.
    latent = latent.detach().requires_grad_(latent.shape[1] > 0)
    ends: list[tuple[Tensor, Tensor]] = []
    part = replace(
        part, images=_cut(part.images, ends), coordinates=_cut(part.coordinates, ends)
    )
    slices = decoder(part.coordinates, part.grouping.spread(latent), dtype)
    slices = part.whole_slices(slices)
    loss = reconstruction_loss(
        slices, part.targets(), part.compared_transfer(), part.compared_likelihood()
    )
    share = loss * (part.num_images / part.images_per_particle / divisor)
    leaves = [*weights, *(copy for _, copy in ends)]
    if latent.requires_grad:
        leaves.append(latent)
    found: list[Tensor | None] = list(torch.autograd.grad(share, leaves, allow_unused=True))
    of_latent = found.pop() if latent.requires_grad else None
    if of_latent is None:
        of_latent = torch.zeros_like(latent)
    of_ends = [(origin, g) for (origin, _), g in zip(ends, found[len(weights) :], strict=True)]
    return share.detach(), found[: len(weights)], of_latent, of_ends


def _cut(tensor: Tensor, ends: list[tuple[Tensor, Tensor]]) -> Tensor:
    """A copy at which the graph ends, put down in ``ends``, of a tensor that has gradients."""
    if not tensor.requires_grad:
        return tensor
    copy = tensor.detach().requires_grad_()
    ends.append((tensor, copy))
    return copy
