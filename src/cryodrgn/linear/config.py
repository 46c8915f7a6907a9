"""Settings of a linear run."""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cryodrgn.data.config import DataConfig
from cryodrgn.data.prepared import Storage
from cryodrgn.errors import ConfigError, ShapeMismatchError
from cryodrgn.imaging.ewald import Curvature
from cryodrgn.linear.options import LEAST_RADIUS, RecordedOptions
from cryodrgn.settings import settings

logger = logging.getLogger(__name__)

LEAST_IMAGES_PER_COMPONENT = 4


def require_radius(box_size: int, source: str) -> None:
    """Refuse a box with fewer shells below its Nyquist frequency than a fit needs.

    Args:
        box_size: Side of the images in pixels, cut or padded if that was asked for.
        source: The images, for the message.

    Raises:
        ShapeMismatchError: The box is too small.
    """
    least = 2 * (LEAST_RADIUS + 1)
    if box_size < least:
        msg = (
            f"images of {source} are compared in a box of {box_size} pixels, which leaves a "
            f"radius of {max(0, box_size // 2 - 1)} Fourier pixels where at least "
            f"{LEAST_RADIUS} are needed; use a box of {least} pixels or more"
        )
        raise ShapeMismatchError(msg)


def tell_radius(asked: int, box_size: int) -> None:
    """Say that images of a box have fewer shells than a fit was asked to use.

    Args:
        asked: Radius in cycles per box.
        box_size: Side of the images in pixels.
    """
    most = box_size // 2 - 1
    if asked > most:
        logger.info(
            "images are compared up to a radius of %d Fourier pixels, not %d: more do not fit "
            "into a box of %d pixels",
            most,
            asked,
            box_size,
        )


@settings
class LinearConfig(RecordedOptions):
    """Settings of a linear run: those of its options, and some that follow from them.

    Attributes:
        data: The images.
        symmetry: Point group of the mean and of all components.
        ewald: Hand of the curvature of the Ewald sphere; 0 takes it for flat.
        on_disk: Whether prepared images are kept in a scratch file; None decides by memory.
    """

    data: DataConfig
    symmetry: str = "C1"
    ewald: Curvature = 0
    on_disk: bool | None = None

    def storage(self, scratch_dir: Path) -> Storage:
        """Storage of the prepared images."""
        memory = None if self.memory_gb is None else int(1e9 * self.memory_gb)
        return Storage(
            scratch_dir=scratch_dir,
            on_disk=self.on_disk,
            memory=memory,
            cache_dir=self.cache_dir,
        )

    def __post_init__(self) -> None:
        """Refuse settings with which nothing can be fitted.

        Raises:
            ConfigError: A number is out of range, or two settings do not go together.
        """
        super().__post_init__()
        least = 2 * LEAST_IMAGES_PER_COMPONENT * self.num_components
        if self.fit_images < least:
            msg = f"`fit_images` must be at least {least}, got {self.fit_images}"
            raise ConfigError(msg)
        if self.pose_rounds and self.data.files.tilted is not None:
            msg = (
                "`pose_rounds` does not go with `tilt`: a pair has one pose and two shifts; "
                "leave out one of the two"
            )
            raise ConfigError(msg)
        if self.pose_rounds and self.ewald:
            msg = (
                "`pose_rounds` does not go with `ewald`: poses are compared with flat slices; "
                "refine them without `ewald`, then give the pose.pkl of that run with `poses` "
                "and `ewald`"
            )
            raise ConfigError(msg)

    def settings(self) -> dict[str, Any]:
        """Settings other than the images, as plain values."""
        values = {name: value for name, value in asdict(self).items() if name != "data"}
        return {
            name: str(value.resolve()) if isinstance(value, Path) else value
            for name, value in values.items()
        }
