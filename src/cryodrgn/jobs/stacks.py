"""Particle stacks shown, filtered, changed image by image, or projected from a volume."""

import logging
import math
from abc import abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from cryodrgn.errors import ConfigError
from cryodrgn.jobs.options import output_flags
from cryodrgn.jobs.tool_options import (
    ImageOptions,
    RowOptions,
    require_mrc,
    save_picture,
    warn_of_copies,
)
from cryodrgn.particles.options import ParticleOptions
from cryodrgn.settings import (
    NOT_NEGATIVE,
    POSITIVE,
    Job,
    SeedOptions,
    Settings,
    at_least,
    function_of,
    option,
    positional,
    same_as,
    settings,
    within,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from matplotlib.figure import Figure

    from cryodrgn.data.stack_changes import Change
    from cryodrgn.io.image_stack import ImageStack
    from cryodrgn.io.optics_report import Term
    from cryodrgn.particles.poses import Poses

logger = logging.getLogger(__name__)

PARTICLES = "Particles (.mrcs, .star, .cs, or .txt)"
IMAGES_SHOWN = 9


@settings
class StackInput(Settings):
    """Images of a particle file."""

    particles: Path = positional(metavar="mrcs", help=PARTICLES)
    datadir: Path | None = same_as(ParticleOptions, "datadir", default=None, group=None)

    def open(self, *, as_they_are: bool = False) -> "tuple[ImageStack, float | None]":
        """The images, and their pixel size if it is known."""
        from cryodrgn.io.particle_files import open_stack

        ignored = self.ignored_terms()
        return open_stack(
            self.particles, self.datadir, as_they_are=as_they_are, ignored=ignored
        )

    def ignored_terms(self) -> "Collection[Term]":
        """Terms of the optics that the work ignores."""
        from cryodrgn.io.optics_report import WITHOUT_FILE

        return WITHOUT_FILE


@settings
class StackOutput(Settings):
    """Stack to write."""

    output: Path = option(*output_flags("mrc"), metavar="MRC", help="Output stack (.mrcs)")


@settings
class StackPicture(Settings):
    """Picture of the first images of the stack that is written."""

    picture: Path | None = option(
        "--out-png",
        default=None,
        metavar="PNG",
        help="Picture of the first images of the output",
    )

    def draw(self, stack: Path) -> None:
        """Draw the picture, if it was asked for."""
        if self.picture is not None:
            from cryodrgn.analysis.plots import save_figure
            from cryodrgn.io.image_stack import ImageStack

            save_figure(_figure_of(ImageStack.whole_files([stack])), self.picture)


@settings
class ViewMrcs(ImageOptions, Job["ImageStack"]):
    """Show the first images of a particle stack."""

    particles: Path = positional(metavar="input", help=PARTICLES)
    output: Path | None = option(
        *output_flags("-png"), default=None, metavar="PNG", help="Picture (default: INPUT.png)"
    )
    invert: bool = option("--invert", default=False, help="Invert contrast")

    def run(self) -> "ImageStack":
        """Log size and number of the images, and draw the first of them; returns the images."""
        import numpy as np

        from cryodrgn.io.particle_files import open_stack
        from cryodrgn.io.selection_files import load_selection

        images, pixel_size = open_stack(self.particles, self.datadir, as_they_are=True)
        size = "pixel size unknown" if pixel_size is None else f"{pixel_size:g} Å/px"
        logger.info("%d images of %d px, %s", len(images), images.box_size, size)
        rows = np.arange(len(images))
        if self.indices is not None:
            rows = load_selection(self.indices).rows_of(len(images), str(self.particles))
        images = images.select(rows)
        output = self.output or Path(self.particles.name).with_suffix(".png")
        save_picture(_figure_of(images, negate=self.invert), output)
        return images


@settings
class FilterMrcs(RowOptions, StackInput, Job[Path]):
    """Take some images out of a particle stack."""

    particles: Path = positional(metavar="input", help=PARTICLES)
    output: Path | None = option(
        *output_flags("mrc"),
        default=None,
        metavar="MRC",
        help="Output stack (default: INPUT_filtered.mrcs)",
    )

    def run(self) -> Path:
        """Write the images; returns the stack."""
        from cryodrgn.data.stack_changes import change_stack

        name = f"{self.particles.stem}_filtered.mrcs"
        output = self.output or self.particles.with_name(name)
        require_mrc(output)
        images, pixel_size = self.open(as_they_are=True)
        rows = self.rows_of(len(images), self.particles)
        chosen = images.select(rows)
        remedy = "take rows of the file with cryodrgn_utils filter_star or filter_cs"
        warn_of_copies(chosen, self.particles, output, remedy)
        change_stack(chosen, output, None, pixel_size)
        logger.info("wrote %d of %d images to %s", len(rows), len(images), output)
        return output


@settings
class StackChange(StackOutput, StackInput, Job[Path]):
    """A stack whose images are those of another one, each of them changed."""

    _for_copies: ClassVar[str] = (
        "change the images of the file that was not expanded, and expand it afterwards"
    )

    @abstractmethod
    def change_of(
        self, images: "ImageStack", pixel_size: float | None
    ) -> "tuple[Change, float | None, str]":
        """The change of an image, the pixel size to write, and the images in words."""

    def run(self) -> Path:
        """Write the changed images; returns the stack."""
        from cryodrgn.data.stack_changes import change_stack

        require_mrc(self.output)
        images, known = self.open()
        warn_of_copies(images, self.particles, self.output, self._for_copies)
        change, pixel_size, words = self.change_of(images, known)
        change_stack(images, self.output, change, pixel_size)
        logger.info("wrote %d %s to %s", len(images), words, self.output)
        return self.output


@settings
class PhaseFlip(StackChange):
    """Correct the phases of a particle stack for its CTF."""

    _for_copies: ClassVar[str] = "give `output` a name.star, which keeps them copies"

    ctf: Path = positional(metavar="ctf_params", help="CTF parameters (.pkl)")
    output: Path = option(
        *output_flags("mrc"),
        metavar="MRC",
        help="Output stack (.mrcs), or a .star file, which lists a stack for each pixel size "
        "and box, says that they are flipped, and keeps poses and CTF",
    )

    def run(self) -> Path:
        """Write the flipped images; returns the stack, or the file that lists all stacks."""
        return self._listed() if self.output.suffix == ".star" else super().run()

    def open(self, *, as_they_are: bool = False) -> "tuple[ImageStack, float | None]":
        """The images of one box, and their pixel size if it is known.

        Raises:
            ShapeMismatchError: They are of several boxes.
        """
        from cryodrgn.errors import ShapeMismatchError

        try:
            return super().open(as_they_are=as_they_are)
        except ShapeMismatchError as error:
            msg = f"{error}; a stack holds images of one box: give `output` a name.star"
            raise ShapeMismatchError(msg) from error

    def ignored_terms(self) -> "Collection[Term]":
        """Terms that do not change the sign of the CTF."""
        from cryodrgn.io.optics_report import BY_PHASE_FLIPPING

        return BY_PHASE_FLIPPING

    def _listed(self) -> Path:
        """A stack of each kind of images, and the file that lists them.

        Raises:
            CryodrgnError: The images are of tilt series, oblong, or corrected already.
        """
        from cryodrgn.data.flipped_set import write_flipped_set
        from cryodrgn.io.particle_files import ParticleFiles, open_particles

        files = ParticleFiles(particles=self.particles, ctf=self.ctf, datadir=self.datadir)
        paths = write_flipped_set(open_particles(files), self.output)
        logger.info("wrote %s and %s", ", ".join(map(str, paths)), self.output)
        return self.output

    def change_of(
        self,
        images: "ImageStack",
        pixel_size: float | None,  # noqa: ARG002
    ) -> "tuple[Change, float | None, str]":
        """Multiplication of the transform by the sign of the CTF.

        Raises:
            CryodrgnError: The table does not belong to the images, or the phases are flipped
                already.
        """
        import numpy as np

        from cryodrgn.data.flipped_set import refuse_corrected
        from cryodrgn.data.stack_changes import phase_flip, require_row_each
        from cryodrgn.io.cryodrgn_pickle import load_ctf
        from cryodrgn.io.particle_files import open_metadata
        from cryodrgn.particles.pixel_sizes import in_words, rows_by_pixel_size

        ctf, side_lengths = load_ctf(self.ctf)
        require_row_each(len(ctf), images, self.ctf, self.particles)
        pixel_sizes = side_lengths / images.box_size
        groups = rows_by_pixel_size(pixel_sizes)
        if len(groups) > 1:
            logger.warning(
                "%s gives images of %s, of which the header of %s names none: keep that table",
                self.ctf,
                in_words(pixel_sizes, groups),
                self.output,
            )
        metadata = open_metadata(self.particles)
        terms = {} if metadata is None else metadata.optics_terms()
        ctf = replace(ctf, **terms)
        refuse_corrected(ctf, str(self.particles))
        matrices = None if metadata is None else metadata.magnifications()
        flipped = phase_flip(ctf, pixel_sizes, matrices)
        logger.info(
            "particles become bright in %s: use it without a CTF; a .star file as output keeps "
            "their contrast",
            self.output,
        )
        written = float(np.median(pixel_sizes)) if len(groups) == 1 else None
        return flipped, written, "phase-flipped images"


@settings
class PicturedChange(StackPicture, StackChange):
    """A change of a stack that can be drawn."""

    def run(self) -> Path:
        """Write the changed images, and draw the first if asked to; returns the stack."""
        output = super().run()
        self.draw(output)
        return output


@settings
class TranslateMrcs(PicturedChange):
    """Shift the images of a particle stack."""

    shifts: Path = positional(
        metavar="trans", help="Shifts (x, y) as fractions of the box, or poses (.pkl)"
    )
    scale: float = option("--tscale", default=1.0, help="Factor on the shifts; -1 undoes them")

    def change_of(
        self, images: "ImageStack", pixel_size: float | None
    ) -> "tuple[Change, float | None, str]":
        """Movement of the content of images."""
        from cryodrgn.data.stack_changes import require_row_each, translate
        from cryodrgn.io.cryodrgn_pickle import load_shifts

        fractions = load_shifts(self.shifts)
        require_row_each(len(fractions), images, self.shifts, self.particles)
        pixels = self.scale * images.box_size * fractions
        return translate(pixels), pixel_size, "shifted images"


@settings
class AddNoise(SeedOptions, PicturedChange):
    """Add white noise to a particle stack."""

    particles: Path = positional(
        metavar="mrcs", help="Particles without noise (.mrcs, .star, .cs, or .txt)"
    )
    snr: float | None = option(
        "--snr", default=None, check=POSITIVE, help="Signal-to-noise ratio of the output"
    )
    sigma: float | None = option(
        "--sigma", default=None, check=POSITIVE, help="Standard deviation of the noise"
    )
    mask: Literal["none", "strict", "circular"] = option(
        "--mask",
        default="none",
        help="Pixels from which the strength of the signal is taken: all, the positive ones, "
        "or a disc",
    )
    mask_radius: float | None = option(
        "--mask-r", default=None, unit="px", check=POSITIVE, help="Radius of the disc in pixels"
    )

    def change_of(
        self, images: "ImageStack", pixel_size: float | None
    ) -> "tuple[Change, float | None, str]":
        """Addition of noise.

        Raises:
            ConfigError: Not exactly one of ratio and strength is given.
        """
        import torch

        from cryodrgn.data.stack_changes import signal_strength, white_noise

        if self.snr is None and self.sigma is not None:
            sigma = self.sigma
        elif self.snr is not None and self.sigma is None:
            signal = signal_strength(images, self.mask, self.mask_radius)
            sigma = signal / math.sqrt(self.snr)
        else:
            msg = "give the strength of the noise in one way: `snr` or `sigma`"
            raise ConfigError(msg)
        noise = white_noise(sigma, torch.Generator().manual_seed(self.seed))
        return noise, pixel_size, f"images with noise of σ = {sigma:g}"


@settings
class Project3d(SeedOptions, StackPicture, StackOutput, Job["Poses"]):
    """Project a volume in many directions."""

    volume: Path = positional(metavar="mrc", help="Volume (.mrc)")
    output_poses: Path | None = option(
        "--out-pose", default=None, metavar="PKL", help="Output poses (.pkl)"
    )
    num_projections: int | None = option(
        "-N", default=None, check=at_least(1), help="Number of random projections"
    )
    batch_size: int = option("-b", default=100, check=at_least(1), help="Images made at once")
    max_shift_px: float = option(
        "--t-extent",
        default=5.0,
        unit="px",
        check=NOT_NEGATIVE,
        help="Largest shift along x and y in pixels",
    )
    grid_level: int | None = option(
        "--grid",
        default=None,
        metavar="LEVEL",
        check=within(0, 5),
        help="Project along all rotations of a grid: 72 of them at level 0, eight times as "
        "many at each further level",
    )
    tilt_deg: float | None = option(
        "--tilt",
        default=None,
        metavar="DEG",
        unit="°",
        help="Turn the stage about x before the exposure; --out-pose keeps the untilted poses",
    )
    verbose: bool = option("-v", "--verbose", default=False, help="Log the first poses")

    def run(self) -> "Poses":
        """Write the projections, and poses and picture if asked to; returns the poses.

        Raises:
            ConfigError: The volume has an odd side, or the directions are not said in one way.
        """
        import numpy as np

        from cryodrgn.geometry.rotations import rotation_about_x
        from cryodrgn.io.cryodrgn_pickle import save_poses
        from cryodrgn.io.mrc import read_volume
        from cryodrgn.simulation.projections import (
            ProjectionSettings,
            chosen_rotations,
            write_projections,
        )

        require_mrc(self.output)
        volume, pixel_size = read_volume(self.volume)
        tilt = self.tilt_deg
        chosen = ProjectionSettings(
            rotations=chosen_rotations(self.num_projections, self.grid_level, self.seed),
            shift_extent_px=self.max_shift_px,
            tilt=None if tilt is None else rotation_about_x(math.radians(tilt)),
            batch_size=self.batch_size,
            seed=self.seed,
        )
        poses = write_projections(volume, chosen, self.output, pixel_size)
        if self.output_poses is not None:
            side_length = np.array([len(volume) * (pixel_size or 1.0)])
            save_poses(self.output_poses, poses, side_length)
        self.draw(self.output)
        if self.verbose:
            logger.info("first rotation:\n%s", poses.rotations[0])
        logger.info("wrote %d projections to %s", len(poses), self.output)
        return poses


def _figure_of(images: "ImageStack", *, negate: bool = False) -> "Figure":
    """Figure of the first images, with their contrast inverted where it is asked for."""
    import numpy as np

    from cryodrgn.analysis.image_plots import plot_images

    pixels = images.read(np.arange(min(IMAGES_SHOWN, len(images))))
    return plot_images(-pixels if negate else pixels)


view_mrcs = function_of(ViewMrcs)
filter_mrcs = function_of(FilterMrcs)
phase_flip = function_of(PhaseFlip)
translate_mrcs = function_of(TranslateMrcs)
add_noise = function_of(AddNoise)
project3d = function_of(Project3d)
