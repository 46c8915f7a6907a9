"""Networks that begin with linear latents beside networks that do not, after every epoch.

    python benchmarks/warm_start.py --structure 1hzh.pdb --work /scratch/warm

makes the set ``hinge360`` of ``accuracy.py`` (one Fab turned in 50 steps), runs
``train_linear`` on it, and trains ``train_vae`` and ``train_dec`` from scratch and from the
linear latent, on images cropped to ``--box``. Printed are R² of the hinge angle, predicted from
neighbours in the latent space for held-out particles, and the area under the Fourier shell
correlation with the true volumes, at the particle nearest to the mean latent of each state.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import torch
from costs import command
from methods import Case, decoded
from scores import Scorer, central_images, motion_r2
from sets import SETS, make_set_once

from cryodrgn.fourier.resample import downsample_volume
from cryodrgn.io.cryodrgn_pickle import load_latents
from cryodrgn.rundir import RunDirectory

SET = "hinge360"


def ways(linear: RunDirectory) -> dict[str, tuple[object, ...]]:
    """The command and the options of every way to train."""
    return {
        "train_vae": (),
        "train_vae --init-z": ("--init-z", linear.path),
        "train_dec": (),
        "train_dec --z-lr 0.05": ("--z-lr", 0.05),
        "train_dec --load-z": ("--load-z", linear.latents()),
    }


def main() -> None:
    args = _arguments()
    torch.set_num_threads(args.threads)
    case = Case(args.work / SET, SETS[SET], 0)
    make_set_once(case.settings, args.structure, case.folder, case.seed)
    linear = RunDirectory(case.folder / "linear")
    if not linear.weights().exists():
        words = ("train_linear", *case.inputs, "--seed", 0, "-o", linear.path)
        cost = command(*words, threads=args.threads)
        print(f"train_linear: {cost.seconds:.0f} s", flush=True)
    truths = map(torch.from_numpy, case.truths())
    scorer = Scorer([downsample_volume(truth, args.box).numpy() for truth in truths])
    print("| way | seed | seconds | R² | area per state |\n|---|---|---|---|---|")
    for seed in args.seeds:
        for way, words in ways(linear).items():
            seconds, found = _trained(case, way, (*words, "--seed", seed), scorer, args)
            scores, areas = ("; ".join(f"{value:.3f}" for value in column) for column in found)
            print(f"| `{way}` | {seed} | {seconds:.0f} | {scores} | {areas} |", flush=True)


def _trained(
    case: Case, way: str, words: tuple[object, ...], scorer: Scorer, args: argparse.Namespace
) -> tuple[float, list[list[float]]]:
    """Seconds of one training; R² and area after each of its epochs."""
    run = RunDirectory(case.folder / "run")
    shutil.rmtree(run.path, ignore_errors=True)
    name = way.split()[0]
    width = ("--enc-dim", args.nodes, "--dec-dim", args.nodes)
    cost = command(
        *(name, *case.inputs, "--zdim", 8, "-D", args.box, "-n", args.epochs, *words),
        *(width if name == "train_vae" else ("--dim", args.nodes)),
        *("-o", run.path),
        threads=args.threads,
    )
    found = [_scores(case, run, epoch, scorer) for epoch in range(args.epochs)]
    return cost.seconds, [list(column) for column in zip(*found, strict=True)]


def _scores(case: Case, run: RunDirectory, epoch: int, scorer: Scorer) -> tuple[float, float]:
    labels, latents = case.labels(), load_latents(run.latents(epoch))
    volumes = decoded(run, latents[central_images(latents, labels)], epoch)
    area = scorer(volumes, np.arange(len(volumes)))["mean"]
    return motion_r2(latents, labels, circular=True), area


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--structure", type=Path, required=True, help="PDB file of 1HZH")
    parser.add_argument("--work", type=Path, required=True, help="folder for everything")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--box", type=int, default=32, help="images of 64 px are cropped to it")
    parser.add_argument("--nodes", type=int, default=128, help="of every layer of the networks")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


if __name__ == "__main__":
    main()
