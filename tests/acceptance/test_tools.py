"""Tools, selections and exports on recorded files of RELION, cryoSPARC and upstream."""

import numpy as np
import pytest
import starfile
import torch
import yaml

from cryodrgn.imaging.masks import soft_mask
from cryodrgn.io.cryodrgn_pickle import save_pickles
from cryodrgn.io.mrc import read_volume
from cryodrgn.io.particle_files import ParticleFiles, open_particles, open_stack
from cryodrgn.io.star import read_star
from cryodrgn.io.star_rows import StarRows

STARS = {
    "relion31.star": 5,
    "relion31.v2.star": 5,
    "FinalRefinement-OriginalParticles-PfCRT.star": 5,
    "toy_projections_13.star": 13,
    "toy.star": 1000,
    "toy_projections.star": 1000,
    "toy_projections_dir.star": 1000,
}


# reference.md §9.2: sums of the mask where the toy model is empty.
@pytest.mark.parametrize(
    ("pixel_size", "edge", "dilation", "expected"),
    [
        (1.0, 2.0, 3.0, 1760.1),
        (1.0, 2.0, 7.0, 5571.7),
        (1.0, 5.0, 3.0, 4256.2),
        (1.0, 5.0, 7.0, 9545.2),
        (2.79, 2.0, 3.0, 242.0),
        (2.79, 2.0, 7.0, 592.0),
        (2.79, 5.0, 3.0, 543.9),
        (2.79, 5.0, 7.0, 1021.3),
    ],
)
def test_masks_of_the_toy_model(acceptance, pixel_size, edge, dilation, expected):
    data, _ = read_volume(acceptance / "upstream/toymodel_small_nocenter.mrc")
    volume = torch.from_numpy(data)
    mask = soft_mask(volume, pixel_size, edge=edge, dilation=dilation)
    assert (mask[volume > 0.5] == 1).all()
    assert mask[volume <= 0.5].sum().item() == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("name", STARS)
def test_all_rows_of_a_real_file_are_the_file(acceptance, tmp_path, name):
    rows = StarRows.read(acceptance / "upstream" / name)
    assert len(rows.rows) == STARS[name]
    rows.write(tmp_path / "all.star", np.arange(len(rows.rows)))
    before = (acceptance / "upstream" / name).read_bytes()
    assert (tmp_path / "all.star").read_bytes() == before + (
        b"" if before.endswith(b"\n") else b"\n"
    )


@pytest.mark.parametrize("name", STARS)
def test_real_files_read_as_the_starfile_package_reads_them(acceptance, name):
    path = acceptance / "upstream" / name
    found = read_star(path)
    for block, expected in starfile.read(path, always_dict=True).items():
        table = found[block]
        assert sorted(table.names) == sorted(expected.columns)
        for column in table.names:
            values = expected[column].tolist()
            if isinstance(values[0], str):
                assert table.text(column) == values
            else:
                assert table.numbers(column).tolist() == values


@pytest.mark.parametrize("name", STARS)
def test_exported_rows_of_a_real_file_read_the_same(run, acceptance, tmp_path, name):
    source = acceptance / "upstream" / name
    chosen = np.array([4, 0, 3])
    save_pickles(tmp_path / "ind.pkl", [chosen])
    save_pickles(tmp_path / "labels.pkl", [np.arange(STARS[name])])
    out = tmp_path / "out.star"
    run(
        *("export", source, "--ind", tmp_path / "ind.pkl", "-o", out),
        *("--labels", tmp_path / "labels.pkl"),
    )
    before, after = (starfile.read(path, always_dict=True) for path in (source, out))
    assert list(before) == list(after)
    for block, table in before.items():
        if block == "optics":
            assert table.equals(after[block])
            continue
        expected = table.iloc[chosen].reset_index(drop=True)
        found = after[block].reset_index(drop=True)
        assert found.pop("cryodrgnCluster").tolist() == [4, 0, 3]
        assert expected.equals(found)


def test_an_exported_cryosparc_group_holds_the_chosen_rows(run, acceptance, tmp_path):
    source = acceptance / "upstream/cryosparc_P12_J24_001_particles.cs"
    chosen = np.array([2018, 5, 77])
    save_pickles(tmp_path / "ind.pkl", [chosen])
    run("export", source, "--ind", tmp_path / "ind.pkl", "-o", tmp_path / "kept.cs")
    expected, found = np.load(source), np.load(tmp_path / "kept.cs")
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected[chosen])
    group = yaml.safe_load((tmp_path / "kept.csg").read_text())
    assert set(group["results"]) == {"alignments3D", "blob", "ctf"}
    assert all(part["num_items"] == 3 for part in group["results"].values())


def test_hand_images_are_shifted_as_recorded(tool, acceptance, tmp_path):
    upstream = acceptance / "upstream"
    shifts = np.tile(np.array([[5 / 64, 10 / 64]]), (100, 1))
    save_pickles(tmp_path / "trans.pkl", [shifts])
    tool(
        *("translate_mrcs", upstream / "hand.mrcs", tmp_path / "trans.pkl"),
        *("-o", tmp_path / "moved.mrcs"),
    )
    found = open_stack(tmp_path / "moved.mrcs")[0].read(np.array([0]))[0]
    np.testing.assert_allclose(found, np.load(upstream / "im_shifted.npy"), atol=1e-4)


def test_a_written_star_file_gives_the_toy_poses_again(tool, acceptance, tmp_path):
    # reference.md §9.2: rotations and shifts within 1e-5.
    upstream = acceptance / "upstream"
    out = tmp_path / "toy.star"
    tool(
        *("write_star", upstream / "toy_projections.mrcs", "--full-path", "-o", out),
        *("--poses", upstream / "toy_rot_trans.pkl", "--ctf", upstream / "test_ctf.pkl"),
    )
    found = open_particles(ParticleFiles(particles=out))
    expected = open_particles(
        ParticleFiles(
            particles=upstream / "toy_projections.mrcs",
            poses=upstream / "toy_rot_trans.pkl",
            ctf=upstream / "test_ctf.pkl",
        )
    )
    np.testing.assert_allclose(
        found.images.poses.rotations, expected.images.poses.rotations, atol=1e-5
    )
    np.testing.assert_allclose(
        found.images.poses.shifts, expected.images.poses.shifts, atol=1e-5
    )
    optics = starfile.read(out)["optics"]
    assert len(optics) == 1


def test_the_half_maps_of_the_hand_agree_as_far_as_upstream_found(tool, acceptance, tmp_path):
    half = acceptance / "reference/bp43_hand_half_a.mrc"
    whole = acceptance / "reference/bp43_hand.mrc"
    text = tool("fsc", half, whole, "--ref-volume", whole, "-o", tmp_path / "fsc.txt")
    assert "Corrected: resolution at FSC 0.143" in text


def test_the_check_passes_the_toy_set_and_names_its_inverted_rotations(
    run, fail, acceptance, tmp_path
):
    upstream = acceptance / "upstream"
    stack = upstream / "toy_projections.mrcs"
    good = ("--poses", upstream / "toy_angles.pkl", "--num-images", 500)
    assert "fit the images as they stand" in run("check", stack, *good, "-o", tmp_path / "a")
    rotations = open_particles(
        ParticleFiles(particles=stack, poses=upstream / "toy_angles.pkl")
    ).images.poses.rotations
    save_pickles(tmp_path / "inverse.pkl", [rotations.transpose(0, 2, 1).copy()])
    wrong = ("--poses", tmp_path / "inverse.pkl", "--num-images", 500)
    message = fail("check", stack, *wrong, "-o", tmp_path / "b")
    assert "rotations are the inverse" in message
