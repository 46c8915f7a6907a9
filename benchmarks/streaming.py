"""Training on a set four times the memory allowed, beside the same set in memory.

Both are whole epochs of ``train_vae`` after their images have been prepared, one after the
other in the same process. Prints rates, their ratio, and the peak memory of the streamed run
above that of the process before it.

    python benchmarks/streaming.py --box 64 --images 20000
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import torch

from cryodrgn.allocator import keep_freed_memory
from cryodrgn.benchmarking.steps import model_config
from cryodrgn.benchmarking.synthetic import noise_particles
from cryodrgn.data.prepared import Storage
from cryodrgn.data.preprocessing import Preprocessing
from cryodrgn.data.training_set import build_training_set
from cryodrgn.devices import choose_network_dtype
from cryodrgn.models.build import build_model, stored_lattice
from cryodrgn.progress import Progress
from cryodrgn.training.loop import Trainer
from cryodrgn.training.objectives import VaeObjective
from cryodrgn.training.optimizers import adam
from cryodrgn.training.run_config import TrainConfig
from cryodrgn.training.schedules import KlWeighting

CPU = torch.device("cpu")


def seconds_per_epoch(args: argparse.Namespace, storage: Storage) -> float:
    config = model_config(args.box, args.width, 1)
    particles = build_training_set(
        noise_particles(args.images, args.box),
        stored_lattice(config),
        Preprocessing(scale=float(args.box)),
        CPU,
        storage=storage,
    )
    model = build_model(config)
    optimizer = adam(model.parameters(), CPU, learning_rate=1e-4)
    objective = VaeObjective(model, KlWeighting(), choose_network_dtype(CPU))
    settings = TrainConfig(batch_size=args.batch, log_interval=10**9)
    trainer = Trainer(objective, optimizer, particles, settings)
    started = time.perf_counter()
    with Progress(args.images, "training") as progress:
        trainer.train_epoch(progress, lambda: None)
    return time.perf_counter() - started


def peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--images", type=int, default=40000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    args = parser.parse_args()
    keep_freed_memory()
    size = args.images * 8 * len(stored_lattice(model_config(args.box, 8, 1)))
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        before = peak_bytes()
        streamed = seconds_per_epoch(args, Storage(scratch_dir=folder, memory=size // 4))
        peak = peak_bytes() - before
        in_memory = seconds_per_epoch(args, Storage(scratch_dir=folder, on_disk=False))
    print(
        f"{args.images} images of {args.box} px, {size / 1e6:.0f} MB prepared, a quarter of it "
        f"allowed: {args.images / streamed:.0f} images/s streamed, "
        f"{args.images / in_memory:.0f} in memory, ratio {in_memory / streamed:.2f}; "
        f"peak memory {peak / 1e6:.0f} MB above that at the start"
    )


if __name__ == "__main__":
    main()
