"""Report for bug reports: versions, devices, limits, a training step, problems."""

import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch

import cryodrgn
from cryodrgn.data.memory import memory_limits
from cryodrgn.devices import choose_device, describe_device
from cryodrgn.errors import CryodrgnError
from cryodrgn.imaging.grouping import ImageSets
from cryodrgn.io.atomic import format_size, free_bytes
from cryodrgn.models.build import build_model, stored_lattice
from cryodrgn.models.settings import DecoderConfig, EncoderConfig, ModelConfig
from cryodrgn.processors import granted_processors

NEEDED = ("torch", "numpy", "gemmi", "mrcfile", "pyyaml", "jaxtyping", "tqdm")
OPTIONAL = ("matplotlib", "scipy", "scikit-learn", "scikit-image", "umap-learn", "numba")
# Variables that change how a job runs.
VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "WORLD_SIZE",
    "TMPDIR",
)
LEAST_MEMORY, LEAST_DISK = 2 * 10**9, 10**9
TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """Findings of the doctor: facts and problems.

    Attributes:
        lines: All of it, a line each.
        wrong: What is wrong, a sentence each.
    """

    lines: list[str]
    wrong: list[str]


def examine(device_name: str = "auto", folder: Path | None = None) -> Findings:
    """Look at the installation, the machine and its limits, and take a step of training.

    Args:
        device_name: Where to compute, see :func:`cryodrgn.devices.choose_device`.
        folder: Where results would go; None takes the working directory.
    """
    wrong: list[str] = []
    lines = [
        f"cryodrgn {cryodrgn.__version__} in {Path(cryodrgn.__file__).parent}",
        f"Python {platform.python_version()} ({sys.executable})",
        platform.platform(),
    ]
    lines += _versions(wrong)
    lines += _limits(wrong)
    lines += _places(folder or Path.cwd(), wrong)
    lines += [line for line in _environment(os.environ) if line]
    try:
        device = choose_device(device_name)
        lines.append(f"device: {describe_device(device)}")
        if device.type == "cuda":
            free, total = torch.cuda.mem_get_info(device)
            lines.append(f"device memory: {format_size(free)} of {format_size(total)} free")
        lines.append(self_test(device))
    except CryodrgnError as error:
        wrong.append(str(error))
    return Findings(lines=lines, wrong=wrong)


def self_test(device: torch.device) -> str:
    """Take one step of training on a device, and the same on the processor.

    Raises:
        CryodrgnError: It fails there, or the two differ.
    """
    try:
        expected, found = (_gradient(place) for place in (torch.device("cpu"), device))
    except RuntimeError as error:
        msg = f"a step of training fails on {device}: {error}"
        raise CryodrgnError(msg) from error
    difference = float((found - expected).abs().max() / expected.abs().max())
    if not difference < TOLERANCE:
        msg = (
            f"a step of training on {device} differs from that on the processor by "
            f"{difference:.2g}; its driver or its memory may be at fault"
        )
        raise CryodrgnError(msg)
    return f"self-test: one step on {device} agrees with the processor to {difference:.1g}"


def _gradient(device: torch.device) -> torch.Tensor:
    """All gradients of a small model at random images."""
    config = ModelConfig(
        box_size=16,
        latent_dim=2,
        encoder=EncoderConfig(num_layers=1, hidden_dim=32),
        decoder=DecoderConfig(num_layers=1, hidden_dim=32),
    )
    model = build_model(config).to(device)
    generator = torch.Generator().manual_seed(0)
    points = len(stored_lattice(config))
    images = torch.randn(4, points, 2, generator=generator).to(device)
    frequencies = torch.rand(4, points, 3, generator=generator).to(device) - 0.5
    mean, log_variance = model.encoder(ImageSets.of_single_images(images), torch.float32)
    values = model.decoder(frequencies, mean)
    ((values - images).square().mean() + log_variance.square().mean()).backward()
    gradients = [p.grad.flatten().cpu() for p in model.parameters() if p.grad is not None]
    return torch.cat(gradients)


def _versions(wrong: list[str]) -> list[str]:
    found = []
    for name in (*NEEDED, *OPTIONAL):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            if name in NEEDED:
                wrong.append(f"{name} is not installed; pip install cryodrgn")
            else:
                found.append(f"{name} –")
    return [f"libraries: {', '.join(found)}"]


def _limits(wrong: list[str]) -> list[str]:
    limits = memory_limits()
    least = min(limits, key=limits.__getitem__)
    if limits[least] < LEAST_MEMORY:
        wrong.append(f"only {format_size(max(limits[least], 0))} of memory left ({least})")
    shown = ", ".join(f"{format_size(max(n, 0))} ({name})" for name, n in limits.items())
    count = granted_processors()
    return [f"memory left: {shown}", f"processors: {count}, threads: {torch.get_num_threads()}"]


def _places(folder: Path, wrong: list[str]) -> list[str]:
    lines = []
    for name, place in (("results", folder), ("temporary files", Path(tempfile.gettempdir()))):
        free = free_bytes(place)
        lines.append(f"room for {name}: {format_size(free)} in {place}")
        if free < LEAST_DISK:
            wrong.append(f"only {format_size(free)} of room in {place}")
        try:
            with tempfile.TemporaryFile(dir=place):
                pass
        except OSError as error:
            wrong.append(f"{place} cannot be written: {error.strerror}")
    return lines


def _environment(variables: Mapping[str, str]) -> list[str]:
    names = [*VARIABLES, *sorted(name for name in variables if name.startswith("SLURM_MEM"))]
    found = [f"{name}={variables[name]}" for name in names if name in variables]
    return [f"environment: {' '.join(found)}"] if found else []
