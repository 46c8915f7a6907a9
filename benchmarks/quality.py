"""What training reaches on simulated sets of 4,000 images of 64 px, signal to noise 0.1.

Two states (AUC of the latent against the label), the hinge (rank correlation of the latent
with the angle), both with the default 256×3 networks and every seed; and a two-state set of
noisier tilt pairs, with and without its second exposure. And, of an antibody, how near maps by
``backproject_voxel`` come to the truth (area under the FSC, within a mask, and at four shells),
and how far their half maps agree; by another version of the program with its ``PYTHONPATH``.

    python benchmarks/quality.py --seeds 0 1 2
    python benchmarks/quality.py --only maps --structure 1hzh.pdb --seeds 0
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from scores import Scorer
from sets import CLEAN, SETS, make_set
from sklearn.metrics import roc_auc_score

from cryodrgn.cli.main import main as cryodrgn
from cryodrgn.fourier.shells import fourier_shell_correlation
from cryodrgn.io.arrays import read_npy
from cryodrgn.io.cryodrgn_pickle import load_latents, load_poses, save_pickles
from cryodrgn.io.mrc import read_volume

NARROW = ("--qdim", 128, "--pdim", 128)
# Shells whose FSC is printed, and the sine of how far from the equator a strip of views goes.
SHELLS, STRIP = (20, 25, 29, 31), 0.35
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
    parser.add_argument("--only", choices=("two", "hinge", "tilt", "maps"))
    parser.add_argument("--structure", type=Path, help="PDB 1HZH, for the backprojected maps")
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
        if args.only == "maps" or (args.only is None and args.structure is not None):
            if args.structure is None:
                parser.error("maps are made from a structure: give --structure")
            lines += backprojected(folder, args.structure, args.seeds)
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


def backprojected(folder: Path, structure: Path, seeds: list[int]) -> list[str]:
    """Maps of many and of few images, with and without noise, of all views and of a strip."""
    lines = []
    for seed in seeds:
        for snr in (0.5, 0.1, CLEAN):
            settings = replace(SETS["rigid"], snr=snr, num_images=2000)
            files = make_set(settings, structure, folder / f"maps{seed}_{snr:g}", seed)
            truth, _ = read_volume(files.state(0))
            score = Scorer([truth])
            # One hundred images seen from within 20° of the equator, from one side.
            directions = load_poses(files.poses)[0][:, 2]
            strip = (np.abs(directions[:, 2]) < STRIP) & (directions[:, 0] > 0)
            views = {
                "2000 images": np.arange(2000),
                "100 images": np.arange(100),
                "100 images of a strip": np.flatnonzero(strip)[:100],
            }
            for words, rows in views.items():
                save_pickles(folder / "ind.pkl", [rows])
                run(
                    *("backproject_voxel", files.particles, "--ind", folder / "ind.pkl"),
                    *("--poses", files.poses, "--ctf", files.ctf, "-o", folder / "map.mrc"),
                )
                volume, _ = read_volume(folder / "map.mrc")
                maps = (torch.from_numpy(volume), torch.from_numpy(truth))
                curve = fourier_shell_correlation(*maps).values
                halves = np.loadtxt(folder / "map_fsc.txt")[:, 1]
                found = score([volume], np.array([0]))
                places = np.array(SHELLS) - 1
                lines.append(
                    f"maps {seed}: SNR {snr:g}, {words}: area {found['mean']:.4f}, masked "
                    f"{found['masked_mean']:.4f}, FSC {np.round(curve.numpy()[places], 3)}, "
                    f"half maps {np.round(halves[places], 3)}"
                )
                print(lines[-1], flush=True)
    return lines


if __name__ == "__main__":
    main()
