"""What the allocator keeps."""

import ctypes
import subprocess
import sys

import pytest

ROUNDS, PAGES, TOGETHER = 10, 2048, 5
# Blocks of 8 MB are taken, written and given up together, as layers do it, again and again.
PROGRAM = f"""
import resource
import numpy as np
from cryodrgn.allocator import keep_freed_memory

def faults():
    started = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range({ROUNDS}):
        blocks = [np.ones(4096 * {PAGES}, np.uint8) for _ in range({TOGETHER})]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - started

assert keep_freed_memory()
faults()
print(faults())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc has mallopt")
def test_memory_that_was_given_up_is_used_again_without_touching_new_pages() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < PAGES / 10
