"""Choice of the particles of a run: on its page, or by clusters and lists."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.errors import ConfigError, InputFileError
from cryodrgn.jobs.dashboard import PageOptions
from cryodrgn.settings import (
    NOT_NEGATIVE,
    Job,
    at_least,
    each,
    function_of,
    option,
    positional,
    settings,
)

if TYPE_CHECKING:
    import numpy as np

    from cryodrgn.runs.run import Run

logger = logging.getLogger(__name__)

CHOICE = "Choice without the page"
CRITERIA = "clusters, outliers, plot_indices"


@settings
class Filter(PageOptions, Job["np.ndarray | None"]):
    """Choose particles of a run on its page, or by clusters and lists."""

    workdir: Path = positional(metavar="outdir", help="Folder of a training run")
    epoch: int = option(
        "-e",
        "--epoch",
        default=-1,
        check=at_least(-1),
        help="Epoch whose latents and clusters are used",
        default_words="the last",
    )
    num_clusters: int = option(
        "-k",
        "--kmeans",
        default=-1,
        group=CHOICE,
        check=at_least(-1),
        help="Clusters to use if the analysis has several: 20 for those of kmeans20",
        default_words="the only ones, or the most",
    )
    clusters: tuple[int, ...] | None = option(
        "--clusters",
        default=None,
        group=CHOICE,
        check=each(at_least(0)),
        help="Choose the particles in these k-means clusters of the analysis",
    )
    outliers: float | None = option(
        "--outliers",
        default=None,
        group=CHOICE,
        metavar="SD",
        check=NOT_NEGATIVE,
        help="Choose those whose latents are more than SD standard deviations longer than the "
        "mean",
    )
    plot_indices: Path | None = option(
        "--plot-inds",
        default=None,
        group=CHOICE,
        metavar="PKL",
        help="Choose only among these rows of the original file",
    )
    sel_dir: Path | None = option(
        "--sel-dir",
        default=None,
        group=CHOICE,
        metavar="DIR",
        help="Folder for the selection (default: [OUTDIR]/selections, which the page shows)",
    )
    name: str = option(
        "--name",
        default="filtered",
        group=CHOICE,
        help="Name of the selection: NAME.pkl, all other particles in NAME_inverse.pkl",
    )
    force: bool = option(
        "-f", "--force", default=False, group=CHOICE, help="Replace a selection of that name"
    )

    def run(self) -> "np.ndarray | None":
        """Open the page, or write the choice; returns its rows of the original file.

        Raises:
            CryodrgnError: The run cannot be used, or a choice of that name is there.
        """
        if self.clusters is None and self.outliers is None and self.plot_indices is None:
            self.serve([self.workdir])
            return None
        return self._chosen()

    def _chosen(self) -> "np.ndarray":
        from cryodrgn.io.cryodrgn_pickle import save_pickles
        from cryodrgn.page.selections import require_name
        from cryodrgn.rundir import RunDirectory
        from cryodrgn.runs.run import open_run

        folder = self.sel_dir or RunDirectory(self.workdir).selection("x").parent
        paths = [folder / f"{require_name(self.name)}{end}.pkl" for end in ("", "_inverse")]
        if not self.force and any(path.exists() for path in paths):
            msg = f"{paths[0]} or {paths[1].name} is there already; replace them with `force`"
            raise ConfigError(msg)
        run = open_run(self.workdir)
        epoch = run.last_epoch() if self.epoch == -1 else self.epoch
        chosen, others = self._divided(run, epoch)
        for path, rows in zip(paths, (chosen, others), strict=True):
            save_pickles(path, [rows])
            logger.info("wrote %d rows of the original file to %s", len(rows), path)
        return chosen

    def _divided(self, run: "Run", epoch: int | None) -> "tuple[np.ndarray, np.ndarray]":
        """Rows of the chosen particles in the original file, and of the others."""
        import numpy as np

        from cryodrgn.analysis.selection import Candidates
        from cryodrgn.io.cryodrgn_pickle import load_labels
        from cryodrgn.io.selection_files import load_selection
        from cryodrgn.particles.selection import check_indices

        latents = run.latents(epoch)
        original = run.original_rows(len(latents))
        candidates = Candidates.all_of(original)
        if self.clusters is not None:
            labels = load_labels(self._labels(run, epoch))
            candidates = candidates.in_clusters(labels, self.clusters)
        if self.outliers is not None:
            candidates = candidates.beyond(latents, self.outliers)
        if self.plot_indices is not None:
            listed = load_selection(self.plot_indices)
            if run.holds_all_particles:
                listed.require_length(len(original), "the original file")
            listed.require_rows(original)
            candidates = candidates.among(listed.indices)
        chosen = candidates.chosen
        check_indices(chosen, int(original.max()) + 1, source="the choice", of="the run")
        return chosen, np.setdiff1d(original, chosen)

    def _labels(self, run: "Run", epoch: int | None) -> Path:
        """The clusters of the analysis.

        Raises:
            InputFileError: There are none.
        """
        from cryodrgn.rundir import AnalysisFiles

        files = run.files.analysis(epoch)
        there = AnalysisFiles.clusters.numbers(files)
        if not there or self.num_clusters not in {-1, *there}:
            found = f"there are {', '.join(map(str, there))}" if there else "there are none"
            wanted = "k-means clusters"
            if self.num_clusters != -1:
                wanted = f"{self.num_clusters} {wanted}"
            msg = f"{files.path} holds no {wanted}; {found}: run cryodrgn analyze first"
            raise InputFileError(msg)
        return files.clusters(
            max(there) if self.num_clusters == -1 else self.num_clusters
        ).labels


filter = function_of(Filter)
