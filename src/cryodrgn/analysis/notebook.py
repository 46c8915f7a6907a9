"""The notebook in which an analysis is carried on by hand: plain functions and matplotlib."""

from pathlib import Path
from typing import Literal

from cryodrgn.errors import MissingDependencyError
from cryodrgn.rundir import AnalysisFiles

try:
    import nbformat
    from nbformat import NotebookNode, v4
except ImportError as error:
    message = "notebooks need nbformat; install it with: pip install 'cryodrgn[analysis]'"
    raise MissingDependencyError(message) from error

TITLE = """
# {name}

Runs as it stands. Every selection below is an array of particle numbers (rows of the latents);
change the numbers, run the cell, look, and save the particles at the end.
"""
OPEN = """
%matplotlib inline
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

import cryodrgn
from cryodrgn.io.cryodrgn_pickle import load_pickles, save_pickles

EPOCH = {epoch}  # None: the finished run
run = cryodrgn.open_run({run!r})
analysis = Path({analysis!r})
latents = run.latents(EPOCH)
components = run.components(EPOCH)
places = components.project(latents)
print(f"{{len(latents)}} particles, latent dimensions: {{run.latent_dim}}, "
      f"box {{run.box_size}} px of {{run.pixel_size:.3g}} Å")
"""
CURVE = """
run.plot_learning_curve()
"""
PLANE = """
run.plot_latents(EPOCH)
"""
LINE = """
figure, axes = plt.subplots(figsize=(6, 3))
axes.hist(latents[:, 0], bins=80)
axes.set(xlabel="z", ylabel="particles");
"""
VIEWS = """
# From where the particles were seen; needs the files the run was trained on.
try:
    display(run.plot_view_directions(EPOCH))
except cryodrgn.errors.CryodrgnError as error:
    print(error)
"""
SHOW = """
def show(selected, title):
    \"\"\"A selection on the first two components (of one dimension: as a histogram).\"\"\"
    figure, axes = plt.subplots(figsize=(5, 4.5))
    if places.shape[1] > 1:
        axes.scatter(*places[:, :2].T, s=3, color="silver")
        axes.scatter(*places[selected, :2].T, s=3, color="tab:blue")
        axes.set(xlabel="PC1", ylabel="PC2")
    else:
        axes.hist([latents[:, 0], latents[selected, 0]], bins=60, color=["silver", "tab:blue"])
        axes.set(xlabel="z", ylabel="particles")
    axes.set_title(f"{title}: {len(selected)} of {len(latents)} particles")
"""
BY_CLUSTER = """
labels = load_pickles(analysis / "kmeans{count}" / "labels.pkl")[0]
CHOSEN = [0]  # numbers of clusters, as in the report
by_cluster = np.flatnonzero(np.isin(labels, CHOSEN))
show(by_cluster, f"clusters {{CHOSEN}}")
"""
BY_BOX = """
AXIS, LOW, HIGH = 0, *np.percentile(places[:, 0], [50, 100])  # PC1, its upper half
by_box = np.flatnonzero((places[:, AXIS] >= LOW) & (places[:, AXIS] <= HIGH))
show(by_box, f"PC{AXIS + 1} from {LOW:.3g} to {HIGH:.3g}")
"""
BY_MIXTURE = """
from sklearn.mixture import GaussianMixture

NUMBER, PART = 2, 0  # of Gaussians, and which one to keep
mixture = GaussianMixture(NUMBER, random_state=0).fit(latents)
by_mixture = np.flatnonzero(mixture.predict(latents) == PART)
show(by_mixture, f"Gaussian {PART} of {NUMBER}")
"""
OUTLIERS = """
norms = np.linalg.norm(latents, axis=1)
outliers = np.flatnonzero(norms > norms.mean() + 2 * norms.std())
show(outliers, "far from the origin")
"""
COMBINE = """
# np.intersect1d: in both; np.union1d: in either; np.setdiff1d: in the first, not in the second.
keep = np.setdiff1d(by_box, outliers)
show(keep, "kept")
"""
SAVE = """
# Numbers of rows in the file the run was given, before any selection that it made.
rows = run.original_rows(len(latents))
for name, selected in (("keep", keep), ("drop", np.setdiff1d(np.arange(len(latents)), keep))):
    path = analysis / f"ind_{name}.{len(selected)}_particles.pkl"
    save_pickles(path, [rows[selected]])
    print(path)
"""
VOLUMES = """
# Volumes where you want them: here at the mean of what is kept, and at its first particle.
points = np.stack([latents[keep].mean(0), latents[keep[0]]])
volumes = run.volumes(points, EPOCH)
figure, row = plt.subplots(1, len(volumes), figsize=(3 * len(volumes), 3), squeeze=False)
for number, (axes, volume) in enumerate(zip(row[0], volumes)):
    axes.imshow(volume[len(volume) // 2], cmap="gray", origin="lower")
    axes.set(title=f"volume {number}, central slice", xticks=[], yticks=[])
    cryodrgn.write_volume(analysis / f"notebook_{number:03d}.mrc", volume, run.pixel_size)
"""
IMAGES = """
# Some of the images themselves; needs the files the run was trained on.
try:
    shown = np.sort(np.random.default_rng(0).choice(keep, min(9, len(keep)), replace=False))
    images = run.particles().first_images.read(shown)
    figure, grid = plt.subplots(3, 3, figsize=(6, 6))
    for axes, image, number in zip(grid.flat, images, shown):
        axes.imshow(image, cmap="gray")
        axes.set_title(str(number), fontsize=8)
    for axes in grid.flat:
        axes.axis("off")
except cryodrgn.errors.CryodrgnError as error:
    print(error)
"""


Part = Literal["all", "figures", "filtering"]


def analysis_notebook(
    run_folder: Path,
    epoch: int | None,
    files: AnalysisFiles,
    num_clusters: int | None,
    part: Part = "all",
) -> str:
    """The content of a notebook that loads a run, selects particles, and makes volumes.

    Args:
        run_folder: The run.
        epoch: The epoch; None for the finished run.
        files: Where its analysis is.
        num_clusters: K-means clusters of the analysis; None where it has none.
        part: Only the cells that draw figures, or that select particles.
    """
    values = {
        "name": run_folder.resolve().name,
        "run": str(run_folder.resolve()),
        "analysis": str(files.path.resolve()),
        "epoch": epoch,
        "count": num_clusters,
    }
    clustered = num_clusters is not None
    beginning = [
        _text(TITLE.strip().format(**values)),
        _code(OPEN.strip().format(**values)),
    ]
    figures = [
        _code(CURVE.strip()),
        _code((PLANE if clustered else LINE).strip()),
        _code(VIEWS.strip()),
    ]
    filtering = [
        _text("## Select particles"),
        _code(SHOW.strip()),
        *([_code(BY_CLUSTER.strip().format(**values))] if clustered else []),
        *(_code(text.strip()) for text in (BY_BOX, BY_MIXTURE, OUTLIERS, COMBINE)),
        _text("## Save them, as `indices` of a command"),
        _code(SAVE.strip()),
    ]
    looking = [
        _text("## Look at them"),
        _code(VOLUMES.strip()),
        _code(IMAGES.strip()),
    ]
    parts = {
        "all": [*beginning, *figures, *filtering, *looking],
        "figures": [*beginning, *figures],
        "filtering": [*beginning, *filtering],
    }
    return _written(parts[part])


def _text(source: str) -> NotebookNode:
    """A cell of Markdown."""
    return NotebookNode(cell_type="markdown", metadata=NotebookNode(), source=source)


def _code(source: str) -> NotebookNode:
    """A cell of code that was not run."""
    return NotebookNode(
        cell_type="code",
        execution_count=None,
        metadata=NotebookNode(),
        outputs=[],
        source=source,
    )


def _written(cells: list[NotebookNode]) -> str:
    """The content of a notebook of some cells, which are checked all at once."""
    for number, cell in enumerate(cells):
        # Equal runs give equal files: nbformat would draw the names of cells at random.
        cell["id"] = f"cell{number:02d}"
    notebook = v4.new_notebook(
        metadata={
            "kernelspec": {
                "name": "python3",
                "display_name": "Python 3",
                "language": "python",
            }
        },
    )
    notebook.cells = cells
    nbformat.validate(notebook)
    return nbformat.writes(notebook)
