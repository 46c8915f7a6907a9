"""The search of poses along a run: a first map, then the network as reference.

A run alternates: at the beginning of some epochs the poses of all images are searched anew,
with the network as it is; in all epochs it learns from the images in the poses they have.
Which frequencies it learns grows with the epochs, and the search uses no others.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.data.batches import generator_at
from cryodrgn.data.training_set import TrainingSet
from cryodrgn.devices import to_device
from cryodrgn.errors import NumericalError
from cryodrgn.fourier.shifts import phases, shifted
from cryodrgn.geometry.rotations import random_rotations, rotation_distance
from cryodrgn.imaging.likelihood import predict, reconstruction_loss, squared_residuals
from cryodrgn.imaging.slices import slice_axes, slice_coordinates
from cryodrgn.models.protocols import VolumeModel
from cryodrgn.orientation.branching import BranchAndBoundSearch, FoundPoses
from cryodrgn.orientation.comparison import FrequencyDisc
from cryodrgn.orientation.initial import InitialMap, Sample
from cryodrgn.orientation.slices import Slices, box_within
from cryodrgn.orientation.starts import compare_starts, effective_directions, why_too_alike
from cryodrgn.parallel import ALONE, Team
from cryodrgn.particles.copies import first_rows
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.particles.poses import Poses
from cryodrgn.progress import Progress
from cryodrgn.reconstruction.decode import VolumeDecoder
from cryodrgn.training.optimizers import Adam
from cryodrgn.training.pose_table import PoseTable
from cryodrgn.training.run_config import TrainConfig
from cryodrgn.training.search_config import SearchConfig

logger = logging.getLogger(__name__)

# Images that tell the variance of the noise, and images that judge first maps.
NUM_FOR_VARIANCE, SHARE_HELD_OUT = 1000, 0.1
# Images of first maps that judge them, at least; and as many that make them.
FEWEST_HELD_OUT, FEWEST_SEARCHED = 2, 4
READ_AT_ONCE = 256
# Levels to which the poses of a first map are refined: its frequencies tell no finer ones.
LEVELS_OF_FIRST_MAP = 2
KMEANS_ITERATIONS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentAccess:
    """The latents of a model, however it keeps them.

    Attributes:
        dim: Their dimensions; 0 for a single structure.
        current: Says those of all particles as they are now.
        replace: Makes them those of its argument.
        are_given: Whether they were given, and first maps leave them as they are.
    """

    dim: int
    are_given: bool
    current: Callable[[], Float[Tensor, "particles z"]]
    replace: Callable[[Tensor], None]


class PoseSearch:
    """Keeps the poses of a run up to date with what its network has learnt.

    Args:
        particles: The images.
        poses: Their poses, which are replaced.
        decoder: The network.
        latents: The latents of its particles.
        training: Settings of the run.
        search: Settings of the search.
        side_lengths: Side of each image in Å.
        dtype: Number type of matrix products.
        team: Processes that share the images.
    """

    def __init__(
        self,
        particles: TrainingSet,
        poses: PoseTable,
        decoder: VolumeModel,
        latents: LatentAccess,
        training: TrainConfig,
        search: SearchConfig,
        side_lengths: Float[np.ndarray, " particles"],
        dtype: torch.dtype,
        team: Team = ALONE,
    ) -> None:
        self._particles, self._poses, self._decoder = particles, poses, decoder
        self._latents, self._training, self._search = latents, training, search
        self._sides = torch.from_numpy(side_lengths).float()[:, None]
        self._dtype, self._team = dtype, team
        self._box_size = particles.lattice.box_size
        self._device = particles.device

    def before_epoch(self, epoch: int, check: Callable[[], None]) -> None:
        """Search, if it is time, and say whether the epoch keeps the poses.

        Args:
            epoch: Number of the epoch that begins.
            check: Called now and then while it lasts; may raise to stop.
        """
        if self._search.searches_in(epoch, self._training.num_epochs):
            self.search(epoch, check)
        self.go_on(epoch)

    def go_on(self, epoch: int) -> None:
        """Say whether poses are kept in an epoch."""
        self._poses.hold(epoch < self._training.num_epochs - self._search.refine_epochs)

    def start(self, check: Callable[[], None]) -> None:
        """Find poses without a network, from the first maps that the images make.

        Raises:
            NumericalError: All first maps have collapsed.
        """
        settings, seed = self._search, self._training.seed
        disc = FrequencyDisc.of(
            self._particles.lattice,
            min(settings.grids.radius_start, self._box_size // 2 - 1),
            self._device,
        )
        found = None
        if self._team.is_writer:
            # The others wait for the result: what asks all processes would wait for them.
            alone = check if self._team.size == 1 else (lambda: None)
            found = compare_starts(
                self._sample(disc, generator_at(seed, (0, 0, 1))),
                settings.grids,
                [seed + number for number in range(settings.num_starts)],
                settings.num_classes if self._latents.dim else 1,
                alone,
            ).best
        found = self._team.agree(found)
        assert found is not None
        self._take_over(found, disc.within(found.radius), check)

    def _take_over(
        self, first: InitialMap, disc: FrequencyDisc, check: Callable[[], None]
    ) -> None:
        """The poses of all images with respect to first maps, and their first latents."""
        grids, seed = self._search.grids, self._training.seed
        radii = [first.radius] * (1 + min(LEVELS_OF_FIRST_MAP, grids.num_levels))
        everyone = torch.zeros(len(self._particles), dtype=torch.long)
        by_map = []
        for volume in first.volumes:
            slices = Slices(volume[None].to(self._device), first.radius)
            finder = BranchAndBoundSearch(
                slices,
                disc,
                first.variance.to(self._device),
                grids,
                radii,
                self._box_size,
                (seed, 0),
                self._dtype,
            )
            by_map.append(self._find([finder], everyone, disc, check))
        found = torch.stack([poses.gains for poses in by_map], dim=1)
        best, rows = found.argmax(1), torch.arange(len(found), device=found.device)
        chosen = FoundPoses(
            rotations=torch.stack([poses.rotations for poses in by_map], dim=1)[rows, best],
            shifts=torch.stack([poses.shifts for poses in by_map], dim=1)[rows, best],
            gains=found[rows, best],
        )
        self._put(chosen, first.radius)
        if self._latents.dim:
            shares = found.softmax(1).cpu()
            counts = ", ".join(f"{100 * share:.0f} %" for share in shares.mean(0).tolist())
            logger.info("%d classes of the first map hold %s", len(by_map), counts)
            volumes, generator = first.volumes.cpu(), generator_at(seed, (0, 0, 2))
            if self._latents.are_given:
                latents = self._latents.current().cpu()
            else:
                spread = self._search.latent_spread
                latents = latents_of_classes(
                    shares, volumes, self._latents.dim, generator, spread
                )
                self._latents.replace(latents)
            members = torch.nn.functional.one_hot(best.cpu(), len(by_map)).float()
            sizes = members.sum(0).clamp_min(1)[:, None]
            self._teach(first, disc, members.T @ latents / sizes, check)
        else:
            self._teach(first, disc, torch.zeros(1, 0), check)

    def _teach(
        self,
        first: InitialMap,
        disc: FrequencyDisc,
        latents: Float[Tensor, "maps z"],
        check: Callable[[], None],
    ) -> None:
        """Let the network learn the first maps, each at its latent."""
        maps = [Slices(volume[None].to(self._device), first.radius) for volume in first.volumes]
        if self._training.keeps_decoder:
            return
        parameters = list(self._decoder.parameters())
        optimizer = Adam(parameters, lr=self._training.learning_rate)
        frequencies = disc.points / self._box_size
        size, total = self._training.batch_size, self._search.pretrain
        with Progress(total, "learning the first map", "slices") as progress:
            for number, start in enumerate(range(0, total, size)):
                generator = generator_at(self._training.seed, (0, number, 3))
                count, which = min(size, total - start), number % len(maps)
                rotations = to_device(random_rotations(count, generator), self._device)
                latent = latents[which].to(self._device).expand(count, -1)
                points = slice_coordinates(frequencies, rotations)
                predicted = self._decoder(points, latent, self._dtype)
                wanted = maps[which].at(disc.points, rotations)[0]
                loss = reconstruction_loss(predicted, wanted, None)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                progress.advance(count, note=f"loss {float(loss.detach()):.4f}")
                check()
        optimizer.zero_grad(set_to_none=True)
        for parameter in parameters:
            # All processes have learnt the same, up to rounding.
            parameter.data = self._team.total(parameter.data) / self._team.size

    def search(self, epoch: int, check: Callable[[], None]) -> None:
        """Find the pose of every image with respect to the network as it is.

        Raises:
            NumericalError: All images came to look along the same few directions.
        """
        grids = self._search.grids
        radius = self._search.searched_radius(max(epoch - 1, 0), self._box_size)
        learnt = min(radius, self._box_size // 2 - 1)
        disc = FrequencyDisc.of(self._particles.lattice, learnt, self._device)
        centres, nearest = self._references(epoch)
        decoder = VolumeDecoder(self._decoder, 0.0, 1.0, self._device, self._dtype)
        volumes = decoder.volumes(centres, box_within(learnt))
        references = [Slices(volume[None].to(self._device), learnt) for volume in volumes]
        variance = self._variance(disc, references, nearest)
        finders = [
            BranchAndBoundSearch(
                reference,
                disc,
                variance,
                grids,
                grids.radii(learnt),
                self._box_size,
                (self._training.seed, epoch),
                self._dtype,
            )
            for reference in references
        ]
        found = self._find(finders, nearest, disc, check)
        self._put(found, learnt)
        collapsed = why_too_alike(found.rotations.cpu())
        if collapsed is not None:
            msg = (
                f"the poses have collapsed in epoch {epoch + 1}: {collapsed}; begin anew with "
                "more first maps (`num_starts`), more images of them (`start_images`) or "
                "another "
                "`seed`"
            )
            raise NumericalError(msg)

    def _sample(self, disc: FrequencyDisc, generator: torch.Generator) -> Sample:
        """Images, drawn at random, of which first maps are made."""
        order = torch.randperm(len(self._particles), generator=generator)
        # Without poses, copies of an image are the same image.
        different = torch.from_numpy(first_rows(self._particles.numbers[order.numpy()]))
        drawn = order[different][: self._search.start_images]
        num_held_out = max(FEWEST_HELD_OUT, round(SHARE_HELD_OUT * len(drawn)))
        parts = [
            self._particles.unshifted_transforms(rows, disc.positions)
            for rows in drawn.split(READ_AT_ONCE)
        ]
        ctf = [part[1] for part in parts if part[1] is not None]
        return Sample(
            images=torch.cat([part[0] for part in parts]),
            ctf=torch.cat(ctf) if ctf else None,
            disc=disc,
            box_size=self._box_size,
            num_held_out=num_held_out,
        )

    def _references(
        self, epoch: int
    ) -> tuple[Float[Tensor, "centres z"], Int[Tensor, " particles"]]:
        """Latents whose maps are searched with, and which of them is nearest to each image."""
        latents = self._latents.current().cpu()
        if latents.shape[1] == 0:
            return latents[:1], torch.zeros(len(latents), dtype=torch.long)
        generator = generator_at(self._training.seed, (epoch, 0, 1))
        count = min(self._search.num_references, len(latents))
        centres = latents[torch.randperm(len(latents), generator=generator)[:count]]
        for _ in range(KMEANS_ITERATIONS):
            nearest = torch.cdist(latents, centres).argmin(1)
            sums = torch.zeros_like(centres).index_add_(0, nearest, latents)
            counts = torch.bincount(nearest, minlength=count)[:, None]
            centres = torch.where(counts > 0, sums / counts.clamp_min(1), centres)
        return centres, torch.cdist(latents, centres).argmin(1)

    def _variance(
        self, disc: FrequencyDisc, references: list[Slices], nearest: Int[Tensor, " particles"]
    ) -> Float[Tensor, " points"]:
        """Of the noise, from what the references leave of the images in their poses."""
        count = min(len(self._particles), NUM_FOR_VARIANCE)
        total = torch.zeros(len(disc.points), device=self._device)
        chosen = torch.linspace(0, len(self._particles) - 1, count).long()
        with torch.inference_mode():
            for number, reference in enumerate(references):
                for rows in _batches(chosen[nearest[chosen] == number], READ_AT_ONCE):
                    images, ctf = self._particles.unshifted_transforms(rows, disc.positions)
                    on_device = to_device(rows, self._device)
                    rotations, shifts = self._poses.at(on_device)
                    shifts = shifts / to_device(self._sides[rows], self._device)
                    moved = shifted(images, phases(disc.points, shifts)[:, None])[:, 0]
                    axes = slice_axes(rotations, self._particles.magnifications(on_device))
                    predicted = predict(reference.at(disc.points, axes)[0], ctf)
                    total += squared_residuals(predicted, moved).sum(0) / 2
        return disc.shell_means(total / count).clamp_min(1e-12)

    def _find(
        self,
        finders: list[BranchAndBoundSearch],
        nearest: Int[Tensor, " particles"],
        disc: FrequencyDisc,
        check: Callable[[], None],
    ) -> FoundPoses:
        """The poses of all particles, each searched by the finder of its reference."""
        order = self._team.piece(self._particles.in_order_of_storage)
        results = torch.zeros(len(self._particles), 12, device=self._device)
        with Progress(len(order), "searching poses") as progress:
            # Processes may have different numbers of batches, but check equally often.
            for block in order.tensor_split(max(1, len(self._particles) // 1000)):
                for number, finder in enumerate(finders):
                    for rows in _batches(block[nearest[block] == number], finder.batch_size):
                        images, ctf = self._particles.unshifted_transforms(rows, disc.positions)
                        on_device = to_device(rows, self._device)
                        magnifications = self._particles.magnifications(on_device)
                        found = finder.find(images, ctf, magnifications)
                        results[on_device] = torch.cat(
                            [found.rotations.flatten(1), found.shifts, found.gains[:, None]], 1
                        )
                        progress.advance(len(rows))
                check()
        self._team.add([results])
        return FoundPoses(
            rotations=results[:, :9].view(-1, 3, 3),
            shifts=results[:, 9:11],
            gains=results[:, 11],
        )

    def _put(self, found: FoundPoses, radius: int) -> None:
        """Take poses over, and say how they differ from those before."""
        before = self._poses.poses()
        rotations = found.rotations.cpu()
        moved = rotation_distance(torch.from_numpy(before.rotations), rotations)
        logger.info(
            "poses searched within %d cycles per box: rotations changed by %.1f° (median), "
            "views along %.0f of 48 directions, log-likelihood ratio %.2f per image",
            radius,
            float(moved.median().rad2deg()),
            effective_directions(rotations),
            float(found.gains.mean()),
        )
        shifts = found.shifts.cpu() * self._sides
        self._poses.put(
            Poses(rotations=rotations.numpy(), shifts=shifts.numpy(), source="found poses")
        )


def _batches(rows: Int[Tensor, " rows"], size: int) -> tuple[Int[Tensor, " batch"], ...]:
    """Parts of a list; none of an empty one, of which torch makes an empty part."""
    return rows.split(size) if len(rows) else ()


def latents_of_classes(
    shares: Float[Tensor, "particles classes"],
    volumes: Float[Tensor, "classes box box box"],
    dim: int,
    generator: torch.Generator,
    unknown_spread: float = 0.1,
) -> Float[Tensor, "particles z"]:
    """Latents that say to which classes images belong: neighbours for similar volumes.

    The volumes stand at their principal coordinates, images at the mean of those, and the
    largest spread is made 1.

    Args:
        shares: Probability of each class for each particle.
        volumes: Volumes of the classes.
        dim: Dimensions of the latent. Those that are left over are drawn at random.
        generator: For them.
        unknown_spread: Standard deviation in directions of which classes say nothing.
    """
    flat = volumes.flatten(1)
    left, sizes, _ = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)
    places = shares @ (left * sizes)[:, :dim]
    places = places - places.mean(0)
    latents = unknown_spread * torch.randn(len(shares), dim, generator=generator)
    largest = places.square().mean(0).max().sqrt()
    if largest > 0:
        latents[:, : places.shape[1]] += places / largest
    return latents


def require_first_poses(particles: ParticleSet, search: SearchConfig | None) -> None:
    """Refuse particles without poses where none are searched, or where it begins with them.

    Raises:
        MetadataError: The particles have no poses.
    """
    if search is None or search.takes_given:
        particles.images.require_poses()


def with_first_poses(particles: ParticleSet, search: SearchConfig | None) -> ParticleSet:
    """The particles with the poses that a run begins with.

    Raises:
        MetadataError: There are none, and none are searched.
    """
    require_first_poses(particles, search)
    if search is None or search.takes_given:
        return particles
    unknown = Poses(
        rotations=np.tile(np.eye(3, dtype=np.float32), (len(particles.images), 1, 1)),
        shifts=np.zeros((len(particles.images), 2), np.float32),
        source="no poses",
    )
    return particles.with_images({"poses": unknown})
