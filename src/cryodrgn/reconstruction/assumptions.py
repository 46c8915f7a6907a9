"""Symmetry and curvature that a reconstruction assumes: checked, and said, before it begins."""

import logging

import numpy as np

from cryodrgn.errors import ConfigError
from cryodrgn.geometry.point_groups import canonical_name
from cryodrgn.geometry.symmetry import point_group
from cryodrgn.imaging.ewald import PARTICLE_SHARE, Curvature, depth_limit
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.units import electron_wavelengths

logger = logging.getLogger(__name__)


def check_symmetry(particles: ParticleSet, symmetry: str) -> None:
    """Say how often every image counts, and which axes are assumed.

    Args:
        particles: The particles.
        symmetry: Point group of the map.

    Raises:
        ConfigError: There is no such group.
    """
    name = canonical_name(symmetry)
    if name == "C1":
        return
    logger.info(
        "symmetry %s: each of %d different %s is added at %d mates, which stay in its half "
        "set; numbers of images count it once",
        name,
        particles.num_different,
        "images" if particles.offsets is None else "particles of several images",
        len(point_group(name)),
    )
    is_odd = name[0] == "D" and name[-1] != "Y" and int(name[1:]) % 2 == 1
    if is_odd and particles.source.endswith(".cs"):
        logger.warning(
            "%s has a two-fold axis on x, as in RELION, but cryoSPARC aligns maps with one on "
            "y: for its poses that is %sY",
            name,
            name,
        )
    if particles.images.copies is not None:
        logger.warning(
            "%s lists images more than once: if it was expanded by symmetry already, leave out "
            "`symmetry`, which would add all mates of mates",
            particles.source,
        )


def check_curvature(particles: ParticleSet, ewald: Curvature) -> None:
    """Refuse curvature without CTF, and say where resolution makes curvature matter.

    Args:
        particles: The particles.
        ewald: Hand of the curvature; 0 takes the Ewald sphere for flat.

    Raises:
        ConfigError: Images whose side bands are wanted have no CTF.
    """
    ctf = particles.images.ctf
    if ctf is None:
        if ewald:
            msg = (
                f"{particles.source} gives no CTF parameters, but the curvature of the Ewald "
                "sphere (`ewald`) is one of the side bands of the CTF; give them with `ctf`"
            )
            raise ConfigError(msg)
        return
    pixel_size = float(particles.images.pixel_sizes.max())
    diameter = PARTICLE_SHARE * particles.box_size * pixel_size
    voltage = float(np.min(ctf.voltage_kv))
    limit = depth_limit(electron_wavelengths(voltage), diameter)
    finest = 2 * float(particles.images.pixel_sizes.min())
    if limit <= finest and not ewald:
        return
    logger.info(
        "with a flat Ewald sphere a particle of %.0f Å (half of the box) at %.0f kV is known "
        "to about %.2f Å (√(0.7 λ t), DeRosier 2000), and the images go to %.2f Å: %s",
        diameter,
        voltage,
        limit,
        finest,
        _advice(ewald, matters=limit > finest),
    )


def _advice(ewald: Curvature, *, matters: bool) -> str:
    if not ewald:
        return "its curvature matters, account for it with `ewald` +1 or -1"
    return f"curvature {ewald:+d} is accounted for" + (
        "" if matters else ", which changes little"
    )
