"""Two ways of training compared by the error of images that neither has seen.

``--compare curriculum``: the frequency curriculum against the plain schedule, by the time to
the same error. ``--compare precision``: bfloat16 products against float32, by the error after
as many epochs, beside the spread over seeds.

Two simulated sets (two states, the hinge) of 4,000 images and 1,000 more that are not trained
on. Both ways run at the same time, one thread each, so that they share what else the machine
does; after every epoch the held-out images are encoded and compared with their slices at all
frequencies. The latent's agreement with the truth stands beside.

    python benchmarks/held_out.py --compare curriculum --box 32 --epochs 10
    python benchmarks/held_out.py --compare precision --box 32 --epochs 4 --seeds 0 1 2
"""

import argparse
import io
import os
import subprocess
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from cryodrgn.cli.main import main as cryodrgn
from cryodrgn.io.arrays import read_npy
from cryodrgn.io.cryodrgn_pickle import load_latents, load_pickles, save_pickles

TRAINED, HELD_OUT = 4000, 1000
SETS = (("two states", 2), ("hinge", 20))
WAYS = {
    "curriculum": {"plain": (), "curriculum": ("--curriculum",)},
    "precision": {
        "float32": ("--precision", "float32"),
        "bfloat16": ("--precision", "bfloat16"),
    },
}


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "cryodrgn", *map(str, words)]


def run(*words: object) -> None:
    with redirect_stdout(io.StringIO()):
        status = cryodrgn([str(word) for word in words])
    if status:
        raise SystemExit(status)


def agreement(latent: np.ndarray, labels: np.ndarray) -> float:
    if len(np.unique(labels)) == 2:
        area = float(roc_auc_score(labels, latent))
        return max(area, 1 - area)
    return abs(float(spearmanr(latent, labels)[0]))


def seconds_at_ends(folder: Path, epochs: int) -> list[float]:
    rows = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    epoch, seconds = rows[0].index("epoch"), rows[0].index("seconds")
    ends = [[r for r in rows[1:] if int(r[epoch]) == e][-1] for e in range(epochs)]
    return [float(row[seconds]) for row in ends]


def held_out_error(star: Path, folder: Path, epoch: int, box: int, rows: Path) -> float:
    out = folder / "loss.pkl"
    run(
        *("eval_images", star, folder / f"weights.{epoch}.pkl", "-c", folder / "config.yaml"),
        *("--ind", rows, "-D", box, "-o", out, "--out-z", folder / "held.pkl"),
    )
    return float(load_pickles(out)[0]["recon"])


def compare(ways: dict[str, tuple], data: Path, seed: int, args: argparse.Namespace) -> dict:
    """Train all ways at once; their held-out error at the end, printing every epoch's."""
    star, labels = data / "particles.star", read_npy(data / "labels.npy")[:TRAINED]
    trained, held = data / "trained.pkl", data / "held.pkl"
    save_pickles(trained, [np.arange(TRAINED)])
    save_pickles(held, [np.arange(TRAINED, TRAINED + HELD_OUT)])
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    jobs = [
        subprocess.Popen(
            command(
                *("train_vae", star, "--ind", trained, "--zdim", 1, "--lr", 1e-3),
                *("-b", 16, "-D", args.box, "-n", args.epochs, "--seed", seed),
                *words,
                *("-o", data / way),
            ),
            stdout=subprocess.DEVNULL,
            env=environment,
        )
        for way, words in ways.items()
    ]
    ends = [job.wait() for job in jobs]
    if any(ends):
        raise SystemExit("a training failed")
    last = {}
    for way in ways:
        folder = data / way
        print(f"  {way}: epoch, seconds, held-out error, agreement")
        for epoch, seconds in enumerate(seconds_at_ends(folder, args.epochs)):
            last[way] = held_out_error(star, folder, epoch, args.box, held)
            latent = load_latents(folder / f"z.{epoch}.pkl")[:, 0]
            found = agreement(latent, labels)
            print(f"  {epoch:3d} {seconds:7.1f} {last[way]:.6f} {found:.4f}", flush=True)
    return last


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compare", choices=list(WAYS), required=True)
    parser.add_argument("--box", type=int, default=32, help="images of 64 px are cropped to it")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    ways = WAYS[args.compare]
    for kind, states in SETS:
        errors: dict[str, list[float]] = {way: [] for way in ways}
        for seed in args.seeds:
            print(f"{kind}, seed {seed}")
            with tempfile.TemporaryDirectory() as name:
                run(
                    *("simulate", "-D", 64, "--Apix", 3, "-n", TRAINED + HELD_OUT),
                    *("--snr", 0.1, "--num-states", states, "--seed", 0, "-o", name),
                )
                for way, error in compare(ways, Path(name), seed, args).items():
                    errors[way].append(error)
        for way, found in errors.items():
            spread = f", from {min(found):.6f} to {max(found):.6f}" if len(found) > 1 else ""
            print(f"{kind}, {way}: held-out error {np.mean(found):.6f}{spread}", flush=True)


if __name__ == "__main__":
    main()
