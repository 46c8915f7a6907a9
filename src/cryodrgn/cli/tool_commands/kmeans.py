"""``cryodrgn_utils kmeans``."""

import argparse
import logging
from pathlib import Path

from cryodrgn.cli.ignored_flags import REORDER_FLAGS, add_ignored_flags
from cryodrgn.cli.options import require_ending
from cryodrgn.cli.tool_options import add_latents, add_output, add_seed, read_latents

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_latents(parser)
    parser.add_argument("-k", dest="count", type=int, required=True, help="Number of clusters")
    add_output(parser, "Cluster of every particle, from 0 (labels.pkl)", kind="pkl")
    parser.add_argument(
        "--out-png", type=Path, metavar="PNG", help="Picture of the clusters along PC1 and PC2"
    )
    parser.add_argument(
        "--out-k",
        type=Path,
        metavar="TXT",
        help="Centres of the clusters as text, for eval_vol --zfile",
    )
    parser.add_argument(
        "--out-k-ind",
        type=Path,
        metavar="TXT",
        help="Rows of the particles nearest to the means of the clusters, as text",
    )
    parser.add_argument(
        "--on-data",
        action="store_true",
        help="Take the particle nearest to the mean of a cluster for its centre",
    )
    add_seed(parser)
    add_ignored_flags(parser, REORDER_FLAGS)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.analysis.clusters import cluster_by_means
    from cryodrgn.io.latent_text import save_index_text, save_latent_text
    from cryodrgn.io.legacy_pickle import save_pickles

    require_ending(args.output, (".pkl",), "-o")
    latents = read_latents(args)
    clusters = cluster_by_means(latents, args.count, args.seed)
    save_pickles(args.output, [clusters.labels])
    logger.info("wrote %d clusters to %s", args.count, args.output)
    for number, size in enumerate(clusters.sizes.tolist()):
        logger.info("cluster %d: %d particles", number, size)
    if args.out_k is not None:
        centres = clusters.centres if args.on_data else clusters.means(latents)
        save_latent_text(args.out_k, centres)
        logger.info("wrote their centres to %s", args.out_k)
    if args.out_k_ind is not None:
        save_index_text(args.out_k_ind, args.stride * clusters.particles)
        logger.info("wrote their particles to %s", args.out_k_ind)
    if args.out_png is not None:
        from cryodrgn.analysis.latent_plots import plot_clusters
        from cryodrgn.analysis.pca import PLANE, plane_of
        from cryodrgn.analysis.plots import save_figure

        places = plane_of(latents)
        figure = plot_clusters(places, clusters.labels, clusters.particles, PLANE)
        save_figure(figure, args.out_png)
        logger.info("wrote %s", args.out_png)
