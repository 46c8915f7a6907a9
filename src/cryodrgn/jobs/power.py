"""Power of a particle set: which motions and states it could show."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cryodrgn.jobs.options import (
    BoxOptions,
    DataOptions,
    DeviceOptions,
    TableOptions,
    data_config,
)
from cryodrgn.jobs.train_linear import TrainLinear
from cryodrgn.settings import (
    EVEN,
    POSITIVE,
    SEED,
    Job,
    at_least,
    between,
    each,
    function_of,
    option,
    positional,
    same_as,
    settings,
)

if TYPE_CHECKING:
    from cryodrgn.rundir import SimulationFiles
    from cryodrgn.workflow.planted import Judgement
    from cryodrgn.workflow.power import PowerSettings
    from cryodrgn.workflow.power_report import PowerResult

MOTION = "Motion"


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
    seed: int = option("--seed", default=0, check=SEED, help="Random seed")
    box_size: int | None = option(
        "-D",
        default=None,
        metavar="BOX",
        unit="px",
        check=EVEN,
        help="Fourier-crop images to this box size on the fly",
        default_words="as they are",
    )
    consensus: Path | None = option(
        "--consensus",
        default=None,
        metavar="MRC",
        help="Consensus map in the frame of the poses",
        default_words="backprojection of the particles",
    )
    shares: tuple[float, ...] = option(
        "--shares",
        default=(0.5, 0.2, 0.05),
        nargs="+",
        metavar="SHARE",
        check=each(between(0, 1)),
        help="Shares of the particles in the minor state; the first is that of the sentence",
    )
    noise: Literal["residuals", "spectrum"] = option(
        "--noise",
        default="residuals",
        help="Noise of planted images: the images themselves, or drawn from their spectrum",
    )
    num_trials: int = option(
        "--trials",
        default=12,
        metavar="N",
        check=at_least(0),
        help="Planted sets that are fitted where the forecast is least sure; 0 relies on it",
    )
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
    models: tuple[Path, ...] = option(
        "--model",
        default=(),
        group=MOTION,
        nargs="+",
        metavar="FILE",
        help="Two states as maps (.mrc) or atomic models (.pdb, .cif), or one model with "
        "--chains",
    )
    chains: tuple[str, ...] = option(
        "--chains",
        default=(),
        group=MOTION,
        nargs="+",
        metavar="CHAIN",
        help="Chains of the model that turn about where they touch the others",
    )
    mask: Path | None = option(
        "--mask",
        default=None,
        group=MOTION,
        metavar="MRC",
        help="Mask of a domain of the consensus that turns about where it touches the rest",
        default_words="the end of the molecule",
    )
    domain_kda: float | None = option(
        "--domain-kda",
        default=None,
        group=MOTION,
        metavar="KDA",
        unit="kDa",
        check=POSITIVE,
        help="Mass of the end of the molecule that turns, if nothing else says what does",
        default_words="a quarter of the molecule, at most 30",
    )
    axis: tuple[float, float, float] | None = option(
        "--axis",
        default=None,
        group=MOTION,
        metavar=("X", "Y", "Z"),
        help="Direction of the axis about which a domain turns",
        default_words="perpendicular to the line from the rest to the domain",
    )
    sizes: tuple[float, ...] | None = option(
        "--motions",
        default=None,
        group=MOTION,
        nargs="+",
        metavar="Å",
        unit="Å",
        check=each(POSITIVE),
        help="Sizes of the motion: path of the domain's centre of mass, root mean square path "
        "of atoms, or shares of the way between two maps",
        default_words="those of 5 10 20 30 that the domain can go, or quarters of the way",
    )
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

        return PowerSettings(
            data=data_config(self.particles, self, self, box_size=self.box_size),
            motion=MotionSettings(
                models=self.models,
                chains=self.chains,
                mask=self.mask,
                domain_kda=self.domain_kda,
                axis=self.axis,
                sizes=self.sizes,
            ),
            fit=FitSettings(
                num_components=self.num_components,
                radius=self.radius,
                fit_images=self.fit_images,
                seed=self.seed,
            ),
            shares=self.shares,
            consensus=self.consensus,
            noise=self.noise,
            num_trials=self.num_trials,
            on_disk=self.lazy or None,
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
