"""Small runs that several tests analyse."""

from pathlib import Path

import pytest

from cryodrgn.cli.main import main
from mrc_orders import write_consensus


def command(words: str, *more: object) -> None:
    assert main([*words.split(), *map(str, more)]) == 0


@pytest.fixture(scope="session")
def simulated(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("simulated")
    command("simulate -D 16 --Apix 12 -n 60 --num-states 4 --snr 2 -o", folder)
    return folder


@pytest.fixture(scope="session")
def trained(simulated, tmp_path_factory) -> Path:
    """A run with a latent of three dimensions."""
    folder = tmp_path_factory.mktemp("trained") / "00_z8"
    star = simulated / "particles.star"
    command("train_vae --zdim 3 -n 2 --qdim 16 --pdim 16", star, "-o", folder)
    return folder


@pytest.fixture(scope="session")
def consensus(tmp_path_factory) -> Path:
    """A map in the box of the run that does not begin at zero."""
    return write_consensus(tmp_path_factory.mktemp("consensus") / "consensus.mrc")


@pytest.fixture(scope="session")
def analysed(trained, consensus) -> Path:
    command("analyze --ksample 4 --n-per-pc 3 --like", consensus, trained, 1)
    return trained / "analyze.1"
