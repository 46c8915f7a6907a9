"""Densities of atomic models."""

import math
from collections.abc import Sequence
from pathlib import Path

import gemmi
import numpy as np
from jaxtyping import Float

from cryodrgn.errors import InputFileError
from cryodrgn.io.text import require_file

# Width of the blur for a nominal resolution, as in ChimeraX's molmap: 1 / (π √2).
BLUR_PER_RESOLUTION = 1 / (math.pi * math.sqrt(2))


def read_models(path: Path) -> list[gemmi.Model]:
    """The models of a PDB or mmCIF file, without waters.

    Raises:
        InputFileError: The file cannot be read or holds no atoms.
    """
    require_file(path)
    try:
        structure = gemmi.read_structure(str(path))
    except (OSError, RuntimeError, ValueError) as error:
        msg = f"{path} cannot be read as a PDB or mmCIF file: {error}"
        raise InputFileError(msg) from error
    structure.setup_entities()
    structure.remove_waters()
    structure.remove_empty_chains()
    models = [model for model in structure if model.count_atom_sites()]
    if not models:
        msg = f"{path} holds no atoms"
        raise InputFileError(msg)
    return models


def model_densities(
    models: Sequence[gemmi.Model],
    box_size: int,
    pixel_size: float,
    resolution: float,
    *,
    on_first: bool = False,
) -> list[Float[np.ndarray, "box box box"]]:
    """Electrostatic potential of atomic models on a grid.

    Electron scattering factors (gemmi), every atom blurred by a Gaussian of
    σ = resolution / (π √2), B factors of the file ignored. The models keep their places
    relative to one another; together they are centred on their common centre of mass, or on
    that of the first.

    Args:
        models: Models with atoms.
        box_size: Side of the volumes in voxels.
        pixel_size: Å/px.
        resolution: Nominal resolution in Å.
        on_first: Whether the first model is centred, wherever the others are.

    Raises:
        InputFileError: The models do not fit into the box.
    """
    places = [positions_of(model) for model in models]
    centre = fitting_centre(places, box_size, pixel_size, on_first=on_first)
    return [_density(model, centre, box_size, pixel_size, resolution) for model in models]


def fitting_centre(
    models: Sequence[Float[np.ndarray, "_ 3"]],
    box_size: int,
    pixel_size: float,
    *,
    on_first: bool = False,
) -> Float[np.ndarray, " 3"]:
    """Common centre of mass of models, or that of the first, around which all fit into a box.

    Args:
        models: Positions of the atoms of every model in Å.
        box_size: Side of the box in voxels.
        pixel_size: Å/px.
        on_first: Whether the centre is that of the first model.

    Raises:
        InputFileError: They do not fit.
    """
    centred = models[:1] if on_first else models
    centre = np.mean([places.mean(0) for places in centred], axis=0)
    extent = max(np.linalg.norm(places - centre, axis=1).max() for places in models)
    side = box_size * pixel_size
    if 2 * extent > side:
        msg = (
            f"the molecule is {2 * extent:.0f} Å across, but the box only {side:.0f} Å "
            f"({box_size} px of {pixel_size:g} Å); enlarge `box_size` or `pixel_size`"
        )
        raise InputFileError(msg)
    return centre


def _density(
    model: gemmi.Model,
    centre: Float[np.ndarray, " 3"],
    box_size: int,
    pixel_size: float,
    resolution: float,
) -> Float[np.ndarray, "box box box"]:
    side = box_size * pixel_size
    # The origin of our volumes is the voxel at half the box, that of gemmi's cell its corner.
    move = gemmi.Transform()
    move.vec.fromlist((side / 2 - centre).tolist())
    placed = model.clone()
    placed.transform_pos_and_adp(move)
    for site in placed.all():
        site.atom.b_iso = 0.0
        site.atom.aniso = gemmi.SMat33f(0, 0, 0, 0, 0, 0)

    calculator = gemmi.DensityCalculatorE()
    calculator.d_min = 2 * pixel_size
    calculator.blur = 8 * math.pi**2 * (BLUR_PER_RESOLUTION * resolution) ** 2
    calculator.grid.set_unit_cell(gemmi.UnitCell(side, side, side, 90, 90, 90))
    calculator.grid.set_size(box_size, box_size, box_size)
    calculator.add_model_density_to_grid(placed)
    # gemmi indexes its grid (x, y, z).
    return np.ascontiguousarray(np.array(calculator.grid).transpose(2, 1, 0), dtype=np.float32)


def positions_of(model: gemmi.Model) -> Float[np.ndarray, "atoms 3"]:
    """Positions of the atoms of a model in Å."""
    return np.array([site.atom.pos.tolist() for site in model.all()])
