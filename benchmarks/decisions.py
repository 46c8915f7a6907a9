"""What is decided on particles and states, compared with the truth; writes docs/decisions.md.

    python benchmarks/decisions.py --structure 1hzh.pdb --work /scratch/decisions

makes the sets of every section, for every seed, runs the commands as a user would type them,
keeps every figure in docs/decisions.json, and writes the tables of the page anew from all
figures that are there. What is in that file is not run again. ``--sections`` chooses sections.

A section is one :class:`Section` in ``SECTIONS``: its words, its sets, what is measured on a
set of one seed, and the figures that are columns of its table.
"""

import argparse
import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accuracy import DOCS, Results
from costs import command
from methods import Case, _linear_run, linear_alone, linear_basis
from sets import SETS, SIDE, Truth, make_set_once

from cryodrgn.io.score_table import read_scores
from cryodrgn.rundir import DensityFiles, RunDirectory

PAGE, FIGURES = DOCS / "decisions.md", DOCS / "decisions.json"
START, END = "<!-- tables: written by benchmarks/decisions.py -->", "<!-- end of tables -->"


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One decision and how it is measured.

    Attributes:
        title: Heading of its table.
        words: What stands above the table.
        sets: Names of the sets.
        measure: Figures of a set of one seed; a figure that does not apply is left out.
        columns: Heading of every figure that is shown.
    """

    title: str
    words: str
    sets: tuple[str, ...]
    measure: Callable[[Case], Mapping[str, float]]
    columns: Mapping[str, str]


def junk(case: Case) -> dict[str, float]:
    """Shares of junk and of particles that ``train_linear`` names."""
    truth, found = Truth.of(case.folder), {}
    for name, options in (("plain", ["--no-contrast"]), ("contrast", ["--contrast"])):
        run = RunDirectory(case.folder / f"junk_{name}")
        words = ("train_linear", *case.inputs, "--seed", case.seed, *options)
        cost = command(*words, "-o", run.path, threads=torch.get_num_threads())
        rows, scores = read_scores(run.judged.table)
        named, is_junk = scores["junk"] > 0, truth.junk[rows]
        # The rare state of a set is its last one.
        rare = ~is_junk & (truth.state[rows] == truth.state.max())
        found[f"{name} seconds"] = cost.processor_seconds
        found[f"{name} particles"] = 100 * float(named[~is_junk].mean())
        if is_junk.any():
            found[f"{name} junk"] = 100 * float(named[is_junk].mean())
        if rare.sum() < 0.05 * len(rows) and truth.state.max() == 1:
            found[f"{name} rare"] = 100 * float(named[rare].mean())
    return found


def stable(case: Case) -> dict[str, float]:
    """Stable states along the first component, and the share of the smallest of them."""
    truth = Truth.of(case.folder)
    run, density = RunDirectory(case.folder / "stable"), DensityFiles(case.folder / "density")
    words = ("train_linear", *case.inputs, "--seed", case.seed, "--overwrite", "-o", run.path)
    command(*words, threads=torch.get_num_threads())
    words = ("conformational_density", run.path, "--dims", 1, "--seed", case.seed)
    cost = command(*words, "-o", density.path, threads=torch.get_num_threads())
    rows = list(csv.DictReader(density.states.read_text().splitlines()))
    least = min(rows, key=lambda row: float(row["share"]))
    shown = np.bincount(truth.state[~truth.junk])
    # The share of a single state, which is that of all particles, has no interval.
    found = {"share": "share", "low": "share_low", "high": "share_high"}
    shares = {
        name: 100 * float(least[column]) for name, column in found.items() if least[column]
    }
    return shares | {
        "states": len(rows),
        "truth": 100 * float(shown.min() / shown.sum()),
        "seconds": cost.processor_seconds,
    }


def feature(case: Case) -> dict[str, float]:
    """Particles that ``select --feature`` rightly says to have a chain, and its certainty."""
    truth, volumes = Truth.of(case.folder), case.truths()
    chain = volumes[0] - volumes[FEATURES[case.settings.compositions]]
    inside = np.clip(chain, 0, None) > 0.3 * chain.max()
    pixel_size = SIDE / case.settings.box_size
    place = pixel_size * np.argwhere(inside).mean(0)[::-1]
    has_it = np.array([volume[inside].mean() for volume in volumes])[truth.state]
    has_it = has_it > 0.5 * volumes[0][inside].mean()
    run, _ = _linear_run(case)
    out = case.folder / "with_chain.pkl"
    words = ("select", run.path, "--feature", ",".join(f"{x:.1f}" for x in place) + ",12")
    cost = command(*words, "-o", out, threads=torch.get_num_threads())
    with out.with_suffix(".csv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    numbers = np.array([int(row["row"]) for row in rows])
    probability = np.array([float(row["probability"]) for row in rows])
    real = ~truth.junk[numbers]
    right = (probability >= 0.5) == has_it[numbers]
    doubt = np.minimum(probability, 1 - probability)
    found = {
        "right": 100 * float(right[real].mean()),
        "expected": 100 * float(doubt[real].mean()),
        "made": 100 * float(1 - right[real].mean()),
        "seconds": cost.processor_seconds,
    }
    if not real.all():
        low, high = 0.02, 0.98
        certain = (probability < low) | (probability > high)
        found["junk undecided"] = 100 * float(1 - certain[~real].mean())
    return found


def states(case: Case) -> dict[str, float]:
    """FSC area of volumes of ``train_linear`` and of states from the images."""
    own, found = linear_alone(case), linear_basis(case)
    return {"own": own["state"]["mean"], "states": found["state"]["mean"]}


# State that lacks the chain that the first state has, by the number of compositions of a set.
FEATURES = {3: 25, 1: 3}

SECTIONS = {
    "stable": Section(
        title="Stable states",
        words="Found by `conformational_density --dims 1` from `train_linear`; share of the "
        "smallest state with its 90 % interval, and the true share of the rarest, in per cent. "
        "How often such intervals hold the truth is measured by `benchmarks/shares.py`.",
        sets=("composition", "rare", "rigid"),
        measure=stable,
        columns={
            "states": "stable states",
            "share": "smallest share",
            "low": "from",
            "high": "to",
            "truth": "true share",
            "seconds": "seconds",
        },
    ),
    "junk": Section(
        title="Particles that look like junk",
        words="Named by `train_linear --no-contrast` and `--contrast`, in per cent of "
        "all junk, of all particles, and of the particles of a state that 2 % are in. `hard` "
        "has 5 % images of nothing; the junk of `hard_mixed_junk` is a third each nothing, "
        "another particle than pose and CTF say, and two particles at once; `rare` and "
        "`rigid` have none.",
        sets=("hard", "hard_mixed_junk", "rare", "rigid", "rigid_snr0.03"),
        measure=junk,
        columns={
            "plain junk": "`--no-contrast`: junk named",
            "plain particles": "particles named",
            "plain rare": "rare state named",
            "contrast junk": "`--contrast`: junk",
            "contrast particles": "particles",
            "contrast rare": "rare state",
            "plain seconds": "`--no-contrast`: seconds",
            "contrast seconds": "`--contrast`",
        },
    ),
    "feature": Section(
        title="Particles behind a piece of density",
        words="The light chain of the resting Fab (`hard`) or of the other one, "
        "by `select --feature` with a ball of 12 Å in its middle, in per cent of all "
        "particles; errors that the probabilities make one expect, and those made; junk "
        "whose probability lies between 0.02 and 0.98.",
        sets=("hard", "composition", "composition_snr0.03"),
        measure=feature,
        columns={
            "right": "rightly called",
            "expected": "errors expected",
            "made": "errors made",
            "junk undecided": "junk undecided",
            "seconds": "seconds",
        },
    ),
    "states": Section(
        title="Volumes of the model or states from the images",
        words="FSC area with the true states of the volumes of `train_linear` and of "
        "`reconstruct_states`, which takes the coordinates of z or smooth functions of them.",
        sets=("hard", "hinge360", "composition"),
        measure=states,
        columns={"own": "`train_linear`", "states": "`reconstruct_states`"},
    ),
}


def main() -> None:
    args = _arguments()
    torch.set_num_threads(args.threads)
    store = Results(FIGURES)
    for section in args.sections:
        for name in SECTIONS[section].sets:
            for seed in args.seeds:
                _measure(section, name, seed, args, store)
    _write_page(store)
    print(f"wrote {PAGE}")


def _measure(
    section: str, name: str, seed: int, args: argparse.Namespace, store: Results
) -> None:
    key = f"{section}|{name}|{seed}"
    if key in store.rows or args.work is None:
        return
    args.work.mkdir(parents=True, exist_ok=True)
    folder = args.work / f"{name}.{seed}"
    make_set_once(SETS[name], args.structure, folder, seed)
    case = Case(folder, SETS[name], seed)
    store.once(key, lambda: dict(SECTIONS[section].measure(case)))


def _write_page(store: Results) -> None:
    """Put the tables between the marks of the page; what is written by hand stays."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(START)
    after = rest.split(END)[1]
    lines = [line for section in SECTIONS for line in _table(section, store)]
    PAGE.write_text(f"{before}{START}\n\n" + "\n".join(lines) + f"\n{END}{after}", "utf-8")


def _table(name: str, store: Results) -> list[str]:
    """The table of a section; nothing where there are no figures yet."""
    section = SECTIONS[name]
    if not any(key.startswith(f"{name}|") for key in store.rows):
        return []
    lines = [f"### {section.title}", "", section.words, ""]
    lines.append(f"| set | seeds | {' | '.join(section.columns.values())} |")
    lines.append("|---" * (2 + len(section.columns)) + "|")
    for of_set in section.sets:
        keys = [key for key in store.rows if key.startswith(f"{name}|{of_set}|")]
        rows = [store.rows[key] for key in keys]
        if rows:
            cells = [_cell(rows, figure) for figure in section.columns]
            seeds = ", ".join(sorted(key.split("|")[2] for key in keys))
            lines.append(f"| `{of_set}` | {seeds} | {' | '.join(cells)} |")
    return [*lines, ""]


def _cell(rows: list[dict], figure: str) -> str:
    values = [row[figure] for row in rows if figure in row]
    if not values:
        return "–"
    spread = f" ± {np.std(values, ddof=1):.2g}" if len(values) > 1 else ""
    return f"{np.mean(values):.4g}{spread}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--structure", type=Path, help="PDB file of 1HZH")
    parser.add_argument(
        "--work", type=Path, help="folder for sets and runs; none: only the page"
    )
    parser.add_argument("--sections", nargs="*", default=list(SECTIONS), choices=list(SECTIONS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


if __name__ == "__main__":
    main()
