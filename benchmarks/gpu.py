"""Figures of a card, section by section, within a given time: see ``benchmarks/gpu.sh``.

Every section is a process of its own that ends in time, and leaves its figures in a file: a
section that fails costs only its own figures, and the report says why.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from gpu_sections import LAYERS, RUN, SMALL, VARIANTS, WANTED, Case, Sizes, save

LEAST_PYTHON, LEAST_TORCH = (3, 11), (2, 9)
# Most seconds of each section, in the order in which they are worth having.
SECTIONS = {
    "data": 60,
    "whole": 130,
    "linear": 60,
    "search": 40,
    "profile": 60,
    "decoding": 40,
    "sums": 45,
    "table": 130,
    "suite": 240,
}
# Those that are run only when they are named.
NAMED_ONLY = {"long": 450}
# Sections without which there are no particles for them.
NEED_DATA = {"whole", "linear", "long", "sums"}
# Seconds that the last part of a section may take.
LAST_PART = 25
# What must be reached by sections, in words.
ASKED = {
    ("whole", "first 1,000 images of a second start, s"): "at most 8",
    ("linear", "all, s"): "at most 20",
    ("long", "all, s"): "at most 150",
    ("search", "times the processor"): "at least 20",
}


def run_section(name: str, args: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """Run a section in a process that ends in time; its figures, or why there are none."""
    path = args.figures / f"{name}.json"
    path.unlink(missing_ok=True)
    words = [sys.executable, __file__, "--section", name, "--figures", args.figures]
    words += [
        "--device",
        args.device,
        "--budget",
        seconds,
        *(["--small"] if args.small else []),
    ]
    started = time.monotonic()
    said = args.figures / f"{name}.log"
    reason = None
    with said.open("w") as log:
        try:
            done = subprocess.run(
                list(map(str, words)), stderr=log, timeout=seconds, check=False
            )
            if done.returncode:
                lines = said.read_text().strip().splitlines() or ["no reason given"]
                reason = f"ended with status {done.returncode}: {lines[-1]}"
        except subprocess.TimeoutExpired:
            reason = f"stopped after {seconds:.0f} s"
    found = json.loads(path.read_text()) if path.exists() else {}
    if reason is not None:
        found["reason"] = reason
    return found | {"section, s": time.monotonic() - started}


def report(figures: dict[str, Any], *, is_small: bool = False) -> list[str]:
    """The figures as tables in Markdown."""
    lines = ["# On a card", ""]
    if is_small:
        lines += ["Toy sizes, to try the script: these figures say nothing of the device.", ""]
    rows = figures.get("table", {}).get("rows", [])
    machine = figures.get("table", {}).get("machine", {})
    lines += [f"- {name}: {value}" for name, value in machine.items()]
    for name, value in figures.get("table", {}).get("ceilings, GFLOP/s", {}).items():
        lines.append(f"- products in {name}: {value:,.0f} GFLOP/s")
    if rows:
        lines += ["", "| step | wanted, images/s | " + " | ".join(VARIANTS.values()) + " |"]
        lines.append("|---" * (2 + len(VARIANTS)) + "|")
    reasons: list[str] = []
    for size in dict.fromkeys(tuple(row["size"]) for row in rows):
        box, width, batch = size
        cells = [_cell(row, reasons) for row in rows if tuple(row["size"]) == size]
        wanted = f"{WANTED[size]:,}" if size in WANTED else "–"
        words = f"{box} px, {width}×{LAYERS}, batch {batch}"
        lines.append(f"| {words} | {wanted} | " + " | ".join(cells) + " |")
    lines += ["", *(f"{number}. {reason}" for number, reason in enumerate(reasons, 1)), ""]
    for name, found in figures.items():
        if name == "table":
            found = {key: found[key] for key in ("reason", "section, s") if key in found}
        lines += [f"## {name}", "", *_listed(name, found), ""]
    return lines


def _cell(row: dict[str, Any], reasons: list[str]) -> str:
    if "images/s" in row:
        return f"{row['images/s']:,.0f} ({row['share']:.0%})"
    reason = row.get("reason", "not measured")
    if reason not in reasons:
        reasons.append(reason)
    return f"– [{reasons.index(reason) + 1}]"


def _listed(section: str, found: dict[str, Any]) -> list[str]:
    """Figures of a section, those in a figure below it."""
    lines = []
    for name, value in found.items():
        asked = ASKED.get((section, name))
        wanted = "" if asked is None else f" (wanted: {asked})"
        if isinstance(value, dict):
            lines += [f"- {name}", *(f"  {line}" for line in _listed(section, value))]
        elif isinstance(value, float):
            lines.append(f"- {name}: {value:,.2f}{wanted}")
        else:
            lines.append(f"- {name}: {value}{wanted}")
    return lines


def problem() -> str | None:
    """Why nothing can be measured with this Python, as a sentence; None if it can."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < LEAST_PYTHON:
        return f"benchmarks/gpu.sh needs Python 3.11 or newer and found {found}; set PYTHON"
    try:
        import torch
    except ImportError as error:
        return f"benchmarks/gpu.sh needs PyTorch, and {sys.executable} has none ({error})"
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < LEAST_TORCH:
        return f"benchmarks/gpu.sh needs PyTorch 2.9 or newer and found {torch.__version__}"
    try:
        import cryodrgn.benchmarking.steps  # noqa: F401
    except ImportError as error:
        return f"a library is missing ({error}); name a folder of wheels with WHEELS"
    return None


def device_problem(name: str) -> str | None:
    """Why a device cannot be used, as a sentence; None if it can."""
    from cryodrgn.devices import choose_device
    from cryodrgn.errors import ConfigError

    try:
        choose_device(name)
    except ConfigError as error:
        return str(error)
    return None


def measure(args: argparse.Namespace) -> int:
    """Run sections within the time, and write one table of all of them."""
    reason = problem() or device_problem(args.device)
    if reason is not None:
        print(f"benchmarks/gpu.sh: {reason}", file=sys.stderr)
        return 2
    until = time.monotonic() + args.budget
    figures: dict[str, Any] = {}
    needs_data = NEED_DATA & set(args.sections)
    for name, most in (SECTIONS | NAMED_ONLY).items():
        if name not in args.sections and not (name == "data" and needs_data):
            continue
        seconds = until - time.monotonic()
        # Toy sizes try the script, on whatever machine: their time says nothing.
        seconds = seconds if args.small else min(most, seconds)
        if seconds < 1:
            figures[name] = {"reason": "no time was left"}
            continue
        print(f"{name}: at most {seconds:.0f} s", flush=True)
        figures[name] = run_section(name, args, seconds)
        save(args.figures / "gpu.json", figures)
    text = "\n".join(report(figures, is_small=args.small)) + "\n"
    (args.figures / "gpu.md").write_text(text)
    print(text)
    return int(any("reason" in found for found in figures.values()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION")
    parser.add_argument("--figures", type=Path, default=Path("gpu-figures"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--budget", type=float, default=470)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--section", choices=RUN)
    args = parser.parse_args()
    args.sections = args.sections or list(SECTIONS)
    unknown = [name for name in args.sections if name not in RUN]
    if unknown:
        parser.error(f"{unknown[0]} is no section; sections are {', '.join(RUN)}")
    if args.section is None:
        return measure(args)
    sizes = SMALL if args.small else Sizes()
    case = Case(
        device=args.device,
        sizes=sizes,
        folder=args.figures,
        seconds=max(0, args.budget - LAST_PART),
    )
    save(args.figures / f"{args.section}.json", RUN[args.section](case))
    return 0


if __name__ == "__main__":
    sys.exit(main())
