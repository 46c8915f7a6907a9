"""Volumes and their headers: shown, copied with something changed, and made into masks."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryodrgn.jobs.options import output_flags
from cryodrgn.jobs.tool_options import PixelSizeOptions, require_mrc
from cryodrgn.settings import (
    NOT_NEGATIVE,
    POSITIVE,
    Job,
    Settings,
    function_of,
    option,
    positional,
    same_as,
    settings,
)

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)


@settings
class ViewHeader(Job[list[str]]):
    """Show the header of an MRC file."""

    input: Path = positional(help="Volume or stack (.mrc, .mrcs)")
    output: Path | None = option(
        *output_flags("txt"), default=None, metavar="TXT", help="Also write it as text"
    )

    def run(self) -> list[str]:
        """Log the header, and write it if asked to; returns its lines."""
        from cryodrgn.io.atomic import atomic_path
        from cryodrgn.io.mrc_edit import describe_header

        lines = describe_header(self.input)
        text = "\n".join(lines)
        logger.info("%s", text)
        if self.output is not None:
            with atomic_path(self.output) as partial:
                partial.write_text(text + "\n")
        return lines


@settings
class CopyOptions(Settings):
    """Volume or stack to copy with something changed, and the copy."""

    input: Path = positional(help="Volume or stack (.mrc, .mrcs)")
    output: Path | None = option(
        *output_flags("mrc"),
        default=None,
        metavar="MRC",
        help="Output file",
    )

    def copy(self, ending: str, changes: "Mapping[str, Any]") -> Path:
        """Write the copy, and return it; without a name of its own it lies beside the input.

        Args:
            ending: What is added to the name of the input.
            changes: Of the map, by name; see :func:`~cryodrgn.io.mrc_edit.rewrite_map`.
        """
        from cryodrgn.io.mrc_edit import rewrite_map

        output = self.output or self.input.with_name(f"{self.input.stem}_{ending}.mrc")
        rewrite_map(self.input, output, **changes)
        pixel_size = changes.get("pixel_size")
        sampling = "" if pixel_size is None else f" ({pixel_size:g} Å/px)"
        logger.info("wrote %s%s", output, sampling)
        return output


@settings
class AddPsize(CopyOptions, Job[Path]):
    """Write the pixel size into the header of a volume or stack."""

    pixel_size: float = option(
        "--Apix", "--apix", default=1.0, unit="Å/px", check=POSITIVE, help="Angstroms per pixel"
    )
    flip: bool = option("--flip", default=False, help="Flip handedness by reversing z")
    invert: bool = option("--invert", default=False, help="Invert contrast")
    output: Path | None = same_as(
        CopyOptions, "output", default=None, help="Output file (default: INPUT_psize.mrc)"
    )

    def run(self) -> Path:
        """Write the copy, which is returned."""
        return self.copy(
            "psize",
            {
                "pixel_size": self.pixel_size,
                "reverse": self.flip,
                "negate": self.invert,
            },
        )


@settings
class FlipHand(CopyOptions, Job[Path]):
    """Mirror a volume, which changes its hand."""

    input: Path = positional(help="Volume (.mrc)")
    output: Path | None = same_as(
        CopyOptions, "output", default=None, help="Output file (default: INPUT_flipped.mrc)"
    )

    def run(self) -> Path:
        """Write the copy, which is returned."""
        return self.copy("flipped", {"reverse": True})


@settings
class InvertContrast(CopyOptions, Job[Path]):
    """Change the sign of a volume or stack."""

    output: Path | None = same_as(
        CopyOptions, "output", default=None, help="Output file (default: INPUT_inverted.mrc)"
    )

    def run(self) -> Path:
        """Write the copy, which is returned."""
        return self.copy("inverted", {"negate": True})


@settings
class GenMask(PixelSizeOptions, Job["np.ndarray"]):
    """Make a soft mask from a volume."""

    input: Path = positional(help="Volume (.mrc)")
    output: Path = positional(is_output=True, help="Output mask (.mrc)")
    threshold: float | None = option(
        "--threshold",
        default=None,
        help="Density at which the particle begins (default: half of the 99.99th percentile)",
    )
    dilation: float = option(
        "--dilate",
        default=25.0,
        unit="Å",
        check=NOT_NEGATIVE,
        help="Distance by which the mask is grown beyond the particle",
    )
    edge: float = option(
        "--dist", default=15.0, unit="Å", check=NOT_NEGATIVE, help="Width of the soft edge in Å"
    )
    picture: Path | None = option(
        "-p",
        "--png",
        "--png-output",
        default=None,
        is_output=True,
        help="Picture of the mask",
    )

    def run(self) -> "np.ndarray":
        """Write the mask, which is returned, and draw it if asked to."""
        from dataclasses import replace

        import torch

        from cryodrgn.imaging.masks import default_threshold, soft_mask
        from cryodrgn.io.mrc import read_map, write_volume
        from cryodrgn.units import pixel_size_or_one

        require_mrc(self.output)
        data, geometry = read_map(self.input)
        volume = torch.from_numpy(data)
        pixel_size = pixel_size_or_one(self.input, self.pixel_size, geometry.pixel_size)
        threshold = default_threshold(volume) if self.threshold is None else self.threshold
        mask = soft_mask(
            volume, pixel_size, threshold=threshold, dilation=self.dilation, edge=self.edge
        )
        write_volume(self.output, mask.numpy(), replace(geometry, pixel_size=pixel_size))
        share = 100 * float(mask.mean())
        logger.info(
            "threshold %g, mask of %.1f %% of the box: wrote %s", threshold, share, self.output
        )
        if self.picture is not None:
            from cryodrgn.analysis.image_plots import plot_slices
            from cryodrgn.analysis.plots import save_figure

            title = f"mask at threshold {threshold:.4g}"
            save_figure(plot_slices(mask.numpy(), title), self.picture)
        return mask.numpy()


view_header = function_of(ViewHeader)
add_psize = function_of(AddPsize)
flip_hand = function_of(FlipHand)
invert_contrast = function_of(InvertContrast)
gen_mask = function_of(GenMask)
