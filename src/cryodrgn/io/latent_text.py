"""Points of a latent space as text, one per line, as ``eval_vol --zfile`` takes them."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from cryodrgn.errors import InputFileError
from cryodrgn.given_arrays import GivenArray, PathOrArray
from cryodrgn.io.atomic import atomic_path
from cryodrgn.io.cryodrgn_pickle import load_array
from cryodrgn.io.text import read_text


def save_latent_text(path: Path, latents: Float[np.ndarray, "points z"]) -> None:
    """Write points, with all digits of their numbers."""
    with atomic_path(path) as partial:
        np.savetxt(partial, latents.astype(np.float32), fmt="%.9g")


def load_latent_text(path: PathOrArray, latent_dim: int) -> Float[np.ndarray, "points z"]:
    """Read points.

    Args:
        path: The file, or the points as the rows of an array. A ``.npy`` or ``.pkl`` is read
            as an array.
        latent_dim: Numbers per point; line breaks of text are not looked at.

    Raises:
        InputFileError: The file cannot be read or holds something else.
    """
    if isinstance(path, GivenArray):
        return _given_points(path, latent_dim)
    if path.suffix in {".npy", ".pkl"}:
        return _given_points(GivenArray(load_array(path), str(path)), latent_dim)
    words = read_text(path).split()
    try:
        with np.errstate(over="ignore"):
            values = np.array(words, dtype=np.float32)
    except ValueError as error:
        msg = f"{path} cannot be read as z-values: {error}"
        raise InputFileError(msg) from error
    if len(values) == 0 or len(values) % latent_dim or not np.isfinite(values).all():
        msg = f"{path} holds {len(values)} numbers, not rows of {latent_dim}"
        raise InputFileError(msg)
    return values.reshape(-1, latent_dim)


def _given_points(given: GivenArray, latent_dim: int) -> Float[np.ndarray, "points z"]:
    with np.errstate(over="ignore"):
        points = np.atleast_2d(given.values).astype(np.float32)
    right = points.ndim == 2 and len(points) and points.shape[1] == latent_dim
    if not right or not np.isfinite(points).all():
        msg = (
            f"{given} must be z-values, rows of {latent_dim} finite numbers, got an array of "
            f"shape {given.values.shape} and type {given.values.dtype}"
        )
        raise InputFileError(msg)
    return points


def save_index_text(path: Path, indices: Int[np.ndarray, " rows"]) -> None:
    """Write row numbers, one per line."""
    with atomic_path(path) as partial:
        np.savetxt(partial, indices, fmt="%d")


def load_index_text(path: Path) -> Int[np.ndarray, " rows"] | Bool[np.ndarray, " rows"]:
    """Read row numbers, or booleans, apart by blanks, line breaks or commas.

    Whole numbers may be written as ``1.0e+00``, as ``numpy.savetxt`` does by itself.

    Raises:
        InputFileError: The file cannot be read or holds something else.
    """
    words = read_text(path).replace(",", " ").split()
    if words and set(words) <= {"True", "False"}:
        return np.array([word == "True" for word in words])
    try:
        return np.array([_whole_number(word) for word in words], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        msg = f"{path} cannot be read as a list of particle numbers: {error}"
        raise InputFileError(msg) from error


def _whole_number(word: str) -> int:
    """The number that a word names.

    Raises:
        ValueError: It names none, or a fraction.
        OverflowError: It is infinite.
    """
    try:
        return int(word)
    except ValueError:
        number = float(word)
        if int(number) != number:
            msg = f"{word} is no whole number"
            raise ValueError(msg) from None
        return int(number)
