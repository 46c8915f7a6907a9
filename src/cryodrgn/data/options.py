"""Settings of the preprocessing of images, which commands take as options and runs record."""

from cryodrgn.particles.options import LOADING
from cryodrgn.settings import EVEN, Check, Settings, between, option, settings

# Radius, as a fraction of half the box, at which the window of images begins to fall.
WINDOW_RADIUS = 0.85


@settings
class PreprocessingOptions(Settings):
    """Preprocessing of images before they are compared with slices.

    Attributes:
        norm: Offset and scale of the Hartley values; None estimates the scale from the data
            and takes 0 for the offset.
    """

    window_radius: float | None = option(
        "--window-r",
        default=None,
        group=LOADING,
        metavar="R",
        check=between(0, 0.99),
        help="Radius at which the window begins to fall, as a fraction of half the box; "
        "implies a window",
        default_words=str(WINDOW_RADIUS),
    )
    invert: bool = option(
        "--invert-data",
        default=False,
        group=LOADING,
        help="Invert data sign",
        constants={"--uninvert-data": (False, "Do not invert data sign (the default)")},
    )
    norm: tuple[float, float] | None = option(
        "--norm",
        default=None,
        group="Training parameters",
        check=Check(words="a shift and a positive scale", holds=lambda pair: pair[1] > 0),
        help="Data normalization as shift, 1/scale",
        default_words="0, std of dataset",
    )
    box_size: int | None = option(
        "-D",
        default=None,
        group="Large data sets",
        metavar="BOX",
        unit="px",
        check=EVEN,
        help="Fourier-crop images to this box size on the fly",
        default_words="as they are",
    )
