"""Smaller images or volumes, by cropping in Fourier space."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cryodrgn.counts import counted
from cryodrgn.errors import ConfigError
from cryodrgn.jobs.options import (
    MRC_ENDINGS,
    BoxOptions,
    SelectionOptions,
    output_flags,
    require_ending,
)
from cryodrgn.jobs.tool_options import warn_of_copies
from cryodrgn.particles.options import ParticleOptions
from cryodrgn.settings import (
    EVEN,
    Job,
    at_least,
    function_of,
    option,
    positional,
    same_as,
    settings,
)

if TYPE_CHECKING:
    import numpy as np

    from cryodrgn.data.image_kinds import ImageKinds
    from cryodrgn.io.metadata import ParticleMetadata
    from cryodrgn.preflight.screening import Screen

logger = logging.getLogger(__name__)

LISTS = (".star", ".txt")
_AS_STAR = ", and give a .star file, which cryodrgn_utils write_star makes of others"


# Part of the new box that particles may lie from the middle of images that are cut.
FAR = 0.1


@settings
class Downsample(BoxOptions, Job[list[Path]]):
    """Downsample an image stack or volume by clipping Fourier frequencies."""

    input: Path = positional(
        metavar="mrcs", help="Input particles or volume (.mrc, .mrcs, .star, .cs, or .txt)"
    )
    output: Path = option(
        *output_flags("mrc"),
        kw_only=False,
        metavar="MRCS",
        help="Output projection stack (.mrcs), or a .star or .txt file like the input, which "
        "lists downsampled stacks and keeps all else that is known of the particles",
    )
    field_box_size: int | None = same_as(
        BoxOptions,
        "field_box_size",
        help="Crop images in real space to this even box size, centred on the image, so that "
        "poses stay right, or pad them with zeros, before any other step; in pixels of the "
        "most frequent pixel size",
    )
    outdir: Path | None = option(
        "--outdir",
        default=None,
        help="Folder for the stacks of an output .star or .txt file",
        default_words="that of the file",
    )
    box_size: int = option(
        "-D", metavar="D", unit="px", check=EVEN, help="New box size in pixels, must be even"
    )
    is_volume: bool = option("--is-vol", default=False, help="Flag if input .mrc is a volume")
    chunk: int | None = option(
        "--chunk",
        default=None,
        check=at_least(1),
        help="Chunksize (in # of images) to split particle stack when saving",
    )
    datadir: Path | None = same_as(ParticleOptions, "datadir", default=None, group=None)
    indices: Path | None = same_as(
        ParticleOptions,
        "indices",
        default=None,
        group=None,
        help="Downsample only the images of these rows, in this order",
    )
    screen: Literal["sample", "all", "none"] = same_as(
        SelectionOptions, "screen", default="sample", group=None
    )

    def run(self) -> list[Path]:
        """Write the smaller images or volume; returns the files.

        Raises:
            CryodrgnError: The input or the box size cannot be used.
        """
        if self.is_volume and self.field_box_size is not None:
            msg = "`field_box_size` cuts and pads images, not volumes; leave it out"
            raise ConfigError(msg)
        if self.output.suffix in LISTS and not self.is_volume:
            return self._listed_stacks()
        require_ending(
            self.output, MRC_ENDINGS if self.is_volume else (*MRC_ENDINGS, *LISTS), "output"
        )
        if self.outdir is not None:
            logger.warning("`outdir` has no effect: one stack is written, to %s", self.output)
        return self._volume() if self.is_volume else self._images()

    def _listed_stacks(self) -> list[Path]:
        """Whole stacks, each downsampled, and the file that lists them.

        Raises:
            ConfigError: The input is a file of another kind, or is to be divided.
        """
        from cryodrgn.data.downsample import downsample_stack
        from cryodrgn.io.image_stack import ImageStack
        from cryodrgn.io.particle_files import open_metadata
        from cryodrgn.io.selection_files import load_selection
        from cryodrgn.io.smaller_stacks import (
            places_below,
            stacks_of,
            write_list_of_stacks,
            write_star_of_smaller,
        )
        from cryodrgn.preflight.plans import downsampling_plan

        self._require_list()
        _, kinds = self._opened()
        chosen = None
        if self.indices is not None:
            chosen = load_selection(self.indices).rows_of(kinds.count, str(self.input))
        stacks = stacks_of(self.input, self.datadir, chosen)
        places = places_below(self.outdir or self.output.parent, stacks)
        whole = ImageStack.whole_files(list(stacks.values()))
        plan = downsampling_plan(whole, self.box_size, self.outdir or self.output.parent)
        plan.announce("downsampling")
        for name, place in places.items():
            stack = ImageStack.whole_files([stacks[name]])
            downsample_stack(
                stack,
                self.box_size,
                place,
                pixel_size=kinds.pixel_size_of(stacks[name]),
                sampling=kinds.sampling,
            )
        if open_metadata(self.input) is None:
            write_list_of_stacks(self.output, list(places.values()))
        else:
            write_star_of_smaller(
                self.input, self.output, places, self.box_size, kinds.change, chosen
            )
        listed = kinds.count if chosen is None else len(chosen)
        lists_all = listed == len(whole)
        logger.info(
            "wrote %d images in %s and %s%s (%s)",
            len(whole),
            counted(len(places), "stack"),
            self.output,
            "" if lists_all else f", which lists {listed} of them; stacks are written whole",
            _sampling(kinds.new_pixel_size),
        )
        return [*places.values(), self.output]

    def _opened(self) -> "tuple[ParticleMetadata | None, ImageKinds]":
        """Metadata of the input, with pixel sizes and shapes of its images.

        Raises:
            CryodrgnError: They cannot be brought to the box size.
        """
        from cryodrgn.data.image_kinds import ImageKinds
        from cryodrgn.io.particle_files import open_images, open_metadata

        metadata = open_metadata(self.input)
        images = open_images(self.input, metadata, self.datadir, of_any_shape=True)
        known = None if metadata is None else metadata.pixel_sizes()
        sizes = images.pixel_sizes if known is None else known
        source, field = str(self.input), self.field_box_size
        kinds = ImageKinds.of(images, sizes, self.box_size, source, field)
        self._tell_of_particles_off_centre(metadata, kinds)
        return metadata, kinds

    def _tell_of_particles_off_centre(
        self, metadata: "ParticleMetadata | None", kinds: "ImageKinds"
    ) -> None:
        """Warn where images are cut whose particles do not stand in the middle."""
        if metadata is None or kinds.sampling is None or not metadata.has_poses():
            return
        assert kinds.pixel_sizes is not None
        side = kinds.sampling.side_length
        is_cut = kinds.images.shapes.max(1) * kinds.pixel_sizes > side * (1 + 1e-6)
        distances = abs(metadata.poses(kinds.pixel_sizes).shifts).max(1)
        far = is_cut & (distances > FAR * side)
        if far.any():
            logger.warning(
                "images are cut about their centre to %.4g Å, but the particles of %d of %d "
                "lie up to %.4g Å off it, and what is beyond the cut is lost; take a larger "
                "`field_box_size`, or leave it out here and give it to the commands that read "
                "the particles, which cut about these",
                side,
                far.sum(),
                len(far),
                distances[far].max(),
            )

    def _require_list(self) -> None:
        """Refuse an input and settings that do not go with a list of stacks."""
        is_same = self.output.resolve() == self.input.resolve()
        if self.input.suffix != self.output.suffix or is_same:
            msg = (
                f"`output` {self.output} lists the stacks of another {self.output.suffix}, "
                f"but the input is {self.input}; name a stack (.mrcs) to write all images into"
            )
            raise ConfigError(msg)
        if self.chunk is not None:
            msg = "`chunk` divides one stack, but the stacks of a list stay as they are divided"
            raise ConfigError(msg)
        if self.output.suffix == ".txt" and self.indices is not None:
            msg = (
                f"`indices` choose rows, which {self.output} does not have: it lists whole "
                "stacks; name a stack (.mrcs) as output"
            )
            raise ConfigError(msg)

    def _volume(self) -> list[Path]:
        from cryodrgn.data.downsample import downsample_volume_file

        old, pixel_size = downsample_volume_file(self.input, self.box_size, self.output)
        logger.info("downsampled a volume of %d voxels to %d", old, self.box_size)
        logger.info("wrote %s (%s)", self.output, _sampling(pixel_size))
        return [self.output]

    def _images(self) -> list[Path]:
        import numpy as np

        from cryodrgn.data.downsample import downsample_stack
        from cryodrgn.diagnosis.screening import find_bad
        from cryodrgn.fourier.resample import check_new_box_size
        from cryodrgn.io.particle_files import tell_of_terms_left
        from cryodrgn.io.selection_files import load_selection
        from cryodrgn.preflight.plans import downsampling_plan
        from cryodrgn.preflight.screening import run_excluding_bad_images, screen_stack
        from cryodrgn.rundir import ScreeningFiles

        self._refuse_volume()
        metadata, kinds = self._opened()
        self._refuse_several(kinds)
        tell_of_terms_left(self.input, metadata)
        images, pixel_size = kinds.images, kinds.pixel_size
        rows = np.arange(len(images))
        if self.indices is not None:
            rows = load_selection(self.indices).rows_of(len(images), str(self.input))
            images = images.select(rows)
        if len(images) == images.box_size:
            logger.warning(
                "%s is taken for %d images; is it a volume? Then add `is_volume`",
                self.input,
                len(images),
            )
        if kinds.sampling is None:
            check_new_box_size(images.box_size, self.box_size)
        self._tell_of_another_area(kinds)
        remedy = "name a .star file as `output`" + self._with_star
        warn_of_copies(images, self.input, self.output, remedy)
        plan = downsampling_plan(images, self.box_size, self.output.parent)
        plan.announce("downsampling")

        files = ScreeningFiles.beside(self.output)

        def screened(how: "Screen") -> "np.ndarray | None":
            bad = screen_stack(images, rows, files, how, source=str(self.input))
            return bad if how == "sample" else None

        def work(known_bad: "np.ndarray | None") -> list[Path]:
            return downsample_stack(
                images.judged_by(find_bad),
                self.box_size,
                self.output,
                pixel_size=pixel_size,
                chunk=self.chunk,
                known_bad=known_bad,
                sampling=kinds.sampling,
            )

        paths = run_excluding_bad_images(screened, work, self.screen, files)
        names = str(paths[0])
        if self.chunk is not None:
            names += f" … {paths[-2]}, listed in {paths[-1]}"
        new = _sampling(kinds.new_pixel_size)
        logger.info("wrote %d images to %s (%s)", len(images), names, new)
        return paths

    @property
    def _with_star(self) -> str:
        """Words on what a .star file as output needs beside: a .star file as input."""
        return "" if self.input.suffix == ".star" else _AS_STAR

    def _refuse_several(self, kinds: "ImageKinds") -> None:
        """Refuse images of several shapes or pixel sizes, which one stack cannot hold."""
        if kinds.are_several:
            msg = (
                f"{self.input} holds {kinds.in_words}: several kinds need a table "
                "that lists them; name a .star file as `output`"
            )
            raise ConfigError(msg)

    def _tell_of_another_area(self, kinds: "ImageKinds") -> None:
        """Warn where images are cut or padded: tables of the old box do not fit the new one."""
        if kinds.changes_field:
            logger.warning(
                "images of %s show another area than those of %s: a poses.pkl or ctf.pkl of "
                "the old box does not fit them; a .star file as `output` has both right",
                self.output,
                self.input,
            )

    def _refuse_volume(self) -> None:
        """Refuse a file whose header says that it holds a volume."""
        from cryodrgn.io.volume_headers import volume_in_words

        volume = volume_in_words(self.input) if self.input.suffix == ".mrc" else None
        if volume is not None:
            msg = (
                f"{self.input} is {volume}, expected images; add `is_volume`, or give the file "
                "a name that ends in .mrcs if it holds images after all"
            )
            raise ConfigError(msg)


def _sampling(pixel_size: float | None) -> str:
    return "pixel size unknown" if pixel_size is None else f"{pixel_size:.4g} Å/px"


downsample = function_of(Downsample)
