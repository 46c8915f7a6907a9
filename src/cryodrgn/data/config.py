"""Images of a run, their preprocessing, and the record of both in the run's config file."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryodrgn.errors import ConfigError
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.locate import stack_folders
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.particles.sampling import Sampling
from cryodrgn.particles.tilt_series import TiltSeriesSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Images, and their preprocessing before they are compared with slices.

    Attributes:
        files: The particle file and what goes with it.
        window_radius: Where the soft window begins to fall, as a fraction of half the box;
            None applies no window.
        invert: Whether to change the sign of the data.
        norm: Offset and scale of the Hartley values; None estimates the scale from the data
            and takes 0 for the offset.
        box_size: Side in pixels to which images are Fourier-cropped on the fly; None keeps
            their own.
    """

    files: ParticleFiles
    window_radius: float | None = None
    invert: bool = False
    norm: tuple[float, float] | None = None
    box_size: int | None = None

    def with_places(self, particles: ParticleSet) -> "DataConfig":
        """These settings, with the folders in which :meth:`open` found stacks as the first."""
        pixels = particles.images.pixels
        if not isinstance(pixels, ImageStack):
            return self
        folders = stack_folders(pixels.paths)
        return replace(self, files=replace(self.files, found_in=folders))

    def open(self) -> ParticleSet:
        """The particles.

        Raises:
            CryodrgnError: A file cannot be used, the images differ in pixel size, or the box
                size is not possible.
        """
        particles = open_particles(self.files)
        particles.require_pixel_size()
        return particles if self.box_size is None else particles.cropped(self.box_size)

    def __post_init__(self) -> None:
        """Refuse numbers that are out of range.

        Raises:
            ConfigError: The window or the scale is impossible.
        """
        if self.window_radius is not None and not 0 < self.window_radius < 0.99:
            msg = f"`window_radius` must lie between 0 and 0.99, got {self.window_radius}"
            raise ConfigError(msg)
        if self.norm is not None and not self.norm[1] > 0:
            msg = f"the scale of `norm` must be positive, got {self.norm[1]}"
            raise ConfigError(msg)

    def to_mapping(
        self, norm: tuple[float, float], sampling: Sampling | None
    ) -> dict[str, Any]:
        """The group ``dataset_args`` of a config file.

        Args:
            norm: Offset and scale that are used.
            sampling: Lattice on which images of several kinds are prepared.
        """
        mapping = {
            "particles": self.files.particles,
            "ind": self.files.indices,
            "datadir": self.files.datadir,
            "ctf": self.files.ctf,
            "poses": self.files.poses,
        }
        if self.files.tilted is not None:
            mapping["particles_tilt"] = self.files.tilted
        more: dict[str, Any] = {}
        if self.files.found_in:
            more["stack_folders"] = [str(folder) for folder in self.files.found_in]
        if self.files.correction is not None:
            more["ctf_applied"] = self.files.correction
        if self.files.tilted is not None:
            more["tilt_deg"] = self.files.tilt_deg
        if sampling is not None:
            more["sampling"] = sampling.uncropped().record()
        return {name: absolute_or_none(path) for name, path in mapping.items()} | {
            **more,
            **self.files.series.to_mapping(),
            "norm": list(norm),
            "invert_data": self.invert,
            "window": self.window_radius is not None,
            "window_r": self.window_radius or 0.85,
        }

    @classmethod
    def of_record(cls, settings: Mapping[str, Any]) -> "DataConfig":
        """The settings that a run recorded."""
        data = dict(settings)
        data["files"] = _recorded_files(data)
        data["norm"] = None if data["norm"] is None else tuple(data["norm"])
        return cls(**data)


def absolute_or_none(path: Path | None) -> str | None:
    """A path as whole text; None for none."""
    return None if path is None else str(path.resolve())


def _recorded_files(data: dict[str, Any]) -> ParticleFiles:
    """The files that recorded settings name, which are taken out of them."""
    files = dict(data.pop("files"))
    # Runs of versions before had these two beside the files.
    for name in ("tilted", "tilt_deg"):
        if name in data:
            files[name] = data.pop(name)
    tilt_deg = files.pop("tilt_deg", 45.0)
    series = TiltSeriesSettings(**files.pop("series", {}))
    images = {
        "correction": files.pop("correction", None),
        "box_size": files.pop("box_size", None),
        "sampling": Sampling.of_record(files.pop("sampling", None)),
    }
    found_in = tuple(Path(folder) for folder in files.pop("found_in", ()))
    paths = {name: path_or_none(value) for name, value in files.items()}
    return ParticleFiles(**paths, found_in=found_in, tilt_deg=tilt_deg, series=series, **images)


def path_or_none(text: str | None) -> Path | None:
    """A path that was written as text; None for none."""
    return None if text is None else Path(text)
