"""Particle tables in the layouts of RELION 3.1 and 3.0."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.geometry.conventions import relion_angles_from_matrices
from cryodrgn.io.relion import MAGNIFICATION
from cryodrgn.io.relion_optics import B_FACTOR, CORRECTED, EVEN, ODD, SCALE
from cryodrgn.io.star import write_star
from cryodrgn.particles.optics import CORRECTIONS, CtfTable
from cryodrgn.particles.poses import Poses

Columns = dict[str, Sequence[object]]


def write_particle_star(
    path: Path,
    image_names: Sequence[str],
    *,
    box_size: int | Int[np.ndarray, " particles"],
    pixel_sizes: Float[np.ndarray, " particles"],
    poses: Poses | None = None,
    ctf: CtfTable | None = None,
    b_factors: Float[np.ndarray, " particles"] | None = None,
    scales: Float[np.ndarray, " particles"] | None = None,
    magnifications: Float[np.ndarray, "particles 2 2"] | None = None,
    more: Mapping[str, Sequence[object]] | None = None,
    relion30: bool = False,
) -> None:
    """Write particles as RELION lists them.

    Particles of the same pixel size, box and microscope form an optics group. RELION 3.0 knows
    no optics groups: everything then stands in every row, shifts in pixels.

    Args:
        path: The file to write.
        image_names: ``NUMBER@STACK`` of every particle.
        box_size: Side of the images in pixels, of each or one for all.
        pixel_sizes: Å/px of every image.
        poses: Poses, if any are known.
        ctf: CTF parameters, if any are known, with aberrations and the state of the images.
        b_factors: B of every image in Å², if any is known.
        scales: Factor of every image, if any is known.
        magnifications: Matrices of the magnification, if there is any.
        more: Further columns by name, without underscore.
        relion30: Whether to write the layout of RELION 3.0.
    """
    per_particle = _optics_columns(pixel_sizes, ctf, magnifications)
    sizes = np.broadcast_to(box_size, len(image_names))
    terms = {} if ctf is None else ctf.optional_columns()
    values = [*per_particle.values(), *terms.values(), sizes]
    table = np.column_stack(values).astype(np.float32)
    unique, first, groups = np.unique(table, axis=0, return_index=True, return_inverse=True)
    columns: Columns = {"rlnImageName": list(image_names)}
    if not relion30:
        columns["rlnOpticsGroup"] = (groups.reshape(-1) + 1).tolist()
    columns |= _pose_columns(poses, pixel_sizes, in_pixels=relion30) | _defocus_columns(ctf)
    weakening = {B_FACTOR: b_factors, SCALE: scales}
    columns |= {
        name: values.tolist() for name, values in weakening.items() if values is not None
    }
    columns |= dict(more or {})
    if relion30:
        columns |= {name: values.tolist() for name, values in per_particle.items()}
        columns |= _term_columns(terms)
        columns["rlnImageSize"] = sizes.tolist()
        write_star(path, {"": columns}, version=None)
        return
    optics = _optics_table(list(per_particle), unique)
    optics |= _term_columns({name: values[first] for name, values in terms.items()})
    optics["rlnImageSize"] = unique[:, -1].astype(np.int64).tolist()
    optics["rlnImageDimensionality"] = [2] * len(unique)
    write_star(path, {"optics": optics, "particles": columns})


def _optics_table(names: list[str], unique: Float[np.ndarray, "groups values"]) -> Columns:
    """Numbers, names and values of optics groups."""
    numbers = range(1, len(unique) + 1)
    table: Columns = {
        "rlnOpticsGroup": list(numbers),
        "rlnOpticsGroupName": [f"opticsGroup{number}" for number in numbers],
    }
    columns = zip(names, unique.T, strict=False)
    return table | {name: column.tolist() for name, column in columns}


def _optics_columns(
    pixel_sizes: Float[np.ndarray, " particles"],
    ctf: CtfTable | None,
    magnifications: Float[np.ndarray, "particles 2 2"] | None,
) -> dict[str, np.ndarray]:
    """Values of every particle that those of an optics group have in common."""
    found = {"rlnImagePixelSize": np.asarray(pixel_sizes, dtype=np.float64)}
    if ctf is not None:
        found |= {
            "rlnVoltage": ctf.voltage_kv,
            "rlnSphericalAberration": ctf.spherical_aberration_mm,
            "rlnAmplitudeContrast": ctf.amplitude_contrast,
        }
    if magnifications is not None:
        entries = magnifications.reshape(-1, 4).T
        found |= dict(zip(MAGNIFICATION, entries, strict=True))
    return found


def _term_columns(terms: Mapping[str, np.ndarray]) -> Columns:
    """Aberrations and the state of images as RELION writes them."""
    found: Columns = {}
    for name, title in {"odd_zernike": ODD, "even_zernike": EVEN}.items():
        if name in terms:
            rows = terms[name].tolist()
            found[title] = [f"[{','.join(f'{value:.9g}' for value in row)}]" for row in rows]
    if "correction" in terms:
        for title, state in CORRECTED.items():
            is_so = terms["correction"] == CORRECTIONS[state]
            if is_so.any():
                found[title] = is_so.astype(int).tolist()
    return found


def _pose_columns(
    poses: Poses | None, pixel_sizes: Float[np.ndarray, " particles"], *, in_pixels: bool
) -> Columns:
    if poses is None:
        return {}
    angles = relion_angles_from_matrices(poses.rotations)
    shifts = poses.shifts / pixel_sizes[:, None] if in_pixels else poses.shifts
    ending = "" if in_pixels else "Angst"
    return {
        "rlnAngleRot": angles[:, 0].tolist(),
        "rlnAngleTilt": angles[:, 1].tolist(),
        "rlnAnglePsi": angles[:, 2].tolist(),
        f"rlnOriginX{ending}": shifts[:, 0].tolist(),
        f"rlnOriginY{ending}": shifts[:, 1].tolist(),
    }


def _defocus_columns(ctf: CtfTable | None) -> Columns:
    if ctf is None:
        return {}
    return {
        "rlnDefocusU": ctf.defocus_u.tolist(),
        "rlnDefocusV": ctf.defocus_v.tolist(),
        "rlnDefocusAngle": np.rad2deg(ctf.defocus_angle).tolist(),
        "rlnPhaseShift": np.rad2deg(ctf.phase_shift).tolist(),
    }
