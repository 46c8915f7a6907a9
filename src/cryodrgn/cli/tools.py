"""The ``cryodrgn_utils`` command: small tools for scripts, one job each."""

import sys
from collections.abc import Sequence

from cryodrgn.cli.inactive_options import TOOLS_INACTIVE
from cryodrgn.cli.main import Program
from cryodrgn.cli.other_versions import COMMANDS as OF_OTHER_VERSIONS
from cryodrgn.cli.topics import COMMANDS, TOOL_ALIASES, TOOL_JOBS, TOOLS

CRYODRGN_UTILS = Program(
    name="cryodrgn_utils",
    description="Small tools for particle stacks, tables, volumes and latents.",
    topics=TOOLS,
    aliases=TOOL_ALIASES,
    inactive=TOOLS_INACTIVE,
    jobs=TOOL_JOBS,
    elsewhere={
        **OF_OTHER_VERSIONS,
        **{name: f"type cryodrgn {name}" for topic in COMMANDS.values() for name in topic},
    },
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its status, see :meth:`Program.run`."""
    return CRYODRGN_UTILS.run(argv)


if __name__ == "__main__":
    sys.exit(main())
