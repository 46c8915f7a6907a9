"""``cryodrgn doctor``."""

import argparse
import logging

from cryodrgn.cli.options import add_device
from cryodrgn.errors import CryodrgnError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_device(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.preflight.doctor import examine

    findings = examine(args.device)
    for line in findings.lines:
        logger.info("%s", line)
    if findings.wrong:
        raise CryodrgnError("; ".join(findings.wrong))
    logger.info("nothing is wrong")
