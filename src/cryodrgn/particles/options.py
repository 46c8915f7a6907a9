"""Settings of particle files that commands take as options and runs record, declared once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from cryodrgn.errors import ConfigError
from cryodrgn.settings import EVEN, POSITIVE, Settings, at_least, option, settings

LOADING, TILT_SERIES = "Dataset loading", "Tilt series"
# States of images: phases flipped, or multiplied by the CTF.
Correction = Literal["none", "flipped", "multiplied"]

_IN_CONFIGS = {
    "is_series": "tilt_series",
    "num_tilts": "ntilts",
    "dose_per_tilt": "dose_per_tilt",
    "angle_per_tilt_deg": "angle_per_tilt",
}


@settings
class TableOptions(Settings):
    """Tables of poses and CTF beside the particle file."""

    poses: Path | None = option(
        "--poses",
        default=None,
        help="Image poses (.pkl); taken from the particles if they are a .star or .cs file",
    )
    ctf: Path | None = option(
        "--ctf",
        default=None,
        metavar="pkl",
        help="CTF parameters (.pkl) if particle stack is not phase flipped; taken from the "
        "particles if they are a .star or .cs file",
    )
    correction: Correction | None = option(
        "--ctf-applied",
        default=None,
        help="How the images were corrected for their CTF before: not at all, phases flipped, "
        "or multiplied by it; .cs and .pkl files do not say",
        default_words="as a .star file says, else none",
    )


@settings
class ParticleOptions(Settings):
    """Particles, and the folder of their stacks."""

    indices: Path | None = option(
        "--ind", default=None, group=LOADING, help="Filter particle stack by these indices"
    )
    datadir: Path | None = option(
        "--datadir",
        default=None,
        group=LOADING,
        metavar="DIR",
        help="Folder of the image stacks that a .star or .cs file names, if they are not found "
        "from the folder of that file upwards",
    )


@settings
class ParticleFileOptions(ParticleOptions, TableOptions):
    """Particles, tables beside them, second images of tilt pairs, and their field of view."""

    tilted: Path | None = option(
        "--tilt",
        default=None,
        group=TILT_SERIES,
        help="Particles (.mrcs) of the tilted exposure, of tilt pairs",
    )
    # Right-handed about x.
    tilt_deg: float = option(
        "--tilt-deg",
        default=45.0,
        group=TILT_SERIES,
        unit="°",
        help="X-axis tilt offset in degrees",
    )
    box_size: int | None = option(
        "--box",
        default=None,
        group=LOADING,
        unit="px",
        check=EVEN,
        help="Crop images in real space to this even box size, centred on the particle, or "
        "pad them with zeros, before any other step; in pixels of the most frequent pixel "
        "size",
        default_words="box size of the images; if any are odd or not square, the largest "
        "even box within all of them",
    )


@settings
class TiltSeriesSettings(Settings):
    """Settings of tilt series, beside what their file says.

    Attributes:
        is_series: True takes images that share a group for those of one particle, False every
            image for a particle of its own; None recognises tilt series by their columns.
    """

    is_series: bool | None = None
    num_tilts: int | None = option(
        "--ntilts",
        default=None,
        group=TILT_SERIES,
        check=at_least(1),
        default_words="all",
        help="Number of tilt images used of every particle: those of the lowest dose, or "
        "where doses are not known, of the largest rlnCtfScalefactor",
    )
    dose_per_tilt: float | None = option(
        "-d",
        "--dose-per-tilt",
        default=None,
        group=TILT_SERIES,
        unit="e/Å²",
        check=POSITIVE,
        help="Dose of one tilt image in electrons per Å², where the file gives no doses",
    )
    angle_per_tilt_deg: float | None = option(
        "-a",
        "--angle-per-tilt",
        default=None,
        group=TILT_SERIES,
        unit="°",
        check=POSITIVE,
        help="Tilt increment in degrees of a dose-symmetric series, where the file gives no "
        "tilt angles",
    )

    @classmethod
    def from_mapping(cls, entries: Mapping[str, Any]) -> Self:
        """The settings in a group of a config file, see :meth:`to_mapping`."""
        return cls(**{ours: entries.get(theirs) for ours, theirs in _IN_CONFIGS.items()})

    def to_mapping(self) -> dict[str, Any]:
        """Settings that are not the default, by their names in ``dataset_args`` of configs."""
        found = {theirs: getattr(self, ours) for ours, theirs in _IN_CONFIGS.items()}
        return {name: value for name, value in found.items() if value is not None}

    def updated(self, other: Self) -> Self:
        """These settings with those of another that are given in their place."""
        return type(self).from_mapping(self.to_mapping() | other.to_mapping())

    @property
    def in_words(self) -> str:
        """The settings that are not the default."""
        values = {ours: getattr(self, ours) for ours in _IN_CONFIGS if ours != "is_series"}
        said = [f"`{name}` {value:g}" for name, value in values.items() if value is not None]
        if self.is_series is not None:
            said.insert(0, f"`single_images={not self.is_series}`")
        return ", ".join(said)

    def require_none(self, source: str) -> None:
        """Refuse settings that only tilt series have.

        Raises:
            ConfigError: One is given.
        """
        given = {
            "num_tilts": self.num_tilts,
            "dose_per_tilt": self.dose_per_tilt,
            "angle_per_tilt_deg": self.angle_per_tilt_deg,
        }
        for name, value in given.items():
            if value is not None and self.is_series is False:
                msg = (
                    f"`{name}` is for tilt series, but `single_images` takes every image of "
                    f"{source} for a particle of its own; leave out one of the two"
                )
                raise ConfigError(msg)
            if value is not None:
                msg = (
                    f"`{name}` is for tilt series, but {source} lists single images (no column "
                    "rlnTomoParticleName, and no rlnGroupName within which rlnCtfScalefactor "
                    f"or rlnMicrographPreExposure differ); leave out `{name}`"
                )
                if name == "num_tilts":
                    msg += ", or `encode_mode` tilt, which implies it"
                raise ConfigError(msg)
