"""Python functions take arrays where command lines name files, with the same result."""

from pathlib import Path

import numpy as np
import pytest
import torch

import cryodrgn
from cryodrgn.errors import ConfigError, CryodrgnError
from cryodrgn.io.cryodrgn_pickle import save_latents, save_pickles
from cryodrgn.io.star import write_star
from cryodrgn.jobs.tables import select_clusters

LABELS = np.array([0, 1, 2, 1, 0])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"rlnImageName": [f"{row + 1}@a.mrcs" for row in range(5)], "rlnVoltage": [300] * 5}
    write_star(tmp_path / "p.star", {"": names})
    save_pickles(tmp_path / "labels.pkl", [LABELS])
    z = np.arange(10, dtype=np.float32).reshape(5, 2)
    save_latents(tmp_path / "z.pkl", z, z)
    return tmp_path


AS_GIVEN = {
    "array": lambda array: array,
    "tensor": torch.from_numpy,
    "list": lambda array: array.tolist(),
    "file": lambda array: save_pickles(Path("given.pkl"), [array]) or "given.pkl",
}


@pytest.mark.parametrize("given", AS_GIVEN.values(), ids=AS_GIVEN)
def test_labels_and_lists_of_particles_select_alike_from_anything(folder, given):
    rows = cryodrgn.select(output="out.pkl", labels=given(LABELS), clusters=[1])
    assert rows.tolist() == [1, 3]
    parent = given(np.array([2, 4, 6, 8, 9]))
    nearest = {"coordinates": "z.pkl", "near": [2, 3], "count": 2}
    rows = cryodrgn.select(output="out.pkl", indices=parent, **nearest)
    assert rows.tolist() == [2, 4]
    rows = cryodrgn.select(output="out.pkl", none_of=given(np.array([0, 3])), num_original=5)
    assert rows.tolist() == [1, 2, 4]


def test_several_lists_may_be_of_different_kinds(folder):
    save_pickles(folder / "a.pkl", [np.array([0, 1, 2, 3])])
    mask = np.array([True, True, False, True, False])
    rows = cryodrgn.select(output="out.pkl", all_of=["a.pkl", mask, [1, 3]])
    assert rows.tolist() == [1, 3]


def test_a_mask_chooses_what_its_rows_choose_and_is_of_all_particles(folder):
    mask = LABELS == 1
    cryodrgn.export("p.star", mask, "of_mask.star", labels=LABELS, latents=[[1, 2]] * 5)
    save_pickles(folder / "rows.pkl", [np.flatnonzero(mask)])
    save_pickles(folder / "z2.pkl", [np.tile([1, 2], (5, 1))])
    cryodrgn.export("p.star", "rows.pkl", "of_file.star", labels="labels.pkl", latents="z2.pkl")
    assert (folder / "of_mask.star").read_bytes() == (folder / "of_file.star").read_bytes()
    with pytest.raises(
        CryodrgnError, match="`indices` holds 4 booleans, but .* has 5 particles"
    ):
        cryodrgn.export("p.star", mask[:4], "x.star")


def test_tools_and_traversals_take_arrays(folder):
    assert select_clusters(LABELS, clusters=[2], output="out.pkl").tolist() == [2]
    z = np.random.default_rng(0).normal(size=(30, 2))
    save_pickles(folder / "z30.pkl", [z])
    of_file = cryodrgn.pc_traversal("z30.pkl", num_points=3)
    of_array = cryodrgn.pc_traversal(z.astype(np.float32), num_points=3)
    for number, path in of_file.items():
        np.testing.assert_array_equal(path.points, of_array[number].points)


WRONG = {
    "labels of two columns": ({"labels": np.zeros((5, 2))}, "`labels` holds no labels"),
    "halves": ({"labels": [0.5] * 5}, "`labels` holds no labels"),
    "words": ({"labels": ["a", "b"]}, "`labels` must be the path of a file or folder or"),
    "rows of different length": ({"labels": [[1], [1, 2]]}, "an array of numbers or None, got"),
    "one number": ({"labels": 3}, "an array of numbers or None, got 3"),
    "list of fractions": ({"none_of": np.array([0.5])}, "`none_of` holds no list of indices"),
    "mask of others": ({"all_of": [[True, True]], "num_original": 5}, "`all_of`"),
    "flat coordinates": ({"coordinates": np.zeros(5)}, "`coordinates` holds no latents"),
}  # fmt: skip


@pytest.mark.parametrize(("given", "message"), WRONG.values(), ids=WRONG)
def test_other_arrays_are_refused_by_the_name_of_the_setting(folder, given, message):
    with pytest.raises(CryodrgnError) as caught:
        cryodrgn.select(output="out.pkl", **({"random": True} | given))
    assert message in str(caught.value)
    assert not (folder / "out.pkl").exists()


def test_a_file_that_is_no_array_of_a_setting_stays_a_path():
    with pytest.raises(ConfigError, match="`output` must be the path of a file or folder, got"):
        cryodrgn.select(output=np.arange(3), random=True, num_original=5)


@pytest.mark.parametrize("given", [np.zeros((2, 3)), np.zeros(5), [[np.nan, 0]], []])
def test_z_values_of_another_dimension_are_refused(given):
    from cryodrgn.given_arrays import GivenArray
    from cryodrgn.io.latent_text import load_latent_text

    with pytest.raises(CryodrgnError, match="the array must be z-values, rows of 2 finite"):
        load_latent_text(GivenArray.of(given), 2)
    assert load_latent_text(GivenArray.of([1, 2]), 2).tolist() == [[1, 2]]
