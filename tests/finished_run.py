"""Short training runs, and what tests read out of their folders."""

import csv
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

from cryodrgn.cli.main import main
from cryodrgn.io.checkpoints import load_checkpoint
from cryodrgn.io.cryodrgn_pickle import load_latents, load_pickles
from cryodrgn.training.run_log import read_events

SMALL_VAE = ("--qdim", 16, "--pdim", 16, "--qlayers", 1, "--players", 1)
SMALL_NN = ("--dim", 16, "--layers", 1)


def command(*words: object) -> None:
    """Run a command that must succeed."""
    assert main([str(word) for word in words]) == 0


@dataclass(frozen=True)
class Finished:
    """The folder of a finished run."""

    path: Path

    @property
    def names(self) -> set[str]:
        return {path.name for path in self.path.iterdir()}

    @property
    def log(self) -> str:
        return (self.path / "run.log").read_text()

    @property
    def config(self) -> dict:
        return yaml.safe_load((self.path / "config.yaml").read_text())

    @property
    def metrics(self) -> list[dict[str, float]]:
        rows = csv.DictReader((self.path / "metrics.csv").read_text().splitlines())
        return [{name: float(value) for name, value in row.items()} for row in rows]

    def events(self, name: str | None = None) -> list[dict]:
        """What the run told, or what it told of one name."""
        told = read_events(self.path / "events.jsonl")
        return [event for event in told if name in {None, event["event"]}]

    def checkpoint(self, epoch: int | None = None) -> dict:
        name = "weights.pkl" if epoch is None else f"weights.{epoch}.pkl"
        return load_checkpoint(self.path / name)

    def weights(self, epoch: int | None = None) -> dict[str, torch.Tensor]:
        return self.checkpoint(epoch)["model_state_dict"]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(value.shape) for name, value in self.weights().items()}

    @property
    def latents(self):
        return load_latents(self.path / "z.pkl")

    def poses(self, epoch: int | None = None):
        name = "pose.pkl" if epoch is None else f"pose.{epoch}.pkl"
        return load_pickles(self.path / name)[0]

    def has_the_weights_of(self, other: "Finished") -> bool:
        mine, theirs = self.weights(), other.weights()
        return mine.keys() == theirs.keys() and all(
            torch.equal(mine[name], theirs[name]) for name in mine
        )
