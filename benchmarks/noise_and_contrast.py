"""What the spectrum of the noise and contrasts are worth to a network, at known latents.

    python benchmarks/noise_and_contrast.py --structure 1hzh.pdb --work /scratch/noise [--from]

makes a set of ``accuracy.py`` (``hinge150``) at 32 px with white noise, with noise that falls
threefold to Nyquist (``coloured``), and with contrasts of ± 20 % (``contrast``), and trains
``train_dec`` at the true hinge angles, which stay, with each likelihood. Printed are the area
under the Fourier shell correlation of the decoded states with the true volumes, and the
correlation of the contrasts found with the true ones. With ``--from`` it is ``train_vae`` on a
linear model, at the latents that both find, and the linear model has contrasts where the
network has them; states are decoded at the particle nearest to their mean latent.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from costs import Cost, command
from methods import Case, decoded
from scores import central_images
from sets import SETS, make_set_once

from cryodrgn.io.arrays import read_npy
from cryodrgn.io.cryodrgn_pickle import load_latents, save_pickles
from cryodrgn.rundir import RunDirectory

KINDS = {
    "plain": {},
    "coloured": {"noise_fall": 3.0},
    "contrast": {"contrast_spread": 0.2},
}
LIKELIHOODS = {
    "white": (),
    "radial": ("--noise-model", "radial"),
    "contrast": ("--contrast",),
    "both": ("--noise-model", "radial", "--contrast"),
}
# Every so many states are decoded.
STEP = 5


def main() -> None:
    args = _arguments()
    torch.set_num_threads(args.threads)
    print("| set | likelihood | seed | seconds | area | least | r of contrasts |")
    print("|---|---|---|---|---|---|---|")
    for kind in args.kinds:
        for seed in args.seeds:
            case = _case(kind, seed, args)
            for name in args.likelihoods:
                print(f"| {kind} | {name} | {seed} | {_row(case, name, args)} |", flush=True)


def _case(kind: str, seed: int, args: argparse.Namespace) -> Case:
    base, size = SETS[args.set], {"box_size": 32, "num_images": args.images, "snr": args.snr}
    settings = replace(base, **size, **KINDS[kind])
    folder = args.work / f"{kind}.{seed}"
    make_set_once(settings, args.structure, folder, seed)
    return Case(folder, settings, seed)


def _row(case: Case, name: str, args: argparse.Namespace) -> str:
    """Cells of a row: processor seconds, areas, correlation of contrasts."""
    train = _on_a_linear_model if args.on_linear else _at_true_latents
    run, cost, latents = train(case, name, args)
    states = np.arange(len(latents))[::STEP]
    found = case.scorer()(decoded(run, latents[states]), states)
    agreement = "–"
    if run.linear.contrasts.exists() and case.settings.contrast_spread:
        pair = read_npy(run.linear.contrasts), true_contrasts(case)
        agreement = f"{np.corrcoef(*pair)[0, 1]:.3f}"
    seconds = cost.processor_seconds
    return f"{seconds:.0f} | {found['mean']:.4f} | {found['min']:.4f} | {agreement}"


def _at_true_latents(
    case: Case, name: str, args: argparse.Namespace
) -> tuple[RunDirectory, Cost, np.ndarray]:
    """Run, cost, and latent of every state of ``train_dec`` at latents that are told."""
    labels = case.labels()
    states = np.arange(labels.max() + 1)
    angle = np.pi * (states / states.max() - 0.5)
    table = np.stack([angle, np.cos(2 * angle)], 1).astype(np.float32)
    latents = case.folder / "true_z.pkl"
    save_pickles(latents, [table[labels]])
    run = RunDirectory(case.folder / name)
    cost = command(
        *("train_dec", *case.inputs, "--zdim", 2, "--load-z", latents, "--pretrain-z", 1000),
        *(("--recipe", args.recipe) if args.recipe else ("-b", 16, "--lr", 1e-3)),
        *_settings(case, name, args),
        *("-o", run.path),
        threads=args.threads,
    )
    return run, cost, table


def _on_a_linear_model(
    case: Case, name: str, args: argparse.Namespace
) -> tuple[RunDirectory, Cost, np.ndarray]:
    """Run, cost, and latent of every state of ``train_vae --from``, as the run finds it."""
    linear, run = (RunDirectory(case.folder / f"{part}_{name}") for part in ("linear", "from"))
    contrast = ("--contrast",) if "--contrast" in LIKELIHOODS[name] else ()
    cost = command(
        *("train_linear", *case.inputs, *contrast, "--seed", case.seed, "--overwrite"),
        *("-o", linear.path),
        threads=args.threads,
    )
    cost += command(
        *("train_vae", *case.inputs, "--from", linear.path, "--qdim", 96),
        *(("--recipe", args.recipe) if args.recipe else ()),
        *_settings(case, name, args),
        *("-o", run.path),
        threads=args.threads,
    )
    latents = load_latents(run.latents())
    return run, cost, latents[central_images(latents, case.labels())]


def _settings(case: Case, name: str, args: argparse.Namespace) -> tuple:
    """What both networks are told."""
    return (
        *("-n", args.epochs, "--pdim", 96, "--players", 2, "--precision", "float32"),
        *("--seed", case.seed, "--overwrite", *LIKELIHOODS[name]),
    )


def true_contrasts(case: Case) -> np.ndarray:
    """The contrasts that ``sets`` has drawn, drawn again in its order."""
    settings, rng = case.settings, np.random.default_rng(case.seed)
    rng.random(settings.num_images)
    count, box_size = settings.num_images, settings.box_size
    found = []
    for rows in np.array_split(np.arange(count), max(1, count // 500)):
        found.append(rng.normal(1, settings.contrast_spread, len(rows)).clip(0.2, None))
        rng.normal(size=(len(rows), box_size, box_size))
    return np.concatenate(found)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--structure", type=Path, required=True, help="PDB file of 1HZH")
    parser.add_argument("--work", type=Path, required=True, help="folder for everything")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument(
        "--likelihoods", nargs="*", default=list(LIKELIHOODS), choices=list(LIKELIHOODS)
    )
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--set", default="hinge150", choices=["hinge150", "hinge360"])
    parser.add_argument("--snr", type=float, default=0.1, help="signal to noise")
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--recipe", choices=["fast"], help="recipe of the training")
    parser.add_argument(
        "--from", dest="on_linear", action="store_true", help="networks on a linear model"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


if __name__ == "__main__":
    main()
