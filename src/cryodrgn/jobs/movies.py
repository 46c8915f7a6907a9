"""Films of the volumes that an analysis or a landscape made."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cryodrgn.counts import counted
from cryodrgn.errors import ConfigError, InputFileError
from cryodrgn.jobs.analyze import EpochOptions
from cryodrgn.settings import Job, at_least, function_of, option, positional, settings

if TYPE_CHECKING:
    import numpy as np

    from cryodrgn.rundir import VolumeSeries

logger = logging.getLogger(__name__)

PICTURE = "Picture"
# Numbers of a camera matrix: three rows of a rotation and a shift.
CAMERA = 12


@settings
class MakeMovies(EpochOptions, Job[list[Path]]):
    """Make films of the volumes of an analysis or a landscape."""

    kind: Literal["latent", "volume"] = positional(
        metavar="kind",
        help="latent: volumes along the latent, of analyze; volume: volumes along components "
        "of the volumes, and states, of analyze_landscape",
    )
    camera: str | None = option(
        "--camera",
        default=None,
        group=PICTURE,
        metavar="M",
        help="Camera matrix of ChimeraX (view matrix), 12 numbers separated by commas, of "
        "which the rotation counts",
        default_words="the axis along which the volumes differ most",
    )
    level: float | None = option(
        "--iso",
        default=None,
        group=PICTURE,
        help="Density of the surfaces",
        default_words="half of the high densities",
    )
    frames: int = option(
        "--frame",
        default=3,
        group=PICTURE,
        check=at_least(1),
        help="Frames, of 50 ms, for which every volume is shown",
    )
    width: int = option(
        "--width", default=600, group=PICTURE, check=at_least(16), unit="px", help="Width"
    )
    height: int = option(
        "--height", default=800, group=PICTURE, check=at_least(16), unit="px", help="Height"
    )
    name: str = option(
        "--name", default="movie", help="Name of the films, NAME.gif beside the volumes"
    )
    analysis_dir: Path | None = option(
        "--analysis-dir",
        default=None,
        metavar="DIR",
        help="Output folder of analyze (default: [WORKDIR]/analyze.[EPOCH])",
    )
    landscape_dir: Path | None = option(
        "--landscape-dir",
        default=None,
        metavar="DIR",
        help="Output folder of analyze_landscape (default: [WORKDIR]/landscape.[EPOCH])",
    )

    def run(self) -> list[Path]:
        """Draw the films; returns them.

        Raises:
            CryodrgnError: There are no volumes, or the camera cannot be read.
        """
        from cryodrgn.progress import Progress
        from cryodrgn.workflow.gallery import write_film

        if not self.name or Path(self.name).name != self.name:
            msg = f"`name` {self.name!r} must be a name, not a path"
            raise ConfigError(msg)
        frame = None if self.camera is None else camera_frame(self.camera)
        folder, found = self.series()
        if not found:
            command = "analyze" if self.kind == "latent" else "analyze_landscape"
            msg = (
                f"{folder} holds no volumes; run cryodrgn {command} {self.workdir} "
                f"{self.epoch} first, without `skip_volumes`"
            )
            raise InputFileError(msg)
        films = []
        with Progress(sum(len(paths) for _, paths in found), "drawing", "volume") as progress:
            for series, paths in found:
                film = series.path / f"{self.name}.gif"
                write_film(
                    film,
                    paths,
                    progress,
                    frame=frame,
                    level=self.level,
                    size=(self.width, self.height),
                    milliseconds=50 * self.frames,
                    first=series.offset,
                )
                films.append(film)
                logger.info("wrote %s, of %s", film, counted(len(paths), "volume"))
        return films

    def series(self) -> "tuple[Path, list[tuple[VolumeSeries, list[Path]]]]":
        """The folder that holds the series, and each with its volumes in order."""
        from cryodrgn.rundir import AnalysisFiles, LandscapeFiles, LandscapeStates

        run, epoch = self.opened()
        if self.kind == "latent":
            files = run.files.analysis(epoch)
            if self.analysis_dir is not None:
                files = AnalysisFiles(self.analysis_dir)
            all_of = [files.line, *files.components()]
            all_of += [files.clusters(n) for n in AnalysisFiles.clusters.numbers(files)]
            found = [(series, series.volumes()) for series in all_of]
            return files.path, [one for one in found if one[1]]
        landscape = run.files.landscape(epoch)
        if self.landscape_dir is not None:
            landscape = LandscapeFiles(self.landscape_dir)
        numbers = LandscapeFiles.component.numbers(landscape)
        found = [
            (series, series.volumes()) for series in map(landscape.component, sorted(numbers))
        ]
        for path in sorted(LandscapeFiles.states.existing(landscape)):
            states = LandscapeStates(path)
            found.append((states, sorted(LandscapeStates.mean.existing(states))))
        return landscape.path, [one for one in found if one[1]]


def camera_frame(text: str) -> "np.ndarray":
    """Frame of a viewer, rows right, up and towards the viewer, from a camera matrix.

    Args:
        text: The three rows of a matrix that takes coordinates of the camera to those of the
            scene, four numbers each, as ``view matrix`` of ChimeraX writes them.

    Raises:
        ConfigError: It is none.
    """
    import numpy as np

    words = text.replace(",", " ").split()
    try:
        matrix = np.array([float(word) for word in words]).reshape(3, 4)[:, :3]
    except ValueError:
        matrix = np.zeros((3, 3))
    if not np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-2):
        msg = (
            f"`camera` must be {CAMERA} numbers whose rotation is one, as `view matrix` of "
            f"ChimeraX writes them, got {text[:80]!r}"
        )
        raise ConfigError(msg)
    return matrix.T


make_movies = function_of(MakeMovies)
