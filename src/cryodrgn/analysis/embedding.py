"""Embeddings of the latent space in two dimensions (UMAP, t-SNE).

UMAP: McInnes et al. 2018; t-SNE: van der Maaten & Hinton 2008.
"""

import functools
import importlib
import logging
import os
import warnings
from contextlib import suppress
from operator import attrgetter
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float

from cryodrgn.errors import ConfigError, MissingDependencyError
from cryodrgn.progress import Progress, bar_options

try:
    from sklearn.manifold import TSNE
except ImportError as error:
    message = "maps need scikit-learn; install it with: pip install 'cryodrgn[analysis]'"
    raise MissingDependencyError(message) from error

logger = logging.getLogger(__name__)

FITTED_AT_MOST = 100_000
TRANSFORMED_AT_A_TIME = 10_000
FEWEST = 4


def umap_library() -> Any:
    """The module ``umap``, which takes seconds to load and warns of what it does not need.

    Raises:
        MissingDependencyError: It is not installed.
    """
    # It otherwise asks TensorFlow for itself, which prints.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            library = importlib.import_module("umap")
    except ImportError as error:
        msg = "UMAP needs umap-learn; install it with: pip install 'cryodrgn[analysis]'"
        raise MissingDependencyError(msg) from error
    _keep_compiled(library)
    return library


@functools.cache
def _keep_compiled(library: ModuleType) -> None:
    """Let the next process find what numba compiles for UMAP, which takes 15 s."""
    slow = ("utils.fast_knn_indices", "umap_.smooth_knn_dist")
    for name in (*slow, "umap_.compute_membership_strengths"):
        # Not where numba is told to compile nothing, nor where no folder can be written.
        with suppress(AttributeError, RuntimeError):
            attrgetter(name)(library).enable_caching()


def umap_embedding(
    latents: Float[np.ndarray, "particles z"],
    seed: int = 0,
    *,
    fitted_at_most: int = FITTED_AT_MOST,
    num_neighbours: int = 15,
) -> Float[np.ndarray, "particles 2"]:
    """Embed particles in the plane; the same seed gives the same map.

    A random subset is embedded where there are many particles, and the others are then placed
    among it.

    Args:
        latents: The particles.
        seed: Of all random numbers.
        fitted_at_most: Size of the subset.
        num_neighbours: Neighbours whose distances are to be kept.

    Raises:
        CryodrgnError: There are too few particles, or the library is missing.
    """
    if len(latents) < FEWEST:
        msg = f"UMAP needs at least {FEWEST} particles, got {len(latents)}"
        raise ConfigError(msg)
    umap = umap_library()
    rows = np.arange(len(latents))
    if len(latents) > fitted_at_most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, fitted_at_most, replace=False))
    logger.info("embedding %d particles with UMAP", len(rows))
    reducer = umap.UMAP(
        n_neighbors=min(num_neighbours, len(rows) - 1),
        random_state=seed,
        n_jobs=1,
        tqdm_kwds={**bar_options("embedding", "epochs"), "disable": False},
    )
    embedding = np.empty((len(latents), 2), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        embedding[rows] = reducer.fit_transform(latents[rows])
    reducer.tqdm_kwds["disable"] = True
    others = np.setdiff1d(np.arange(len(latents)), rows, assume_unique=True)
    with (
        warnings.catch_warnings(),
        Progress(len(others), "placing the others", "particle") as progress,
    ):
        warnings.simplefilter("ignore")
        for start in range(0, len(others), TRANSFORMED_AT_A_TIME):
            part = others[start : start + TRANSFORMED_AT_A_TIME]
            embedding[part] = reducer.transform(latents[part])
            progress.advance(len(part))
    return embedding


def tsne_embedding(
    latents: Float[np.ndarray, "particles z"], perplexity: float, seed: int = 0
) -> Float[np.ndarray, "particles 2"]:
    """Embed particles in the plane by t-SNE; the same seed gives the same map.

    Args:
        latents: The particles.
        perplexity: About how many neighbours count; at most a third of the particles do.
        seed: Of all random numbers.

    Raises:
        ConfigError: There are too few particles, or the perplexity is not positive.
    """
    if len(latents) < FEWEST:
        msg = f"t-SNE needs at least {FEWEST} particles, got {len(latents)}"
        raise ConfigError(msg)
    if not perplexity > 0:
        msg = f"`perplexity` must be positive, got {perplexity}"
        raise ConfigError(msg)
    most = (len(latents) - 1) / 3
    if perplexity > most:
        logger.info(
            "perplexity %g is more than a third of the particles, so %g", perplexity, most
        )
    reducer = TSNE(perplexity=min(perplexity, most), random_state=seed, init="pca", n_jobs=1)
    return reducer.fit_transform(latents).astype(np.float32)
