"""Settings by which networks learn faster, and sets of their values (recipes)."""

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from cryodrgn.settings import Job, Settings, option, options_of, settings
from cryodrgn.training.options import TRAINING, TuningOptions

logger = logging.getLogger(__name__)

RecipeName = Literal["fast"]
# Values of settings of :class:`~cryodrgn.training.run_config.TrainConfig`; what each of them is
# worth is in docs/performance.md.
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
class RecipeNameOptions(Settings):
    """Name of a recipe."""

    recipe: RecipeName | None = option(
        "--recipe",
        default=None,
        group=TRAINING,
        help="Set the options below, the batch size, the learning rate and the type of encoder "
        "so that networks learn faster (fast); options that you give take precedence, and the "
        "log lists what was set",
        default_words="the values that each option states",
    )


@settings
class RecipeOptions(TuningOptions, RecipeNameOptions):
    """Settings by which networks learn faster, one by one or as a recipe."""


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
    words = [f"`{name}` {value}" for name, value in chosen.items()]
    kept = [f"`{name}`" for name in values if name in job.given]
    logger.info(
        "`recipe` %s sets %s%s",
        recipe,
        ", ".join(words) or "nothing",
        f"; as given: {', '.join(kept)}" if kept else "",
    )
    return chosen
