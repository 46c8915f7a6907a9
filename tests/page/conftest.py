"""Two small runs of the same particles, and a server of their pages."""

import shutil

import numpy as np
import pytest

from cryodrgn.cli.main import main
from cryodrgn.io.cryodrgn_pickle import save_pickles
from finished_run import SMALL_VAE
from page.browser import browsing
from page.server import serving


def command(line: str) -> None:
    assert main(line.split()) == 0


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with particles, a run of a network (``vae``) and a linear one (``linear``)."""
    folder = tmp_path_factory.mktemp("page")
    star, rows = folder / "sim/particles.star", folder / "rows.pkl"
    command(f"simulate -D 16 --Apix 12 -n 120 --num-states 3 --snr 3 -o {folder}/sim")
    # Particles of a run are not the rows of the file: the last twenty are left out.
    save_pickles(rows, [np.arange(0, 100)[::-1].copy()])
    small = " ".join(map(str, SMALL_VAE))
    command(f"train_vae {star} -o {folder}/vae --zdim 2 -n 2 {small} --ind {rows}")
    command(f"train_linear {star} -o {folder}/linear --components 2 --radius 6")
    return folder


@pytest.fixture
def runs(trained, tmp_path):
    """A copy of the folder that a test may change."""
    copy = tmp_path / "runs"
    shutil.copytree(trained, copy)
    return copy


@pytest.fixture(scope="session")
def page(trained):
    """Somebody who looks at both runs, which nobody changes."""
    with serving(trained / "vae", trained / "linear") as client:
        yield client


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A browser that all tests of the page share."""
    with browsing(tmp_path_factory.mktemp("browser")) as browser:
        yield browser
