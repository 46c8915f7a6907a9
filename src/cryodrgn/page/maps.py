"""Maps in the folder of a run, and the correlations of its half maps."""

from pathlib import Path

import torch

from cryodrgn.errors import InputFileError
from cryodrgn.io.curves import read_curves
from cryodrgn.rundir import AnalysisFiles, LinearFiles, RunDirectory, StateFiles


def stored_maps(files: RunDirectory, analysis: AnalysisFiles) -> dict[str, Path]:
    """Maps that lie in the folder of a run and of an analysis, by their names within it."""
    found = set(StateFiles(files.path).written_files()) | set(files.written_files())
    for series in [*analysis.components(), analysis.line]:
        found |= set(series.volumes())
    maps = sorted(path for path in found if path.suffix == ".mrc")
    return {path.relative_to(files.path).as_posix(): path for path in maps}


def named_map(files: RunDirectory, analysis: AnalysisFiles, name: str) -> Path:
    """The file of a map by its name.

    Raises:
        InputFileError: There is none of that name, or a link leads out of the run.
    """
    found = stored_maps(files, analysis)
    if name not in found:
        msg = f"{files.path.resolve().name} has no map {name[:80]!r}"
        raise InputFileError(msg)
    path = found[name].resolve()
    if not path.is_relative_to(files.path.resolve()):
        msg = f"{name} is a link out of {files.path}, which the page does not follow"
        raise InputFileError(msg)
    return path


def half_map_curves(files: RunDirectory, pixel_size: float) -> dict[str, list[list[float]]]:
    """Correlations of half maps, by what they are of: pairs of 1/Å and FSC.

    Args:
        files: The files of the run.
        pixel_size: Å/px of its images.
    """
    linear, states = files.linear, StateFiles(files.path)
    named = {
        linear.fsc(number): f"component {number}" if number else "mean"
        for number in LinearFiles.fsc.numbers(linear)
    }
    named |= {
        states.fsc(number): f"state {number}" for number in StateFiles.fsc.numbers(states)
    }
    found = {}
    for path, name in named.items():
        curve = next(iter(read_curves(path).values()))
        frequencies = curve.frequencies / pixel_size
        found[name] = torch.stack([frequencies, curve.values], 1).tolist()
    return found
