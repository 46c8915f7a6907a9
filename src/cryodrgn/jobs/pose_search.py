"""Settings of a pose search: grids, schedule, frequencies."""

import logging
from typing import Literal

from cryodrgn.orientation.settings import SEARCH, GridSettings
from cryodrgn.settings import Settings, at_least, option, part_of, same_as, settings
from cryodrgn.training.options import PoseConfig, RotationNumbers
from cryodrgn.training.search_config import SCHEDULE, SearchConfig

logger = logging.getLogger(__name__)


@settings
class GridOptions(Settings):
    """Grids of rotations and shifts that a pose search compares."""

    l_start: int = same_as(GridSettings, "radius_start")
    l_end: int = same_as(GridSettings, "radius_end")
    grid_subdivisions: int = same_as(GridSettings, "num_levels")
    kept_poses: int = same_as(GridSettings, "num_kept")
    base_level: int = same_as(GridSettings, "base_level")
    shift_extent_px: float = same_as(GridSettings, "shift_extent_px")
    num_shifts: int = same_as(GridSettings, "num_shifts")
    shift_centre_x_px: float = option(
        "--t-xshift", default=0.0, group=SEARCH, help="Middle of the shifts along x in pixels"
    )
    shift_centre_y_px: float = option(
        "--t-yshift", default=0.0, group=SEARCH, help="Middle of the shifts along y in pixels"
    )
    no_shifts: bool = option(
        "--no-trans",
        "--no-trans-search-at-pose-search",
        default=False,
        group=SEARCH,
        help="Search no shifts",
    )

    def grids(self) -> GridSettings:
        """The grids."""
        if self.l_end < self.l_start:
            logger.warning(
                "`l_end` has no effect: %d is below `l_start` %d", self.l_end, self.l_start
            )
        return part_of(
            self,
            GridSettings,
            {
                "radius_end": max(self.l_start, self.l_end),
                "shift_extent_px": 0.0 if self.no_shifts else self.shift_extent_px,
                "shift_centre_px": (self.shift_centre_x_px, self.shift_centre_y_px),
            },
        )


@settings
class ScheduleOptions(Settings):
    """Order of pose searches, training, and refinement of poses."""

    pretrain: int = same_as(SearchConfig, "pretrain")
    num_starts: int = same_as(SearchConfig, "num_starts")
    start_images: int = same_as(SearchConfig, "start_images")
    search_interval: int = same_as(SearchConfig, "interval")
    search_epochs: int | None = option(
        "--epochs-pose-search",
        default=None,
        group=SCHEDULE,
        metavar="EPOCHS",
        check=at_least(0),
        help="Search this number of times, before every epoch but the first; from then on "
        "poses follow their gradients. Takes the place of --ps-freq and --refine-epochs",
    )
    model_reset_interval: int | None = same_as(SearchConfig, "model_reset_interval")
    optimizer_reset_interval: int | None = same_as(SearchConfig, "optimizer_reset_interval")
    ramp_epochs: int = same_as(SearchConfig, "ramp_epochs")
    ramps_model: Literal[0, 1] = option(
        "--l-ramp-model",
        default=1,
        group=SCHEDULE,
        help="Train the network on the frequencies of the ramp only (1), or on all of them "
        "from the beginning (0), so that only the pose search follows the ramp",
    )
    output_mask: Literal["circ", "frequency_marching"] | None = option(
        "--output-mask",
        default=None,
        group=SCHEDULE,
        help="Same as --l-ramp-model 0 or 1",
    )
    max_radius: int | None = same_as(SearchConfig, "max_radius")
    refine_epochs: int = same_as(SearchConfig, "refine_epochs")
    pose_learning_rate: float = same_as(
        PoseConfig,
        "learning_rate",
        default=3e-3,
        flags=("--pose-lr", "--lr-pose-table"),
        group=SCHEDULE,
        help="Learning rate of poses in the epochs of --refine-epochs",
    )
    pose_embedding: RotationNumbers = same_as(
        PoseConfig,
        "embedding",
        group=SCHEDULE,
        help="Numbers by which rotations are learnt in the epochs of --refine-epochs",
    )
