"""Memory of runs, compared with their plans: ``python benchmarks/memory.py``."""

import os
import re
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cryodrgn.io.legacy_pickle import save_pickles
from cryodrgn.io.mrc import stack_writer

# Box, batch, images, width, layers.
TABLE = (
    (32, 8, 400, 128, 3),
    (32, 64, 400, 256, 3),
    (64, 8, 400, 256, 3),
    (64, 32, 400, 512, 3),
    (64, 128, 400, 256, 3),
    (64, 8, 400, 1024, 3),
    (128, 8, 300, 256, 3),
    (128, 64, 300, 256, 3),
    (128, 8, 300, 1024, 3),
    (64, 8, 20000, 128, 2),
)
UNITS = {"MB": 1e6, "GB": 1e9, "kB": 1e3}


@dataclass(frozen=True)
class Case:
    """What a plan said and what the run took, in bytes."""

    settings: tuple[int, int, int, int, int]
    predicted: float
    measured: float

    @property
    def error(self) -> float:
        return self.predicted / self.measured - 1


def measure(settings: tuple[int, int, int, int, int], folder: Path) -> Case:
    box, batch, count, width, layers = settings
    rng = np.random.default_rng(0)
    stack, poses = folder / f"{box}.{count}.mrcs", folder / f"{count}.pkl"
    with stack_writer(stack, box, 2.0) as writer:
        for _ in range(count // 100):
            writer.append(rng.normal(size=(100, box, box)).astype(np.float32))
    save_pickles(poses, [np.tile(np.eye(3, dtype=np.float32), (count, 1, 1))])
    words = [sys.executable, "-m", "cryodrgn", "train_vae", stack, "--poses", poses]
    words += ["--zdim", "8", "-n", "1", "-b", batch, "--qdim", width, "--pdim", width]
    words += ["--qlayers", layers, "--players", layers, "--overwrite", "--precision", "float32"]
    words += ["--ind", poses.with_suffix(".ind"), "-o", folder / "out"]
    # Large sets need their memory, not their time: the network sees few of them.
    save_pickles(poses.with_suffix(".ind"), [np.arange(count)])
    log = folder / "log"
    with log.open("w") as file:
        process = subprocess.Popen(list(map(str, words)), stdout=file, stderr=file)
        _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, log.read_text()
    said = re.search(r"; memory ([\d.e+]+) (\w+)[ ;,]", log.read_text())
    assert said is not None
    return Case(settings, float(said[1]) * UNITS[said[2]], 1024 * usage.ru_maxrss)


def main(limit: int | None = None) -> list[Case]:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    cases = []
    with tempfile.TemporaryDirectory() as name:
        for settings in TABLE[:limit]:
            cases.append(measure(settings, Path(name)))
            case = cases[-1]
            print(settings, f"{case.predicted:.4g} {case.measured:.4g} {case.error:+.1%}")
            sys.stdout.flush()
    return cases


if __name__ == "__main__":
    main()
