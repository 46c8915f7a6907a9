"""Tilt series of an antibody whose Fab turns about its hinge: linear model, VAE, rigid set.

    python benchmarks/tilt_series.py --structure 1hzh.pdb --work /scratch/tilt

simulates 2,000 particles of 21 tilts of 64 px (dose-symmetric, ±60° in steps of 6°, 3 e/Å² a
tilt), trains as a user would type the commands, and prints R² of the hinge angle predicted from
neighbours in the latent space for held-out particles. The same images as single particles are
beside it, and what one image costs in a step of training, measured in turns. What is in the
work folder already is not made again; ``--parts`` names some of ``linear vae single rigid
speed``, ``--epochs`` shortens the VAE.
"""

import argparse
import math
import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from costs import command
from scores import motion_r2
from sets import SETS, hinge, make_set_once

from cryodrgn.data.prepared import Storage
from cryodrgn.data.preprocessing import Preprocessing, estimate_scale
from cryodrgn.data.training_set import TrainingSet, build_training_set
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.io.arrays import read_npy
from cryodrgn.io.cryodrgn_pickle import load_latents
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.io.text import read_yaml
from cryodrgn.models.build import build_model
from cryodrgn.models.settings import DecoderConfig, EncoderConfig, ModelConfig
from cryodrgn.particles.options import TiltSeriesSettings
from cryodrgn.rundir import RunDirectory, SimulationFiles
from cryodrgn.simulation.views import TiltScheme
from cryodrgn.training.loop import part_size, split_batch
from cryodrgn.training.objectives import VaeObjective
from cryodrgn.training.schedules import KlWeighting

BOX = SETS["tilt_hinge360"].box_size
SCHEME = TiltScheme(step_deg=6.0)
# A network that a processor trains in minutes; four tilts of every particle in an epoch.
VAE = ("-D", 32, "--zdim", 4, "--pdim", 64, "--qdim", 128, "--lr", 1e-3)
DRAWN = ("--ntilts", 4, "--random-tilts")
PARTS = ("linear", "vae", "single", "rigid", "speed")
TURNS, PARTICLES_TIMED = 5, 16


def main() -> None:
    args = _arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    series = _set(args, "hinge", angle=360)
    labels = read_npy(series.labels)
    of_images = np.repeat(labels, len(SCHEME.angles()))
    if "linear" in args.parts:
        _score(args, series, "linear", labels, "train_linear")
    if "vae" in args.parts:
        for seed in args.seeds:
            words = ("train_vae", *VAE, *DRAWN, "-n", args.epochs, "--seed", seed)
            _score(args, series, f"vae_{seed}", labels, *words)
    if "single" in args.parts:
        _score(args, series, "linear_single", of_images, "train_linear", "--single-images")
        words = ("train_vae", *VAE, "-n", args.single_epochs, "--single-images")
        _score(args, series, "vae_single", of_images, *words)
    if "rigid" in args.parts:
        rigid = _set(args, "rigid", angle=0)
        print(f"rigid set: {_verdict(_run(args, rigid, 'linear', 'train_linear'))}")
    if "speed" in args.parts:
        _speed(series)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--structure", type=Path, required=True, help="PDB 1HZH")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--particles", type=int, default=2000)
    parser.add_argument("--snr", type=float, default=0.02)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--single-epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def _set(args: argparse.Namespace, name: str, angle: float) -> SimulationFiles:
    settings = replace(
        SETS["tilt_hinge360"],
        states=hinge(angle, 50 if angle else 1),
        num_images=args.particles,
        snr=args.snr,
    )
    return make_set_once(settings, args.structure, args.work / name, seed=0)


def _run(
    args: argparse.Namespace, files: SimulationFiles, name: str, program: str, *options: object
) -> RunDirectory:
    """A finished run of a command on the images of a set."""
    run = RunDirectory(files.path / name)
    if not run.latents().exists():
        cost = command(
            program, files.star, "-o", run.path, "--overwrite", *options, threads=args.threads
        )
        print(f"{name}: {cost.processor_seconds:.0f} s of the processor")
    return run


def _score(
    args: argparse.Namespace,
    files: SimulationFiles,
    name: str,
    labels: np.ndarray,
    *words: object,
) -> None:
    program, *options = words
    run = _run(args, files, name, str(program), *options)
    found = motion_r2(load_latents(run.latents()), labels, circular=True)
    print(f"{name}: R² {found:.3f} ({' '.join(map(str, words))})", flush=True)


def _verdict(run: RunDirectory) -> str:
    return read_yaml(run.config_yaml)["training"]["verdict"]


def _speed(files: SimulationFiles) -> None:
    """Seconds of a step by image: of tilt series, and of the same images as particles."""
    steps = {kind: _Step(files, is_series=kind == "series") for kind in ("series", "single")}
    ratios = []
    for turn in range(TURNS):
        order = list(steps) if turn % 2 else list(reversed(steps))
        taken = {kind: steps[kind]() for kind in order}
        ratios.append(taken["series"] / taken["single"])
        print({kind: f"{1000 * seconds:.1f} ms an image" for kind, seconds in taken.items()})
    print(f"series / single: {statistics.median(ratios):.2f} (median of {TURNS} pairs)")


class _Step:
    """A step of training without its optimiser.

    Args:
        files: The set.
        is_series: Whether images are those of tilt series, or single particles.
    """

    def __init__(self, files: SimulationFiles, *, is_series: bool) -> None:
        settings = TiltSeriesSettings(is_series=is_series)
        particles = open_particles(ParticleFiles(particles=files.star, series=settings))
        count = PARTICLES_TIMED * (1 if is_series else len(SCHEME.angles()))
        particles = particles.select(np.arange(count))
        lattice = HalfPlaneFrequencies.disc(BOX)
        scale = estimate_scale(particles, lattice, Preprocessing())
        self._images: TrainingSet = build_training_set(
            particles,
            lattice,
            Preprocessing(scale=scale),
            torch.device("cpu"),
            storage=Storage(scratch_dir=files.path),
        )
        model = build_model(
            ModelConfig(
                box_size=BOX,
                latent_dim=4,
                encoder=EncoderConfig(mode="subtomogram" if is_series else "resid"),
                decoder=DecoderConfig(),
            )
        )
        self._objective = VaeObjective(model, KlWeighting(), torch.float32)
        self._batch = 2 if is_series else 2 * len(SCHEME.angles())

    def __call__(self) -> float:
        """Seconds of the processor by image."""
        images, batch = self._images, self._batch
        started, seen = time.process_time(), 0
        for rows in torch.arange(len(images)).split(batch):
            parts = [
                images.batch(part)
                for part in split_batch(rows, part_size(images), torch.device("cpu"))
            ]
            self._objective.gradients(parts, torch.zeros(len(rows), 4), 0, float(len(rows)))
            seen += math.ceil(images.num_images(rows))
        return (time.process_time() - started) / seen


if __name__ == "__main__":
    main()
