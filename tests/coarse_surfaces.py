"""Pictures of surfaces made in a quarter of the time, in processes that import this."""

from cryodrgn.analysis import surfaces

surfaces.RESAMPLED_SIDE = 48
