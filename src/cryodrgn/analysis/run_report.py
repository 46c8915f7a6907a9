"""The page of one analysis, put together from the files that the analysis wrote.

Nothing is computed here: pictures are embedded as they lie in the folder, so that the page can
be made again at any time, with whatever there is.
"""

from pathlib import Path
from typing import Any

import numpy as np

from cryodrgn.analysis.live_views import ShownVolumes, live_views
from cryodrgn.analysis.report import HtmlReport, Illustration
from cryodrgn.analysis.state_page import add_states
from cryodrgn.analysis.volume_pictures import AXIS_NAMES
from cryodrgn.io.cryodrgn_pickle import load_pickles
from cryodrgn.io.text import read_yaml
from cryodrgn.progress import format_duration
from cryodrgn.rundir import AnalysisFiles, StateFiles, VolumeSeries

LATENT_PLOTS = {
    "z_hist": "Histogram of the latent; lines mark the volumes.",
    "z": "Latent of every particle in the order of the particle file, to see drifts.",
    "z_pca_hexbin": "Particles along the first two principal components.",
    "z_pca_marginals": "The same, a dot for every particle, with histograms.",
    "umap_hexbin": "UMAP of the latent space; long distances in it mean little.",
    "umap_marginals": "The same, a dot for every particle, with histograms.",
}
TRAINING_PLOTS = {
    "learning_curve": "Average loss of every epoch.",
    "convergence": "Particles kept out of training. Left: how much of their images' power is "
    "explained, and how much the maps of states change. Middle: how much better states that "
    "fit one half of an image explain its other half than those of other images do, with "
    "standard errors; without heterogeneity it is zero. Right: the error by shell. The dashed "
    "line is where training had converged.",
    "view_directions": "View directions of the particles. Volumes are smeared along directions "
    "that are missing.",
}
PATH_PLOTS = {
    "pca_traversal": "The volumes on the first two principal components.",
    "umap_traversal": "The volumes in the UMAP, each at its nearest particle.",
}
CLUSTER_PLOTS = {
    "particles_per_cluster": "Particles in every cluster.",
    "z_pca": "Clusters on the first two principal components.",
    "umap": "Clusters in the UMAP.",
}


def add_analysis(page: HtmlReport, files: AnalysisFiles) -> None:
    """Add all sections of an analysis to a page.

    Args:
        page: The page.
        files: What the analysis wrote.
    """
    record = read_yaml(files.record)
    series = record["series"]
    _add_live_views(page, files, record)
    folders = {"line": files.line} | {f.path.name: f for f in files.components()}
    for name, folder in folders.items():
        if name in series:
            _add_path(page, folder, series[name])
    page.heading("The latent space")
    page.figures(_existing(files.path, LATENT_PLOTS))
    if "clusters" in series:
        _add_clusters(page, files, series["clusters"])
    run = Path(record["run"]["latents"]).parent
    for folder in (run, run / "states"):
        add_states(page, StateFiles(folder))
    training = _existing(files.path, TRAINING_PLOTS)
    if training:
        page.heading("How it was trained")
        page.figures(training)
    _add_provenance(page, record)
    _add_next_steps(page, files, record)


def _add_live_views(page: HtmlReport, files: AnalysisFiles, record: dict[str, Any]) -> None:
    """Particles and volumes that one can turn; pictures below show the same."""
    shown, labels = [], None
    folders = {"line": files.line} | {f.path.name: f for f in files.components()}
    for name, described in record["series"].items():
        folder = folders.get(name)
        if name == "clusters":
            folder = files.clusters(described["count"])
            labels = folder.labels
        paths = {n: folder.volume(n) for n in described["captions"]} if folder else {}
        there = {n: path for n, path in paths.items() if path.is_file()}
        captions = [described["captions"][n] for n in there]
        shown.append(
            ShownVolumes(name=described["title"], paths=list(there.values()), captions=captions)
        )
    latents = Path(record["run"]["latents"])
    page.ready_made(live_views(latents, files.umap, labels, shown))


def _add_path(page: HtmlReport, folder: VolumeSeries, described: dict[str, Any]) -> None:
    page.heading(described["title"])
    page.paragraph(described["text"])
    look = described.get("look")
    if look is None:
        page.figures(_existing(folder.path, PATH_PLOTS))
        return
    page.figures(
        [
            Illustration(
                content=folder.film.read_bytes(),
                caption="The volumes one after another, forwards and back.",
            ),
            *_existing(folder.path, PATH_PLOTS),
        ]
    )
    page.paragraph(_look_in_words(look))
    page.gallery(_tiles(folder, described["captions"]))
    _add_differences(page, folder, len(described["captions"]))


def _add_clusters(page: HtmlReport, files: AnalysisFiles, described: dict[str, Any]) -> None:
    folder = files.clusters(described["count"])
    page.heading(described["title"])
    page.paragraph(described["text"])
    page.figures(_existing(folder.path, CLUSTER_PLOTS))
    if "look" in described:
        page.paragraph(_look_in_words(described["look"]))
        page.gallery(_tiles(folder, described["captions"]))
        _add_differences(page, folder, len(described["captions"]))


def _tiles(folder: VolumeSeries, captions: dict[int, str]) -> list[Illustration]:
    return [
        Illustration(content=folder.picture(number).read_bytes(), caption=caption)
        for number, caption in captions.items()
    ]


def _add_differences(page: HtmlReport, folder: VolumeSeries, count: int) -> None:
    if count < 2:
        return
    page.subheading("Differences between neighbours")
    page.paragraph(
        "Projections of the density that each volume gains (red) and loses (blue) relative to "
        "the one before."
    )
    page.gallery(
        [
            Illustration(
                content=folder.difference(number).read_bytes(),
                caption=f"{number + folder.offset + 1} − {number + folder.offset}",
            )
            for number in range(count - 1)
        ],
        small=True,
    )


def _look_in_words(look: dict[str, Any]) -> str:
    sign = (
        "The densities are negative and drawn with the other sign: the sign "
        "of the data may have to be inverted. "
        if look["sign"] < 0
        else ""
    )
    axis = AXIS_NAMES[look["axis"]]
    return (
        f"{sign}Every picture: above, the surface at level {look['level']:.4g} along {axis} "
        f"and from the side; below, the central slice and the projection along {axis}. Its "
        f"width is {look['width']:.0f} Å; level, grey values and scale are the same in all."
    )


def _add_provenance(page: HtmlReport, record: dict[str, Any]) -> None:
    page.heading("Provenance")
    page.table([(name, str(value)) for name, value in record["run"].items()])
    page.subheading("Inputs")
    inputs = record["inputs"]
    page.table(
        [(item["file"], item["size"], item["sha256"]) for item in inputs]
        or [("none of the files that the run names is in its place any more",)]
    )
    page.subheading("Commands")
    page.commands([line for line in record["commands"] if line])


def _add_next_steps(page: HtmlReport, files: AnalysisFiles, record: dict[str, Any]) -> None:
    page.heading("Where to go from here")
    run = record["run"]
    path = (
        f"cryodrgn direct_traversal {run['latents']} --anchors 0 1 -o path.txt, then "
        f"cryodrgn eval_vol {run['weights']} --zfile path.txt -o path"
    )
    in_3d = f"open {files.chimerax} in ChimeraX: all volumes, one level, a slider"
    page.table(
        [
            ("notebook", f"jupyter lab {files.notebook} selects particles and makes volumes"),
            *([("in 3-D", in_3d)] if files.chimerax.is_file() else []),
            ("a path of your own", path),
            ("the files", f"{files.path} holds every picture of this page, and the volumes"),
        ]
    )
    seconds = record.get("seconds")
    if seconds is not None:
        page.paragraph(f"The analysis took {format_duration(seconds)}.")


def _existing(folder: Path, plots: dict[str, str]) -> list[Illustration]:
    paths = {folder / f"{name}.png": caption for name, caption in plots.items()}
    return [
        Illustration(content=path.read_bytes(), caption=caption)
        for path, caption in paths.items()
        if path.is_file()
    ]


def cluster_captions(
    labels_path: Path, particles: np.ndarray, first: int = 0
) -> dict[int, str]:
    """Captions of the clusters' pictures: number of the volume, size and central particle.

    Args:
        labels_path: Cluster of every particle, from 0.
        particles: Central particle of each.
        first: Number of the first volume.
    """
    labels = load_pickles(labels_path)[0]
    sizes = np.bincount(labels, minlength=len(particles))
    return {
        number: (
            f"{number + first}: {size} particles ({size / len(labels):.0%}), at particle "
            f"{particle}"
        )
        for number, (size, particle) in enumerate(
            zip(sizes.tolist(), particles.tolist(), strict=True)
        )
    }
