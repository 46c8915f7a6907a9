"""Simulated particle sets with a known truth."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.counts import counted
from cryodrgn.errors import ConfigError
from cryodrgn.particles.options import TILT_SERIES
from cryodrgn.settings import (
    EVEN,
    NOT_NEGATIVE,
    POSITIVE,
    Job,
    SeedOptions,
    at_least,
    function_of,
    option,
    part_of,
    positional,
    same_as,
    settings,
)
from cryodrgn.simulation.options import IMAGES, SimulationOptions, TiltSchemeOptions

if TYPE_CHECKING:
    from cryodrgn.rundir import SimulationFiles
    from cryodrgn.simulation.simulate import SimulationSettings

logger = logging.getLogger(__name__)

VOLUMES = "Volumes"


@settings
class Simulate(Job["SimulationFiles"]):
    """Simulate particles from volumes, atomic models or a built-in molecule."""

    models: tuple[Path, ...] = positional(
        default=(),
        nargs="*",
        metavar="MODEL",
        help="One volume (.mrc) or atomic model (.pdb, .cif) per state; without any, a "
        "built-in molecule whose two domains open and close about a hinge",
    )
    outdir: Path = option("-o", "--outdir", help="Folder to write the particle set into")
    overwrite: bool = option(
        "--overwrite", default=False, help="Replace the particle set that OUTDIR holds"
    )
    num_images: int = same_as(SimulationOptions, "num_images")
    seed: int = same_as(SeedOptions, "seed")
    device: str = option(
        "--device",
        default="cpu",
        help="Device on which projections are computed: cpu, cuda, cuda:1, auto …; on a GPU "
        "images differ in the last digits, poses, CTF and noise do not",
    )
    box_size: int | None = option(
        "-D",
        default=None,
        group=VOLUMES,
        unit="px",
        check=EVEN,
        help="Box size in pixels (default: 64, or the volumes')",
    )
    pixel_size: float | None = option(
        "--Apix",
        default=None,
        group=VOLUMES,
        check=POSITIVE,
        unit="Å/px",
        help="Angstroms per pixel (default: 3, or the volumes')",
    )
    resolution: float | None = option(
        "--resolution",
        default=None,
        group=VOLUMES,
        unit="Å",
        check=POSITIVE,
        help="Nominal resolution of atomic models in Å (default: twice the pixel size)",
    )
    num_states: int = option(
        "--num-states",
        default=20,
        group=VOLUMES,
        check=at_least(1),
        help="Number of hinge angles of the built-in molecule",
    )
    hinge_range_deg: float = option(
        "--hinge-range",
        default=90.0,
        group=VOLUMES,
        unit="°",
        check=NOT_NEGATIVE,
        help="Range of the hinge angle in degrees",
    )
    snr: float = same_as(SimulationOptions, "snr")
    shift_extent_px: float = same_as(SimulationOptions, "shift_extent_px")
    no_ctf: bool = option("--no-ctf", default=False, group=IMAGES, help="Images without CTF")
    defocus_range_um: tuple[float, float] = same_as(SimulationOptions, "defocus_range_um")
    voltage_kv: float = same_as(SimulationOptions, "voltage_kv")
    spherical_aberration_mm: float = same_as(SimulationOptions, "spherical_aberration_mm")
    amplitude_contrast: float = same_as(SimulationOptions, "amplitude_contrast")
    b_factor: float = same_as(SimulationOptions, "b_factor")
    white: bool = same_as(SimulationOptions, "invert")
    half_precision: bool = same_as(SimulationOptions, "half_precision")
    tilt_deg: float | None = same_as(SimulationOptions, "tilt_deg")
    tilt_series: bool = option(
        "--tilt-series",
        default=False,
        group=TILT_SERIES,
        help="Simulate a dose-symmetric tilt series of every particle, with signal that "
        "falls with dose and tilt, in a .star file as WARP and RELION write it",
    )
    largest_tilt_deg: float = same_as(TiltSchemeOptions, "largest_deg")
    tilt_step_deg: float = same_as(TiltSchemeOptions, "step_deg")
    dose_per_tilt: float = same_as(TiltSchemeOptions, "dose_per_tilt")
    particles_per_tomogram: int = same_as(TiltSchemeOptions, "particles_per_tomogram")

    def run(self) -> "SimulationFiles":
        """Write the particle set; returns the names of its files.

        Raises:
            CryodrgnError: A model or the device cannot be used, or a setting is impossible.
        """
        from cryodrgn.devices import choose_device
        from cryodrgn.preflight.plans import simulation_plan
        from cryodrgn.rundir import SimulationFiles
        from cryodrgn.simulation.simulate import simulate
        from cryodrgn.simulation.states import (
            VOLUMES,
            hinge_size,
            hinge_states,
            size_of_files,
            states_from_files,
        )

        self._require_free_folder()
        models = list(self.models)
        if models:
            size = size_of_files(models, self.box_size, self.pixel_size)
        else:
            size = hinge_size(
                self.num_states,
                self.hinge_range_deg,
                self.box_size or 64,
                self.pixel_size or 3.0,
            )
        settings = self._imaging(size.pixel_size)
        if self.resolution is not None and any(path.suffix in VOLUMES for path in models):
            logger.warning("`resolution` has no effect: volumes are taken as they are")
        device = choose_device(self.device)
        plan = simulation_plan(size, settings, self.outdir, device)
        plan.announce("the simulation")
        if models:
            states = states_from_files(models, self.box_size, self.pixel_size, self.resolution)
        else:
            states = hinge_states(
                size.count,
                self.hinge_range_deg,
                size.box_size,
                size.pixel_size,
                self.resolution,
            )
        if self.overwrite:
            for path in SimulationFiles(self.outdir).written_files():
                path.unlink()
        files = simulate(states.volumes, settings, self.outdir, states.description, device)
        logger.info(
            "wrote %d images of %s (%d px of %g Å) to %s",
            self.num_images * settings.images_per_particle,
            counted(len(states.volumes), "state"),
            size.box_size,
            size.pixel_size,
            files.star,
        )
        return files

    def _require_free_folder(self) -> None:
        """Refuse a folder that holds particles, on which runs may have been trained.

        Raises:
            ConfigError: It does, and they are not to be replaced.
        """
        from cryodrgn.rundir import SimulationFiles

        files = SimulationFiles(self.outdir)
        there = [path.name for path in (files.star, files.particles) if path.exists()]
        if there and not self.overwrite:
            msg = (
                f"{self.outdir} holds particles already ({' and '.join(there)}); choose "
                "another folder, or replace them with `overwrite`"
            )
            raise ConfigError(msg)

    def _imaging(self, pixel_size: float) -> "SimulationSettings":
        """Settings of the images."""
        from cryodrgn.simulation.simulate import SimulationSettings
        from cryodrgn.simulation.views import TiltScheme

        return part_of(
            self,
            SimulationSettings,
            {
                "pixel_size": pixel_size,
                "has_ctf": not self.no_ctf,
                "tilt_series": part_of(self, TiltScheme) if self.tilt_series else None,
            },
        )


simulate = function_of(Simulate)
