"""Everything around the training step: preparation, downsampling, maps, volumes, start-up."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from cryodrgn.benchmarking.steps import model_config
from cryodrgn.benchmarking.synthetic import noise_particles
from cryodrgn.benchmarking.timing import median_seconds
from cryodrgn.data.downsample import downsample_stack
from cryodrgn.data.prepared import Storage, prepare_all
from cryodrgn.data.preprocessing import Preprocessing
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.mrc import stack_writer
from cryodrgn.io.relion import RelionParticles
from cryodrgn.io.star import write_star
from cryodrgn.models.build import build_model
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.reconstruction.backproject import backproject
from cryodrgn.reconstruction.decode import VolumeDecoder

CPU = torch.device("cpu")
# Numbers of images whose times are subtracted.
BACKPROJECTED = (500, 3000)
WINDOWED = Preprocessing(window_radius=0.85)
STAR_NUMBERS = (
    *("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst"),
    *("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle", "rlnPhaseShift"),
)
STAR_OTHERS = (
    *("rlnCoordinateX", "rlnCoordinateY", "rlnAutopickFigureOfMerit", "rlnClassNumber"),
    *("rlnCtfMaxResolution", "rlnCtfFigureOfMerit", "rlnCtfBfactor", "rlnCtfScalefactor"),
    *("rlnNormCorrection", "rlnLogLikeliContribution", "rlnMaxValueProbDistribution"),
    *("rlnNrOfSignificantSamples", "rlnGroupNumber", "rlnRandomSubset"),
)


def measure_preparation(box: int, seconds: float, folder: Path) -> float:
    """Images per second that are windowed, transformed, centred, scaled and masked."""
    particles, lattice = noise_particles(1024, box), HalfPlaneFrequencies.disc(box)
    storage = Storage(scratch_dir=folder, on_disk=False)

    def work() -> None:
        prepare_all(particles, lattice, WINDOWED, storage=storage)

    return len(particles) / median_seconds(work, CPU, seconds)


def measure_downsampling(box: int, new: int, seconds: float, folder: Path) -> float:
    """Images per second that are read from a stack, downsampled and written to another."""
    count, stack = 2048, folder / "stack.mrcs"
    with stack_writer(stack, box, 1.0) as writer:
        for start in range(0, count, 64):
            images = noise_particles(64, box, seed=start).images
            writer.append(images.read(np.arange(64)))

    def work() -> None:
        images = ImageStack.whole_files([stack])
        downsample_stack(images, new, folder / "small.mrcs", pixel_size=1.0)

    return count / median_seconds(work, CPU, seconds)


def measure_backprojection(box: int, device: torch.device, seconds: float) -> float:
    """Images per second of a backprojection, without the final transforms of its three maps."""
    taken = []
    for count in BACKPROJECTED:
        particles = noise_particles(count, box)

        def work(particles: ParticleSet = particles) -> None:
            backproject(particles, WINDOWED, device=device)

        taken.append(median_seconds(work, device, seconds))
    return (BACKPROJECTED[1] - BACKPROJECTED[0]) / max(taken[1] - taken[0], 1e-9)


def measure_decoding(
    box: int, width: int, layers: int, device: torch.device, seconds: float
) -> float:
    """Volumes per second."""
    model = build_model(model_config(box, width, layers))
    volumes = VolumeDecoder(model.decoder, 0.0, 1.0, device)
    latent = torch.zeros(volumes.latent_dim)
    return 1 / median_seconds(lambda: volumes.volume(latent), device, seconds)


def measure_star(rows: int, folder: Path) -> float:
    """Seconds to read poses and CTF from a STAR file with as many columns as RELION writes."""
    rng, path = np.random.default_rng(0), folder / "particles.star"
    angles = [f"{value:.6f}" for value in rng.uniform(0, 180, rows)]
    micrographs = [
        f"MotionCorr/job002/Movies/image_{row // 500:05d}.mrc" for row in range(rows)
    ]
    columns = dict.fromkeys((*STAR_NUMBERS, *STAR_OTHERS), angles)
    columns |= {"rlnMicrographName": micrographs, "rlnOpticsGroup": ["1"] * rows}
    columns["rlnImageName"] = [f"{i % 500 + 1:06d}@{m}s" for i, m in enumerate(micrographs)]
    optics = {
        "rlnOpticsGroup": [1],
        "rlnVoltage": [300.0],
        "rlnSphericalAberration": [2.7],
        "rlnAmplitudeContrast": [0.1],
        "rlnImagePixelSize": [1.5],
        "rlnImageSize": [128],
    }
    write_star(path, {"optics": optics, "particles": columns})

    def work() -> None:
        particles = RelionParticles(path)
        pixel_sizes = particles.pixel_sizes()
        assert pixel_sizes is not None
        particles.poses(pixel_sizes)
        particles.ctf()

    return median_seconds(work, CPU, 1.0)


def measure_start_up(words: Sequence[str]) -> float:
    """Seconds from typing a command to its end."""
    line = [sys.executable, "-m", "cryodrgn", *words]
    times = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return sorted(times)[1]
