"""How well a latent space agrees with a known truth."""

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata


def first_component(
    latent: Float[np.ndarray, "particles z"],
) -> Float[np.ndarray, " particles"]:
    """Coordinate of every particle along the direction in which the latents vary most."""
    centred = latent - latent.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    return centred @ directions[0]


def rank_correlation(
    latent: Float[np.ndarray, "particles z"], truth: Float[np.ndarray, " particles"]
) -> float:
    """Spearman's rank correlation of a latent's first component and the truth, without sign."""
    ranks = [rankdata(values) for values in (first_component(latent), truth)]
    return abs(float(np.corrcoef(*ranks)[0, 1]))
