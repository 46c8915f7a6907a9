"""The volumes of the states that a simulation mixes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from cryodrgn.errors import ConfigError, ShapeMismatchError
from cryodrgn.io.mrc import MrcFile, read_volume
from cryodrgn.simulation.density import (
    fitting_centre,
    model_densities,
    positions_of,
    read_models,
)
from cryodrgn.simulation.hinge import hinge_angles, hinge_models, hinge_positions
from cryodrgn.units import pixel_size_or_one

DEFAULT_BOX_SIZE = 64
DEFAULT_PIXEL_SIZE = 3.0
VOLUMES = frozenset({".mrc", ".map", ".ccp4"})


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class States:
    """Volumes of one box and pixel size.

    Attributes:
        volumes: One per state.
        pixel_size: Å/px.
        description: What else is known of them, for the record.
    """

    volumes: list[Float[np.ndarray, "box box box"]]
    pixel_size: float
    description: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class StatesSize:
    """Number and size of the volumes to be made.

    Attributes:
        count: Number of states.
        box_size: Side of the volumes in voxels.
        pixel_size: Å/px.
    """

    count: int
    box_size: int
    pixel_size: float


def hinge_size(
    count: int,
    range_deg: float,
    box_size: int = DEFAULT_BOX_SIZE,
    pixel_size: float = DEFAULT_PIXEL_SIZE,
) -> StatesSize:
    """Number and size of the volumes of :func:`hinge_states`, without making them.

    Raises:
        ConfigError: There are no states, or the box size is odd.
        InputFileError: The molecule does not fit into the box.
    """
    if count < 1:
        msg = f"the number of states must be at least 1, got {count}"
        raise ConfigError(msg)
    _require_even(box_size)
    fitting_centre(hinge_positions(hinge_angles(count, range_deg)), box_size, pixel_size)
    return StatesSize(count=count, box_size=box_size, pixel_size=pixel_size)


def size_of_files(
    paths: Sequence[Path], box_size: int | None = None, pixel_size: float | None = None
) -> StatesSize:
    """Number and size of the volumes of :func:`states_from_files`, without making them.

    Raises:
        ConfigError: Volumes and models are mixed, or the box size is odd or contradicted.
        ShapeMismatchError: Volumes differ in size.
        InputFileError: A file cannot be used.
    """
    are_volumes = [path.suffix in VOLUMES for path in paths]
    if any(are_volumes) != all(are_volumes):
        msg = "states must be all volumes or all atomic models, not some of each"
        raise ConfigError(msg)
    if not all(are_volumes):
        models = [model for path in paths for model in read_models(path)]
        size = StatesSize(
            count=len(models),
            box_size=box_size or DEFAULT_BOX_SIZE,
            pixel_size=pixel_size or DEFAULT_PIXEL_SIZE,
        )
        _require_even(size.box_size)
        places = [positions_of(model) for model in models]
        fitting_centre(places, size.box_size, size.pixel_size)
        return size
    headers = [MrcFile.open(path) for path in paths]
    sizes = sorted({header.shape[0] for header in headers})
    if len(sizes) > 1:
        msg = f"the volumes have different sizes: {' and '.join(map(str, sizes))} voxels"
        raise ShapeMismatchError(msg)
    if box_size not in {None, sizes[0]}:
        msg = f"`box_size` {box_size} contradicts the volumes, which have {sizes[0]} voxels"
        raise ConfigError(msg)
    _require_even(sizes[0])
    return StatesSize(
        count=len(paths),
        box_size=sizes[0],
        pixel_size=pixel_size_or_one(paths[0], pixel_size, headers[0].pixel_size),
    )


def hinge_states(
    count: int,
    range_deg: float,
    box_size: int = DEFAULT_BOX_SIZE,
    pixel_size: float = DEFAULT_PIXEL_SIZE,
    resolution: float | None = None,
) -> States:
    """The built-in molecule at equally spaced hinge angles.

    Args:
        count: Number of states.
        range_deg: From the first angle to the last, in degrees.
        box_size: Side of the volumes in voxels.
        pixel_size: Å/px.
        resolution: Nominal resolution in Å, twice the pixel size by default.

    Raises:
        ConfigError: There are no states, or the box size is odd.
    """
    hinge_size(count, range_deg, box_size, pixel_size)
    angles = hinge_angles(count, range_deg)
    volumes = model_densities(
        hinge_models(angles), box_size, pixel_size, resolution or 2 * pixel_size
    )
    degrees = [round(float(np.rad2deg(angle)), 6) for angle in angles]
    return States(
        volumes=volumes,
        pixel_size=pixel_size,
        description={"molecule": "hinge", "hinge_angles_deg": degrees},
    )


def states_from_files(
    paths: Sequence[Path],
    box_size: int | None = None,
    pixel_size: float | None = None,
    resolution: float | None = None,
) -> States:
    """One state per volume file or atomic model.

    A PDB or mmCIF file of several models gives a state for each.

    Args:
        paths: Either all ``.mrc`` or all PDB/mmCIF files.
        box_size: Side of the volumes in voxels; volumes of a file must have it.
        pixel_size: Å/px; takes the place of what volume files say.
        resolution: Nominal resolution of atomic models in Å, twice the pixel size by default.

    Raises:
        ConfigError: Volumes and models are mixed, or the box size is odd or contradicted.
        ShapeMismatchError: Volumes differ in size.
        InputFileError: A file cannot be used.
    """
    size = size_of_files(paths, box_size, pixel_size)
    description = {"states": [str(path) for path in paths]}
    if paths[0].suffix in VOLUMES:
        volumes = [read_volume(path)[0] for path in paths]
    else:
        models = [model for path in paths for model in read_models(path)]
        nominal = resolution or 2 * size.pixel_size
        volumes = model_densities(models, size.box_size, size.pixel_size, nominal)
    return States(volumes=volumes, pixel_size=size.pixel_size, description=description)


def _require_even(box_size: int) -> None:
    if box_size % 2 or box_size < 4:
        msg = f"the box size must be an even number of at least 4 pixels, got {box_size}"
        raise ConfigError(msg)
