"""Tables of particles shown, filtered, joined and written; lists of chosen particles."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn import compat
from cryodrgn.errors import ConfigError
from cryodrgn.given_arrays import PathOrArray
from cryodrgn.jobs.options import PICKLE_ENDINGS, output_flags, particle_files, require_ending
from cryodrgn.jobs.tool_options import ROWS, ImageOptions, RowOptions
from cryodrgn.particles.options import TableOptions
from cryodrgn.settings import (
    EVEN,
    Job,
    SeedOptions,
    at_least,
    between,
    each,
    function_of,
    option,
    positional,
    settings,
    within,
)

if TYPE_CHECKING:
    import numpy as np

    from cryodrgn.io.metadata import ParticleMetadata

logger = logging.getLogger(__name__)


@settings
class ViewCsHeader(Job["np.ndarray"]):
    """Show the columns of a cryoSPARC .cs file."""

    input: Path = positional(help="cryoSPARC table (.cs)")

    def run(self) -> "np.ndarray":
        """Log the columns; returns the table."""
        from cryodrgn.io.cryosparc_tables import describe_table, read_table

        table = read_table(self.input)
        logger.info("\n".join(describe_table(table)))
        return table


@settings
class FilterStar(RowOptions, Job[list[Path]]):
    """Take some particles out of a RELION .star file."""

    input: Path = positional(help="RELION file (.star)")
    of_tilt_series: bool = option(
        "--et",
        default=False,
        help="Indices count particles of tilt series (rlnTomoParticleName or rlnGroupName, in "
        "order of appearance), of which all tilts are kept",
    )
    by_micrograph: bool = option(
        "-m",
        "--micrograph-files",
        default=False,
        help="Write one file per micrograph into the folder -o",
    )
    output: Path = option(
        *output_flags("star"), metavar="STAR", help="Output (.star), or folder with -m"
    )

    def run(self) -> list[Path]:
        """Write the particles; returns the files."""
        from cryodrgn.io.selection_files import load_selection
        from cryodrgn.io.star_rows import StarRows
        from cryodrgn.io.star_selection import rows_of_particles, write_by_micrograph

        if not self.by_micrograph:
            require_ending(self.output, (".star",), "output")
        star = StarRows.read(self.input)
        if self.of_tilt_series:
            rows = rows_of_particles(self.input, load_selection(self.indices))
        else:
            rows = self.rows_of(len(star.rows), self.input)
        if self.by_micrograph:
            paths = write_by_micrograph(star, rows, self.output)
            logger.info("wrote %d rows to %d files in %s", len(rows), len(paths), self.output)
            return paths
        star.write(self.output, rows)
        logger.info("wrote %d of %d rows to %s", len(rows), len(star.rows), self.output)
        return [self.output]


@settings
class ParseRelion(Job[Path]):
    """Write a row for every tilt image of tomograms of RELION 5 or 4."""

    tomograms: Path = option("-t", "--tomograms", help="Tomograms (tomograms.star)")
    particles: Path = option(
        "-p", "--particles", help="Particles (.star), of RELION 5 extracted as 2-D stacks"
    )
    tilt_dim: tuple[int, int] | None = option(
        "--tilt-dim",
        default=None,
        metavar="PX",
        unit="px",
        check=each(at_least(1)),
        help="Width and height of the tilt images, by which the places of particles in them "
        "are written",
        default_words="no places",
    )
    box_size: int | None = option(
        "--box",
        default=None,
        unit="px",
        check=EVEN,
        help="For projects of RELION 4, which write no images: cut them out of the tilt series "
        "in boxes of this even side, into stacks in a folder named as the output",
    )
    output: Path = option(
        *output_flags("star"), metavar="STAR", help="Output (.star), of a row for every image"
    )

    def run(self) -> Path:
        """Write the images; returns the file.

        Raises:
            CryodrgnError: A file cannot be used, or the box goes with another version.
        """
        from cryodrgn.io.relion4_tomograms import cut_tilt_images
        from cryodrgn.io.relion_tomograms import tilt_rows
        from cryodrgn.io.star import write_star
        from cryodrgn.io.tomograms import is_relion4

        require_ending(self.output, (".star",), "output")
        if self.box_size is None:
            blocks = tilt_rows(self.particles, self.tomograms, self.tilt_dim)
        elif is_relion4(self.tomograms):
            if self.tilt_dim is not None:
                logger.warning("`tilt_dim` has no effect: tilt images are read, and say it")
            blocks = cut_tilt_images(self.particles, self.tomograms, self.box_size, self.output)
        else:
            msg = (
                f"{self.tomograms} is not of RELION 4: particles of RELION 5 have images, "
                "which are not cut out anew; leave out `box_size`"
            )
            raise ConfigError(msg)
        write_star(self.output, blocks)
        count = len(blocks["particles"]["rlnImageName"])
        logger.info("wrote %d tilt images to %s", count, self.output)
        return self.output


@settings
class FilterCs(RowOptions, Job[Path]):
    """Take some particles out of a cryoSPARC .cs file."""

    input: Path = positional(metavar="particles", help="cryoSPARC particles (.cs)")
    output: Path = option(
        *output_flags("cs"),
        metavar="CS",
        help="Output (.cs); export writes .csg and passthrough, too",
    )

    def run(self) -> Path:
        """Write the particles; returns the file."""
        from cryodrgn.io.cryosparc_tables import chosen_rows, read_table, write_table

        require_ending(self.output, (".cs",), "output")
        table = read_table(self.input)
        rows = self.rows_of(len(table), self.input)
        write_table(self.output, chosen_rows(table, rows))
        logger.info("wrote %d of %d rows to %s", len(rows), len(table), self.output)
        return self.output


@settings
class FilterPkl(Job[Path]):
    """Take some rows out of a pickle of poses, CTF parameters or latents."""

    input: Path = positional(help="Poses, CTF parameters, latents, or other arrays (.pkl)")
    indices: PathOrArray | None = option("--ind", default=None, help=ROWS)
    first: int | None = option(
        "--first", default=None, metavar="N", check=at_least(1), help="Keep the first N rows"
    )
    output: Path = option(*output_flags("pkl"), metavar="PKL", help="Output (.pkl)")

    def run(self) -> Path:
        """Write the rows; returns the file.

        Raises:
            CryodrgnError: Not exactly one way to choose rows is given, or the rows or the
                pickle cannot be used.
        """
        import numpy as np

        from cryodrgn.io.pickle_rows import filter_pickle
        from cryodrgn.io.selection_files import load_selection
        from cryodrgn.particles.selection import Selection

        require_ending(self.output, PICKLE_ENDINGS, "output")
        if self.indices is not None and self.first is None:
            selection = load_selection(self.indices)
        elif self.first is not None and self.indices is None:
            rows = np.arange(self.first)
            selection = Selection(indices=rows, source=f"`first` {self.first}")
        else:
            msg = "say which rows to keep in one way: `indices` or `first`"
            raise ConfigError(msg)
        count = filter_pickle(self.input, selection, self.output)
        logger.info("wrote %d of %d rows to %s", len(selection.indices), count, self.output)
        return self.output


@settings
class ConcatPkls(Job[Path]):
    """Join pickles of arrays or poses."""

    inputs: tuple[Path, ...] = positional(
        metavar="input", help="Pickles of the same kind, in the order wanted"
    )
    output: Path = option(*output_flags("pkl"), metavar="PKL", help="Output (.pkl)")

    def run(self) -> Path:
        """Write the rows of all pickles; returns the file."""
        from cryodrgn.io.pickle_rows import concatenate_pickles

        require_ending(self.output, PICKLE_ENDINGS, "output")
        counts = concatenate_pickles(self.inputs, self.output)
        logger.info(
            "wrote %s = %d rows to %s", " + ".join(map(str, counts)), sum(counts), self.output
        )
        return self.output


@settings
class WriteStar(ImageOptions, TableOptions, Job[Path]):
    """Write a RELION .star file of a particle stack."""

    particles: Path = positional(help="Input particles (.mrcs, .star, .cs, or .txt)")
    full_path: bool = option(
        "--full-path", default=False, help="Write the absolute paths of stacks"
    )
    relion30: bool = option(
        "--relion30", default=False, help="Write the layout of RELION 3.0, without optics"
    )
    output: Path = option(*output_flags("star"), metavar="STAR", help="Output (.star)")

    def run(self) -> Path:
        """Write the particles with what is known of them; returns the file."""
        from cryodrgn.io.particle_files import open_images, open_metadata, open_particles
        from cryodrgn.io.relion_write import write_particle_star

        require_ending(self.output, (".star",), "output")
        particles = open_particles(particle_files(self, self.particles))
        metadata = open_metadata(self.particles)
        images = open_images(self.particles, metadata, self.datadir, of_any_shape=True)
        folder = None if self.full_path else self.output.parent
        listed = images.select(particles.original_rows)
        if (listed.signs < 0).any():
            msg = (
                f"{self.particles} lists images of both contrasts (blob/sign), which a .star "
                "file cannot say; give `poses`, `ctf` and a stack of one contrast, which "
                "cryodrgn_utils filter_mrcs writes"
            )
            raise ConfigError(msg)
        names = listed.names(folder)
        if particles.images.ctf is None:
            logger.warning(
                "%s has no CTF parameters, and neither has %s; give them with `ctf`",
                self.output,
                self.particles,
            )
        if particles.images.poses is None:
            logger.info("no poses are written; give them with `poses`")
        of_tilts = self._of_tilts(metadata, particles.original_rows)
        write_particle_star(
            self.output,
            names,
            box_size=particles.images.shapes.max(1),
            pixel_sizes=particles.images.pixel_sizes_in_files,
            magnifications=particles.images.magnifications,
            poses=particles.images.poses,
            ctf=particles.images.ctf,
            b_factors=particles.images.b_factors,
            scales=particles.images.weights,
            more=of_tilts,
            relion30=self.relion30,
        )
        kind = "tilt images" if of_tilts else "particles"
        logger.info("wrote %d %s to %s", len(particles), kind, self.output)
        return self.output

    def _of_tilts(
        self, metadata: "ParticleMetadata | None", rows: "np.ndarray"
    ) -> dict[str, list[str]]:
        """Columns by which rows are images of tilt series, as they stand in the input."""
        columns = {} if metadata is None else metadata.select(rows).tilt_columns()
        if columns and self.indices is not None:
            logger.info(
                "`indices` count rows of %s, images of tilt series, and not their particles",
                self.particles,
            )
        return columns


@settings
class SelectClusters(Job["np.ndarray"]):
    """Indices of the particles in some clusters."""

    labels: PathOrArray = positional(help="Cluster of every particle (labels.pkl)")
    clusters: tuple[int, ...] = option(
        "--sel", check=each(at_least(0)), help="Clusters to keep, as numbered there"
    )
    parent_indices: PathOrArray | None = option(
        "--parent-ind",
        default=None,
        default_words="those of the run in whose folder the labels lie, if it was trained "
        "on some of its particles only",
        help="Rows (.pkl, .npy or .txt) of the labelled particles in the original file, if "
        "they had been filtered",
    )
    num_original: int | None = option(
        "--N-orig",
        default=None,
        check=at_least(1),
        help="Number of particles in the original file, to check --parent-ind against",
    )
    output: Path = option(
        *output_flags("pkl"),
        metavar="PKL",
        help="Chosen indices into the original file (.pkl)",
    )

    def run(self) -> "np.ndarray":
        """Write the rows of the particles in the original file, which are returned."""
        from cryodrgn.io.cryodrgn_pickle import load_labels
        from cryodrgn.io.selection_files import load_selection
        from cryodrgn.io.table_rows import rows_of_run
        from cryodrgn.particles.selection import rows_with_labels, to_original_rows

        require_ending(self.output, PICKLE_ENDINGS, "output")
        labels = load_labels(self.labels)
        parent = None
        if self.parent_indices is None:
            parent = rows_of_run(self.labels, len(labels), "parent_indices")
        else:
            selection = load_selection(self.parent_indices)
            if self.num_original is not None:
                selection.require_length(self.num_original, "the original file")
            parent = selection.indices
        chosen = to_original_rows(
            rows_with_labels(labels, self.clusters, compat.first_number()),
            len(labels),
            parent,
            num_original=self.num_original,
            source=str(self.parent_indices or self.labels),
        )
        return _saved(chosen, len(labels), self.output)


@settings
class SelectRandom(SeedOptions, Job["np.ndarray"]):
    """Indices of some particles chosen at random."""

    num_particles: int = positional(
        metavar="N", check=at_least(1), help="Number of particles to choose from"
    )
    output: Path = option(*output_flags("pkl"), metavar="PKL", help="Chosen indices (.pkl)")
    count: int | None = option("-n", default=None, check=at_least(1), help="Number to choose")
    fraction: float | None = option(
        "--frac", default=None, check=within(0, 1), help="Fraction to choose"
    )
    output_others: Path | None = option(
        "-s", default=None, is_output=True, help="Indices not chosen (.pkl)"
    )

    def run(self) -> "np.ndarray":
        """Write the numbers of the particles, which are returned.

        Raises:
            CryodrgnError: Not exactly one way to say how many is given, or that many cannot be
                chosen.
        """
        from cryodrgn.io.cryodrgn_pickle import save_pickles
        from cryodrgn.particles.selection import complement, random_subset

        require_ending(self.output, PICKLE_ENDINGS, "output")
        if self.fraction is not None and self.count is None:
            # Rounded down, as cryoDRGN does.
            count = int(self.fraction * self.num_particles)
        elif self.count is not None and self.fraction is None:
            count = self.count
        else:
            msg = "say how many particles to choose in one way: `count` or `fraction`"
            raise ConfigError(msg)
        chosen = random_subset(self.num_particles, count, self.seed)
        _saved(chosen, self.num_particles, self.output)
        if self.output_others is not None:
            save_pickles(self.output_others, [complement(chosen, self.num_particles)])
        return chosen


@settings
class MakeTrainTest(SeedOptions, Job["tuple[np.ndarray, np.ndarray]"]):
    """Divide particles at random, to train on and to test with."""

    num_particles: int = positional(
        metavar="N", check=at_least(1), help="Number of particles to divide"
    )
    output: Path = option(
        *output_flags("pkl"), metavar="PKL", help="Indices of the particles to train on (.pkl)"
    )
    output_test: Path = option(
        "--out-test",
        metavar="PKL",
        help="Indices of the particles to test with (.pkl)",
    )
    fraction: float = option(
        "--frac",
        default=0.1,
        check=between(0, 1),
        help="Fraction of the particles to test with",
    )

    def run(self) -> "tuple[np.ndarray, np.ndarray]":
        """Write both lists, which are returned: to train on, to test with."""
        from cryodrgn.particles.selection import complement, random_subset

        for name in ("output", "output_test"):
            require_ending(getattr(self, name), PICKLE_ENDINGS, name)
        count = int(self.fraction * self.num_particles)
        test = random_subset(self.num_particles, count, self.seed)
        rest = complement(test, self.num_particles)
        _saved(rest, self.num_particles, self.output)
        _saved(test, self.num_particles, self.output_test)
        return rest, test


def _saved(chosen: "np.ndarray", count: int, output: Path) -> "np.ndarray":
    """Write which of ``count`` particles are chosen, say so, and return them."""
    from cryodrgn.io.cryodrgn_pickle import save_pickles

    save_pickles(output, [chosen])
    logger.info("wrote %d of %d indices to %s", len(chosen), count, output)
    return chosen


view_cs_header = function_of(ViewCsHeader)
filter_star = function_of(FilterStar)
filter_cs = function_of(FilterCs)
filter_pkl = function_of(FilterPkl)
concat_pkls = function_of(ConcatPkls)
write_star = function_of(WriteStar)
parse_relion = function_of(ParseRelion)
select_clusters = function_of(SelectClusters)
select_random = function_of(SelectRandom)
make_train_test = function_of(MakeTrainTest)
