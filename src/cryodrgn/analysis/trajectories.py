"""Paths through the latent space: along principal components, straight, or along a graph."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from cryodrgn.analysis.neighbours import QUERIES_PER_BLOCK, nearest_neighbours
from cryodrgn.analysis.pca import PrincipalComponents
from cryodrgn.errors import ConfigError

DEFAULT_LIMITS = (5.0, 95.0)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ComponentPath:
    """Points along one principal component, all others being zero.

    Attributes:
        points: The points of the latent space.
        coordinates: Their coordinate along the component.
    """

    points: Float[np.ndarray, "count z"]
    coordinates: Float[np.ndarray, " count"]


def component_path(
    latents: Float[np.ndarray, "particles z"],
    components: PrincipalComponents,
    number: int,
    count: int,
    *,
    limits: tuple[float, float] = DEFAULT_LIMITS,
    by_percentile: bool = False,
) -> ComponentPath:
    """Points along a principal component, between two percentiles of the particles.

    Args:
        latents: The particles.
        components: The components of their latents.
        number: The component, counted from 1.
        count: Points on the path.
        limits: Percentiles (0 to 100) at which the path begins and ends.
        by_percentile: Put the points at equally spaced percentiles, not coordinates.

    Raises:
        ConfigError: There is no such component, or count or limits make no path.
    """
    if not 1 <= number <= len(components):
        msg = f"there is no principal component {number}: they are 1 to {len(components)}"
        raise ConfigError(msg)
    if not (0 <= limits[0] < limits[1] <= 100):
        msg = f"`limits` must be two percentiles from 0 to 100, got {limits[0]:g} {limits[1]:g}"
        raise ConfigError(msg)
    if count < 1:
        msg = f"`num_points` must be at least 1, got {count}"
        raise ConfigError(msg)
    along = components.project(latents)[:, number - 1]
    if by_percentile:
        coordinates = np.percentile(along, np.linspace(*limits, count))
    else:
        first, last = np.percentile(along, limits)
        coordinates = np.linspace(first, last, count)
    points = components.mean + coordinates[:, None] * components.directions[number - 1]
    return ComponentPath(points=points.astype(np.float32), coordinates=coordinates)


def count_within(
    latents: Float[np.ndarray, "particles z"],
    points: Float[np.ndarray, "points z"],
    radius: float,
) -> Int[np.ndarray, " points"]:
    """Particles within a Euclidean distance of each of some points."""
    distances = [np.linalg.norm(latents - point, axis=1) for point in points]
    return np.array([np.count_nonzero(of_point < radius) for of_point in distances])


def direct_path(
    anchors: Float[np.ndarray, "anchors z"], count: int, *, closed: bool = False
) -> Float[np.ndarray, "points z"]:
    """Straight lines from one anchor to the next.

    Args:
        anchors: At least two points.
        count: Points on every line, both anchors included; anchors between two lines are not
            repeated, so that the path has (lines) (count − 1) + 1 points.
        closed: Return to the first anchor.

    Raises:
        ConfigError: There are fewer than two anchors or points per line.
    """
    if len(anchors) < 2 or count < 2:
        msg = (
            f"a path needs two anchors and `num_points` of at least 2, got {len(anchors)} "
            f"and {count}"
        )
        raise ConfigError(msg)
    stops = [*anchors, anchors[0]] if closed else [*anchors]
    lines = [np.linspace(a, b, count)[:-1] for a, b in pairwise(stops)]
    return np.concatenate([*lines, stops[-1][None]])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Leg:
    """The part of a graph path from one anchor to the next.

    Attributes:
        nodes: Particles from anchor to anchor, both included; empty where no edges connect
            them.
        length: Sum of the lengths of its edges.
        distance: Euclidean distance of its anchors.
    """

    nodes: Int[np.ndarray, " nodes"]
    length: float
    distance: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GraphPath:
    """A path along edges between neighbouring particles.

    Attributes:
        legs: Its parts from anchor to anchor.
        longest_edge: Edges are shorter than this.
    """

    legs: list[Leg]
    longest_edge: float

    @property
    def nodes(self) -> Int[np.ndarray, " nodes"]:
        """Particles on the whole path, anchors between legs once; empty if a leg is."""
        if not all(len(leg.nodes) for leg in self.legs):
            return np.zeros(0, np.int64)
        return np.concatenate([self.legs[0].nodes, *(leg.nodes[1:] for leg in self.legs[1:])])


def graph_path(
    latents: Float[np.ndarray, "particles z"],
    anchors: Sequence[int],
    *,
    max_neighbours: int = 10,
    average_neighbours: float = 5.0,
    block: int = QUERIES_PER_BLOCK,
) -> GraphPath:
    """The shortest path over particles from anchor to anchor.

    Every particle is joined to its nearest neighbours (itself counts as one), as far as they
    are nearer than a length chosen so that particles have a given number of them on average.
    Edges lead from a particle to its neighbour, not back; the path is Dijkstra's.

    Args:
        latents: The particles.
        anchors: Particles to visit, in order.
        max_neighbours: Neighbours of a particle, at most.
        average_neighbours: Neighbours of a particle, on average.
        block: Particles whose neighbours are looked up at a time.

    Raises:
        ConfigError: An anchor or a number of neighbours is impossible.
    """
    if len(anchors) < 2 or not all(0 <= anchor < len(latents) for anchor in anchors):
        msg = f"`anchors` must be two or more particles from 0 to {len(latents) - 1}"
        raise ConfigError(msg)
    if not 0 < average_neighbours < max_neighbours:
        msg = (
            f"`average_neighbours` {average_neighbours:g} must be positive and less than "
            f"`max_neighbours` {max_neighbours}"
        )
        raise ConfigError(msg)
    graph, longest = _neighbour_graph(latents, max_neighbours, average_neighbours, block)
    legs = [_leg(graph, latents, start, end) for start, end in pairwise(anchors)]
    return GraphPath(legs=legs, longest_edge=longest)


def _neighbour_graph(
    latents: Float[np.ndarray, "particles z"], at_most: int, average: float, block: int
) -> tuple[csr_array, float]:
    count = len(latents)
    distances, indices = nearest_neighbours(latents, min(at_most, count), block=block)
    place = min(max(int(count * average), 1), distances.size) - 1
    longest = float(np.partition(distances.ravel(), place)[place])
    kept = distances < longest
    starts = np.concatenate([[0], np.cumsum(kept.sum(1))])
    # Particles at the same place are joined too, though a stored zero would mean no edge.
    lengths = np.maximum(distances[kept], np.finfo(np.float32).tiny)
    return csr_array((lengths, indices[kept], starts), shape=(count, count)), longest


def _leg(
    graph: csr_array, latents: Float[np.ndarray, "particles z"], start: int, end: int
) -> Leg:
    lengths, before = dijkstra(graph, indices=start, return_predecessors=True)
    distance = float(np.linalg.norm(latents[end] - latents[start]))
    if not np.isfinite(lengths[end]):
        return Leg(nodes=np.zeros(0, np.int64), length=np.inf, distance=distance)
    nodes = [end]
    while nodes[-1] != start:
        nodes.append(int(before[nodes[-1]]))
    return Leg(nodes=np.array(nodes[::-1]), length=float(lengths[end]), distance=distance)
