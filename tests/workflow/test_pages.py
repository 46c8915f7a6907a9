"""Lines that pages type lead from one to the next, on small sets; who runs which page."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cryodrgn.imaging.masks import soft_sphere
from cryodrgn.io.cryodrgn_pickle import load_latents, load_poses, save_pickles
from cryodrgn.io.mrc import write_volume
from cryodrgn.io.selection_files import load_indices
from cryodrgn.io.star import read_star
from cryodrgn.simulation.simulate import SimulationSettings, simulate
from pages import PAGES, ROOT, Line, lines_of

# Pages whose lines other tests run.
ELSEWHERE = {
    "README.md": "tests/workflow/test_readme.py",
    "docs/decoders.md": "tests/models/test_registry.py",
    "docs/maps.md": "tests/reconstruction/test_postprocessing.py",
    "docs/network.md": "tests/training/test_linear_start.py",
    "docs/power.md": "tests/workflow/test_power.py",
    "docs/run.md": "tests/workflow/test_whole_runs.py",
    "docs/tilt-series-files.md": "tests/workflow/test_tilt_series_page.py",
    "docs/training.md": "tests/training/test_training_page.py",
}
HERE = (
    *("docs/abinit.md", "docs/check.md", "docs/clusters.md", "docs/dashboard.md"),
    *("docs/decisions.md", "docs/linear.md", "docs/symmetry.md", "docs/tilt-series.md"),
)
BOX, PIXEL, COUNT = 16, 12.0, 400
# The piece of density that comes and goes, x, y, z in voxels from the first.
PIECE = (11, 8, 6)
PLACE = {"151,118,104,12": ",".join(f"{PIXEL * index:g}" for index in PIECE) + ",24"}


def test_every_page_with_lines_has_a_test_that_runs_them():
    assert {page for page in PAGES if lines_of(page)} == {*ELSEWHERE, *HERE}
    for page, test in ELSEWHERE.items():
        assert f'"{page}"' in (ROOT / test).read_text()


def ball(centre, radius):
    shift = tuple(np.subtract(centre, BOX // 2)[::-1].tolist())
    return torch.roll(soft_sphere(BOX, float(radius), 1.0), shift, (0, 1, 2))


@pytest.fixture(scope="module")
def composed(tmp_path_factory):
    """Images of a body with one piece or another, both or none."""
    folder = tmp_path_factory.mktemp("composed")
    body = ball((8, 8, 8), 2) + ball((5, 8, 10), 1.5) + 0.8 * ball((8, 11, 9), 1.5)
    piece, other = ball(PIECE, 1.5), ball((8, 4, 9), 1.5)
    states = [body, body + piece, body + other, body + piece + other]
    states = [volume.numpy() for volume in states]
    settings = SimulationSettings(num_images=COUNT, pixel_size=PIXEL, snr=3.0)
    simulate(states, settings, folder)
    write_volume(folder / "ligand_mask.mrc", ball(PIECE, 1).numpy(), PIXEL)
    return folder


@pytest.fixture
def folder(composed, tmp_path, monkeypatch):
    """The folder in which lines are typed, with the set under the names of the pages."""
    for path in composed.iterdir():
        if path.is_file():
            (tmp_path / path.name).symlink_to(path)
    for name in ("run_data.star", "full_size.star"):
        (tmp_path / name).symlink_to(composed / "particles.star")
    (tmp_path / "pose.pkl").symlink_to(composed / "poses.pkl")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_all(lines, instead=None):
    for line in lines:
        line.run(instead)


@pytest.mark.slow
def test_lines_lead_from_states_to_decisions(folder):
    lines = lines_of("docs/decisions.md")
    density, stable, sharpened, feature, states = lines
    Line("cryodrgn", ("train_linear", "particles.star", "-o", "00_linear")).run()
    run_all([density, stable, sharpened, feature], PLACE)
    assert (folder / "00_linear/density/stable_states.csv").is_file()
    assert (folder / "state_000/sharpened.mrc").is_file()
    present = np.load(folder / "labels.npy") % 2 == 1
    found = np.isin(np.arange(COUNT), load_indices(Path("with.pkl")))
    assert (found == present).mean() > 0.98
    shutil.rmtree("00_linear/states")
    states.run()
    assert (folder / "00_linear/states/states.html").is_file()


@pytest.mark.slow
def test_lines_of_the_linear_model_follow_one_another(folder):
    for line in lines_of("docs/linear.md"):
        again = ("--overwrite",) if "--refine-poses" in line.words else ()
        # Latents of the set have two dimensions.
        less = {"8": "2"} if line.command == "train_dec" else {}
        replace(line, words=(*line.words, *again)).run(PLACE | {"4711": "99"} | less)
    for name in ("states", "states_full", "stable"):
        assert (folder / "00_linear" / name / "states.html").is_file()
    present = np.load(folder / "labels.npy") % 2 == 1
    for name, expected in (("with.pkl", present), ("without.pkl", ~present)):
        found = np.isin(np.arange(COUNT), load_indices(Path(name)))
        assert (found == expected).mean() > 0.95
    assert (folder / "00_linear/density/path.txt").is_file()
    assert load_latents(folder / "01_vae/z.pkl").shape == (COUNT, 8)
    assert load_latents(folder / "02_dec/z.pkl").shape == (COUNT, 2)


@pytest.mark.slow
def test_poses_that_were_found_are_brought_into_the_frame_of_others(folder):
    # The others take minutes, or need sets of thousands of images.
    search, _, align = lines_of("docs/abinit.md")[:3]
    search.run({"3": "1"})
    align.run()
    rotations, _ = load_poses(folder / "aligned.pkl")
    assert rotations.shape == (COUNT, 3, 3)


def test_sets_are_checked(folder):
    run_all(lines_of("docs/check.md"))
    assert (folder / "check/check.html").is_file()


def test_a_line_for_many_cards_runs_on_a_machine_without(folder):
    run_all(lines_of("docs/clusters.md"))
    assert (folder / "00_z8/z.pkl").is_file()


def test_a_selection_of_the_page_is_chosen_from_and_trained_on(folder):
    serve, select, train = lines_of("docs/dashboard.md")
    assert serve.command == "dashboard"
    words = ("train_vae", "particles.star", "--zdim", "1", "-o", "run")
    Line("cryodrgn", words).run()
    labels = np.arange(COUNT) % 5
    for path, content in (
        ("run/selections/chosen.pkl", np.arange(100)),
        ("run/analyze/kmeans20/labels.pkl", labels),
    ):
        Path(path).parent.mkdir(parents=True)
        save_pickles(Path(path), [content])
    names = {"RUN": "run", "NAME": "chosen"}
    select.run(names)
    assert load_indices(Path("some.pkl")).tolist() == list(range(3, 100, 5))
    assert train.words[-1] == "…"
    replace(train, words=(*train.words[:-1], "--zdim", "1", "-o", "more")).run(names)
    assert len(load_latents(folder / "more/z.pkl")) == 100


@pytest.mark.slow
def test_a_symmetric_set_is_expanded_and_selected_back(folder):
    (folder / "run_data.star").unlink()
    words = ("filter_star", "particles.star", "--ind", "few.pkl", "-o", "run_data.star")
    save_pickles(folder / "few.pkl", [np.arange(80)])
    Line("cryodrgn_utils", words).run()
    lines = lines_of("docs/symmetry.md")
    *first, select, export, curved = lines
    run_all(first)
    latents = load_latents(folder / "01_z8/z.pkl")
    assert latents.shape == (14 * 80, 8)
    path = folder / "01_z8/analyze/kmeans20/labels.pkl"
    path.parent.mkdir(parents=True)
    # All mates of one particle in twenty.
    save_pickles(path, [np.repeat(np.arange(80) % 20, 14)])
    run_all([select, export, curved])
    assert len(read_star(folder / "kept.star")["particles"]) == 4


@pytest.mark.slow
def test_a_tilt_series_goes_from_check_to_analysis(folder):
    *steps, simulated = lines_of("docs/tilt-series.md")
    more = ("-D", "16", "--Apix", "12", "--tilt-step", "20", "--num-states", "2", "--snr", "3")
    replace(simulated, words=(*simulated.words, *more)).run({"500": "24"})
    run_all(steps, {"particles.star": "simulated/particles.star", "29": "0"})
    assert (folder / "01_vae/analyze.0/report.html").is_file()
    assert len(load_latents(folder / "00_linear/z.pkl")) == 24
