"""Settings of the likelihood by which images are compared with the network's predictions."""

from pathlib import Path
from typing import Literal

from cryodrgn.settings import Settings, option, settings

LIKELIHOOD = "Likelihood"


@settings
class LikelihoodOptions(Settings):
    """Noise and contrasts of the images, and masks."""

    noise_model: Literal["white", "radial"] = option(
        "--noise-model",
        default="white",
        group=LIKELIHOOD,
        help="Noise of the images: white, or with a radial spectrum of every optics group, "
        "estimated before every epoch but the first from what the network leaves unexplained, "
        "by whose inverse squared errors are weighted",
    )
    with_contrast: bool = option(
        "--contrast",
        default=False,
        group=LIKELIHOOD,
        help="Fit a contrast for every image, written as contrast.npy; their spread is "
        "estimated along",
    )
    mask: Path | None = option(
        "--mask",
        default=None,
        group=LIKELIHOOD,
        metavar="MRC",
        help="Solvent mask, by which volumes are multiplied when they are decoded; training, "
        "in Fourier space, knows nothing of it",
    )
    focus_mask: Path | None = option(
        "--focus-mask",
        default=None,
        group=LIKELIHOOD,
        metavar="MRC",
        help="Let the network explain what lies within this mask; outside of it a consensus is "
        "part of every predicted image. Decoded volumes are multiplied by it, too",
    )
    consensus: Path | None = option(
        "--consensus",
        default=None,
        group=LIKELIHOOD,
        metavar="MRC",
        help="The consensus outside of the focus mask, in the frame of the poses",
        default_words="the particles, backprojected",
    )
