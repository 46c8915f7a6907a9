"""``python -m cryodrgn`` is the same as the ``cryodrgn`` command."""

import sys

from cryodrgn.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
