"""Shaded pictures of iso-surfaces: marching cubes and a small rasteriser.

Vertices and directions are (x, y, z). A picture looks along −w of a frame (u, v, w), given by
the rows of a rotation matrix: u points right, v up, w towards the viewer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from cryodrgn.errors import MissingDependencyError
from cryodrgn.fourier.transforms import centred_fft, centred_ifft

try:
    from skimage.measure import marching_cubes
except ImportError as error:
    message = "surfaces need scikit-image; install it with: pip install 'cryodrgn[analysis]'"
    raise MissingDependencyError(message) from error

RESAMPLED_SIDE = 96
SUPERSAMPLING = 2
LIGHT = np.array([0.35, 0.5, 0.8]) / np.linalg.norm([0.35, 0.5, 0.8])
AMBIENT = 0.35
BACKGROUND = (255, 255, 255)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Surface:
    """A triangulated surface.

    Attributes:
        vertices: Positions about the centre of the volume, as fractions of its side.
        normals: Unit vectors outwards, one per vertex.
        faces: Vertices of every triangle.
    """

    vertices: Float[np.ndarray, "vertices 3"]
    normals: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]


def iso_surface(volume: Float[np.ndarray, "box box box"], level: float) -> Surface:
    """The surface on which a volume has some value; empty where the volume never has it.

    The volume is first interpolated in Fourier space to a side that looks smooth.

    Args:
        volume: Densities; what is denser is inside.
        level: The value.
    """
    fine = _resampled(volume, RESAMPLED_SIDE)
    if not fine.min() < level < fine.max():
        return Surface(
            vertices=np.zeros((0, 3)), normals=np.zeros((0, 3)), faces=np.zeros((0, 3), int)
        )
    corners, faces, normals, _ = marching_cubes(fine, level, gradient_direction="descent")
    vertices = corners[:, ::-1] / len(fine) - 0.5
    return Surface(vertices=vertices, normals=normals[:, ::-1], faces=faces.astype(np.int64))


def view(azimuth_deg: float, elevation_deg: float) -> Float[np.ndarray, "3 3"]:
    """The frame of somebody who looks at the origin; 0, 0 looks along +y with z up."""
    azimuth, elevation = math.radians(azimuth_deg), math.radians(elevation_deg)
    towards = np.array(
        [
            math.sin(azimuth) * math.cos(elevation),
            -math.cos(azimuth) * math.cos(elevation),
            math.sin(elevation),
        ]
    )
    right = np.array([math.cos(azimuth), math.sin(azimuth), 0.0])
    return np.stack([right, np.cross(towards, right), towards])


def render(
    surface: Surface,
    frame: Float[np.ndarray, "3 3"],
    *,
    size: int = 320,
    colour: tuple[float, float, float] = (0.36, 0.55, 0.76),
    extent: float = 0.5,
) -> UInt8[np.ndarray, "size size 3"]:
    """A shaded picture of a surface on white, in parallel projection.

    Args:
        surface: The surface.
        frame: Where it is looked at from, see :func:`view`.
        size: Side of the picture in pixels.
        colour: Red, green and blue in [0, 1].
        extent: Half the width of what is seen, as a fraction of the volume's side.
    """
    side = SUPERSAMPLING * size
    positions = surface.vertices @ frame.T * (side / (2 * extent)) + side / 2
    lit = np.clip(surface.normals @ frame.T @ LIGHT, 0, 1)
    points = _spread(np.column_stack([positions, lit]), surface.faces)
    columns, rows = points[:, 0].astype(int), side - 1 - points[:, 1].astype(int)
    seen = (columns >= 0) & (columns < side) & (rows >= 0) & (rows < side)
    pixels = (rows * side + columns)[seen]
    depth, brightness = points[seen, 2], points[seen, 3]

    # Where several points fall on a pixel, the last one stays: that nearest to the viewer.
    order = np.argsort(depth, kind="stable")
    shade = np.full(side * side, np.nan)
    shade[pixels[order]] = AMBIENT + (1 - AMBIENT) * brightness[order]
    fading = np.zeros(side * side)
    fading[pixels[order]] = 0.3 * np.clip(0.5 - depth[order] / side, 0, 1)
    tinted = shade[:, None] * np.array(colour) * 255
    faded = tinted + (np.array(BACKGROUND) - tinted) * fading[:, None]
    picture = np.where(np.isnan(shade)[:, None], np.array(BACKGROUND, float), faded)
    blocks = picture.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING, 3)
    return blocks.mean((1, 3)).round().astype(np.uint8)


def shared_level(volumes: Sequence[Float[np.ndarray, "box box box"]]) -> float:
    """A level at which all of some volumes can be looked at: half of their high densities."""
    return float(np.mean([0.5 * np.percentile(volume, 99.9) for volume in volumes]))


def _spread(
    corners: Float[np.ndarray, "vertices values"], faces: Int[np.ndarray, "faces 3"]
) -> Float[np.ndarray, "points values"]:
    """Points on triangles, so close to one another that no pixel is missed."""
    if len(faces) == 0:
        return np.zeros((0, corners.shape[1]))
    triangles = corners[faces]
    edges = triangles[:, [1, 2, 0], :2] - triangles[:, :, :2]
    steps = int(np.clip(math.ceil(np.abs(edges).max() / 0.7), 1, 24))
    first, second = np.meshgrid(np.arange(steps + 1), np.arange(steps + 1), indexing="ij")
    inside = first + second <= steps
    a, b = first[inside] / steps, second[inside] / steps
    weights = np.stack([a, b, 1 - a - b])
    return np.einsum("fcv,cp->fpv", triangles, weights).reshape(-1, corners.shape[1])


def _resampled(
    volume: Float[np.ndarray, "box box box"], side: int
) -> Float[np.ndarray, "side side side"]:
    """The volume on another number of voxels, by padding or cropping its transform."""
    old = len(volume)
    transform = centred_fft(torch.from_numpy(np.ascontiguousarray(volume)), 3)
    least = min(old, side)
    resized = transform.new_zeros((side,) * 3)
    inner = slice(side // 2 - least // 2, side // 2 - least // 2 + least)
    outer = slice(old // 2 - least // 2, old // 2 - least // 2 + least)
    resized[inner, inner, inner] = transform[outer, outer, outer]
    return centred_ifft(resized, 3).real.numpy() * (side / old) ** 3
