"""Power of a particle set: which motions and states it could show."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cryodrgn.data.options import PreprocessingOptions
from cryodrgn.jobs.options import BoxOptions, DataOptions, DeviceOptions, data_config
from cryodrgn.jobs.train_linear import TrainLinear
from cryodrgn.particles.options import TableOptions
from cryodrgn.settings import (
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
from cryodrgn.workflow.options import MotionOptions, PowerOptions

if TYPE_CHECKING:
    from cryodrgn.rundir import SimulationFiles
    from cryodrgn.workflow.planted import Judgement
    from cryodrgn.workflow.power import PowerSettings
    from cryodrgn.workflow.power_report import PowerResult


@settings
class Power(
    BoxOptions,
    DeviceOptions,
    DataOptions,
    TableOptions,
    Job["PowerResult | SimulationFiles | Judgement"],
):
    """Say which motions and states of a set would be seen, and which would not."""

    particles: Path = positional(help="Input particles (.mrcs, .star, .cs, or .txt)")
    outdir: Path = option(
        "-o",
        "--outdir",
        default=Path("power"),
        kw_only=False,
        help="Folder for power.html, power.csv and power.json",
    )
    seed: int = same_as(SeedOptions, "seed")
    box_size: int | None = same_as(PreprocessingOptions, "box_size", group=None)
    consensus: Path | None = same_as(PowerOptions, "consensus")
    shares: tuple[float, ...] = same_as(PowerOptions, "shares")
    noise: Literal["residuals", "spectrum"] = same_as(PowerOptions, "noise")
    num_trials: int = same_as(PowerOptions, "num_trials")
    plant: bool = option(
        "--plant",
        default=False,
        help="Instead of a report, write the images with the largest motion planted in the "
        "first of the shares, as a set of its own in OUTDIR/planted, to train on",
    )
    judged: Path | None = option(
        "--judge",
        default=None,
        metavar="RUN",
        help="Instead of a report, compare a run on a planted set with what was planted; the "
        "particles are the .star file of that set",
    )
    models: tuple[Path, ...] = same_as(MotionOptions, "models")
    chains: tuple[str, ...] = same_as(MotionOptions, "chains")
    mask: Path | None = same_as(MotionOptions, "mask")
    domain_kda: float | None = same_as(MotionOptions, "domain_kda")
    axis: tuple[float, float, float] | None = same_as(MotionOptions, "axis")
    sizes: tuple[float, ...] | None = same_as(MotionOptions, "sizes")
    num_components: int = same_as(
        TrainLinear,
        "num_components",
        default=8,
        help="Number of components for train_linear",
    )
    radius: int = same_as(
        TrainLinear,
        "radius",
        default=16,
        help="Radius in Fourier pixels up to which the linear model uses the images",
    )
    fit_images: int = same_as(
        TrainLinear,
        "fit_images",
        default=50_000,
        check=at_least(16),
        help="Largest number of images that the linear model is fitted to",
    )

    def asked(self) -> "PowerSettings":
        """The questions."""
        from cryodrgn.workflow.power import PowerSettings
        from cryodrgn.workflow.power_scene import FitSettings, MotionSettings

        return part_of(
            self,
            PowerSettings,
            {
                "data": data_config(self, self.particles),
                "motion": part_of(self, MotionSettings),
                "fit": part_of(self, FitSettings),
                "on_disk": self.lazy or None,
            },
        )

    def run(self) -> "PowerResult | SimulationFiles | Judgement":
        """Write the report, or a planted set, or the judgement of a run on one.

        Raises:
            CryodrgnError: The settings or the data cannot be used.
        """
        from cryodrgn.devices import choose_device
        from cryodrgn.linear.runner import with_double_precision
        from cryodrgn.runs.run import open_run
        from cryodrgn.workflow.planted import judge_run, plant_in
        from cryodrgn.workflow.power_report import report_power

        if self.judged is not None:
            return judge_run(open_run(self.judged), self.particles, self.outdir)
        device = with_double_precision(choose_device(self.device))
        if self.plant:
            return plant_in(self.asked(), self.outdir, device, screen=self.screen)
        return report_power(self.asked(), self.outdir, device, screen=self.screen)


power = function_of(Power)
