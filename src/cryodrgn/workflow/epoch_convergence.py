"""Convergence of a run, judged by what changes from epoch to epoch.

Latents and volumes of the epochs that were kept are compared with those of the epoch kept
before, as Kinman et al. (Nat. Protoc. 18, 319, 2023) propose. This needs no held-out particles;
it says when the network stopped changing, not whether what it learnt is there.
"""

import csv
import logging
from collections.abc import Sequence
from dataclasses import asdict, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from cryodrgn.analysis.clusters import cluster_by_means
from cryodrgn.analysis.embedding import umap_embedding
from cryodrgn.analysis.epoch_changes import (
    LatentChange,
    latent_change,
    plot_latent_changes,
    plot_maps,
    plot_volume_changes,
)
from cryodrgn.analysis.plots import plot_learning_curve, save_figure
from cryodrgn.counts import counted
from cryodrgn.devices import choose_device
from cryodrgn.errors import ConfigError
from cryodrgn.fourier.resample import check_new_box_size
from cryodrgn.fourier.shells import fourier_shell_correlation
from cryodrgn.imaging.masks import soft_mask
from cryodrgn.io.atomic import atomic_path
from cryodrgn.io.latent_text import save_index_text
from cryodrgn.io.mrc import read_volume
from cryodrgn.io.reference_map import geometry_like
from cryodrgn.particles.selection import random_subset
from cryodrgn.reconstruction.decode import PostProcessing, write_volumes
from cryodrgn.rundir import ConvergenceFiles
from cryodrgn.runs.run import Run
from cryodrgn.settings import settings
from cryodrgn.workflow.options import ConvergenceContent

logger = logging.getLogger(__name__)


@settings
class ConvergenceOptions(ConvergenceContent):
    """Settings of the comparison, and the processing of its volumes."""

    processing: PostProcessing = field(default_factory=PostProcessing)


def analyze_epochs(
    run: Run,
    last: int,
    files: ConvergenceFiles,
    options: ConvergenceOptions,
    device: str = "auto",
) -> list[LatentChange]:
    """Compare the epochs of a run with one another, and write figures and tables.

    Args:
        run: The run.
        last: The last epoch that is compared.
        files: Where the results go.
        options: What to do.
        device: Where to decode.

    Returns:
        Changes of the latents.

    Raises:
        ConfigError: Fewer than two of the epochs have results.
    """
    epochs = compared_epochs(run, last, options.interval)
    losses = run.losses()
    if len(losses):
        save_figure(plot_learning_curve(losses), files.plot("learning_curve"))
    latents = {epoch: run.latents(epoch) for epoch in epochs}
    changes = [
        latent_change(first, latents[first], second, latents[second])
        for first, second in pairwise(epochs)
    ]
    _write_table(files.latents, [asdict(change) for change in changes])
    save_figure(plot_latent_changes(changes), files.plot("latents"))
    end = changes[-1]
    logger.info(
        "from epoch %d to %d the median latent moved by %.1f %% of the spread of the latents",
        end.first,
        end.second,
        100 * end.magnitude,
    )
    if not options.skip_volumes:
        _compare_volumes(run, latents, files, options, device)
    if not options.skip_umap and run.latent_dim > 2:
        count = len(latents[epochs[-1]])
        rows = random_subset(count, min(count, options.subset), options.seed)
        maps = {
            epoch: umap_embedding(table[rows], options.seed) for epoch, table in latents.items()
        }
        save_figure(plot_maps(maps), files.plot("umap"))
    logger.info("the results are in %s", files.path)
    return changes


def compared_epochs(run: Run, last: int, interval: int) -> list[int]:
    """Epochs with latents and weights, every ``interval`` back from the last one.

    Raises:
        ConfigError: They are fewer than two.
    """
    there = sorted(set(run.epochs()) & set(run.files.epochs()))
    wanted = [epoch for epoch in there if epoch <= last and (last - epoch) % interval == 0]
    if len(wanted) < 2:
        msg = (
            f"{run.path} has results of epochs {', '.join(map(str, there)) or 'none'}: no two "
            f"of them are epoch {last} and others {counted(interval, 'epoch')} apart; give "
            "another `interval` or epoch"
        )
        raise ConfigError(msg)
    return wanted


def _compare_volumes(
    run: Run,
    latents: dict[int, Float[np.ndarray, "particles z"]],
    files: ConvergenceFiles,
    options: ConvergenceOptions,
    device: str,
) -> None:
    """Volumes of the same particles at every epoch, against those of the epoch before."""
    epochs = list(latents)
    particles = _representatives(latents[epochs[-1]], options)
    save_index_text(files.particles, particles)
    where = str(choose_device(device))
    for epoch in epochs:
        _write_epoch(run, epoch, latents[epoch][particles], files, options, where)
    pixel_size = options.pixel_size or run.pixel_size
    agreements, frequencies = [], []
    masks: list[torch.Tensor] = []
    for first, second in pairwise(epochs):
        pairs = []
        for number in range(len(particles)):
            before, after = (
                torch.from_numpy(read_volume(files.epoch(epoch).volume(number))[0])
                for epoch in (first, second)
            )
            if len(masks) == number:
                final, size = read_volume(files.epoch(epochs[-1]).volume(number))
                masks.append(_mask(final, size or pixel_size, options))
            pairs.append(_agreement(before, after, masks[number]))
        agreements.append([pair[0] for pair in pairs])
        frequencies.append([pair[1] for pair in pairs])
    tables = {
        "correlation with the epoch before": np.array(agreements),
        "FSC 0.5 with it (cycles/px)": np.array(frequencies),
    }
    save_figure(plot_volume_changes(epochs[1:], tables), files.plot("volumes"))
    rows = [
        {
            "first": epochs[place],
            "second": epochs[place + 1],
            "particle": int(particles[number]),
            "correlation": agreements[place][number],
            "frequency": frequencies[place][number],
        }
        for place in range(len(agreements))
        for number in range(len(particles))
    ]
    _write_table(files.volumes, rows)
    logger.info(
        "from epoch %d to %d volumes of representative particles correlate by %.4f (median)",
        epochs[-2],
        epochs[-1],
        float(np.median(agreements[-1])),
    )


def _representatives(
    latents: Float[np.ndarray, "particles z"], options: ConvergenceOptions
) -> Int[np.ndarray, " volumes"]:
    """Particles at the centres of k-means clusters of the last epoch."""
    count = min(options.num_volumes, len(latents))
    if count < 2:
        return np.arange(count)
    return cluster_by_means(latents, count, options.seed).particles


def _write_epoch(
    run: Run,
    epoch: int,
    points: Float[np.ndarray, "volumes z"],
    files: ConvergenceFiles,
    options: ConvergenceOptions,
    device: str,
) -> None:
    source = run.volume_source(epoch, device)
    check_new_box_size(source.box_size, options.box_size or source.box_size)
    options.processing.check(options.box_size or source.box_size)
    write_volumes(
        source,
        torch.from_numpy(points.astype(np.float32)),
        [files.epoch(epoch).volume(number) for number in range(len(points))],
        geometry=geometry_like(
            options.like, run.box_size, options.pixel_size or run.pixel_size
        ),
        box_size=options.box_size,
        processing=options.processing,
    )


def _mask(
    volume: Float[np.ndarray, "z y x"], pixel_size: float, options: ConvergenceOptions
) -> torch.Tensor:
    return soft_mask(
        torch.from_numpy(volume),
        pixel_size,
        threshold=options.threshold,
        dilation=options.dilation,
        edge=options.edge,
    )


def _agreement(
    first: torch.Tensor, second: torch.Tensor, mask: torch.Tensor
) -> tuple[float, float]:
    """Correlation of two volumes within a mask, and where their FSC falls below one half."""
    a, b = (one * mask for one in (first, second))
    curve = fourier_shell_correlation(a, b)
    centred = [one - (one * mask).sum() / mask.sum() for one in (first, second)]
    x, y = (one[mask > 0].double() for one in centred)
    correlation = float(
        (x * y).sum() / ((x * x).sum() * (y * y).sum()).clamp_min(1e-300).sqrt()
    )
    return correlation, curve.first_crossing(0.5) or 0.0


def _write_table(path: Path, rows: Sequence[dict[str, float | int]]) -> None:
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
