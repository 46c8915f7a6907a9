"""Points within polygons, by numpy."""

import numpy as np


def inside(points: np.ndarray, polygon: list[list[float]]) -> np.ndarray:
    """Points from which a ray crosses an odd number of edges, in double precision."""
    x, y = points.astype(np.float64).T
    crossed = np.zeros(len(points), bool)
    for (xi, yi), (xj, yj) in zip(polygon, polygon[-1:] + polygon[:-1], strict=True):
        if yi != yj:
            crossing = (xj - xi) * (y - yi) / (yj - yi) + xi
            crossed ^= ((yi > y) != (yj > y)) & (x < crossing)
    return crossed
