"""Comparison of the models of finished runs by images that they were not trained on."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.jobs.options import DeviceOptions, output_flags, require_ending
from cryodrgn.settings import (
    Job,
    SeedOptions,
    function_of,
    option,
    positional,
    same_as,
    settings,
)

if TYPE_CHECKING:
    from cryodrgn.workflow.run_comparison import RunComparison

logger = logging.getLogger(__name__)


@settings
class CompareModels(DeviceOptions, Job["RunComparison"]):
    """Say which of several models explains held-out images best."""

    runs: tuple[Path, ...] = positional(
        nargs="+",
        metavar="RUN",
        help="Folders of runs of train_vae, with the same --held-out and --seed, and of "
        "train_linear, on the same particles",
    )
    output: Path | None = option(
        *output_flags("csv"),
        default=None,
        metavar="CSV",
        help="Write log-likelihoods below that of the best run, and their errors, here",
    )
    seed: int = same_as(SeedOptions, "seed", help="Random seed of sampled latents")

    def run(self) -> "RunComparison":
        """Judge the runs, say which one is best, and write the table if asked to.

        Raises:
            CryodrgnError: The runs cannot be compared.
        """
        from cryodrgn.devices import choose_device
        from cryodrgn.runs.run import open_run
        from cryodrgn.workflow.run_comparison import write_comparison
        from cryodrgn.workflow.run_judging import compare_runs

        if self.output is not None:
            require_ending(self.output, (".csv",), "output")
        found = compare_runs(
            [open_run(path) for path in self.runs], choose_device(self.device), self.seed
        )
        logger.info("%s", found.in_words())
        for sentence in (*found.hardly_trained(), *found.favoured()):
            logger.warning("%s", sentence)
        if self.output is not None:
            write_comparison(found, self.output)
        return found


compare_models = function_of(CompareModels)
