"""Sections of ``benchmarks/gpu.sh``: what is measured of a card, one process for each."""

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
# Names of executions of the step, as --compile knows them, and what the table calls them.
VARIANTS = {"off": "plain", "on": "compiled", "graphs": "CUDA graphs", "triton": "Triton"}
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
        volumes: Volumes that are decoded.
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
    volumes: int = 64

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
    volumes=3,
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
    size = ("-D", sizes.box, "--Apix", 256 / sizes.box, "-n", sizes.simulated)
    taken = seconds_of("simulate", *size, "--num-states", 2, "--overwrite", "-o", folder)
    count = tile(folder / "particles.star", case.star, sizes.tiles)
    return {"images": count, "box": sizes.box, "simulation, s": taken}


def whole(case: Case) -> dict[str, Any]:
    """Three epochs of training, from typing to the last file, and to the first images.

    The first start compiles everything; a second one, which ends with its first images, finds
    the compiled code of the first.
    """
    sizes, run = case.sizes, case.folder / "run"
    network = ("--qdim", sizes.network, "--pdim", sizes.network)
    words = words_of(
        *("train_vae", case.star, "--zdim", 8, "-n", 3, "-b", 64, *network),
        *("--device", case.device, "--overwrite", "-o", run),
    )
    code = case.folder / "compiled"
    shutil.rmtree(code, ignore_errors=True)
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(code)}
    shutil.rmtree(run, ignore_errors=True)
    first, taken = _timed(words, run / "metrics.csv", environment, is_whole=True)
    lines = (run / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    epochs = [event["seconds"] for event in events if event["event"] == "EpochFinished"]
    found = {"all, s": taken, "first 1,000 images, s": first, "epochs, s": epochs}
    save(case.folder / "whole.json", found)
    shutil.rmtree(run)
    again, _ = _timed(words, run / "metrics.csv", environment, is_whole=False)
    return found | {"first 1,000 images of a second start, s": again}


def _timed(
    words: list[str], metrics: Path, environment: dict[str, str], *, is_whole: bool
) -> tuple[float | None, float]:
    """Seconds from typing a training to its first images, and to its end or that moment."""
    first = None
    started = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, env=environment)
    while process.poll() is None:
        if first is None and metrics.exists() and metrics.read_bytes().count(b"\n") > 1:
            first = time.perf_counter() - started
            if not is_whole:
                process.kill()
                process.wait()
                return first, first
        time.sleep(0.01)
    if process.returncode:
        raise SystemExit(f"train_vae ended with status {process.returncode}")
    return first, time.perf_counter() - started


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


def decoding(case: Case) -> dict[str, Any]:
    """Volumes per second by the plain evaluation and by compiled code, by width."""
    import torch

    from cryodrgn.benchmarking.steps import model_config
    from cryodrgn.devices import choose_device, choose_network_dtype
    from cryodrgn.models.build import build_model
    from cryodrgn.reconstruction.decode import VolumeDecoder

    found: dict[str, Any] = {}
    device = choose_device(case.device)
    dtype = choose_network_dtype(device)
    for width, how in product(case.sizes.widths, ("off", "on")):
        config = model_config(case.sizes.box, width, LAYERS)
        source = VolumeDecoder(
            build_model(config).decoder, 0.0, 1.0, device, dtype, compilation=how
        )
        latents = torch.zeros(case.sizes.volumes, config.latent_dim)
        name = f"{case.sizes.box} px, {width}×{LAYERS}, {VARIANTS[how]}"
        said = Said()
        logging.getLogger("cryodrgn").addHandler(said)
        seconds = []
        for _ in range(3):
            started = time.perf_counter()
            for _ in source.volumes(latents):
                pass
            seconds.append(time.perf_counter() - started)
        logging.getLogger("cryodrgn").removeHandler(said)
        if said.lines:
            found[f"{name}, reason"] = said.lines[-1]
            continue
        found[f"{name}, volumes/s"] = len(latents) / min(seconds[1:])
        found[f"{name}, s more at first"] = seconds[0] - min(seconds[1:])
    return found


def sums(case: Case) -> dict[str, Any]:
    """A backprojection with sums in the order in which they come, and in one order."""
    star = case.star.parent / "particles.star"
    found: dict[str, Any] = {}
    for name, more in (("any order, s", ()), ("one order, s", ("--deterministic",))):
        words = ("backproject_voxel", star, "-o", case.folder / "sums.mrc")
        found[name] = seconds_of(*words, "--device", case.device, *more)
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


def save(path: Path, figures: dict[str, Any]) -> None:
    """Keep figures in a file, whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
    partial.replace(path)


RUN: dict[str, Callable[[Case], dict[str, Any]]] = {
    "data": data,
    "whole": whole,
    "long": long,
    "linear": linear,
    "search": search,
    "profile": profile,
    "decoding": decoding,
    "sums": sums,
    "table": table,
    "suite": suite,
}
