"""Compiled modules are kept beside their sources, as compiled loops are.

Where that is switched off, every process that tests start compiles the program for itself.
"""

import os
import sys

sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
