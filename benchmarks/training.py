"""A training step of ``train_vae`` beside a plain eager float32 step of the same model.

The plain step is written as the method is described: the whole batch at once, the latent
repeated for every point, everything in float32, in a process of its own, whose allocator is as
the system has it. Prints the median of paired ratios.

    python benchmarks/training.py --box 128 --width 256
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from cryodrgn.allocator import keep_freed_memory
from cryodrgn.benchmarking.steps import TrainingStep, model_config
from cryodrgn.benchmarking.synthetic import noise_particles
from cryodrgn.benchmarking.timing import product_ceilings
from cryodrgn.data.prepared import Storage
from cryodrgn.data.preprocessing import Preprocessing
from cryodrgn.data.training_set import build_training_set
from cryodrgn.devices import choose_network_dtype, dtype_name
from cryodrgn.models.build import build_model, stored_lattice
from cryodrgn.rundir import RunDirectory
from cryodrgn.training.cost import operations_per_particle

CPU = torch.device("cpu")


class PlainStep:
    """Encoder, latent, decoder, loss and Adam, one after the other, for a whole batch."""

    def __init__(self, config, batch: int, folder: Path) -> None:
        lattice = stored_lattice(config)
        self.particles = build_training_set(
            noise_particles(4 * batch, config.box_size),
            lattice,
            Preprocessing(scale=float(config.box_size)),
            CPU,
            storage=Storage(scratch_dir=folder),
        )
        self.model = build_model(config)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4)
        self.batch, self.number = batch, 0

    def __call__(self) -> None:
        rows = (torch.arange(self.batch) + self.number * self.batch) % (4 * self.batch)
        self.number += 1
        exposure = self.particles.batch(rows)
        encoded = self.model.encoder(exposure.phase_flipped())
        mean, log_variance = encoded
        latent = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        points = exposure.coordinates
        sign = torch.where(points[..., 2:] > 0, -1.0, 1.0)
        phases = (points * sign)[..., None] * self.model.decoder.waves
        features = torch.cat([torch.sin(phases), torch.cos(phases)], dim=-1).flatten(-2)
        repeated = latent[:, None].expand(-1, features.shape[1], -1)
        values = self.model.decoder.decoder.main(torch.cat([features, repeated], dim=-1))
        predicted = torch.cat([values[..., :1], values[..., 1:] * sign], dim=-1)
        predicted = predicted * exposure.ctf[..., None]
        loss = (predicted - exposure.targets()).square().sum(-1).mean()
        kl = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).mean()
        self.optimizer.zero_grad()
        (loss + kl / (2 * points.shape[1])).backward()
        self.optimizer.step()


def serve_plain_steps(connection: Connection, config, batch: int, folder: str) -> None:
    """Take a step whenever asked to, and answer how many seconds it took."""
    step = PlainStep(config, batch, Path(folder))
    while connection.recv() == "step":
        started = time.perf_counter()
        step()
        connection.send(time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--box", type=int, default=128)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=7)
    args = parser.parse_args()
    config = model_config(args.box, args.width, args.layers)
    keep_freed_memory()
    dtype = choose_network_dtype(CPU)
    here, there = multiprocessing.Pipe()
    with tempfile.TemporaryDirectory() as name:
        process = multiprocessing.get_context("spawn").Process(
            target=serve_plain_steps, args=(there, config, args.batch, name)
        )
        process.start()
        ours = TrainingStep(config, args.batch, dtype, CPU, RunDirectory(Path(name)))
        seconds = {"plain": [], "ours": []}
        for pair in range(args.pairs + 1):
            here.send("step")
            plain = here.recv()
            started = time.perf_counter()
            ours()
            if pair:
                seconds["plain"].append(plain)
                seconds["ours"].append(time.perf_counter() - started)
        here.send("end")
        process.join()
        ceilings = product_ceilings(CPU, 1.0)
    ratios = [a / b for a, b in zip(seconds["plain"], seconds["ours"], strict=True)]
    rate = args.batch / statistics.median(seconds["ours"])
    gflops = rate * operations_per_particle(config) / 1e9
    print(
        f"{args.box} px, {args.width}×{args.layers}, batch {args.batch}, "
        f"{torch.get_num_threads()} threads: {statistics.median(ratios):.2f} times as fast as "
        f"plain float32 ({min(ratios):.2f} to {max(ratios):.2f}); {rate:.1f} images/s, "
        f"{gflops:.0f} GFLOP/s, {100 * gflops / ceilings[dtype_name(dtype)]:.0f} % of the "
        f"{dtype_name(dtype)} ceiling of {ceilings[dtype_name(dtype)]:.0f}"
    )


if __name__ == "__main__":
    main()
