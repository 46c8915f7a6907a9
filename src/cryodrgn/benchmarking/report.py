"""All measurements in order, as one table or one file."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from cryodrgn.benchmarking.around import (
    measure_backprojection,
    measure_decoding,
    measure_downsampling,
    measure_preparation,
    measure_star,
    measure_start_up,
)
from cryodrgn.benchmarking.search import SearchCase
from cryodrgn.benchmarking.steps import measure_steps
from cryodrgn.benchmarking.timing import describe_machine, product_ceilings
from cryodrgn.devices import choose_network_dtype
from cryodrgn.io.atomic import atomic_path
from cryodrgn.progress import track
from cryodrgn.rundir import RunDirectory

LAYERS = 3
MAP_BOX = 128
STAR_ROWS = 200_000
SEARCHED_BOX, SEARCHED_SHIFTS = 64, 4.0


def measure_machine(
    device: torch.device,
    *,
    boxes: Sequence[int],
    widths: Sequence[int],
    batches: Sequence[int],
    seconds: float,
    steps_only: bool = False,
) -> dict[str, Any]:
    """Measure this machine.

    Args:
        device: Where networks compute.
        boxes: Box sizes of training.
        widths: Nodes in hidden layers.
        batches: Batch sizes.
        seconds: How long to go on with each measurement.
        steps_only: Leave out everything but training steps.

    Returns:
        ``machine``, ``ceiling`` (GFLOP/s by number type), ``train`` (a list, see
        :class:`cryodrgn.benchmarking.steps.StepSpeed`) and, unless left out, ``around``
        (rates per second, and start-up in seconds).
    """
    dtype = choose_network_dtype(device)
    machine = describe_machine(device, dtype)
    ceilings = product_ceilings(device, seconds)
    sizes = [
        (box, width, LAYERS, batch) for box in boxes for width in widths for batch in batches
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        steps = measure_steps(
            sizes,
            ceilings,
            dtype,
            device,
            seconds=seconds,
            scratch=RunDirectory(folder),
        )
        figures: dict[str, Any] = {
            "machine": machine,
            "ceiling": ceilings,
            "train": [asdict(s) for s in track(steps, len(sizes), "training steps", "size")],
        }
        if not steps_only:
            figures["around"] = _around(device, widths, seconds, folder)
            figures["around"] |= _search(device, dtype, ceilings, seconds)
    return figures


def _search(
    device: torch.device, dtype: torch.dtype, ceilings: dict[str, float], seconds: float
) -> dict[str, float]:
    case = SearchCase(SEARCHED_BOX, SEARCHED_SHIFTS, dtype, device)
    return {
        f"orientation search at {SEARCHED_BOX} px, images/s": case.images_per_s(seconds),
        "  bound of its matrix products, images/s": case.bound(ceilings),
    }


def _around(
    device: torch.device, widths: Sequence[int], seconds: float, folder: Path
) -> dict[str, float]:
    found = {
        f"preparation at {MAP_BOX} px, images/s": measure_preparation(MAP_BOX, seconds, folder),
        f"downsampling {MAP_BOX} to 64 px, images/s": measure_downsampling(
            MAP_BOX, 64, seconds, folder
        ),
        f"backprojection at {MAP_BOX} px, images/s": measure_backprojection(
            MAP_BOX, device, seconds
        ),
    }
    for box in (64, MAP_BOX):
        for width in widths:
            rate = measure_decoding(box, width, LAYERS, device, seconds)
            found[f"decoding at {box} px, {width}×{LAYERS}, volumes/s"] = rate
    found[f"STAR file of {STAR_ROWS:,} rows, s"] = measure_star(STAR_ROWS, folder)
    found["cryodrgn --help, s"] = measure_start_up(["--help"])
    found["cryodrgn train_vae --help, s"] = measure_start_up(["train_vae", "--help"])
    return found


def table(figures: dict[str, Any]) -> Iterator[str]:
    """The figures as lines of text."""
    for name, value in figures["machine"].items():
        yield f"{name:15} {value}"
    for name, value in figures["ceiling"].items():
        yield f"matrix products in {name}: {value:,.0f} GFLOP/s"
    yield ""
    yield "training    box  network  batch   images/s    GFLOP/s  of ceiling"
    for row in figures["train"]:
        network = f"{row['width']}×{row['layers']}"
        yield (
            f"{'':11} {row['box']:4} {network:>8} {row['batch']:6} "
            f"{row['images_per_s']:10,.1f} {row['gflops']:10,.0f} "
            f"{100 * row['fraction']:9.0f} %"
        )
    if "around" in figures:
        yield ""
    for name, value in figures.get("around", {}).items():
        yield f"{name:45} {value:10,.2f}"


def write_json(path: Path, figures: dict[str, Any]) -> None:
    """Keep the figures in a file."""
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
