"""``cryodrgn_utils view_header``."""

import argparse
import logging

from cryodrgn.cli.tool_options import add_input, add_output

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_input(parser, "Volume or stack (.mrc, .mrcs)")
    add_output(parser, "Also write it as text", kind="txt", required=False)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from cryodrgn.io.atomic import atomic_path
    from cryodrgn.io.mrc_edit import describe_header

    text = "\n".join(describe_header(args.input))
    logger.info("%s", text)
    if args.output is not None:
        with atomic_path(args.output) as partial:
            partial.write_text(text + "\n")
