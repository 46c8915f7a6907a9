"""Accuracy of the linear latent and of states regressed on images; writes docs/accuracy.md.

    python benchmarks/accuracy.py --structure 1hzh.pdb --work /scratch/accuracy

makes the sets it is asked for (``--sets``, ``--seeds``), runs the methods on them as a user
would type the commands, keeps every figure in docs/accuracy.json, and writes the page anew
from all figures that are there. What is in that file already is not run again, on whatever
machine it was measured. With ``--sets`` and nothing behind it only the page is written.
"""

import argparse
import json
import platform
import shutil
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from methods import METHODS, Case, honesty
from sets import SETS, make_set_once

DOCS = Path(__file__).parent.parent / "docs"
PAGE, FIGURES = DOCS / "accuracy.md", DOCS / "accuracy.json"
INTRODUCTION = """\
# Accuracy

Which method recovers a known truth, how well, and in what time. One section per simulated set.
Written by `benchmarks/accuracy.py` from the figures in `accuracy.json`; do not edit.

## What the columns mean

| column | is |
|---|---|
| seconds | of all processors together (user and system mode), from the typed commands to \
volumes of all states, with imports, one thread each |
| latent | how well the latent tells the truth, 1 is perfect: R² of the hinge angle \
predicted from neighbours in the latent space for held-out particles (mean over both hinges,\
 or over angle and composition, where there are two); area under the ROC curve of a linear \
classifier for sets without an order |
| area | FSC area: area under the Fourier shell correlation with the true volume, the un-\
normalised measure of CryoBench (Jeon et al. 2024); {perfect}. Mean / least over states |
| per state | at the particle nearest to the mean latent of the state |
| per image | at the latents of 100 particles |
| masked | both volumes times a soft mask of the true one |

Values are means over seeds, ± their standard deviation where there are several. Time in which
others had the processor is not in the seconds, but a processor is slower while others use its
caches and its memory: the same command took 47 to 99 s, so rows that were not measured side by
side can be compared to a factor of two.

## The methods

| method | is |
|---|---|
| consensus | one volume for all states |
| regression on the true state | volumes regressed on the images by the true state: \
harmonics of the angle, or one volume per state |
| `train_linear` | its own volumes |
| `… + basis` | the latent of that run, with volumes by `reconstruct_states` |
| `… + kernel` | the same by `reconstruct_states --method kernel`, at ten states |
| `train_vae` | a network alone |
| `train_vae --recipe fast` | the same with an encoder that is told poses, and steps that \
learn faster |
| `train_vae --init-z` | a network that begins with the latents of `train_linear` |
| `train_vae --from` | a network on the linear model; with `states` on the volumes and \
functions of `reconstruct_states` |
| `… --held-out 0.05` | a twentieth of the particles takes no part in volumes or network; \
the row behind it is the same run with the network's answer taken as zero: a linear model of \
as many particles. Runs of `rigid` and `train_vae --from states` had `--beta 1`, the \
default then, and were judged by their encoder's posterior alone \
([network.md](network.md#when-is-it-worth-it)) |

## The sets

Images are of the antibody 1HZH, in a box of 288 Å, with a defocus of 0.8 to 2.5 µm, shifts up
to 3 px, and a signal-to-noise ratio of 0.1 where the name says nothing else.

| set | truth |
|---|---|
| `hinge360`, `hinge150` | one Fab turned about its hinge in 50 steps through 360° or 150° |
| `composition` | whole, or without some chains, in parts 4 : 3 : 2 : 1 |
| `unrelated8`, `unrelated8_unequal` | 8 unrelated random shapes, of equal numbers or in \
parts 8 : 4 : 3 : 2 : 2 : 1 : 1 : 1 |
| `rigid` | one structure |
| `rotor360` | one Fab turned about its own axis |
| `two_hinges` | both Fabs turned by 0° to 180° in 9 steps each, one independently of the \
other, in a box of 384 Å |
| `hard` | 25 steps of the hinge to 150°, each whole, without a light chain, and without an \
Fab and half of the stem, with 5 % junk, errors of 1.5° and 0.3 px, and contrasts of ± 20 % \
|
| `tilt_hinge360` | 2,000 particles of 21 tilts up to ± 60° |
| `…_pose_error` | errors of 2° and 0.5 px |
| `…_contrast` | contrasts of ± 20 % |
| `…_coloured` | noise whose amplitude falls threefold to Nyquist |
| `…_junk` | 5 % images of nothing |
"""
HONESTY = """\
A rigid set with random latents of 2 dimensions: the FSC area between the half maps of 8
states, and between those of random subsets of as many images as the states' effective number.
They should be equal."""


def main() -> None:
    args = _arguments()
    torch.set_num_threads(args.threads)
    store = Results(args.figures)
    if args.work:
        args.work.mkdir(parents=True, exist_ok=True)
    for name in args.sets:
        for seed in args.seeds:
            _run_case(name, seed, args, store)
    if args.honesty:
        _run_honesty(args, store)
    if args.note is not None:
        store.write(note=args.note)
    PAGE.write_text(_page(store), encoding="utf-8")
    print(f"wrote {PAGE}")


class Results:
    """Figures of all runs so far, in one file.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.rows: dict[str, dict] = kept.get("figures", {})
        self.note: str = kept.get("note", "")

    def once(self, key: str, measure: Callable[[], dict]) -> None:
        """Keep what is measured under a key, unless it was measured before."""
        if key in self.rows:
            return
        found = measure()
        if found:
            self.rows[key] = found | {"machine": _machine()}
            self.write()
            print(key, found, flush=True)

    def write(self, note: str | None = None) -> None:
        """Write the file, with a new note on the figures if there is one."""
        self.note = self.note if note is None else note
        partial = self._path.with_suffix(".partial")
        text = json.dumps({"note": self.note, "figures": self.rows}, indent=1, sort_keys=True)
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(self._path)


def _run_case(name: str, seed: int, args: argparse.Namespace, store: Results) -> None:
    folder = args.work / f"{name}.{seed}"
    settings = replace(SETS[name], num_images=args.images or SETS[name].num_images)
    wanted = [method for method in args.methods if f"{name}|{seed}|{method}" not in store.rows]
    if not wanted:
        return
    make_set_once(settings, args.structure, folder, seed)
    case = Case(folder, settings, seed, vae_epochs=args.vae_epochs)
    for method in wanted:
        store.once(f"{name}|{seed}|{method}", lambda m=method: _counted(METHODS[m](case), case))
    if not args.keep:
        shutil.rmtree(folder)


def _counted(found: dict, case: Case) -> dict:
    return found and found | {"images": case.settings.num_images}


def _run_honesty(args: argparse.Namespace, store: Results) -> None:
    folder = args.work / "honesty"

    def measure() -> dict:
        make_set_once(SETS["rigid"], args.structure, folder, 0)
        return honesty(Case(folder, SETS["rigid"], 0))

    store.once("honesty|0|basis", measure)
    if not args.keep:
        shutil.rmtree(folder, ignore_errors=True)


def _machine() -> str:
    threads = torch.get_num_threads()
    return f"{platform.machine()}, {threads} thread{'s' if threads > 1 else ''}"


def _page(store: Results) -> str:
    table: dict[tuple[str, str], list[dict]] = defaultdict(list)
    for key, row in store.rows.items():
        name, _, method = key.split("|")
        table[name, method].append(row)
    boxes = sorted({settings.box_size for settings in SETS.values()})
    perfect = ", ".join(f"{(n / 2 - 1) / n:.4f} is perfect at {n} px" for n in boxes)
    lines = [INTRODUCTION.format(perfect=perfect)]
    for name in SETS:
        found = {method: table[name, method] for method in METHODS if table.get((name, method))}
        if found:
            lines += _section(name, found)
    if "honesty|0|basis" in store.rows:
        lines += _honesty_section(store.rows["honesty|0|basis"])
    machines = sorted({row["machine"] for row in store.rows.values() if "machine" in row})
    lines += ["## What was run", "", f"Machines: {'; '.join(machines)}.", ""]
    lines += _coverage(store)
    if store.note:
        lines += ["", store.note]
    return "\n".join(lines) + "\n"


def _coverage(store: Results) -> list[str]:
    """Which seeds of which methods were run on each set, and which sets were not."""
    seeds: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for key in store.rows:
        name, seed, method = key.split("|")
        seeds[name][method].append(int(seed))
    lines = []
    for name, found in sorted(seeds.items()):
        by_seeds = defaultdict(list)
        for method in sorted(found, key=[*METHODS, "basis"].index):
            by_seeds[tuple(sorted(found[method]))].append(method)
        parts = [
            f"{', '.join(methods)}: seed{'s' if len(run) > 1 else ''} "
            f"{', '.join(map(str, run))}"
            for run, methods in by_seeds.items()
        ]
        lines.append(f"- `{name}`: {'; '.join(parts)}")
    missing = [name for name in SETS if name not in seeds]
    if missing:
        lines += ["", f"Not run: {', '.join(f'`{name}`' for name in missing)}."]
    return lines


def _section(name: str, found: dict[str, list[dict]]) -> list[str]:
    first = next(iter(found.values()))[0]
    unit = "images" if SETS[name].tilts is None else "tilt series"
    lines = [f"## {name}", "", f"{first['images']} {unit}.", ""]
    lines += [
        "| method | seconds | latent | area per state | masked | per image | masked |",
        "|---|---|---|---|---|---|---|",
    ]
    for method, rows in found.items():
        cells = [
            _cell(rows, "processor_seconds", digits=0),
            _cell(rows, "latent"),
            _pair(rows, "state", ""),
            _pair(rows, "state", "masked_"),
            _pair(rows, "image", ""),
            _pair(rows, "image", "masked_"),
        ]
        lines.append(f"| {method}{_epochs(rows)} | {' | '.join(cells)} |")
        if any("linear_part" in row for row in rows):
            lines.append(_linear_part(rows))
    verdicts = [row["verdict"] for rows in found.values() for row in rows if "verdict" in row]
    if verdicts:
        lines += ["", "Verdicts: " + "; ".join(f"“{text}”" for text in verdicts) + "."]
    return [*lines, ""]


def _linear_part(rows: list[dict]) -> str:
    """What the linear model of a network has without it."""
    areas = [_pair(rows, "linear_part", prefix) for prefix in ("", "masked_")]
    return f"| its linear model alone | – | – | {' | '.join(areas)} | – | – |"


def _epochs(rows: list[dict]) -> str:
    """Words on the epochs of runs, which need not be equal."""
    counts = sorted({row["epochs"] for row in rows if "epochs" in row})
    if not counts:
        return ""
    plural = "" if counts[-1] == 1 else "s"
    return f", {' or '.join(map(str, counts))} epoch{plural}"


def _cell(rows: list[dict], name: str, digits: int = 4) -> str:
    values = [row[name] for row in rows if row.get(name) is not None]
    if not values:
        return "–"
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def _pair(rows: list[dict], group: str, prefix: str) -> str:
    flat = [row[group] for row in rows if group in row]
    if not flat:
        return "–"
    return f"{_cell(flat, prefix + 'mean')} / {_cell(flat, prefix + 'min')}"


def _honesty_section(row: dict) -> list[str]:
    return [
        "## Half maps are honest",
        "",
        HONESTY,
        "",
        f"States ({row['effective']:.0f} effective images): {_spread(row, 'states')}.",
        f"Random subsets: {_spread(row, 'subsets')}. The whole set: {row['whole']:.4f}.",
        "",
    ]


def _spread(row: dict, name: str) -> str:
    return f"{row[name + '_mean']:.4f} ± {row[name + '_std']:.4f}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--structure", type=Path, help="PDB file of 1HZH")
    parser.add_argument("--work", type=Path, help="folder for sets and runs")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="file of all figures")
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--images", type=int, help="number of images instead of the set's own")
    parser.add_argument("--vae-epochs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--honesty", action="store_true", help="compare half maps with subsets")
    parser.add_argument("--note", help="a sentence for the end of the page")
    parser.add_argument("--keep", action="store_true", help="keep the sets")
    args = parser.parse_args()
    if (args.sets or args.honesty) and not (args.structure and args.work):
        parser.error("sets are made from --structure in the folder --work; name both")
    return args


if __name__ == "__main__":
    main()
