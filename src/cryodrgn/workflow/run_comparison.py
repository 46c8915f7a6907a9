"""The one of several models that explains held-out images best, in words and as a table."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from cryodrgn.counts import counted
from cryodrgn.io.atomic import atomic_path
from cryodrgn.particles.copies import standard_error
from cryodrgn.training.model_choice import FEW_EPOCHS, LIKELY, is_better


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RunComparison:
    """Log-likelihoods of particles under several models.

    Attributes:
        names: The runs, as they were given.
        likelihoods: Lower bounds beside a constant that all have in common.
        epochs: Epochs that each was trained for; None for those that are no networks.
    """

    names: tuple[str, ...]
    likelihoods: Float[np.ndarray, "runs particles"]
    epochs: tuple[int | None, ...]

    @property
    def best(self) -> int:
        """Number of the run under which the images are most likely."""
        return int(self.likelihoods.mean(1).argmax())

    def behind(self, number: int) -> tuple[float, float]:
        """Mean by which a run lies behind the best one, per particle, and its error."""
        losses = self.likelihoods[self.best] - self.likelihoods[number]
        return float(losses.mean()), standard_error(losses, ddof=1)

    def are_equal(self, number: int) -> bool:
        """True if a run is not worse than the best one beyond chance."""
        loss, error = self.behind(number)
        return not is_better(loss, error, self.likelihoods.shape[1])

    def hardly_trained(self) -> list[str]:
        """A sentence on every network that has seen too few epochs to be judged."""
        return [
            f"{name} is a network of {counted(number, 'epoch')}, hardly trained: what it "
            f"explains says little of what it will; train at least {FEW_EPOCHS} epochs "
            "before you choose"
            for name, number in zip(self.names, self.epochs, strict=True)
            if number is not None and number < FEW_EPOCHS
        ]

    def favoured(self) -> list[str]:
        """A sentence if the best run was fitted to the particles that judge."""
        if self.epochs[self.best] is not None:
            return []
        sentence = (
            f"{self.names[self.best]} is a linear model, fitted to all particles, those that "
            "judge too: this favours it, the more the fewer particles there are; with fewer "
            "than some thousands, trust the sentence of a train_vae `linear_run` `held_out`"
        )
        return [sentence]

    def in_words(self) -> str:
        """The better model, by how much, in one sentence."""
        others = [number for number in range(len(self.names)) if number != self.best]
        equal = [self.names[number] for number in others if self.are_equal(number)]
        behind = [
            f"{self.names[number]} {0 - loss:+.3g} ± {error:.2g}"
            for number in others
            for loss, error in [self.behind(number)]
        ]
        count = self.likelihoods.shape[1]
        numbers = (
            f"log-likelihood per particle against {self.names[self.best]}: "
            f"{', '.join(behind)}; {count} particles held out"
        )
        if equal:
            also = " and ".join([self.names[self.best], *equal])
            losses = [self.behind(number) for number in others if self.are_equal(number)]
            is_likely = any(loss > LIKELY * error for loss, error in losses)
            words = "nearly equally" if is_likely else "equally"
            return f"{also} explain the images {words} well: trust the simplest ({numbers})"
        advice = "trust its volumes"
        if self.epochs[self.best] is None:
            advice = "trust its volumes if the particles are some thousands, since it saw them"
        return f"{self.names[self.best]} explains the images best: {advice} ({numbers})"


def write_comparison(comparison: RunComparison, path: Path) -> None:
    """Write mean log-likelihoods below that of the best run, and their errors, as a table."""
    with atomic_path(path) as partial_path, partial_path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["run", "log_likelihood_behind_best", "error", "particles"])
        for number, name in enumerate(comparison.names):
            loss, error = comparison.behind(number)
            table.writerow([name, f"{loss:.6g}", f"{error:.3g}", len(comparison.likelihoods.T)])
