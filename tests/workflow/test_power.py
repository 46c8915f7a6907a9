import csv
import json

import numpy as np
import pytest
import torch

from cryodrgn.data.config import DataConfig
from cryodrgn.io.mrc import read_volume, write_volume
from cryodrgn.io.particle_files import ParticleFiles
from cryodrgn.kernels.projection import move_volume
from cryodrgn.linear.detection import Component
from cryodrgn.linear.planting import sampled, signals
from cryodrgn.workflow.power import component_at
from cryodrgn.workflow.power_scene import FitSettings, MotionSettings, open_scene
from pages import ROOT, lines_of

PAGE = "docs/power.md"
FIT = ("--components", 1, "--radius", 6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A rigid set, whose particles are seen from all directions."""
    from cryodrgn.cli.main import main

    folder = tmp_path_factory.mktemp("power")
    words = f"simulate -D 20 --Apix 9 -n 400 --num-states 1 --snr 0.5 -o {folder}"
    assert main(words.split()) == 0
    return folder


@pytest.fixture(scope="module")
def report(folder):
    """The report on that set, and what was said."""
    import cryodrgn

    return cryodrgn.power(
        folder / "particles.star",
        folder / "report",
        num_components=1,
        radius=6,
        domain_kda=15.0,
        sizes=(10.0, 30.0),
        shares=(0.5, 0.1),
        num_trials=4,
    )


def test_the_worked_example_of_the_page_answers(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = [run(*line.words) for line in lines_of(PAGE)[:2]]
    assert "With these 400 particles a motion of" in said[1]
    assert " in 50 % of them is found in 95 % of trials" in said[1]
    # What is found in planted sets is no news of the user's.
    assert said[1].count("contrasts of images") == 1
    assert "the outermost 15 kDa" in (ROOT / PAGE).read_text()
    assert (tmp_path / "power/power.html").exists()


@pytest.mark.slow
def test_the_lines_that_ask_a_network_follow_one_another(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("particles.star", "particles.mrcs"):
        (tmp_path / name).symlink_to(folder / name)
    for line in lines_of(PAGE)[2:]:
        # The molecule of the set weighs 40 kDa, of which at most half can move.
        line.run({"30": "15"})
    judgement = json.loads((tmp_path / "power/judgement.json").read_text())
    assert 0.3 < judgement["auc"] <= 1


def test_the_report_answers_in_one_sentence(report):
    assert report.sentence.startswith("With these 400 particles ")
    assert "of the outermost 15 kDa in 50 % of them" in report.sentence
    page = report.files.page.read_text()
    assert report.sentence in page
    assert page.count("data:image/png") == 4
    assert "With nothing planted, 0 of 1 set was said to carry signal." in page


def test_the_table_has_every_question_and_chances_rise_with_particles(report):
    rows = list(csv.DictReader(report.files.table.read_text().splitlines()))
    assert {row["motion"] for row in rows} == {"10", "30"}
    of_one = [row for row in rows if (row["motion"], row["share"]) == ("30", "0.5")]
    chances = [float(row["probability"]) for row in of_one]
    assert chances == sorted(chances)
    assert chances[-1] > 0.9
    for row in rows:
        assert float(row["low"]) <= float(row["probability"]) <= float(row["high"])


def test_trials_are_kept_with_what_they_planted(report):
    content = json.loads(report.files.json.read_text())
    assert [trial["planted"] is None for trial in content["trials"]] == [
        True,
        False,
        False,
        False,
    ]
    assert content["own_components"] == 0
    assert set(content["resolutions"]) == {"1", "0.5", "0.1"}


def test_forecast_and_trial_agree_on_what_is_plain(report):
    power = report.power
    for point, trial in power.trials:
        # Fits to few images of a state end before they are done.
        is_near = 0.3 < trial.expected < 0.6
        is_common = point is not None and point.count == 400 and point.share == 0.5
        if is_common and not is_near:
            assert trial.is_detected == (trial.expected > 0.4)


def test_a_state_of_fewer_particles_has_a_coarser_map(report):
    ends = [report.power.resolution(share).mean for share in (1.0, 0.1, 0.02)]
    assert ends == sorted(ends)
    assert ends[0] < ends[-1]


def test_signals_between_two_sizes_follow_a_power_of_the_size():
    def component(size):
        return Component(signal=torch.full((3,), size**2), power=torch.full((3,), size**2))

    made = [component(5.0), component(20.0)]
    for size in (1.0, 5.0, 10.0, 20.0):
        found = component_at(made, (5.0, 20.0), size)
        torch.testing.assert_close(found.signal, torch.full((3,), size**2))


def test_a_mask_says_what_moves(run, folder, tmp_path):
    axis = np.arange(20) - 10
    mask = np.zeros((20, 20, 20), dtype=np.float32)
    mask[np.ix_(axis > -10, axis > 2, axis > -10)] = 1
    write_volume(tmp_path / "mask.mrc", mask, 9.0)
    said = run(
        "power", folder / "particles.star", "-o", tmp_path, *FIT, "--trials", 0,
        "--mask", tmp_path / "mask.mrc", "--motions", 8,
    )  # fmt: skip
    assert "of the domain within mask.mrc in 50 % of them" in said
    assert "None were asked for" in (tmp_path / "power.html").read_text()


def signal_of(maps, folder, scratch):
    """Signal-to-noise ratio of the way between two maps, by shell, in the set."""
    data = DataConfig(files=ParticleFiles(particles=folder / "particles.star"))
    scene = open_scene(
        data, data.open(), MotionSettings(models=maps, sizes=(1.0,)),
        FitSettings(num_components=1, radius=6), torch.device("cpu"), scratch,
        without_own=False,
    )  # fmt: skip
    rows = sampled(scene.images)
    differences = scene.motions.differences
    return signals(scene.images, rows, differences, scene.background.noise, scene.radius)[0]


def test_a_model_beside_the_map_is_brought_into_it(folder, tmp_path):
    rest = torch.from_numpy(read_volume(next((folder / "gt").glob("*.mrc")))[0])
    domain = rest * (torch.arange(20) > 10)[:, None, None]
    turn = torch.tensor([[0.9, -0.436, 0.0], [0.436, 0.9, 0.0], [0.0, 0.0, 1.0]])
    states = rest, rest - domain + move_volume(domain, turn, torch.zeros(3))
    found = {}
    for shift in (0.0, 0.8):
        maps = tuple(tmp_path / f"{shift:g}_{number}.mrc" for number in range(2))
        for path, state in zip(maps, states, strict=True):
            moved = move_volume(state, torch.eye(3), torch.tensor([shift, 0.0, 0.0]))
            write_volume(path, moved.numpy(), 9.0)
        found[shift] = signal_of(maps, folder, tmp_path)
    assert float(found[0.0].sum()) > 0
    torch.testing.assert_close(found[0.8], found[0.0], rtol=0.1, atol=0.01 * found[0.0].max())


WRONG = {
    "no poses": (("particles.mrcs", "--ctf", "ctf.pkl"), "poses"),
    "no CTF": (("particles.mrcs", "--poses", "poses.pkl"), "has no CTF parameters"),
    "no motion": (("particles.star", "--motions", "0"), "--motions must be positive"),
    "all in one state": (("particles.star", "--shares", "1"), "must be between 0 and 1"),
    "one model": (("particles.star", "--model", "a.pdb"), "alone says no motion"),
    "two domains": (
        ("particles.star", "--model", "a.pdb", "b.pdb", "--mask", "m.mrc"), "not both"
    ),
    "chains of nothing": (("particles.star", "--chains", "A"), "needs one atomic model"),
    "negative domain": (("particles.star", "--domain-kda", "-5"), "must be positive, got -5"),
    "large domain": (("particles.star", "--domain-kda", "900"), "kDa) can move"),
    "huge domain": (("particles.star", "--domain-kda", "9000"), "more than half of any"),
    "less than one": (("particles.star", "--shares", "0.002"), "less than one of 400"),
    "long motion": (
        ("particles.star", "--domain-kda", "15", "--motions", "400"), "the largest motion is"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG)
def test_a_question_without_answer_is_refused_in_one_sentence(
    fail, folder, tmp_path, words, message
):
    files = [
        folder / word if word.endswith((".star", ".mrcs", ".pkl", ".pdb", ".mrc")) else word
        for word in words
    ]
    said = fail("power", *files, *FIT, "--trials", 0, "--lazy", "-o", tmp_path / "out")
    assert message in said
    assert not list(tmp_path.iterdir())


def test_a_model_outside_the_box_is_refused(fail, folder, tmp_path):
    import gemmi

    from cryodrgn.simulation.hinge import hinge_models

    model = hinge_models([1.2])[0]
    for site in model.all():
        site.atom.pos = gemmi.Position(*(3 * np.array(site.atom.pos.tolist())))
    structure = gemmi.Structure()
    structure.add_model(model)
    structure.write_pdb(str(tmp_path / "large.pdb"))
    said = fail(
        "power", folder / "particles.star", "-o", tmp_path / "out", *FIT,
        "--model", tmp_path / "large.pdb", "--chains", "B", "--motions", 5,
    )  # fmt: skip
    assert "but the box only 180 Å" in said
