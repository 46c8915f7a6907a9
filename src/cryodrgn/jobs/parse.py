"""Poses and CTF parameters of RELION and cryoSPARC files, as pickles of cryoDRGN."""

import math
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.errors import ConfigError
from cryodrgn.jobs.options import (
    PICKLE_ENDINGS,
    output_flags,
    require_ending,
)
from cryodrgn.settings import (
    NOT_NEGATIVE,
    POSITIVE,
    Job,
    Settings,
    at_least,
    function_of,
    option,
    positional,
    settings,
    within,
)

if TYPE_CHECKING:
    from cryodrgn.io.metadata import ParticleMetadata
    from cryodrgn.io.relion import RelionParticles
    from cryodrgn.particles.optics import CtfTable
    from cryodrgn.particles.poses import Poses

REPLACED = "Values that replace those of the file"
BEFORE = "before any downsampling"


@settings
class InputFile(Settings):
    """Metadata file."""

    input: Path = positional(help="RELION .star file")


@settings
class ImageSizeOptions(Settings):
    """Box and pixel size of images that a metadata file describes."""

    box_size: int | None = option(
        "-D",
        default=None,
        metavar="D",
        unit="px",
        check=at_least(1),
        help=f"Box size of the reconstruction in pixels, {BEFORE}; needed only where the file "
        "does not say it",
    )
    pixel_size: float | None = option(
        "--Apix",
        default=None,
        metavar="APIX",
        check=POSITIVE,
        unit="Å/px",
        help=f"Angstroms per pixel {BEFORE}; needed only where the file does not say it",
    )


@settings
class PoseOutput(Settings):
    """Pickle of poses."""

    output: Path = option(
        *output_flags("pkl"), metavar="PKL", kw_only=False, help="Output poses (.pkl)"
    )


@settings
class ParsePoseStar(PoseOutput, ImageSizeOptions, InputFile, Job["Poses"]):
    """Parse image poses from a RELION .star file."""

    def run(self) -> "Poses":
        """Write the poses."""
        from cryodrgn.io.parse import parse_poses, tell_what_poses_lack
        from cryodrgn.io.relion import RelionParticles

        require_ending(self.output, PICKLE_ENDINGS, "output")
        particles = RelionParticles(self.input)
        poses = parse_poses(particles, self.output, self.box_size, self.pixel_size)
        tell_what_poses_lack(particles)
        return poses


@settings
class ParsePoseCsparc(PoseOutput, ImageSizeOptions, InputFile, Job["Poses"]):
    """Parse image poses from a cryoSPARC .cs file."""

    input: Path = positional(help="cryoSPARC .cs file")
    abinit: bool = option(
        "--abinit",
        default=False,
        help="Flag if results are from ab-initio reconstruction: poses of classes, even beside "
        "those of a refinement",
    )
    class_number: int | None = option(
        "--class",
        default=None,
        metavar="K",
        check=NOT_NEGATIVE,
        help="Poses of this class for all particles, for jobs of several classes; by default "
        "every particle has those of its most probable class",
    )
    hetrefine: bool = option(
        "--hetrefine",
        default=False,
        help="Flag if results are from a heterogeneous refinement at half the box size: shifts "
        "are doubled, unless the file gives the pixel size they refer to",
    )
    box_size: int | None = option(
        "-D",
        default=None,
        metavar="D",
        unit="px",
        check=at_least(1),
        help=f"Box size of the reconstruction in pixels, {BEFORE}: that of the refinement; "
        "needed only where the file does not say it (older jobs)",
    )

    def run(self) -> "Poses":
        """Write the poses."""
        from cryodrgn.io.cryosparc import CryosparcParticles
        from cryodrgn.io.cryosparc_poses import WantedPoses
        from cryodrgn.io.metadata import require_box_size
        from cryodrgn.io.parse import parse_poses, tell_what_poses_lack

        require_ending(self.output, PICKLE_ENDINGS, "output")
        require_box_size(self.box_size)
        particles = CryosparcParticles(
            self.input,
            WantedPoses(of_classes=self.abinit, class_number=self.class_number),
            shift_scale=2.0 if self.hetrefine else 1.0,
            refined_box_size=self.box_size,
        )
        box_size = self.box_size if particles.box_sizes() is None else None
        poses = parse_poses(particles, self.output, box_size, self.pixel_size)
        tell_what_poses_lack(particles)
        return poses


@settings
class CtfOutput(Settings):
    """Pickle and picture of CTF parameters."""

    output: Path = option(
        *output_flags("pkl"),
        metavar="PKL",
        kw_only=False,
        help="Output CTF parameters (.pkl)",
    )
    png: Path | None = option(
        "--png",
        is_output=True,
        default=None,
        metavar="PNG",
        help="Optionally plot the CTF of the first particle",
    )


@settings
class CtfJob(CtfOutput, ImageSizeOptions, InputFile, Job["CtfTable"]):
    """CTF parameters of a metadata file, whatever program wrote it."""

    @abstractmethod
    def metadata(self) -> "ParticleMetadata":
        """The table of the file."""

    def run(self) -> "CtfTable":
        """Write the parameters, and draw the first CTF if asked to."""
        from cryodrgn.io.parse import parse_ctf

        require_ending(self.output, PICKLE_ENDINGS, "output")
        metadata = self.metadata()
        ctf, box_size, pixel_size = parse_ctf(
            metadata, self.output, self.box_size, self.pixel_size
        )
        _draw_first(ctf, box_size, pixel_size, self.png)
        return ctf


@settings
class StarCtf(Settings):
    """CTF parameters in place of those of a RELION .star file."""

    voltage_kv: float | None = option(
        "--kv",
        default=None,
        group=REPLACED,
        unit="kV",
        check=POSITIVE,
        help="Accelerating voltage (kV)",
    )
    spherical_aberration_mm: float | None = option(
        "--cs", default=None, group=REPLACED, unit="mm", help="Spherical aberration (mm)"
    )
    amplitude_contrast: float | None = option(
        "-w", default=None, group=REPLACED, check=within(0, 1), help="Amplitude contrast ratio"
    )
    phase_shift_deg: float | None = option(
        "--ps", default=None, group=REPLACED, unit="°", help="Phase shift (deg)"
    )

    def table_of(self, path: Path) -> "RelionParticles":
        """The table of a file, with the values that are given in place of its own."""
        from cryodrgn.io.relion import RelionParticles

        shift = self.phase_shift_deg
        given = {
            "voltage_kv": self.voltage_kv,
            "spherical_aberration_mm": self.spherical_aberration_mm,
            "amplitude_contrast": self.amplitude_contrast,
            "phase_shift": None if shift is None else math.radians(shift),
        }
        replaced = {name: value for name, value in given.items() if value is not None}
        return RelionParticles(path, replaced)


@settings
class ParseCtfStar(StarCtf, CtfJob):
    """Parse CTF parameters from a RELION .star file."""

    input: Path = positional(metavar="star", help="RELION .star file")

    def metadata(self) -> "ParticleMetadata":
        """The table, with the values that are given in place of its own."""
        return self.table_of(self.input)


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedStar:
    """Poses and CTF parameters read from a file; None where they were not asked for.

    Attributes:
        poses: Orientations and shifts.
        ctf: CTF parameters.
    """

    poses: "Poses | None"
    ctf: "CtfTable | None"


@settings
class ParseStar(StarCtf, ImageSizeOptions, InputFile, Job[ParsedStar]):
    """Parse poses and CTF parameters from a RELION .star file in one go."""

    poses: Path | None = option(
        "--poses", default=None, is_output=True, metavar="PKL", help="Output poses (.pkl)"
    )
    ctf: Path | None = option(
        "--ctf",
        default=None,
        is_output=True,
        metavar="PKL",
        help="Output CTF parameters (.pkl)",
    )
    png: Path | None = option(
        "--png",
        is_output=True,
        default=None,
        metavar="PNG",
        help="Optionally plot the CTF of the first particle",
    )
    overwrite: bool = option("--overwrite", default=False, help="Replace outputs that exist")

    def run(self) -> ParsedStar:
        """Write what was asked for.

        Raises:
            ConfigError: Nothing was asked for, or an output is there already.
        """
        from cryodrgn.io.parse import parse_ctf, parse_poses, tell_what_poses_lack

        self._check_outputs()
        table = self.table_of(self.input)
        poses, ctf = None, None
        if self.poses is not None:
            poses = parse_poses(table, self.poses, self.box_size, self.pixel_size)
        if self.ctf is not None:
            parsed = parse_ctf(table, self.ctf, self.box_size, self.pixel_size)
            ctf, box_size, pixel_size = parsed
            _draw_first(ctf, box_size, pixel_size, self.png)
        else:
            tell_what_poses_lack(table)
        return ParsedStar(poses=poses, ctf=ctf)

    def _check_outputs(self) -> None:
        outputs = {"poses": self.poses, "ctf": self.ctf}
        if not any(outputs.values()):
            msg = "nothing is to be written: give `poses`, `ctf`, or both"
            raise ConfigError(msg)
        for name, path in outputs.items():
            if path is None:
                continue
            require_ending(path, PICKLE_ENDINGS, name)
            if not self.overwrite and path.exists():
                msg = f"`{name}` {path} exists; replace it with `overwrite`"
                raise ConfigError(msg)


@settings
class ParseCtfCsparc(CtfJob):
    """Parse CTF parameters from a cryoSPARC .cs file."""

    input: Path = positional(metavar="cs", help="cryoSPARC .cs file")

    def metadata(self) -> "ParticleMetadata":
        """The table."""
        from cryodrgn.io.cryosparc import CryosparcParticles

        return CryosparcParticles(self.input)


def _draw_first(ctf: "CtfTable", box_size: int, pixel_size: float, path: Path | None) -> None:
    """Picture of the CTF of the first particle, if it is wanted."""
    if path is not None:
        from cryodrgn.analysis.plots import plot_ctf, save_figure

        save_figure(plot_ctf(ctf, box_size, pixel_size), path)


parse_star = function_of(ParseStar)
parse_pose_star = function_of(ParsePoseStar)
parse_pose_csparc = function_of(ParsePoseCsparc)
parse_ctf_star = function_of(ParseCtfStar)
parse_ctf_csparc = function_of(ParseCtfCsparc)
