"""The report on power: a sentence, a page, a table, and the numbers for programs."""

import csv
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from cryodrgn.analysis.power_plots import Curve, plot_detection, plot_resolutions
from cryodrgn.analysis.report import HtmlReport
from cryodrgn.counts import counted
from cryodrgn.io.atomic import atomic_path, make_folder
from cryodrgn.linear.config import LinearConfig, require_radius, tell_radius
from cryodrgn.linear.detection import Trial
from cryodrgn.linear.halves import SIGNAL_THRESHOLD
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.preflight.plan import require_output
from cryodrgn.preflight.plans import power_plan
from cryodrgn.preflight.screening import (
    Screen,
    run_excluding_bad_images,
    screen_particles,
)
from cryodrgn.rundir import PowerFiles, ScreeningFiles
from cryodrgn.workflow.power import (
    COUNTS,
    Point,
    Power,
    PowerSettings,
    least_particles,
    measure_power,
    require_particles,
    sizes_between,
    smallest_found,
)
from cryodrgn.workflow.power_scene import require_optics, require_shares

logger = logging.getLogger(__name__)

FOUND, NOT_FOUND = 0.95, 0.05
SHARES_DRAWN = np.geomspace(0.01, 0.5, 24)
# A loss of the chance of detection by the views that is worth a sentence.
WORTH_SAYING = 0.1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PowerResult:
    """The answer on the power of a set, and its files.

    Attributes:
        sentence: The answer in words.
        power: The answer in numbers.
        files: The files.
    """

    sentence: str
    power: Power
    files: PowerFiles


def report_power(
    settings: PowerSettings, output: Path, device: torch.device, *, screen: Screen = "sample"
) -> PowerResult:
    """Say what a set can show, on a page, as a table and in one sentence.

    Args:
        settings: What is asked.
        output: Folder for ``power.html``, ``power.csv`` and ``power.json``.
        device: Where to compute.
        screen: Which images are screened before; bad ones are left out.

    Raises:
        CryodrgnError: The set cannot be used, or the motion does not fit into it.
    """
    particles = settings.data.open()
    require_radius(particles.box_size, particles.source)
    require_optics(particles)
    require_particles(particles, settings.fit)
    require_shares(settings.shares, len(particles))
    require_output(output)

    files = ScreeningFiles.beside(PowerFiles(output).page)

    def screened(how: Screen) -> ParticleSet:
        return screen_particles(particles, files, how)

    def work(kept: ParticleSet) -> PowerResult:
        _announce(settings, kept, output)
        power = measure_power(settings, kept, device, output)
        make_folder(output)
        result = PowerResult(sentence=sentence(power), power=power, files=PowerFiles(output))
        _write_table(result)
        _write_json(result)
        _write_page(result)
        logger.info("%s\nThe page is %s", result.sentence, result.files.page)
        return result

    return run_excluding_bad_images(screened, work, screen, files)


def _announce(settings: PowerSettings, particles: ParticleSet, output: Path) -> None:
    """Say what the report will take, and refuse it where there is no room."""
    fit = settings.fit
    config = LinearConfig(
        data=settings.data,
        num_components=fit.num_components,
        radius=fit.radius,
        fit_images=fit.fit_images,
        seed=fit.seed,
    )
    require_particles(particles, fit)
    power_plan(config, particles, settings.num_trials, output).announce("the report")
    tell_radius(fit.radius, particles.box_size)


def sentence(power: Power) -> str:
    """The answer in one sentence, for the first of the shares; forecasts are called so."""
    motions, share = power.scene.motions, power.settings.shares[0]
    found = smallest_found(power, share, FOUND)
    lost = smallest_found(power, share, NOT_FOUND)
    largest = motions.sizes[-1]
    beginning = f"With these {power.count:,} particles"
    if power.count < len(power.scene.particles):
        beginning += f" (of {len(power.scene.particles):,}, the number that is fitted)"
    what = f"of {motions.words} in {100 * share:g} % of them"
    if found is None:
        chance = power.probability(Point(size=largest, share=share, count=power.count))
        if chance <= NOT_FOUND:
            words = f"no motion up to {motions.named(largest)} {what} is found"
            return f"{beginning} {words}{'' if power.trials else _often(power, chance)}."
        words = f"a motion of {motions.named(largest)} {what} is found{_often(power, chance)}"
        return f"{beginning} {words}, and no smaller one more often."
    words = (
        f"a motion of {motions.named(_rounded(found))} {what} is found{_often(power, FOUND)}"
    )
    if lost is None or lost <= sizes_between(power)[0]:
        return f"{beginning} {words}."
    seldom = "in next to none" if power.trials else f"hardly ever{_often(power, NOT_FOUND)}"
    return f"{beginning} {words}; below {motions.named(_rounded(lost))} {seldom}."


def _often(power: Power, chance: float) -> str:
    """A chance of detection: of trials, or a forecast where none were made."""
    return (
        f" in {_percent(chance)} of trials"
        if power.trials
        else f" (forecast: {_percent(chance)})"
    )


def _rounded(size: float) -> float:
    return float(f"{size:.2g}")


def _percent(chance: float) -> str:
    return f"{100 * chance:.0f} %"


def _write_table(result: PowerResult) -> None:
    power = result.power
    names = (
        "motion", "share", "particles", "probability", "low", "high", "half_correlation",
        "edge_ratio", "probability_uniform_views", "trials", "detected",
    )  # fmt: skip
    with atomic_path(result.files.table) as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for point in _points(power):
            expected = power.forecast(point)
            trials = [trial for tried, trial in power.trials if tried == point]
            numbers = (
                power.probability(point),
                power.probability(point, -1.645),
                power.probability(point, 1.645),
                expected.correlation,
                expected.edge,
                power.probability(point, uniform=True),
            )
            detected = sum(trial.is_detected for trial in trials)
            writer.writerow(
                [f"{point.size:g}", f"{point.share:g}", point.count]
                + [f"{number:.4f}" for number in numbers]
                + [len(trials), detected]
            )


def _points(power: Power) -> list[Point]:
    counts = [round(part * power.count) for part in COUNTS]
    least = least_particles(power.settings.fit)
    return [
        Point(size=size, share=share, count=count)
        for size in power.scene.motions.sizes
        for share in power.settings.shares
        for count in counts
        if count >= least
    ]


def _write_json(result: PowerResult) -> None:
    power = result.power
    content = {
        "sentence": result.sentence,
        "particles": len(power.scene.particles),
        "fitted": power.count,
        "motion": power.scene.motions.words,
        "unit": power.scene.motions.unit or "share of the way",
        "own_components": power.scene.num_own,
        "noise": power.noise,
        "calibration": asdict(power.calibration),
        "chances": [
            asdict(point) | {"probability": power.probability(point)}
            for point in _points(power)
        ],
        "trials": [
            {"planted": None if point is None else asdict(point)}
            | asdict(trial)
            | {"detected": trial.is_detected}
            for point, trial in power.trials
        ],
        "resolutions": {
            f"{share:g}": {
                "views": _finite(asdict(power.resolution(share))),
                "uniform": _finite(asdict(power.resolution(share, uniform=True))),
            }
            for share in (1.0, *power.settings.shares)
        },
    }
    with atomic_path(result.files.json) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n")


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


def _write_page(result: PowerResult) -> None:
    power, settings = result.power, result.power.settings
    motions, share = power.scene.motions, settings.shares[0]
    report = HtmlReport("Would it have been seen?")
    report.verdict(result.sentence)
    report.paragraph(_method(power))
    report.heading("Detection against the size of the motion")
    report.figure(
        plot_detection([_against_size(power, part) for part in settings.shares], _axis(power)),
        f"Probability that train_linear says a component carries signal, for {power.count:,} "
        "particles, by the share of the minor state. Curves are forecasts with their 90 % "
        "interval; circles are trials at this number of particles, with the 68 % interval of "
        "the share that detects the motion.",
    )
    report.heading("Detection against the number of particles")
    report.figure(
        plot_detection(
            [_against_count(power, size, share) for size in motions.sizes],
            "particles",
            power.count,
        ),
        f"For {100 * share:g} % of the particles in the minor state. The line is this set.",
    )
    report.heading("Detection against the share of the state")
    report.figure(
        plot_detection(
            [_against_share(power, size) for size in motions.sizes],
            "share of the minor state",
            share,
            "share of the sentence",
        ),
        f"For {power.count:,} particles.",
    )
    _add_table(report, power)
    _add_views(report, power)
    _add_trials(report, power)
    report.write(result.files.page)


def _axis(power: Power) -> str:
    return "motion (Å)" if power.scene.motions.unit else "share of the way between the states"


def _method(power: Power) -> str:
    scene, fit = power.scene, power.settings.fit
    own = (
        f"{counted(scene.num_own, 'component')} that the linear model finds in the set itself "
        f"{'was' if scene.num_own == 1 else 'were'} "
        "removed from the images first. "
        if scene.num_own
        else ""
    )
    noise = (
        "the images themselves, to which the predicted difference of the states is added"
        if power.noise == "residuals"
        else "noise drawn from the spectrum of the images, on predictions of the consensus"
    )
    return (
        f"Motion: {scene.motions.words}. Found means that a linear model of "
        f"{counted(fit.num_components, 'component')} up to a radius of {fit.radius} says "
        "that a component carries signal: its "
        f"volumes from two half sets correlate by more than {SIGNAL_THRESHOLD:g}. The forecast "
        "is the correlation that follows from the signal-to-noise ratio of the difference in "
        "these views, with this CTF and noise, relative to the edge of the noise of a "
        f"covariance. Trials have {noise}; they shift the forecast by what they find. {own}"
        "Poses are taken to be right, contrasts to be equal, and particles to be in one of two "
        "states: errors of poses lower the chances, and continuous motions of the same spread "
        "have nearly the same."
    )


def _chances(
    power: Power, label: str, places: Iterable[float], point: Callable[[float], Point]
) -> Curve:
    """A curve of forecasts, and the trials at its points."""
    places = [float(place) for place in places]
    points = [point(place) for place in places]
    values, low, high = (
        np.array([power.probability(at, deviations) for at in points])
        for deviations in (None, -1.645, 1.645)
    )
    return Curve(label=label, places=np.array(places), values=values, low=low, high=high)


def _with_trials(power: Power, curve: Curve, place: Callable[[Point], float | None]) -> Curve:
    found: dict[float, list[Trial]] = {}
    for point, trial in power.trials:
        at = None if point is None else place(point)
        if at is not None:
            found.setdefault(at, []).append(trial)
    trials = [
        (at, sum(trial.is_detected for trial in some), len(some)) for at, some in found.items()
    ]
    return Curve(
        label=curve.label,
        places=curve.places,
        values=curve.values,
        low=curve.low,
        high=curve.high,
        trials=sorted(trials),
    )


def _against_size(power: Power, share: float) -> Curve:
    def point(size: float) -> Point:
        return Point(size=float(size), share=share, count=power.count)

    def place(tried: Point) -> float | None:
        fits = tried.share == share and tried.count == power.count
        return tried.size if fits else None

    sizes = sizes_between(power)
    return _with_trials(
        power, _chances(power, f"{100 * share:g} % of particles", sizes, point), place
    )


def _against_count(power: Power, size: float, share: float) -> Curve:
    def point(count: float) -> Point:
        return Point(size=size, share=share, count=round(count))

    def place(tried: Point) -> float | None:
        return float(tried.count) if (tried.size, tried.share) == (size, share) else None

    least = max(COUNTS[0] * power.count, least_particles(power.settings.fit))
    counts = np.geomspace(least, COUNTS[-1] * power.count, 25)
    label = power.scene.motions.named(size)
    return _with_trials(power, _chances(power, label, counts, point), place)


def _against_share(power: Power, size: float) -> Curve:
    def point(share: float) -> Point:
        return Point(size=size, share=float(share), count=power.count)

    def place(tried: Point) -> float | None:
        fits = tried.size == size and tried.count == power.count
        return tried.share if fits else None

    label = power.scene.motions.named(size)
    return _with_trials(power, _chances(power, label, SHARES_DRAWN, point), place)


def _add_table(report: HtmlReport, power: Power) -> None:
    report.heading("In numbers")
    motions, shares = power.scene.motions, power.settings.shares
    rows = [["size", *(f"{100 * share:g} % in the minor state" for share in shares)]]
    for size in motions.sizes:
        cells = []
        for share in shares:
            point = Point(size=size, share=share, count=power.count)
            low, high = (power.probability(point, side) for side in (-1.645, 1.645))
            ratio = power.forecast(point).edge ** 0.5
            cells.append(
                f"{_percent(power.probability(point))} ({_percent(low)} to {_percent(high)}); "
                f"{ratio:.1f} × the edge of the noise"
            )
        rows.append([motions.named(size), *cells])
    report.table(rows)


def _add_views(report: HtmlReport, power: Power) -> None:
    report.heading("Views: resolution of the states, and detection")
    shares = [*SHARES_DRAWN.tolist(), 1.0]
    own = [power.resolution(share) for share in shares]
    uniform = [power.resolution(share, uniform=True).mean for share in shares]
    report.paragraph(views_in_words(power))
    report.figure(
        plot_resolutions(shares, [(r.mean, r.best, r.worst) for r in own], uniform),
        "Resolution that a state's map reaches if all of its particles are told apart rightly: "
        "FSC of half maps 0.143, over all directions, and in cones of 25° about the best and "
        "the worst one.",
    )
    share = power.settings.shares[0]
    rows = [["size", "these views", "as many uniform views"]]
    for size in power.scene.motions.sizes:
        point = Point(size=size, share=share, count=power.count)
        both = [power.probability(point, uniform=is_uniform) for is_uniform in (False, True)]
        rows.append([power.scene.motions.named(size), *map(_percent, both)])
    report.paragraph(f"Detection with {100 * share:g} % of the particles in the minor state:")
    report.table(rows)


def views_in_words(power: Power) -> str:
    """Effect of the views on detection and resolution, in words."""
    empty, share = power.views.coverage.empty_share(), power.settings.shares[0]
    own, uniform = (power.resolution(share, uniform=choice) for choice in (False, True))
    points = [
        Point(size=size, share=share, count=power.count) for size in power.scene.motions.sizes
    ]
    change = [power.probability(p, uniform=True) - power.probability(p) for p in points]
    largest = int(np.argmax(np.abs(change)))
    words = [
        (
            f"{_percent(empty)} of Fourier space is reached by next to no view (uniform views: "
            f"{_percent(power.uniform.coverage.empty_share())})"
        ),
        (
            f"a state of {100 * share:g} % reaches {_angstroms(own.mean)}, from "
            f"{_angstroms(own.best)} to {_angstroms(own.worst)} by direction; as many uniform "
            f"views {_angstroms(uniform.mean)}"
        ),
    ]
    if abs(change[largest]) >= WORTH_SAYING:
        named = power.scene.motions.named(points[largest].size)
        side = "lower" if change[largest] > 0 else "raise"
        words.append(
            f"the views {side} the chance to find a motion of {named} by "
            f"{100 * abs(change[largest]):.0f} points of a hundred"
        )
    else:
        words.append("the views change no chance of detection by more than a tenth")
    text = "; ".join(words) + "."
    return text[0].upper() + text[1:]


def _angstroms(length: float) -> str:
    return f"{length:.1f} Å" if np.isfinite(length) else "no resolution"


def _add_trials(report: HtmlReport, power: Power) -> None:
    report.heading("Trials")
    if not power.trials:
        report.paragraph("None were asked for: all probabilities are forecasts.")
        return
    empty = [trial for point, trial in power.trials if point is None]
    alarms = sum(trial.is_detected for trial in empty)
    others = "No other trial was made: all chances of motions are forecasts."
    if len(empty) < len(power.trials):
        others = "Others planted what the forecast was least sure of."
    report.paragraph(
        f"With nothing planted, {alarms} of {counted(len(empty), 'set was', 'sets were')} said "
        f"to carry signal. {others}"
    )
    rows = [["planted", "particles", "half-set correlation: forecast", "found", "detected"]]
    for point, trial in power.trials:
        if point is None:
            what, count = "nothing", "all that are fitted"
        else:
            named = power.scene.motions.named(point.size)
            what, count = f"{named}, {100 * point.share:g} %", f"{point.count:,}"
        rows.append(
            [what, count, f"{trial.expected:.2f}", f"{trial.found:.2f}",
             "yes" if trial.is_detected else "no"]
        )  # fmt: skip
    report.table(rows)
