"""Seconds from typing ``train_vae`` to its first step, on images that are prepared already.

python benchmarks/first_step.py --images 20000 --box 128
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BATCH = 8


def seconds_to_first_step(star: Path, folder: Path, cache: Path, device: str) -> float:
    """Start a run, wait for the first line of its metrics, and stop it."""
    words = ["train_vae", star, "--zdim", "8", "-b", str(BATCH), "--log-interval", str(BATCH)]
    words += ["--cache-dir", cache, "--device", device, "-o", folder]
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "cryodrgn", *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    metrics = folder / "metrics.csv"
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") > 1):
        if process.poll() is not None:
            raise SystemExit(f"train_vae ended with status {process.returncode}")
        time.sleep(0.01)
    taken = time.perf_counter() - started
    process.kill()
    process.wait()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20000)
    parser.add_argument("--box", type=int, default=128)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = ["simulate", "-D", args.box, "--Apix", 192 / args.box, "-n", args.images]
        line = [sys.executable, "-m", "cryodrgn", *map(str, words), "-o", name]
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
        star, cache = folder / "particles.star", folder / "cache"
        first = seconds_to_first_step(star, folder / "first", cache, args.device)
        again = [
            seconds_to_first_step(star, folder / str(number), cache, args.device)
            for number in range(3)
        ]
    print(
        f"{args.images} images of {args.box} px: first step after {sorted(again)[1]:.1f} s "
        f"({min(again):.1f} to {max(again):.1f}), {first:.1f} s when they had to be prepared"
    )


if __name__ == "__main__":
    main()
