"""Examination of the machine: speed, and what is installed."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryodrgn.errors import CryodrgnError
from cryodrgn.jobs.options import DeviceOptions
from cryodrgn.settings import EVEN, POSITIVE, Job, at_least, each, function_of, option, settings

if TYPE_CHECKING:
    from cryodrgn.preflight.doctor import Findings

logger = logging.getLogger(__name__)


@settings
class Benchmark(DeviceOptions, Job[dict[str, Any]]):
    """Measure how fast this machine trains, prepares, reconstructs and decodes."""

    json: Path | None = option(
        "--json", default=None, metavar="FILE", help="Also write the figures to this file"
    )
    boxes: tuple[int, ...] = option(
        "--boxes",
        default=(64, 128, 256),
        metavar="BOX",
        check=each(EVEN),
        help="Box sizes of training",
    )
    batches: tuple[int, ...] = option(
        "--batches",
        default=(8, 64),
        metavar="B",
        check=each(at_least(1)),
        help="Batch sizes of training",
    )
    widths: tuple[int, ...] = option(
        "--widths",
        default=(256, 1024),
        metavar="W",
        check=each(at_least(1)),
        help="Nodes in hidden layers",
    )
    seconds: float = option(
        "--seconds",
        default=3.0,
        check=POSITIVE,
        help="How long to go on with each measurement, of which there are at least three",
    )
    steps_only: bool = option(
        "--steps-only", default=False, help="Measure training steps and nothing else"
    )

    def run(self) -> dict[str, Any]:
        """Measure, and log the figures as a table."""
        from cryodrgn.benchmarking.report import measure_machine, table, write_json
        from cryodrgn.devices import choose_device

        figures = measure_machine(
            choose_device(self.device),
            boxes=self.boxes,
            widths=self.widths,
            batches=self.batches,
            seconds=self.seconds,
            steps_only=self.steps_only,
        )
        for line in table(figures):
            logger.info("%s", line)
        if self.json is not None:
            write_json(self.json, figures)
        return figures


@settings
class Doctor(DeviceOptions, Job["Findings"]):
    """Report what is installed, which limits hold, and what is wrong."""

    def run(self) -> "Findings":
        """Examine the machine.

        Raises:
            CryodrgnError: Something is wrong.
        """
        from cryodrgn.preflight.doctor import examine

        findings = examine(self.device)
        for line in findings.lines:
            logger.info("%s", line)
        if findings.wrong:
            raise CryodrgnError("; ".join(findings.wrong))
        logger.info("nothing is wrong")
        return findings


benchmark, doctor = function_of(Benchmark), function_of(Doctor)
