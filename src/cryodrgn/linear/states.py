"""Volumes of states of any latent, regressed on the images, with half maps and errors."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cryodrgn.fourier.shells import ShellCurve, fourier_shell_correlation
from cryodrgn.imaging.ewald import Curvature
from cryodrgn.imaging.masks import resize_mask
from cryodrgn.imaging.noise import NoiseModel
from cryodrgn.linear.held_out import Candidate, Comparison, compared, number_of_groups
from cryodrgn.linear.iteration import DiscImages
from cryodrgn.linear.kernel_regression import KernelRegression
from cryodrgn.linear.latents import Latents
from cryodrgn.linear.masks import molecule_mask, starting_mask
from cryodrgn.linear.maximisation import noise_of, solve
from cryodrgn.linear.options import StateOptions
from cryodrgn.linear.quality import effective_number
from cryodrgn.linear.regression import Coefficients, Regression, Spread, accumulate, regress
from cryodrgn.models.basis import BasisModel
from cryodrgn.models.settings import BasisConfig
from cryodrgn.reconstruction.local_quality import local_resolution, standard_error
from cryodrgn.settings import SeedOptions, settings

logger = logging.getLogger(__name__)

Functions = Literal["auto", "best", "linear", "smooth"]

MASK_RADIUS = 16
# A linear latent of so few dimensions is its own best basis.
DIMENSIONS_KEPT_LINEAR = 2
NEIGHBOURS_COMPARED = 10
# States are supported as far from the particles as all but one in a hundred of them are.
SUPPORTED_QUANTILE = 0.99


@settings
class StateSettings(SeedOptions, StateOptions):
    """Settings of the reconstruction of states.

    Attributes:
        functions: Which functions of z; ``auto`` takes smooth ones unless z is of a linear run
            of at most two dimensions; ``best`` takes for a linear run of more dimensions those
            that agree better with the other half of the images, smooth ones or the coordinates.
        symmetry: Point group of all states.
        ewald: Hand of the curvature of the Ewald sphere; 0 takes it for flat.
    """

    functions: Functions = "auto"
    symmetry: str = "C1"
    ewald: Curvature = 0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class State:
    """The volume at one point of the latent space.

    Attributes:
        latent: The point.
        volume: From all images, regularised by the agreement of the half maps, masked.
        half_maps: From every other image, unfiltered and without mask.
        fsc: Correlation of the half maps within the mask.
        local_resolution: In Å.
        standard_error: Of every voxel of the volume.
        effective_number: Number of different images in a plain average of the same noise.
        is_supported: Whether there are particles near the point.
    """

    latent: Float[np.ndarray, " z"]
    volume: Float[Tensor, "box box box"]
    half_maps: tuple[Float[Tensor, "box box box"], Float[Tensor, "box box box"]]
    fsc: ShellCurve
    local_resolution: Float[Tensor, "box box box"]
    standard_error: Float[Tensor, "box box box"]
    effective_number: float
    is_supported: bool


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ImageModel:
    """Volumes regressed on functions of a latent.

    Attributes:
        model: Makes the volume of any point, in the units of the prepared images.
        regression: The regression.
    """

    model: BasisModel
    regression: Regression


class StateReconstruction:
    """Reconstructs states of a latent from the images.

    Args:
        images: The images.
        latents: Their latents.
        noise: Their noise.
        settings: How to do it.
        mask: Where there may be density; None finds it.
        model: Functions of the latents, whose volumes are not yet known; None finds them.
    """

    def __init__(
        self,
        images: DiscImages,
        latents: Latents,
        noise: NoiseModel,
        settings: StateSettings,
        mask: Float[Tensor, "size size size"] | None = None,
        model: BasisModel | None = None,
    ) -> None:
        self._images, self._latents = images, latents
        self._noise, self._settings = noise, settings
        first, second = (torch.from_numpy(rows) for rows in latents.halves())
        self._halves = (first, second)
        model = model or functions_of(latents, settings, images.box_size)
        self._model = model.to(images.device)
        self._coefficients = self._evaluated(self._model, latents.mean)
        self.mask = self._found_mask() if mask is None else mask

    def image_model(self) -> ImageModel:
        """Regress volumes on the functions, or on those that agree better with images."""
        found = self._regressed(self._model, self._coefficients)
        is_open = (
            self._settings.functions == "best"
            and self._latents.is_linear
            and self._model.config.kind != "linear"
        )
        if not is_open:
            return found
        latents, device = self._latents, self._images.device
        linear = _linear_model(latents, self._images.box_size).to(device)
        comparison = self._compared(found, linear)
        taken, other = (
            f"{self._settings.num_functions} smooth functions",
            "the coordinates of z",
        )
        if comparison.is_certain:
            taken, other = other, taken
        logger.info(
            "volumes are regressed on %s: with %s the correlation with the other half of the "
            "images changes by %+.4f ± %.4f",
            taken,
            other,
            -comparison.gain if comparison.is_certain else comparison.gain,
            comparison.error,
        )
        if not comparison.is_certain:
            return found
        return self._regressed(linear, self._evaluated(linear, latents.mean))

    def _regressed(self, model: BasisModel, coefficients: Coefficients) -> ImageModel:
        half = self._latents.half_means
        regression = regress(
            self._images,
            self._halves,
            coefficients,
            self._noise,
            self.mask,
            half_coefficients=None if half is None else self._evaluated(model, half),
        )
        model.get_buffer("volumes").copy_(regression.volumes)
        return ImageModel(model=model, regression=regression)

    def _compared(self, found: ImageModel, linear: BasisModel) -> Comparison:
        """Comparison with volumes linear in z, which are regressed once, by half latents.

        Groups and predictions are by half latents, which share no noise with the volumes, and
        by those of all images, along which volumes regressed on the noisier half latents vary
        too little. Neither is right alone on all sets that were measured, so the comparison
        that is less in favour of the coordinates is returned.
        """
        latents = self._latents
        halves = latents.mean if latents.half_means is None else latents.half_means
        coefficients = self._evaluated(linear, halves)
        plain = regress(self._images, self._halves, coefficients, self._noise, self.mask)
        first = Candidate(functions=found.model.functions, halves=found.regression.halves)
        second = Candidate(functions=linear.functions, halves=plain.halves)
        apart = self._compared_at(halves, coefficients, first, second)
        if latents.half_means is None or not apart.is_certain:
            return apart
        together = self._compared_at(latents.mean, coefficients, first, second)
        return apart if together.is_certain else together

    def _compared_at(
        self,
        points: Float[np.ndarray, "particles z"],
        coefficients: Coefficients,
        first: Candidate,
        second: Candidate,
    ) -> Comparison:
        """Comparison of two candidates at given latents."""
        # Forecasts of all commands load this module, and few of them need scikit-learn.
        from cryodrgn.analysis.clusters import cluster_by_means  # noqa: PLC0415

        images = self._images
        count = number_of_groups(images.num_different(torch.arange(len(points))))
        groups = cluster_by_means(points, count, seed=self._settings.seed).labels
        return compared(
            images,
            self._halves,
            torch.from_numpy(groups).long(),
            torch.from_numpy(points).to(images.device),
            coefficients.contrast,
            self._noise,
            self.mask,
            first,
            second,
        )

    def states(
        self, found: ImageModel, points: Float[np.ndarray, "states z"], pixel_size: float
    ) -> Iterator[State]:
        """States by regression on functions, one after another.

        Args:
            found: What :meth:`image_model` returned.
            points: Where in the latent space.
            pixel_size: Å/px.
        """
        on_device = torch.from_numpy(points).to(self._images.device)
        functions = found.model.functions(on_device)
        numbers = effective_number(found.regression, functions).tolist()
        supported = self.supported(points)
        for row, latent in enumerate(points):
            whole, halves, maps = (
                [_combined(part, functions[row]) for part in parts]
                for parts in (
                    [found.regression.volumes],
                    found.regression.halves,
                    found.regression.half_maps,
                )
            )
            yield self._described(
                latent,
                whole[0],
                (halves[0], halves[1]),
                (maps[0], maps[1]),
                numbers[row],
                pixel_size,
                is_supported=bool(supported[row]),
            )

    def kernel_states(
        self, points: Float[np.ndarray, "states z"], pixel_size: float
    ) -> Iterator[State]:
        """States by kernel regression, one after another.

        Args:
            points: Where in the latent space.
            pixel_size: Å/px.
        """
        device = self._images.device
        latents = self._latents
        tensors = [
            None if array is None else torch.from_numpy(array).to(device)
            for array in (
                latents.mean,
                latents.covariances,
                latents.half_means,
                latents.contrasts,
            )
        ]
        mean, covariances, half, contrasts = tensors
        assert mean is not None
        kernel = KernelRegression(
            self._images,
            self._halves,
            mean,
            covariances,
            half,
            self._noise,
            self.mask,
            contrasts,
        )
        on_device = torch.from_numpy(points).to(device)
        kernel.choose_bandwidths(on_device)
        supported = self.supported(points)
        for row, latent in enumerate(points):
            state = kernel.state(on_device[row])
            yield self._described(
                latent,
                state.volume,
                state.halves,
                state.half_maps,
                state.effective_number,
                pixel_size,
                is_supported=bool(supported[row]),
            )

    def supported(self, points: Float[np.ndarray, "states z"]) -> Bool[np.ndarray, " states"]:
        """True if particles are as near as nearly every particle has its neighbours."""
        # Forecasts of all commands load this module, and few of them need scipy.
        from cryodrgn.analysis.neighbours import nearest_neighbours  # noqa: PLC0415

        latents = self._latents.mean
        count = min(NEIGHBOURS_COMPARED, len(latents) - 1)
        own = nearest_neighbours(latents, count + 1)[0][:, -1]
        there = nearest_neighbours(latents, count, points)[0][:, -1]
        return there <= np.quantile(own, SUPPORTED_QUANTILE)

    def _evaluated(
        self, model: BasisModel, latents: Float[np.ndarray, "particles z"]
    ) -> Coefficients:
        device = self._images.device
        values = model.functions(torch.from_numpy(latents).to(device))
        contrasts = self._latents.contrasts
        contrast = None if contrasts is None else torch.from_numpy(contrasts).to(device)
        doubt = None
        if self._latents.is_linear and model.config.kind == "linear":
            assert self._latents.covariances is not None
            doubt = torch.from_numpy(self._latents.covariances).to(device)
        return Coefficients(
            values=values,
            covariances=doubt,
            contrast=contrast,
            contrast_square=None if contrast is None else contrast.square(),
            have_prior=self._latents.is_linear,
        )

    def _found_mask(self) -> Float[Tensor, "size size size"]:
        """A mask from a regression of coarse volumes."""
        images = self._images
        radius = min(MASK_RADIUS, images.largest_radius - 1)
        rows = torch.arange(len(images))
        standard = self._coefficients.standard(Spread.of(self._coefficients, rows))
        coefficients = replace(self._coefficients, spread=standard)
        sums = accumulate(images, rows, coefficients, self._noise, radius)
        noise = noise_of(sums, radius)
        prior = 10 * noise.expand(sums.num_coefficients, -1)
        ball = starting_mask(sums.grid.box_size, images.device)
        volumes = solve(sums, prior, ball.expand(len(prior), -1, -1, -1), radius)
        return molecule_mask(volumes, images.box_size)

    def _described(
        self,
        latent: Float[np.ndarray, " z"],
        volume: Float[Tensor, "box box box"],
        halves: tuple[Float[Tensor, "box box box"], Float[Tensor, "box box box"]],
        half_maps: tuple[Float[Tensor, "box box box"], Float[Tensor, "box box box"]],
        number: float,
        pixel_size: float,
        *,
        is_supported: bool,
    ) -> State:
        mask = resize_mask(self.mask, len(volume))
        masked = [half_map * mask for half_map in half_maps]
        return State(
            latent=latent,
            volume=volume.cpu(),
            half_maps=(half_maps[0].cpu(), half_maps[1].cpu()),
            fsc=fourier_shell_correlation(masked[0].cpu(), masked[1].cpu()),
            local_resolution=local_resolution(masked[0], masked[1], pixel_size).cpu(),
            standard_error=standard_error(*halves).cpu(),
            effective_number=number,
            is_supported=is_supported,
        )


def _combined(
    volumes: Float[Tensor, "volumes box box box"], functions: Float[Tensor, " functions"]
) -> Float[Tensor, "box box box"]:
    return volumes[0] + torch.tensordot(functions, volumes[1:], dims=1)


def _linear_model(latents: Latents, box_size: int) -> BasisModel:
    """A model whose functions are the coordinates of the latent."""
    dimensions = latents.mean.shape[1]
    return BasisModel(
        BasisConfig(
            kind="linear",
            box_size=box_size,
            latent_dim=dimensions,
            num_functions=dimensions,
        )
    )


def takes_coordinates(latents: Latents, settings: StateSettings) -> bool:
    """True if the functions that volumes are first regressed on are the coordinates of z."""
    return settings.functions == "linear" or (
        settings.functions in {"auto", "best"}
        and latents.is_linear
        and latents.mean.shape[1] <= DIMENSIONS_KEPT_LINEAR
    )


def functions_of(latents: Latents, settings: StateSettings, box_size: int) -> BasisModel:
    """A model whose functions are known and whose volumes are not yet.

    Args:
        latents: Latents of all particles.
        settings: Which functions.
        box_size: Side of the volumes.
    """
    if takes_coordinates(latents, settings):
        return _linear_model(latents, box_size)
    from cryodrgn.analysis.diffusion_map import diffusion_map  # noqa: PLC0415

    doubt = latents.covariances
    found = diffusion_map(
        latents.mean,
        settings.num_functions,
        covariance=None if doubt is None else doubt.mean(0),
        seed=settings.seed,
    )
    model = BasisModel(
        BasisConfig(
            kind="basis",
            box_size=box_size,
            latent_dim=latents.mean.shape[1],
            num_functions=settings.num_functions,
            num_landmarks=len(found.landmarks),
            num_neighbours=found.num_neighbours,
        )
    )
    names = ("metric", "landmarks", "values", "scales", "densities")
    tables = {name: torch.from_numpy(getattr(found, name)) for name in names}
    model.functions.load_state_dict(tables)
    values = model.functions(torch.from_numpy(latents.mean))
    # Weights of an extension add up to 1: what is done to its tables is done to its values.
    model.functions.get_buffer("values").sub_(values.mean(0)).div_(values.std(0))
    return model
