"""A molecule without symmetry, and images of it whose poses are known."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.shifts import phases, shifted
from cryodrgn.geometry.rotations import random_rotations
from cryodrgn.imaging.ctf import CtfParameters, contrast_transfer
from cryodrgn.kernels.projection import VolumeSlicer
from cryodrgn.orientation.comparison import FrequencyDisc

BOX_SIZE = 24


@dataclass(frozen=True, kw_only=True)
class Views:
    """Images with what they were made of."""

    volume: Tensor
    disc: FrequencyDisc
    rotations: Tensor
    shifts: Tensor
    ctf: Tensor
    images: Tensor


def molecule() -> Tensor:
    """A few balls of different weight at unequal distances."""
    axis = torch.arange(BOX_SIZE) - BOX_SIZE // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    balls = [(0, 0, 0, 1.0), (5, 1, 0, 0.9), (-1, -6, 1, 0.7), (1, 2, 5, 1.2), (-4, 3, -4, 0.8)]
    volume = torch.zeros(BOX_SIZE, BOX_SIZE, BOX_SIZE)
    for bx, by, bz, weight in balls:
        squared = (x - bx) ** 2 + (y - by) ** 2 + (z - bz) ** 2
        volume += weight * torch.exp(-squared / 3.0)
    return volume


@pytest.fixture(scope="session")
def views() -> Views:
    """Clean images of random poses with strongly astigmatic CTFs; shifts up to 1.5 pixels."""
    count, radius = 240, BOX_SIZE // 2 - 1
    generator = torch.Generator().manual_seed(3)
    lattice = HalfPlaneFrequencies.disc(BOX_SIZE)
    disc = FrequencyDisc.of(lattice, radius, torch.device("cpu"))
    rotations = random_rotations(count, generator)
    shifts = (torch.rand(count, 2, generator=generator) * 2 - 1) * 1.5 / BOX_SIZE
    volume = molecule()
    slices = VolumeSlicer(volume).slices(lattice, rotations)[:, disc.positions]

    def same(value: float) -> Tensor:
        return torch.full((count,), value)

    parameters = CtfParameters(
        defocus_u=20000 + 8000 * torch.rand(count, generator=generator),
        defocus_v=12000 + 4000 * torch.rand(count, generator=generator),
        defocus_angle=3 * torch.rand(count, generator=generator),
        voltage_kv=same(300.0),
        spherical_aberration_mm=same(2.7),
        amplitude_contrast=same(0.1),
        phase_shift=same(0.0),
    )
    frequencies = disc.points / (BOX_SIZE * 6.0)
    ctf = contrast_transfer(frequencies[None], parameters)
    # Images are seen before they are centred: the opposite shift brings them there.
    images = shifted(slices * ctf[..., None], phases(disc.points, -shifts)[:, None])[:, 0]
    return Views(
        volume=volume,
        disc=disc,
        rotations=rotations,
        shifts=shifts,
        ctf=ctf,
        images=images,
    )
