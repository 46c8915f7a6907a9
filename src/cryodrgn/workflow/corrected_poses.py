"""Poses of a whole run that its linear model corrects, as far as half maps agree better."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.rundir import RunDirectory

logger = logging.getLogger(__name__)

# Each costs about as much as the fit itself.
ROUNDS = 1


def rounds_for(particles: ParticleSet) -> int:
    """Number of times that poses are corrected and the linear model is fitted anew."""
    if particles.offsets is not None:
        logger.info("poses are kept: those of particles of several images are not corrected")
        return 0
    logger.info(
        "the check judges conventions and sees no errors of a few degrees: poses are corrected "
        "by the linear model, which is fitted once more, and kept if half maps agree better"
    )
    return ROUNDS


def corrected_poses(linear: RunDirectory, record: Mapping[str, Any]) -> Path | None:
    """The poses with which a run goes on in place of those given; None for these.

    Args:
        linear: The linear run.
        record: Results that it recorded.
    """
    if not record.get("poses_corrected", False):
        return None
    logger.info("the network goes on with the corrected poses, %s", linear.poses())
    return linear.poses()
