"""A motion planted in the images of a set, and the judgement of a run on them.

The planted set is a folder as of a simulation: stack, STAR file, pickles, the label of every
particle and the maps of both states. Its images are those of the set as they are prepared, in
units of their standard deviation and centred, with the predicted difference of the states on
the images of the minor one.
"""

import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from cryodrgn.data.batches import generator_at
from cryodrgn.data.preprocessing import exposure_parameters
from cryodrgn.errors import ConfigError, InputFileError, ShapeMismatchError
from cryodrgn.fourier.shells import fourier_shell_correlation
from cryodrgn.fourier.transforms import images_from_lattice
from cryodrgn.imaging.masks import soft_sphere
from cryodrgn.io.arrays import read_npy
from cryodrgn.io.atomic import atomic_path, make_folder
from cryodrgn.io.cryodrgn_pickle import save_ctf, save_poses
from cryodrgn.io.mrc import read_volume, stack_writer, write_volume
from cryodrgn.io.relion_write import write_particle_star
from cryodrgn.io.text import read_yaml, yaml_text
from cryodrgn.linear.config import require_radius
from cryodrgn.linear.planting import plant
from cryodrgn.particles.optics import CORRECTIONS
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.particles.poses import Poses
from cryodrgn.preflight.plan import require_output
from cryodrgn.preflight.screening import (
    Screen,
    run_excluding_bad_images,
    screen_particles,
)
from cryodrgn.progress import Progress
from cryodrgn.rundir import PowerFiles, ScreeningFiles, SimulationFiles
from cryodrgn.runs.run import Run
from cryodrgn.workflow.power import PowerSettings, require_particles
from cryodrgn.workflow.power_scene import Scene, open_scene, require_optics, require_shares

logger = logging.getLogger(__name__)

PARTICLES_TOGETHER = 500
# Area under the curve and correlation of differences of a motion that was brought back.
LEAST_AUC, LEAST_CORRELATION = 0.75, 0.5
LEAST_OF_A_STATE = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """Comparison of a run with what was planted in its images.

    Attributes:
        auc: Area under the ROC curve of a linear discriminant of the latents, found on one half
            of the particles and tried on the other; 0.5 is chance.
        correlation: Correlation of the discriminant with the planted label.
        difference_correlation: Correlation of the difference of the run's volumes of the two
            states with the planted difference.
        areas: Mean Fourier shell correlation, over all shells, of the run's volume of either
            state with the planted one.
        forecast: Chance that was forecast for the linear model to find the planted motion in
            such a share of the particles, from a report beside the judgement; None without.
    """

    auc: float
    correlation: float
    difference_correlation: float
    areas: tuple[float, float]
    forecast: float | None = None

    @property
    def sentence(self) -> str:
        """The judgement in words."""
        told = self.auc >= LEAST_AUC
        seen = self.difference_correlation >= LEAST_CORRELATION
        if told and seen:
            words = "the planted motion was brought back"
        elif told:
            words = (
                "the latents tell the planted states apart, but the volumes show another motion"
            )
        elif seen:
            words = "the volumes show the planted motion, but few particles are told apart"
        else:
            words = "the planted motion was not brought back"
        return (
            f"{words}: area under the ROC curve {self.auc:.2f} (chance 0.5), correlation of "
            f"the latents with the planted states {self.correlation:.2f}, of the difference of "
            f"the volumes with the planted one {self.difference_correlation:.2f}"
            f"{self._chance()}; the set's own components are still in the planted images, and "
            "components of a run may be used up by them"
        )

    def _chance(self) -> str:
        if self.forecast is None:
            return ""
        return (
            "; the chance forecast for train_linear to find a motion of this size in this "
            f"share of the particles was {100 * self.forecast:.0f} %"
        )


def require_plain(particles: ParticleSet) -> None:
    """Refuse sets whose images a plain stack with a CTF does not describe.

    Raises:
        ConfigError: There are tilt series, weights or magnifications.
    """
    images = particles.images
    terms = {
        "tilt series": particles.offsets is not None,
        "doses, tilts or B factors": exposure_parameters(images) is not None,
        "matrices of the magnification": images.magnifications is not None,
    }
    found = [name for name, is_there in terms.items() if is_there]
    if found:
        msg = (
            f"{particles.source} has {found[0]}, which a planted stack cannot carry; leave out "
            "`plant`, the report on power accounts for them"
        )
        raise ConfigError(msg)


def plant_in(
    settings: PowerSettings, output: Path, device: torch.device, *, screen: Screen = "sample"
) -> SimulationFiles:
    """Write the images of a set with the largest of the motions planted, as a set of its own.

    Args:
        settings: What is asked; the first of the shares is planted.
        output: Folder in which ``planted`` is written.
        device: Where to compute.
        screen: Which images are screened before; bad ones are left out.

    Raises:
        CryodrgnError: The set cannot be used, or the motion does not fit into it.
    """
    particles = settings.data.open()
    require_radius(particles.box_size, particles.source)
    require_optics(particles)
    require_plain(particles)
    require_particles(particles, settings.fit)
    share = require_shares(settings.shares, len(particles))[0]
    require_output(output)

    files = ScreeningFiles.beside(PowerFiles(output).page)

    def screened(how: Screen) -> ParticleSet:
        return screen_particles(particles, files, how)

    def work(kept: ParticleSet) -> SimulationFiles:
        require_particles(kept, settings.fit)
        drawn_minor(len(kept), share, settings.fit.seed)
        scene = open_scene(
            settings.data,
            kept,
            settings.motion,
            settings.fit,
            device,
            output,
            settings.consensus,
            on_disk=settings.on_disk,
            without_own=False,
        )
        folder = PowerFiles(output).planted.path
        return write_planted(scene, share, scene.motions.sizes[-1], folder, settings.fit.seed)

    return run_excluding_bad_images(screened, work, screen, files)


def drawn_minor(count: int, share: float, seed: int) -> Bool[torch.Tensor, " particles"]:
    """The particles that are moved, drawn at random.

    Raises:
        ShapeMismatchError: Fewer than two would be moved, or left as they are: no run on them
            can be judged.
    """
    is_minor = torch.rand(count, generator=generator_at(seed, (8,))) < share
    moved = int(is_minor.sum())
    if not LEAST_OF_A_STATE <= moved <= count - LEAST_OF_A_STATE:
        msg = (
            f"{moved} of {count} particles would be moved, but a run can only be judged with "
            f"{LEAST_OF_A_STATE} particles of either state; take more particles, or another "
            "first share of `shares`"
        )
        raise ShapeMismatchError(msg)
    return is_minor


def write_planted(
    scene: Scene, share: float, size: float, output: Path, seed: int
) -> SimulationFiles:
    """Write the images of a set with a motion planted in some of them.

    Args:
        scene: The set, and what moves.
        share: Share of the particles that are moved, drawn at random.
        size: Of the motion, one of those of the scene.
        output: Folder of the planted set.
        seed: Of the draw.
    """
    files = SimulationFiles(output)
    count, box_size = len(scene.images), scene.images.box_size
    pixel_size = scene.particles.require_pixel_size()
    is_minor = drawn_minor(count, share, seed)
    number = scene.motions.sizes.index(size)
    difference = scene.motions.differences[number]
    make_folder(output)
    _write_stack(scene, is_minor, difference, files.particles, pixel_size)
    states = (scene.consensus, scene.consensus + difference)
    for state, volume in enumerate(states):
        write_volume(files.state(state), volume.numpy(), pixel_size)
    labels = is_minor.numpy().astype(np.int64)
    with atomic_path(files.labels) as partial, partial.open("wb") as file:
        np.save(file, labels)
    _write_metadata(scene.particles, labels, files, box_size, pixel_size)
    content = {"planted": {"motion": scene.motions.words, "size": size, "share": share}}
    content["planted"] |= {"unit": scene.motions.unit or "share of the way", "seed": seed}
    with atomic_path(files.settings) as partial:
        partial.write_text(yaml_text(content))
    logger.info(
        "planted %s of %s in %d of %d particles: %s; train on it, then judge the run with "
        "cryodrgn power %s --judge RUN",
        scene.motions.named(size),
        scene.motions.words,
        int(is_minor.sum()),
        count,
        files.star,
        files.star,
    )
    return files


def _write_stack(
    scene: Scene,
    is_minor: Bool[torch.Tensor, " particles"],
    difference: Float[torch.Tensor, "box box box"],
    path: Path,
    pixel_size: float,
) -> None:
    images = scene.images
    lattice = images.images.lattice
    with (
        stack_writer(path, images.box_size, pixel_size) as writer,
        Progress(len(images), "planting") as progress,
    ):
        for rows in torch.arange(len(images)).split(PARTICLES_TOGETHER):
            planted = plant(
                images, rows, is_minor[rows], difference, scene.background, scene.radius
            )
            # Beyond the last whole shell the images stay as they are.
            whole = images.images.batch(rows).images.clone()
            whole[:, : planted.values.shape[1]] = planted.values
            writer.append(images_from_lattice(whole.cpu(), lattice).numpy())
            progress.advance(len(rows))


def _write_metadata(
    particles: ParticleSet,
    labels: Int[np.ndarray, " particles"],
    files: SimulationFiles,
    box_size: int,
    pixel_size: float,
) -> None:
    table = particles.images
    ctf = table.ctf
    assert ctf is not None, "sets without CTF are refused"
    # Images are prepared: centred, without antisymmetric aberrations, whitened where they were
    # multiplied by their CTF.
    correction = None
    if ctf.correction is not None:
        correction = np.minimum(ctf.correction, CORRECTIONS["flipped"])
    ctf = replace(ctf, odd_zernike=None, correction=correction)
    poses = Poses(
        rotations=table.require_poses().rotations,
        shifts=np.zeros((len(table), 2), dtype=np.float32),
        source=str(files.star),
    )
    sizes = np.full(len(table), pixel_size)
    save_poses(files.poses, poses, np.array([box_size * pixel_size]))
    save_ctf(files.ctf, ctf, box_size, np.array([pixel_size]))
    write_particle_star(
        files.star,
        [f"{number:06d}@{files.particles.name}" for number in range(1, len(table) + 1)],
        box_size=box_size,
        pixel_sizes=sizes,
        poses=poses,
        ctf=ctf,
        more={"rlnClassNumber": (labels + 1).tolist()},
    )


def judge_run(run: Run, star: Path, output: Path) -> Judgement:
    """Compare a run with what was planted in its images.

    Args:
        run: The run.
        star: The STAR file of the planted set, with labels and states beside it.
        output: Folder for ``judgement.json``; of a report there, or beside the planted set,
            the chance is told that was forecast for what is planted.

    Raises:
        InputFileError: The set is not a planted one, or the run was trained on another.
        ShapeMismatchError: The run has other particles.
    """
    files = SimulationFiles(star.parent)
    labels = _planted_labels(files, star)
    _require_trained_on(run, files)
    latents = run.latents()
    rows = run.original_rows(len(latents))
    if rows.max(initial=0) >= len(labels):
        msg = (
            f"{run.path} has {len(latents)} particles, but {star} lists {len(labels)}; judge a "
            "run on the planted set itself"
        )
        raise ShapeMismatchError(msg)
    is_minor = labels[rows] == 1
    if not LEAST_OF_A_STATE <= is_minor.sum() <= len(is_minor) - LEAST_OF_A_STATE:
        msg = f"{run.path} has fewer than two particles of one of the planted states"
        raise ShapeMismatchError(msg)
    scores = discriminant(latents, is_minor)
    decoded = run.volumes(_typical(latents, is_minor), device="cpu")
    planted = np.stack([read_volume(files.state(number))[0] for number in range(2)])
    correlation, areas = _compared(decoded, planted)
    found = Judgement(
        auc=area_under_curve(scores, is_minor),
        correlation=float(np.corrcoef(scores, is_minor)[0, 1]),
        difference_correlation=correlation,
        areas=areas,
        forecast=_forecast(files, (output, star.parent.parent)),
    )
    make_folder(output)
    with atomic_path(PowerFiles(output).judgement) as partial:
        content = {"sentence": found.sentence, "run": str(run.path)} | asdict(found)
        partial.write_text(json.dumps(content, indent=1) + "\n")
    logger.info("%s", found.sentence)
    return found


def _forecast(files: SimulationFiles, folders: tuple[Path, ...]) -> float | None:
    """Chance forecast for the planted motion in the first report that tells it."""
    planted = read_yaml(files.settings)["planted"]
    for folder in folders:
        path = PowerFiles(folder).json
        if not path.is_file():
            continue
        try:
            content = json.loads(path.read_text())
            if content["motion"] != planted["motion"]:
                continue
            for row in content["chances"]:
                same = (row["count"], row["size"], row["share"]) == (
                    content["fitted"],
                    planted["size"],
                    planted["share"],
                )
                if same:
                    return float(row["probability"])
        except (ValueError, KeyError, TypeError):
            logger.warning("%s is no report of cryodrgn power: its forecast is not read", path)
    return None


def _planted_labels(files: SimulationFiles, star: Path) -> Int[np.ndarray, " particles"]:
    """State of every particle of a planted set.

    Raises:
        InputFileError: Nothing was planted in the set, or its files are incomplete.
    """
    needed = (files.settings, files.labels, files.state(0), files.state(1))
    missing = [path.name for path in needed if not path.is_file()]
    if missing:
        msg = (
            f"{star} is no planted set: {', '.join(missing)} is not beside it; "
            "cryodrgn power … --plant writes one"
        )
        raise InputFileError(msg)
    content = read_yaml(files.settings)
    if not isinstance(content, dict) or "planted" not in content:
        msg = (
            f"{star} is no planted set: {files.settings} does not say what was planted; "
            "cryodrgn power … --plant writes one"
        )
        raise InputFileError(msg)
    labels = read_npy(files.labels)
    if labels.ndim != 1 or not np.isin(labels, (0, 1)).all():
        msg = (
            f"{files.labels} must hold 0 or 1 for every particle of a planted set, but it does "
            "not; plant the set again"
        )
        raise InputFileError(msg)
    return labels


def _require_trained_on(run: Run, files: SimulationFiles) -> None:
    """Refuse a run on other images than those of the planted set.

    Raises:
        InputFileError: Its config names other particles, or none.
    """
    named = run.settings.get("dataset_args", {}).get("particles")
    own = (files.star, files.particles)
    if named is not None and Path(named).resolve() in {path.resolve() for path in own}:
        return
    ends = {path.resolve().parts[-2:] for path in own}
    if named is not None and not Path(named).exists() and Path(named).parts[-2:] in ends:
        logger.warning(
            "%s was trained on %s, which is not there: taken to be %s in another place",
            run.path,
            named,
            files.path,
        )
        return
    msg = (
        f"{run.path} was trained on {named or 'particles that its config does not name'}, not "
        f"on the planted images: judge a run on {files.star} or {files.particles}"
    )
    raise InputFileError(msg)


def discriminant(
    latents: Float[np.ndarray, "particles z"], is_minor: Bool[np.ndarray, " particles"]
) -> Float[np.ndarray, " particles"]:
    """Linear discriminant (Fisher 1936), of each half of the particles by the other half."""
    values = latents.astype(np.float64)
    scores = np.zeros(len(values))
    half = np.arange(len(values)) % 2 == 0
    for fitted in (half, ~half):
        groups = [values[fitted & (is_minor == side)] for side in (False, True)]
        if min(len(group) for group in groups) < 2:
            continue
        spread = np.zeros((values.shape[1], values.shape[1]))
        for group in groups:
            spread += np.cov(group.T).reshape(spread.shape)
        ridge = (1e-6 * np.trace(spread) + 1e-12) * np.eye(len(spread))
        direction = np.linalg.solve(spread + ridge, groups[1].mean(0) - groups[0].mean(0))
        projected = values @ direction
        middle, width = projected[fitted].mean(), projected[fitted].std() + 1e-12
        scores[~fitted] = (projected[~fitted] - middle) / width
    return scores


def area_under_curve(
    scores: Float[np.ndarray, " particles"], is_minor: Bool[np.ndarray, " particles"]
) -> float:
    """Probability that a particle of the minor state has the higher score (Mann & Whitney)."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse.reshape(-1)]
    minor, major = int(is_minor.sum()), int((~is_minor).sum())
    return float((ranks[is_minor].sum() - minor * (minor + 1) / 2) / (minor * major))


def _typical(
    latents: Float[np.ndarray, "particles z"], is_minor: Bool[np.ndarray, " particles"]
) -> Float[np.ndarray, "2 z"]:
    """Mean latents of both states."""
    return np.stack([latents[is_minor == side].mean(0) for side in (False, True)])


def _compared(
    decoded: Float[np.ndarray, "2 box box box"], planted: Float[np.ndarray, "2 box box box"]
) -> tuple[float, tuple[float, float]]:
    """Agreement of the volumes of a run with the planted ones, within the inscribed ball."""
    box_size = planted.shape[-1]
    if decoded.shape[-1] != box_size:
        msg = (
            f"the volumes of the run have {decoded.shape[-1]} voxels a side, the planted ones "
            f"{box_size}; judge a run at the box size of the planted set"
        )
        raise ShapeMismatchError(msg)
    ball = soft_sphere(box_size, 0.8 * box_size / 2, 0.15 * box_size / 2)
    ours, theirs = (torch.from_numpy(volumes).float() * ball for volumes in (decoded, planted))
    areas = [
        float(fourier_shell_correlation(own, true).values.mean())
        for own, true in zip(ours, theirs, strict=True)
    ]
    first, second = ((pair[1] - pair[0]).flatten().double() for pair in (ours, theirs))
    norms = first.norm() * second.norm()
    return float(first @ second / norms.clamp_min(1e-30)), (areas[0], areas[1])
