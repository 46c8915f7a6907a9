"""Symmetry expansion of a particle file."""

import logging
from pathlib import Path

from cryodrgn.geometry.point_groups import NAMES, is_point_group
from cryodrgn.jobs.options import output_flags, require_ending
from cryodrgn.settings import Check, Job, function_of, option, positional, settings

logger = logging.getLogger(__name__)


@settings
class Expand(Job[list[Path]]):
    """List every particle once for each mate of a point group."""

    particles: Path = positional(
        help="Particle file of RELION (.star) or cryoSPARC (.cs), with poses"
    )
    symmetry: str = option(
        "--symmetry",
        kw_only=False,
        metavar="GROUP",
        check=Check(words=f"a point group: {NAMES}", holds=is_point_group),
        help=f"Point group, in RELION's setting of axes: {NAMES}",
    )
    output: Path = option(
        *output_flags("star"),
        kw_only=False,
        metavar="OUTPUT",
        help="File to write, of the same type; a .cs gets its .csg and passthrough beside it",
    )
    passthrough: tuple[Path, ...] | None = option(
        "--passthrough",
        default=None,
        metavar="CS",
        help="Passthrough files (.cs) of the particles (default: those beside the original)",
    )

    def run(self) -> list[Path]:
        """Write the expanded file; returns the files.

        Raises:
            CryodrgnError: The file cannot be used, has no poses, or is expanded already.
        """
        from cryodrgn.geometry.point_groups import canonical_name
        from cryodrgn.geometry.symmetry import point_group
        from cryodrgn.io.expansion import expand_file

        require_ending(self.output, (".star", ".cs"), "output")
        if self.passthrough is not None and self.output.suffix != ".cs":
            logger.warning("`passthrough` has no effect: a .star file has none")
        name = canonical_name(self.symmetry)
        mates = point_group(name)
        paths = expand_file(
            self.particles,
            mates,
            self.output,
            None if self.passthrough is None else list(self.passthrough),
        )
        logger.info(
            "wrote every particle at %d mates of %s to %s; lead selections of them back with "
            "cryodrgn export --expanded %s",
            len(mates),
            name,
            ", ".join(map(str, paths)),
            self.output,
        )
        folder = self.particles.resolve().parent
        if self.output.resolve().parent != folder:
            logger.info(
                "stacks are named as in %s; where a name is relative to its folder, "
                "cryodrgn train_vae and the others need --datadir %s on the expanded file",
                self.particles,
                folder,
            )
        return paths


expand = function_of(Expand)
