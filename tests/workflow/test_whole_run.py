"""The whole way from a particle file to a report, on sets with a known truth."""

import json
import re

import mrcfile
import numpy as np
import pytest
from scipy.ndimage import rotate
from scipy.spatial.transform import Rotation

from cryodrgn.analysis.agreement import rank_correlation
from cryodrgn.io.cryodrgn_pickle import load_latents
from cryodrgn.io.mrc import write_volume
from cryodrgn.io.run_config import load_run_config
from cryodrgn.rundir import WholeRunFiles
from finished_run import Finished

SMALL = ("--qdim", 32, "--pdim", 32, "-b", 16, "-n", 40)


def simulate(run, folder, states):
    line = ("simulate", "-D", 16, "--Apix", 12, "-n", 600, "--snr", 3, "--num-states", states)
    run(*line, "-o", folder)
    return folder / "particles.star"


@pytest.mark.slow
def test_a_star_file_becomes_a_report_with_the_motion_in_it(run, tmp_path):
    star, files = simulate(run, tmp_path / "sim", 10), WholeRunFiles(tmp_path / "out")
    line = ("run", star, "-o", files.path, "--zdim", 2, *SMALL)
    said = run(*line)
    assert re.search(r"^Training: converged at epoch \d+; heterogeneity is found", said, re.M)
    # Images of 16 px hold less of the angle than those of the demo.
    latents = load_latents(files.training.latents())
    assert rank_correlation(latents, np.load(tmp_path / "sim/labels.npy")) > 0.75
    page = files.report.read_text()
    assert "heterogeneity is found" in page
    assert "skewness" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert files.check.map.is_file()
    assert files.linear.linear.mean.is_file()
    manifest = json.loads(files.manifest.read_text())
    assert "heterogeneity is found" in manifest["verdict"]
    log = files.log.read_text()
    for step in ("check", "train_linear", "train_vae", "analyze", "nuisance"):
        assert f"$ cryodrgn {step} " in log
    assert "# held out: " in log
    before = files.training.weights().read_bytes()
    again = run(*line)
    assert again.count("is there already") == 5
    assert "$ cryodrgn" not in again
    assert files.training.weights().read_bytes() == before


@pytest.mark.slow
def test_one_structure_is_said_to_be_one(run, tmp_path):
    star = simulate(run, tmp_path / "sim", 1)
    network = ("--qdim", 32, "--pdim", 32, "--qlayers", 2, "--players", 2, "--lr", 1e-3)
    network += ("-b", 16)
    kept_out = ("--held-out", 0.2, "--stop-when-converged", "-n", 40)
    run("train_vae", star, "--zdim", 2, *network, *kept_out, "-o", tmp_path / "run")
    last = [
        line for line in Finished(tmp_path / "run").log.splitlines() if "held out: " in line
    ]
    assert "no heterogeneity above noise found (converged at epoch " in last[-1]


@pytest.mark.slow
def test_the_maps_of_a_run_with_symmetry_have_it(run, tmp_path):
    """A molecule of three arms, in few noisy images."""
    grid = np.arange(16) - 8.0
    turns = [Rotation.from_euler("z", 120 * n, degrees=True).as_matrix() for n in range(3)]
    atoms = np.array([[4.0, 0.0, 1.0], [3.0, 2.0, -1.0], [1.0, 1.0, 2.0]])
    z, y, x = np.meshgrid(grid, grid, grid, indexing="ij")
    places = [turn @ atom for turn in turns for atom in atoms]
    blobs = [np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / 2) for a, b, c in places]
    write_volume(tmp_path / "arms.mrc", np.float32(sum(blobs)), 12.0)
    run("simulate", tmp_path / "arms.mrc", "-n", 200, "--snr", 1, "-o", tmp_path / "sim")
    files = WholeRunFiles(tmp_path / "out")
    line = ("run", tmp_path / "sim/particles.star", "--symmetry", "C3", "--zdim", 1)
    said = run(*line, *SMALL[:-1], 2, "-o", files.path)
    assert re.search(
        "^Symmetry: C3: images are added at all mates in the consensus", said, re.M
    )
    assert "each of 200 different images is added at 3 mates" in files.log.read_text()
    inside = np.sqrt(x**2 + y**2 + z**2)[1:, 1:, 1:] < 6
    for path in (files.consensus.volume, files.linear.linear.mean):
        # Without the first plane of each axis the middle of the array is the axis of symmetry.
        volume = mrcfile.read(path)[1:, 1:, 1:]
        turned = rotate(volume, 120, axes=(1, 2), reshape=False, order=3)
        assert np.corrcoef(volume[inside], turned[inside])[0, 1] > 0.97
    assert load_run_config(files.linear.config_yaml)["training"]["linear"]["symmetry"] == "C3"
    assert "The network knows no symmetry" in files.report.read_text()
