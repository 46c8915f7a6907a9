"""Settings of the training of a whole run, which the data choose unless they are given."""

from cryodrgn.settings import (
    EVEN,
    POSITIVE,
    Settings,
    at_least,
    between,
    option,
    settings,
    within,
)

CHOSEN = "Settings that are otherwise chosen from the data"


@settings
class ChosenSettings(Settings):
    """Settings of the training that take the place of those chosen from the data."""

    zdim: int = option(
        "--zdim", default=8, group=CHOSEN, check=at_least(1), help="Dimension of the latent"
    )
    box_size: int | None = option(
        "-D",
        default=None,
        group=CHOSEN,
        unit="px",
        check=EVEN,
        help="Box size of training in pixels",
    )
    encoder_dim: int | None = option(
        "--qdim", default=None, group=CHOSEN, check=at_least(1), help="Width of the encoder"
    )
    decoder_dim: int | None = option(
        "--pdim", default=None, group=CHOSEN, check=at_least(1), help="Width of the decoder"
    )
    batch_size: int | None = option(
        "-b", default=None, group=CHOSEN, check=at_least(1), help="Batch size"
    )
    learning_rate: float | None = option(
        "--lr", default=None, group=CHOSEN, check=POSITIVE, help="Learning rate"
    )
    num_epochs: int | None = option(
        "-n", default=None, group=CHOSEN, check=at_least(1), help="Largest number of epochs"
    )
    window_radius: float | None = option(
        "--window-r",
        default=None,
        group=CHOSEN,
        check=between(0, 0.99),
        help="Radius at which the window of the images begins to fall, as a fraction of half "
        "the box",
    )
    held_out: float | None = option(
        "--held-out",
        default=None,
        group=CHOSEN,
        check=within(0, 0.5),
        help="Fraction of the particles held out of training, to tell when it has converged; "
        "0 for none, and then all epochs are trained",
    )
    invert: bool | None = option(
        "--invert-data",
        default=None,
        group=CHOSEN,
        help="Invert data sign",
        constants={"--uninvert-data": (False, "Keep data sign")},
    )


# Settings that the data decide unless they are given.
DECIDED = (
    "box_size",
    "encoder_dim",
    "decoder_dim",
    "batch_size",
    "learning_rate",
    "num_epochs",
    "window_radius",
    "held_out",
)
