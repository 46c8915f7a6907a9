"""A batch of particles: what is stored of it, and what is computed from that."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cryodrgn.data.fixed_density import FixedDensity
from cryodrgn.fourier.shifts import shift_transform
from cryodrgn.imaging.ctf import CtfParameters, contrast_transfer
from cryodrgn.imaging.ewald import Sidebands
from cryodrgn.imaging.exposure import ExposureParameters, exposure_weights
from cryodrgn.imaging.grouping import Grouping, ImageSets
from cryodrgn.imaging.likelihood import WHITE, ImageLikelihood, transfer_function
from cryodrgn.imaging.slices import magnified, slice_axes, slice_coordinates


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """Some particles, and all of their images in one list, particle after particle.

    Attributes:
        rows: Which particles.
        image_rows: Which images.
        grouping: Which of the images show the same particle.
        images_per_particle: Number of images of a particle, on average over the whole set.
        images: Centred transforms as stored, pairs (real, imaginary).
        ctf: CTF at the same points; None for images without one.
        weights: How dose and tilt weaken the images at the same points; None where they do
            not.
        axes: Vectors in the volume's frame along which frequencies of the images count.
        coordinates: In the volume's frame, in cycles per pixel, the points on which images are
            compared with slices.
        compared: Positions of those points among the stored ones; None where all are compared.
        sidebands: Side bands of the images at the same points; None where the Ewald sphere is
            taken for flat.
        likelihood: Of the images, at the stored points.
        fixed: Density that all images show beside that of the model; None for none.
    """

    rows: Int[Tensor, " batch"]
    image_rows: Int[Tensor, " images"]
    grouping: Grouping
    images_per_particle: float
    images: Float[Tensor, "images points 2"]
    ctf: Float[Tensor, "images points"] | None
    weights: Float[Tensor, "images points"] | None
    axes: Float[Tensor, "images axes 3"]
    coordinates: Float[Tensor, "images compared 3"]
    compared: Int[Tensor, " compared"] | None
    sidebands: Sidebands | None = None
    likelihood: ImageLikelihood = WHITE
    fixed: FixedDensity | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def num_images(self) -> int:
        """Number of images of all these particles."""
        return len(self.images)

    @property
    def particle_of_image(self) -> Int[Tensor, " images"]:
        """Place, among the particles of the batch, of the one that each image shows."""
        return self.grouping.spread(torch.arange(len(self), device=self.rows.device))

    def phase_flipped(self) -> ImageSets:
        """The images times the sign of their CTF, as encoders take them."""
        images = self.images if self.ctf is None else self.images * self.ctf.sign()[..., None]
        return ImageSets(
            images=images, grouping=self.grouping, axes=self.axes, transfer=self.transfer()
        )

    def transfer(self) -> Float[Tensor, "images points"] | None:
        """CTF times weights; None where both are 1."""
        return transfer_function(self.ctf, self.weights)

    def of_images(self, places: Int[Tensor, " chosen"]) -> "Batch":
        """Some of the images, as if each showed a particle of its own.

        Args:
            places: Which of them, in this batch.
        """

        def chosen(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[places]

        bands = self.sidebands
        if bands is not None:
            parts = (bands.offsets[places], bands.factors[places], bands.overlap[places])
            bands = Sidebands(offsets=parts[0], factors=parts[1], overlap=parts[2])
        return replace(
            self,
            rows=self.grouping.spread(self.rows)[places],
            image_rows=self.image_rows[places],
            grouping=Grouping(num_images=len(places)),
            images=self.images[places],
            ctf=chosen(self.ctf),
            weights=chosen(self.weights),
            axes=self.axes[places],
            coordinates=self.coordinates[places],
            sidebands=bands,
            likelihood=self.likelihood.of_images(places),
        )

    def targets(self) -> Float[Tensor, "images compared 2"]:
        """The images where they are compared with slices."""
        return self.images if self.compared is None else self.images[:, self.compared]

    def compared_transfer(self) -> Float[Tensor, "images compared"] | None:
        """CTF times weights where images are compared with slices."""
        transfer = self.transfer()
        if transfer is None or self.compared is None:
            return transfer
        return transfer[:, self.compared]

    def whole_slices(
        self, slices: Float[Tensor, "images compared 2"]
    ) -> Float[Tensor, "images compared 2"]:
        """Slices of a model with those of the fixed density, if there is one."""
        return slices if self.fixed is None else slices + self.fixed.slices(self.coordinates)

    def compared_likelihood(self) -> ImageLikelihood:
        """The likelihood of the images where they are compared with slices."""
        return self.likelihood.at(self.compared)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StoredBatch:
    """Stored data of some particles and their images; :meth:`batch` computes the rest.

    Attributes:
        rows: Which particles.
        image_rows: Which images.
        grouping: Which of the images show the same particle.
        images_per_particle: Number of images of a particle, on average over the whole set.
        images: Centred transforms, pairs (real, imaginary).
        pixel_sizes: Of every image, in Å.
        ctf: Parameters of the CTF; None for images without one.
        exposures: Dose and tilt; None where nothing weakens the images.
        rotations: From the volume's frame to that of the image.
        shifts: In Å, by which the images are still to be moved; None where that is done.
        magnifications: Matrices of the images' magnification; None where all are 1.
        likelihood: Of the images, at the stored points.
        fixed: Density that all images show beside that of the model; None for none.
    """

    rows: Int[Tensor, " batch"]
    image_rows: Int[Tensor, " images"]
    grouping: Grouping
    images_per_particle: float
    images: Float[Tensor, "images points 2"]
    pixel_sizes: Float[Tensor, " images"]
    ctf: CtfParameters | None
    exposures: ExposureParameters | None
    rotations: Float[Tensor, "images 3 3"]
    shifts: Float[Tensor, "images 2"] | None
    magnifications: Float[Tensor, "images 2 2"] | None = None
    likelihood: ImageLikelihood = WHITE
    fixed: FixedDensity | None = None

    def batch(
        self, frequencies: Float[Tensor, "points 2"], compared: Int[Tensor, " compared"] | None
    ) -> Batch:
        """The batch: CTF, weights and the points of the slices, a function of tensors alone.

        Args:
            frequencies: Of the stored points, in cycles per pixel.
            compared: Positions of those compared with slices; None compares all.
        """
        absolute = frequencies / self.pixel_sizes[:, None, None]
        ctf, weights = factors(absolute, self.ctf, self.exposures, self.magnifications)
        images = self.images
        if self.shifts is not None:
            images = shift_transform(images, absolute, self.shifts)
        points = frequencies if compared is None else frequencies[compared]
        axes = slice_axes(self.rotations, self.magnifications)
        limit = None
        if self.magnifications is not None:
            # Volumes are known to the outermost frequency of the images, up to Nyquist.
            limit = frequencies.norm(dim=-1).max().clamp_max(0.5)
        return Batch(
            rows=self.rows,
            image_rows=self.image_rows,
            grouping=self.grouping,
            images_per_particle=self.images_per_particle,
            images=images,
            ctf=ctf,
            weights=weights,
            axes=axes,
            coordinates=slice_coordinates(points, axes, limit),
            compared=compared,
            likelihood=self.likelihood,
            fixed=self.fixed,
        )


def factors(
    frequencies: Float[Tensor, "images points 2"],
    ctf: CtfParameters | None,
    exposures: ExposureParameters | None,
    magnifications: Float[Tensor, "images 2 2"] | None,
) -> tuple[Float[Tensor, "images points"] | None, Float[Tensor, "images points"] | None]:
    """CTF and weights of images at frequencies in 1/Å; None where they are 1."""
    undistorted = magnified(frequencies, magnifications)
    return (
        None if ctf is None else contrast_transfer(undistorted, ctf),
        None if exposures is None else exposure_weights(frequencies, exposures),
    )
