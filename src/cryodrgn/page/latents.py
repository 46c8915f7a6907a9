"""Latents as the page places, groups and moves particles by them.

A training that diverged leaves latents that are no numbers; particles that have such are left
out of whatever is computed of all, and named.
"""

import numpy as np
from jaxtyping import Bool, Float

from cryodrgn.analysis.clusters import cluster_by_means
from cryodrgn.analysis.pca import PrincipalComponents, principal_components
from cryodrgn.errors import InputFileError
from cryodrgn.page.columns import MOST_COMPONENTS, Column, Makers

MOST_CLUSTERS = 100
# Fitting k-means to a sample is as good for looking, and answers a million at once.
MOST_FITTED = 50_000
# Latents beyond have squares that single precision cannot hold.
LARGEST_LATENT = 1e15

Latents = Float[np.ndarray, "particles z"]


def have_places(latents: Latents) -> Bool[np.ndarray, " particles"]:
    """True for particles whose latents are numbers that one can compute with."""
    return np.asarray((np.abs(latents) < LARGEST_LATENT).all(1))


def placed(latents: Latents) -> Latents:
    """Latents of the particles that have a place.

    Raises:
        InputFileError: None has one.
    """
    has_place = have_places(latents)
    if has_place.all():
        return latents
    if not has_place.any():
        msg = (
            "no latent of this epoch is a number: the training had diverged by then; look at "
            "an earlier epoch"
        )
        raise InputFileError(msg)
    return latents[has_place]


def components_of(latents: Latents) -> PrincipalComponents:
    """Principal components of the particles that have a place."""
    return principal_components(placed(latents))


def latent_columns(latents: Latents) -> Makers:
    """The latent's dimensions and its principal components."""
    dim = latents.shape[1]
    found: Makers = {f"z{i + 1}": lambda i=i: Column(values=latents[:, i]) for i in range(dim)}
    if dim < 2 or have_places(latents).sum() < 2:
        return found
    components = principal_components(placed(latents), min(dim, MOST_COMPONENTS))
    centre = components.mean.astype(np.float32)

    def along(number: int) -> Column:
        direction = components.directions[number].astype(np.float32)
        with np.errstate(all="ignore"):
            return Column(values=latents @ direction - float(centre @ direction))

    for number in range(len(components)):
        found[f"PC{number + 1}"] = lambda number=number: along(number)
    return found


def cluster_column(latents: Latents, number: str) -> Column:
    """K-means clusters made for the page; of many particles a sample is fitted.

    Args:
        latents: All particles.
        number: How many clusters, as text.

    Raises:
        InputFileError: That is no number of clusters, or no particle has a place.
    """
    if not (number.isdecimal() and len(number) < 9) or not 2 <= int(number) <= MOST_CLUSTERS:
        msg = f"give a number of clusters from 2 to {MOST_CLUSTERS}, got {number[:20]!r}"
        raise InputFileError(msg)
    points = placed(latents)
    step = -(-len(points) // MOST_FITTED)
    found = cluster_by_means(points[::step], min(int(number), len(points[::step])))
    labels = found.labels
    if step > 1:
        means = found.means(points[::step])
        norms = np.square(means).sum(1)
        parts = np.array_split(points, -(-len(points) // MOST_FITTED))
        labels = np.concatenate([(norms - 2 * p @ means.T).argmin(1) for p in parts])
    values = np.full(len(latents), np.nan, dtype=np.float32)
    values[have_places(latents)] = labels
    return Column(values=values, names=tuple(map(str, range(len(found.particles)))))
