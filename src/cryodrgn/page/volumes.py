"""Volumes at points of the latent space for the page: one model for all who look at it."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from cryodrgn.counts import counted
from cryodrgn.errors import ConfigError
from cryodrgn.fourier.resample import check_new_box_size
from cryodrgn.page.latents import have_places, placed
from cryodrgn.reconstruction.decode import VolumeSource
from cryodrgn.reconstruction.trained import TrainedModel

MOST_CACHED_BYTES = 256 * 2**20
# Particles that stand for all where the neighbourhood of a point is judged.
MOST_COMPARED = 50_000
JUDGED = 500
NEIGHBOUR = 10
# A point lies farther from the particles than this share of them do from one another.
QUANTILE = 0.99
# Value of the largest voxel of a volume that is sent with half precision.
LARGEST_HALF = 1000.0
# Voxels along a side of a block that rays may pass over.
BLOCK = 4


class Superseded(Exception):  # noqa: N818 (an answer, not a fault)
    """The volume is not wanted any more: its page has asked for another since."""


class Turns:
    """The latest wish of every page, by which earlier ones are given up."""

    def __init__(self, most: int = 1000) -> None:
        self._latest: OrderedDict[str, int] = OrderedDict()
        self._most = most
        self._lock = threading.Lock()

    def ask(self, page: str, turn: int) -> None:
        """Note that a page asks for something."""
        with self._lock:
            self._latest[page] = max(turn, self._latest.get(page, turn))
            self._latest.move_to_end(page)
            while len(self._latest) > self._most:
                self._latest.popitem(last=False)

    def require_latest(self, page: str, turn: int) -> None:
        """Give up what has been superseded.

        Raises:
            Superseded: The page has asked for something else since.
        """
        if page and self._latest.get(page, turn) > turn:
            raise Superseded


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """A volume that is asked for.

    Attributes:
        latent: Point of the latent space.
        box_size: Side in voxels; None for that of the model.
        page: Page that asks; empty for one that waits however long it takes.
        turn: Number of the wish among those of the page.
    """

    latent: tuple[float, ...]
    box_size: int | None = None
    page: str = ""
    turn: int = 0


class VolumeDesk:
    """Decodes one volume after another, with the precision of ``cryodrgn eval_vol``.

    Args:
        trained: The model.
        device: Where to compute.
        turns: The latest wishes of pages.
    """

    def __init__(self, trained: TrainedModel, device: torch.device, turns: Turns) -> None:
        self._source: VolumeSource = trained.volume_decoder(device)
        self.trained = trained
        self._turns = turns
        self._lock = threading.Lock()
        self._cache: OrderedDict[Any, Float[np.ndarray, "z y x"]] = OrderedDict()
        self._bytes = 0

    @property
    def box_size(self) -> int:
        """Side of the volumes, unless a smaller one is asked for."""
        return self._source.box_size

    @property
    def latent_dim(self) -> int:
        """Dimensions of the latent."""
        return self._source.latent_dim

    def check(self, wish: Wish) -> None:
        """Refuse a point or side that the model does not have.

        Raises:
            ConfigError: The point has other dimensions or is not finite, or the side is odd or
                too large.
        """
        if len(wish.latent) != self.latent_dim:
            msg = (
                f"the model has a latent of {counted(self.latent_dim, 'dimension')}, the "
                f"point has {len(wish.latent)}"
            )
            raise ConfigError(msg)
        with np.errstate(over="ignore"):
            if not np.isfinite(np.array(wish.latent, dtype=np.float32)).all():
                msg = "a point of the latent space must be finite"
                raise ConfigError(msg)
        check_new_box_size(self.box_size, wish.box_size or self.box_size)

    def volume(self, wish: Wish) -> Float[np.ndarray, "box box box"]:
        """The volume that is asked for.

        Raises:
            ConfigError: There is none, see :meth:`check`.
            Superseded: The page has asked for another since.
        """
        self.check(wish)
        size = wish.box_size or self.box_size
        key = (np.array(wish.latent, dtype=np.float32).tobytes(), size)
        self._turns.ask(wish.page, wish.turn)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
            self._turns.require_latest(wish.page, wish.turn)
            with self._given_up_when_superseded(wish):
                latent = torch.tensor([wish.latent], dtype=torch.float32)
                volume = next(iter(self._source.volumes(latent, size))).numpy()
            self._keep(key, volume)
            return volume

    def _keep(self, key: Any, volume: np.ndarray) -> None:
        self._cache[key] = volume
        self._bytes += volume.nbytes
        while self._bytes > MOST_CACHED_BYTES and len(self._cache) > 1:
            _, old = self._cache.popitem(last=False)
            self._bytes -= old.nbytes

    @contextmanager
    def _given_up_when_superseded(self, wish: Wish) -> Iterator[None]:
        """While it lasts, the layers of the model look whether the volume is still wanted."""

        def look(module: nn.Module, values: Any) -> None:  # noqa: ARG001 (signature of torch)
            self._turns.require_latest(wish.page, wish.turn)

        decoder = self.trained.model.decoder
        hooks = [m.register_forward_pre_hook(look) for m in decoder.modules()]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def predicted_slices(
        self,
        points: Float[Tensor, "images points 3"],
        latents: Float[np.ndarray, "images z"],
    ) -> Float[Tensor, "images points 2"]:
        """Slices of the volumes at some latents, on points in cycles per pixel."""
        decoder = self.trained.model.decoder
        where = next(iter(decoder.state_dict().values())).device
        with self._lock, torch.inference_mode():
            return decoder(points.to(where), torch.from_numpy(latents).to(where)).cpu()


def for_drawing(volume: Float[np.ndarray, "z y x"]) -> tuple[np.ndarray, dict[str, Any]]:
    """A volume as the page draws it, and what it must know of that.

    Half precision ends at 65504 and is coarse near zero, so the largest value becomes 1000.

    Args:
        volume: The volume.

    Returns:
        numbers: All voxels in half precision, then the largest values within its blocks, see
            :func:`largest_of_blocks`.
        about: The factor by which both are multiplied, and the number of blocks along a side.
    """
    low, high = torch.aminmax(torch.from_numpy(volume))
    largest = max(-float(low), float(high))
    factor = LARGEST_HALF / largest if largest > 0 else 1.0
    count = -(-len(volume) // BLOCK)
    numbers = np.empty(volume.size + count**3, dtype=np.float16)
    halves = numbers[: volume.size].reshape(volume.shape)
    # Plane by plane, which stay in the cache, and of which no thread waits for another.
    for plane, half in zip(torch.from_numpy(volume), torch.from_numpy(halves), strict=True):
        torch.mul(plane, factor, out=half)
    numbers[volume.size :] = largest_of_blocks(halves).reshape(-1)
    return numbers, {"factor": factor, "blocks": count}


def largest_of_blocks(halves: Float[np.ndarray, "side side side"]) -> np.ndarray:
    """The largest values that interpolation finds within blocks of some 4 voxels, at least 0.

    Rays pass over blocks that do not reach the level. Blocks are equal shares of the box, not
    always whole voxels; what is interpolated within one lies between its voxels and the next
    ones. Numbers of half precision are compared as the integers that they look like, and
    negative ones look like negative integers.
    """
    side, count = len(halves), -(-len(halves) // BLOCK)
    ends = np.arange(count + 1) * side / count - 0.5
    first = np.floor(ends[:-1]).clip(0).astype(int)
    last = (np.floor(ends[1:]) + 1).clip(None, side - 1).astype(int)
    found = halves.view(np.int16)
    for axis in range(3):
        lines = np.moveaxis(found, axis, 0)
        most = np.empty((count, *lines.shape[1:]), dtype=np.int16)
        for place, (low, high) in enumerate(zip(first, last, strict=True)):
            np.maximum.reduce(lines[low : high + 1], axis=0, out=most[place])
        found = np.moveaxis(most, 0, axis)
    return found.clip(0).view(np.float16)


class Support:
    """Distance from points of the latent space to the particles near them.

    A point is called supported if its tenth nearest particle is no farther than those of 99 %
    of the particles themselves. Dimensions are scaled by their standard deviations; of many
    particles, 50,000 stand for all.

    Args:
        latents: All particles; those that have no place are left out.

    Raises:
        InputFileError: None has one.
    """

    def __init__(self, latents: Float[np.ndarray, "particles z"]) -> None:
        has_place = have_places(latents)
        points = placed(latents)
        step = -(-len(points) // MOST_COMPARED)
        self._rows, chosen = np.flatnonzero(has_place)[::step], points[::step]
        spread = chosen.std(0)
        self._scale = np.where(spread > 0, spread, 1).astype(np.float32)
        self._points = chosen / self._scale
        self._norms = np.square(self._points).sum(1)
        judged = self._points[:: -(-len(self._points) // JUDGED)]
        self._typical = np.sort(np.concatenate([self._reach(point[None]) for point in judged]))

    def of(self, latent: tuple[float, ...]) -> dict[str, Any]:
        """Support of a point: its rank among the particles, and the nearest particle."""
        point = np.array([latent], dtype=np.float32) / self._scale
        distances = self._distances(point)[0]
        reach = self._reach(point)[0]
        rank = float(np.searchsorted(self._typical, reach)) / len(self._typical)
        return {
            "supported": bool(rank <= QUANTILE),
            "rank": rank,
            "nearest": int(self._rows[distances.argmin()]),
        }

    def _reach(self, points: Float[np.ndarray, "points z"]) -> Float[np.ndarray, " points"]:
        """Distance of the tenth nearest particle."""
        squares = self._distances(points)
        place = min(NEIGHBOUR, squares.shape[1] - 1)
        return np.sqrt(np.partition(squares, place, axis=1)[:, place].clip(0))

    def _distances(self, points: Float[np.ndarray, "points z"]) -> np.ndarray:
        # A point may lie at the end of what numbers can say.
        with np.errstate(over="ignore", invalid="ignore"):
            products = points @ self._points.T
            squares = np.square(points).sum(1)[:, None] + self._norms - 2 * products
        return np.nan_to_num(squares, nan=np.inf, posinf=np.inf)
