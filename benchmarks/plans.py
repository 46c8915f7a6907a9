"""Memory and time of commands, compared with their plans: ``python benchmarks/plans.py``.

Every command runs in a process of its own. Memory is the peak of what was resident. Time is
that of the processor since the plan was said, which others who use the machine change less than
the clock; while threads share work, that of the slowest of them.
"""

import argparse
import json
import logging
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cryodrgn.io.cryodrgn_pickle import save_pickles
from cryodrgn.io.mrc import stack_writer

# Box, batch, images, width, layers.
TRAINING = (
    (32, 8, 400, 128, 3),
    (32, 64, 400, 256, 3),
    (64, 8, 200, 256, 3),
    (64, 32, 100, 512, 3),
    (64, 128, 200, 256, 3),
    (64, 8, 100, 1024, 3),
    (128, 8, 100, 256, 3),
    (128, 64, 100, 256, 3),
    (128, 8, 50, 1024, 3),
    (64, 8, 5000, 64, 1),
)
# Commands on a set of 3,000 images of 64 px and a short run on it, in this order.
COMMANDS = {
    "simulate": "simulate -D 64 --Apix 6 -n 3000 --num-states 4 -o {0}/sim",
    "train_vae": "train_vae {0}/sim/particles.star --zdim 8 -n 1 --qdim 128 --pdim 128 "
    "--precision float32 -o {0}/run",
    "train_linear": "train_linear {0}/sim/particles.star -o {0}/linear",
    "backproject_voxel": "backproject_voxel {0}/sim/particles.star -o {0}/volume.mrc",
    "eval_images": "eval_images {0}/sim/particles.star {0}/run/weights.pkl -o {0}/z.pkl",
    "eval_vol": "eval_vol {0}/run/weights.pkl -n 30 -o {0}/vol --z-start 0 0 0 0 0 0 0 0 "
    "--z-end 1 1 1 1 1 1 1 1",
    "reconstruct_states": "reconstruct_states {0}/run -o {0}/states",
    "analyze": "analyze {0}/run -1 --skip-umap -o {0}/analysis",
    "downsample": "downsample {0}/sim/particles.mrcs -D 32 -o {0}/small.mrcs",
    "power": "power {0}/sim/particles.star -o {0}/power --trials 4",
    "nuisance": "nuisance {0}/sim/particles.star {0}/run/z.pkl -o {0}/nuisance",
}
# Boxes and numbers of images of the sets on which commands run on one thread and on more, and
# the commands, in this order.
SIZES = ((64, 6000), (96, 1500))
THREADS = (1, 2)
SIMULATED = "simulate -D {1} --Apix {2} -n {3} --num-states 10 -o {0}/sim"
SIZED = {
    "train_linear": "train_linear {0}/sim/particles.star -o {0}/linear --overwrite",
    "backproject_voxel": "backproject_voxel {0}/sim/particles.star -o {0}/volume.mrc",
    "reconstruct_states": "reconstruct_states {0}/linear -o {0}/states",
}
UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9}
SECONDS = {"s": 1, "min": 60, "h": 3600}


@dataclass(frozen=True)
class Case:
    """What a plan said and what the command took, in bytes and seconds."""

    name: str
    memory: tuple[float, float]
    seconds: tuple[float, float]


class _Stopwatch(logging.Handler):
    """Remembers the last plan, and when it was said."""

    def __init__(self) -> None:
        super().__init__()
        self.plan, self.started = "", _busy_seconds()

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("plan: "):
            self.plan, self.started = record.getMessage(), _busy_seconds()


class _TimedThreads(ThreadPoolExecutor):
    """Threads that share loops, and the seconds that the slowest of each loop had."""

    seconds = 0.0

    def map(self, work: Callable[[Any], Any], pieces: list[Any]) -> list[Any]:
        def timed(piece: Any) -> tuple[Any, float]:
            begun = time.thread_time()
            return work(piece), time.thread_time() - begun

        done = list(super().map(timed, pieces))
        _TimedThreads.seconds += max(seconds for _, seconds in done)
        return [result for result, _ in done]


def _busy_seconds() -> float:
    """Seconds that this process would have taken if others had left its processors free."""
    if os.environ["OMP_NUM_THREADS"] == "1":
        return time.process_time()
    # The first thread takes part in loops of torch, and waits for loops of numba.
    return time.thread_time() + _TimedThreads.seconds


def observe(words: list[str]) -> int:
    """Run a command in this process, and print what it took."""
    from cryodrgn.cli.main import main as run
    from cryodrgn.io import log
    from cryodrgn.kernels.loops import compiling

    watch, configure = _Stopwatch(), log.log_to_terminal

    def configured(*namings: Callable[[str], str]) -> None:
        configure(*namings)
        logging.getLogger("cryodrgn").addHandler(watch)

    log.log_to_terminal, compiling.ThreadPoolExecutor = configured, _TimedThreads
    status = run(words)
    seconds = _busy_seconds() - watch.started
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"plan": watch.plan, "seconds": seconds, "peak": peak}))
    return status


def measure(name: str, words: list[object], threads: int = 1) -> Case:
    """Run a command on so many threads and compare it with its plan."""
    line = [sys.executable, __file__, "--observe", *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    size = re.search(r"; memory ([\d.e+]+) (\w+)[ ;,]", found["plan"])
    duration = re.search(r"; about (.*)$", found["plan"])
    assert size is not None
    assert duration is not None
    parts = re.findall(r"(\d+) (\w+)", duration[1])
    planned = float(sum(int(number) * SECONDS[unit] for number, unit in parts))
    memory = float(size[1]) * UNITS[size[2]]
    case = Case(name, (memory, found["peak"]), (planned, found["seconds"]))
    print(
        f"{name}: {memory / 1e6:.0f} MB planned, {found['peak'] / 1e6:.0f} taken, "
        f"{memory / found['peak'] - 1:+.0%}; {planned:.0f} s planned, "
        f"{found['seconds']:.1f} taken"
    )
    sys.stdout.flush()
    return case


def trainings(folder: Path) -> Iterator[Case]:
    """``train_vae`` at several sizes, for one epoch."""
    rng = np.random.default_rng(0)
    for box, batch, count, width, layers in TRAINING:
        stack, poses = folder / f"{box}.{count}.mrcs", folder / f"{count}.pkl"
        with stack_writer(stack, box, 2.0) as writer:
            for _ in range(count // 50):
                writer.append(rng.normal(size=(50, box, box)).astype(np.float32))
        save_pickles(poses, [np.tile(np.eye(3, dtype=np.float32), (count, 1, 1))])
        words: list[object] = ["train_vae", stack, "--poses", poses, "--zdim", "8", "-n", "1"]
        words += ["-b", batch, "--qdim", width, "--pdim", width, "--overwrite"]
        words += ["--qlayers", layers, "--players", layers, "--precision", "float32"]
        name = f"{box} | {batch} | {count} | {width} | {layers}"
        yield measure(name, [*words, "-o", folder / "out"])
        stack.unlink()


def commands(folder: Path) -> Iterator[Case]:
    """Long commands one after another."""
    for name, line in COMMANDS.items():
        yield measure(name, list(line.format(folder).split()))


def sizes(folder: Path) -> Iterator[Case]:
    """Commands on sets of several sizes, on one thread and on more."""
    for box, count in SIZES:
        place = folder / f"{box}"
        measure("simulate", list(SIMULATED.format(place, box, 384 / box, count).split()))
        for threads in THREADS:
            for command, line in SIZED.items():
                name = f"{command} | {count} | {box} | {threads}"
                yield measure(name, list(line.format(place).split()), threads)


TABLES = {"trainings": trainings, "commands": commands, "sizes": sizes}


def main() -> None:
    """Measure one table, or run a command that is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", choices=TABLES, default="commands")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    table = TABLES[options.table]
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps([asdict(case) for case in table(Path(folder))]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--observe"]:
        sys.exit(observe(sys.argv[2:]))
    main()
