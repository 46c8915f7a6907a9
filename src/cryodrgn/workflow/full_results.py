"""Results for all particles of a landscape, which go where they no longer hold."""

import logging

import numpy as np
from jaxtyping import Int

from cryodrgn.analysis.landscape import VolumeSpace
from cryodrgn.errors import InputFileError
from cryodrgn.io.cryodrgn_pickle import load_pickles
from cryodrgn.io.text import read_yaml
from cryodrgn.rundir import LandscapeFiles, LandscapeStates

logger = logging.getLogger(__name__)

CAPTIONS = {
    "particle_density": "How many particles there are in every place, on the first two "
    "components of the volumes and on the first alone. It is a density of particles as they "
    "were found, not an energy.",
    "volpca_landscape": "The same with finer bins, on a logarithmic scale.",
    "umap_vol_pca_hexbin": "A map of the components (UMAP); distances on it mean little.",
}


def remove_maps(files: LandscapeFiles) -> None:
    """Remove what follows from the coordinates of all particles, and may not be made anew."""
    plots = [files.plot(name) for name in CAPTIONS]
    for path in (files.density, files.communities, files.communities_map, files.umap, *plots):
        path.unlink(missing_ok=True)


def save_space(files: LandscapeFiles, space: VolumeSpace) -> None:
    """Write the components; results for all particles stay if they are along the same ones."""
    try:
        before = VolumeSpace.load(files.components).digest()
    except InputFileError:
        before = None
    space.save(files.components)
    if before == VolumeSpace.load(files.components).digest():
        return
    results = (files.all_coordinates, files.all_states, files.full_report)
    if any(path.is_file() for path in results):
        logger.warning(
            "what analyze_landscape_full wrote into %s is of an earlier landscape and is "
            "removed; run it again",
            files.path,
        )
    remove_maps(files)
    for path in results:
        path.unlink(missing_ok=True)


def remove_other_states(
    files: LandscapeFiles, folder: LandscapeStates, labels: Int[np.ndarray, " volumes"]
) -> None:
    """Remove the states of all particles, unless the sketch has the states that gave them.

    Args:
        files: The files of the landscape, its record still that of the earlier one.
        folder: The states that are going to be written.
        labels: The state of every volume of the sketch.
    """
    if not files.all_states.is_file():
        return
    if files.record.is_file() and folder.labels.is_file():
        is_named = read_yaml(files.record).get("states") == folder.path.name
        if is_named and np.array_equal(load_pickles(folder.labels)[0], labels):
            return
    files.all_states.unlink()
    logger.warning(
        "%s is removed, since the volumes are divided into other states now; "
        "analyze_landscape_full with `skip_volumes` writes it again",
        files.all_states,
    )
