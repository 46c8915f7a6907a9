"""Settings of the linear model: options of its command, recorded by its runs."""

from pathlib import Path
from typing import Literal

from cryodrgn.settings import NOT_NEGATIVE, Settings, at_least, option, settings
from cryodrgn.training.options import CacheOptions, SeedOptions

Method = Literal["basis", "kernel"]
MODEL, RECONSTRUCTION = "Linear model", "Reconstruction"
# Coarser shells than these show no shape.
LEAST_RADIUS = 4


@settings
class LinearModelOptions(Settings):
    """Settings of the fit of a linear model."""

    num_components: int = option(
        "--components",
        default=8,
        group=MODEL,
        metavar="K",
        check=at_least(1),
        help="Components to look for; those that do not stand out from noise are dropped",
    )
    radius: int = option(
        "--radius",
        default=16,
        group=MODEL,
        metavar="R",
        check=at_least(LEAST_RADIUS),
        help="Estimate latents from the images up to this radius in Fourier pixels",
    )
    fit_images: int = option(
        "--fit-images",
        default=50_000,
        group=MODEL,
        metavar="N",
        check=at_least(1),
        help="Fit the model to at most this many images, and estimate latents of the others "
        "with it",
    )
    with_contrast: bool | None = option(
        "--contrast",
        default=None,
        group=MODEL,
        help="Fit a contrast for every image",
        default_words="if contrasts are seen to vary",
        constants={"--no-contrast": (False, "Set the contrast of every image to 1")},
    )
    pose_rounds: int = option(
        "--refine-poses",
        default=0,
        bare=4,
        group=MODEL,
        metavar="ROUNDS",
        check=at_least(0),
        default_words="keep poses; without a number: 4",
        help="Refine poses that are off by a few degrees and pixels, fit the model again, "
        "and repeat for as long as the agreement of half maps improves, at most ROUNDS times",
    )
    mask: Path | None = option(
        "--mask",
        default=None,
        group=MODEL,
        metavar="MRC",
        help="Solvent mask",
        default_words="made from the data",
    )
    focus_mask: Path | None = option(
        "--focus-mask",
        default=None,
        group=MODEL,
        metavar="MRC",
        help="Look for heterogeneity within this mask only",
    )


@settings
class RecordedOptions(LinearModelOptions, CacheOptions, SeedOptions):
    """All options that a linear run records as they are given."""


@settings
class StateOptions(Settings):
    """Settings of the reconstruction of states."""

    method: Method = option(
        "--method",
        default="basis",
        group=RECONSTRUCTION,
        help="Regress on smooth functions of z, or average the images near each state with a "
        "bandwidth for every shell",
    )
    num_functions: int = option(
        "--functions",
        default=20,
        group=RECONSTRUCTION,
        metavar="K",
        check=NOT_NEGATIVE,
        default_words="20, or the coordinates of a linear run where these agree better with "
        "the other half of the images",
        help="Number of smooth functions; 0 takes the coordinates of z",
    )
