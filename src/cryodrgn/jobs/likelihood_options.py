"""Settings of the likelihood by which images are compared with the network's predictions."""

from typing import Literal

from cryodrgn.settings import Settings, option, settings

LIKELIHOOD = "Likelihood"


@settings
class LikelihoodOptions(Settings):
    """Noise and contrasts of the images."""

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
