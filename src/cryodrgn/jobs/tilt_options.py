"""Settings of tilt series and tilt pairs that several commands share."""

from dataclasses import replace
from pathlib import Path

from cryodrgn.particles.options import TILT_SERIES, ParticleFileOptions, TiltSeriesSettings
from cryodrgn.settings import Settings, option, part_of, same_as, settings

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
    num_tilts: int | None = same_as(TiltSeriesSettings, "num_tilts")
    dose_per_tilt: float | None = same_as(TiltSeriesSettings, "dose_per_tilt")
    angle_per_tilt_deg: float | None = same_as(TiltSeriesSettings, "angle_per_tilt_deg")

    @property
    def series(self) -> TiltSeriesSettings:
        """The settings of tilt series."""
        return part_of(
            self, TiltSeriesSettings, {"is_series": False if self.single_images else None}
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
    def series(self) -> TiltSeriesSettings:
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

    tilt: Path | None = same_as(ParticleFileOptions, "tilted")
    tilt_deg: float = same_as(ParticleFileOptions, "tilt_deg")

    @property
    def second_exposures(self) -> Path | None:
        """The particles of the tilted exposure; None if there is none."""
        return self.tilt
