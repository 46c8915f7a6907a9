"""Latents and losses of images under a trained model."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.errors import ConfigError
from cryodrgn.jobs.options import (
    PICKLE_ENDINGS,
    BoxOptions,
    DataOptions,
    DeviceOptions,
    output_flags,
    particle_files,
    require_ending,
)
from cryodrgn.jobs.processes import joined
from cryodrgn.jobs.tilt_options import TiltOptions
from cryodrgn.jobs.trained_model import TrainedModelOptions
from cryodrgn.particles.options import TableOptions
from cryodrgn.settings import (
    NOT_NEGATIVE,
    Job,
    Settings,
    at_least,
    function_of,
    option,
    positional,
    settings,
)

if TYPE_CHECKING:
    import torch

    from cryodrgn.io.particle_files import ParticleFiles
    from cryodrgn.parallel import Team
    from cryodrgn.particles.particle_set import ParticleSet
    from cryodrgn.preflight.screening import Screen
    from cryodrgn.reconstruction.encode import Evaluation
    from cryodrgn.reconstruction.trained import TrainedModel

logger = logging.getLogger(__name__)


@settings
class EvaluatedParticles(Settings):
    """Particles whose images are evaluated."""

    particles: Path = positional(help="Input particles (.mrcs, .star, .cs, or .txt)")


@settings
class EvalImages(
    DeviceOptions,
    TiltOptions,
    BoxOptions,
    DataOptions,
    TableOptions,
    TrainedModelOptions,
    EvaluatedParticles,
    Job["Evaluation"],
):
    """Evaluate the latents and losses of images under a trained model."""

    output: Path = option(
        *output_flags("pkl"),
        kw_only=False,
        metavar="PKL",
        help="Output of latents and losses (.pkl)",
    )
    output_latents: Path | None = option(
        "--out-z",
        default=None,
        metavar="PKL",
        help="Write the latents here, and the losses alone to -o",
    )
    batch_size: int = option(
        "-b", "--batch-size", default=50, check=at_least(1), help="Minibatch size"
    )
    beta: float = option("--beta", default=1.0, check=NOT_NEGATIVE, help="KLD weight")

    def run(self) -> "Evaluation":
        """Evaluate the images, and write latents and losses.

        Raises:
            CryodrgnError: The model or the images cannot be used.
        """
        from cryodrgn.io.recorded_files import require_not_of_run
        from cryodrgn.preflight.plan import require_output
        from cryodrgn.preflight.rows import tell_of_missing_ctf
        from cryodrgn.preflight.screening import run_excluding_bad_images, screen_particles
        from cryodrgn.rundir import ScreeningFiles

        require_ending(self.output, PICKLE_ENDINGS, "output")
        trained = self._with_preprocessing(self.trained())
        files = self._files_as_trained(trained)
        if trained.sampling is not None and self.field_box_size is not None:
            msg = (
                "`field_box_size` is that of the run, whose images were of several boxes or "
                "pixel sizes; leave it out"
            )
            raise ConfigError(msg)
        particles = self._opened(trained, files)
        if trained.ctf is None:
            tell_of_missing_ctf(particles)
        elif particles.images.ctf is None:
            logger.warning(
                "the model was trained with the CTF parameters of %s, but the images of %s "
                "come without: give theirs with `ctf`",
                trained.ctf,
                particles.source,
            )
        for name in ("output", "output_latents"):
            if (path := getattr(self, name)) is not None:
                require_not_of_run(path, name, particles, self.weights)
        screening = ScreeningFiles.beside(self.output)
        require_output(self.output.parent)

        def screened(how: "Screen") -> "ParticleSet":
            return screen_particles(particles, screening, how)

        with joined(self) as (team, device):

            def work(particles: "ParticleSet") -> "Evaluation":
                return self._evaluated(trained, particles, device, team)

            result = run_excluding_bad_images(screened, work, self.screen, screening)
            if team.is_writer:
                self._write(result)
        return result

    def _files_as_trained(self, trained: "TrainedModel") -> "ParticleFiles":
        """The files of the particles, read as those of the run unless the settings differ."""
        files = particle_files(self, self.particles)
        if self.datadir is None:
            files = replace(files, found_in=self.stack_folders(self.particles))
        if self.correction is None and trained.correction is not None:
            logger.info(
                "images are taken for corrected for their CTF as those of the run were "
                "(`correction` %s)",
                trained.correction,
            )
            files = replace(files, correction=trained.correction)
        series = trained.series.updated(files.series)
        if series != files.series:
            logger.info("tilt series are read as those of the run: %s", series.in_words)
            files = replace(files, series=series)
        angle = trained.tilt_deg
        if self.tilt is not None and angle is not None and "tilt_deg" not in self.given:
            files = replace(files, tilt_deg=angle)
        return files

    def _opened(self, trained: "TrainedModel", files: "ParticleFiles") -> "ParticleSet":
        """The particles, whose images are of the pixel size and box of the model."""
        from cryodrgn.io.particle_files import open_particles
        from cryodrgn.io.recorded_files import warn_of_other_particles, warn_of_other_poses
        from cryodrgn.particles.pixel_sizes import common_pixel_size

        particles = open_particles(replace(files, sampling=trained.sampling))
        particles.images.require_poses()
        warn_of_other_particles(self.poses, "poses", particles)
        warn_of_other_poses(self.weights.parent, self.poses, particles)
        trained.require_field_of_view(particles)
        if trained.sampling is None and particles.images.sampling is not None:
            sizes = particles.images.pixel_sizes_in_files
            common_pixel_size(sizes, f"{particles.source} (unlike the model)")
        return particles

    def _with_preprocessing(self, trained: "TrainedModel") -> "TrainedModel":
        """The model, with images treated as in training unless the settings say otherwise."""
        if "invert" in self.given:
            trained = replace(trained, invert=self.invert)
        if self.window is not None or self.window_radius:
            trained = replace(trained, window_radius=self.window_in_use)
        return trained

    def _evaluated(
        self,
        trained: "TrainedModel",
        particles: "ParticleSet",
        device: "torch.device",
        team: "Team",
    ) -> "Evaluation":
        """Latents by the encoder, or by the linear model."""
        from cryodrgn.data.prepared import Storage
        from cryodrgn.linear.embed import evaluate_linear
        from cryodrgn.linear.iteration import DiscImages
        from cryodrgn.models.registry import sum_of_volumes
        from cryodrgn.preflight.plans import encoding_plan
        from cryodrgn.reconstruction.encode import evaluate_all
        from cryodrgn.reconstruction.trained import prepare_as_trained

        folder = self.output.parent
        volumes = sum_of_volumes(trained.model.decoder)
        if volumes is None and not trained.model.has_encoder:
            msg = (
                f"{self.weights} holds no encoder; only runs of train_vae and train_linear can "
                "encode images"
            )
            raise ConfigError(msg)
        storage = Storage(scratch_dir=folder, on_disk=self.lazy or None)
        plan = encoding_plan(trained, particles, self.batch_size, folder, device, storage)
        plan.announce("encoding")
        images = prepare_as_trained(
            trained,
            particles,
            device,
            storage=storage,
            team=team,
        )
        if volumes is not None:
            disc = DiscImages(images, team, ewald=trained.ewald)
            scale = trained.scale
            return evaluate_linear(volumes, particles, disc, scale=scale, beta=self.beta)
        model = trained.model.to(device)
        return evaluate_all(
            model, images, beta=self.beta, batch_size=self.batch_size, team=team
        )

    def _write(self, result: "Evaluation") -> None:
        """Latents and losses, in one file as 0.2.0 or in two as 4.x."""
        from cryodrgn.io.cryodrgn_pickle import save_latents, save_pickles

        latents, count = [result.mean, result.log_variance], len(result.mean)
        if self.output_latents is None:
            sums = [count * v for v in (result.loss, result.reconstruction, result.kl)]
            save_pickles(self.output, [*latents, sums])
        else:
            save_latents(self.output_latents, *latents)
            losses = {"loss": result.loss, "recon": result.reconstruction, "kld": result.kl}
            save_pickles(self.output, [losses])
        logger.info(
            "%d particles: reconstruction %.7f, KL %.7f, loss %.7f",
            count,
            result.reconstruction,
            result.kl,
            result.loss,
        )


eval_images = function_of(EvalImages)
