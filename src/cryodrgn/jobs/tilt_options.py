"""Settings of tilt series and tilt pairs that several commands share."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.settings import POSITIVE, Settings, at_least, option, settings

if TYPE_CHECKING:
    from cryodrgn.particles.tilt_series import TiltSeriesSettings

TILT_SERIES = "Tilt series"
# Images of a particle that cryoDRGN 4 takes where nothing is said.
TILTS_OF_4 = 10


@settings
class TiltSeriesOptions(Settings):
    """Tilt series: which rows of a file show the same particle, their dose and tilt."""

    single_images: bool = option(
        "--single-images",
        default=False,
        group=TILT_SERIES,
        help="Treat every tilt image as a separate particle; otherwise rows of a .star with "
        "the same particle name (rlnTomoParticleName, or rlnGroupName where dose or scale "
        "differ) are images of one particle",
    )
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

    @property
    def series(self) -> "TiltSeriesSettings":
        """The settings of tilt series."""
        from cryodrgn.particles.tilt_series import TiltSeriesSettings

        return TiltSeriesSettings(
            is_series=False if self.single_images else None,
            num_tilts=self.num_tilts,
            dose_per_tilt=self.dose_per_tilt,
            angle_per_tilt_deg=self.angle_per_tilt_deg,
        )


@settings
class RandomTiltOptions(TiltSeriesOptions):
    """Tilts of every particle that an epoch of training visits."""

    random_tilts: bool = option(
        "--random-tilts",
        default=False,
        group=TILT_SERIES,
        help="Draw --ntilts images of every particle anew for each epoch, instead of the best "
        f"ones for all ({TILTS_OF_4} if no number is given)",
    )

    @property
    def series(self) -> "TiltSeriesSettings":
        """The settings of tilt series; all images are read where some are drawn."""
        said = super().series
        return replace(said, num_tilts=None) if self.random_tilts else said

    @property
    def tilts_drawn(self) -> int | None:
        """Number of images of a particle that are drawn for an epoch; None for all."""
        return (self.num_tilts or TILTS_OF_4) if self.random_tilts else None


@settings
class TiltOptions(Settings):
    """Second exposure of tilt pairs."""

    tilt: Path | None = option(
        "--tilt",
        default=None,
        group=TILT_SERIES,
        help="Particles (.mrcs) of the tilted exposure, of tilt pairs",
    )
    tilt_deg: float = option(
        "--tilt-deg",
        default=45.0,
        group=TILT_SERIES,
        unit="°",
        help="X-axis tilt offset in degrees",
    )

    @property
    def second_exposures(self) -> Path | None:
        """The particles of the tilted exposure; None if there is none."""
        return self.tilt
