"""Pictures of latents: along the particles, on two dimensions, on principal components."""

import logging
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cryodrgn.errors import ConfigError, ShapeMismatchError
from cryodrgn.jobs.latents import LatentInput
from cryodrgn.jobs.tool_options import PictureOutput, save_picture
from cryodrgn.settings import (
    NOT_NEGATIVE,
    POSITIVE,
    Check,
    Job,
    SeedOptions,
    Settings,
    at_least,
    each,
    function_of,
    option,
    same_as,
    settings,
)

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from cryodrgn.analysis.marginal_plots import Dots, Marked

logger = logging.getLogger(__name__)

LOOK, MARKS = "Look", "Marked particles"
SHARE = Check(words="more than 0 and at most 1", holds=lambda value: 0 < value <= 1)
ASCENDING = Check(words="two numbers, the lower first", holds=lambda pair: pair[0] < pair[1])


@settings
class LookOptions(Settings):
    """Look of the particles in a picture of latents."""

    marker_size: float = option(
        "--ms", default=2.0, group=LOOK, check=POSITIVE, help="Diameter of a dot in points"
    )
    opacity: float | None = option(
        "--alpha",
        default=None,
        group=LOOK,
        check=SHARE,
        help="Opacity of a dot, up to 1",
        default_words="less, the more particles there are",
    )
    limits: tuple[float, float] | None = option(
        "--ylim",
        default=None,
        group=LOOK,
        metavar=("LOW", "HIGH"),
        check=ASCENDING,
        help="Ends of the vertical axis",
    )
    by_row: bool = option(
        "--color", default=False, group=LOOK, help="Colour particles by their row in the file"
    )
    as_density: bool = option(
        "--kde", default=False, group=LOOK, help="Draw a smooth density, not dots or bars"
    )

    def dots(self) -> "Dots":
        """The look, as it is drawn."""
        from cryodrgn.analysis.marginal_plots import Dots

        return Dots(
            size=self.marker_size,
            opacity=self.opacity,
            by_row=self.by_row,
            as_density=self.as_density,
            limits=self.limits,
        )


@settings
class SampleOptions(SeedOptions):
    """Particles, or middles of groups of particles, that a picture marks."""

    num_random: int | None = option(
        "--sample1",
        default=None,
        group=MARKS,
        metavar="N",
        check=at_least(1),
        help="Mark N particles chosen at random",
    )
    num_chunks: int | None = option(
        "--sample2",
        default=None,
        group=MARKS,
        metavar="N",
        check=at_least(1),
        help="Mark the medians of N groups of consecutive particles",
    )
    output_samples: Path | None = option(
        "--out-s",
        default=None,
        group=MARKS,
        metavar="TXT",
        help="Text file for the latents at the marked points, for eval_vol --zfile",
    )
    are_numbered: bool = option(
        "--annotate",
        default=False,
        group=MARKS,
        help="Write a number beside every marked point",
    )

    def sampled(self, latents: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
        """Rows of the marks (middles of groups among them), and their latents.

        Raises:
            ConfigError: There are fewer particles than marks.
        """
        import numpy as np

        from cryodrgn.particles.selection import random_subset

        for name in ("num_random", "num_chunks"):
            wanted = getattr(self, name)
            if wanted is not None and wanted > len(latents):
                msg = f"`{name}` {wanted} is more than the {len(latents)} particles there are"
                raise ConfigError(msg)
        rows, points = np.zeros(0), latents[:0]
        if self.num_random is not None:
            chosen = random_subset(len(latents), self.num_random, self.seed)
            rows, points = chosen.astype(float), latents[chosen]
        if self.num_chunks is not None:
            chunks = np.array_split(np.arange(len(latents)), self.num_chunks)
            rows = np.concatenate([rows, [chunk.mean() for chunk in chunks]])
            medians = [np.median(latents[chunk], axis=0) for chunk in chunks]
            points = np.concatenate([points, medians]).astype(latents.dtype)
        return rows, points


@settings
class LatentPicture(SampleOptions, LookOptions, PictureOutput, LatentInput, Job[Path]):
    """Picture of latents.

    Attributes:
        num_axes: Dimensions of the latent that it shows.
    """

    num_axes: ClassVar[int]
    axes: tuple[int, ...] | None = option(
        "--axis",
        default=None,
        group=LOOK,
        check=each(NOT_NEGATIVE),
        help="Dimensions of the latent to draw, counted from 0",
        default_words="the first, of a latent that has no others",
    )

    @abstractmethod
    def figure_of(self, values: "np.ndarray", marked: "Marked") -> "Figure":
        """The picture.

        Args:
            values: Coordinates of the particles on the axes of the picture.
            marked: The marks.
        """

    def on_axes(self, latents: "np.ndarray", others: "np.ndarray") -> "list[np.ndarray]":
        """Particles and other points on the axes of the picture.

        Raises:
            CryodrgnError: The latent does not have these dimensions.
        """
        axes = self.chosen_axes(latents.shape[1])
        return [latents[:, axes], others[:, axes]]

    def chosen_axes(self, count: int) -> list[int]:
        """The dimensions to draw, of those that there are.

        Raises:
            CryodrgnError: They do not exist, or nobody says which of several are meant.
        """
        if self.axes is None:
            if count != self.num_axes:
                msg = (
                    f"{self.latents} holds a latent of dimension {count}, expected "
                    f"{self.num_axes}; say which to draw with `axes`, or take plot_z_pca, "
                    "which draws any"
                )
                raise ShapeMismatchError(msg)
            return list(range(self.num_axes))
        if len(self.axes) != self.num_axes or max(self.axes) >= count:
            msg = (
                f"`axes` must be {self.num_axes} of the dimensions 0 to {count - 1}, got "
                f"{' '.join(map(str, self.axes))}"
            )
            raise ConfigError(msg)
        return list(self.axes)

    def places_of_marks(self, rows: "np.ndarray", points: "np.ndarray") -> "np.ndarray":
        """Places of the marks in the picture, from their rows and coordinates."""
        del rows
        return points

    def run(self) -> Path:
        """Draw the latents; returns the picture's path."""
        from cryodrgn.analysis.marginal_plots import Marked
        from cryodrgn.io.latent_text import save_latent_text

        latents = self.read()
        rows, points = self.sampled(latents)
        values, coordinates = self.on_axes(latents, points)
        places = self.places_of_marks(rows, coordinates)
        figure = self.figure_of(values, Marked(places=places, are_numbered=self.are_numbered))
        if self.output_samples is not None and len(points):
            save_latent_text(self.output_samples, points)
            logger.info("wrote %d latents to %s", len(points), self.output_samples)
        return save_picture(figure, self.output)


@settings
class PlotZ1(LatentPicture):
    """Plot a latent of one dimension."""

    num_axes = 1
    output: Path = same_as(PictureOutput, "output", default=Path("z1.png"))

    def figure_of(self, values: "np.ndarray", marked: "Marked") -> "Figure":
        """The latent along the particles, with its histogram."""
        from cryodrgn.analysis.marginal_plots import plot_along_particles

        name = f"z{self.axes[0]}" if self.axes else "z"
        return plot_along_particles(values[:, 0], name, self.dots(), marked)

    def places_of_marks(self, rows: "np.ndarray", points: "np.ndarray") -> "np.ndarray":
        """Rows of the marks and their latents."""
        import numpy as np

        return np.stack([rows, points[:, 0]], axis=1)


@settings
class PlotZ2(LatentPicture):
    """Plot a latent of two dimensions."""

    num_axes = 2
    output: Path = same_as(PictureOutput, "output", default=Path("z2.png"))

    def figure_of(self, values: "np.ndarray", marked: "Marked") -> "Figure":
        """The plane with histograms of both dimensions."""
        from cryodrgn.analysis.marginal_plots import plot_marginals

        first, second = self.axes or (1, 2)
        return plot_marginals(values, (f"z{first}", f"z{second}"), self.dots(), marked)


@settings
class PlotZPca(LatentPicture):
    """Plot a latent along its first two principal components."""

    num_axes = 2
    output: Path = same_as(PictureOutput, "output", default=Path("z_pca.png"))
    axes: tuple[int, ...] | None = same_as(
        LatentPicture,
        "axes",
        default=None,
        help="Principal components to draw, counted from 0",
        default_words="0 1",
    )

    def on_axes(self, latents: "np.ndarray", others: "np.ndarray") -> "list[np.ndarray]":
        """Particles and other points on two principal components."""
        import numpy as np

        from cryodrgn.analysis.pca import principal_components

        components = principal_components(latents, None if self.axes else 2)
        both = [components.project(one) for one in (latents, others)]
        if self.axes is not None:
            axes = self.chosen_axes(both[0].shape[1])
            return [one[:, axes] for one in both]
        # A latent of one dimension has no second component.
        return [np.pad(one, ((0, 0), (0, 2 - one.shape[1]))) for one in both]

    def figure_of(self, values: "np.ndarray", marked: "Marked") -> "Figure":
        """The plane of both components with their histograms."""
        from cryodrgn.analysis.marginal_plots import plot_marginals

        first, second = self.axes or (0, 1)
        names = (f"PC{first + 1}", f"PC{second + 1}")
        return plot_marginals(values, names, self.dots(), marked)


plot_z1 = function_of(PlotZ1)
plot_z2 = function_of(PlotZ2)
plot_z_pca = function_of(PlotZPca)
