"""Paths through the latent space: along components, straight, and along neighbours."""

import logging
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.errors import ConfigError
from cryodrgn.given_arrays import PathOrArray
from cryodrgn.settings import (
    POSITIVE,
    Job,
    Settings,
    at_least,
    each,
    function_of,
    option,
    positional,
    settings,
    within,
)

if TYPE_CHECKING:
    import numpy as np

    from cryodrgn.analysis.trajectories import ComponentPath, GraphPath

logger = logging.getLogger(__name__)

# Radius in the latent space within which the particles near a point are counted.
RADIUS = 3.0


@settings
class PcTraversal(Job["dict[int, ComponentPath]"]):
    """Points of the latent space along its principal components."""

    latents: PathOrArray = positional(metavar="z", help="Latents of all particles (z.pkl)")
    components: tuple[int, ...] | None = option(
        "--dim",
        "--pc",
        default=None,
        metavar="PC",
        check=each(at_least(1)),
        help="Principal components, counted from 1 (default: all)",
    )
    num_points: int = option(
        "-n", default=10, check=at_least(1), help="Points along a component"
    )
    limits: tuple[float, float] = option(
        "--lim",
        default=(5.0, 95.0),
        metavar=("LO", "HI"),
        check=each(within(0, 100)),
        help="Begin and end, as percentiles from 0 to 100",
    )
    by_percentile: bool = option(
        "--use-percentile-spacing",
        default=False,
        help="Space the points equally in percentiles, not in coordinates",
    )
    outdir: Path | None = option(
        "-o",
        "--outdir",
        default=None,
        metavar="DIR",
        help="Folder for pc1.txt, pc2.txt …, for eval_vol --zfile (default: print only)",
    )

    def run(self) -> "dict[int, ComponentPath]":
        """Find the paths, log how many particles are near, and write or log the points."""
        from cryodrgn.analysis.pca import principal_components
        from cryodrgn.analysis.trajectories import component_path, count_within
        from cryodrgn.io.cryodrgn_pickle import load_latents
        from cryodrgn.io.latent_text import save_latent_text
        from cryodrgn.rundir import TraversalFiles

        latents = load_latents(self.latents)
        components = principal_components(latents)
        numbers = self.components or range(1, len(components) + 1)
        paths = {
            number: component_path(
                latents,
                components,
                number,
                self.num_points,
                limits=self.limits,
                by_percentile=self.by_percentile,
            )
            for number in numbers
        }
        for number, path in paths.items():
            first, last = path.coordinates[[0, -1]]
            counts = count_within(latents, path.points, RADIUS)
            logger.info("PC %d from %.5f to %.5f", number, first, last)
            logger.info("particles within %g of each point: %s", RADIUS, _in_a_row(counts))
            if self.outdir is None:
                logger.info("%s", "\n".join(_in_a_row(point) for point in path.points))
            else:
                save_latent_text(TraversalFiles(self.outdir).component(number), path.points)
        if self.outdir is not None:
            logger.info("wrote the z-values to %s", self.outdir)
        return paths


@settings
class AnchorOptions(Settings):
    """Particles that a path visits."""

    anchors: tuple[str, ...] = option(
        "--anchors",
        metavar="A",
        help="Particles to visit, by number from 0, or text files of such numbers",
    )


@settings
class DirectTraversal(AnchorOptions, Job["np.ndarray"]):
    """Points of the latent space on straight lines between particles."""

    latents: PathOrArray = positional(metavar="zfile", help="Latents of all particles (z.pkl)")
    num_points: int = option(
        "-n", default=6, check=at_least(1), help="Points from anchor to anchor, both included"
    )
    loop: bool = option("--loop", default=False, help="Return to the first anchor")
    output: Path | None = option(
        "-o",
        "--outtxt",
        default=None,
        metavar="TXT",
        help="Text file for the z-values, for eval_vol --zfile (default: print only)",
    )

    def run(self) -> "np.ndarray":
        """Find the points, and write or log them.

        Raises:
            ConfigError: There are fewer than two anchors, or one follows itself.
        """
        from cryodrgn.analysis.trajectories import direct_path
        from cryodrgn.io.cryodrgn_pickle import load_latents
        from cryodrgn.io.latent_text import save_latent_text

        latents = load_latents(self.latents)
        anchors = read_anchors(self.anchors, len(latents))
        points = direct_path(latents[anchors], self.num_points, closed=self.loop)
        require_distinct_stops(anchors)
        if self.loop and anchors[0] == anchors[-1]:
            msg = (
                f"`anchors` end with particle {anchors[0]}, with which they begin, and `loop` "
                "adds it again; leave out one of the two"
            )
            raise ConfigError(msg)
        if self.output is None:
            for point in points:
                logger.info("%s", " ".join(f"{value:.8f}" for value in point))
            return points
        save_latent_text(self.output, points)
        logger.info("wrote %d z-values to %s", len(points), self.output)
        return points


@settings
class GraphTraversal(AnchorOptions, Job["GraphPath"]):
    """Points of the latent space along neighbouring particles."""

    latents: PathOrArray = positional(metavar="data", help="Latents of all particles (z.pkl)")
    max_neighbours: int = option(
        "--max-neighbors",
        default=10,
        check=at_least(1),
        help="Neighbours of a particle, at most, itself included",
    )
    average_neighbours: float = option(
        "--avg-neighbors",
        default=5.0,
        check=POSITIVE,
        help="Neighbours of a particle, on average",
    )
    block: int = option(
        "--batch-size",
        default=20_000,
        check=at_least(1),
        help="Particles whose neighbours are looked up at a time",
    )
    max_images: int | None = option(
        "--max-images",
        default=None,
        metavar="N",
        check=at_least(1),
        help="Use the first N particles",
    )
    output_indices: Path = option(
        "-o",
        "--outind",
        default=Path("z-path-indices.txt"),
        metavar="TXT",
        help="Text file for the particles on the path",
    )
    output: Path = option(
        "--out-z",
        "--outtxt",
        default=Path("z-path.txt"),
        metavar="TXT",
        help="Text file for their z-values, for eval_vol --zfile",
    )
    verbose: bool = option("-v", "--verbose", default=False, help="Log every z-value")

    def run(self) -> "GraphPath":
        """Find the path, and write its particles and z-values.

        Raises:
            ConfigError: No path joins two anchors, or one follows itself.
        """
        from cryodrgn.analysis.trajectories import graph_path
        from cryodrgn.io.cryodrgn_pickle import load_latents
        from cryodrgn.io.latent_text import save_index_text, save_latent_text

        latents = load_latents(self.latents)[: self.max_images]
        anchors = read_anchors(self.anchors, len(latents))
        require_distinct_stops(anchors)
        path = graph_path(
            latents,
            anchors,
            max_neighbours=self.max_neighbours,
            average_neighbours=self.average_neighbours,
            block=self.block,
        )
        logger.info("edges are shorter than %.4g", path.longest_edge)
        for leg, start, end in zip(path.legs, anchors, anchors[1:], strict=False):
            if len(leg.nodes) == 0:
                msg = (
                    f"no path leads from particle {start} to {end} over edges shorter than "
                    f"{path.longest_edge:.4g}; try a larger `average_neighbours` and "
                    "`max_neighbours`"
                )
                raise ConfigError(msg)
            logger.info(
                "%d to %d: %d particles, length %.4g, straight distance %.4g",
                start,
                end,
                len(leg.nodes),
                leg.length,
                leg.distance,
            )
        logger.info("path: %s", " ".join(map(str, path.nodes)))
        if self.verbose:
            for point in latents[path.nodes]:
                logger.info("%s", _in_a_row(point))
        save_index_text(self.output_indices, path.nodes)
        save_latent_text(self.output, latents[path.nodes])
        logger.info("wrote %s and %s", self.output_indices, self.output)
        return path


def read_anchors(words: Sequence[str | int], count: int) -> list[int]:
    """The particles that anchors name.

    Args:
        words: Numbers, or names of text files that hold numbers.
        count: Particles there are.

    Raises:
        CryodrgnError: A word is neither, or there is no such particle.
    """
    from cryodrgn.io.latent_text import load_index_text

    anchors: list[int] = []
    for word in map(str, words):
        is_number = word.lstrip("-").isdigit()
        anchors += [int(word)] if is_number else load_index_text(Path(word)).tolist()
    for anchor in anchors:
        if not 0 <= anchor < count:
            msg = f"`anchors` names particle {anchor}, but they are numbered 0 to {count - 1}"
            raise ConfigError(msg)
    return anchors


def require_distinct_stops(stops: Sequence[int]) -> None:
    """Refuse a path that goes from a particle to itself; it may come back later.

    Args:
        stops: Particles that it visits, one after another.

    Raises:
        ConfigError: A particle follows itself.
    """
    for stop, following in pairwise(stops):
        if stop == following:
            msg = (
                f"`anchors` names particle {stop} twice in a row, and no path leads from a "
                "particle to itself; name it once there"
            )
            raise ConfigError(msg)


def _in_a_row(values: "np.ndarray") -> str:
    return " ".join(f"{value:g}" for value in values)


pc_traversal = function_of(PcTraversal)
direct_traversal = function_of(DirectTraversal)
graph_traversal = function_of(GraphTraversal)
