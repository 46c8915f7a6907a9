"""Grouping of a flat list of images by the particle that they show."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from cryodrgn.devices import may_wait


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Grouping:
    """Images of several particles in one list, those of a particle one after another.

    Attributes:
        num_images: Length of the list.
        counts: Number of images of every particle, or one number for all of them. With one
            image each, all methods return what they are given.
    """

    num_images: int
    counts: int | Int[Tensor, " particles"] = 1

    @property
    def is_single(self) -> bool:
        """True if every particle has one image."""
        return isinstance(self.counts, int) and self.counts == 1

    @property
    def num_particles(self) -> int:
        """Number of particles."""
        counts = self.counts
        return self.num_images // counts if isinstance(counts, int) else len(counts)

    def spread(self, values: Shaped[Tensor, "particles ..."]) -> Shaped[Tensor, "images ..."]:
        """Values of particles, repeated for each of their images."""
        if self.is_single:
            return values
        counts, size = self.counts, self.num_images
        if isinstance(counts, int):
            return values.repeat_interleave(counts, dim=0)
        return values.repeat_interleave(counts, dim=0, output_size=size)

    def total(self, values: Float[Tensor, "images ..."]) -> Float[Tensor, "particles ..."]:
        """Sums over the images of every particle."""
        if isinstance(self.counts, int):
            return values if self.is_single else self._by_particle(values).sum(1)
        # Unlike adding by index, this adds in the same order on every device. Counts are right
        # by construction: to check them would wait for the device.
        return torch.segment_reduce(values, "sum", lengths=self.counts, unsafe=True)

    def mean(self, values: Float[Tensor, "images ..."]) -> Float[Tensor, "particles ..."]:
        """Means over the images of every particle."""
        if isinstance(self.counts, int):
            return values if self.is_single else self._by_particle(values).mean(1)
        return torch.segment_reduce(values, "mean", lengths=self.counts, unsafe=True)

    def first(self, values: Shaped[Tensor, "images ..."]) -> Shaped[Tensor, "particles ..."]:
        """Values of the first image of every particle."""
        if isinstance(self.counts, int):
            return values if self.is_single else values[:: self.counts]
        return values[self.counts.cumsum(0) - self.counts]

    @property
    def fewest(self) -> int:
        """Smallest number of images of a particle."""
        if isinstance(self.counts, int):
            return self.counts
        with may_wait("numbers of images are looked at"):
            return int(self.counts.min())

    def leading(
        self, values: Shaped[Tensor, "images ..."], count: int
    ) -> Shaped[Tensor, "leading ..."]:
        """Values of the first images of every particle, the same number of each.

        Args:
            values: Of all images.
            count: How many of each particle, of which none has fewer.
        """
        if isinstance(self.counts, int):
            return self._by_particle(values)[:, :count].flatten(0, 1)
        firsts = self.counts.cumsum(0) - self.counts
        places = firsts[:, None] + torch.arange(count, device=firsts.device)
        return values[places.flatten()]

    def _by_particle(self, values: Tensor) -> Tensor:
        assert isinstance(self.counts, int)
        return values.unflatten(0, (-1, self.counts))

    @classmethod
    def joined(cls, parts: Sequence["Grouping"]) -> "Grouping":
        """The grouping of several lists put one behind another."""
        size = sum(part.num_images for part in parts)
        first = parts[0].counts
        if isinstance(first, int):
            return cls(num_images=size, counts=first)
        counts = [part.counts for part in parts if isinstance(part.counts, Tensor)]
        return cls(num_images=size, counts=torch.cat(counts))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ImageSets:
    """The images of several particles: what an encoder is asked about.

    Attributes:
        images: Transforms of all images as pairs (real, imaginary).
        grouping: Which of them belong together.
        axes: Vectors in the volume's frame along which the frequencies kx and ky of every
            image count (their rotations, of which the first two rows do); None where poses
            are not known.
        transfer: CTF times weights of dose and tilt at the points, of either sign although the
            images are phase-flipped; None where it is 1.
    """

    images: Float[Tensor, "images points 2"]
    grouping: Grouping
    axes: Float[Tensor, "images axes 3"] | None = None
    transfer: Float[Tensor, "images points"] | None = None

    @classmethod
    def of_single_images(cls, images: Float[Tensor, "images points 2"]) -> "ImageSets":
        """Images each of which shows a particle of its own."""
        return cls(images=images, grouping=Grouping(num_images=len(images)))

    @classmethod
    def joined(cls, parts: Sequence["ImageSets"]) -> "ImageSets":
        """The particles of several parts as one."""

        def together(tensors: Sequence[Tensor | None]) -> Tensor | None:
            known = [tensor for tensor in tensors if tensor is not None]
            return torch.cat(known) if len(known) == len(parts) else None

        return cls(
            images=torch.cat([part.images for part in parts]),
            grouping=Grouping.joined([part.grouping for part in parts]),
            axes=together([part.axes for part in parts]),
            transfer=together([part.transfer for part in parts]),
        )

    def detached(self) -> "ImageSets":
        """Images and poses without gradients, for what is not to move them."""
        axes = None if self.axes is None else self.axes.detach()
        return replace(self, images=self.images.detach(), axes=axes)
