"""Objectives and results by kind of training.

A batch comes in parts, each small enough for the processor's cache or the device's memory.
Gradients are accumulated part by part, so the result is that of the whole batch.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryodrgn.data.training_set import Batch, TrainingSet
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.imaging.grouping import ImageSets
from cryodrgn.imaging.turning import rotate_in_plane
from cryodrgn.io.cryodrgn_pickle import save_latents, save_pickles
from cryodrgn.io.mrc import write_volume
from cryodrgn.models.losses import Losses, kl_divergence, reconstruction_loss
from cryodrgn.models.model import Model, sample_latent
from cryodrgn.models.protocols import VolumeModel
from cryodrgn.parallel import ALONE, Team
from cryodrgn.reconstruction.decode import VolumeDecoder
from cryodrgn.reconstruction.encode import encode_all
from cryodrgn.rundir import RunDirectory
from cryodrgn.threads import in_order
from cryodrgn.training.row_table import PerParticleParameters
from cryodrgn.training.schedules import Equivariance, KlWeighting


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

    def accumulate_gradients(
        self,
        parts: Sequence[Batch],
        noise: Float[Tensor, "batch noise"],
        images_seen: int,
        divisor: float,
    ) -> Losses:
        """Add this process's share of the gradients of a batch to those of the parameters.

        Args:
            parts: The images of the batch that are this process's.
            noise: Standard normal numbers for them.
            images_seen: Images that passed since the run began.
            divisor: What sums over these images are divided by; summed over all processes,
                the results are means over the batch.

        Returns:
            The losses of the whole batch.

        Raises:
            torch.OutOfMemoryError: Some process has too little memory, and all know it.
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

    @property
    def noise_dim(self) -> int:
        """One number per dimension of the latent, and two for the angle of turned images."""
        return self.model.decoder.latent_dim + 2 * (self._equivariance is not None)

    def accumulate_gradients(
        self,
        parts: Sequence[Batch],
        noise: Float[Tensor, "batch noise"],
        images_seen: int,
        divisor: float,
    ) -> Losses:
        """Gradients at one random sample of every image's latent."""
        with self._team.raise_on_all(torch.OutOfMemoryError):
            views = ImageSets.joined([part.phase_flipped() for part in parts])
            # Encoders say nothing of poses that move images.
            views = views.detached()
            mean, log_variance = self.model.encoder(views, self._dtype)
            latent = sample_latent(mean, log_variance, noise[:, : mean.shape[1]])
            # The decoder's graphs end at this copy; what they say of it is passed on below.
            sampled = latent.detach().requires_grad_()
            reconstruction = accumulate_reconstruction(
                self.model.decoder, parts, sampled, self._dtype, divisor
            )
            of_batch = len(mean) / divisor
            share = kl_divergence(mean, log_variance) * of_batch
            turned = of_batch * self._change_when_turned(
                views, mean, noise[:, mean.shape[1] :], images_seen
            )
        assert sampled.grad is not None
        mine = torch.stack([reconstruction, share.detach(), turned.detach()])
        reconstruction, kl, turning = self._team.total(mine).unbind()
        penalty, slope = self._kl.penalty(kl, images_seen)
        num_values = 2 * parts[0].coordinates.shape[1]
        (slope * share / num_values + (latent * sampled.grad).sum() + turned).backward()
        total = reconstruction + penalty / num_values + turning
        return Losses(reconstruction=reconstruction, kl=kl, total=total)

    def _change_when_turned(
        self,
        views: ImageSets,
        mean: Float[Tensor, "batch z"],
        directions: Float[Tensor, "batch _"],
        images_seen: int,
    ) -> Float[Tensor, ""]:
        """The weighted penalty on latents of turned images that differ from those before."""
        weight = self._equivariance.weight_at(images_seen) if self._equivariance else 0.0
        if not weight:
            return mean.new_zeros(())
        assert self._lattice is not None
        # The direction of a normal vector is an angle of which all values are as probable.
        angles = torch.atan2(directions[:, 1], directions[:, 0])
        turned = rotate_in_plane(views.images, self._lattice, views.grouping.spread(angles))
        others, _ = self.model.encoder(replace(views, images=turned), self._dtype)
        return weight * (mean - others).square().sum(1).mean()

    def write_results(
        self, run: RunDirectory, number: int | None, particles: TrainingSet
    ) -> None:
        """Mean and log-variance of every particle's latent."""
        latents = encode_all(self.model, particles, self._dtype, self._team)
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

    def accumulate_gradients(
        self,
        parts: Sequence[Batch],
        noise: Float[Tensor, "batch noise"],
        images_seen: int,
        divisor: float,
    ) -> Losses:
        """Gradients of the reconstruction loss, of the latents too."""
        with self._team.raise_on_all(torch.OutOfMemoryError):
            latents = noise  # of no dimensions
            if self._latents is not None:
                latents = self._latents.rows(torch.cat([part.rows for part in parts]))
            loss = accumulate_reconstruction(
                self.model.decoder, parts, latents, self._dtype, divisor
            )
        loss = self._team.total(loss)
        return Losses(reconstruction=loss, kl=torch.zeros_like(loss), total=loss)

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


def accumulate_reconstruction(
    decoder: VolumeModel,
    parts: Sequence[Batch],
    latent: Float[Tensor, "batch z"],
    dtype: torch.dtype,
    divisor: float,
) -> Float[Tensor, ""]:
    """Add the gradients of the reconstruction loss, part by part.

    On a processor, parts are shared by threads; their gradients are added in order.

    Returns:
        The sum over images of their mean squared errors, divided by the number of images of a
        particle and by ``divisor``, without graph.
    """
    whole, passed_on = latent.new_zeros(()), []
    weights = [parameter for parameter in decoder.parameters() if parameter.requires_grad]
    work = partial(_gradients_of, decoder, weights, dtype, divisor)
    pieces = list(zip(parts, latent.split([len(p) for p in parts]), strict=True))
    for share, of_weights, beyond in in_order(work, pieces):
        whole += share
        passed_on += [(origin, g) for origin, g in beyond if g is not None]
        for weight, gradient in zip(weights, of_weights, strict=True):
            if gradient is None:
                continue
            if weight.grad is None:
                # A gradient may share its memory with another's, or have other strides.
                weight.grad = torch.empty_like(weight).copy_(gradient)
            else:
                weight.grad += gradient
    if passed_on:
        origins, of_origins = zip(*passed_on, strict=True)
        torch.autograd.backward(origins, of_origins)
    return whole.detach()


def _gradients_of(
    decoder: VolumeModel,
    weights: Sequence[Tensor],
    dtype: torch.dtype,
    divisor: float,
    piece: tuple[Batch, Float[Tensor, "part z"]],
) -> tuple[Tensor, Sequence[Tensor | None], Sequence[tuple[Tensor, Tensor | None]]]:
    """A part's share of the loss, its gradients, and those of tensors behind."""
    part, part_latent = piece
    # Graphs of different threads meet at the weights alone: they end at copies of all else.
    ends: list[tuple[Tensor, Tensor]] = []
    latent = _cut(part_latent, ends)
    part = replace(
        part, images=_cut(part.images, ends), coordinates=_cut(part.coordinates, ends)
    )
    slices = decoder(part.coordinates, part.grouping.spread(latent), dtype)
    loss = reconstruction_loss(slices, part.targets(), part.compared_transfer())
    share = loss * (part.num_images / part.images_per_particle / divisor)
    leaves = [*weights, *(copy for _, copy in ends)]
    found = torch.autograd.grad(share, leaves, allow_unused=True)
    of_weights, of_ends = found[: len(weights)], found[len(weights) :]
    origins = [origin for origin, _ in ends]
    return share.detach(), of_weights, list(zip(origins, of_ends, strict=True))


def _cut(tensor: Tensor, ends: list[tuple[Tensor, Tensor]]) -> Tensor:
    """A copy at which the graph ends, put down in ``ends``, of a tensor that has gradients."""
    if not tensor.requires_grad:
        return tensor
    copy = tensor.detach().requires_grad_()
    ends.append((tensor, copy))
    return copy
