"""Volumes decoded per second, beside the bound that the matrix products set.

    python benchmarks/decoding.py [--volumes 10] [--box 64 128] [--width 256 1024]

The bound is the rate of products of the shape that dominates (points of one part × hidden ×
hidden), measured on the same machine just before, divided by the operations of one volume's
products. Whatever else decoding does lowers the share. On a machine that others use, run it
with OMP_NUM_THREADS=1 and --processor-time: times are then those of the processor alone.
"""

import argparse
import itertools
import time
from collections.abc import Callable

import torch

from cryodrgn.devices import choose_device, describe_device
from cryodrgn.models.build import build_model
from cryodrgn.models.settings import DecoderConfig, ModelConfig
from cryodrgn.models.volumes import grid_points
from cryodrgn.reconstruction.decode import VolumeDecoder

LATENT_DIM = 8
Clock = Callable[[], float]


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def product_rate(
    rows: int, width: int, dtype: torch.dtype, device: torch.device, clock: Clock
) -> float:
    """Operations per second of products rows × width × width, the best of several times."""
    left = torch.randn(rows, width, device=device, dtype=dtype)
    right = torch.randn(width, width, device=device, dtype=dtype)
    out = torch.empty_like(left)
    repeats = max(3, int(2e9 / (2 * rows * width**2)))
    seconds = []
    for _ in range(5):
        synchronize(device)
        started = clock()
        for _ in range(repeats):
            torch.mm(left, right, out=out)
        synchronize(device)
        seconds.append((clock() - started) / repeats)
    return 2 * rows * width**2 / min(seconds)


def measure(
    box_size: int,
    width: int,
    dtype: torch.dtype,
    device: torch.device,
    count: int,
    clock: Clock,
) -> str:
    config = DecoderConfig(hidden_dim=width)
    decoder = build_model(
        ModelConfig(box_size=box_size, latent_dim=LATENT_DIM, decoder=config, encoder=None)
    ).decoder
    volumes = VolumeDecoder(decoder, 0.0, 1.0, device, dtype)
    points = len(grid_points(box_size, "fourier"))
    features = 6 * (box_size // 2)
    shared, each = features * width, config.num_layers * width**2 + 2 * width
    operations = 2 * points * (each + shared / count)
    rows = decoder.fast_evaluation(dtype).points_per_part

    best = bound = 0.0
    latents = torch.randn(count, LATENT_DIM)
    for _ in range(2):
        bound = max(bound, product_rate(rows, width, dtype, device, clock) / operations)
        started = clock()
        for _ in volumes.volumes(latents):
            pass
        best = max(best, count / (clock() - started))
    name = str(dtype).removeprefix("torch.")
    return (
        f"{box_size:4d} px  {width:4d}×3  {name:8s}  {best:8.3f} volumes/s  "
        f"bound {bound:8.3f}  share {best / bound:4.0%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--volumes", type=int, default=10)
    parser.add_argument("--box", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--width", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--processor-time", action="store_true")
    args = parser.parse_args()
    clock = time.process_time if args.processor_time else time.perf_counter
    device = choose_device(args.device)
    print(f"{describe_device(device)}, {args.volumes} volumes per call")
    for box, width, name in itertools.product(args.box, args.width, args.dtype):
        print(
            measure(box, width, getattr(torch, name), device, args.volumes, clock), flush=True
        )


if __name__ == "__main__":
    main()
