"""Time and memory of train_linear and reconstruct_states, from the typed commands.

    python benchmarks/linear_speed.py --images 10000 --box 64 --states 50
    python benchmarks/linear_speed.py --images 100000 --box 128 --lazy

A set of the built-in molecule is simulated once and listed as often as it takes: what is in the
images does not matter here.
"""

import argparse
import os
import resource
import tempfile
from pathlib import Path

import numpy as np
from costs import Cost, command

from cryodrgn.io.cryodrgn_pickle import load_latents
from cryodrgn.io.star import read_star, write_star

SIDE, DIFFERENT = 192.0, 2000


def main() -> None:
    args = _arguments()
    with tempfile.TemporaryDirectory(dir=args.work) as name:
        folder = Path(name)
        star = _tiled(folder, args)
        run, states = folder / "run", folder / "states"
        lazy = ["--lazy"] if args.lazy else []
        first = command("train_linear", star, "-o", run, *lazy, threads=args.threads)
        print(f"train_linear: {_words(first)}, peak {_peak():.2f} GB", flush=True)
        latents = load_latents(run / "z.pkl")
        rows = np.linspace(0, len(latents) - 1, args.states).astype(int)
        np.savetxt(folder / "z.txt", latents[rows])
        words = ("reconstruct_states", run, "--zfile", folder / "z.txt", "-o", states, *lazy)
        second = command(*words, "--functions", args.functions, threads=args.threads)
        print(f"reconstruct_states ({args.states}): {_words(second)}, peak {_peak():.2f} GB")
        print(
            f"{args.images} images of {args.box} px, {args.threads} threads: "
            f"{_words(first + second)} from the first command to {args.states} volumes"
        )


def _tiled(folder: Path, args: argparse.Namespace) -> Path:
    count = min(args.images, DIFFERENT)
    command(
        *("simulate", "-D", args.box, "--Apix", SIDE / args.box, "-n", count),
        *("--num-states", 8, "-o", folder),
        threads=args.threads,
    )
    source = folder / "particles.star"
    if args.images == count:
        return source
    tables = read_star(source)
    repeats = np.resize(np.arange(count), args.images)
    optics, particles = tables["optics"], tables["particles"]
    target = folder / "tiled.star"
    blocks = {
        "optics": {name: optics.text(name) for name in optics.names},
        "particles": {
            name: np.array(particles.text(name))[repeats].tolist() for name in particles.names
        },
    }
    write_star(target, blocks)
    return target


def _words(cost: Cost) -> str:
    return f"{cost.seconds:.1f} s ({cost.processor_seconds:.1f} s of processors)"


def _peak() -> float:
    """Largest resident memory of the commands so far, in GB."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--states", type=int, default=50)
    parser.add_argument("--functions", type=int, default=20)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--lazy", action="store_true")
    parser.add_argument("--work", type=Path, help="folder for everything")
    return parser.parse_args()


if __name__ == "__main__":
    main()
