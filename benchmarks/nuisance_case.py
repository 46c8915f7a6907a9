"""A rigid molecule with poses that are wrong by 2°: does the nuisance report say so?

A small network is trained on it, and on a hinge with exact poses. Run:
python benchmarks/nuisance_case.py [--images N] [--epochs E]
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import roma
import torch

from cryodrgn.cli.main import main as cryodrgn
from cryodrgn.io.cryodrgn_pickle import load_latents, load_poses, save_pickles
from cryodrgn.io.particle_files import ParticleFiles
from cryodrgn.workflow.nuisance import report_nuisances


def perturb(poses: Path, output: Path, degrees: float) -> None:
    rotations, shifts = load_poses(poses)
    errors = np.deg2rad(degrees) * np.random.default_rng(0).normal(size=(len(rotations), 3))
    turns = roma.rotvec_to_rotmat(torch.from_numpy(errors)).float()
    save_pickles(output, [((torch.from_numpy(rotations) @ turns).numpy(), shifts)])


def verdict(folder: Path, num_states: int, degrees: float, args: argparse.Namespace) -> str:
    simulated, poses, trained = folder / "simulated", folder / "poses.pkl", folder / "run"
    states = ["--num-states", num_states, "--snr", 0.3, "-n", args.images]
    line = ["simulate", "-D", 32, "--Apix", 6, *states, "-o", simulated]
    assert cryodrgn([str(word) for word in line]) == 0
    perturb(simulated / "poses.pkl", poses, degrees)
    files = [simulated / "particles.mrcs", "--poses", poses, "--ctf", simulated / "ctf.pkl"]
    network = ["--zdim", 2, "-b", 16, "--lr", 0.001, "--qdim", 128, "--pdim", 128]
    line = ["train_vae", *files, *network, "-n", args.epochs, "-o", trained]
    assert cryodrgn([str(word) for word in line]) == 0
    particles = ParticleFiles(
        particles=simulated / "particles.mrcs", poses=poses, ctf=simulated / "ctf.pkl"
    )
    return report_nuisances(particles, load_latents(trained / "z.pkl"), folder).sentence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=12)
    args = parser.parse_args()
    sentences = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, num_states, degrees in (("rigid, 2° off", 1, 2.0), ("hinge, exact", 10, 0.0)):
            sentences[name] = verdict(Path(scratch) / name, num_states, degrees, args)
    for name, sentence in sentences.items():
        print(f"{name}: {sentence}")


if __name__ == "__main__":
    main()
