"""The ``cryodrgn`` command: reconstruction, step by step."""

import argparse
import sys
from collections.abc import Sequence

from cryodrgn.cli.inactive_options import INACTIVE
from cryodrgn.cli.other_versions import COMMANDS as OF_OTHER_VERSIONS
from cryodrgn.cli.program import Program
from cryodrgn.cli.topics import ALIASES, COMMANDS, JOBS, TOOLS

CRYODRGN = Program(
    name="cryodrgn",
    description="Reconstruct structures and their motions from cryo-EM images.",
    topics=COMMANDS,
    aliases=ALIASES,
    inactive=INACTIVE,
    jobs=JOBS,
    elsewhere={
        **OF_OTHER_VERSIONS,
        **{tool: f"type cryodrgn_utils {tool}" for topic in TOOLS.values() for tool in topic},
    },
)


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser of the command line, see :meth:`Program.build_parser`."""
    return CRYODRGN.build_parser(only)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its status, see :meth:`Program.run`."""
    return CRYODRGN.run(argv)


if __name__ == "__main__":
    sys.exit(main())
