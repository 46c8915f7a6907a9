"""Scores of particles under a trained network: every image beside its decoded slice.

Contrast and its likelihood are in closed form, given the slice at the encoder's mean latent.
The noise is what slices leave unexplained, by shell and optics group. Every image is compared
at coarse frequencies alone, where its signal is, so that a pass costs a fraction of an epoch.
The network has seen all images; halves are not judged apart.

Images of nothing may have become a state of their own, whose volume is nearly empty: it fits
them at any contrast. So a slice counts as at least half as strong as an ordinary one, at which
they do not fit.
"""

import logging
import time

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.counts import counted
from cryodrgn.data.prepared import Storage
from cryodrgn.data.training_set import TrainingSet
from cryodrgn.imaging.likelihood import predict, shell_sums
from cryodrgn.io.log import log_to_file
from cryodrgn.io.run_config import load_run_config
from cryodrgn.io.score_table import write_scores
from cryodrgn.linear.latents import file_latents
from cryodrgn.linear.particle_scores import ParticleScores, scores_of, tell_of_junk
from cryodrgn.models.protocols import VolumeModel
from cryodrgn.particles.optics_groups import optics_groups
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.progress import Progress, format_duration
from cryodrgn.reconstruction.trained import TrainedModel, prepare_as_trained
from cryodrgn.rundir import RunDirectory
from cryodrgn.training.model_choice import FEW_EPOCHS

logger = logging.getLogger(__name__)

# In cycles per box, as of the linear latent.
RADIUS = 16
AT_A_TIME = 64
# Power that slices have at least, as a share of the mean. Parts of a complex that have less are
# no junk: at a contrast below 1 they still fit better than nothing does.
LEAST_POWER = 0.25


def judge_run(
    run: RunDirectory,
    particles: ParticleSet,
    device: torch.device,
    storage: Storage,
    num_epochs: int | None,
) -> ParticleScores:
    """Score the particles of a finished run of a variational autoencoder, and write the table.

    Args:
        run: The run.
        particles: Its particles, with the poses that it ended with.
        device: Where to compute.
        storage: Where prepared images are kept.
        num_epochs: Epochs that a network alone was trained for; None for one on a linear model,
            which explains the images from the first epoch on.
    """
    started = time.monotonic()
    trained = TrainedModel.load(run.weights(), load_run_config(run.config_yaml))
    images = prepare_as_trained(trained, particles, device, storage=storage)
    latents = file_latents(run.latents())
    mean, covariances = latents.mean, latents.covariances
    assert covariances is not None, "an encoder says how uncertain latents are"
    encoded = torch.from_numpy(mean), torch.from_numpy(covariances)
    groups = torch.from_numpy(optics_groups(particles.images))
    decoder = trained.model.decoder.to(device).eval()
    gram, counts = _inner_products(decoder, images, encoded[0], groups)
    scores = scores_of(
        gram, counts, [torch.arange(len(images))], encoded, numbers=images.numbers
    )
    write_scores(run.judged, particles.original_rows, scores.columns(), scores.is_junk())
    with log_to_file(run.log):
        tell_of_junk(scores, run.judged)
        logger.info("scoring particles took %s", format_duration(time.monotonic() - started))
        if num_epochs is not None and num_epochs < FEW_EPOCHS and scores.are_judged:
            logger.info(
                "a network of %s explains little of the images yet: its judgement of "
                "junk is preliminary, better take that of a longer run or of train_linear",
                counted(num_epochs, "epoch"),
            )
    return scores


@torch.inference_mode()
def _inner_products(
    decoder: VolumeModel,
    images: TrainingSet,
    latents: Float[Tensor, "particles z"],
    groups: Int[Tensor, " images"],
) -> tuple[Float[Tensor, "particles 2 2"], Float[Tensor, " particles"]]:
    """Inner products of slice and image of every particle, and the numbers compared.

    Slices that are weaker than ``LEAST_POWER`` are multiplied up to it.
    """
    radius = min(RADIUS, images.lattice.box_size // 2)
    compared = images.compared(radius)
    points = (
        images.lattice.points if compared is None else images.lattice.points[compared.cpu()]
    )
    shells = points.float().norm(dim=-1).round().long().to(images.device)
    everyone = torch.arange(len(images))
    image_rows, done = images.image_rows(everyone), 0
    # Made at once: small results among the large blocks of every batch would keep the
    # allocator from using these again.
    by_shell = torch.empty(len(image_rows), radius + 1, 3)
    transfers = torch.empty(len(image_rows), radius + 1)
    owners = torch.empty(len(image_rows), dtype=torch.long)
    with Progress(len(images), "judging particles") as progress:
        for rows in everyone.split(images.most_together(AT_A_TIME)):
            batch = images.batch(rows, radius=radius)
            here = slice(done, done + batch.num_images)
            done += batch.num_images
            latent = batch.grouping.spread(latents[rows].to(images.device))
            slices = batch.whole_slices(decoder(batch.coordinates, latent, torch.float32))
            transfer = batch.compared_transfer()
            expected, observed = predict(slices, transfer), batch.targets()
            powers = torch.ones_like(slices[..., 0]) if transfer is None else transfer.square()
            transfers[here] = shell_sums(powers, shells, radius + 1).cpu()
            pairs = ((expected, expected), (expected, observed), (observed, observed))
            products = [shell_sums((a * b).sum(-1), shells, radius + 1) for a, b in pairs]
            by_shell[here] = torch.stack(products, dim=-1).cpu()
            owners[here] = rows[batch.particle_of_image.cpu()]
            progress.advance(len(rows))
    noise = _noise(by_shell, groups[image_rows], shells.cpu())
    # What a slice of mean power would have in the place of each image's own.
    mean = by_shell[..., 0].sum(0) / transfers.sum(0).clamp_min(1e-12)
    usual = (mean * transfers)[..., None]
    weighted = (torch.cat([by_shell, usual], dim=-1) / noise[..., None]).sum(1)
    per_image = torch.bincount(shells.cpu()).sum() * 2
    totals = weighted.new_zeros(len(images), 4).index_add_(0, owners, weighted)
    counts = torch.bincount(owners, minlength=len(images)) * per_image
    gram = strong_enough(totals[:, [0, 1, 1, 2]].view(-1, 2, 2), totals[:, 3])
    return gram, counts.float()


def strong_enough(
    gram: Float[Tensor, "particles 2 2"], usual: Float[Tensor, " particles"]
) -> Float[Tensor, "particles 2 2"]:
    """Inner products with slices that are multiplied up to the least power.

    Args:
        gram: Inner products of slice and image in units of the noise.
        usual: Of a slice of mean power with itself, at the CTF and noise of the same images.
    """
    least = LEAST_POWER * usual
    power = gram[:, 0, 0].clamp_min(1e-12 * least)
    raised = gram.clone()
    raised[:, 0, 0] = torch.maximum(gram[:, 0, 0], least)
    factor = (least / power).sqrt().clamp_min(1)
    raised[:, 0, 1] = raised[:, 1, 0] = factor * gram[:, 0, 1]
    return raised


def _noise(
    by_shell: Float[Tensor, "images shells 3"],
    groups: Int[Tensor, " images"],
    shells: Int[Tensor, " points"],
) -> Float[Tensor, "images shells"]:
    """Variance of a real number of what slices leave, by shell, for every image's group."""
    left = by_shell[..., 0] - 2 * by_shell[..., 1] + by_shell[..., 2]
    points = torch.bincount(shells, minlength=by_shell.shape[1]).clamp_min(1)
    count = int(groups.max()) + 1
    sums = left.new_zeros(count, left.shape[1]).index_add_(0, groups, left)
    numbers = torch.bincount(groups, minlength=count).clamp_min(1)[:, None]
    variances = sums / numbers / (2 * points)
    return variances.clamp_min(1e-12)[groups]
