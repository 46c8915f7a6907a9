"""Settings by which networks learn faster, and sets of their values (recipes)."""

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from cryodrgn.jobs.options import TRAINING
from cryodrgn.settings import NOT_NEGATIVE, Check, Job, Settings, option, options_of, settings

logger = logging.getLogger(__name__)

RecipeName = Literal["fast"]
# Values of settings of :class:`cryodrgn.training.config.TrainConfig`; docs/performance.md says
# what each of them is worth.
RECIPES: Mapping[RecipeName, Mapping[str, Any]] = MappingProxyType(
    {
        "fast": {
            "batch_size": 32,
            "learning_rate": 2e-3,
            "optimizer": "muon",
            "rate_schedule": "linear",
            "rate_warm_up": 0.1,
            "averaging": 0.1,
        }
    }
)


@settings
class RecipeOptions(Settings):
    """Settings by which networks learn faster, one by one or as a recipe."""

    recipe: RecipeName | None = option(
        "--recipe",
        default=None,
        group=TRAINING,
        help="Set the options below, the batch size and the learning rate so that networks "
        "learn faster (fast); options that are given win, and the log says what is set",
        default_words="the values that each option states",
    )
    optimizer: Literal["adam", "muon"] = option(
        "--optimizer",
        default="adam",
        group=TRAINING,
        help="Move all weights by Adam, or the matrices of hidden layers by Muon (PyTorch 2.9 "
        "or later) and all else by Adam",
    )
    rate_schedule: Literal["constant", "linear", "cosine"] = option(
        "--lr-schedule",
        default="constant",
        group=TRAINING,
        help="Course of the learning rate: constant, or falling to 0 at the end of the last "
        "epoch, linearly or as half a period of a cosine",
    )
    rate_warm_up: float = option(
        "--lr-warmup",
        default=0.0,
        group=TRAINING,
        metavar="EPOCHS",
        check=NOT_NEGATIVE,
        help="Raise the learning rate from 0 within this number of epochs, 0.1 for instance",
    )
    averaging: float = option(
        "--average",
        default=0.0,
        group=TRAINING,
        metavar="SHARE",
        check=Check(words="from 0 to 1", holds=lambda value: 0 <= value <= 1),
        help="Write and evaluate averages of the weights over about this share of the steps so "
        "far, 0.1 for instance; 0 for the weights of the last step",
    )


@settings
class EncoderInputOptions(Settings):
    """Weights of an encoder's inputs."""

    input_weighting: Literal["none", "snr"] = option(
        "--encoder-inputs",
        default="none",
        group=TRAINING,
        help="Weight what the encoder sees at a frequency by the signal-to-noise ratio there, "
        "which half maps of the images tell when the run begins (snr)",
    )


def values_of_recipe(job: Job[Any]) -> dict[str, Any]:
    """Values that the recipe of a training job sets: of settings that were not given.

    The log says which.
    """
    recipe = getattr(job, "recipe", None)
    if recipe is None:
        return {}
    known = options_of(type(job))
    values = {name: v for name, v in RECIPES[recipe].items() if name in known}
    chosen = {name: value for name, value in values.items() if name not in job.given}
    flags = {name: known[name][1].flags[0] for name in values}
    words = [f"{flags[name]} {value}" for name, value in chosen.items()]
    kept = [flags[name] for name in values if name in job.given]
    logger.info(
        "--recipe %s sets %s%s",
        recipe,
        ", ".join(words) or "nothing",
        f"; as given: {', '.join(kept)}" if kept else "",
    )
    return chosen
