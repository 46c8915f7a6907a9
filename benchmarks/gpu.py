"""Figures of a card, section by section, within a given time: see ``benchmarks/gpu.sh``.

Every section is a process of its own that ends in time, and leaves its figures in a file: a
section that fails costs only its own figures, and the report says why.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
LEAST_PYTHON, LEAST_TORCH = (3, 11), (2, 9)
# Names of executions of the step, as --compile knows them, and what the table calls them.
VARIANTS = {"off": "plain", "on": "compiled", "graphs": "CUDA graphs", "triton": "Triton"}
# Most seconds of each section, in the order in which they are worth having.
SECTIONS = {
    "data": 60,
    "whole": 130,
    "linear": 60,
    "search": 40,
    "profile": 60,
    "table": 170,
    "suite": 240,
}
# Those that are run only when they are named.
NAMED_ONLY = {"long": 450}
# Seconds that the last part of a section may take.
LAST_PART = 25
LAYERS = 3
# What must be reached, by box, width and batch, in images per second.
WANTED = {(128, 256, 8): 5000, (128, 256, 64): 20000, (128, 1024, 64): 3900}
WANTED |= {(256, 1024, 64): 850}


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of the cases.

    Attributes:
        boxes: Sides of images of the table in pixels.
        widths: Hidden widths.
        batches: Images of a step.
        seconds: Seconds of a measurement.
        box: Side of the images of whole commands.
        simulated: Images that are simulated.
        tiles: How often they are repeated.
        network: Width of the network of whole commands.
        searched: Side of the images whose poses are searched.
    """

    boxes: tuple[int, ...] = (64, 128, 256)
    widths: tuple[int, ...] = (256, 1024)
    batches: tuple[int, ...] = (8, 64, 256)
    seconds: float = 0.5
    box: int = 128
    simulated: int = 2500
    tiles: int = 40
    network: int = 256
    searched: int = 64

    def in_order(self) -> list[tuple[int, int, int]]:
        """Box, width and batch of the table, what is asked for first."""
        sizes = list(product(self.boxes, self.widths, self.batches))
        return sorted(sizes, key=lambda size: (size not in WANTED, size))


SMALL = Sizes(
    boxes=(16,),
    widths=(16,),
    batches=(4,),
    seconds=0.01,
    box=16,
    simulated=40,
    tiles=3,
    network=16,
    searched=16,
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """Where a section runs.

    Attributes:
        device: Name of the device.
        sizes: Sizes.
        folder: Folder of the figures.
        seconds: Until when a section with many parts should begin another.
    """

    device: str
    sizes: Sizes
    folder: Path
    seconds: float

    @property
    def star(self) -> Path:
        """The tiled particles."""
        return self.folder / "particles" / "tiled.star"


def tile(star: Path, tiled: Path, times: int) -> int:
    """Write a STAR file whose particles are those of another, several times over.

    Returns:
        Number of particles.
    """
    lines = star.read_text().splitlines()
    last_label = max(n for n, line in enumerate(lines) if line.startswith("_"))
    rows = [line for line in lines[last_label + 1 :] if line.strip()]
    tiled.write_text("\n".join([*lines[: last_label + 1], *(times * rows)]) + "\n")
    return times * len(rows)


def words_of(*arguments: object) -> list[str]:
    """A command line of the program."""
    return [sys.executable, "-m", "cryodrgn", *map(str, arguments)]


def seconds_of(*arguments: object) -> float:
    """Seconds from typing a command to its end."""
    started = time.perf_counter()
    subprocess.run(words_of(*arguments), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def data(case: Case) -> dict[str, Any]:
    """Simulate a few images and repeat them."""
    sizes, folder = case.sizes, case.star.parent
    words = ("-D", sizes.box, "--Apix", 256 / sizes.box, "-n", sizes.simulated)
    taken = seconds_of("simulate", *words, "--num-states", 2, "-o", folder)
    count = tile(folder / "particles.star", case.star, sizes.tiles)
    return {"images": count, "box": sizes.box, "simulation, s": taken}


def whole(case: Case) -> dict[str, Any]:
    """Three epochs of training, from typing to the last file, and to the first images."""
    sizes, run = case.sizes, case.folder / "run"
    network = ("--qdim", sizes.network, "--pdim", sizes.network)
    words = words_of(
        *("train_vae", case.star, "--zdim", 8, "-n", 3, "-b", 64, *network),
        *("--device", case.device, "--overwrite", "-o", run),
    )
    metrics, first = run / "metrics.csv", None
    started = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        if first is None and metrics.exists() and metrics.read_bytes().count(b"\n") > 1:
            first = time.perf_counter() - started
        time.sleep(0.01)
    taken = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"train_vae ended with status {process.returncode}")
    lines = (run / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    epochs = [event["seconds"] for event in events if event["event"] == "EpochFinished"]
    return {"all, s": taken, "first 1,000 images, s": first, "epochs, s": epochs}


def long(case: Case) -> dict[str, Any]:
    """Twenty epochs and the report of an analysis, from typing to the last file."""
    sizes, run = case.sizes, case.folder / "long"
    network = ("--qdim", sizes.network, "--pdim", sizes.network, "--device", case.device)
    trained = seconds_of(
        *("train_vae", case.star, "--zdim", 8, "-n", 20, "-b", 64, *network),
        *("--checkpoint", 5, "--overwrite", "-o", run),
    )
    analysed = seconds_of("analyze", run, -1, "--device", case.device)
    return {"training, s": trained, "analysis, s": analysed, "all, s": trained + analysed}


def linear(case: Case) -> dict[str, Any]:
    """The linear latent of the same particles."""
    words = ("--device", case.device, "--overwrite", "-o", case.folder / "linear")
    return {"all, s": seconds_of("train_linear", case.star, *words)}


def search(case: Case) -> dict[str, Any]:
    """Images whose poses are searched per second, on the device and on the processor."""
    import torch

    from cryodrgn.benchmarking.search import SearchCase
    from cryodrgn.devices import choose_device, choose_network_dtype

    found: dict[str, Any] = {}
    for name in dict.fromkeys((case.device, "cpu")):
        device = choose_device(name)
        dtype = choose_network_dtype(device)
        searched = SearchCase(case.sizes.searched, 4.0, dtype, torch.device(device))
        found[f"{name}, images/s"] = searched.images_per_s(case.sizes.seconds)
    rates = list(found.values())
    return found | {"times the processor": rates[0] / rates[-1]}


class Said(logging.Handler):
    """Remembers what is warned of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def one_step(case: Case, size: tuple[int, int, int], variant: str) -> Any:
    """A step of training of some size, executed in some way.

    Raises:
        RuntimeError: It cannot be executed so here.
    """
    import torch

    from cryodrgn.benchmarking.steps import TrainingStep, model_config
    from cryodrgn.devices import choose_device, choose_network_dtype
    from cryodrgn.rundir import RunDirectory

    box, width, batch = size
    device = choose_device(case.device)
    torch.manual_seed(0)
    said, log = Said(), logging.getLogger("cryodrgn")
    log.addHandler(said)
    try:
        step = TrainingStep(
            model_config(box, width, LAYERS),
            batch,
            choose_network_dtype(device),
            device,
            RunDirectory(case.folder),
            variant,
        )
        # What is known to be impossible is said before the first step; code is compiled, and
        # graphs are captured, in the first few.
        for _ in range(0 if said.lines else 1 if variant == "off" else 5):
            step()
    finally:
        log.removeHandler(said)
    if said.lines:
        raise RuntimeError(said.lines[-1])
    return step


def table(case: Case) -> dict[str, Any]:
    """Images per second of steps, by size and execution."""
    from cryodrgn.benchmarking.steps import model_config
    from cryodrgn.benchmarking.timing import describe_machine, median_seconds, product_ceilings
    from cryodrgn.devices import choose_device, choose_network_dtype, dtype_name
    from cryodrgn.training.cost import operations_per_particle

    device = choose_device(case.device)
    dtype = choose_network_dtype(device)
    ceilings = product_ceilings(device, case.sizes.seconds)
    found: dict[str, Any] = {
        "machine": describe_machine(device, dtype),
        "ceilings, GFLOP/s": ceilings,
        "rows": [],
    }
    until = time.monotonic() + case.seconds
    for size, variant in product(case.sizes.in_order(), VARIANTS):
        row: dict[str, Any] = {"size": size, "variant": variant}
        found["rows"].append(row)
        if time.monotonic() > until:
            row["reason"] = "no time was left"
            continue
        started = time.perf_counter()
        try:
            step = one_step(case, size, variant)
            row["made in, s"] = time.perf_counter() - started
            rate = size[2] / median_seconds(step, device, case.sizes.seconds)
        except Exception as error:  # noqa: BLE001 (another size may work)
            row["reason"] = (str(error).splitlines() or [type(error).__name__])[0]
            continue
        config = model_config(size[0], size[1], LAYERS)
        gflops = rate * operations_per_particle(config) / 1e9
        row |= {"images/s": rate, "share": gflops / ceilings[dtype_name(dtype)]}
        save(case.folder / "table.json", found)
    return found


def profile(case: Case) -> dict[str, Any]:
    """Kernels of a step, their time on the device, and the share of it without any."""
    from torch.profiler import ProfilerActivity, profile

    from cryodrgn.benchmarking.timing import median_seconds
    from cryodrgn.devices import choose_device, synchronize

    device = choose_device(case.device)
    is_card = device.type == "cuda"
    activity = ProfilerActivity.CUDA if is_card else ProfilerActivity.CPU
    box, width = case.sizes.box, case.sizes.network
    found: dict[str, Any] = {}
    for batch, variant in product(case.sizes.batches[:2], ("off", "graphs")):
        name = f"{box} px, {width}×{LAYERS}, batch {batch}, {VARIANTS[variant]}"
        try:
            step = one_step(case, (box, width, batch), variant)
        except Exception as error:  # noqa: BLE001 (another may work)
            found[name] = {"reason": (str(error).splitlines() or [""])[0]}
            continue
        wall = median_seconds(step, device, case.sizes.seconds)
        with profile(activities=[activity]) as recorded:
            step()
            synchronize(device)
        events = [
            event
            for event in recorded.key_averages()
            if not is_card or event.self_device_time_total > 0
        ]
        spent = [e.self_device_time_total if is_card else e.self_cpu_time_total for e in events]
        busy = sum(spent) / 1e6
        longest = sorted(zip(spent, (e.key for e in events), strict=True), reverse=True)[:8]
        found[name] = {
            "kernels": sum(event.count for event in events),
            "on the device, ms": 1e3 * busy,
            "of a step, ms": 1e3 * wall,
            "idle": max(0.0, 1 - busy / wall),
            "longest, ms": {
                key[:60]: round(microseconds / 1e3, 3) for microseconds, key in longest
            },
        }
    return found


def suite(case: Case) -> dict[str, Any]:
    """The tests of ``make gpu-test``."""
    words = [sys.executable, "-m", "pytest", "-m", "gpu", "-rs", "-q", "-p", "no:cacheprovider"]
    if case.sizes is SMALL:
        words += ["-k", "backproject_voxel"]
    environment = os.environ | {"DEVICE": case.device}
    done = subprocess.run(
        [*words, "tests/gpu"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    (case.folder / "suite.txt").write_text(done.stdout + done.stderr)
    last = (done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or [""])[-1]
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return {"status": done.returncode, "result": last.strip("= "), "failed": failed}


RUN: dict[str, Callable[[Case], dict[str, Any]]] = {
    "data": data,
    "whole": whole,
    "long": long,
    "linear": linear,
    "search": search,
    "profile": profile,
    "table": table,
    "suite": suite,
}


def save(path: Path, figures: dict[str, Any]) -> None:
    """Keep figures in a file, whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
    partial.replace(path)


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


def report(figures: dict[str, Any]) -> list[str]:
    """The figures as tables in Markdown."""
    lines = ["# On a card", ""]
    rows = figures.get("table", {}).get("rows", [])
    machine = figures.get("table", {}).get("machine", {})
    lines += [f"- {name}: {value}" for name, value in machine.items()]
    for name, value in figures.get("table", {}).get("ceilings, GFLOP/s", {}).items():
        lines.append(f"- products in {name}: {value:,.0f} GFLOP/s")
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
        lines += [f"## {name}", "", *_listed(found), ""]
    return lines


def _cell(row: dict[str, Any], reasons: list[str]) -> str:
    if "images/s" in row:
        return f"{row['images/s']:,.0f} ({row['share']:.0%})"
    reason = row.get("reason", "not measured")
    if reason not in reasons:
        reasons.append(reason)
    return f"– [{reasons.index(reason) + 1}]"


def _listed(found: dict[str, Any]) -> list[str]:
    return [
        f"- {name}: {value:,.2f}" if isinstance(value, float) else f"- {name}: {value}"
        for name, value in found.items()
    ]


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
    needs_data = {"whole", "linear", "long"} & set(args.sections)
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
    text = "\n".join(report(figures)) + "\n"
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
