"""Tables of STAR files that list no single particles: what they are, and which file to take."""

from collections.abc import Mapping
from pathlib import Path

from cryodrgn.errors import InputFileError
from cryodrgn.io.star import StarTable

IMAGE_NAME = "rlnImageName"
ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
COLUMNS_SHOWN = 8

# The name of a block, or of a column, that only one kind of RELION's files has; what that file
# is; and which one lists the particles.
_DATA_STAR = "take the data file of the same iteration (run_data.star, run_itNNN_data.star)"
_OF_TOMOGRAMS = (
    "take the optimisation_set.star that RELION 5, WarpTools or M wrote beside 2-D stacks, or "
    "list the tilt images with cryodrgn_utils parse_relion, which cuts those of RELION 4 out"
)
# Without the name of the tomogram, nothing leads back to its tilt images.
_OF_SUBTOMOGRAMS = (
    "export the particles as 2-D stacks of their tilt images (WarpTools ts_export_particles "
    "--2d, M, or RELION 5) and take the optimisation_set.star beside them"
)
_EXTRACTED = "extract the particles and take the particles.star of that job"
_BLOCKS = {
    "model_general": ("describes the maps of a refinement (model.star)", _DATA_STAR),
    "model_classes": ("describes the maps of a refinement (model.star)", _DATA_STAR),
    "optimiser_general": ("holds the settings of a refinement (optimiser.star)", _DATA_STAR),
    "sampling_general": (
        "holds the orientations that were searched (sampling.star)",
        _DATA_STAR,
    ),
    "job": (
        "holds the settings of a job (job.star)",
        "take a particle file that the job wrote",
    ),
    "joboptions_values": (
        "holds the settings of a job (job.star)",
        "take a particle file that the job wrote",
    ),
    "pipeline_general": (
        "lists the jobs of a project (default_pipeline.star)",
        "take a particle file that one of them wrote",
    ),
    "fsc": (
        "holds the curves of a post-processing job",
        "take the run_data.star refined before",
    ),
}
_COLUMNS = {
    "rlnTomoTiltSeriesStarFile": (
        "lists tomograms (tomograms.star)",
        _OF_TOMOGRAMS,
    ),
    "rlnTomoXTilt": (
        "lists the images of a tilt series",
        _OF_TOMOGRAMS,
    ),
    "rlnMicrographMovieName": ("lists movies", _EXTRACTED),
    "rlnReferenceImage": ("lists reference images or class averages", _DATA_STAR),
    "rlnCoordinateX": ("lists where particles were picked", _EXTRACTED),
    "rlnMicrographCoordinates": ("lists the files of picked coordinates", _EXTRACTED),
    "rlnMicrographName": ("lists micrographs", _EXTRACTED),
}
# Columns of cisTEM that hold what is needed of a particle.
_OF_CISTEM = {
    "images": ("cisTEMPositionInStack", "cisTEMStackFilename"),
    "angles": ("cisTEMAnglePsi", "cisTEMAngleTheta", "cisTEMAnglePhi"),
    "shifts": ("cisTEMXShift", "cisTEMYShift"),
    "defocus": ("cisTEMDefocus1", "cisTEMDefocus2", "cisTEMDefocusAngle"),
    "pixel size": ("cisTEMPixelSize",),
    "voltage": ("cisTEMMicroscopeVoltagekV",),
    "spherical aberration": ("cisTEMMicroscopeCsMM",),
    "amplitude contrast": ("cisTEMAmplitudeContrast",),
}
# The tilt series of a particle in M's list, and beginnings of columns of other programs.
_M_SOURCE = "wrpSourceName"
WARP = "WARP or M"
_PROGRAMS = {"wrp": WARP, "EMAN": "EMAN2"}
_SUBTOMOGRAM_COLUMNS = (
    *(f"rlnTomoSubtomogram{angle}" for angle in ("Rot", "Tilt", "Psi")),
    *("rlnTomoVisibleFrames", "rlnCtfImage"),
)
_TOMOGRAPHY_COLUMNS = ("rlnTomoName", "rlnTomoParticleName", "rlnTomoParticleId")


def refuse_other_stars(
    path: Path, blocks: Mapping[str, StarTable], particles: StarTable
) -> None:
    """Refuse a STAR file that lists something other than single particles.

    Args:
        path: The file, for messages.
        blocks: Its tables by name.
        particles: That of them which would list the particles.

    Raises:
        InputFileError: It lists none, or subtomograms, or belongs to another program.
    """
    _refuse_subtomograms(path, blocks, particles)
    if IMAGE_NAME in particles:
        return
    words = _without_particles(blocks)
    if words is not None:
        msg = f"{path} {words[0]}, no particles; {words[1]}"
        raise InputFileError(msg)
    # Poses without images can be parsed: they serve stacks that are named otherwise.
    if not all(name in particles for name in ANGLES):
        msg = f"{path} {_whose(particles.names)}"
        raise InputFileError(msg)


def _without_particles(blocks: Mapping[str, StarTable]) -> tuple[str, str] | None:
    """Kind of a RELION file without particles, and the file to take instead."""
    for table in blocks.values():
        if "rlnExperimentalDataStarFile" in table:
            data = table.text("rlnExperimentalDataStarFile")[0][:200]
            return _BLOCKS["optimiser_general"][0], f"take {data}, which it names"
    for name, words in _BLOCKS.items():
        if name in blocks:
            return words
    for name, words in _COLUMNS.items():
        if any(name in table for table in blocks.values()):
            return words
    return None


def _whose(names: list[str]) -> str:
    """Whose table it is by the names of its columns, and what it lacks."""
    shown = ", ".join(names[:COLUMNS_SHOWN])
    needed = f"the columns of RELION ({IMAGE_NAME}, {', '.join(ANGLES)}, …)"
    if any(name.startswith("cisTEM") for name in names):
        return f"is a table of cisTEM{_lacking_of_cistem(names)}"
    if any(name.startswith("atom_site") for name in names):
        return "holds an atomic model (mmCIF), no particles; simulate takes it"
    if any(name.startswith("rln") for name in names):
        return (
            f"lists no particle images: it has no column {IMAGE_NAME}, but {shown}; pass the "
            "star file of an extraction or refinement"
        )
    program = "Xmipp" if {"image", "anglePsi"} <= set(names) else "another program"
    for beginning, other in _PROGRAMS.items():
        if any(name.startswith(beginning) for name in names):
            program = other
    if _M_SOURCE in names:
        return (
            f"is M's own list of particles with the columns {shown}, and lacks {needed}; "
            "export 2-D stacks with MTools or WarpTools, pass the optimisation_set.star beside "
            "them, and lead selections back to this list with cryodrgn export --chosen-from"
        )
    series = ", particles of tilt series as 2-D stacks," if program == WARP else ""
    return (
        f"is a table of {program} with the columns {shown}, and lacks {needed}; export it from "
        f"there in RELION's format{series} and pass that file"
    )


def _lacking_of_cistem(names: list[str]) -> str:
    """Quantities of a particle that a table of cisTEM has, those that it lacks, what to do."""
    has = [what for what, needed in _OF_CISTEM.items() if set(needed) <= set(names)]
    lacks = [what for what in _OF_CISTEM if what not in has]
    found = f" with {', '.join(has)}" if has else ""
    lacking = f"{' and' if has else ''} without {', '.join(lacks)}" if lacks else ""
    return (
        f"{found}{lacking}, which names none of its columns as RELION does ({IMAGE_NAME}, …); "
        "export the refinement package from cisTEM in RELION's format and pass that file"
    )


def _refuse_subtomograms(
    path: Path, blocks: Mapping[str, StarTable], particles: StarTable
) -> None:
    mark = next(
        (n for n in _SUBTOMOGRAM_COLUMNS if any(n in table for table in blocks.values())), None
    )
    for table in blocks.values():
        is_3d = "rlnImageDimensionality" in table and 3 in table.numbers(
            "rlnImageDimensionality"
        )
        mark = "rlnImageDimensionality 3" if is_3d else mark
    if mark is None and _is_list_of_tomography(particles):
        mark = next(name for name in _TOMOGRAPHY_COLUMNS if name in particles)
    if mark is not None:
        names_tomograms = any("rlnTomoName" in table for table in blocks.values())
        remedy = _OF_TOMOGRAMS if names_tomograms else _OF_SUBTOMOGRAMS
        msg = f"{path} lists particles of tomograms ({mark}), one row for many images; {remedy}"
        raise InputFileError(msg)


def _is_list_of_tomography(particles: StarTable) -> bool:
    """True if rows of a table are positions or stacks in tomograms, not single images."""
    if not any(name in particles for name in _TOMOGRAPHY_COLUMNS):
        return False
    if "rlnTomoTiltSeriesStarFile" in particles:
        return False
    return IMAGE_NAME not in particles or "@" not in particles.text(IMAGE_NAME)[0]
