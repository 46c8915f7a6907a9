"""A cryoSPARC table of a particle stack or of another particle file."""

import logging
from pathlib import Path

from cryodrgn.jobs.options import output_flags, particle_files, require_ending
from cryodrgn.jobs.tool_options import ImageOptions
from cryodrgn.particles.options import TableOptions
from cryodrgn.settings import Job, function_of, option, positional, settings

logger = logging.getLogger(__name__)


@settings
class WriteCs(ImageOptions, TableOptions, Job[Path]):
    """Write a cryoSPARC .cs file of a particle stack."""

    particles: Path = positional(help="Input particles (.mrcs, .star, .cs, or .txt)")
    full_path: bool = option(
        "--full-path", default=False, help="Write the absolute paths of stacks"
    )
    output: Path = option(*output_flags("cs"), metavar="CS", help="Output (.cs)")

    def run(self) -> Path:
        """Write the particles with what is known of them; returns the file."""
        require_ending(self.output, (".cs",), "output")
        is_rewritten = bool(self.poses or self.ctf or self.datadir or self.full_path)
        if self.particles.suffix == ".cs" and not is_rewritten:
            return self._filtered()
        return self._made()

    def _filtered(self) -> Path:
        """Chosen rows of a table, with all of its columns."""
        from cryodrgn.io.cryosparc_tables import chosen_rows, read_table, write_table
        from cryodrgn.io.selection_files import load_selection

        table = read_table(self.particles)
        count = len(table)
        if self.indices is not None:
            rows = load_selection(self.indices).rows_of(count, str(self.particles))
            table = chosen_rows(table, rows)
        write_table(self.output, table)
        logger.info("wrote %d of %d rows to %s", len(table), count, self.output)
        return self.output

    def _made(self) -> Path:
        """A table made of the images, and of their poses and CTF parameters."""
        from cryodrgn.io.cryosparc_tables import write_table
        from cryodrgn.io.cryosparc_write import cryosparc_table
        from cryodrgn.io.particle_files import open_images, open_metadata, open_particles

        particles = open_particles(particle_files(self, self.particles))
        metadata = open_metadata(self.particles)
        stack = open_images(self.particles, metadata, self.datadir, of_any_shape=True)
        images = particles.images
        folder = None if self.full_path else self.output.parent
        chosen = stack.select(images.rows)
        names = chosen.names(folder)
        known = {} if metadata is None else metadata.select(images.rows).categories()
        groups = known.get("optics group")
        table = cryosparc_table(
            images,
            names,
            chosen.shapes,
            chosen.signs,
            groups,
            is_inverted=metadata is not None and metadata.is_inverted(),
        )
        write_table(self.output, table)
        if metadata is not None and metadata.tilt_columns():
            logger.warning(
                "%s lists images of tilt series, of which %s cannot say the particle, dose and "
                "tilt: to commands that read it, each is a particle of its own; use it "
                "in cryoSPARC only, and write_star otherwise",
                self.particles,
                self.output,
            )
        if images.ctf is not None and images.ctf.correction is not None:
            logger.warning(
                "%s cannot say that its images were corrected for the CTF, as they were; give "
                "every command on it `correction`",
                self.output,
            )
        for what, table in {"CTF parameters": images.ctf, "poses": images.poses}.items():
            if table is None:
                setting = "ctf" if what.startswith("CTF") else "poses"
                logger.warning("no %s are written; give them with `%s`", what, setting)
        logger.info("wrote %d particles to %s", len(names), self.output)
        return self.output


write_cs = function_of(WriteCs)
