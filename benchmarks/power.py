"""Predicted against observed detection of motions on simulated sets; writes docs/power.json.

    python benchmarks/power.py --structure 1hzh.pdb --work /scratch/power

For each of two noise levels one set of the antibody is simulated with nothing moving, and
asked, as a user would with ``cryodrgn power``, what it shows of an Fab that turns by five sizes
of motion, with three numbers of particles. Other sets are simulated with the motion in half of
the particles, fitted as ``train_linear`` does, and the chance forecast is compared with how
often a component was said to carry signal. Rigid sets tell how often noise alone is. Every
figure is kept in docs/power.json as soon as it is there, and not measured again.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from sets import BenchmarkSet, hinge, make_set

from cryodrgn.data.config import DataConfig
from cryodrgn.data.noise import initial_noise
from cryodrgn.data.prepared import Storage
from cryodrgn.io.mrc import read_volume, write_volume
from cryodrgn.io.particle_files import ParticleFiles
from cryodrgn.linear.halves import SIGNAL_THRESHOLD
from cryodrgn.linear.runner import estimated_norm, prepare_disc
from cryodrgn.particles.optics_groups import optics_groups
from cryodrgn.workflow.power import Point, PowerSettings, measure_power
from cryodrgn.workflow.power_scene import FitSettings, MotionSettings, fitted

FIGURES = Path(__file__).parent.parent / "docs/power.json"
BOX_SIZE, SNRS, COUNTS = 32, (0.1, 0.03), (500, 1000, 2000)
# The Fab turned by these angles; the two states are this far apart.
ANGLES_DEG = {0.1: (12.0, 20.0, 30.0, 45.0, 70.0), 0.03: (20.0, 35.0, 50.0, 75.0, 120.0)}
FIT = FitSettings(num_components=4, radius=8)
SHARE = 0.5


def main() -> None:
    args = _arguments()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    kept = json.loads(args.figures.read_text()) if args.figures.exists() else {}
    kept = {"forecasts": {}, "observed": {}, "rigid": {}} | kept

    def keep(group: str, key: str, value: object) -> None:
        kept[group][key] = value
        args.figures.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")

    for snr in SNRS:
        if f"{snr}" not in kept["forecasts"]:
            keep("forecasts", f"{snr}", _forecasts(snr, args))
    for seed in range(1, args.seeds + 1):
        for snr in SNRS:
            for angle in (0.0, *ANGLES_DEG[snr]):
                key, group = f"{snr}|{angle:g}|{seed}", "observed" if angle else "rigid"
                if key not in kept[group]:
                    keep(group, key, _observed(snr, angle, seed, args))
    print(json.dumps(summary(kept), indent=1))
    kept["summary"] = summary(kept)
    args.figures.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


def _forecasts(snr: float, args: argparse.Namespace) -> dict:
    """Chances for all sizes and numbers of particles, with and without trials."""
    folder = args.work / f"asked{snr}"
    shutil.rmtree(folder, ignore_errors=True)
    settings = BenchmarkSet(
        states=hinge(0, 1), box_size=BOX_SIZE, snr=snr, num_images=COUNTS[-1]
    )
    files = make_set(settings, args.structure, folder, seed=1000)
    data = DataConfig(files=ParticleFiles(particles=files.star))
    found = {}
    for angle in ANGLES_DEG[snr]:
        for number, volume in enumerate(_states(angle, args.structure)):
            write_volume(folder / f"{angle:g}_{number}.mrc", volume[0], volume[1])
    for angle in ANGLES_DEG[snr]:
        maps = tuple(folder / f"{angle:g}_{number}.mrc" for number in range(2))
        asked = PowerSettings(
            data=data,
            motion=MotionSettings(models=maps, sizes=(1.0,)),
            fit=FIT,
            shares=(SHARE,),
            num_trials=args.trials,
        )
        power = measure_power(asked, data.open(), torch.device("cpu"), folder)
        for count in COUNTS:
            point = Point(size=1.0, share=SHARE, count=count)
            expected = power.forecast(point)
            found[f"{angle:g}|{count}"] = {
                "chance": power.probability(point),
                "correlation": expected.correlation,
                "edge": expected.edge,
                "shift": power.calibration.shift,
            }
    return found


def _states(angle: float, structure: Path) -> list[tuple[np.ndarray, float]]:
    """The two states as ``make_set`` makes them."""
    with tempfile.TemporaryDirectory() as folder:
        settings = BenchmarkSet(states=hinge(angle, 2), box_size=BOX_SIZE, num_images=8)
        files = make_set(settings, structure, Path(folder), seed=0)
        return [read_volume(files.state(number)) for number in range(2)]


def _observed(snr: float, angle: float, seed: int, args: argparse.Namespace) -> dict:
    """Largest correlation of a component of fresh sets, by number of particles."""
    folder = args.work / f"fresh{snr}_{angle:g}_{seed}"
    states = hinge(angle, 2) if angle else hinge(0, 1)
    settings = BenchmarkSet(states=states, box_size=BOX_SIZE, snr=snr, num_images=COUNTS[-1])
    files = make_set(settings, args.structure, folder, seed)
    data = DataConfig(files=ParticleFiles(particles=files.star))
    particles = data.open()
    images = prepare_disc(
        data,
        particles,
        estimated_norm(data, particles),
        torch.device("cpu"),
        storage=Storage(scratch_dir=folder),
    )
    noise = initial_noise(images.images, optics_groups(particles.images))
    found = {}
    for count in COUNTS:
        rows = torch.arange(len(particles))[:count]
        fit = fitted(images, rows, noise, FIT, seed)
        found[str(count)] = float(fit.agreement.correlation.max())
    shutil.rmtree(folder)
    return found


def summary(kept: dict) -> dict:
    """Chances forecast and seen, in bins of the forecast, and false alarms."""
    pairs = []
    for key, found in kept["observed"].items():
        snr, angle, _ = key.split("|")
        for count, correlation in found.items():
            chance = kept["forecasts"][snr][f"{angle}|{count}"]["chance"]
            pairs.append(
                (chance, float(correlation > SIGNAL_THRESHOLD), f"{snr}|{angle}|{count}")
            )
    bins = {}
    for low, high in ((0, 0.1), (0.1, 0.5), (0.5, 0.9), (0.9, 1.01)):
        inside = [(chance, seen) for chance, seen, _ in pairs if low <= chance < high]
        if inside:
            mean = np.mean(inside, axis=0)
            bins[f"{low:g}-{min(high, 1):g}"] = {
                "trials": len(inside),
                "forecast": round(float(mean[0]), 3),
                "observed": round(float(mean[1]), 3),
            }
    cells: dict[str, list[tuple[float, float]]] = {}
    for chance, seen, cell in pairs:
        cells.setdefault(cell, []).append((chance, seen))
    errors = [abs(np.mean([s for _, s in c]) - c[0][0]) for c in cells.values()]
    alarms = [v > SIGNAL_THRESHOLD for found in kept["rigid"].values() for v in found.values()]
    whole = np.mean([(chance, seen) for chance, seen, _ in pairs], axis=0) if pairs else (0, 0)
    return {
        "bins": bins,
        "cells": len(cells),
        "cells_within_10_points": int(sum(error <= 0.1 for error in errors)),
        "mean_error_of_cells": round(float(np.mean(errors)), 3) if errors else None,
        "forecast_of_all": round(float(whole[0]), 3),
        "observed_of_all": round(float(whole[1]), 3),
        "rigid_fits": len(alarms),
        "false_alarms": int(sum(alarms)),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--structure", type=Path, required=True, help="PDB 1HZH")
    parser.add_argument("--work", type=Path, required=True, help="folder for particle sets")
    parser.add_argument("--figures", type=Path, default=FIGURES)
    parser.add_argument("--seeds", type=int, default=10, help="fresh sets of every kind")
    parser.add_argument("--trials", type=int, default=12, help="trials of every forecast")
    return parser.parse_args()


if __name__ == "__main__":
    main()
