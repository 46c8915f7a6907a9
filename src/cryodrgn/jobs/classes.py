"""Classes of particles drawn in the latent space of a run."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cryodrgn.errors import ConfigError, InputFileError, ShapeMismatchError
from cryodrgn.given_arrays import PathOrArray
from cryodrgn.jobs.analyze import SeededEpochOptions
from cryodrgn.settings import Job, function_of, option, settings

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)

PlotType = Literal["scatter", "kde"]


@settings
class PlotClasses(SeededEpochOptions, Job[list[Path]]):
    """Plot classes of particles in the latent space of a run."""

    labels: PathOrArray = option(
        "--labels", help="Class of every particle, a whole number (.pkl or .npy)"
    )
    plot_types: tuple[str, ...] = option(
        "--plot-types",
        default=("scatter",),
        default_words="scatter",
        metavar="{scatter,kde}",
        help="Dots, contours of the density of every class, or both",
    )
    palette: str | None = option(
        "--palette",
        default=None,
        help="Colour map of matplotlib, or colours separated by commas",
        default_words="tab10, turbo for more than 10 classes",
    )
    outdir: Path | None = option(
        "-o",
        "--outdir",
        default=None,
        help="Folder for the pictures (default: [WORKDIR]/analyze.[EPOCH])",
    )
    skip_umap: bool = option("--skip-umap", default=False, help="Skip the UMAP embedding")
    svg: bool = option("--svg", default=False, help="Write SVG files, not PNG")

    def run(self) -> list[Path]:
        """Draw the classes; returns the pictures.

        Raises:
            CryodrgnError: Labels or run cannot be used, or do not belong together.
        """
        import numpy as np

        from cryodrgn.analysis.class_plots import class_colours, plot_classes
        from cryodrgn.analysis.plots import save_figure
        from cryodrgn.io.cryodrgn_pickle import load_labels

        wrong = sorted(set(self.plot_types) - {"scatter", "kde"})
        if wrong:
            msg = f"`plot_types` must be scatter, kde or both, got {wrong[0]}"
            raise ConfigError(msg)
        run, epoch = self.opened()
        latents = run.latents(epoch)
        labels = load_labels(self.labels)
        if len(labels) != len(latents):
            msg = (
                f"{self.labels} has {len(labels)} labels, but {self.workdir} has latents of "
                f"{len(latents)} particles; both must be of the same particles"
            )
            raise ShapeMismatchError(msg)
        classes = np.unique(labels).tolist()
        try:
            shades = class_colours(len(classes), self.palette)
        except ValueError as error:
            msg = f"`palette` {self.palette!r} cannot be used: {error}"
            raise ConfigError(msg) from error
        outdir = self.outdir or run.files.analysis(epoch).path
        written = []
        for name, places, axes in self._maps(latents, epoch):
            for kind in self.plot_types:
                figure = plot_classes(
                    places, labels, classes, axes, shades, as_density=kind == "kde"
                )
                path = outdir / f"{name}_classes_{kind}.{'svg' if self.svg else 'png'}"
                save_figure(figure, path)
                logger.info("wrote %s", path)
                written.append(path)
        return written

    def _maps(
        self, latents: "np.ndarray", epoch: int | None
    ) -> "list[tuple[str, np.ndarray, tuple[str, str]]]":
        """Planes in which the particles are drawn: name, places, names of the axes."""
        from cryodrgn.analysis.embedding import umap_embedding
        from cryodrgn.analysis.pca import PLANE, plane_of
        from cryodrgn.io.cryodrgn_pickle import load_array
        from cryodrgn.rundir import RunDirectory

        found: list[tuple[str, np.ndarray, tuple[str, str]]]
        found = [("z_pca", plane_of(latents), PLANE)]
        if self.skip_umap or latents.shape[1] < 3:
            return found
        path = RunDirectory(self.workdir).analysis(epoch).umap
        if path.is_file():
            places = load_array(path)
            if places.shape != (len(latents), 2):
                msg = f"{path} is no map of the {len(latents)} particles of {self.workdir}"
                raise InputFileError(msg)
        else:
            logger.info("%s is not there: the map is made", path)
            places = umap_embedding(latents, self.seed)
        return [*found, ("umap", places, ("UMAP1", "UMAP2"))]


plot_classes = function_of(PlotClasses)
