"""Views of a report that live: particles and volumes to turn, in the page itself.

The data stand in the page, so that it needs nothing beside it: coordinates with 16 bits,
volumes of a smaller box with 8, both between their extremes.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from cryodrgn.analysis.pca import PLANE, principal_components
from cryodrgn.fourier.resample import downsample_volume
from cryodrgn.io.cryodrgn_pickle import load_array, load_latents
from cryodrgn.io.mrc import read_volume
from cryodrgn.web import one_script

# More particles than a page of 10 MB holds, or an eye tells apart.
MOST_PARTICLES = 120_000
LARGEST_SIDE = 48
MOST_VOLUMES = 100
MOST_VOLUME_BYTES = 4_500_000
MODULES = ("colours", "charts", "pinch", "scatter", "volume_view", "report_views")


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownVolumes:
    """Volumes that are looked at one after another.

    Attributes:
        name: What they are.
        paths: Their files.
        captions: What is said of each.
    """

    name: str
    paths: Sequence[Path]
    captions: Sequence[str]


def live_views(
    latents: Path, umap: Path, labels: Path | None, series: Sequence[ShownVolumes]
) -> str:
    """The views as HTML, hidden until a browser can show them.

    Args:
        latents: Latents of all particles; views without particles if they are gone.
        umap: Their places on the map, if there is one.
        labels: Their clusters, if there are any.
        series: Volumes.
    """
    data: dict[str, Any] = {}
    planes = _planes(latents, umap)
    if planes:
        latent_data: dict[str, Any] = {"planes": planes}
        data["latents"] = latent_data
        if labels is not None and labels.is_file():
            numbers = _thinned(load_array(labels).reshape(-1, 1))[:, 0] % 24
            latent_data["clusters"] = _packed(numbers.astype(np.float32), 8, (0.0, 255.0))
    side = _side(sum(len(one.paths[:MOST_VOLUMES]) for one in series))
    shown = [_volumes(one, side) for one in series if one.paths]
    if shown:
        data["volumes"] = shown
    # Nothing in the data may end the element that holds it.
    text = json.dumps(data).replace("<", "\\u003c")
    return (
        f'<section id="live-views" hidden></section>'
        f'<script type="application/json" id="live-data">{text}</script>'
        f'<script type="module">{one_script(MODULES)}</script>'
    )


def _planes(latents: Path, umap: Path) -> list[dict[str, Any]]:
    """Coordinates of particles on the first two components and on the map."""
    found: dict[str, Float[np.ndarray, "particles 2"]] = {}
    if latents.is_file():
        table = load_latents(latents)
        if table.shape[1] > 1:
            components = principal_components(table, 2)
            found[" and ".join(PLANE)] = components.project(table)[:, :2]
    if umap.is_file():
        found["UMAP"] = load_array(umap)[:, :2]
    return [
        {"name": name, "x": _packed(places[:, 0], 16), "y": _packed(places[:, 1], 16)}
        for name, places in ((name, _thinned(table)) for name, table in found.items())
    ]


def _thinned(table: np.ndarray) -> np.ndarray:
    """Every n-th particle, so many that the page stays small."""
    return table[:: -(-len(table) // MOST_PARTICLES)]


def _side(count: int) -> int:
    """Even side at which so many volumes stay within their share of the page."""
    voxels = MOST_VOLUME_BYTES * 3 / 4 / max(count, 1)
    return min(LARGEST_SIDE, 2 * int(voxels ** (1 / 3) / 2))


def _volumes(series: ShownVolumes, largest: int) -> Mapping[str, Any]:
    shown = []
    chosen = zip(series.paths[:MOST_VOLUMES], series.captions, strict=False)
    for path, caption in chosen:
        volume = torch.from_numpy(read_volume(path)[0])
        side = min(len(volume), largest)
        if side < len(volume):
            volume = downsample_volume(volume, side)
        packed = _packed(volume.numpy().reshape(-1), 8)
        shown.append({**packed, "side": side, "caption": caption})
    return {"name": series.name, "volumes": shown}


def _packed(
    values: Float[np.ndarray, " values"], bits: int, ends: tuple[float, float] | None = None
) -> dict[str, Any]:
    """Numbers as whole ones of few bits between their extremes."""
    low, high = ends or (float(values.min()), float(values.max()))
    most = 2**bits - 1
    whole = np.round((values - low) / ((high - low) or 1.0) * most)
    kind = "<u2" if bits == 16 else "u1"
    data = base64.b64encode(whole.clip(0, most).astype(kind).tobytes()).decode()
    return {"data": data, "bits": bits, "low": low, "high": high}
