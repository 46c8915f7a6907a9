"""Agreement of a latent space with a known truth: linear R², rank correlation, clusters."""

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from cryodrgn.analysis.pca import principal_components


def first_component(
    latent: Float[np.ndarray, "particles z"],
) -> Float[np.ndarray, " particles"]:
    """Coordinate of every particle along the direction in which the latents vary most."""
    return principal_components(latent, 1).project(latent)[:, 0]


def rank_correlation(
    latent: Float[np.ndarray, "particles z"], truth: Float[np.ndarray, " particles"]
) -> float:
    """Spearman's rank correlation of a latent's first component and the truth, without sign."""
    ranks = [rankdata(values) for values in (first_component(latent), truth)]
    return abs(float(np.corrcoef(*ranks)[0, 1]))
