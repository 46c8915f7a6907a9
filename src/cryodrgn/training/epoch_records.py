"""Table of the held-out evaluation after every epoch, ``convergence.csv``."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cryodrgn.errors import InputFileError
from cryodrgn.io.atomic import atomic_path
from cryodrgn.training.convergence import HalfImageExchangeTest, verdict_in_words

SHELL = "shell_"


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRecord:
    """Held-out evaluation after one epoch.

    Attributes:
        epoch: Its number, from 0.
        error: Squared error of the particles kept out, per value.
        explained: Share of their power that the model explains.
        map_change: Change of the state maps since the epoch before, as a share of them.
        exchange: Whether states say anything of images; None without latents.
        shells: Squared error per value in every shell.
        converged: Whether training had converged, then or before.
    """

    epoch: int
    error: float
    explained: float
    map_change: float | None
    exchange: HalfImageExchangeTest | None
    shells: tuple[float, ...]
    converged: bool

    def totals(self) -> dict[str, int | float | None]:
        """The numbers over all shells by the names of columns."""
        return {
            "epoch": self.epoch,
            "error": self.error,
            "explained": self.explained,
            "map_change": self.map_change,
            "exchange_gain": None if self.exchange is None else self.exchange.gain,
            "exchange_error": None if self.exchange is None else self.exchange.error,
            "exchange_score": None if self.exchange is None else self.exchange.score,
            "exchange_images": None if self.exchange is None else self.exchange.num_images,
            "converged": int(self.converged),
        }

    def row(self) -> dict[str, int | float | None]:
        """The numbers by the names of columns."""
        return self.totals() | {f"{SHELL}{n}": value for n, value in enumerate(self.shells)}

    @classmethod
    def from_row(cls, row: Mapping[str, str]) -> "EpochRecord":
        """The record of a line of the table."""
        exchange = None
        if row["exchange_gain"]:
            exchange = HalfImageExchangeTest(
                gain=float(row["exchange_gain"]),
                error=float(row["exchange_error"]),
                score=float(row["exchange_score"]),
                num_images=int(row["exchange_images"]),
            )
        return cls(
            epoch=int(row["epoch"]),
            error=float(row["error"]),
            explained=float(row["explained"]),
            map_change=float(row["map_change"]) if row["map_change"] else None,
            exchange=exchange,
            shells=tuple(float(v) for name, v in row.items() if name.startswith(SHELL)),
            converged=row["converged"] == "1",
        )

    def state(self) -> dict[str, Any]:
        """Plain values that a checkpoint may hold, see :meth:`from_state`."""
        exchange = None
        if self.exchange is not None:
            exchange = {
                f.name: getattr(self.exchange, f.name) for f in fields(HalfImageExchangeTest)
            }
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"exchange": exchange}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "EpochRecord":
        """The record whose :meth:`state` this is."""
        values = dict(state)
        exchange = values.pop("exchange")
        values["exchange"] = None if exchange is None else HalfImageExchangeTest(**exchange)
        return cls(**values)


def write_records(path: Path, records: Sequence[EpochRecord]) -> None:
    """Write the table."""
    rows = [record.row() for record in records]
    lines = [",".join(rows[0])]
    lines += [",".join("" if v is None else f"{v:.8g}" for v in row.values()) for row in rows]
    with atomic_path(path) as partial:
        partial.write_text("\n".join(lines) + "\n")


def read_records(path: Path) -> list[EpochRecord]:
    """Read the table; empty where a run kept no particles out.

    Raises:
        InputFileError: It is not such a table.
    """
    if not path.is_file():
        return []
    try:
        with path.open(newline="") as file:
            return [EpochRecord.from_row(row) for row in csv.DictReader(file)]
    except (KeyError, ValueError, TypeError) as error:
        msg = f"{path} is no table of what particles kept out said: {error}"
        raise InputFileError(msg) from error


def verdict_of(records: Sequence[EpochRecord]) -> str:
    """The state of a run in words, after its last epoch; empty without records."""
    if not records:
        return ""
    converged = [record.epoch for record in records if record.converged]
    return verdict_in_words(converged[0] if converged else None, exchange_of(records))


def exchange_of(records: Sequence[EpochRecord]) -> HalfImageExchangeTest | None:
    """Latest result of the half-image exchange test of a run.

    From convergence on the same states are looked at again and again; what has been clear
    once remains so.
    """
    settled = [record.exchange for record in records if record.converged]
    clear = [one for one in settled if one is not None and one.is_heterogeneous]
    return clear[-1] if clear else records[-1].exchange
