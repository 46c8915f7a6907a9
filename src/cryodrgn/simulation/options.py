"""Settings of simulations that commands take as options, declared once."""

from cryodrgn.particles.options import TILT_SERIES
from cryodrgn.settings import (
    NOT_NEGATIVE,
    POSITIVE,
    Check,
    Settings,
    at_least,
    between,
    option,
    settings,
    within,
)

IMAGES = "Images"


@settings
class SimulationOptions(Settings):
    """Settings of simulated images."""

    num_images: int = option(
        "-n", "--num-images", default=2000, check=at_least(1), help="Number of particles"
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
    invert: bool = option(
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


@settings
class TiltSchemeOptions(Settings):
    """Settings of simulated tilt series, which are dose-symmetric."""

    largest_deg: float = option(
        "--tilt-range",
        default=60.0,
        group=TILT_SERIES,
        metavar="DEG",
        unit="°",
        check=between(0, 90),
        help="Largest tilt angle in degrees, in both directions",
    )
    step_deg: float = option(
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
