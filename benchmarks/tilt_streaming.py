"""Peak memory of training on tilt series whose prepared images do not fit into memory.

    python benchmarks/tilt_streaming.py --work /scratch/streaming --images 25000 100000

writes one stack of noise (float16) and particle files of 20 tilts a particle that list so many
of its images, runs an epoch of ``train_vae`` on each with the memory that ``--memory`` allows,
and prints images, prepared size, peak memory, and processor seconds per image. The last line
is the line through the first and the last: memory at a million tilt images.
"""

import argparse
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from cryodrgn.io.mrc import stack_writer

TILTS, PART = 20, 2000
ANONYMOUS = re.compile(r"RssAnon:\s+(\d+) kB")
NETWORK = ("--zdim", "2", "--qdim", "16", "--pdim", "16", "--qlayers", "1", "--players", "1")
COLUMNS = (
    "rlnImageName",
    "rlnTomoName",
    "rlnGroupName",
    "rlnAngleRot",
    "rlnAngleTilt",
    "rlnAnglePsi",
    "rlnDefocusU",
    "rlnDefocusV",
    "rlnDefocusAngle",
    "rlnVoltage",
    "rlnSphericalAberration",
    "rlnAmplitudeContrast",
    "rlnCtfScalefactor",
    "rlnMicrographPreExposure",
    "rlnImagePixelSize",
)


def main() -> None:
    args = _arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    stack = args.work / "noise.mrcs"
    if not stack.is_file():
        _write_stack(stack, max(args.images), args.box)
    peaks = []
    for count in args.images:
        star = args.work / f"{count}.star"
        _write_star(star, stack.name, count)
        peak, seconds = _trained(star, args)
        prepared = count * args.box * (args.box / 2 + 1) * 8
        peaks.append(peak)
        print(
            f"{count} images of {args.box} px, {prepared / 1e9:.1f} GB prepared, {args.memory} "
            f"GB allowed: peak {peak / 1e9:.2f} GB, {1e3 * seconds / count:.2f} ms of a "
            "processor per image",
            flush=True,
        )
    slope = (peaks[-1] - peaks[0]) / max(args.images[-1] - args.images[0], 1)
    million = peaks[-1] + slope * (1e6 - args.images[-1])
    print(f"{slope:.0f} bytes per image more; {million / 1e9:.1f} GB at a million")


def _trained(star: Path, args: argparse.Namespace) -> tuple[float, float]:
    """Peak memory in bytes, but for mapped files, and processor seconds of an epoch."""
    out = args.work / f"{star.stem}_vae"
    words = [
        "train_vae",
        str(star),
        "-n",
        "1",
        "--memory",
        str(args.memory),
        *NETWORK,
        "--overwrite",
    ]
    words += ["--ntilts", "2", "--random-tilts", "-o", str(out)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen([sys.executable, "-m", "cryodrgn", *words])
    status, peak = Path(f"/proc/{process.pid}/status"), 0
    while process.poll() is None:
        # Pages of mapped files are counted in no peak that the system keeps apart, and are
        # given back when somebody needs them.
        found = ANONYMOUS.search(status.read_text())
        peak = max(peak, 1024 * int(found[1]) if found else 0)
        time.sleep(0.1)
    if process.returncode:
        sys.exit(f"train_vae ended with {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return peak, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _write_stack(path: Path, count: int, box: int) -> None:
    generator = np.random.default_rng(0)
    with stack_writer(path, box, 3.0, dtype="float16") as writer:
        for start in range(0, count, PART):
            shape = (min(PART, count - start), box, box)
            writer.append(generator.standard_normal(shape, dtype=np.float32))


def _write_star(path: Path, stack: str, count: int) -> None:
    generator = np.random.default_rng(1)
    angles = generator.uniform(-180, 180, (count, 3)).round(2)
    header = "".join(f"_{name} #{n}\n" for n, name in enumerate(COLUMNS, 1))
    with path.open("w") as file:
        file.write("data_particles\n\nloop_\n" + header)
        for row, (rot, tilt, psi) in enumerate(angles.tolist()):
            rank = row % TILTS
            scale = np.cos(np.deg2rad(3 * (rank + 1) // 2))
            file.write(
                f"{row + 1:07d}@{stack} TS_{row // (TILTS * 500):03d} {row // TILTS + 1:06d} "
                f"{rot} {abs(tilt)} {psi} 20000 20000 0 300 2.7 0.1 {scale:.4f} {3 * rank} "
                "3.0\n"
            )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--images", type=int, nargs="+", default=[25000, 100000])
    parser.add_argument("--box", type=int, default=128)
    parser.add_argument("--memory", type=float, default=1.0, help="GB")
    return parser.parse_args()


if __name__ == "__main__":
    main()
