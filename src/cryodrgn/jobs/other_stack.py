"""The particles of a run in another stack, with what the run knows of them."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.errors import ConfigError

if TYPE_CHECKING:
    from cryodrgn.data.config import DataConfig
    from cryodrgn.linear.latents import Latents
    from cryodrgn.particles.optics import CtfTable
    from cryodrgn.particles.particle_set import ParticleSet
    from cryodrgn.particles.poses import Poses
    from cryodrgn.rundir import StateFiles

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OtherStack:
    """Particles of a run as another file holds them.

    Attributes:
        data: The other file, and what is done to its images.
        particles: Those of the run among its particles, with poses and CTF.
        latents: Their latents.
        poses: Poses that come from the run, in the order of ``particles``; None for the file's.
        ctf: CTF parameters that come from the run; None for the file's.
        num_listed: Number of rows of the other file.
        has_same_box: Whether boxes are as large, in Å, as those of the run.
    """

    data: "DataConfig"
    particles: "ParticleSet"
    latents: "Latents"
    poses: "Poses | None"
    ctf: "CtfTable | None"
    num_listed: int
    has_same_box: bool

    def described(self, files: "StateFiles") -> "DataConfig":
        """The images, chosen and described by the files that :meth:`write` writes."""
        given = replace(self.data.files, indices=files.matched_rows)
        if self.poses is not None:
            given = replace(given, poses=files.matched_poses)
        if self.ctf is not None:
            given = replace(given, ctf=files.matched_ctf)
        return replace(self.data, files=given)

    def write(self, files: "StateFiles") -> None:
        """Write which particles these are, and what the run knows of them, for later commands.

        Tables have a row for every image of the other file, so that any selection can be made;
        rows of particles that are not those of the run repeat the first one.
        """
        import numpy as np

        from cryodrgn.io.cryodrgn_pickle import save_ctf, save_pickles, save_poses

        rows, images = self.particles.original_rows, self.particles.images
        save_pickles(files.matched_rows, [rows])
        places = np.zeros(self.num_listed, dtype=np.int64)
        places[rows] = np.arange(len(rows))
        if self.poses is not None:
            sides = images.side_lengths_in_files[places]
            save_poses(files.matched_poses, self.poses.select(places), sides)
        if self.ctf is not None:
            sides, sizes = images.shapes.max(1)[places], images.pixel_sizes_in_files[places]
            save_ctf(files.matched_ctf, self.ctf.select(places), sides, sizes)


def _number_listed(path: Path) -> int:
    """Number of rows of a particle file."""
    from cryodrgn.io.particle_files import open_images, open_metadata

    metadata = open_metadata(path)
    listed = open_images(path, None, of_any_shape=True) if metadata is None else metadata
    return len(listed)


def in_other_stack(
    data: "DataConfig",
    of_run: "DataConfig",
    latents: "Latents",
    *,
    has_found_poses: bool,
) -> OtherStack:
    """Find the particles of a run in another file, by what identifies them.

    Poses are those given beside the other file; else those that the run itself found; else
    those that the other file holds; else those that the run was given. Shifts are in Å, so that
    pixel size and box may differ. CTF parameters are those given or held by the other file,
    else those of the run.

    Args:
        data: The other file, with what is done to its images.
        of_run: The images of the run, poses that it found among its files.
        latents: Their latents.
        has_found_poses: Whether these poses were found by the run.

    Raises:
        CryodrgnError: A file cannot be used, or nothing tells which particle is which.
    """
    from cryodrgn.io.identities import same_particles
    from cryodrgn.io.map_geometry import BOX_TOLERANCE
    from cryodrgn.particles.optics import as_corrected, common_correction

    known, whole = of_run.open(), data.open()
    own = latents.of_particles(known)
    common = same_particles(known, whole)
    if len(common) < len(known):
        words = "%d particles of the run are not in %s and are left out"
        logger.warning(words, len(known) - len(common), whole.source)
    particles = whole.select(common.second)
    lacks_poses = has_found_poses or particles.images.poses is None
    takes_poses = data.files.poses is None and lacks_poses
    takes_ctf = particles.images.ctf is None and known.images.ctf is not None
    applied = data.files.correction or of_run.files.correction
    if data.files.correction is None and applied is not None and not takes_ctf:
        logger.info("images are taken for corrected for their CTF as those of the run were")
        corrected = as_corrected(particles.images.ctf, applied, whole.source)
        particles = particles.with_images({"ctf": corrected})
    poses, ctf = None, None
    if takes_poses or takes_ctf:
        _require_single_images(known, whole)
        chosen = known.select(common.first).images
        poses = chosen.require_poses() if takes_poses else None
        ctf = chosen.ctf if takes_ctf else None
    if ctf is not None:
        applied = applied or common_correction(ctf)
    return OtherStack(
        data=replace(data, files=replace(data.files, correction=applied)),
        particles=_with_tables(particles, poses, ctf),
        latents=own.select(common.first),
        poses=poses,
        ctf=ctf,
        num_listed=_number_listed(data.files.particles),
        has_same_box=abs(_side(known) / _side(whole) - 1) < BOX_TOLERANCE,
    )


def _with_tables(
    particles: "ParticleSet", poses: "Poses | None", ctf: "CtfTable | None"
) -> "ParticleSet":
    """Particles with the poses and CTF parameters that the run has of them."""
    if poses is not None:
        logger.info("poses are those of the run, their shifts in Å")
        particles = particles.with_images({"poses": poses})
    if ctf is not None:
        logger.info("CTF parameters are those of the run")
        particles = particles.with_images({"ctf": ctf})
    return particles


def _require_single_images(known: "ParticleSet", whole: "ParticleSet") -> None:
    """Refuse to take poses or CTF parameters of one set of tilt series for another.

    Raises:
        ConfigError: One of the sets has several images of a particle.
    """
    if known.offsets is not None or whole.offsets is not None:
        msg = (
            f"{whole.source} lists tilt series, whose poses and CTF must come from the "
            "file itself; give one that holds them, or `poses` and `ctf`"
        )
        raise ConfigError(msg)


def _side(particles: "ParticleSet") -> float:
    """Side of the images in Å."""
    return particles.box_size * particles.require_pixel_size()
