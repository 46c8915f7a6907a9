"""The methods that the accuracy table compares, each as its commands or one library call."""

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from costs import Cost, command, costed
from scores import Scorer, central_images, grid_r2, label_auc, motion_r2
from sets import Axis, BenchmarkSet

from cryodrgn.data.config import DataConfig
from cryodrgn.data.noise import initial_noise
from cryodrgn.data.prepared import Storage
from cryodrgn.data.preprocessing import Preprocessing, estimate_scale
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.shells import fourier_shell_correlation
from cryodrgn.imaging.masks import resize_mask
from cryodrgn.io.arrays import read_npy
from cryodrgn.io.cryodrgn_pickle import load_latents
from cryodrgn.io.latent_text import save_latent_text
from cryodrgn.io.mrc import read_volume
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.io.run_config import load_run_config
from cryodrgn.io.text import read_yaml
from cryodrgn.jobs.command_words import in_flags
from cryodrgn.jobs.train_linear import TrainLinear
from cryodrgn.linear.iteration import DiscImages
from cryodrgn.linear.latents import Latents
from cryodrgn.linear.regression import Coefficients, regress
from cryodrgn.linear.runner import prepare_disc
from cryodrgn.linear.states import StateReconstruction, StateSettings
from cryodrgn.models.linear_network import LinearNetwork, begin_at_zero
from cryodrgn.particles.optics_groups import optics_groups
from cryodrgn.reconstruction.trained import TrainedModel
from cryodrgn.rundir import RunDirectory, SimulationFiles, StateFiles
from cryodrgn.training.run_log import model_choice_in_words

IMAGES_SCORED = 100
KERNEL_STATES = 10
HARMONICS = 6
CORRECTED = "--contrast --refine-poses"


@dataclass(frozen=True, slots=True)
class Case:
    """A set on which methods are compared.

    Attributes:
        folder: Where it is.
        settings: How it was made.
        seed: Of everything.
        vae_epochs: Epochs of train_vae.
    """

    folder: Path
    settings: BenchmarkSet
    seed: int
    vae_epochs: int = 20

    @property
    def files(self) -> SimulationFiles:
        """The files of the set."""
        return SimulationFiles(self.folder)

    @property
    def inputs(self) -> list[str]:
        """How commands name the particles."""
        files = self.files
        if self.settings.tilts is not None:
            return [str(files.star)]
        return [str(files.particles), "--poses", str(files.poses), "--ctf", str(files.ctf)]

    @property
    def particle_files(self) -> ParticleFiles:
        """The same for the library."""
        files = self.files
        if self.settings.tilts is not None:
            return ParticleFiles(particles=files.star)
        return ParticleFiles(particles=files.particles, poses=files.poses, ctf=files.ctf)

    def labels(self) -> np.ndarray:
        """True state of every image, −1 for junk."""
        return read_npy(self.files.labels)

    def truths(self) -> list[np.ndarray]:
        """True volume of every state."""
        paths = sorted(self.files.state(0).parent.glob("*.mrc"))
        return [read_volume(path)[0] for path in paths]

    def scorer(self) -> Scorer:
        """Scores against the true volumes."""
        return Scorer(self.truths())


def consensus(case: Case) -> dict:
    """One volume for all."""
    output = case.folder / "consensus.mrc"
    cost = _command("backproject_voxel", *case.inputs, "--first", 10**9, "-o", output)
    volume, _ = read_volume(output)
    states = np.arange(len(set(case.labels()) - {-1}))
    return asdict(cost) | {"state": case.scorer()([volume] * len(states), states)}


def true_bound(case: Case) -> dict:
    """Regression on the true state: harmonics of the angle, or one volume per state."""
    labels = case.labels()
    count = labels.max() + 1
    if count == 1:
        return {}
    volumes, cost = costed(lambda: _true_regression(case, labels, count))
    return asdict(cost) | {"state": case.scorer()(volumes, np.arange(count))}


def _true_regression(case: Case, labels: np.ndarray, count: int) -> list[np.ndarray]:
    images, noise = _prepared(case)
    functions = _true_functions(case, count)
    rows = torch.from_numpy(np.flatnonzero(labels >= 0))
    values = torch.from_numpy(functions[labels.clip(0)])
    mask = StateReconstruction(
        images,
        Latents(mean=functions[labels.clip(0)], source="truth", is_linear=False),
        noise,
        StateSettings(functions="linear"),
    ).mask
    found = regress(images, images.halves(rows), Coefficients(values=values), noise, mask)
    flat = torch.tensordot(torch.from_numpy(functions), found.volumes[1:], dims=1)
    return list((found.volumes[0] + flat).numpy())


def linear_alone(case: Case) -> dict:
    """``train_linear`` and its own volumes."""
    run, cost = _linear_run(case)
    verdict = in_flags(read_yaml(run.config_yaml)["training"]["verdict"], TrainLinear)
    found = asdict(cost) | {"verdict": verdict}
    return found if case.labels().max() == 0 else found | _scores(case, run.path, run.path)


def linear_basis(case: Case) -> dict:
    """``train_linear``, then ``reconstruct_states`` at all states."""
    return _with_states(case, *_linear_run(case), "basis")


def linear_moved(case: Case) -> dict:
    """``train_linear --refine-poses``, then ``reconstruct_states`` at all states."""
    run, cost = _linear_run(case, "linear_moved", "--refine-poses")
    return _with_states(case, run, cost, "basis")


def corrected_linear(case: Case) -> dict:
    """``train_linear`` with contrasts and refined poses, then ``reconstruct_states``."""
    return _with_states(case, *_corrected_run(case), "basis")


def linear_kernel(case: Case) -> dict:
    """``train_linear``, then kernel regression at ten states."""
    return _with_states(case, *_linear_run(case), "kernel")


def vae_alone(case: Case, *options: str, warm: bool = False) -> dict:
    """``train_vae`` with its defaults; warm, taught the latents of ``train_linear`` first."""
    run, cost = _vae_run(case, *options, warm=warm)
    found = asdict(cost) | {"epochs": case.vae_epochs}
    return found if case.labels().max() == 0 else found | _scores(case, run.path, run.path)


def vae_basis(case: Case, *options: str, warm: bool = False) -> dict:
    """The same, then ``reconstruct_states`` at all states."""
    found = _with_states(case, *_vae_run(case, *options, warm=warm), "basis")
    return found and found | {"epochs": case.vae_epochs}


def network_on_linear(case: Case, *options: str) -> dict:
    """``train_vae --from`` a run of ``train_linear``: the decoded volumes."""
    linear, first = _linear_run(case)
    words = ("train_vae", *case.inputs, "--from", linear.path, "-n", case.vae_epochs)
    name = _named("network", options)
    run, cost = _cached_run(case, name, (*words, "--seed", case.seed, *options))
    found = asdict(first + cost) | {"epochs": case.vae_epochs}
    return found if case.labels().max() == 0 else found | _scores(case, run.path, run.path)


def judged_network(case: Case) -> dict:
    """The same with a twentieth of the particles held out, and the sentence of these.

    ``linear_part`` is the score of its linear model alone, regressed on the other particles.
    """
    return _judged(case, "judged", *_linear_run(case))


def judged_network_on_corrected(case: Case) -> dict:
    """The same on a linear run with contrasts and refined poses, with the poses it found."""
    linear, first = _corrected_run(case)
    return _judged(case, "judged_corrected", linear, first, ("--poses", linear.poses()))


def judged_network_on_states(case: Case) -> dict:
    """The same on the volumes and functions of ``reconstruct_states``."""
    if case.labels().max() == 0:
        return {}
    linear, first = _linear_run(case)
    files = StateFiles(case.folder / "basis")
    words = ("reconstruct_states", linear.path, "--method", "basis", "--num-states", 8)
    _, cost = _cached_run(case, "basis", words)
    return _judged(case, "judged_basis", RunDirectory(files.path), first + cost)


def _judged(
    case: Case, name: str, start: RunDirectory, first: Cost, options: tuple = ()
) -> dict:
    words = ("train_vae", *case.inputs, "--from", start.path, "-n", case.vae_epochs, *options)
    run, cost = _cached_run(case, name, (*words, "--held-out", 0.05, "--seed", case.seed))
    found = asdict(first + cost) | {"epochs": case.vae_epochs}
    found["verdict"] = model_choice_in_words(run.events)
    labels = case.labels()
    if labels.max() == 0:
        return found
    latents = load_latents(run.latents())
    volumes = decoded(run, latents[central_images(latents, labels)], linear_part=True)
    found["linear_part"] = case.scorer()(volumes, np.arange(labels.max() + 1))
    return found | _scores(case, run.path, run.path)


METHODS: dict[str, Callable[[Case], dict]] = {
    "consensus": consensus,
    "regression on the true state": true_bound,
    "train_linear": linear_alone,
    "train_linear + basis": linear_basis,
    "train_linear --refine-poses + basis": linear_moved,
    f"train_linear {CORRECTED} + basis": corrected_linear,
    "train_linear + kernel": linear_kernel,
    "train_vae": vae_alone,
    "train_vae + basis": vae_basis,
    "train_vae --noise-model radial": lambda case: vae_alone(case, "--noise-model", "radial"),
    "train_vae --contrast": lambda case: vae_alone(case, "--contrast"),
    "train_vae --noise-model radial --contrast": lambda case: vae_alone(
        case, "--noise-model", "radial", "--contrast"
    ),
    "train_vae --recipe fast": lambda case: vae_alone(case, "--recipe", "fast"),
    "train_vae --recipe fast + basis": lambda case: vae_basis(case, "--recipe", "fast"),
    "train_vae --init-z": partial(vae_alone, warm=True),
    "train_vae --init-z + basis": partial(vae_basis, warm=True),
    "train_vae --from": network_on_linear,
    "train_vae --from --recipe fast": lambda case: network_on_linear(case, "--recipe", "fast"),
    "train_vae --from --held-out 0.05": judged_network,
    "train_vae --from states --held-out 0.05": judged_network_on_states,
    f"train_vae --from linear {CORRECTED} --held-out 0.05": judged_network_on_corrected,
}


def honesty(case: Case) -> dict:
    """FSC of states of a rigid molecule with random latents, and of random subsets."""
    images, noise = _prepared(case)
    rng = np.random.default_rng(case.seed)
    latents = rng.normal(size=(len(images), 2)).astype(np.float32)
    source = Latents(mean=latents, source="random")
    reconstruction = StateReconstruction(images, source, noise, StateSettings(num_functions=12))
    found = reconstruction.image_model()
    chosen = rng.choice(len(images), 8, replace=False)
    states = list(reconstruction.states(found, latents[chosen], 1.0))
    numbers = np.array([state.effective_number for state in states])
    areas = [state.fsc.area() for state in states]
    mask = reconstruction.mask
    subsets = [_subset_area(images, noise, mask, int(number), rng) for number in numbers]
    whole = _subset_area(images, noise, mask, len(images), rng)
    return {
        "effective": float(numbers.mean()),
        "states_mean": float(np.mean(areas)),
        "states_std": float(np.std(areas, ddof=1)),
        "subsets_mean": float(np.mean(subsets)),
        "subsets_std": float(np.std(subsets, ddof=1)),
        "whole": whole,
    }


def _subset_area(
    images: DiscImages,
    noise: object,
    mask: torch.Tensor,
    number: int,
    rng: np.random.Generator,
) -> float:
    rows = torch.from_numpy(np.sort(rng.choice(len(images), number, replace=False)))
    none = Coefficients(values=torch.zeros(len(images), 0))
    found = regress(images, images.halves(rows), none, noise, mask, focus=mask)
    stencil = resize_mask(mask, images.box_size)
    first, second = (half[0] * stencil for half in found.half_maps)
    return fourier_shell_correlation(first, second).area()


def decoded(
    run: RunDirectory,
    latents: np.ndarray,
    epoch: int | None = None,
    *,
    linear_part: bool = False,
) -> list[np.ndarray]:
    """Volumes of a run's model at latents; of a network on a linear model, that model alone."""
    trained = TrainedModel.load(run.weights(epoch), load_run_config(run.config_yaml))
    if linear_part:
        assert isinstance(trained.model.decoder, LinearNetwork)
        begin_at_zero(trained.model.decoder.network.decoder.main)
    decoder = trained.volume_decoder(torch.device("cpu"))
    return [decoder.volume(latent).numpy() for latent in torch.from_numpy(latents)]


def _true_functions(case: Case, count: int) -> np.ndarray:
    if case.settings.axes:
        return _grid_functions(case.settings.axes)
    kind = "circle" if case.settings.circular else "line" if count > 20 else "parts"
    waves = [wave for _, wave in _waves(Axis(kind, count))]
    return (np.sqrt(2) * np.stack(waves, axis=1)).astype(np.float32)


def _waves(axis: Axis) -> list[tuple[int, np.ndarray]]:
    """Functions of the values of an axis without the constant one, each with its order."""
    values, orders = np.arange(axis.count), range(1, HARMONICS + 1)
    if axis.kind == "circle":
        angle = 2 * np.pi * values / axis.count
        return [(k, f(k * angle)) for k in orders for f in (np.cos, np.sin)]
    if axis.kind == "line":
        angle = np.pi * values / (axis.count - 1)
        return [(k, np.cos(k * angle)) for k in orders if k < axis.count]
    return [(0, 1.0 * (values == value) - 1 / axis.count) for value in values[:-1]]


def _grid_functions(axes: tuple[Axis, ...]) -> np.ndarray:
    """Products of functions of the axes, up to the highest order together."""
    products = [(0, np.ones(1))]
    for axis in axes:
        factors = [(0, np.ones(axis.count)), *((k, np.sqrt(2) * f) for k, f in _waves(axis))]
        products = [
            (order + k, np.outer(product, factor).ravel())
            for order, product in products
            for k, factor in factors
            if order + k <= HARMONICS
        ]
    return np.stack([product for _, product in products[1:]], axis=1).astype(np.float32)


def _prepared(case: Case) -> tuple[DiscImages, object]:
    particles = open_particles(case.particle_files)
    data = DataConfig(files=case.particle_files)
    scale = estimate_scale(
        particles, HalfPlaneFrequencies.disc(particles.box_size), Preprocessing()
    )
    device, storage = torch.device("cpu"), Storage(scratch_dir=case.folder)
    with contextlib.redirect_stdout(io.StringIO()):
        images = prepare_disc(data, particles, (0.0, scale), device, storage=storage)
    return images, initial_noise(images.images, optics_groups(particles.images))


def _linear_run(case: Case, name: str = "linear", *options: str) -> tuple[RunDirectory, Cost]:
    words = ("train_linear", *case.inputs, "--seed", case.seed, *options)
    return _cached_run(case, name, words)


def _corrected_run(case: Case) -> tuple[RunDirectory, Cost]:
    return _linear_run(case, "linear_corrected", *CORRECTED.split())


def _vae_run(case: Case, *options: str, warm: bool) -> tuple[RunDirectory, Cost]:
    words = ("train_vae", *case.inputs, "--zdim", 8, "-n", case.vae_epochs, "--seed", case.seed)
    words += options
    name = _named("vae", options)
    if not warm:
        return _cached_run(case, name, words)
    linear, first = _linear_run(case)
    run, cost = _cached_run(case, f"{name}_warm", (*words, "--init-z", linear.path))
    return run, first + cost


def _named(name: str, options: tuple[str, ...]) -> str:
    return "".join([name, *(word.replace("--", "_") for word in options)])


def _command(*words: object) -> Cost:
    return command(*words, threads=torch.get_num_threads())


def _cached_run(case: Case, name: str, words: tuple) -> tuple[RunDirectory, Cost]:
    run, bill = RunDirectory(case.folder / name), case.folder / f"{name}.cost.json"
    if not bill.exists():
        bill.write_text(json.dumps(asdict(_command(*words, "-o", run.path))))
    return run, Cost(**json.loads(bill.read_text()))


def _with_states(case: Case, run: RunDirectory, cost: Cost, method: str) -> dict:
    labels = case.labels()
    if labels.max() == 0:
        return {}
    latents = load_latents(run.latents())
    states = np.arange(labels.max() + 1)
    if method == "kernel":
        states = states[:: max(1, len(states) // KERNEL_STATES)]
    chosen = central_images(latents, labels)[states]
    zfile = case.folder / "states.txt"
    save_latent_text(zfile, latents[chosen])
    files = StateFiles(case.folder / f"{run.path.name}_{method}")
    words = ("reconstruct_states", run.path, "--zfile", zfile, "--method", method)
    cost += _command(*words, "-o", files.path)
    if method == "basis":
        return asdict(cost) | _scores(case, run.path, files.path)
    volumes = [read_volume(files.volume(number))[0] for number in range(len(states))]
    return asdict(cost) | {"state": case.scorer()(volumes, states)}


def _scores(case: Case, run: Path, model: Path) -> dict:
    """The latent of a run and the volumes of a model of it."""
    labels, latents = case.labels(), load_latents(RunDirectory(run).latents())
    real = labels >= 0
    ordered = case.settings.circular or labels.max() > 20
    if case.settings.axes:
        score = grid_r2(latents[real], labels[real], case.settings.axes)
    elif ordered:
        score = motion_r2(latents[real], labels[real], circular=case.settings.circular)
    else:
        score = label_auc(latents[real], labels[real])

    def volumes(rows: np.ndarray) -> list[np.ndarray]:
        return decoded(RunDirectory(model), latents[rows])

    scorer, states = case.scorer(), np.arange(labels.max() + 1)
    rows = np.flatnonzero(real)[:: max(1, real.sum() // IMAGES_SCORED)]
    return {
        "latent": score,
        "state": scorer(volumes(central_images(latents, labels)), states),
        "image": scorer(volumes(rows), labels[rows]),
    }
