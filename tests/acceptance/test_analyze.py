"""A run folder as cryoDRGN 4 leaves it."""

import shutil

import numpy as np
import pytest

from cryodrgn.io.cryodrgn_pickle import load_latents
from cryodrgn.io.mrc import read_volume


@pytest.fixture
def foreign(acceptance, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for source, names in {
        "upstream/het_config.yaml": ["config.yaml"],
        "upstream/het_weights.pkl": ["weights.1.pkl", "weights.pkl"],
        "reference/eval_z.pkl": ["z.1.pkl", "z.pkl"],
    }.items():
        for name in names:
            shutil.copy(acceptance / source, folder / name)
    return folder


def test_a_run_of_cryodrgn_4_is_analysed_by_the_numbers_of_its_files(run, fail, foreign):
    assert "no results of epoch 0 (z.0.pkl is missing); there is epoch 1" in fail(
        "analyze", foreign, 0
    )
    run("analyze", foreign, 1, "--skip-umap", "--ksample", 3, "--n-per-pc", 2)
    assert (foreign / "analyze.1/report.html").is_file()
    volume, _ = read_volume(foreign / "analyze.1/kmeans3/vol_000.mrc")
    assert volume.shape == (64, 64, 64)
    assert np.argmin(volume) == np.ravel_multi_index((32, 32, 32), volume.shape)
    assert load_latents(foreign / "z.1.pkl").shape == (100, 8)
