"""Settings of analyses of several steps that commands take as options, declared once."""

from pathlib import Path
from typing import Literal

from cryodrgn.analysis.options import Linkage
from cryodrgn.data.options import PreprocessingOptions
from cryodrgn.reconstruction.options import (
    DecodingOptions,
    LikeOptions,
    VolumeOptions,
)
from cryodrgn.settings import (
    EVEN,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    SeedOptions,
    Settings,
    at_least,
    between,
    each,
    option,
    same_as,
    settings,
)

NoiseSource = Literal["residuals", "spectrum"]
CONTENT, VOLUMES, MASK = "Content", "Volumes", "Mask"
MOTION = "Motion"
STATES, MAP, MAPS = "States and components", "Map", "Maps of the latents"


@settings
class AnalysisContent(SeedOptions, DecodingOptions, LikeOptions):
    """Content of an analysis, and its volumes."""

    num_components: int = option(
        "--pc",
        default=2,
        group=CONTENT,
        check=at_least(1),
        help="Principal components along which volumes are made",
    )
    per_component: int = option(
        "--n-per-pc",
        default=10,
        group=CONTENT,
        check=at_least(2),
        help="Volumes along each component",
    )
    num_clusters: int = option(
        "--ksample",
        default=20,
        group=CONTENT,
        check=at_least(1),
        help="K-means clusters, with a volume at each centre",
    )
    skip_volumes: bool = option("--skip-vol", default=False, help="Skip generation of volumes")
    skip_umap: bool = option("--skip-umap", default=False, help="Skip the UMAP embedding")
    pixel_size: float | None = same_as(VolumeOptions, "pixel_size")
    box_size: int | None = same_as(VolumeOptions, "volume_box_size")


@settings
class LandscapeOptions(SeedOptions, DecodingOptions):
    """Settings of a landscape of volumes."""

    sketch_size: int = option(
        "-N",
        "--sketch-size",
        default=1000,
        group=VOLUMES,
        check=at_least(1),
        help="Number of volumes that represent all particles",
    )
    box_size: int = option(
        "-d",
        "--downsample",
        default=128,
        group=VOLUMES,
        metavar="BOX",
        unit="px",
        check=EVEN,
        help="Box size (pixels) at which larger volumes are compared",
    )
    pixel_size: float | None = same_as(VolumeOptions, "pixel_size")
    flip: bool | None = same_as(
        VolumeOptions, "flip", default=None, default_words="with --skip-vol as the volumes are"
    )
    skip_volumes: bool = option(
        "--skip-vol", default=False, group=VOLUMES, help="Reuse volumes that exist already"
    )
    threshold: float | None = option(
        "--thresh",
        default=None,
        group=MASK,
        help="Density at which the mask begins (default: half of the high densities)",
    )
    dilation: float = option(
        "--dilate", default=5.0, group=MASK, unit="Å", check=NOT_NEGATIVE, help="Widening in Å"
    )
    edge: float = option(
        "--cosine-edge",
        default=0.0,
        group=MASK,
        unit="Å",
        check=NOT_NEGATIVE,
        help="Soft edge in Å",
    )
    mask: Path | None = option(
        "--mask", default=None, group=MASK, metavar="MRC", help="A mask to use instead"
    )
    like: Path | None = same_as(LikeOptions, "like", default=None, group=VOLUMES)
    linkage: Linkage = option(
        "--linkage",
        default="average",
        group=STATES,
        help="Linkage of agglomerative clustering",
    )
    num_states: int = option("-M", default=10, group=STATES, check=at_least(1), help="States")
    num_components: int = option(
        "--pc-dim", default=20, group=STATES, check=at_least(1), help="Components to keep"
    )
    num_plotted: int = option(
        "--plot-dim", default=5, group=STATES, check=at_least(1), help="Components to plot"
    )


@settings
class FullLandscapeOptions(SeedOptions, DecodingOptions):
    """Settings of the landscape of all particles."""

    num_volumes: int = option(
        "-N",
        "--training-volumes",
        default=10_000,
        check=at_least(8),
        help="Volumes to learn from, made as those of the landscape",
    )
    skip_volumes: bool = option(
        "--skip-vol", default=False, help="Reuse the results of volumes from an earlier call"
    )
    skip_umap: bool = option(
        "--skip-umap", default=False, group=MAP, help="Skip the UMAP embedding"
    )
    num_neighbours: int = option(
        "--num-neighbors", default=50, group=MAP, check=at_least(2), help="Of a particle"
    )
    resolution: float = option(
        "--resolution",
        default=1.5,
        group=MAP,
        default_words="1.5",
        check=POSITIVE,
        help="Resolution of the Leiden communities: larger values make more of them",
    )
    box_size: int | None = option(
        "-d",
        "--downsample",
        default=None,
        unit="px",
        check=EVEN,
        help="Side of the volumes (default: that of the landscape, and no other will do)",
    )
    flip: bool | None = option(
        "--flip", default=None, help="Reverse the z axis (default: as in the landscape)"
    )


@settings
class ConvergenceContent(LikeOptions):
    """Content of the comparison of a run's epochs."""

    interval: int = option(
        "--epoch-interval",
        default=5,
        check=at_least(1),
        help="Epochs from one that is compared to the next",
    )
    subset: int = option(
        "--subset",
        default=50_000,
        group=MAPS,
        check=at_least(2),
        help="Largest number of particles shown in the UMAPs",
    )
    num_volumes: int = option(
        "--final-maxima",
        default=10,
        group=VOLUMES,
        check=at_least(1),
        help="Representative particles, at the centres of k-means clusters, whose volumes are "
        "compared",
    )
    skip_umap: bool = same_as(
        AnalysisContent, "skip_umap", group=MAPS, help="Skip the UMAP embeddings"
    )
    skip_volumes: bool = option(
        "--skip-volgen", default=False, group=VOLUMES, help="Compare no volumes"
    )
    threshold: float | None = same_as(
        LandscapeOptions,
        "threshold",
        group=VOLUMES,
        help="Density at which the mask begins",
        default_words="half of the 99.99th percentile",
    )
    dilation: float = same_as(
        LandscapeOptions,
        "dilation",
        default=3.0,
        group=VOLUMES,
        help="Widening of the mask in Å",
    )
    edge: float = same_as(
        LandscapeOptions,
        "edge",
        flags=("--dist",),
        default=10.0,
        group=VOLUMES,
        help="Width of its soft edge in Å",
    )
    seed: int = option(
        "--random-seed",
        "--random-state",
        default=0,
        check=SEED,
        help="Random seed of the particles on the maps, clusters and maps",
    )
    pixel_size: float | None = same_as(VolumeOptions, "pixel_size")
    box_size: int | None = same_as(VolumeOptions, "volume_box_size")


@settings
class CheckSettings(SeedOptions):
    """Settings of the check of a particle file."""

    invert: bool = same_as(
        PreprocessingOptions,
        "invert",
        default=False,
        group=None,
        help="Invert data sign, for white particles",
        constants={},
    )
    num_images: int = option(
        "-n",
        "--num-images",
        default=3000,
        check=at_least(1),
        help="Number of images with which conventions are compared",
    )
    num_screened: int = option(
        "--num-screened",
        default=5000,
        check=at_least(1),
        help="Number of images that are screened for bad ones",
    )


@settings
class PowerOptions(Settings):
    """Questions that are asked of a set."""

    shares: tuple[float, ...] = option(
        "--shares",
        default=(0.5, 0.2, 0.05),
        nargs="+",
        metavar="SHARE",
        check=each(between(0, 1)),
        help="Shares of the particles in the minor state; the first is that of the sentence",
    )
    consensus: Path | None = option(
        "--consensus",
        default=None,
        metavar="MRC",
        help="Consensus map in the frame of the poses",
        default_words="backprojection of the particles",
    )
    noise: NoiseSource = option(
        "--noise",
        default="residuals",
        help="Noise of planted images: the images themselves, or drawn from their spectrum",
    )
    num_trials: int = option(
        "--trials",
        default=12,
        metavar="N",
        check=at_least(0),
        help="Planted sets that are fitted where the forecast is least sure; 0 relies on it",
    )


@settings
class MotionOptions(Settings):
    """Motions that are asked for."""

    models: tuple[Path, ...] = option(
        "--model",
        default=(),
        group=MOTION,
        nargs="+",
        metavar="FILE",
        help="Two states as maps (.mrc) or atomic models (.pdb, .cif), or one model with "
        "--chains",
    )
    chains: tuple[str, ...] = option(
        "--chains",
        default=(),
        group=MOTION,
        nargs="+",
        metavar="CHAIN",
        help="Chains of the model that turn about where they touch the others",
    )
    mask: Path | None = option(
        "--mask",
        default=None,
        group=MOTION,
        metavar="MRC",
        help="Mask of a domain of the consensus that turns about where it touches the rest",
        default_words="the end of the molecule",
    )
    domain_kda: float | None = option(
        "--domain-kda",
        default=None,
        group=MOTION,
        metavar="KDA",
        unit="kDa",
        check=POSITIVE,
        help="Mass of the end of the molecule that turns, if nothing else says what does",
        default_words="a quarter of the molecule, at most 30",
    )
    axis: tuple[float, float, float] | None = option(
        "--axis",
        default=None,
        group=MOTION,
        metavar=("X", "Y", "Z"),
        help="Direction of the axis about which a domain turns",
        default_words="perpendicular to the line from the rest to the domain",
    )
    sizes: tuple[float, ...] | None = option(
        "--motions",
        default=None,
        group=MOTION,
        nargs="+",
        metavar="Å",
        unit="Å",
        check=each(POSITIVE),
        help="Sizes of the motion: path of the domain's centre of mass, root mean square path "
        "of atoms, or shares of the way between two maps",
        default_words="those of 5 10 20 30 that the domain can go, or quarters of the way",
    )
