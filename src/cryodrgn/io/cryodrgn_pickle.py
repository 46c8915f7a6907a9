"""The pickle files by which cryoDRGN passes poses, CTF, latents and indices between commands.

Pickles can run any code when they are loaded. The reader here admits numpy arrays and plain
containers and refuses everything else; all files are written from this module alone.
"""

import logging
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.errors import InputFileError, MetadataError
from cryodrgn.given_arrays import GivenArray, PathOrArray
from cryodrgn.io.arrays import read_npy
from cryodrgn.io.atomic import atomic_path
from cryodrgn.io.plain_pickle import plain_objects
from cryodrgn.io.recognise import PICKLE, unreadable
from cryodrgn.io.text import read_bytes
from cryodrgn.particles.optics import CtfTable
from cryodrgn.particles.poses import Poses

logger = logging.getLogger(__name__)

# Python 3.7 reads up to 4; the environments of cryoDRGN 0.2 have it.
PROTOCOL = 4
# Of nested lists of numbers.
MOST_DIMENSIONS = 4
# Shapes of arrays that a message tells.
SHAPES_SHOWN = 4

CTF_COLUMNS = (
    "box_size",
    "pixel_size",
    "defocus_u",
    "defocus_v",
    "defocus_angle_deg",
    "voltage_kv",
    "spherical_aberration_mm",
    "amplitude_contrast",
    "phase_shift_deg",
)


def load_pickles(path: Path) -> list[Any]:
    """All objects of a pickle file, of which it may hold several in a row.

    Raises:
        InputFileError: The file is missing, is no pickle, is cut short, or asks for anything
            but numpy arrays and plain containers.
    """
    content = read_bytes(path)
    try:
        objects = plain_objects(content)
    except Exception as error:
        # A damaged pickle makes the interpreter raise nearly anything; a byte that is no
        # instruction is all that a KeyError says.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if isinstance(error, KeyError):
            reason = "it holds something else"
        msg = f"{path} cannot be read as a pickle of numpy arrays: {reason}"
        raise InputFileError(unreadable(path, PICKLE, msg)) from error
    if not objects:
        msg = f"{path} is empty"
        raise InputFileError(msg)
    return objects


def load_array(path: PathOrArray) -> np.ndarray:
    """An array of numbers: given, the content of a ``.npy``, or the first object of a pickle.

    Raises:
        InputFileError: The file cannot be read or holds something else.
    """
    if isinstance(path, GivenArray):
        return path.values
    if path.suffix == ".npy":
        return read_npy(path)
    return as_array(load_pickles(path)[0], path)


def as_array(item: Any, path: Path) -> np.ndarray:
    """An array out of an array, a number, or lists of numbers.

    Args:
        item: What a pickle holds.
        path: The pickle, for messages.

    Raises:
        InputFileError: There are things other than numbers, or more of them than fit into the
            file, as when lists hold one another many times.
    """
    if not isinstance(item, np.ndarray):
        _count_numbers(item, path, path.stat().st_size, depth=0)
        try:
            item = np.asarray(item)
        except (ValueError, OverflowError) as error:
            found = "rows of different length"
            shapes = [part.shape for part in item if isinstance(part, np.ndarray)]
            if len(shapes) == len(item):
                shown = ", ".join(map(str, shapes[:SHAPES_SHOWN]))
                found = f"arrays of the shapes {shown}, expected one array"
            if [shape[1:] for shape in shapes] == [(3, 3), (2,)]:
                found += ": they are rotations and shifts, a file for `poses`"
            msg = f"{path} holds {found}"
            raise InputFileError(msg) from error
    if item.dtype.kind not in "biuf":
        msg = f"{path} holds no numbers, but an array of type {item.dtype}"
        raise InputFileError(msg)
    return item


def _count_numbers(item: Any, path: Path, most: int, *, depth: int) -> int:
    """Count of the numbers in nested lists; there cannot be more than bytes."""
    if isinstance(item, int | float | np.number | np.bool_):
        return 1
    if isinstance(item, np.ndarray):
        count = item.size
    elif isinstance(item, list | tuple) and depth < MOST_DIMENSIONS:
        count = 0
        for part in item:
            count += _count_numbers(part, path, most - count, depth=depth + 1)
    else:
        msg = f"{path} holds no array of numbers, but {type(item).__name__}"
        raise InputFileError(msg)
    if count > most:
        msg = f"{path} holds lists that repeat one another without end"
        raise InputFileError(msg)
    return count


def single_precision(array: np.ndarray) -> Float[np.ndarray, "..."]:
    """Numbers as float32; those beyond its range become infinite, which tables refuse."""
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


# The one written in Python: that in C does not let a class choose how names are written.
_PythonPickler: Any = vars(pickle)["_Pickler"]


class _Pickler(_PythonPickler):
    """Writes arrays under names that numpy 1 and numpy 2 both know.

    numpy 2 calls ``numpy._core`` what numpy 1 calls ``numpy.core``, and still reads the latter.
    """

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module = getattr(obj, "__module__", None) or ""
        if not module.startswith("numpy._core"):
            super().save_global(obj, name)
            return
        add = self.save  # to the pickle, not to a file
        add(module.replace("numpy._core", "numpy.core"))
        add(name or obj.__qualname__)
        self.write(pickle.STACK_GLOBAL)
        self.memoize(obj)


def save_pickles(path: Path, objects: Sequence[Any]) -> None:
    """Write objects one after another into a new file."""
    with atomic_path(path) as partial, partial.open("wb") as file:
        for item in objects:
            _Pickler(file, PROTOCOL).dump(item)


def load_poses(
    path: Path,
) -> tuple[Float[np.ndarray, "particles 3 3"], Float[np.ndarray, "particles 2"]]:
    """Rotations and shifts of a ``poses.pkl``.

    Args:
        path: A pickle of ``(rotations, shifts)``, or of rotations alone.

    Returns:
        The matrices, and the shifts (x, y) as fractions of the box.

    Raises:
        InputFileError: The file cannot be read or holds something else.
        MetadataError: The shifts are no fractions.
    """
    content = load_pickles(path)[0]
    if _is_ctf(content):
        msg = f"{path} holds CTF parameters (N, 9), expected poses: it is a file for `ctf`"
        raise InputFileError(msg)
    parts = content if isinstance(content, tuple | list) and len(content) < 3 else (content,)
    arrays = [as_array(part, path) for part in parts]
    count = len(arrays[0]) if arrays and arrays[0].ndim else 0
    has_shifts = len(arrays) > 1
    if not has_shifts:
        arrays.append(np.zeros((count, 2)))
    shapes = [array.shape for array in arrays]
    if shapes != [(count, 3, 3), (count, 2)]:
        msg = f"{path} holds no poses: expected arrays (N, 3, 3) and (N, 2), found {shapes}"
        raise InputFileError(msg)
    if not has_shifts:
        logger.warning("%s holds rotations and no shifts: taken as 0", path)
    rotations, fractions = (single_precision(array) for array in arrays)
    largest = np.abs(fractions).max(initial=0)
    if largest > 1:
        msg = (
            f"{path}: shifts must be fractions of the box, but the largest is {largest:.2f}; "
            "they seem to be in pixels, parse the poses again"
        )
        raise MetadataError(msg)
    return rotations, fractions


def _is_ctf(content: Any) -> bool:
    """True for columns of CTF parameters; box sizes stand where matrices have a cosine."""
    if not isinstance(content, np.ndarray) or content.shape[1:] != (len(CTF_COLUMNS),):
        return False
    return content.dtype.kind == "f" and bool((content[:, 0] > 1).all())


def save_poses(path: Path, poses: Poses, side_lengths: Float[np.ndarray, "#particles"]) -> None:
    """Write a ``poses.pkl``.

    Args:
        path: The file to write.
        poses: Poses with shifts in Å.
        side_lengths: Side of each particle's image in Å, or one for all.
    """
    fractions = (poses.shifts / side_lengths[:, None]).astype(np.float32)
    save_pickles(path, [(poses.rotations.astype(np.float32), fractions)])


def load_ctf(path: Path) -> tuple[CtfTable, Float[np.ndarray, " particles"]]:
    """CTF parameters of a ``ctf.pkl``.

    Args:
        path: A pickle of an array of nine columns, see :data:`CTF_COLUMNS`.

    Returns:
        The parameters, and the side of each image in Å (box size × pixel size), which stays
        the same when images are downsampled.

    Raises:
        InputFileError: The file cannot be read or holds something else.
        MetadataError: A value is not finite or out of range.
    """
    array = load_array(path)
    if array.ndim != 2 or array.shape[1] != len(CTF_COLUMNS):
        msg = f"{path} holds no CTF parameters: expected an array (N, 9), found {array.shape}"
        raise InputFileError(msg)
    columns: dict[str, np.ndarray] = dict(
        zip(CTF_COLUMNS, single_precision(array).T, strict=True)
    )
    with np.errstate(over="ignore"):
        side_lengths = columns.pop("box_size") * columns.pop("pixel_size")
    if not (np.isfinite(side_lengths) & (side_lengths > 0)).all():
        msg = f"{path}: box size and pixel size must be positive in every row"
        raise MetadataError(msg)
    for name in ("defocus_angle", "phase_shift"):
        columns[name] = np.deg2rad(columns.pop(f"{name}_deg"))
    return CtfTable(**columns, source=str(path)), side_lengths


def save_ctf(
    path: Path,
    ctf: CtfTable,
    box_size: int | Int[np.ndarray, " particles"],
    pixel_sizes: Float[np.ndarray, "#particles"],
) -> None:
    """Write a ``ctf.pkl``.

    Args:
        path: The file to write.
        ctf: The parameters.
        box_size: Side of the images in pixels, of each or one for all.
        pixel_sizes: Å/px of each image, or one for all.
    """
    columns: dict[str, np.ndarray] = dict(ctf.columns())
    for name in ("defocus_angle", "phase_shift"):
        columns[f"{name}_deg"] = np.rad2deg(columns.pop(name))
    columns["box_size"] = np.broadcast_to(box_size, len(ctf))
    columns["pixel_size"] = np.broadcast_to(pixel_sizes, len(ctf))
    array = np.stack([columns[name] for name in CTF_COLUMNS], axis=1)
    save_pickles(path, [array.astype(np.float32)])


def load_labels(path: PathOrArray) -> Int[np.ndarray, " particles"]:
    """Cluster numbers of a ``labels.pkl``, of a ``labels.npy``, or of an array.

    Raises:
        InputFileError: The file cannot be read or holds something else.
    """
    array = load_array(path)
    # No cluster has a number that large; NaN compares as false.
    if array.ndim != 1 or not ((array == np.round(array)) & (np.abs(array) < 2**31)).all():
        msg = (
            f"{path} holds no labels: expected one whole number per particle, found shape "
            f"{array.shape} of type {array.dtype}"
        )
        raise InputFileError(msg)
    return array.astype(np.int64)


def load_shifts(path: Path) -> Float[np.ndarray, "particles 2"]:
    """Shifts (x, y) as fractions of the box, of a pickle of shifts alone or of poses.

    Raises:
        InputFileError: The file cannot be read or holds something else.
        MetadataError: The shifts are no fractions.
    """
    content = load_pickles(path)[0]
    if isinstance(content, np.ndarray) and content.ndim == 2 and content.shape[1] == 2:
        return single_precision(as_array(content, path))
    return load_poses(path)[1]


def save_latents(
    path: Path,
    mean: Float[np.ndarray, "particles latent"],
    log_variance: Float[np.ndarray, "particles latent"],
) -> None:
    """Write a ``z.pkl``: the mean and behind it the log-variance, two pickles in one file."""
    save_pickles(path, [mean.astype(np.float32), log_variance.astype(np.float32)])


def load_latents(path: PathOrArray) -> Float[np.ndarray, "particles latent"]:
    """Latent means of a ``z.pkl``, or of an array.

    Raises:
        InputFileError: The file cannot be read or holds something else.
    """
    array = load_array(path)
    if array.ndim != 2:
        msg = f"{path} holds no latents: expected an array (N, zdim), found {array.shape}"
        raise InputFileError(msg)
    return single_precision(array)
