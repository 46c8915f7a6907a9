"""Tilt images in STAR files: which particle and tomogram they show, their dose and tilt.

Which images show the same particle is said by columns, in the order of preference

* ``rlnTomoParticleName``, ``rlnTomoParticleId`` (RELION 4 and 5);
* ``rlnGroupName``, ``rlnGroupNumber`` (WARP, M), where ``rlnTomoName`` is there too, or the
  dose or the scale of the CTF differs within groups: those of single images are micrographs.

Two particles of the same name in different tomograms (``rlnTomoName``) are different.
"""

import logging
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int, Shaped

from cryodrgn.errors import MetadataError
from cryodrgn.io.star import StarTable
from cryodrgn.particles.tilt_series import TiltImages

logger = logging.getLogger(__name__)

PARTICLE_NAMES = ("rlnTomoParticleName", "rlnTomoParticleId")
GROUP_NAMES = ("rlnGroupName", "rlnGroupNumber")
TOMOGRAM = "rlnTomoName"
PRE_EXPOSURE, SCALE, B_FACTOR = "rlnMicrographPreExposure", "rlnCtfScalefactor", "rlnCtfBfactor"
STAGE_ANGLES = ("rlnTomoNominalStageTiltAngle", "rlnTomoYTilt")
# Columns that say of tilt images what those of single images need not say.
OF_TILTS = (
    *PARTICLE_NAMES,
    *GROUP_NAMES,
    *(TOMOGRAM, "rlnMicrographName", PRE_EXPOSURE, SCALE, B_FACTOR),
    *STAGE_ANGLES,
)
# Tilts of a particle differ in dose and scale; those of opposite angles may share the scale.
ROWS_PER_VALUE = 2.5
# Doses from which on two images of each tell that there are two particles.
FEWEST_DOSES = 3
# WARP and M write the dose d as a B factor of −4 d.
B_FACTOR_OF_DOSE = -4.0
# Stages turn by less, and the signal falls with the cosine.
UPRIGHT = 90.0
# Differences between two columns of one file, which round, up to which they agree: in e/Å², and
# of the scale.
SAME_DOSE, SAME_SCALE = 0.5, 0.02

Columns = Callable[[str], Float[np.ndarray, " rows"] | None]


def identity_column(particles: StarTable, columns: Columns) -> str | None:
    """The column by which rows are images of the same particle; None for single images.

    Args:
        particles: The table.
        columns: Its columns of numbers, and those of the optics groups, by name.

    Raises:
        MetadataError: Rows are images of tomograms, and nothing says of which particle.
    """
    for name in PARTICLE_NAMES:
        if name in particles:
            return name
    group = next((name for name in GROUP_NAMES if name in particles), None)
    if group is None:
        if TOMOGRAM in particles:
            msg = (
                f"{particles.path} lists images of tomograms ({TOMOGRAM}), but no column "
                f"{PARTICLE_NAMES[0]} or {GROUP_NAMES[0]} says which of them show the same "
                "particle; add one, or set `single_images` to take every image for a "
                "particle of its own"
            )
            raise MetadataError(msg)
        factors = columns(B_FACTOR)
        if factors is not None and factors.max() <= 0 and np.ptp(factors) > 0:
            logger.warning(
                "%s has B factors as WARP and M write them of tilt images (%s), but no column "
                "%s or %s says which of these show the same particle: every image is taken "
                "for a particle of its own",
                particles.path,
                B_FACTOR,
                PARTICLE_NAMES[0],
                GROUP_NAMES[0],
            )
        return None
    if TOMOGRAM in particles:
        return group
    groups = numbered(particles, group)[0]
    varying = (columns(name) for name in (SCALE, PRE_EXPOSURE))
    is_series = any(v is not None and _is_of_tilts(v, groups) for v in varying)
    return group if is_series else None


def require_identity_column(particles: StarTable) -> str:
    """The column that names the particles of rows that are said to be tilt images.

    Raises:
        MetadataError: There is none.
    """
    for name in (*PARTICLE_NAMES, *GROUP_NAMES):
        if name in particles:
            return name
    msg = (
        f"{particles.path} does not say which images show the same particle: it has no column "
        f"{PARTICLE_NAMES[0]} or {GROUP_NAMES[0]}; add one, or take the file for single images"
    )
    raise MetadataError(msg)


def tilt_images(particles: StarTable, identity: str, columns: Columns) -> TiltImages:
    """The tilt images that a table lists.

    Args:
        particles: The table.
        identity: The column that names the particle of a row.
        columns: Columns of numbers by name; None for one that is not there.

    Raises:
        MetadataError: Doses or scales are no such thing.
    """
    owners, names, first = numbered(particles, identity)
    tomograms = np.array(particles.text(TOMOGRAM)) if TOMOGRAM in particles else None
    if tomograms is None and "rlnMicrographName" in particles:
        # WARP names the tilt series, RELION the single exposure.
        micrographs = np.array(particles.text("rlnMicrographName"))
        if (micrographs[first][owners] == micrographs).all():
            tomograms = micrographs
    of_doses = _are_doses(columns, owners)
    doses, dose_words = _doses(particles, columns, owners, b_factors_are_doses=of_doses)
    _require_one_particle(particles, identity, owners, doses)
    scales, angles, tilt_words = _tilts(particles, columns)
    logger.info(
        "%s lists %d images of %d particles in tilt series (%s): dose %s, tilt %s; "
        "`single_images` takes every image for a particle of its own",
        particles.path,
        len(particles),
        len(names),
        identity,
        dose_words,
        tilt_words,
    )
    return TiltImages(
        particle_of_row=owners,
        names=names,
        tomograms=None if tomograms is None else tomograms[first],
        places=_places(particles),
        doses=doses,
        scales=scales,
        tilt_angles=angles,
        b_factors_are_doses=of_doses,
        source=str(particles.path),
    )


def numbered(
    particles: StarTable, identity: str
) -> tuple[
    Int[np.ndarray, " rows"], Shaped[np.ndarray, " particles"], Int[np.ndarray, " particles"]
]:
    """Particles in the order of their first rows: numbers by row, names and first rows.

    Args:
        particles: A table with a row for every image.
        identity: The column that names the particle of a row.
    """
    labels = np.array(particles.text(identity))
    tomograms = np.array(particles.text(TOMOGRAM)) if TOMOGRAM in particles else None
    _, by_label = np.unique(labels, return_inverse=True)
    combined = by_label.ravel()
    if tomograms is not None:
        kinds, by_tomogram = np.unique(tomograms, return_inverse=True)
        combined = combined * len(kinds) + by_tomogram.ravel()
    _, first, of_row = np.unique(combined, return_index=True, return_inverse=True)
    appearance = np.argsort(first, kind="stable")
    numbers = np.empty_like(appearance)
    numbers[appearance] = np.arange(len(appearance))
    first = first[appearance]
    names = labels[first]
    if tomograms is not None and len(np.unique(names)) < len(names):
        joined = np.char.add(np.char.add(tomograms[first], "/"), names)
        names = joined
    return numbers[of_row.ravel()], names, first


def _require_one_particle(
    particles: StarTable,
    identity: str,
    owners: Int[np.ndarray, " rows"],
    doses: Float[np.ndarray, " rows"] | None,
) -> None:
    """Refuse a name that two particles have: most doses then have two images, or more.

    Not all, where tilts of one of them are missing.

    Raises:
        MetadataError: There is one.
    """
    if doses is None or "rlnImageName" not in particles:
        return
    num_doses, num_doubled = _doubled(owners, doses)
    suspects = np.flatnonzero(num_doubled > num_doses / 2)
    if not len(suspects):
        return
    # Images that are listed several times are the same ones.
    rows = np.flatnonzero(np.isin(owners, suspects))
    names = particles.text("rlnImageName")
    first = dict[tuple[int, str], int]()
    for row in rows.tolist():
        first.setdefault((int(owners[row]), names[row]), row)
    different = np.array([*first.values()])
    num_doses, num_doubled = _doubled(owners[different], doses[different])
    several = np.flatnonzero((num_doubled > num_doses / 2) & (num_doses >= FEWEST_DOSES))
    if len(several):
        name = particles.text(identity)[int(np.flatnonzero(owners == several[0])[0])]
        msg = (
            f"{particles.path}: {name} ({identity}) has two images or more of "
            f"{num_doubled[several[0]]} of its {num_doses[several[0]]} doses, as several "
            "particles of one name have; give every particle a name of its own, or a column "
            f"{TOMOGRAM} if they are in different tomograms"
        )
        raise MetadataError(msg)


def _doubled(
    owners: Int[np.ndarray, " rows"], doses: Float[np.ndarray, " rows"]
) -> tuple[Int[np.ndarray, " particles"], Int[np.ndarray, " particles"]]:
    """Numbers of different doses of every particle, and of those that several rows have."""
    order = np.lexsort((doses, owners))
    owners, doses = owners[order], doses[order]
    is_new = np.append(True, (np.diff(owners) != 0) | (np.diff(doses) != 0))
    starts = np.flatnonzero(is_new)
    is_several = np.diff(np.append(starts, len(order))) > 1
    num_doses = np.bincount(owners[starts])
    return num_doses, np.bincount(owners[starts][is_several], minlength=len(num_doses))


def _is_of_tilts(values: Float[np.ndarray, " rows"], groups: Int[np.ndarray, " rows"]) -> bool:
    """True if values differ within groups as those of the tilts of one particle do.

    Groups of micrographs of single images, too, may differ in dose, but hold many images of
    each.
    """
    if np.ptp(values) == 0:
        return False
    order = np.lexsort((values, groups))
    same_group = np.diff(groups[order]) == 0
    differs = same_group & (np.diff(values[order]) > 0)
    num_values = int(differs.sum()) + int((~same_group).sum()) + 1
    return bool(differs.any()) and len(values) <= ROWS_PER_VALUE * num_values


def _doses(
    particles: StarTable,
    columns: Columns,
    owners: Int[np.ndarray, " rows"],
    *,
    b_factors_are_doses: bool,
) -> tuple[Float[np.ndarray, " rows"] | None, str]:
    """Dose of every image, and where it comes from in words."""
    doses = columns(PRE_EXPOSURE)
    if doses is not None and _differs_within(doses, owners):
        if doses.min() < 0:
            row = int(np.argmin(doses))
            msg = f"{particles.path}: {PRE_EXPOSURE} of row {row} is {doses[row]:g}, not a dose"
            raise MetadataError(msg)
        if b_factors_are_doses:
            _say_other_doses(particles, columns, doses)
        return doses, f"from {PRE_EXPOSURE}"
    if b_factors_are_doses:
        factors = columns(B_FACTOR)
        assert factors is not None
        return factors / B_FACTOR_OF_DOSE, f"−{B_FACTOR} / 4, as WARP and M write it"
    if doses is not None and np.ptp(doses) > 0:
        same = f"{PRE_EXPOSURE} is the same for all tilts of a particle"
        return None, f"not known ({same}; `dose_per_tilt` says it)"
    return None, "not known (`dose_per_tilt` says it)"


def _differs_within(
    values: Float[np.ndarray, " rows"], owners: Int[np.ndarray, " rows"]
) -> bool:
    """True if values differ between images of a particle, or if no particle has two."""
    order = np.argsort(owners, kind="stable")
    same = np.diff(owners[order]) == 0
    if not same.any():
        return np.ptp(values) > 0
    return bool((np.diff(values[order])[same] != 0).any())


def _say_other_doses(
    particles: StarTable, columns: Columns, doses: Float[np.ndarray, " rows"]
) -> None:
    factors = columns(B_FACTOR)
    assert factors is not None
    differences = np.abs(factors / B_FACTOR_OF_DOSE - doses)
    if differences.max() > SAME_DOSE:
        logger.warning(
            "%s: −%s / 4 says other doses than %s, by up to %.3g e/Å²: the latter is taken, "
            "and B factors count nothing",
            particles.path,
            B_FACTOR,
            PRE_EXPOSURE,
            differences.max(),
        )


def _say_other_tilts(
    particles: StarTable, columns: Columns, scales: Float[np.ndarray, " rows"]
) -> None:
    for name in STAGE_ANGLES:
        angles = columns(name)
        if angles is None or np.ptp(angles) == 0:
            continue
        differences = np.abs(np.cos(np.deg2rad(angles)) - scales)
        if differences.max() > SAME_SCALE:
            logger.warning(
                "%s: %s is not the cosine of %s, by up to %.3g: the former is taken",
                particles.path,
                SCALE,
                name,
                differences.max(),
            )
        return


def _are_doses(columns: Columns, owners: Int[np.ndarray, " rows"]) -> bool:
    """True if the B factors of tilt images stand for doses, as those of WARP and M do."""
    factors = columns(B_FACTOR)
    return factors is not None and factors.max() <= 0 and _is_of_tilts(factors, owners)


def _tilts(
    particles: StarTable, columns: Columns
) -> tuple[Float[np.ndarray, " rows"] | None, Float[np.ndarray, " rows"] | None, str]:
    """Scale and tilt angle of every image, of which one is known, and where it comes from."""
    scales = columns(SCALE)
    if scales is not None and np.ptp(scales) > 0:
        if scales.min() < 0:
            row = int(np.argmin(scales))
            msg = f"{particles.path}: {SCALE} of row {row} is {scales[row]:g}, not positive"
            raise MetadataError(msg)
        _say_other_tilts(particles, columns, scales)
        return scales, None, f"from {SCALE}"
    for name in STAGE_ANGLES:
        angles = columns(name)
        if angles is not None and np.ptp(angles) > 0:
            if np.abs(angles).max() >= UPRIGHT:
                row = int(np.argmax(np.abs(angles)))
                msg = (
                    f"{particles.path}: {name} of row {row} is {angles[row]:g}°, expected the "
                    "tilt of a stage, less than 90°"
                )
                raise MetadataError(msg)
            return None, np.deg2rad(angles), f"from {name}"
    return None, None, "not known (`angle_per_tilt_deg` says it)"


def _places(particles: StarTable) -> Int[np.ndarray, " rows"]:
    """Rank of the name of every image, by stack and by number in it."""
    if "rlnImageName" not in particles:
        return np.arange(len(particles))
    parts = [name.partition("@") for name in particles.text("rlnImageName")]
    stacks = np.array([stack for _, _, stack in parts])
    frames = np.array([int(n) if n.isdecimal() and len(n) < 11 else 0 for n, _, _ in parts])
    ranks = np.empty(len(parts), dtype=np.int64)
    ranks[np.lexsort((frames, stacks))] = np.arange(len(parts))
    same = len(parts) - len(set(zip(stacks.tolist(), frames.tolist(), strict=True)))
    if same:
        logger.warning(
            "%s lists %d images more than once: each counts as often as it is listed",
            particles.path,
            same,
        )
    return ranks
