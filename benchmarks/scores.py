"""Agreement with a known truth, as CryoBench measures it (Jeon et al. 2024)."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from sets import Axis
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsRegressor

from cryodrgn.imaging.masks import soft_mask

Volume = Float[np.ndarray, "box box box"]


class FscArea:
    """Area under the Fourier shell correlation with a volume, not normalised.

    Entry i of the curve holds the shell i − 1 ≤ r < i and stands at i / box cycles per pixel,
    entry 0 is 1; the area of perfect agreement is (box / 2 − 1) / box.

    Args:
        truth: The volume.
        mask: Multiplied onto both volumes; None for none.
    """

    def __init__(self, truth: Volume, mask: Volume | None = None) -> None:
        self._mask = mask
        box_size = self._box_size = len(truth)
        axis = np.fft.fftfreq(box_size, 1 / box_size)
        half = np.arange(box_size // 2 + 1)
        radii = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + half**2)
        self._shells = torch.from_numpy(np.floor(radii).astype(np.int64).ravel())
        weights = np.full((box_size, box_size, box_size // 2 + 1), 2.0)
        weights[..., 0] = weights[..., -1] = 1
        self._weights = torch.from_numpy(weights.ravel())
        self._truth = self._transform(truth)
        self._power = self._sums(self._truth.abs() ** 2)

    def curve(self, volume: Volume) -> Float[np.ndarray, " shells"]:
        """The correlation with the truth."""
        found = self._transform(volume)
        cross = self._sums((self._truth * found.conj()).real)
        power = self._power * self._sums(found.abs() ** 2)
        values = np.divide(cross, np.sqrt(power), out=np.ones_like(cross), where=power > 0)
        return np.concatenate([[1.0], values])

    def __call__(self, volume: Volume) -> float:
        """The area."""
        return float(np.trapezoid(self.curve(volume), dx=1 / self._box_size))

    def _transform(self, volume: Volume) -> torch.Tensor:
        masked = volume if self._mask is None else volume * self._mask
        return torch.fft.rfftn(torch.from_numpy(np.ascontiguousarray(masked))).ravel()

    def _sums(self, values: torch.Tensor) -> Float[np.ndarray, " shells"]:
        sums = torch.bincount(self._shells, weights=values.double() * self._weights)
        return sums[: self._box_size // 2 - 1].numpy()


class Scorer:
    """Scores volumes of states or of single images.

    Args:
        truths: True volume of every state.
    """

    def __init__(self, truths: Sequence[Volume]) -> None:
        peak = max(float(truth.max()) for truth in truths)
        self._plain = [FscArea(truth) for truth in truths]
        self._masked = [FscArea(truth, _mask(truth, 0.1 * peak)) for truth in truths]

    def __call__(
        self, volumes: Sequence[Volume], states: Int[np.ndarray, " volumes"]
    ) -> dict[str, float]:
        """Mean and least area, with and without mask, of volumes of given true states."""
        plain = [self._plain[s](v) for v, s in zip(volumes, states, strict=True)]
        masked = [self._masked[s](v) for v, s in zip(volumes, states, strict=True)]
        return {
            "mean": float(np.mean(plain)),
            "min": float(np.min(plain)),
            "masked_mean": float(np.mean(masked)),
            "masked_min": float(np.min(masked)),
        }


def _mask(volume: Volume, level: float) -> Volume:
    soft = soft_mask(torch.from_numpy(volume), 1.0, threshold=level, dilation=2.0, edge=3.0)
    return soft.numpy()


def central_images(
    latents: Float[np.ndarray, "particles z"], labels: Int[np.ndarray, " particles"]
) -> Int[np.ndarray, " states"]:
    """For every state the image of it whose latent is nearest to their mean."""
    chosen = []
    for state in range(labels.max() + 1):
        members = np.flatnonzero(labels == state)
        distances = np.square(latents[members] - latents[members].mean(0)).sum(1)
        chosen.append(members[distances.argmin()])
    return np.array(chosen)


def motion_r2(
    latents: Float[np.ndarray, "particles z"],
    labels: Int[np.ndarray, " particles"],
    *,
    circular: bool,
) -> float:
    """R² of the true coordinate, predicted for held-out images by nearest neighbours."""
    axis = Axis("circle" if circular else "line", int(labels.max()) + 1)
    return _predictability(latents, _coordinates(labels, axis))


def grid_r2(
    latents: Float[np.ndarray, "particles z"],
    labels: Int[np.ndarray, " particles"],
    axes: Sequence[Axis],
) -> float:
    """The same for states that are a grid: the mean over its axes."""
    indices = np.unravel_index(labels, [axis.count for axis in axes])
    found = [
        _predictability(latents, _coordinates(index, axis))
        for index, axis in zip(indices, axes, strict=True)
    ]
    return float(np.mean(found))


def _coordinates(
    values: Int[np.ndarray, " particles"], axis: Axis
) -> Float[np.ndarray, "particles _"]:
    """Numbers to predict: a point of the circle, a place on the line, or 0 and 1 by part."""
    if axis.kind == "circle":
        angle = 2 * np.pi * values / axis.count
        return np.stack([np.cos(angle), np.sin(angle)], 1)
    if axis.kind == "parts":
        return np.eye(axis.count)[values]
    return values[:, None]


def _predictability(
    latents: Float[np.ndarray, "particles z"], truth: Float[np.ndarray, "particles _"]
) -> float:
    order = np.random.default_rng(0).permutation(len(truth))
    train, test = np.array_split(order, 2)
    spread = np.square(truth[test] - truth[test].mean(0)).sum()
    best = -np.inf
    for count in (15, 30, 60):
        model = KNeighborsRegressor(count).fit(latents[train], truth[train])
        left = np.square(truth[test] - model.predict(latents[test])).sum()
        best = max(best, 1 - left / spread)
    return float(best)


def label_auc(
    latents: Float[np.ndarray, "particles z"], labels: Int[np.ndarray, " particles"]
) -> float:
    """Area under the ROC curve of telling states apart (one against the rest), held out."""
    scaled = (latents - latents.mean(0)) / latents.std(0).clip(1e-6)
    model = LogisticRegression(max_iter=500)
    found = cross_val_predict(model, scaled, labels, cv=4, method="predict_proba")
    if found.shape[1] == 2:
        return float(roc_auc_score(labels, found[:, 1]))
    return float(roc_auc_score(labels, found, multi_class="ovr"))
