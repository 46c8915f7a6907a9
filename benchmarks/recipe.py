"""What each part of ``train_vae --recipe fast`` is worth.

    python benchmarks/recipe.py --structure 1hzh.pdb --work /scratch/recipe

trains small networks on two small sets for a few epochs, with the defaults, with one part of
the recipe at a time, with the recipe, and with the recipe without its optimiser or its encoder.
Prints a table for docs/performance.md: the latent, and the FSC area of volumes decoded at the
states. Figures are kept in the work folder, and what is there already is not run again.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accuracy import Results
from methods import Case, vae_alone
from sets import SETS, BenchmarkSet, make_set_once

NETWORKS = ("--pdim", "64", "--qdim", "64", "--no-analysis")
LARGE_STEPS = ("-b", "32", "--lr", "2e-3")
FALLING = ("--lr-schedule", "linear", "--lr-warmup", "0.1")
RECIPE = ("--recipe", "fast")
VARIANTS: dict[str, tuple[str, ...]] = {
    "defaults": (),
    "`-b 32 --lr 2e-3`": LARGE_STEPS,
    "`--optimizer muon`": ("--optimizer", "muon"),
    "`--lr-schedule linear --lr-warmup 0.1`": FALLING,
    "`--average 0.1`": ("--average", "0.1"),
    "`--encode-mode subtomogram`": ("--encode-mode", "subtomogram"),
    "recipe": RECIPE,
    "recipe, `--optimizer adam`": (*RECIPE, "--optimizer", "adam"),
    "recipe, `--encode-mode resid`": (*RECIPE, "--encode-mode", "resid"),
}


def main() -> None:
    args = _arguments()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    store = Results(args.work / "figures.json")
    for seed in args.seeds:
        for name in args.sets:
            settings = _downsampled(SETS[name], args.box, args.images)
            folder = args.work / f"{name}.{seed}"
            make_set_once(settings, args.structure, folder, seed)
            case = Case(folder, settings, seed, vae_epochs=args.epochs)
            for variant, options in VARIANTS.items():
                store.once(
                    f"{name}|{seed}|{variant}",
                    lambda case=case, options=options: vae_alone(case, *NETWORKS, *options),
                )
    print(_table(store.rows, args.sets))


def _downsampled(of_set: BenchmarkSet, box_size: int, num_images: int) -> BenchmarkSet:
    """The set at fewer pixels, of which each has averaged the noise of several."""
    snr = of_set.snr * (of_set.box_size / box_size) ** 2
    return replace(of_set, box_size=box_size, num_images=num_images, snr=snr)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--structure", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=["hinge360", "unrelated8"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--box", type=int, default=24)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=4)
    return parser.parse_args()


def _table(rows: dict[str, dict], sets: list[str]) -> str:
    """Means over seeds, ± their standard deviation."""
    titles = [f"{name}, {value}" for name in sets for value in ("latent", "area", "seconds")]
    lines = [f"| `train_vae` | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    for variant in VARIANTS:
        cells = []
        for name in sets:
            found = [row for key, row in rows.items() if _is_of(key, name, variant)]
            cells += [
                _mean([row["latent"] for row in found], 2),
                _mean([row["state"]["mean"] for row in found], 4),
                _mean([row["processor_seconds"] for row in found], 0),
            ]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _is_of(key: str, name: str, variant: str) -> bool:
    of_set, _, of_variant = key.split("|")
    return (of_set, of_variant) == (name, variant)


def _mean(values: list[float], digits: int) -> str:
    if not values:
        return "–"
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


if __name__ == "__main__":
    main()
