"""A look, before long work, at whether images have a CTF, and poses of their own."""

import logging
from pathlib import Path

import numpy as np

from cryodrgn.diagnosis.convention_verdict import belong_together
from cryodrgn.diagnosis.conventions import STATED
from cryodrgn.diagnosis.fit import QuickImages
from cryodrgn.io.recorded_files import warn_of_other_particles
from cryodrgn.particles.particle_set import ParticleSet

logger = logging.getLogger(__name__)

# Images looked at: enough to tell at a signal-to-noise ratio of 0.03, in a second or two.
SAMPLE = 1000
# Fewer tell too little.
LEAST = 200


def warn_of_foreign_poses(particles: ParticleSet, poses_file: Path | None) -> None:
    """Warn if poses seem to be of other images than these.

    Those in the folder of a run are of its particles, which its digests tell. Of any file, a
    sample of the images is compared with its poses and with poses of other images.

    All processes of a job call this, so that a bad image among them ends the work of all.
    Poses in the file that lists the images belong to them; those of another file may be of the
    same number of particles in another order.

    Args:
        particles: The particles, with poses.
        poses_file: The file of the poses; None if the file of the images has them.
    """
    warn_of_other_particles(poses_file, "poses", particles)
    table = particles.images
    if poses_file is None or table.poses is None or len(table) < LEAST:
        return
    rows = np.linspace(0, len(table) - 1, min(len(table), SAMPLE)).astype(int)
    images = QuickImages(table, np.unique(rows))
    order = np.random.default_rng(0).permutation(len(table))
    if belong_together(images.fit(STATED), images.fit(STATED, order)):
        return
    logger.warning(
        "%d images of %s that were looked at fit the poses of %s no better than those of other "
        "images: the files may list particles in different orders, or the images may be too "
        "noisy to tell; cryodrgn check says more",
        len(rows),
        particles.source,
        poses_file,
    )


def tell_of_missing_ctf(particles: ParticleSet) -> None:
    """Say that images are taken to carry no CTF, if no parameters of one are known.

    Args:
        particles: The particles.
    """
    if particles.images.ctf is None:
        logger.info(
            "%s comes without CTF parameters: its images are taken to carry no CTF; if they "
            "do, give its parameters with `ctf`",
            particles.source,
        )
