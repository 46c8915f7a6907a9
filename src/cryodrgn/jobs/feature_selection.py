"""Particles with a piece of density, or without it: ``select --feature``."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryodrgn.errors import ConfigError, MissingDependencyError
from cryodrgn.jobs.options import DeviceOptions
from cryodrgn.jobs.processes import joined
from cryodrgn.reconstruction.options import LikeOptions
from cryodrgn.settings import between, option, same_as, settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from cryodrgn.linear.feature_files import FeatureJudgement
    from cryodrgn.rundir import RunDirectory

logger = logging.getLogger(__name__)

SHARED_NOTE = (
    "z was estimated from all images: volumes of the two halves share it, and half maps of "
    "particles chosen by them are not quite independent"
)
FEATURE = "Particles whose images support a piece of density"


@settings
class FeatureOptions(DeviceOptions):
    """Place of a piece of density, and how certain its presence or absence must be."""

    feature: str | Path | tuple[float, ...] | None = option(
        "--feature",
        default=None,
        group=FEATURE,
        metavar="MASK|X,Y,Z[,RADIUS]",
        help="Particles of the run with density within this mask (.mrc), or this ball in Å as "
        "ChimeraX shows places in mean.mrc and volumes of eval_vol (radius 10 if none is "
        "given; a negative X needs --feature=X,Y,Z); amounts and probabilities are written "
        "beside -o as a table (.csv) and a picture (.png) of the same name",
    )
    absent: bool = option(
        "--absent",
        default=False,
        group=FEATURE,
        help="Particles without the density of --feature",
    )
    probability: float = option(
        "--probability",
        default=0.5,
        group=FEATURE,
        metavar="P",
        check=between(0, 1),
        help="Smallest probability of the density of --feature (with --absent, of its absence)",
    )
    like: Path | None = same_as(
        LikeOptions,
        "like",
        default=None,
        group=FEATURE,
        help="Map in which the position given to --feature was read (default: the first "
        "voxel lies at zero, as in volumes of the run)",
    )
    device: str = same_as(DeviceOptions, "device", default="auto", group=FEATURE)

    def with_feature(
        self, workdir: Path | None, output: Path, given: "Mapping[str, Path]"
    ) -> "np.ndarray":
        """Rows of the particles with the density, or without it; table and picture are written.

        Args:
            workdir: Folder of the run.
            output: Beside this file table and picture are written, of the same name.
            given: Files of the same particles that are read in place of those that the run
                names, by the name of the setting.

        Raises:
            CryodrgnError: The run's images cannot be used, or do not tell.
        """
        _require_free(output)
        judgement = self._judged(workdir, output, given)
        with_density = judgement.groups.probabilities
        wanted = 1 - with_density if self.absent else with_density
        _write(judgement, output)
        return judgement.rows[wanted >= self.probability]

    def _judged(
        self, workdir: Path | None, output: Path, given: "Mapping[str, Path]"
    ) -> "FeatureJudgement":
        from cryodrgn.data.prepared import Storage
        from cryodrgn.io.recorded_files import require_box_of_run
        from cryodrgn.io.reference_map import geometry_like
        from cryodrgn.linear.feature_files import feature_mask, judge_feature
        from cryodrgn.linear.latents import run_latents
        from cryodrgn.preflight.plans import states_plan
        from cryodrgn.reconstruction.assumptions import check_curvature, check_symmetry
        from cryodrgn.rundir import RunDirectory

        if workdir is None:
            msg = "`feature` compares the images of a run with its states: name its folder"
            raise ConfigError(msg)
        run = RunDirectory(workdir)
        latents = run_latents(run)
        latents.warn_of_noise("the images are compared with differences that may be noise")
        data, choice = _recorded(run, given, is_linear=latents.is_linear)
        particles = data.open()
        if "particles" in given:
            require_box_of_run(run.path, particles)
        particles.images.require_poses()
        own = latents.of_particles(particles)
        check_symmetry(particles, choice.symmetry)
        check_curvature(particles, choice.ewald)
        pixel_size = particles.require_pixel_size()
        geometry = geometry_like(self.like, particles.box_size, pixel_size)
        mask = feature_mask(self.feature or "", particles.box_size, geometry)
        with joined(self) as (team, device):
            storage = Storage(scratch_dir=output.parent)
            plan = states_plan(particles, own, choice, 0, output.parent, device, storage)
            plan.announce("the comparison of the images with the feature")
            if own.half_means is None:
                logger.info("%s", SHARED_NOTE)
            solvent = run.linear.mask if run.linear.mask.exists() else None
            return judge_feature(
                data,
                particles,
                own,
                mask,
                choice,
                device,
                storage=storage,
                solvent=solvent,
                team=team,
            )


def _recorded(
    run: "RunDirectory", given: "Mapping[str, Path]", *, is_linear: bool
) -> tuple[Any, Any]:
    """Images of a run as it used them, and how its volumes depend on the latent.

    Args:
        run: The run.
        given: Files that are read in place of those that it names.
        is_linear: Whether the run is linear.
    """
    from cryodrgn.geometry.point_groups import canonical_name
    from cryodrgn.io.run_config import (
        find_run_config,
        load_run_config,
        reconstruction_of_record,
    )
    from cryodrgn.jobs.reconstruction_options import curvature
    from cryodrgn.linear.latents import recorded_data
    from cryodrgn.linear.states import StateSettings

    path = find_run_config(run.weights())
    config = load_run_config(path)
    own = {"poses": run.poses()} if run.poses().exists() else {}
    data = recorded_data(config, path, {*own, *given})
    if "particles" in given and given["particles"].resolve() != data.files.particles:
        words = "%s is read in place of %s, which the run read"
        logger.warning(words, given["particles"], data.files.particles)
    changes: dict[str, Any] = {**own, **given}
    if "datadir" in given or "particles" in given:
        changes["found_in"] = ()
    data = replace(data, files=replace(data.files, **changes))
    recorded = reconstruction_of_record(config.get("training", {}))
    choice = StateSettings(
        functions="linear" if is_linear else "auto",
        symmetry=canonical_name(str(recorded.get("symmetry", "C1"))),
        ewald=curvature(int(recorded.get("ewald", 0))),
    )
    return data, choice


def _require_free(output: Path) -> None:
    """Refuse to write table and picture over files that this command did not write.

    Raises:
        ConfigError: A file of that name is there, such as ``scores.csv`` or ``junk.png`` of a
            run.
    """
    from cryodrgn.linear.feature_files import is_judgement

    table, picture = output.with_suffix(".csv"), output.with_suffix(".png")
    if is_judgement(table):
        return
    for path in (table, picture):
        if path.exists():
            msg = (
                f"`feature` writes a table and a picture beside `output` {output}, but {path} "
                "is there already and is not of this command; give another name"
            )
            raise ConfigError(msg)


def _write(judgement: "FeatureJudgement", output: Path) -> None:
    from cryodrgn.linear.feature_files import write_judgement

    table, picture = output.with_suffix(".csv"), output.with_suffix(".png")
    write_judgement(judgement, table)
    logger.info("%s", judgement.in_words())
    logger.info("wrote amount, log-ratio and probability of every particle to %s", table)
    try:
        from cryodrgn.analysis.feature_plots import plot_feature
        from cryodrgn.analysis.plots import save_figure
    except MissingDependencyError as error:
        logger.warning("the histogram was not drawn: %s", error)
        return
    figure = plot_feature(
        judgement.amounts.values,
        judgement.groups.means,
        judgement.groups.probabilities,
        judgement.in_words(),
        judgement.names,
    )
    save_figure(figure, picture)
