"""Images of a run, their preprocessing, and the record of both in the run's config file."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryodrgn.data.options import WINDOW_RADIUS, PreprocessingOptions
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.locate import stack_folders
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.particles.sampling import Sampling
from cryodrgn.settings import from_record, settings


@settings
class DataConfig(PreprocessingOptions):
    """Images, and their preprocessing before they are compared with slices.

    Attributes:
        files: The particle file and what goes with it.
    """

    files: ParticleFiles

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
            "window_r": self.window_radius or WINDOW_RADIUS,
        }

    @classmethod
    def of_record(cls, settings: Mapping[str, Any]) -> "DataConfig":
        """The settings that a run recorded."""
        data = dict(settings)
        # Runs of versions before had these two beside the files.
        beside = {name: data.pop(name) for name in ("tilted", "tilt_deg") if name in data}
        return from_record(cls, data | {"files": data["files"] | beside})


def absolute_or_none(path: Path | None) -> str | None:
    """A path as whole text; None for none."""
    return None if path is None else str(path.resolve())
