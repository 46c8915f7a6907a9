"""A sharpened map as files, and as numbers and sentences."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from cryodrgn.fourier.shells import ShellCurve
from cryodrgn.io.atomic import atomic_path
from cryodrgn.io.curves import write_curves
from cryodrgn.io.map_geometry import MapGeometry
from cryodrgn.io.mrc import write_volume
from cryodrgn.reconstruction.guinier import THRESHOLD, GuinierFit, NoFit
from cryodrgn.reconstruction.map_agreement import NOT_REACHED, resolution_in_words
from cryodrgn.reconstruction.postprocessing import MaskedAgreement, SharpenedMap
from cryodrgn.rundir import PostprocessFiles


@dataclass(frozen=True, kw_only=True, slots=True)
class SharpeningSummary:
    """Numbers of a sharpened map.

    Attributes:
        resolution: Å, of the corrected curve at 0.143; None where half maps do not agree.
        resolution_in_words: The same, and that the curve does not fall, if it does not.
        resolution_at_half: Å, at 0.5.
        unmasked_resolution: Å, without mask, at 0.143.
        random_phases_from: Å, from which on phases were randomised; None if none were.
        b_factor: Å², as applied; negative ones sharpen. None: not sharpened.
        fitted_b_factor: Å², of the Guinier fit; None where there is none.
        no_fit: Why there is none.
        b_factor_error: Its standard error.
        fitted_between: First and last resolution of the fit in Å.
        mask_share: Mean of the mask over the box.
        pixel_size: Å/px.
        box_size: In voxels.
    """

    resolution: float | None
    resolution_in_words: str
    resolution_at_half: float | None
    unmasked_resolution: float | None
    random_phases_from: float | None
    b_factor: float | None
    fitted_b_factor: float | None
    no_fit: str | None
    b_factor_error: float | None
    fitted_between: tuple[float, float] | None
    mask_share: float
    pixel_size: float
    box_size: int

    @property
    def b_factor_in_words(self) -> str:
        """The B factor, and where it comes from."""
        if self.b_factor is None:
            return f"none, not sharpened: {self.no_fit}"
        applied = f"{self.b_factor:.0f} Å²"
        if self.fitted_b_factor is None or self.fitted_between is None:
            return f"{applied} (given; {self.no_fit})"
        coarsest, finest = self.fitted_between
        fitted = (
            f"{self.fitted_b_factor:.0f} ± {self.b_factor_error:.0f} Å² fitted from "
            f"{coarsest:.1f} to {finest:.1f} Å"
        )
        is_own = self.b_factor == self.fitted_b_factor
        return fitted if is_own else f"{applied} (given; {fitted})"

    def as_rows(self) -> list[tuple[str, str]]:
        """Rows of a table: what, and how much."""
        unmasked = self.unmasked_resolution
        random = self.random_phases_from
        return [
            ("resolution (masked FSC, corrected, 0.143)", self.resolution_in_words),
            ("without mask", NOT_REACHED if unmasked is None else f"{unmasked:.4g} Å"),
            ("random phases", "none" if random is None else f"from {random:.4g} Å on"),
            ("B factor", self.b_factor_in_words),
            ("mask", f"{self.mask_share:.1%} of the box"),
        ]

    def as_mapping(self) -> dict[str, Any]:
        """The attributes by name, for JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SharpeningPictures:
    """Curves and sections of a sharpened map, without its volumes.

    Attributes:
        summary: Its numbers.
        agreement: Correlations of the half maps.
        amplitudes: As observed, and their part that is signal.
        guinier: The fit, or why there is none.
        sections: Central sections of maps by name.
        mask: Central section of the mask.
    """

    summary: SharpeningSummary
    agreement: MaskedAgreement
    amplitudes: tuple[ShellCurve, ShellCurve]
    guinier: GuinierFit | NoFit
    sections: dict[str, Float[np.ndarray, "box box"]]
    mask: Float[np.ndarray, "box box"]


def pictures_of(sharp: SharpenedMap) -> SharpeningPictures:
    """Curves and sections of a sharpened map."""
    middle = len(sharp.mask) // 2
    name = "weighted, not sharpened" if sharp.b_factor is None else "sharpened"
    maps = {"unfiltered": sharp.unfiltered, name: sharp.sharpened}
    return SharpeningPictures(
        summary=summary_of(sharp),
        agreement=sharp.agreement,
        amplitudes=sharp.amplitudes,
        guinier=sharp.guinier,
        sections={name: volume[middle].numpy().copy() for name, volume in maps.items()},
        mask=sharp.mask[middle].numpy().copy(),
    )


def summary_of(sharp: SharpenedMap) -> SharpeningSummary:
    """The numbers of a sharpened map."""
    agreement, pixel_size, found = sharp.agreement, sharp.pixel_size, sharp.guinier
    fit = found if isinstance(found, GuinierFit) else None

    def in_angstroms(frequency: float | None) -> float | None:
        return None if frequency is None else pixel_size / frequency

    first = agreement.first_random_shell
    corrected = agreement.corrected
    return SharpeningSummary(
        resolution=sharp.resolution,
        resolution_in_words=resolution_in_words(corrected, pixel_size, THRESHOLD),
        resolution_at_half=in_angstroms(corrected.first_crossing(0.5)),
        unmasked_resolution=in_angstroms(agreement.unmasked.first_crossing(THRESHOLD)),
        random_phases_from=None if first is None else pixel_size * len(sharp.mask) / first,
        b_factor=sharp.b_factor,
        fitted_b_factor=None if fit is None else fit.b_factor,
        no_fit=found.reason if isinstance(found, NoFit) else None,
        b_factor_error=None if fit is None else fit.error,
        fitted_between=None
        if fit is None
        else (1 / fit.frequencies[0], 1 / fit.frequencies[1]),
        mask_share=float(sharp.mask.mean()),
        pixel_size=pixel_size,
        box_size=len(sharp.mask),
    )


def write_postprocessed(
    files: PostprocessFiles, sharp: SharpenedMap, geometry: MapGeometry, source: dict[str, Any]
) -> SharpeningSummary:
    """Write all maps, curves and numbers.

    Args:
        files: Where to write.
        sharp: The maps.
        geometry: Their sampling and place.
        source: Files and settings to be recorded beside the numbers.

    Returns:
        The numbers.
    """
    maps = {
        files.unfiltered: sharp.unfiltered,
        files.weighted: sharp.weighted,
        files.sharpened: sharp.sharpened,
        files.masked: sharp.sharpened * sharp.mask,
        files.mask: sharp.mask,
        files.locally_filtered: sharp.locally_filtered,
        files.local_resolution: sharp.local_resolution,
    }
    for path, volume in maps.items():
        if volume is not None:
            write_volume(path, volume.numpy(), geometry)
    write_curves(files.curves, sharp.agreement.curves())
    write_guinier(files.guinier, sharp)
    summary = summary_of(sharp)
    write_summary(files.record, summary, source)
    return summary


def write_guinier(path: Path, sharp: SharpenedMap) -> None:
    """Write the Guinier plot as text: 1/d², and logarithms of amplitudes."""
    observed, signal = sharp.amplitudes
    squares = (observed.frequencies.double() / sharp.pixel_size).square().numpy()
    columns = [curve.values.double().clamp_min(1e-300).log() for curve in (observed, signal)]
    # Shells without signal have no logarithm.
    columns = [column.numpy() for column in columns]
    columns[1] = np.where(signal.values.numpy() > 0, columns[1], np.nan)
    with atomic_path(path) as partial:
        header = "1/d^2 ln_amplitude ln_amplitude_weighted"
        np.savetxt(partial, np.stack([squares, *columns], axis=1), fmt="%.6f", header=header)


def write_summary(path: Path, summary: SharpeningSummary, source: dict[str, Any]) -> None:
    """Write the numbers of a sharpened map as JSON, with what they were made from."""
    text = json.dumps(summary.as_mapping() | source, indent=1, ensure_ascii=False)
    with atomic_path(path) as partial:
        partial.write_text(text + "\n")
