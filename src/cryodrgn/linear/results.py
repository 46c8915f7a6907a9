"""Output files of a linear run, and its verdict."""

import logging
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

import cryodrgn
from cryodrgn.counts import counted
from cryodrgn.fourier.shells import ShellCurve
from cryodrgn.imaging.linear_posterior import Posterior
from cryodrgn.imaging.masks import resize_mask
from cryodrgn.io.atomic import atomic_path
from cryodrgn.io.checkpoints import save_checkpoint
from cryodrgn.io.cryodrgn_pickle import save_latents, save_poses
from cryodrgn.io.curves import write_fsc
from cryodrgn.io.mrc import write_volume
from cryodrgn.io.run_config import save_run_config
from cryodrgn.io.score_table import write_scores
from cryodrgn.linear.config import LinearConfig
from cryodrgn.linear.fit import Fit
from cryodrgn.linear.halves import SIGNAL_THRESHOLD
from cryodrgn.linear.particle_scores import ParticleScores
from cryodrgn.linear.regression import Regression
from cryodrgn.models.basis import BasisModel
from cryodrgn.models.settings import BasisConfig
from cryodrgn.particles.optics_groups import optics_of_groups
from cryodrgn.particles.particle_record import ParticleRecord
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.particles.poses import Poses
from cryodrgn.rundir import RunDirectory

logger = logging.getLogger(__name__)

# Settings that are advised where nothing is found with larger ones.
FEW_COMPONENTS, SMALL_RADIUS = 3, 6


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LinearResult:
    """Result of a linear run.

    Attributes:
        fit: The model as fitted, with all components that were looked for.
        kept: Those that are kept.
        regression: Their volumes at full radius.
        posterior: Latents of all particles.
        half_means: Latents by half models, even rows by the first, odd rows by the second.
        groups: Optics group of every image.
        poses: Corrected poses; None where they were kept.
        scores: Scores of all particles.
        poses_in_words: Sentence on the last correction of poses; None where none was asked for.
        poses_corrected: Whether poses differ from those given.
    """

    fit: Fit
    kept: Int[Tensor, " kept"]
    regression: Regression
    posterior: Posterior
    half_means: Float[Tensor, "particles z"]
    groups: Int[np.ndarray, " images"]
    scores: ParticleScores
    poses: Poses | None = None
    poses_in_words: str | None = None
    poses_corrected: bool = False

    @property
    def num_signals(self) -> int:
        """Number of components that carry signal."""
        return int(self.fit.agreement.is_signal.sum())


def verdict(result: LinearResult) -> str:
    """Verdict of the run in one sentence."""
    count, asked = result.num_signals, len(result.fit.agreement.spread)
    if count == 0:
        return "no heterogeneity above noise found"
    words = "1 component carries" if count == 1 else f"{count} components carry"
    more = f"; there may be more, ask for them with `num_components` {2 * asked}"
    return f"{words} signal above noise{more if count == asked else ''}"


def criterion_in_words(result: LinearResult) -> str:
    """The test by which components count as signal, and its outcome, in one sentence."""
    found = result.fit.agreement.correlation
    shown = ", ".join(f"{value:.2f}" for value in found.tolist())
    volumes = "volumes correlate" if len(found) == 1 else "volumes of each correlate"
    return (
        f"{counted(len(found), 'component')} looked for (`num_components`): "
        f"{volumes} to {shown} between two halves of the images fitted apart, and above "
        f"{SIGNAL_THRESHOLD} count as signal"
    )


def advice(result: LinearResult, config: LinearConfig) -> str | None:
    """Remedy where no component stands out of the noise; None where one does.

    Noise of a component grows with its free values, whose number is that of the voxels within
    the radius, and components share the images.
    """
    if result.num_signals:
        return None
    fewer = []
    if config.num_components > FEW_COMPONENTS:
        fewer.append(f"`num_components` {FEW_COMPONENTS}")
    if config.radius > SMALL_RADIUS:
        fewer.append(f"`radius` {SMALL_RADIUS}")
    first = ""
    if fewer:
        first = (
            f"large motions of few or noisy particles may still be found with "
            f"{' '.join(fewer)}, which fits fewer unknowns; "
        )
    return (
        f"{first}cryodrgn power says how large a motion, in how many of the particles, would "
        "have been found"
    )


def write_results(
    result: LinearResult,
    config: LinearConfig,
    particles: ParticleSet,
    norm: tuple[float, float],
    run: RunDirectory,
) -> None:
    """Write everything that a run has beside its log and metrics.

    Args:
        result: What was found.
        config: Settings.
        particles: The images.
        norm: Offset and scale of the images.
        run: Where to write.
    """
    posterior, files = result.posterior, run.linear
    diagonal = posterior.covariance.diagonal(dim1=1, dim2=2)
    save_latents(run.latents(), posterior.mean.cpu().numpy(), diagonal.log().cpu().numpy())
    arrays = {files.covariances: posterior.covariance, files.half_latents: result.half_means}
    if result.fit.contrast_spread:
        arrays[files.contrasts] = posterior.contrast / posterior.contrast_level()
    for path, values in arrays.items():
        with atomic_path(path) as partial, partial.open("wb") as file:
            np.save(file, values.cpu().numpy())
    if result.poses is not None:
        save_poses(run.poses(), result.poses, particles.first_images.side_lengths_in_files)
    write_scores(
        run.judged,
        particles.original_rows,
        result.scores.columns(),
        result.scores.is_junk(),
    )
    _write_maps(result, particles, norm[1], run)
    _write_tables(result, particles, run)
    optics, groups = optics_of_groups(particles.images, result.groups)
    shape = BasisConfig(
        kind="linear",
        box_size=particles.box_size,
        latent_dim=len(result.kept),
        num_functions=len(result.kept),
        num_groups=len(optics),
        radius=result.fit.agreement.joint.radius,
    )
    save_run_config(run, _recorded(result, config, particles, norm, shape))
    model = BasisModel(shape)
    state = model.state_dict() | {
        "volumes": result.regression.volumes.cpu() * norm[1],
        "noise": result.fit.noise.spectra.cpu()[groups] * norm[1] ** 2,
        "optics": torch.from_numpy(optics),
        "contrast_spread": torch.tensor(result.fit.contrast_spread),
    }
    save_checkpoint(run.weights(), {"epoch": 0, "model_state_dict": state})


def _recorded(
    result: LinearResult,
    config: LinearConfig,
    particles: ParticleSet,
    norm: tuple[float, float],
    shape: BasisConfig,
) -> dict[str, Any]:
    """Settings and results that go into ``config.yaml``."""
    training = {
        "pixel_size": particles.require_pixel_size(),
        **ParticleRecord.of(particles).to_mapping(),
        "box_size": config.data.box_size,
        "components_with_signal": result.num_signals,
        "verdict": verdict(result),
        "junk": result.scores.sentence(),
        "num_junk": int(result.scores.is_junk().sum()),
        "junk_by_chance": result.scores.expected_mistakes(),
        "junk_by_chance_spread": result.scores.spread_of_mistakes(),
        "linear": config.settings(),
    }
    if result.poses_in_words is not None:
        training["poses"] = result.poses_in_words
        training["poses_corrected"] = result.poses_corrected
    return {
        "dataset_args": config.data.to_mapping(norm, particles.images.sampling),
        **shape.to_mapping(),
        "seed": config.seed,
        "training": training,
        "version": cryodrgn.__version__,
        "cmd": list(sys.argv),
    }


def _write_maps(
    result: LinearResult, particles: ParticleSet, scale: float, run: RunDirectory
) -> None:
    pixel_size = particles.require_pixel_size()
    volumes = (result.regression.volumes * scale).cpu().numpy()
    write_volume(run.linear.mean, volumes[0], pixel_size)
    for number, volume in enumerate(volumes[1:], start=1):
        write_volume(run.linear.component(number), volume, pixel_size)
    mask = resize_mask(result.fit.mask, particles.box_size).cpu().numpy()
    write_volume(run.linear.mask, mask, pixel_size)
    box_size, fsc = particles.box_size, result.regression.fsc.cpu()
    shells = torch.arange(1, box_size // 2)
    for number, values in enumerate(fsc):
        curve = ShellCurve(shells / box_size, values[1 : box_size // 2])
        write_fsc(run.linear.fsc(number), curve)


def _write_tables(result: LinearResult, particles: ParticleSet, run: RunDirectory) -> None:
    found = result.fit.agreement
    lines = [f"# {verdict(result)}", "# component spread share half_correlation signal"]
    total = float(found.spread.sum())
    for number, (spread, correlation, is_signal) in enumerate(
        zip(found.spread, found.correlation, found.is_signal, strict=True), start=1
    ):
        lines.append(
            f"{number} {float(spread):.6g} {float(spread) / total:.4f} "
            f"{float(correlation):.4f} {'yes' if is_signal else 'no'}"
        )
    with atomic_path(run.linear.spectrum) as partial:
        partial.write_text("\n".join(lines) + "\n")
    spectra = result.fit.noise.spectra.cpu().numpy()
    shells = np.arange(spectra.shape[1]) / particles.box_size
    with atomic_path(run.linear.noise) as partial:
        names = " ".join(f"group{number}" for number in range(len(spectra)))
        table = np.column_stack([shells, spectra.T])
        np.savetxt(partial, table, fmt="%.6g", header=f"pixres {names}")
