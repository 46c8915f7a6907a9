"""Views of simulated particles: an image of each, or a tilt series of each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int

from cryodrgn.errors import ConfigError
from cryodrgn.geometry.rotations import rotation_about_y, rotation_about_z
from cryodrgn.imaging.exposure import ExposureParameters, damage_at
from cryodrgn.particles.optics import CtfTable
from cryodrgn.particles.poses import Poses
from cryodrgn.settings import settings
from cryodrgn.simulation.options import TiltSchemeOptions

# Half sides in Å of the slab of ice in which the particles of a tomogram lie.
SLAB = (2000.0, 2000.0, 400.0)
# B factor in Å² per electron per Å², with the sign that WARP writes: negative ones damp.
B_FACTOR_PER_DOSE = -4.0


@settings
class TiltScheme(TiltSchemeOptions):
    """Dose-symmetric tilt series (Hagen, Wan & Briggs 2017): from 0° outwards, + before −.

    Attributes:
        axis_deg: Direction of the tilt axis in images, from their y axis, in degrees.
    """

    axis_deg: float = 85.0

    def __post_init__(self) -> None:
        """Refuse schemes that no stage follows.

        Raises:
            ConfigError: A number is out of range.
        """
        super().__post_init__()
        if self.step_deg > self.largest_deg:
            msg = (
                f"a tilt series goes by a step above 0° up to a tilt below 90°, got steps of "
                f"{self.step_deg:g}° up to {self.largest_deg:g}°"
            )
            raise ConfigError(msg)

    def angles(self) -> Float[np.ndarray, " tilts"]:
        """Tilts of the stage in radians, in the order in which they are taken."""
        steps = math.floor(self.largest_deg / self.step_deg + 1e-6)
        places = [0, *(sign * step for step in range(1, steps + 1) for sign in (1, -1))]
        return np.deg2rad(self.step_deg * np.array(places))

    def doses(self) -> Float[np.ndarray, " tilts"]:
        """Electrons per Å² that the specimen had seen before each exposure."""
        return self.dose_per_tilt * np.arange(len(self.angles()))

    def turns(self) -> Float[np.ndarray, "tilts 3 3"]:
        """Rotations of the stage: an image of a particle of orientation R shows X R."""
        axis = rotation_about_z(math.radians(self.axis_deg))
        turned = [axis @ rotation_about_y(float(angle)) for angle in self.angles()]
        return torch.stack(turned).numpy()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Views:
    """Everything that says how the images of a simulation show their particles.

    Attributes:
        labels: State that each image shows.
        poses: Pose of each image.
        ctf: CTF of each image; None for images without one.
        exposures: Dose and tilt of each image; None weakens none.
        columns: What a STAR file says more of each image.
    """

    labels: Int[np.ndarray, " images"]
    poses: Poses
    ctf: CtfTable | None
    exposures: ExposureParameters | None
    columns: dict[str, Sequence[object]]

    def __len__(self) -> int:
        return len(self.labels)


def single_views(
    labels: Int[np.ndarray, " particles"], poses: Poses, ctf: CtfTable | None
) -> Views:
    """An image of every particle."""
    return Views(labels=labels, poses=poses, ctf=ctf, exposures=None, columns={})


def tilt_series_views(
    labels: Int[np.ndarray, " particles"],
    rotations: Float[np.ndarray, "particles 3 3"],
    scheme: TiltScheme,
    tomograms: CtfTable,
    shift_extent: float,
    generator: torch.Generator,
) -> Views:
    """A tilt series of every particle, one particle after another.

    Every image is shifted by an amount of its own, as after extraction at whole pixels from
    aligned tilt images. Defocus is that of the tomogram's untilted middle, and more where a
    particle lies nearer to the source: by its height in the tilted specimen.

    Args:
        labels: State of each particle.
        rotations: Orientation of each particle on the untilted stage.
        scheme: How tilts are taken.
        tomograms: CTF parameters of every tomogram.
        shift_extent: Shifts are uniform within ± this, along x and y, in Å.
        generator: Of random numbers.
    """
    count, turns = len(labels), scheme.turns()
    series = len(turns)
    owners = np.repeat(np.arange(count), series)
    tilts = np.tile(np.arange(series), count)
    doses, weights = scheme.doses()[tilts], np.cos(scheme.angles())[tilts]
    tomogram = owners // scheme.particles_per_tomogram
    uniform = 2 * torch.rand(count, 3, generator=generator).numpy() - 1
    heights = np.einsum("ij,ij->i", turns[tilts, 2], (uniform * np.array(SLAB))[owners])
    ctf, heights = tomograms.select(tomogram), heights.astype(np.float32)
    ctf = replace(ctf, defocus_u=ctf.defocus_u + heights, defocus_v=ctf.defocus_v + heights)
    moves = 2 * torch.rand(len(owners), 2, generator=generator) - 1
    poses = Poses(
        rotations=(turns[tilts] @ rotations[owners]).astype(np.float32),
        shifts=(shift_extent * moves).numpy(),
        source="simulation",
    )
    exposures = ExposureParameters(
        doses=torch.from_numpy(doses).float(),
        weights=torch.from_numpy(weights).float(),
        damage=damage_at(torch.from_numpy(ctf.voltage_kv)),
    )
    return Views(
        labels=labels[owners],
        poses=poses,
        ctf=ctf,
        exposures=exposures,
        columns=_columns(owners, tomogram, doses, weights),
    )


def _columns(
    owners: Int[np.ndarray, " images"],
    tomogram: Int[np.ndarray, " images"],
    doses: Float[np.ndarray, " images"],
    weights: Float[np.ndarray, " images"],
) -> dict[str, Sequence[object]]:
    """Names of tomograms and particles, and what dose and tilt do to each image."""
    names = [f"TS_{number + 1:03d}" for number in tomogram]
    pairs = list(zip(names, owners.tolist(), strict=True))
    return {
        "rlnMicrographName": [f"{name}.tomostar" for name in names],
        "rlnGroupName": [f"{name}_{particle + 1:06d}" for name, particle in pairs],
        "rlnTomoName": names,
        "rlnTomoParticleName": [f"{name}/{particle + 1}" for name, particle in pairs],
        "rlnMicrographPreExposure": doses.tolist(),
        "rlnCtfScalefactor": weights.tolist(),
        "rlnCtfBfactor": (B_FACTOR_PER_DOSE * doses).tolist(),
    }
