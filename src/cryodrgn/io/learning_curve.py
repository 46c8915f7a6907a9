"""The loss of every epoch, out of what a run reported."""

import csv
import re

import numpy as np
from jaxtyping import Float

from cryodrgn.rundir import RunDirectory

# How cryoDRGN's logs say it, of models with a latent and without.
LOSS = re.compile(r"=====> Epoch: .*?(?:total loss|Average loss) = (\S+?);")


def load_epoch_losses(run: RunDirectory) -> Float[np.ndarray, " epochs"]:
    """Average total loss of every epoch; empty where the run reported none.

    It comes from ``metrics.csv``, or else from ``run.log`` of any version of cryoDRGN.
    """
    if run.metrics.is_file():
        with run.metrics.open(newline="") as file:
            rows = [(int(row["epoch"]), float(row["total"])) for row in csv.DictReader(file)]
        epochs = np.array([epoch for epoch, _ in rows])
        losses = np.array([loss for _, loss in rows])
        return np.array([losses[epochs == epoch].mean() for epoch in np.unique(epochs)])
    if not run.log.is_file():
        return np.zeros(0)
    found = LOSS.findall(run.log.read_text(errors="replace"))
    return np.array([float(loss) for loss in found])
