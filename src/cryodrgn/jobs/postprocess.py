"""Half maps made into maps to build in: masked FSC, sharpening, local filter."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.errors import ConfigError, MissingDependencyError, ShapeMismatchError
from cryodrgn.jobs.fsc_and_alignment import read_two_volumes
from cryodrgn.jobs.tool_options import PixelSizeOptions
from cryodrgn.settings import (
    POSITIVE,
    Job,
    SeedOptions,
    function_of,
    option,
    positional,
    same_as,
    settings,
)

if TYPE_CHECKING:
    from torch import Tensor

    from cryodrgn.io.map_geometry import MapGeometry
    from cryodrgn.reconstruction.postprocessing import SharpenedMap

logger = logging.getLogger(__name__)

# By what fraction pixel sizes of the headers of half maps may differ.
PIXEL_SIZE_TOLERANCE = 1e-3


@settings
class Postprocess(PixelSizeOptions, SeedOptions, Job["SharpenedMap"]):
    """Sharpen and filter two half maps by their masked, corrected FSC."""

    first: Path = positional(metavar="half1", help="Half map, unfiltered (.mrc)")
    second: Path = positional(metavar="half2", help="The other half map (.mrc)")
    output: Path = option("-o", "--outdir", help="Folder for maps, curves and picture")
    mask: Path | None = option(
        "--mask",
        default=None,
        metavar="MRC",
        help="Soft mask around the molecule (default: drawn from the half maps)",
    )
    b_factor: float | None = option(
        "--b-factor",
        default=None,
        metavar="B",
        unit="Å²",
        help="B factor to apply; negative ones sharpen, 0 does nothing (default: by a Guinier "
        "fit)",
    )
    fit_from: float = option(
        "--fit-from",
        default=10.0,
        metavar="RES",
        check=POSITIVE,
        unit="Å",
        help="Coarsest resolution of the Guinier fit, which maps coarser than 7.1 Å do not "
        "have",
    )
    no_local: bool = option(
        "--no-local",
        default=False,
        help="Skip local resolution and the map filtered by it",
    )
    pixel_size: float | None = same_as(
        PixelSizeOptions, "pixel_size", default=None, help="Å/px (default: as in the file)"
    )
    seed: int = same_as(SeedOptions, "seed", default=0, help="Random seed of the random phases")

    def run(self) -> "SharpenedMap":
        """Write the maps, curves and a picture; returns what was found.

        Raises:
            CryodrgnError: The maps are no half maps of one molecule, or do not fit together.
        """
        from cryodrgn.io.masks import read_mask
        from cryodrgn.preflight.plan import require_output
        from cryodrgn.reconstruction.postprocess_files import write_postprocessed
        from cryodrgn.reconstruction.postprocessing import (
            require_different,
            sharpened,
            solvent_mask,
        )
        from cryodrgn.rundir import PostprocessFiles

        files = PostprocessFiles(self.output)
        if self.output.suffix == ".mrc" or self.output.is_file():
            msg = (
                f"`output` {self.output} is a file, expected a folder for maps, curves and a "
                "picture"
            )
            raise ConfigError(msg)
        half_maps, geometry, pixel_size = self._half_maps()
        require_different(half_maps, (str(self.first), str(self.second)))
        box_size = len(half_maps[0])
        if self.mask is None:
            mask = solvent_mask(half_maps, pixel_size)
        else:
            mask = read_mask(self.mask, box_size, pixel_size)
        require_output(self.output, 8 * 4 * box_size**3)
        sharp = sharpened(
            half_maps,
            mask,
            pixel_size,
            b_factor=self.b_factor,
            coarsest=self.fit_from,
            with_local=not self.no_local,
            seed=self.seed,
        )
        source = {
            "half_maps": [str(self.first), str(self.second)],
            "mask": None if self.mask is None else str(self.mask),
            "fit_from": self.fit_from,
            "seed": self.seed,
        }
        summary = write_postprocessed(files, sharp, geometry, source)
        for name, words in summary.as_rows():
            logger.info("%s: %s", name, words)
        self._warn(sharp)
        _draw(sharp, files.figure)
        logger.info("wrote %s, and the map before it, curves and a picture", files.sharpened)
        return sharp

    def _half_maps(self) -> "tuple[tuple[Tensor, Tensor], MapGeometry, float]":
        """Both maps, their geometry, and the pixel size in Å.

        Raises:
            ShapeMismatchError: Box or pixel size differ.
            ConfigError: The pixel size is unknown.
        """
        from dataclasses import replace

        from cryodrgn.io.mrc import MrcFile

        first, second, geometry = read_two_volumes(self.first, self.second)
        other = MrcFile.open(self.second).geometry
        sizes = geometry.pixel_size, other.pixel_size
        if sizes[0] and sizes[1] and abs(sizes[0] / sizes[1] - 1) > PIXEL_SIZE_TOLERANCE:
            msg = (
                f"{self.first} has {sizes[0]:g} Å/px, but {self.second} has {sizes[1]:g} Å/px; "
                "half maps have one pixel size, and add_psize corrects a wrong header"
            )
            raise ShapeMismatchError(msg)
        pixel_size = self.pixel_size or sizes[0] or sizes[1]
        if not pixel_size:
            msg = (
                f"{self.first} gives no pixel size, without which B factors and resolutions "
                "have no unit; give `pixel_size`"
            )
            raise ConfigError(msg)
        if (geometry.origin, geometry.start) != (other.origin, other.start):
            logger.warning(
                "%s and %s lie in different places by their headers; compared voxel by voxel, "
                "and written where the first lies",
                self.first,
                self.second,
            )
        return (first, second), replace(geometry, pixel_size=pixel_size), pixel_size

    def _warn(self, sharp: "SharpenedMap") -> None:
        """Say what a reader of the maps must not miss."""
        from cryodrgn.reconstruction.guinier import GUINIER_FROM

        if sharp.resolution is None:
            logger.warning(
                "the half maps do not agree at any resolution: the sharpened map is empty"
            )
        fit_is_applied = sharp.b_factor is not None and self.b_factor is None
        if fit_is_applied and self.fit_from > GUINIER_FROM:
            logger.warning(
                "the fit begins at %g Å, but amplitudes coarser than about %g Å follow the "
                "shape of the molecule and not a B factor: the one fitted may be far off",
                self.fit_from,
                GUINIER_FROM,
            )
        if sharp.b_factor is not None and sharp.b_factor > 0:
            logger.warning(
                "a B factor of %+.0f Å² blurs the map; sharpening takes a negative one",
                sharp.b_factor,
            )


def _draw(sharp: "SharpenedMap", path: Path) -> None:
    """Draw curves and maps, where there is a library to draw with."""
    try:
        from cryodrgn.analysis.plots import save_figure
        from cryodrgn.analysis.postprocess_plots import plot_postprocessing
        from cryodrgn.reconstruction.postprocess_files import pictures_of
    except MissingDependencyError as error:
        logger.warning("the curves were not drawn: %s", error)
        return
    save_figure(plot_postprocessing(pictures_of(sharp)), path)


postprocess = function_of(Postprocess)
