"""Simulated particle sets with a known truth."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from cryodrgn.counts import counted
from cryodrgn.jobs.tilt_options import TILT_SERIES
from cryodrgn.settings import (
    EVEN,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    Check,
    Job,
    at_least,
    between,
    function_of,
    option,
    positional,
    settings,
    within,
)

if TYPE_CHECKING:
    from cryodrgn.rundir import SimulationFiles
    from cryodrgn.simulation.simulate import SimulationSettings

logger = logging.getLogger(__name__)

VOLUMES, IMAGES = "Volumes", "Images"


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
    num_images: int = option(
        "-n", "--num-images", default=2000, check=at_least(1), help="Number of particles"
    )
    seed: int = option("--seed", default=0, check=SEED, help="Random seed")
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
    snr: float = option(
        "--snr",
        default=0.1,
        group=IMAGES,
        check=POSITIVE,
        help="Signal-to-noise ratio: variance of clean images over that of the noise",
    )
    shift_extent_px: float = option(
        "--shift",
        default=3.0,
        group=IMAGES,
        unit="px",
        check=NOT_NEGATIVE,
        help="Largest shift along x and y in pixels",
    )
    no_ctf: bool = option("--no-ctf", default=False, group=IMAGES, help="Images without CTF")
    defocus_range_um: tuple[float, float] = option(
        "--defocus",
        default=(0.8, 2.5),
        group=IMAGES,
        unit="µm",
        metavar=("LOW", "HIGH"),
        check=Check(
            words="two positive numbers, the lower first",
            holds=lambda pair: 0 < pair[0] <= pair[1],
        ),
        help="Range of the defocus in µm underfocus",
    )
    voltage_kv: float = option(
        "--kv", default=300.0, group=IMAGES, unit="kV", check=POSITIVE, help="Voltage in kV"
    )
    spherical_aberration_mm: float = option(
        "--cs", default=2.7, group=IMAGES, unit="mm", help="Spherical aberration in mm"
    )
    amplitude_contrast: float = option(
        "-w", default=0.1, group=IMAGES, check=within(0, 1), help="Amplitude contrast"
    )
    b_factor: float = option(
        "--b-factor", default=0.0, group=IMAGES, unit="Å²", help="B factor in Å²"
    )
    white: bool = option(
        "--white",
        default=False,
        group=IMAGES,
        help="Write particles white on black; train_vae then needs --invert-data",
    )
    half_precision: bool = option(
        "--float16", default=False, group=IMAGES, help="Write images in float16"
    )
    tilt_deg: float | None = option(
        "--tilt-deg",
        default=None,
        group=IMAGES,
        metavar="DEG",
        unit="°",
        help="Also write a second exposure of every particle, the stage turned by this angle "
        "about x",
    )
    tilt_series: bool = option(
        "--tilt-series",
        default=False,
        group=TILT_SERIES,
        help="Simulate a dose-symmetric tilt series of every particle, with signal that "
        "falls with dose and tilt, in a .star file as WARP and RELION write it",
    )
    largest_tilt_deg: float = option(
        "--tilt-range",
        default=60.0,
        group=TILT_SERIES,
        metavar="DEG",
        unit="°",
        check=between(0, 90),
        help="Largest tilt angle in degrees, in both directions",
    )
    tilt_step_deg: float = option(
        "--tilt-step",
        default=3.0,
        group=TILT_SERIES,
        metavar="DEG",
        unit="°",
        check=POSITIVE,
        help="Angle between neighbouring tilts in degrees",
    )
    dose_per_tilt: float = option(
        "--dose-per-tilt",
        default=3.0,
        group=TILT_SERIES,
        metavar="DOSE",
        unit="e/Å²",
        check=NOT_NEGATIVE,
        help="Dose of an exposure in electrons per Å²",
    )
    particles_per_tomogram: int = option(
        "--per-tomogram",
        default=100,
        group=TILT_SERIES,
        check=at_least(1),
        help="Number of particles of a tomogram",
    )

    def run(self) -> "SimulationFiles":
        """Write the particle set; returns the names of its files.

        Raises:
            CryodrgnError: A model or the device cannot be used, or a setting is impossible.
        """
        from cryodrgn.devices import choose_device
        from cryodrgn.preflight.plans import simulation_plan
        from cryodrgn.simulation.simulate import simulate
        from cryodrgn.simulation.states import (
            VOLUMES,
            hinge_size,
            hinge_states,
            size_of_files,
            states_from_files,
        )

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

    def _imaging(self, pixel_size: float) -> "SimulationSettings":
        """Settings of the images."""
        from cryodrgn.settings import same_named
        from cryodrgn.simulation.simulate import SimulationSettings
        from cryodrgn.simulation.views import TiltScheme

        scheme = None
        if self.tilt_series:
            scheme = TiltScheme(
                largest_deg=self.largest_tilt_deg,
                step_deg=self.tilt_step_deg,
                dose_per_tilt=self.dose_per_tilt,
                particles_per_tomogram=self.particles_per_tomogram,
            )
        own = same_named(self, SimulationSettings, but={"pixel_size", "tilt_series"})
        return SimulationSettings(
            pixel_size=pixel_size,
            has_ctf=not self.no_ctf,
            invert=self.white,
            tilt_series=scheme,
            **own,
        )


simulate = function_of(Simulate)
