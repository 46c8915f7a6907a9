"""Images of atoms by plain numpy, atom by atom, as an oracle for the code under test.

An atom at (x, y, z) in the frame of the image is imaged by the CTF of its own height: with a
curved Ewald sphere of hand s its defocus is smaller by s z. Nothing is sliced or interpolated.
"""

from dataclasses import dataclass

import numpy as np

from cryodrgn.particles.image_table import ImageTable
from cryodrgn.particles.optics import CtfTable
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.particles.poses import Poses

PLANCK, MASS, CHARGE, LIGHT = 6.62607015e-34, 9.1093837e-31, 1.602176634e-19, 299792458.0


@dataclass
class InMemory:
    """Images that are there already."""

    images: np.ndarray

    @property
    def box_size(self):
        return self.images.shape[-1]

    def __len__(self):
        return len(self.images)

    def read(self, rows):
        return self.images[rows]

    def select(self, rows):
        return InMemory(self.images[rows])

    def fingerprint(self):
        return self.images.tobytes()


@dataclass
class Microscope:
    """What the images are taken with; lengths in Å, voltage in kV."""

    box: int = 32
    pixel_size: float = 2.0
    voltage: float = 300.0
    cs: float = 2.7e7
    contrast: float = 0.1
    width: float = 1.5
    curvature: int = 0

    @property
    def wavelength(self):
        energy = CHARGE * self.voltage * 1e3
        momentum = np.sqrt(2 * MASS * energy * (1 + energy / (2 * MASS * LIGHT**2)))
        return PLANCK / momentum * 1e10

    def image(self, atoms, defocus):
        """The image of atoms (x, y, z), whose density is positive."""
        k = np.fft.fftfreq(self.box, self.pixel_size)
        kx, ky = k[None, : self.box // 2 + 1], k[:, None]
        squared = kx**2 + ky**2
        spherical = np.pi / 2 * self.cs * self.wavelength**3 * squared**2

        def transfer(height):
            phase = np.pi * self.wavelength * height * squared - spherical
            return -np.sqrt(1 - self.contrast**2) * np.sin(phase) - self.contrast * np.cos(
                phase
            )

        waves_x, waves_y = (
            np.exp(-2j * np.pi * place[:, None] * frequencies.ravel())
            for place, frequencies in ((atoms[:, 0], kx), (atoms[:, 1], ky))
        )
        if self.curvature == 0:
            total = transfer(defocus) * (waves_y.T @ waves_x)
        else:
            total = sum(
                transfer(defocus - self.curvature * z) * np.outer(y, x)
                for y, x, z in zip(waves_y, waves_x, atoms[:, 2], strict=True)
            )
        total *= np.exp(-2 * (np.pi * self.width) ** 2 * squared)
        return np.fft.fftshift(np.fft.irfft2(total, s=(self.box, self.box)))

    def volume(self, atoms):
        """The density of the atoms on a grid (z, y, x)."""
        axis = (np.arange(self.box) - self.box // 2) * self.pixel_size
        x, y, z = (np.exp(-((axis - a[:, None]) ** 2) / 2 / self.width**2) for a in atoms.T)
        return np.einsum("az,ay,ax->zyx", z, y, x).astype(np.float32)


def rotations(count, rng):
    """Uniform rotations, out of the QR decomposition of Gaussian matrices."""
    matrices = np.linalg.qr(rng.normal(size=(count, 3, 3)))[0]
    matrices[:, :, 0] *= np.linalg.det(matrices)[:, None]
    return matrices


def particle_set(atoms, poses, microscope, rng, *, noise=0.0, defocus=(5000.0, 15000.0)):
    """Images of the atoms in some poses, with noise of so many standard deviations."""
    defoci = rng.uniform(*defocus, len(poses))
    images = np.stack(
        [
            microscope.image(atoms @ pose.T, defocus)
            for pose, defocus in zip(poses, defoci, strict=True)
        ]
    )
    images += noise * images.std() * rng.normal(size=images.shape)
    return listed(images.astype(np.float32), poses, defoci, microscope)


def listed(images, poses, defoci, microscope, copies=None):
    """The table of some images."""
    count = len(images)
    full = {
        "voltage_kv": microscope.voltage,
        "spherical_aberration_mm": microscope.cs / 1e7,
        "amplitude_contrast": microscope.contrast,
        "phase_shift": 0.0,
        "defocus_angle": 0.0,
    }
    ctf = CtfTable(
        defocus_u=defoci.astype(np.float32),
        defocus_v=defoci.astype(np.float32),
        source="numpy",
        **{name: np.full(count, value, np.float32) for name, value in full.items()},
    )
    still = np.zeros((count, 2), np.float32)
    table = ImageTable(
        pixels=InMemory(images),
        pixel_sizes=np.full(count, microscope.pixel_size, np.float32),
        poses=Poses(rotations=poses.astype(np.float32), shifts=still, source="numpy"),
        ctf=ctf,
        rows=np.arange(count),
        source="numpy",
        copies=copies,
    )
    return ParticleSet.of_single_images(table)
