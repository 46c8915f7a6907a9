"""The suite of ``make gpu-test`` works where there is no card: time on one is scarce."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# What other tests hardly do on a processor: maps of few images, little memory, bfloat16.
PARTS = "abinit or does_not_fit or goes_on or bfloat16 or machine_with_one"


@pytest.mark.slow
def test_the_suite_passes_on_a_processor():
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu"]
    done = subprocess.run(
        [*words, "-k", PARTS, str(Path(__file__).parents[1] / "gpu")],
        env=os.environ | {"DEVICE": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert "7 passed" in done.stdout
