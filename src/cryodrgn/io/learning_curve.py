"""The loss of every epoch, read from the log files of a run."""

import csv
import re
from pathlib import Path

import numpy as np
from jaxtyping import Float

from cryodrgn.errors import InputFileError
from cryodrgn.io.text import read_bytes, read_text
from cryodrgn.rundir import RunDirectory

# How cryoDRGN's logs say it, of models with a latent and without.
LOSS = re.compile(r"=====> Epoch: .*?(?:total loss|Average loss) = (\S+?);")


def load_epoch_losses(run: RunDirectory) -> Float[np.ndarray, " epochs"]:
    """Average total loss of every epoch; empty where the run reported none.

    It comes from ``metrics.csv``, or else from ``run.log`` of any version of cryoDRGN.

    Raises:
        InputFileError: The file is damaged.
    """
    if run.metrics.is_file():
        table = csv.DictReader(read_text(run.metrics, may_be_empty=True).splitlines())
        try:
            rows = [(int(row["epoch"]), float(row["total"])) for row in table]
        except (KeyError, ValueError, TypeError, csv.Error) as error:
            msg = f"{run.metrics} holds no losses: {error!r} of line {table.line_num}"
            raise InputFileError(msg) from error
        epochs = np.array([epoch for epoch, _ in rows])
        losses = np.array([loss for _, loss in rows])
        return np.array([losses[epochs == epoch].mean() for epoch in np.unique(epochs)])
    if not run.log.is_file():
        return np.zeros(0)
    return _losses_in(run.log)


def read_log(path: Path) -> Float[np.ndarray, " epochs"]:
    """Average total loss of every epoch that a log reports, of any version of cryoDRGN.

    Raises:
        InputFileError: There is no such file, or it reports no loss.
    """
    losses = _losses_in(path) if path.is_file() else np.zeros(0)
    if not len(losses):
        missing = "is a folder" if path.is_dir() else "does not exist"
        reason = "reports no epoch" if path.is_file() else missing
        msg = f"{path} {reason}; give the run.log of a training run"
        raise InputFileError(msg)
    return losses


def _losses_in(path: Path) -> Float[np.ndarray, " epochs"]:
    found = LOSS.findall(read_bytes(path, may_be_empty=True).decode(errors="replace"))
    try:
        return np.array([float(loss) for loss in found])
    except ValueError as error:
        msg = f"{path} reports a loss that is no number: {error}"
        raise InputFileError(msg) from error
