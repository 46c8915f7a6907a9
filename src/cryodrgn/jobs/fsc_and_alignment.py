"""Volumes and poses compared: Fourier shell correlation, alignment."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.errors import ConfigError, ShapeMismatchError
from cryodrgn.jobs.options import (
    PICKLE_ENDINGS,
    output_flags,
    require_ending,
)
from cryodrgn.jobs.tool_options import (
    PictureOutput,
    PixelSizeOptions,
    require_mrc,
    save_picture,
)
from cryodrgn.reconstruction.options import AlignmentOptions
from cryodrgn.settings import (
    NOT_NEGATIVE,
    POSITIVE,
    Job,
    between,
    function_of,
    option,
    part_of,
    positional,
    same_as,
    settings,
)

if TYPE_CHECKING:
    from torch import Tensor

    from cryodrgn.fourier.shells import ShellCurve
    from cryodrgn.io.map_geometry import MapGeometry
    from cryodrgn.orientation.pose_alignment import PoseAlignment
    from cryodrgn.reconstruction.align import Alignment

logger = logging.getLogger(__name__)

CURVES, SEARCH, MAPS = Path("fsc-plot.png"), "Search", "Maps"


@settings
class Fsc(PixelSizeOptions, Job["dict[str, ShellCurve]"]):
    """Fourier shell correlation of two volumes."""

    first: Path = positional(metavar="vol1", help="Volume (.mrc)")
    second: Path = positional(metavar="vol2", help="Volume (.mrc)")
    reference: Path | None = option(
        "--ref-volume",
        default=None,
        metavar="MRC",
        help="Full map from which masks are made: writes curves without mask, in a ball, under "
        "a loose and a tight mask, and corrected for the tight mask, or for that of --mask",
    )
    mask: Path | None = option(
        "--mask",
        default=None,
        metavar="MRC",
        help="Mask for both volumes; with --ref-volume one curve more, and the corrected curve "
        "is corrected for it",
    )
    corrected_beyond: float | None = option(
        "--corrected",
        default=None,
        check=POSITIVE,
        metavar="RES",
        help="Correct for the mask by random phases beyond this resolution (Å, or cycles per "
        "pixel if below 1)",
    )
    picture: Path | None = option(
        "-p",
        "--plot",
        is_output=True,
        default=None,
        bare=CURVES,
        metavar="PNG",
        help=f"Plot the curves (default name: {CURVES})",
    )
    output: Path | None = option(
        *output_flags("txt"), default=None, metavar="TXT", help="Write the curves as text"
    )

    def run(self) -> "dict[str, ShellCurve]":
        """Find the curves, write or log them, and draw them if asked to; returns them by name.

        Raises:
            CryodrgnError: The volumes or the mask do not fit each other.
        """
        from cryodrgn.io.curves import write_curves
        from cryodrgn.reconstruction.map_agreement import describe_resolution
        from cryodrgn.units import pixel_size_or_one

        first, second, geometry = read_two_volumes(self.first, self.second)
        pixel_size = pixel_size_or_one(self.first, self.pixel_size, geometry.pixel_size)
        curves = self._curves((first, second), pixel_size)
        if self.output is None:
            shown = list(curves.values())
            for row, frequency in enumerate(shown[0].frequencies.tolist()):
                values = " ".join(f"{curve.values[row]:.6f}" for curve in shown)
                logger.info("%.6f %s", frequency, values)
        else:
            write_curves(self.output, curves)
            logger.info("wrote %s", self.output)
        for name, curve in curves.items():
            describe_resolution(curve, pixel_size, "" if len(curves) == 1 else name)
        if self.picture is not None:
            from cryodrgn.analysis import plots

            save_picture(plots.plot_fsc(curves, pixel_size), self.picture)
        return curves

    def _curves(
        self, maps: "tuple[Tensor, Tensor]", pixel_size: float
    ) -> "dict[str, ShellCurve]":
        """The curves that the settings ask for."""
        from cryodrgn.fourier.shells import fourier_shell_correlation
        from cryodrgn.io.masks import read_mask
        from cryodrgn.reconstruction.map_agreement import corrected_curve, masked_curves

        given = self.corrected_beyond
        frequency = pixel_size / given if given is not None and given >= 1 else given
        if given is not None and self.mask is None and self.reference is None:
            msg = "`corrected_beyond` needs the `mask` whose effect is to be corrected"
            raise ConfigError(msg)
        mask = None if self.mask is None else read_mask(self.mask, len(maps[0]), pixel_size)
        if self.reference is not None:
            reference = read_two_volumes(self.reference, self.first)[0]
            return masked_curves(maps, reference, pixel_size, mask=mask, frequency=frequency)
        if mask is None:
            return {"fsc": fourier_shell_correlation(*maps)}
        if frequency is None:
            return {"fsc": fourier_shell_correlation(maps[0] * mask, maps[1] * mask)}
        return {"fsc": corrected_curve(maps, mask, frequency)}


@settings
class PlotFsc(PictureOutput, Job["dict[str, ShellCurve]"]):
    """Plot Fourier shell correlations."""

    inputs: tuple[Path, ...] = positional(
        metavar="input", help="Curves as text: frequency in cycles/px and values"
    )
    pixel_size: float | None = option(
        "-a",
        "--Apix",
        default=None,
        check=POSITIVE,
        unit="Å/px",
        help="Å/px, to label the axis with resolutions (default: 1)",
    )
    threshold: float = option(
        "-t",
        "--threshold",
        default=0.143,
        check=between(0, 1),
        help="Correlation at which resolutions are read",
    )
    output: Path = same_as(PictureOutput, "output", default=CURVES)

    def run(self) -> "dict[str, ShellCurve]":
        """Draw the curves, and log their resolutions; returns them by name."""
        from cryodrgn.analysis import plots
        from cryodrgn.io.curves import read_curves

        curves, pixel_size = {}, self.pixel_size or 1.0
        for path in self.inputs:
            for name, curve in read_curves(path).items():
                label = path.stem if name.startswith("fsc") else f"{path.stem} {name}"
                curves[label] = curve
                frequency = curve.first_crossing(self.threshold)
                found = "not reached" if frequency is None else f"{pixel_size / frequency:.4g}"
                logger.info("%s: FSC %g at %s", label, self.threshold, found)
        save_picture(plots.plot_fsc(curves, pixel_size), self.output)
        return curves


@settings
class Align3d(Job["Alignment"]):
    """Align one volume to another."""

    reference: Path = positional(metavar="ref", help="Volume to align to (.mrc)")
    volume: Path = positional(metavar="vol", help="Volume to move (.mrc)")
    output: Path = option(
        *output_flags("mrc"), metavar="MRC", help="Output: the moved volume (.mrc)"
    )
    flip: bool = option("--flip", default=False, help="Mirror the volume before it is aligned")
    verbose: bool = option("-v", "--verbose", default=False, help="Log the rotation matrix")
    max_box_size: int = same_as(AlignmentOptions, "max_box_size")
    max_shift_px: float | None = option(
        "--t-extent",
        default=None,
        group=SEARCH,
        unit="px",
        check=NOT_NEGATIVE,
        help="Largest shift in pixels (default: a quarter of the box)",
    )
    first_level: int = same_as(AlignmentOptions, "first_level")
    num_kept: int = same_as(AlignmentOptions, "num_kept")
    num_halvings: int = same_as(AlignmentOptions, "num_halvings")
    batch_size: int = same_as(AlignmentOptions, "batch_size")

    def run(self) -> "Alignment":
        """Write the moved volume; returns how it was moved.

        Raises:
            CryodrgnError: The volumes differ in size.
        """
        from dataclasses import replace

        from cryodrgn.fourier.shells import fourier_shell_correlation
        from cryodrgn.io.mrc import write_volume
        from cryodrgn.kernels.projection import move_volume
        from cryodrgn.reconstruction.align import AlignmentSettings, align_volume
        from cryodrgn.reconstruction.map_agreement import describe_resolution
        from cryodrgn.units import pixel_size_or_one

        require_mrc(self.output)
        reference, volume, geometry = read_two_volumes(self.reference, self.volume)
        pixel_size = pixel_size_or_one(self.reference, geometry.pixel_size)
        volume = volume.flip(0) if self.flip else volume
        found = align_volume(
            reference,
            volume,
            max_shift=self.max_shift_px,
            settings=part_of(self, AlignmentSettings),
        )
        moved = move_volume(volume, found.rotation, found.shift)
        # It lies on the reference now, wherever it was before.
        write_volume(self.output, moved.numpy(), replace(geometry, pixel_size=pixel_size))
        shift = " ".join(f"{value:.3f}" for value in found.shift.tolist())
        logger.info("correlation %.4f, shift (x y z) of %s voxels", found.correlation, shift)
        if self.verbose:
            logger.info("rotation matrix:\n%s", found.rotation.numpy())
        describe_resolution(fourier_shell_correlation(reference, moved), pixel_size)
        logger.info("wrote %s", self.output)
        return found


@settings
class AlignPoses(Job["PoseAlignment"]):
    """Bring poses and their map into the frame of other poses."""

    reference: Path = positional(metavar="ref", help="Poses to align to (.pkl)")
    poses: Path = positional(help="Poses of the same images (.pkl)")
    output: Path = option(
        *output_flags("pkl"), metavar="PKL", help="Output: the aligned poses (.pkl)"
    )
    indices: Path | None = option(
        "--ind",
        default=None,
        help="Rows of the reference that the poses belong to (.pkl), if it has more",
    )
    same_hand: bool = option(
        "--same-hand", default=False, help="Do not mirror (default: if that fits better)"
    )
    volume: Path | None = option(
        "--vol",
        default=None,
        group=MAPS,
        metavar="MRC",
        help="Map that belongs to the poses",
    )
    reference_volume: Path | None = option(
        "--ref-vol", default=None, group=MAPS, metavar="MRC", help="Map to compare it with"
    )
    output_volume: Path | None = option(
        "--out-vol", default=None, group=MAPS, metavar="MRC", help="Output: the aligned map"
    )

    def run(self) -> "PoseAlignment":
        """Write the poses, and the map if asked to; returns the transformation.

        Raises:
            CryodrgnError: The poses are not of the same images, or a map is missing.
        """
        import torch

        from cryodrgn.io.cryodrgn_pickle import load_poses, save_pickles
        from cryodrgn.io.selection_files import load_selection
        from cryodrgn.orientation import pose_alignment

        require_ending(self.output, PICKLE_ENDINGS, "output")
        if (self.output_volume or self.reference_volume) and not self.volume:
            msg = (
                "`output_volume` and `reference_volume` need the map that belongs to the "
                "poses; give `volume`"
            )
            raise ConfigError(msg)
        if self.output_volume:
            require_mrc(self.output_volume, "output_volume")
        reference = load_poses(self.reference)
        if self.indices is not None:
            selection = load_selection(self.indices)
            rows = selection.rows_of(len(reference[0]), str(self.reference))
            reference = reference[0][rows], reference[1][rows]
        poses = load_poses(self.poses)
        fixed = torch.from_numpy(reference[0]), torch.from_numpy(reference[1])
        moving = torch.from_numpy(poses[0]), torch.from_numpy(poses[1])
        found = pose_alignment.align_poses(fixed, moving, try_hands=not self.same_hand)
        aligned = found.rotations_of(moving[0]).numpy(), found.shifts_of(*moving).numpy()
        save_pickles(self.output, [aligned])
        _describe(found)
        if self.volume is not None:
            self._move_map(self.volume, found)
        logger.info("wrote %s", self.output)
        return found

    def _move_map(self, path: Path, found: "PoseAlignment") -> None:
        """Write the map in the frame of the reference, and compare it there."""
        from dataclasses import replace

        import torch

        from cryodrgn.fourier.shells import fourier_shell_correlation
        from cryodrgn.io.mrc import read_map, write_volume
        from cryodrgn.reconstruction.map_agreement import describe_resolution
        from cryodrgn.units import pixel_size_or_one

        if self.reference_volume is not None:
            reference, volume, geometry = read_two_volumes(self.reference_volume, path)
        else:
            data, geometry = read_map(path, cubic=True)
            reference, volume = None, torch.from_numpy(data)
        pixel_size = pixel_size_or_one(self.reference_volume or path, geometry.pixel_size)
        moved = found.map_of(volume, unit=float(len(volume)))
        if reference is not None:
            curve = fourier_shell_correlation(reference, moved)
            describe_resolution(curve, pixel_size)
        if self.output_volume is not None:
            placed = replace(geometry, pixel_size=pixel_size)
            write_volume(self.output_volume, moved.numpy(), placed)
            logger.info("wrote %s", self.output_volume)


def _describe(found: "PoseAlignment") -> None:
    """Log whether hands differ, and by how much poses still do."""
    import torch

    logger.info("the hands are %s", "opposite: mirrored" if found.is_mirrored else "the same")
    for name, values, unit, digits in (
        ("rotations", found.distances.rad2deg(), "°", 2),
        ("shifts", found.shift_distances, " of the box", 5),
    ):
        quartiles = values.quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()
        low, median, high = (f"{value:.{digits}f}" for value in quartiles)
        message = "%s differ by %s%s (median; quartiles %s and %s)"
        logger.info(message, name, median, unit, low, high)


def read_two_volumes(first: Path, second: Path) -> "tuple[Tensor, Tensor, MapGeometry]":
    """Two volumes of one box size, and sampling and place of the first one.

    Raises:
        CryodrgnError: The volumes differ in size, or it is odd.
    """
    import torch

    from cryodrgn.io.mrc import read_map

    one, geometry = read_map(first, cubic=True)
    other, _ = read_map(second, cubic=True)
    if one.shape != other.shape:
        msg = f"{first} has {len(one)} voxels along a side, but {second} has {len(other)}"
        raise ShapeMismatchError(msg)
    if len(one) % 2:
        msg = f"{first} has {len(one)} voxels along a side; it must be an even number"
        raise ConfigError(msg)
    return torch.from_numpy(one), torch.from_numpy(other), geometry


fsc = function_of(Fsc)
plot_fsc = function_of(PlotFsc)
align3d = function_of(Align3d)
align_poses = function_of(AlignPoses)
