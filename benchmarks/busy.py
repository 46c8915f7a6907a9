"""The demo's training step beside busy processes, with threads as chosen and with one.

Processes of their own take steps in turns: with the threads that the program chooses, with a
single thread (OMP_NUM_THREADS=1), and, with --before, as another source tree does it. Before a
turn counts, its process has had the time to see what is free. Prints medians of the rates, and
of their ratios turn by turn.

    python benchmarks/busy.py --busy 0    # idle: on a machine that nobody else uses
    python benchmarks/busy.py --busy 6
    python benchmarks/busy.py --busy 6 --before ../other-checkout/src
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"
# Seconds until a watch has measured twice; seconds in which steps are counted.
SETTLE, COUNTED = 4.5, 3.0
THREAD_SETTINGS = ("OMP_", "MKL_", "NUMBA_", "GOMP_", "KMP_")


class Taker:
    """A process that takes steps when asked to, with a source tree and settings of threads."""

    def __init__(self, source: Path, settings: dict[str, str], sizes: list[str]) -> None:
        plain = {k: v for k, v in os.environ.items() if not k.startswith(THREAD_SETTINGS)}
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--steps", *sizes],
            env=plain | settings | {"PYTHONPATH": str(source)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.rate(0, 0.1)

    def rate(self, settle: float, counted: float) -> tuple[float, float]:
        """Images per second, by the clock and of processor time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{settle} {counted}\n")
        self._process.stdin.flush()
        by_clock, of_processor = map(float, self._process.stdout.readline().split())
        return by_clock, of_processor

    def end(self) -> None:
        """End the process."""
        self._process.communicate()


def take_steps(box: int, width: int, layers: int, batch: int) -> None:
    """Take steps for as long as standard input asks, and answer how fast they were."""
    try:
        from cryodrgn.processors import processor_watch, wait_without_spinning
    except ImportError:  # a source tree from before
        pass
    else:
        wait_without_spinning()
        processor_watch()
    import tempfile

    import torch

    from cryodrgn.allocator import keep_freed_memory
    from cryodrgn.benchmarking.steps import TrainingStep, model_config
    from cryodrgn.devices import choose_network_dtype
    from cryodrgn.rundir import RunDirectory

    keep_freed_memory()
    device = torch.device("cpu")
    with tempfile.TemporaryDirectory() as name:
        step = TrainingStep(
            model_config(box, width, layers, 1),
            batch,
            choose_network_dtype(device),
            device,
            RunDirectory(Path(name)),
        )
        for line in sys.stdin:
            settle, counted = map(float, line.split())
            _steps(step, settle)
            processor = time.process_time()
            count, seconds = _steps(step, counted)
            processor = time.process_time() - processor
            print(count * batch / seconds, count * batch / processor, flush=True)


def _steps(step, seconds: float) -> tuple[int, float]:
    started, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - started < seconds:
        step()
        count += 1
    return count, time.perf_counter() - started


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """So many processes that compute without end beside a block, and ends them."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def main() -> None:
    if sys.argv[1:2] == ["--steps"]:
        take_steps(*map(int, sys.argv[2:]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--busy", type=int, default=6, help="busy processes beside")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--before", type=Path, help="another source tree to compare with")
    parser.add_argument("--box", type=int, default=32)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    args = parser.parse_args()
    sizes = [str(size) for size in (args.box, args.width, args.layers, args.batch)]
    takers = {
        "as chosen": Taker(SOURCE, {}, sizes),
        "one thread": Taker(SOURCE, {"OMP_NUM_THREADS": "1"}, sizes),
    }
    if args.before:
        takers["before"] = Taker(args.before, {}, sizes)
        takers["before, one thread"] = Taker(args.before, {"OMP_NUM_THREADS": "1"}, sizes)
    rates = {name: [] for name in takers}
    with busy_processes(args.busy):
        for _ in range(args.turns):
            for name, taker in takers.items():
                settle = SETTLE if name == "as chosen" else 0.5
                rates[name].append(taker.rate(settle, COUNTED))
    load = os.getloadavg()[0]
    model = f"{args.box} px, {args.width}×{args.layers}, batch {args.batch}"
    print(f"{args.busy} busy processes, load {load:.1f}, {model}")
    for name, taker in takers.items():
        taker.end()
        ratios = [a[0] / b[0] for a, b in zip(rates["as chosen"], rates[name], strict=True)]
        by_clock, of_processor = (statistics.median(r) for r in zip(*rates[name], strict=True))
        print(
            f"{name}: {by_clock:.0f} images/s, {of_processor:.0f} per second of a processor; "
            f"as chosen is {statistics.median(ratios):.2f} times as fast "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
