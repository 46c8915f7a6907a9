"""Settings of a pose search: grids, schedule, frequencies."""

import logging
from typing import TYPE_CHECKING, Literal

from cryodrgn.settings import (
    NOT_NEGATIVE,
    POSITIVE,
    Settings,
    at_least,
    option,
    settings,
    within,
)

if TYPE_CHECKING:
    from cryodrgn.orientation.settings import GridSettings

logger = logging.getLogger(__name__)

SEARCH, SCHEDULE = "Pose search", "Schedule"


@settings
class GridOptions(Settings):
    """Grids of rotations and shifts that a pose search compares."""

    l_start: int = option(
        "--l-start",
        default=12,
        group=SEARCH,
        check=at_least(4),
        help="First radius of the frequencies compared, in cycles per box",
    )
    l_end: int = option(
        "--l-end", default=32, group=SEARCH, check=at_least(4), help="Last radius of them"
    )
    grid_subdivisions: int = option(
        "--niter",
        default=4,
        group=SEARCH,
        check=at_least(0),
        help="Number of grid subdivisions, each to half the spacing",
    )
    kept_poses: int = option(
        "--nkeptposes",
        default=8,
        group=SEARCH,
        check=at_least(1),
        help="Rotations of each image that are refined",
    )
    base_level: int = option(
        "--base-healpy",
        default=2,
        group=SEARCH,
        check=within(1, 4),
        help="Level of the grid of rotations searched whole; at 2 they are 15° apart",
    )
    shift_extent_px: float = option(
        "--t-extent",
        default=10.0,
        group=SEARCH,
        unit="px",
        check=NOT_NEGATIVE,
        help="Largest shift along x and y in pixels of the images trained on",
    )
    num_shifts: int = option(
        "--t-ngrid",
        default=7,
        group=SEARCH,
        check=at_least(1),
        help="Shifts along each axis at level 1, twice as many at level 2; no finer than the "
        "frequencies compared can tell",
    )
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

    def grids(self) -> "GridSettings":
        """The grids."""
        from cryodrgn.orientation.settings import GridSettings

        if self.l_end < self.l_start:
            logger.warning(
                "`l_end` has no effect: %d is below `l_start` %d", self.l_end, self.l_start
            )
        return GridSettings(
            radius_start=self.l_start,
            radius_end=max(self.l_start, self.l_end),
            num_levels=self.grid_subdivisions,
            num_kept=self.kept_poses,
            base_level=self.base_level,
            shift_extent_px=0.0 if self.no_shifts else self.shift_extent_px,
            num_shifts=self.num_shifts,
            shift_centre_px=(self.shift_centre_x_px, self.shift_centre_y_px),
        )


@settings
class ScheduleOptions(Settings):
    """Order of pose searches, training, and refinement of poses."""

    pretrain: int = option(
        "--pretrain",
        "--n-imgs-pretrain",
        default=10000,
        group=SCHEDULE,
        metavar="IMAGES",
        check=at_least(0),
        help="Slices of the initial model in random poses that the network learns before it "
        "learns images",
    )
    num_starts: int = option(
        "--starts",
        default=1,
        group=SCHEDULE,
        metavar="K",
        check=at_least(1),
        help="Initial models made from different seeds, of which the best is kept",
    )
    start_images: int = option(
        "--start-images",
        default=1000,
        group=SCHEDULE,
        metavar="IMAGES",
        check=at_least(20),
        help="Images of which initial models are made",
    )
    search_interval: int = option(
        "--ps-freq",
        default=5,
        group=SCHEDULE,
        metavar="EPOCHS",
        check=at_least(1),
        help="Epochs from one search of all poses to the next",
    )
    search_epochs: int | None = option(
        "--epochs-pose-search",
        default=None,
        group=SCHEDULE,
        metavar="EPOCHS",
        check=at_least(0),
        help="Search this number of times, before every epoch but the first; from then on "
        "poses follow their gradients. Takes the place of --ps-freq and --refine-epochs",
    )
    model_reset_interval: int | None = option(
        "--reset-model-every",
        default=None,
        group=SCHEDULE,
        metavar="EPOCHS",
        check=at_least(1),
        help="Begin with weights anew, after a search, each time that this number of epochs is "
        "done (default: never)",
    )
    optimizer_reset_interval: int | None = option(
        "--reset-optim-every",
        default=None,
        group=SCHEDULE,
        metavar="EPOCHS",
        check=at_least(1),
        help="Begin with Adam anew, each time that this number of epochs is done "
        "(default: never)",
    )
    ramp_epochs: int = option(
        "--l-ramp-epochs",
        default=10,
        group=SCHEDULE,
        metavar="EPOCHS",
        check=at_least(0),
        help="Epochs in which the frequencies learnt and compared rise from --l-start to "
        "--l-end",
    )
    ramps_model: Literal[0, 1] = option(
        "--l-ramp-model",
        default=1,
        group=SCHEDULE,
        help="Let the network learn no more than these (1), or all of them from the beginning "
        "(0), so that only the search is bound to the ramp",
    )
    output_mask: Literal["circ", "frequency_marching"] | None = option(
        "--output-mask",
        default=None,
        group=SCHEDULE,
        help="Another way to say --l-ramp-model 0 or 1",
    )
    max_radius: int | None = option(
        "--max-freq",
        default=None,
        group=SCHEDULE,
        metavar="RADIUS",
        check=at_least(4),
        help="Largest radius that is learnt, in cycles per box, in the last epochs too "
        "(default: all)",
    )
    refine_epochs: int = option(
        "--refine-epochs",
        "--epochs-sgd",
        default=5,
        group=SCHEDULE,
        metavar="EPOCHS",
        check=at_least(0),
        help="Epochs at the end in which poses follow their gradients",
    )
    pose_learning_rate: float = option(
        "--pose-lr",
        "--lr-pose-table",
        default=3e-3,
        group=SCHEDULE,
        check=POSITIVE,
        help="Length of the steps of the poses in them",
    )
    pose_embedding: Literal["s2s2", "quat"] = option(
        "--emb-type",
        default="quat",
        group=SCHEDULE,
        help="Numbers that stand for a rotation in them",
    )
