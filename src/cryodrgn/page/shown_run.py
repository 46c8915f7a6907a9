"""One run as the page shows it: what is there, and what is missing in a sentence."""

import filecmp
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int

from cryodrgn.errors import CryodrgnError, InputFileError
from cryodrgn.io.map_geometry import MapGeometry
from cryodrgn.io.mrc import read_volume
from cryodrgn.models.config_file import SUMS
from cryodrgn.page import columns as kinds
from cryodrgn.page.columns import Column, Makers
from cryodrgn.page.file_columns import category_columns, changed_since, file_columns
from cryodrgn.page.following import progress_of, stamp
from cryodrgn.page.latents import (
    cluster_column,
    components_of,
    have_places,
    latent_columns,
)
from cryodrgn.page.maps import half_map_curves, named_map, stored_maps
from cryodrgn.page.pictures import low_passed_image, particle_pictures
from cryodrgn.page.selections import Selections
from cryodrgn.page.table_cache import TableCache, state_of
from cryodrgn.page.volumes import Support, Turns, VolumeDesk
from cryodrgn.particles.options import TiltSeriesSettings
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.rundir import AnalysisFiles
from cryodrgn.runs.run import Run, open_run
from cryodrgn.training.run_log import GrowingEvents

logger = logging.getLogger(__name__)
Table = TypeVar("Table")

MOST_CACHED_BYTES = 128 * 2**20
MOST_DESKS = 3


class ShownRun:
    """A finished or growing run.

    Args:
        path: Its folder.
        device: Where volumes are computed.
        name: What it is called; that of its folder, unless others are called so, too.

    Raises:
        InputFileError: It is no run.
    """

    def __init__(self, path: Path, device: torch.device, name: str = "") -> None:
        self.run: Run = open_run(path)
        self.files = self.run.files
        self.name = name or path.resolve().name
        self._device = device
        self._lock = threading.RLock()
        self._saving = threading.Lock()
        self._turns = Turns()
        self._events = GrowingEvents(self.files.events)
        self._desks: OrderedDict[Any, VolumeDesk] = OrderedDict()
        self._kept = TableCache(MOST_CACHED_BYTES, _size)

    # What there is

    def described(self) -> dict[str, Any]:
        """Everything that the page must know to begin.

        Raises:
            InputFileError: The folder is gone.
        """
        self.require_folder()
        with self._lock:
            found: dict[str, Any] = {
                "name": self.name,
                "path": str(self.run.path),
                "latent_dim": self.run.latent_dim,
                "box_size": self.run.box_size,
                "pixel_size": self._pixel_size,
                "epochs": self.epochs(),
                "finished": self.files.weights().is_file(),
                "instant": self._is_instant(),
                "maps": list(stored_maps(self.files, self._analysis(None))),
                "source": str(self._source) if self._source else None,
                "notes": [],
            }
            found["particles"] = self._count(found["notes"])
            if not self._says_pixel_size():
                found["notes"].append(
                    f"{self.name} does not say its Å/px: volumes and .mrc files take 1"
                )
            return found

    def listed(self) -> dict[str, Any]:
        """The name of the run, and the reason for which it cannot be shown any more."""
        found: dict[str, Any] = {"name": self.name, "path": str(self.run.path)}
        try:
            self.require_folder()
        except CryodrgnError as error:
            found["gone"] = str(error)
        return found

    def epochs(self) -> list[int]:
        """Epochs that have latents, or the volumes of a single structure."""
        return self.files.latent_epochs() if self.run.latent_dim else self.files.epochs()

    def require_folder(self) -> None:
        """Refuse to go on with a run that was deleted or moved.

        Raises:
            InputFileError: Its folder is gone.
        """
        if not self.run.path.is_dir():
            msg = (
                f"the folder {self.run.path} is gone: the run was deleted or moved while its "
                "page was open"
            )
            raise InputFileError(msg)

    def epoch(self, wanted: int | None) -> int | None:
        """The epoch that is shown: as asked for, else the finished run, else the last one."""
        if wanted is not None:
            return None if wanted < 0 else wanted
        if self.files.latents().is_file() or self.files.weights().is_file():
            return None
        there = self.files.latent_epochs() or self.files.epochs()
        return there[-1] if there else None

    def stamp(self) -> str:
        """A mark that changes when the run has written something."""
        self.require_folder()
        return stamp(self.files)

    def progress(self) -> dict[str, Any]:
        """Losses, rate, time left and verdict."""
        self.require_folder()
        return progress_of(self.files, self._events.read())

    # Particles

    def latents(self, epoch: int | None) -> Float[np.ndarray, "particles z"]:
        """Latents of an epoch, kept while they are looked at."""
        self.require_folder()
        path = self.files.latents(epoch)
        return self._kept.table(("latents", epoch), [path], lambda: self._read_latents(epoch))

    def moved(
        self, row: int, wanted: Mapping[str, float], epoch: int | None
    ) -> Float[np.ndarray, " z"]:
        """The latent of a particle, moved along its dimensions or components.

        Args:
            row: The particle.
            wanted: Values that dimensions (``z1``) or components (``PC1``) are to have.
            epoch: Whose latents.

        Raises:
            InputFileError: There is no such particle, dimension or component.
        """
        latents = self.latents(epoch)
        if not 0 <= row < len(latents):
            msg = f"{self.name} has particles 0 to {len(latents) - 1}, not {row}"
            raise InputFileError(msg)
        if not have_places(latents[row : row + 1])[0]:
            msg = f"the latent of particle {row} is no number: there is nothing to show of it"
            raise InputFileError(msg)
        if not wanted:
            return latents[row]
        z = latents[row].astype(np.float64)
        components = self._of_latents("components", epoch, components_of)
        for name, value in wanted.items():
            kind, number = name.rstrip("0123456789"), name.lstrip("zPC")
            axis = int(number) - 1 if number.isdecimal() and len(number) < 9 else -1
            if kind == "z" and 0 <= axis < len(z):
                z[axis] = value
            elif kind == "PC" and 0 <= axis < len(components):
                direction = components.directions[axis]
                z += (value - (z - components.mean) @ direction) * direction
            else:
                msg = (
                    f"{self.name} has no latent {name[:40]!r}; it has z1 to z{len(z)} and PC1 "
                    f"to PC{len(components)}"
                )
                raise InputFileError(msg)
        return z.astype(np.float32)

    def column_groups(self, epoch: int | None) -> dict[str, Makers]:
        """Columns that come from the run itself."""
        if self.run.latent_dim == 0:
            return {}

        def own(latents: Float[np.ndarray, "particles z"]) -> Makers:
            posterior = kinds.posterior_columns(self.files.latents(epoch), len(latents))
            return latent_columns(latents) | posterior

        return {
            "latent": self._of_latents("columns", epoch, own),
            "linear run": kinds.linear_columns(self.run),
            "scores": self._scores([]),
            "analysis": kinds.analysis_columns(self._analysis(epoch)),
            "landscape": kinds.landscape_columns(self.files.landscape(epoch)),
        }

    def file_groups(self, epoch: int | None) -> tuple[dict[str, Makers], list[str]]:
        """Columns of poses, CTF and the particle file, and what is missing of them."""
        if not self.files.latents(epoch).is_file():
            return {}, []
        files = [*self._inputs(epoch), self.files.latents(epoch)]
        return self._kept.table("files", files, lambda: self._file_groups(epoch))

    def _file_groups(self, epoch: int | None) -> tuple[dict[str, Makers], list[str]]:
        found: dict[str, Makers] = {}
        notes = []
        try:
            particles = self.particles(epoch)
            found["poses and CTF"] = kinds.image_columns(particles.first_images)
            found["sets"] = kinds.set_columns(
                particles.numbers,
                self.original_rows,
                is_series=particles.names is not None,
            )
        except CryodrgnError as error:
            notes.append(f"no poses, CTF and images: {error}")
        if self._source is not None:
            try:
                told = self.run.settings.get("dataset_args", {})
                known = (self.original_rows, TiltSeriesSettings.from_mapping(told))
                found["groups"] = category_columns(self._source, *known)
                found["particle file"] = file_columns(self._source, *known)
                configs = (self.files.config_yaml, self.files.config_pickle)
                notes += changed_since(self._source, configs)
            except CryodrgnError as error:
                notes.append(f"no columns of the particle file: {error}")
        return found, notes

    def column_notes(self, epoch: int | None) -> list[str]:
        """Sentences on columns that may not belong to the latents of an epoch."""
        latents = self.files.latents(epoch)
        notes = kinds.older_than(latents, self._analysis(epoch))
        notes += kinds.older_than(latents, self.files.landscape(epoch))
        self._scores(notes)
        found = self.latents(epoch)
        nowhere = len(found) - int(have_places(found).sum())
        if nowhere:
            notes.append(
                f"{self.name} has no latent that is a number for {nowhere:,} of {len(found):,} "
                "particles: they are not drawn"
            )
        return notes

    def column(self, group: str, name: str, epoch: int | None) -> Column:
        """A column by its group and name.

        Raises:
            InputFileError: There is none of that name, or its file cannot be read.
        """

        def made() -> Column:
            groups = self.column_groups(epoch)
            if group not in groups:
                groups = self.file_groups(epoch)[0]
            maker = groups.get(group, {}).get(name)
            if maker is None:
                msg = f"{self.name} has no column {name[:80]!r} in {group[:80]!r}"
                raise InputFileError(msg)
            return kinds.of_length(maker(), self.count(epoch), name)

        if group == "clusters":
            key = ("clusters", name)
            return self._of_latents(key, epoch, lambda found: cluster_column(found, name))
        files = [*self._inputs(epoch), *self._results(epoch)]
        return self._kept.table(("column", group, name, epoch), files, made)

    def count(self, epoch: int | None) -> int:
        """Number of particles."""
        return len(self.latents(epoch))

    def particles(self, epoch: int | None) -> ParticleSet:
        """The images with their CTF, and with the poses of an epoch that moved them.

        Raises:
            CryodrgnError: The files are no longer there.
        """
        return self._kept.table("particles", self._inputs(epoch), lambda: self._opened(epoch))

    def _opened(self, epoch: int | None) -> ParticleSet:
        moved = self.files.poses(epoch)
        found = self.run.particles(moved if moved.is_file() else None)
        count = self.count(epoch) if self.run.latent_dim else len(found)
        if len(found) != count:
            msg = (
                f"{found.source} has {len(found)} particles now, but the run has {count}; the "
                "file has changed since"
            )
            raise InputFileError(msg)
        return found

    @cached_property
    def original_rows(self) -> Int[np.ndarray, " particles"]:
        """Row of every particle in the original file.

        Raises:
            CryodrgnError: The index file of the run is gone, or has changed since.
        """
        return self.run.original_rows(self.count(self.epoch(None)))

    @property
    def selections(self) -> Selections:
        """Selections in the folder of the run."""
        self.require_folder()
        return Selections(
            files=self.files,
            original=self.original_rows,
            source=self._source,
            lock=self._saving,
        )

    def pictures(self, row: int, epoch: int | None) -> dict[str, Float[np.ndarray, "box box"]]:
        """Pictures of one particle, see :mod:`cryodrgn.page.pictures`."""
        self.require_folder()
        with self._lock:
            particles = self.particles(epoch)
        if not 0 <= row < len(particles):
            msg = f"{self.name} has particles 0 to {len(particles) - 1}, not {row}"
            raise InputFileError(msg)
        try:
            desk = self.desk(epoch)
        except CryodrgnError:
            raw = particles.first_images.read(np.array([row]))[0]
            return {"raw": raw, "low-passed": low_passed_image(raw)}
        latent = self.latents(epoch)[row] if self.run.latent_dim else np.zeros(0, np.float32)
        return particle_pictures(desk, particles, row, latent)

    # Volumes

    def desk(self, epoch: int | None) -> VolumeDesk:
        """Decoder of the volumes of an epoch; one for all pages.

        Raises:
            CryodrgnError: There are no weights of it, or they cannot be used.
        """
        self.require_folder()
        with self._lock:
            # Weights that a run has written anew are another model.
            key = (epoch, state_of([self.files.weights(epoch)]))
            if key not in self._desks:
                desk = VolumeDesk(self.run.model(epoch), self._device, self._turns)
                self._desks[key] = desk
            self._desks.move_to_end(key)
            while len(self._desks) > MOST_DESKS:
                self._desks.popitem(last=False)
            return self._desks[key]

    def support(self, epoch: int | None) -> Support:
        """Support of points of the latent space by particles."""
        return self._of_latents("support", epoch, Support)

    def geometry(self, box_size: int) -> MapGeometry:
        """Sampling of a decoded volume, that of ``cryodrgn eval_vol``."""
        own = MapGeometry(pixel_size=self._pixel_size)
        return own.resampled(self.run.box_size, box_size)

    def map(self, name: str) -> tuple[Float[np.ndarray, "z y x"], float]:
        """A volume in the folder of the run, and its Å/px.

        Raises:
            InputFileError: There is none of that name.
        """
        volume, pixel_size = read_volume(self.map_path(name))
        return volume, pixel_size or 1.0

    def map_path(self, name: str) -> Path:
        """File of a volume in the folder of the run.

        Raises:
            InputFileError: There is none of that name.
        """
        self.require_folder()
        return named_map(self.files, self._analysis(None), name)

    def half_map_curves(self) -> dict[str, list[list[float]]]:
        """Correlations of half maps that lie in the folder, by name: (1/Å, FSC)."""
        self.require_folder()
        return half_map_curves(self.files, self._pixel_size)

    # Inside

    def _analysis(self, epoch: int | None) -> AnalysisFiles:
        """The analysis of an epoch; of a finished run also that of the epoch it ended with."""
        own, ends = self.files.analysis(epoch), self.files.latent_epochs()
        if epoch is not None or own.path.is_dir() or not ends:
            return own
        last, latents = self.files.analysis(ends[-1]), self.files.latents()
        if not (last.path.is_dir() and latents.is_file()):
            return own
        is_same = filecmp.cmp(latents, self.files.latents(ends[-1]), shallow=False)
        return last if is_same else own

    @property
    def _source(self) -> Path | None:
        named = self.run.settings.get("dataset_args", {}).get("particles")
        return None if named is None else Path(named)

    @cached_property
    def _pixel_size(self) -> float:
        try:
            return self.run.pixel_size
        except CryodrgnError:
            return 1.0

    def _says_pixel_size(self) -> bool:
        """True if the run, or the table of its CTF, has the Å/px."""
        told = self.run.settings
        ctf = told.get("dataset_args", {}).get("ctf")
        stated = told.get("training", {}).get("pixel_size")
        return bool(stated) or (ctf is not None and Path(ctf).is_file())

    def _is_instant(self) -> bool:
        """True if volumes are sums of stored ones, made in no time at any size."""
        return self.run.settings.get("model_args", {}).get("kind") in SUMS

    def _count(self, notes: list[str]) -> int:
        if self.run.latent_dim == 0:
            notes.append(
                f"{self.name} is a run of a single structure: a volume without a latent space"
            )
            return 0
        if not self.files.latents().is_file() and not self.files.latent_epochs():
            notes.append(f"{self.name} has no latents yet: they come with its first epoch")
            return 0
        try:
            return self.count(self.epoch(None))
        except CryodrgnError as error:
            notes.append(str(error))
            return 0

    def _scores(self, notes: list[str]) -> Makers:
        """Scores of the run, or a note on why there are none."""
        try:
            return kinds.score_columns(self.files.judged, lambda: self.original_rows)
        except CryodrgnError as error:
            notes.append(str(error))
            return {}

    def _read_latents(self, epoch: int | None) -> Float[np.ndarray, "particles z"]:
        found = self.run.latents(epoch)
        if not len(found):
            msg = f"{self.files.latents(epoch)} holds the latents of no particle"
            raise InputFileError(msg)
        return found

    def _of_latents(self, name: Any, epoch: int | None, make: Callable[[Any], Table]) -> Table:
        """A table that follows from the latents of an epoch, kept while they are the same."""
        files, latents = [self.files.latents(epoch)], self.latents(epoch)
        return self._kept.table((name, epoch), files, lambda: make(latents))

    def _inputs(self, epoch: int | None) -> list[Path]:
        """Files that the images of an epoch are opened from."""
        return [self.files.poses(epoch), *([] if self._source is None else [self._source])]

    def _results(self, epoch: int | None) -> list[Path]:
        """Files that columns of an epoch are read from."""
        analysis, landscape = self._analysis(epoch), self.files.landscape(epoch)
        numbers = AnalysisFiles.clusters.numbers(analysis)
        return [
            self.files.latents(epoch),
            self.files.judged.table,
            analysis.umap,
            *(analysis.clusters(number).labels for number in numbers),
            landscape.all_coordinates,
            landscape.all_states,
            landscape.communities,
        ]


def _size(table: Any) -> int:
    if isinstance(table, Column):
        return table.values.nbytes
    return table.nbytes if isinstance(table, np.ndarray) else 0
