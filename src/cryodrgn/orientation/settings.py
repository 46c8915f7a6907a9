"""Settings of the pose search."""

from cryodrgn.errors import ConfigError
from cryodrgn.settings import NOT_NEGATIVE, Settings, at_least, option, settings, within

SEARCH = "Pose search"


@settings
class GridSettings(Settings):
    """Grids of rotations and shifts, and how they are refined around the best poses.

    Attributes:
        shift_centre_px: Middle (x, y) of the shifts that are searched.
    """

    radius_start: int = option(
        "--l-start",
        default=12,
        group=SEARCH,
        check=at_least(4),
        help="First radius of the frequencies compared, in cycles per box",
    )
    radius_end: int = option(
        "--l-end",
        default=32,
        group=SEARCH,
        check=at_least(4),
        help="Last radius of the frequencies compared, in cycles per box",
    )
    num_levels: int = option(
        "--niter",
        default=4,
        group=SEARCH,
        check=at_least(0),
        help="Number of grid subdivisions, each to half the spacing",
    )
    num_kept: int = option(
        "--nkeptposes",
        default=8,
        group=SEARCH,
        check=at_least(1),
        help="Number of best rotations of each image that are kept and subdivided",
    )
    base_level: int = option(
        "--base-healpy",
        default=2,
        group=SEARCH,
        check=within(1, 4),
        help="Level of the rotation grid that is searched exhaustively; at 2 its spacing is "
        "15°",
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
    shift_centre_px: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        """Refuse grids that cannot be searched.

        Raises:
            ConfigError: A number is out of range.
        """
        super().__post_init__()
        if self.radius_end < self.radius_start:
            msg = f"`l_end` must be at least {self.radius_start}, got {self.radius_end}"
            raise ConfigError(msg)

    def radii(self, learnt: int) -> list[int]:
        """Radius on the first grid and on every refined one.

        Args:
            learnt: Radius up to which the reference is known.
        """
        start, end = min(self.radius_start, learnt), min(self.radius_end, learnt)
        levels = max(self.num_levels, 1)
        steps = range(self.num_levels + 1)
        return [start + step * (end - start) // levels for step in steps]
