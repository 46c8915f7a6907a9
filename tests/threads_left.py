"""``python -m threads_left COMMAND …`` runs a command and counts the threads a team leaves."""

import sys
from pathlib import Path

from cryodrgn.cli.main import main

if __name__ == "__main__":
    status = main(sys.argv[1:])
    names = [task.joinpath("comm").read_text() for task in Path("/proc/self/task").iterdir()]
    left = sum("gloo" in name for name in names)
    sys.stdout.write(f"{left} threads of the team are left\n")
    sys.exit(status)
