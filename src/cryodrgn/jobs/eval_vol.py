"""Volumes of a trained model at points of its latent space."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.counts import counted
from cryodrgn.errors import ConfigError
from cryodrgn.given_arrays import PathOrArray
from cryodrgn.jobs.options import MRC_ENDINGS, ComputeOptions, output_flags, require_ending
from cryodrgn.jobs.processes import joined
from cryodrgn.jobs.trained_model import TrainedModelOptions
from cryodrgn.reconstruction.options import DecodingOptions, VolumeOptions
from cryodrgn.settings import Job, at_least, function_of, option, part_of, settings

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from cryodrgn.parallel import Team

logger = logging.getLogger(__name__)

LATENTS = "Specify z values, in one of three ways"


@settings
class EvalVol(
    DecodingOptions, ComputeOptions, VolumeOptions, TrainedModelOptions, Job[list[Path]]
):
    """Generate volumes from a trained model."""

    output: Path = option(
        *output_flags("mrc"),
        kw_only=False,
        metavar="OUTPUT",
        help="Output .mrc file, or folder for several volumes",
    )
    prefix: str = option(
        "--prefix", default="vol_", help="Prefix of the names of several volumes"
    )
    first_number: int = option(
        "--vol-start-index",
        default=0,
        metavar="N",
        check=at_least(0),
        help="Number of the first of several volumes",
    )
    verbose: bool = option("-v", "--verbose", default=False, help="Log every z-value")
    z: tuple[float, ...] | None = option(
        "-z", default=None, nargs="*", group=LATENTS, help="A single z"
    )
    z_start: tuple[float, ...] | None = option(
        "--z-start", default=None, nargs="*", group=LATENTS, help="Start of a straight path"
    )
    z_end: tuple[float, ...] | None = option(
        "--z-end", default=None, nargs="*", group=LATENTS, help="End of the path"
    )
    num_volumes: int = option(
        "-n", default=10, group=LATENTS, check=at_least(2), help="Volumes along the path"
    )
    z_file: PathOrArray | None = option(
        "--zfile",
        default=None,
        group=LATENTS,
        help="Text file of z-values, one row per volume",
    )

    def run(self) -> list[Path]:
        """Write the volumes; returns their files."""
        with joined(self) as (team, device):
            return self._decoded(device, team)

    def _decoded(self, device: "torch.device", team: "Team") -> list[Path]:
        from cryodrgn.fourier.resample import check_new_box_size
        from cryodrgn.io.reference_map import geometry_like
        from cryodrgn.preflight.plans import volumes_plan
        from cryodrgn.reconstruction.decode import PostProcessing, help_to_write, write_volumes

        trained = self.trained()
        decoder = trained.volume_decoder(device, compilation=self.compilation)
        if not team.is_writer:
            help_to_write(decoder, team)
            return []
        latents = self._latents(decoder.latent_dim)
        paths = self._paths(len(latents), is_one=self.z is not None or not decoder.latent_dim)
        box_size = self.volume_box_size or decoder.box_size
        check_new_box_size(decoder.box_size, box_size)
        pixel_size = self.pixel_size or trained.pixel_size
        geometry = geometry_like(self.like, decoder.box_size, pixel_size)
        plan = volumes_plan(trained.config, len(latents), box_size, paths[0].parent, device)
        plan.announce("decoding")
        if self.verbose:
            for path, latent in zip(paths, latents.tolist(), strict=True):
                values = " ".join(f"{value:g}" for value in latent)
                logger.info("%s: z = %s", path.name, values)
        write_volumes(
            decoder,
            latents,
            paths,
            geometry=geometry,
            box_size=self.volume_box_size,
            processing=part_of(self, PostProcessing),
            team=team,
        )
        logger.info("wrote %s to %s", counted(len(paths), "volume"), self.output)
        return paths

    def _latents(self, latent_dim: int) -> "Tensor":
        """The z-values that the settings name."""
        import torch

        from cryodrgn.io.latent_text import load_latent_text
        from cryodrgn.reconstruction.decode import straight_path

        path = self.z_start is not None or self.z_end is not None
        ways = (self.z is not None) + path + (self.z_file is not None)
        if latent_dim == 0:
            if ways:
                msg = (
                    f"{self.weights} holds the model of a single structure, which has no "
                    "z-values: leave them out"
                )
                raise ConfigError(msg)
            return torch.zeros(1, 0)
        if ways != 1:
            msg = "give z-values in one way: `z`, or `z_start` and `z_end`, or `z_file`"
            raise ConfigError(msg)
        if self.z is not None:
            return torch.tensor([self.z])
        if self.z_file is None:
            start, end = self.z_start, self.z_end
            if not (start and end and len(start) == len(end)):
                msg = "`z_start` and `z_end` must both be given, with equally many numbers"
                raise ConfigError(msg)
            return straight_path(torch.tensor(start), torch.tensor(end), self.num_volumes)
        return torch.from_numpy(load_latent_text(self.z_file, latent_dim))

    def _paths(self, count: int, *, is_one: bool) -> list[Path]:
        """One file for a single z-value, numbered files in a folder otherwise."""
        if is_one:
            require_ending(self.output, MRC_ENDINGS, "output")
            return [self.output]
        if self.output.suffix in MRC_ENDINGS or self.output.is_file():
            msg = f"`output` {self.output} must be a folder for several volumes"
            raise ConfigError(msg)
        numbers = range(self.first_number, self.first_number + count)
        return [self.output / f"{self.prefix}{number:03d}.mrc" for number in numbers]


eval_vol = function_of(EvalVol)
