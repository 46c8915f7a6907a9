"""Symmetry expansion of particle files, and selections led back from there."""

import numpy as np
import pytest
import starfile
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cryodrgn.cli.main import main
from cryodrgn.geometry.conventions import (
    cryosparc_poses_from_matrices,
    matrices_from_cryosparc_poses,
)
from cryodrgn.geometry.symmetry import point_group
from cryodrgn.io.cryodrgn_pickle import load_pickles, save_pickles
from cryodrgn.io.cryosparc_tables import read_table, write_table
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.io.star_rows import StarRows
from cryodrgn.particles.expansion import original_rows

COUNT = 6


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    words = f"simulate -D 16 --Apix 8 -n {COUNT} --num-states 1 --shift 2 -o {folder}"
    assert main(words.split()) == 0
    return folder / "particles.star"


@pytest.fixture(scope="module")
def expanded(simulated):
    path = simulated.with_name("expanded.star")
    assert main(["expand", str(simulated), "--symmetry", "d3", "-o", str(path)]) == 0
    return path


def test_every_particle_stands_at_all_mates_and_is_otherwise_as_it_was(simulated, expanded):
    before, after = (
        open_particles(ParticleFiles(particles=path)) for path in (simulated, expanded)
    )
    group = point_group("D3")
    assert len(after) == 6 * COUNT
    assert after.num_different == COUNT
    rotations = before.images.poses.rotations[:, None] @ group[None]
    found = after.images.poses.rotations.reshape(COUNT, 6, 3, 3)
    np.testing.assert_allclose(found, rotations, atol=1e-5)
    shifts = after.images.poses.shifts.reshape(COUNT, 6, 2)
    np.testing.assert_array_equal(shifts, np.repeat(before.images.poses.shifts[:, None], 6, 1))
    # Whoever reads the file with another program finds the same.
    old, new = (starfile.read(path)["particles"] for path in (simulated, expanded))
    angles = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]
    turned = Rotation.from_euler("ZYZ", new[angles].to_numpy(), degrees=True).as_matrix()
    plain = Rotation.from_euler("ZYZ", old[angles].to_numpy(), degrees=True).as_matrix()
    copies = np.repeat(plain, 6, axis=0)
    mates = np.tile(group, (COUNT, 1, 1))
    np.testing.assert_allclose(turned, mates.transpose(0, 2, 1) @ copies, atol=1e-6)
    others = [name for name in old.columns if name not in angles]
    np.testing.assert_array_equal(
        new[others].to_numpy(), np.repeat(old[others].to_numpy(), 6, axis=0)
    )
    lines = StarRows.read(simulated), StarRows.read(expanded)
    assert list(lines[1].rows[::6]) == list(lines[0].rows)


def test_a_cryosparc_table_is_expanded_with_identities_of_its_own(run, simulated, tmp_path):
    names = [("blob/path", "S40"), ("blob/idx", "u4"), ("uid", "u8"), ("blob/psize_A", "f4")]
    poses = [("alignments3D/pose", "f4", (3,)), ("alignments3D/shift", "f4", (2,))]
    table = np.zeros(COUNT, dtype=[*names, *poses])
    rng = np.random.default_rng(0)
    table["blob/path"], table["blob/idx"] = b"particles.mrcs", np.arange(COUNT)
    table["uid"], table["blob/psize_A"] = rng.integers(1, 2**63, COUNT), 8
    table["alignments3D/pose"] = rng.normal(size=(COUNT, 3))
    table["alignments3D/shift"] = rng.normal(size=(COUNT, 2))
    source = simulated.with_name("particles.cs")
    write_table(source, table)
    run("expand", source, "--symmetry", "T", "-o", tmp_path / "out.cs")
    found = read_table(tmp_path / "out.cs")
    assert len(found) == len(np.unique(found["uid"])) == 12 * COUNT
    np.testing.assert_array_equal(found["uid"][::12], table["uid"])
    np.testing.assert_array_equal(found["cryodrgn/source_uid"], np.repeat(table["uid"], 12))
    np.testing.assert_array_equal(found["alignments3D/pose"][::12], table["alignments3D/pose"])
    rotations = matrices_from_cryosparc_poses(table["alignments3D/pose"])
    expected = (rotations[:, None] @ point_group("T")[None]).reshape(-1, 3, 3)
    turned = matrices_from_cryosparc_poses(found["alignments3D/pose"])
    np.testing.assert_allclose(turned, expected, atol=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_rotation_vectors_come_back_from_their_matrices(seed):
    turns = Rotation.random(20, random_state=seed)
    half = Rotation.from_rotvec(np.pi * Rotation.random(5, random_state=seed).as_matrix()[:, 0])
    rotations = np.concatenate([turns.as_matrix(), half.as_matrix(), np.eye(3)[None]])
    vectors = cryosparc_poses_from_matrices(rotations)
    np.testing.assert_allclose(matrices_from_cryosparc_poses(vectors), rotations, atol=1e-9)
    assert np.linalg.norm(vectors, axis=1).max() < np.pi + 1e-9


def test_a_selection_of_copies_means_particles_by_a_stated_rule(run, simulated, expanded):
    folder = simulated.parent
    # All copies of particle 0, four of 1, three of 2, one of 4.
    rows = [*range(6), 6, 7, 8, 9, 12, 13, 14, 25]
    save_pickles(folder / "chosen.pkl", [np.array(rows)])
    lines = StarRows.read(simulated).rows
    for rule, kept in {"majority": [0, 1], "any": [0, 1, 2, 4], "all": [0]}.items():
        out = folder / f"{rule}.star"
        run(
            *("export", simulated, "--ind", folder / "chosen.pkl", "--expanded", expanded),
            *("--copies", rule, "-o", out),
        )
        assert list(StarRows.read(out).rows) == [lines[row] for row in kept]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.data())
def test_rules_are_nested_and_all_of_everything_is_everything(originals, data):
    copies = np.array(originals)
    chosen = np.array(data.draw(st.lists(st.integers(0, len(copies) - 1))), dtype=np.int64)
    every, most, some = (
        set(original_rows(chosen, copies, rule).tolist()) for rule in ("all", "majority", "any")
    )
    assert every <= most <= some == set(copies[chosen].tolist())
    everything = np.arange(len(copies))
    assert set(original_rows(everything, copies, "all").tolist()) == set(originals)


def test_mistakes_are_refused(fail, simulated, expanded, tmp_path):
    out = ("-o", tmp_path / "x.star")
    assert "it is expanded already" in fail("expand", expanded, "--symmetry", "C2", *out)
    assert "must be a point group" in fail("expand", simulated, "--symmetry", "Q", *out)
    stack = simulated.with_name("particles.mrcs")
    assert "is no .star or .cs file" in fail("expand", stack, "--symmetry", "C2", *out)
    other = ("expand", simulated, "--symmetry", "C2", "-o", tmp_path / "x.cs")
    assert "must be another .star file" in fail(*other)
    save_pickles(tmp_path / "one.pkl", [np.array([1])])
    line = ("export", simulated, "--ind", tmp_path / "one.pkl", *out, "--expanded")
    assert "of the copies of no particle" in fail(*line, expanded)
    wrong = ("export", expanded, "--ind", tmp_path / "one.pkl", *out, "--expanded", expanded)
    assert "lists images more than once" in fail(*wrong)
    assert not list(tmp_path.glob("x.*"))


def test_tilt_series_are_not_expanded(run, fail, tmp_path):
    words = "simulate -D 16 --Apix 12 -n 4 --num-states 1 --tilt-series -o"
    run(*words.split(), tmp_path)
    line = (
        "expand",
        tmp_path / "particles.star",
        "--symmetry",
        "C2",
        "-o",
        tmp_path / "x.star",
    )
    assert "lists images of tilt series" in fail(*line)


def test_flipped_copies_are_copies_of_flipped_images(run, tool, simulated, expanded, tmp_path):
    for name, star in {"once": simulated, "mates": expanded}.items():
        run("parse_ctf_star", star, "-o", tmp_path / f"{name}.pkl")
        tool("phase_flip", star, tmp_path / f"{name}.pkl", "-o", tmp_path / f"{name}.star")
    once, mates = (
        open_particles(ParticleFiles(particles=tmp_path / f"{name}.star"))
        for name in ("once", "mates")
    )
    assert (len(mates), mates.num_different) == (6 * COUNT, COUNT)
    assert (tmp_path / "mates.mrcs").stat().st_size == (tmp_path / "once.mrcs").stat().st_size
    found = mates.images.read(np.arange(6 * COUNT))
    expected = np.repeat(once.images.read(np.arange(COUNT)), 6, axis=0)
    np.testing.assert_array_equal(found, expected)


def test_copies_that_differ_in_defocus_are_said_to_become_particles(
    run, tool, expanded, tmp_path, caplog
):
    run("parse_ctf_star", expanded, "-o", tmp_path / "ctf.pkl")
    (table,) = load_pickles(tmp_path / "ctf.pkl")
    table[1, 2:4] += 500
    save_pickles(tmp_path / "refined.pkl", [table])
    tool("phase_flip", expanded, tmp_path / "refined.pkl", "-o", tmp_path / "flipped.star")
    found = open_particles(ParticleFiles(particles=tmp_path / "flipped.star"))
    assert found.num_different == COUNT + 1
    assert f"lists {COUNT} different images, of which copies differ" in caplog.text


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("filter_mrcs {star} --ind {ind} -o {out}", "filter_star"),
        ("phase_flip {star} {ctf} -o {out}", "a name.star"),
        ("translate_mrcs {star} {pose} -o {out}", "was not expanded"),
        ("add_noise {star} --snr 1 -o {out}", "was not expanded"),
        ("downsample {star} -D 8 -o {out}", "name a .star file"),
    ],
)
def test_copies_in_a_stack_are_said_to_become_particles(
    line, remedy, run, tool, simulated, expanded, tmp_path, caplog
):
    begin = run if line.startswith("downsample") else tool
    for star, count in ((simulated, 1), (expanded, 6)):
        files = {"star": star, "ind": tmp_path / "ind.txt", "out": tmp_path / "out.mrcs"}
        for kind in ("ctf", "pose"):
            files[kind] = tmp_path / f"{kind}.pkl"
            run(f"parse_{kind}_star", star, "-o", files[kind])
        (tmp_path / "ind.txt").write_text(" ".join(map(str, range(count * COUNT))))
        caplog.clear()
        begin(*line.format(**files).split())
        said = "nothing tells then that they are copies" in caplog.text
        assert said == (star == expanded)
    assert remedy in caplog.text
