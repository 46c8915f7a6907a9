"""What training reaches on simulated sets of 4,000 images of 64 px, signal to noise 0.1.

Two states (AUC of the latent against the label), the hinge (rank correlation of the latent
with the angle), both with the default 256×3 networks and every seed; and a two-state set of
noisier tilt pairs, with and without its second exposure.

    python benchmarks/quality.py --seeds 0 1 2
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from cryodrgn.cli.main import main as cryodrgn
from cryodrgn.io.arrays import read_npy
from cryodrgn.io.legacy_pickle import load_latents

NARROW = ("--qdim", 128, "--pdim", 128)
TRAINING = ("--zdim", 1, "--lr", 1e-3, "-b", 16)


def run(*words: object) -> None:
    status = cryodrgn([str(word) for word in words])
    if status:
        raise SystemExit(status)


def area(latent: np.ndarray, labels: np.ndarray) -> float:
    value = float(roc_auc_score(labels, latent))
    return max(value, 1 - value)


def rank_correlation(latent: np.ndarray, labels: np.ndarray) -> float:
    return abs(float(spearmanr(latent, labels)[0]))


def trained(folder: Path, *options: object) -> tuple[np.ndarray, float]:
    started = time.monotonic()
    run("train_vae", *options, *TRAINING, "--checkpoint", 1000, "-o", folder, "--overwrite")
    return load_latents(folder / "z.pkl")[:, 0], time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--two-state-epochs", type=int, default=4)
    parser.add_argument("--hinge-epochs", type=int, default=12)
    parser.add_argument("--crop", type=int, help="crop images to this box on the fly")
    parser.add_argument("--only", choices=("two", "hinge", "tilt"))
    args = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sets = {
            "two": (2, args.two_state_epochs, area, "AUC"),
            "hinge": (20, args.hinge_epochs, rank_correlation, "rank correlation"),
        }
        for kind, (states, epochs, measure, words) in sets.items():
            if args.only not in {None, kind}:
                continue
            for seed in args.seeds:
                simulated = folder / f"{kind}{seed}"
                run(
                    *("simulate", "-D", 64, "--Apix", 3, "-n", args.images, "--snr", 0.1),
                    *("--num-states", states, "--seed", seed, "-o", simulated),
                )
                star = simulated / "particles.star"
                crop = () if args.crop is None else ("-D", args.crop)
                options = (star, *crop, "-n", epochs, "--seed", seed)
                latent, seconds = trained(folder / "run", *options)
                value = measure(latent, read_npy(simulated / "labels.npy"))
                lines.append(
                    f"{kind} {seed}: {words} {value:.4f}, {epochs} epochs in {seconds:.0f} s"
                )
                print(lines[-1], flush=True)
        if args.only in {None, "tilt"}:
            lines += tilt_pairs(folder, args.seeds)
    print("\n".join(["", *lines]))


def tilt_pairs(folder: Path, seeds: list[int]) -> list[str]:
    """AUC with and without the second exposure, at 32 px and a signal to noise of 0.03."""
    lines = []
    for seed in seeds:
        simulated = folder / f"tilt{seed}"
        run(
            *("simulate", "-D", 32, "--Apix", 6, "-n", 4000, "--snr", 0.03, "--num-states", 2),
            *("--tilt-deg", 45, "--seed", seed, "-o", simulated),
        )
        star, labels = simulated / "particles.star", read_npy(simulated / "labels.npy")
        values = []
        for tilt in ((), ("--tilt", simulated / "particles_tilt.mrcs")):
            options = (star, *tilt, "-D", 16, "-n", 12, "--seed", seed, *NARROW)
            values.append(area(trained(folder / "run", *options)[0], labels))
        lines.append(
            f"tilt pairs, seed {seed}: AUC {values[1]:.4f}, without tilt {values[0]:.4f}"
        )
        print(lines[-1], flush=True)
    return lines


if __name__ == "__main__":
    main()
