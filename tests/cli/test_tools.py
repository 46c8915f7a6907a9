"""The tools of cryodrgn_utils, each as a script would call it."""

import shutil

import mrcfile
import numpy as np
import pytest
import starfile
import torch
import yaml

from cryodrgn.cli import tools
from cryodrgn.errors import ConfigError
from cryodrgn.fourier.shells import fourier_shell_correlation
from cryodrgn.imaging.masks import resize_mask
from cryodrgn.io.cryodrgn_pickle import load_poses, save_pickles
from cryodrgn.io.curves import read_curves
from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.mrc import read_volume, write_volume
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.io.selection_files import load_indices
from cryodrgn.jobs.fsc_and_alignment import fsc
from cryodrgn.jobs.stacks import add_noise
from cryodrgn.jobs.volumes import flip_hand


@pytest.fixture
def simulated(run, tmp_path):
    folder = tmp_path / "sim"
    arguments = ("-D", 16, "--Apix", 12, "-n", 12, "--num-states", 1, "--snr", 10)
    run("simulate", *arguments, "-o", folder)
    return folder


@pytest.fixture
def volume(simulated):
    return simulated / "gt/state_000.mrc"


def pixels(path):
    stack = ImageStack.whole_files([path])
    return stack.read(np.arange(len(stack)))


def below_nyquist(images):
    """Transforms without the Nyquist frequency, of which no part of a pixel can be moved."""
    transform = np.fft.fft2(images)
    middle = images.shape[-1] // 2
    return np.delete(np.delete(transform, middle, 1), middle, 2)


def test_maps_change_pixel_size_hand_and_sign(tool, volume, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data, _ = read_volume(volume)
    tool("add_psize", volume, "--Apix", 3.5, "-o", tmp_path / "a.mrc")
    same, pixel_size = read_volume(tmp_path / "a.mrc")
    assert pixel_size == 3.5
    np.testing.assert_array_equal(same, data)
    tool("flip_hand", volume)
    np.testing.assert_array_equal(
        read_volume(volume.with_name("state_000_flipped.mrc"))[0], data[::-1]
    )
    tool("invert_contrast", volume)
    np.testing.assert_array_equal(
        read_volume(volume.with_name("state_000_inverted.mrc"))[0], -data
    )
    tool("add_psize", volume, "--apix", 2, "--flip", "--invert", "-o", tmp_path / "b.mrc")
    np.testing.assert_array_equal(read_volume(tmp_path / "b.mrc")[0], -data[::-1])


def test_files_are_shown(tool, volume, simulated, tmp_path):
    assert "pixel size 12 Å/px" in tool("view_header", volume)
    for name in ("view_mrcs", "view_stack"):
        text = tool(name, simulated / "particles.star", "-o", tmp_path / f"{name}.png")
        assert "12 images of 16 px, 12 Å/px" in text
    assert (tmp_path / "view_mrcs.png").read_bytes().startswith(b"\x89PNG")


def test_odd_boxes_are_shown_and_filtered_and_volumes_shown(
    tool, volume, write_stack, write_pickle, rng, tmp_path, caplog
):
    images = rng.normal(size=(5, 15, 15)).astype(np.float32)
    odd = write_stack(images, "odd.mrcs")
    assert "5 images of 15 px, 2 Å/px" in tool("view_mrcs", odd, "-o", tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    index = write_pickle(np.array([3, 1]), "ind.pkl")
    tool("filter_mrcs", odd, "--ind", index, "-o", tmp_path / "some.mrcs")
    np.testing.assert_array_equal(pixels(tmp_path / "some.mrcs"), images[[3, 1]])
    assert "taken for images" not in caplog.text
    assert "16 images of 16 px" in tool("view_mrcs", volume, "-o", tmp_path / "b.png")
    assert "its sections are taken for images" in caplog.text


def test_a_star_file_without_ctf_says_so(simulated, tmp_path, capsys):
    stack, out = str(simulated / "particles.mrcs"), str(tmp_path / "x.star")
    assert tools.main(["write_star", stack, "-o", out]) == 0
    captured = capsys.readouterr()
    assert "x.star has no CTF parameters" in captured.err
    assert "give them with --ctf" in captured.err
    ctf, poses = str(simulated / "ctf.pkl"), str(simulated / "poses.pkl")
    assert tools.main(["write_star", stack, "--ctf", ctf, "--poses", poses, "-o", out]) == 0
    assert not capsys.readouterr().err
    assert tools.main(["write_star", str(simulated / "particles.star"), "-o", out]) == 0
    assert "rlnDefocusU" in (tmp_path / "x.star").read_text()


def test_phase_flipped_images_are_the_same_in_every_amplitude(tool, simulated, tmp_path):
    tool(
        *("phase_flip", simulated / "particles.mrcs", simulated / "ctf.pkl"),
        *("-o", tmp_path / "flipped.mrcs"),
    )
    before, after = (
        below_nyquist(pixels(path))
        for path in (simulated / "particles.mrcs", tmp_path / "flipped.mrcs")
    )
    np.testing.assert_allclose(np.abs(before), np.abs(after), atol=1e-3)
    assert np.abs(before - after).max() > 1


def test_centred_images_need_no_shifts(tool, simulated, tmp_path):
    stack, poses = simulated / "particles.mrcs", simulated / "poses.pkl"
    out = tmp_path / "centred.mrcs"
    tool("translate_mrcs", stack, poses, "-o", out, "--out-png", tmp_path / "c.png")
    tool("translate_stack", out, poses, "--tscale", -1, "-o", tmp_path / "back.mrcs")
    before, after = (below_nyquist(pixels(p)) for p in (stack, tmp_path / "back.mrcs"))
    np.testing.assert_allclose(before, after, atol=1e-3)
    assert (tmp_path / "c.png").exists()


def test_noise_is_added_by_ratio_or_by_strength(tool, fail_tool, simulated, tmp_path):
    stack, out = simulated / "particles.mrcs", tmp_path / "noisy.mrcs"
    tool("add_noise", stack, "--snr", 0.25, "-o", out)
    signal = pixels(stack)
    noise = pixels(out) - signal
    assert noise.std() == pytest.approx(2 * signal.std(), rel=0.05)
    tool("add_noise", stack, "--sigma", 2, "-o", out)
    assert (pixels(out) - signal).std() == pytest.approx(2, rel=0.05)
    for wrong in ((), ("--snr", 1, "--sigma", 1), ("--snr", 0)):
        fail_tool("add_noise", stack, *wrong, "-o", tmp_path / "no.mrcs")
    assert not (tmp_path / "no.mrcs").exists()


def test_rows_are_filtered_alike_in_every_kind_of_file(tool, simulated, tmp_path):
    ind = tmp_path / "ind.pkl"
    save_pickles(ind, [np.array([7, 2, 3])])
    for name, source in (
        ("filter_mrcs", "particles.mrcs"),
        ("filter_pkl", "poses.pkl"),
        ("filter_pkl", "ctf.pkl"),
        ("filter_star", "particles.star"),
    ):
        tool(name, simulated / source, "--ind", ind, "-o", tmp_path / source)
    names = starfile.read(tmp_path / "particles.star")["particles"]["rlnImageName"]
    assert [name[:6] for name in names] == ["000008", "000003", "000004"]
    files = ParticleFiles(
        particles=tmp_path / "particles.mrcs",
        poses=tmp_path / "poses.pkl",
        ctf=tmp_path / "ctf.pkl",
    )
    filtered = open_particles(files)
    source = ParticleFiles(particles=simulated / "particles.star", datadir=simulated)
    original = open_particles(source).select(np.array([7, 2, 3]))
    rows = np.arange(3)
    np.testing.assert_array_equal(filtered.images.read(rows), original.images.read(rows))
    np.testing.assert_allclose(
        filtered.images.poses.rotations, original.images.poses.rotations, atol=1e-5
    )
    np.testing.assert_allclose(
        filtered.images.ctf.defocus_u, original.images.ctf.defocus_u, rtol=1e-6
    )


def test_pickles_are_cut_and_joined(tool, fail_tool, simulated, tmp_path):
    ctf = simulated / "ctf.pkl"
    tool("filter_pkl", ctf, "--first", 5, "-o", tmp_path / "a.pkl")
    save_pickles(tmp_path / "rest.pkl", [np.arange(5, 12)])
    tool("filter_pkl", ctf, "--ind", tmp_path / "rest.pkl", "-o", tmp_path / "b.pkl")
    tool("concat_pkls", tmp_path / "a.pkl", tmp_path / "b.pkl", "-o", tmp_path / "c.pkl")
    assert (tmp_path / "c.pkl").read_bytes() == ctf.read_bytes()
    assert "in one way" in fail_tool("filter_pkl", ctf, "-o", tmp_path / "d.pkl")


@pytest.mark.parametrize("layout", [(), ("--relion30",)])
def test_written_star_files_say_all_that_went_in(tool, simulated, tmp_path, layout):
    out = tmp_path / "lists" / "out.star"
    pickles = ("--poses", simulated / "poses.pkl", "--ctf", simulated / "ctf.pkl")
    tool("write_star", simulated / "particles.mrcs", *pickles, *layout, "-o", out)
    found = open_particles(ParticleFiles(particles=out))
    expected = open_particles(ParticleFiles(particles=simulated / "particles.star"))
    np.testing.assert_allclose(
        found.images.poses.rotations, expected.images.poses.rotations, atol=1e-5
    )
    np.testing.assert_allclose(
        found.images.poses.shifts, expected.images.poses.shifts, atol=1e-4
    )
    for name, values in expected.images.ctf.columns().items():
        np.testing.assert_allclose(
            found.images.ctf.columns()[name], values, rtol=1e-5, atol=1e-5
        )
    assert found.images.pixel_sizes.tolist() == [12.0] * 12
    rows = np.arange(12)
    np.testing.assert_array_equal(found.images.read(rows), expected.images.read(rows))
    blocks = starfile.read(out, always_dict=True)
    assert ("optics" in blocks) is not bool(layout)


def test_particles_are_chosen_at_random_and_by_cluster(tool, fail_tool, tmp_path):
    out, rest = tmp_path / "a.pkl", tmp_path / "b.pkl"
    tool("select_random", 50, "--frac", 0.2, "-s", rest, "--seed", 3, "-o", out)
    chosen, others = load_indices(out), load_indices(rest)
    assert len(chosen) == 10
    assert sorted([*chosen, *others]) == list(range(50))
    save_pickles(tmp_path / "labels.pkl", [np.array([0, 1, 1, 2])])
    save_pickles(tmp_path / "parent.pkl", [np.array([5, 6, 8, 9])])
    clusters = ("select_clusters", tmp_path / "labels.pkl", "--sel")
    tool(*clusters, 1, 2, "-o", out)
    assert load_indices(out).tolist() == [1, 2, 3]
    parent = ("--parent-ind", tmp_path / "parent.pkl", "--N-orig", 10)
    tool(*clusters, 0, 2, *parent, "-o", out)
    assert load_indices(out).tolist() == [5, 9]
    assert "no particle is in cluster 4" in fail_tool(*clusters, 4, "-o", out)


def test_clusters_of_a_filtered_run_are_rows_of_its_particle_file(tool, fail_tool, tmp_path):
    rows, labels = tmp_path / "ind.pkl", tmp_path / "analyze.0/kmeans3/labels.pkl"
    labels.parent.mkdir(parents=True)
    save_pickles(labels, [np.array([0, 1, 1, 2])])
    save_pickles(rows, [np.array([5, 6, 8, 9])])
    record = {"model_args": {}, "dataset_args": {"ind": str(rows)}, "training": {}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(record))
    line = ("select_clusters", labels, "--sel", 1, "-o", tmp_path / "out.pkl")
    assert f"{labels} has the rows of the original file that {rows} names" in tool(*line)
    assert load_indices(tmp_path / "out.pkl").tolist() == [6, 8]
    shutil.copytree(labels.parent, tmp_path.parent / f"{tmp_path.name}_else")
    alone = tmp_path.parent / f"{tmp_path.name}_else/labels.pkl"
    said = tool("select_clusters", alone, "--sel", 1, "-o", tmp_path / "out.pkl")
    assert "which lies in no run; if its particles were filtered, give their rows" in said
    alone.unlink()
    alone.symlink_to(labels)
    tool("select_clusters", alone, "--sel", 1, "-o", tmp_path / "out.pkl")
    assert load_indices(tmp_path / "out.pkl").tolist() == [6, 8]
    save_pickles(rows, [np.array([5, 6, 8])])
    assert "has 4 rows, but" in fail_tool(*line)
    record["dataset_args"], record["training"] = {}, {"num_particles": 7}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(record))
    assert "has 4 rows, but" in fail_tool(*line)
    record["dataset_args"] = {"ind": str(rows)}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(record))
    rows.unlink()
    assert "give their rows in the original file with --parent-ind" in fail_tool(*line)


def test_a_mask_covers_the_molecule(tool, volume, tmp_path):
    mask_path = tmp_path / "mask.mrc"
    tool("gen_mask", volume, mask_path, "--dilate", 12, "--dist", 24, "-p", tmp_path / "m.png")
    mask, pixel_size = read_volume(mask_path)
    data, _ = read_volume(volume)
    assert pixel_size == 12.0
    assert (mask[data > np.percentile(data, 99.99) / 2] == 1).all()
    assert mask.min() == 0
    assert (tmp_path / "m.png").exists()


def test_correlations_are_written_plotted_and_read_again(tool, volume, tmp_path, rng):
    data, _ = read_volume(volume)
    noise = 0.1 * data.std() * rng.normal(size=(2, *data.shape)).astype(np.float32)
    for name, extra in zip("ab", noise, strict=True):
        write_volume(tmp_path / f"{name}.mrc", data + extra, 12.0)
    halves = (tmp_path / "a.mrc", tmp_path / "b.mrc")
    text = tool("fsc", *halves, "-o", tmp_path / "fsc.txt", "-p", tmp_path / "fsc.png")
    assert "resolution at FSC 0.143: " in text
    curve = read_curves(tmp_path / "fsc.txt")["fsc"]
    expected = fourier_shell_correlation(*(torch.from_numpy(data + n) for n in noise))
    torch.testing.assert_close(curve.values, expected.values, atol=1e-6, rtol=0)

    tool("fsc", *halves, "--ref-volume", volume, "-o", tmp_path / "all.txt")
    curves = read_curves(tmp_path / "all.txt")
    assert list(curves) == ["NoMask", "Spherical", "Loose", "Tight", "Corrected"]
    text = tool(
        *("plot_fsc", tmp_path / "fsc.txt", tmp_path / "all.txt", "-a", 12),
        *("-o", tmp_path / "plot.png"),
    )
    assert "all Tight: FSC 0.143 at" in text
    mask = tmp_path / "mask.mrc"
    tool("gen_mask", volume, mask)
    assert tool("fsc", *halves, "--mask", mask, "--corrected", 60).count("\n") > 5

    values, _ = read_volume(mask)
    finer = resize_mask(torch.from_numpy(values), 2 * len(values)).numpy()
    write_volume(tmp_path / "finer.mrc", finer, 6.0)
    for given in (mask, tmp_path / "finer.mrc"):
        tool("fsc", *halves, "--mask", given, "-o", given.with_suffix(".txt"))
    curves = [read_curves(tmp_path / f"{name}.txt")["fsc"].values for name in ("mask", "finer")]
    torch.testing.assert_close(*curves, atol=0.02, rtol=0)


def test_curves_of_older_programs_are_read(tmp_path):
    (tmp_path / "a.txt").write_text("pixres fsc\n0.0 1.0\n0.25 0.5\n")
    (tmp_path / "b.txt").write_text("0.1 0.9\n0.2 0.1\n")
    assert read_curves(tmp_path / "a.txt")["fsc"].values.tolist() == [1.0, 0.5]
    assert read_curves(tmp_path / "b.txt")["fsc1"].first_crossing(0.5) == pytest.approx(0.15)


def test_a_projected_volume_can_be_reconstructed(tool, run, volume, tmp_path):
    stack, poses = tmp_path / "p.mrcs", tmp_path / "poses.pkl"
    tool(
        *("project3d", volume, "-N", 300, "--t-extent", 2, "-o", stack, "--out-pose", poses),
        *("--out-png", tmp_path / "p.png"),
    )
    assert np.abs(load_poses(poses)[1]).max() <= 2 / 16
    run("backproject_voxel", stack, "--poses", poses, "-o", tmp_path / "back.mrc")
    maps = [torch.from_numpy(read_volume(p)[0]) for p in (tmp_path / "back.mrc", volume)]
    assert fourier_shell_correlation(*maps).values[:6].min() > 0.97


def test_a_volume_is_aligned_to_another(tool, fail_tool, volume, tmp_path):
    from cryodrgn.geometry.rotations import rotation_about_x
    from cryodrgn.kernels.projection import move_volume

    data = torch.from_numpy(read_volume(volume)[0])
    moved = move_volume(data, rotation_about_x(1.0), torch.tensor([1.0, -1.0, 0.5]))
    write_volume(tmp_path / "moved.mrc", moved.numpy(), 12.0)
    tool("align3d", tmp_path / "moved.mrc", volume, "-o", tmp_path / "out.mrc")
    back = torch.from_numpy(read_volume(tmp_path / "out.mrc")[0])
    assert fourier_shell_correlation(back, moved).values[:5].min() > 0.95
    write_volume(tmp_path / "small.mrc", data[:8, :8, :8].numpy(), 12.0)
    assert "has 16 voxels along a side, but" in fail_tool(
        "align3d", volume, tmp_path / "small.mrc", "-o", tmp_path / "no.mrc"
    )


def test_cleaning_asks_where_it_can_and_deletes_when_told(tool, fail_tool, tmp_path):
    for epoch in range(4):
        (tmp_path / f"weights.{epoch}.pkl").touch()
    (tmp_path / "weights.pkl").touch()
    assert "would delete 2 files" in tool("clean", tmp_path, "-n", 3, "-d", "-v")
    # Patterns in quotes, which the shell leaves to the program.
    assert "would delete 2 files" in tool("clean", f"{tmp_path}*", "-n", 3, "-d")
    assert "nowhere does not exist" in fail_tool("clean", tmp_path / "nowhere")
    message = fail_tool("clean", tmp_path, "-n", 3)
    assert "2 files" in message
    assert "no terminal to ask on, so nothing was; delete them with -f" in message
    assert (tmp_path / "weights.1.pkl").exists()
    assert "deleted 2 files" in tool("clean", tmp_path, "-n", 3, "-f")
    assert sorted(path.name for path in tmp_path.glob("weights.*")) == [
        "weights.0.pkl",
        "weights.3.pkl",
        "weights.pkl",
    ]


def test_columns_of_cryosparc_files_are_shown_and_rows_filtered(tool, tmp_path):
    table = np.zeros(4, [("uid", "u8"), ("blob/idx", "u4")])
    table["uid"] = [9, 8, 7, 6]
    with (tmp_path / "a.cs").open("wb") as file:
        np.save(file, table)
    assert "4 rows of 2 columns" in tool("view_cs_header", tmp_path / "a.cs")
    save_pickles(tmp_path / "ind.pkl", [np.array([3, 0])])
    for name in ("filter_cs", "write_cs"):
        tool(name, tmp_path / "a.cs", "--ind", tmp_path / "ind.pkl", "-o", tmp_path / "b.cs")
        assert np.load(tmp_path / "b.cs")["uid"].tolist() == [6, 9]


def test_outputs_of_the_wrong_kind_are_refused_before_any_work(fail_tool, volume, tmp_path):
    message = fail_tool("project3d", volume, "-N", 2, "-o", tmp_path / "x.txt")
    assert "must end in .mrc or .mrcs" in message
    with mrcfile.new(tmp_path / "odd.mrc") as mrc:
        mrc.set_data(np.ones((3, 3, 3), np.float32))
    assert "even side" in fail_tool(
        "project3d", tmp_path / "odd.mrc", "-N", 2, "-o", tmp_path / "x.mrcs"
    )
    assert not list(tmp_path.glob("x.*"))


def test_a_mask_of_ones_own_joins_the_masks_of_a_full_map(tool, volume, tmp_path):
    data, pixel_size = read_volume(volume)
    noise = np.random.default_rng(1).normal(size=data.shape).astype(np.float32)
    halves = [tmp_path / "a.mrc", tmp_path / "b.mrc"]
    for path, sign in zip(halves, (1, -1), strict=True):
        write_volume(path, data + sign * data.std() * noise, pixel_size)
    mask = tmp_path / "mask.mrc"
    write_volume(mask, (data > data.mean() + data.std()).astype(np.float32), pixel_size)
    line = ("fsc", *halves, "--ref-volume", volume)
    tool(*line, "-o", tmp_path / "plain.txt")
    tool(*line, "--mask", mask, "-o", tmp_path / "masked.txt")
    tool(*line, "--mask", mask, "--corrected", 0.2, "-o", tmp_path / "corrected.txt")
    tool("fsc", *halves, "--mask", mask, "-o", tmp_path / "alone.txt")
    plain, masked, corrected, alone = (
        read_curves(tmp_path / f"{name}.txt")
        for name in ("plain", "masked", "corrected", "alone")
    )
    assert [*masked] == ["NoMask", "Spherical", "Loose", "Tight", "Given", "Corrected"]
    for name in ("NoMask", "Spherical", "Loose", "Tight"):
        assert torch.equal(masked[name].values, plain[name].values)
    assert torch.equal(masked["Given"].values, alone["fsc"].values)
    assert not torch.equal(masked["Corrected"].values, plain["Corrected"].values)
    assert not torch.equal(corrected["Corrected"].values, masked["Corrected"].values)


def test_a_notebook_gets_the_results_of_tools(volume, tmp_path):
    mirrored = flip_hand(volume, output=tmp_path / "mirrored.mrc")
    data = read_volume(volume)[0]
    np.testing.assert_array_equal(read_volume(mirrored)[0], data[::-1])
    curves = fsc(volume, mirrored, output=tmp_path / "fsc.txt")
    expected = fourier_shell_correlation(
        torch.from_numpy(data), torch.from_numpy(data[::-1].copy())
    )
    assert torch.equal(curves["fsc"].values, expected.values)
    with pytest.raises(ConfigError, match="in one way: `snr` or `sigma`"):
        add_noise(volume.parents[1] / "particles.mrcs", output=tmp_path / "x.mrcs")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("align_poses IN/poses.pkl IN/poses.pkl -o OUT/p.pkl --out-vol v.mrc", "give --vol"),
        (
            "align_poses IN/poses.pkl IN/poses.pkl -o OUT/p.pkl --vol v.mrc --out-vol v.txt",
            "--out-vol v.txt must end in .mrc or .mrcs",
        ),
        ("project3d IN/gt/state_000.mrc -N 2 -b 0 -o OUT/x.mrcs", "-b must be at least 1"),
        ("project3d IN/gt/state_000.mrc -o OUT/x.mrcs", "with -N or a grid of rotations with"),
        (
            "project3d IN/gt/state_000.mrc --grid 9 -o OUT/x.mrcs",
            "--grid must be from 0 to 5, got 9",
        ),
        ("select_random 9 -n 2 --seed -1 -o OUT/x.pkl", "--seed must be from 0 to 4294967295"),
        ("fsc IN/gt/state_000.mrc IN/gt/state_000.mrc --corrected 9", "needs the --mask"),
    ],
)
def test_mistakes_are_answered_in_the_flags_of_a_tool(
    fail_tool, simulated, tmp_path, line, sentence
):
    out = tmp_path / "out"
    words = line.replace("IN/", f"{simulated}/").replace("OUT/", f"{out}/")
    assert sentence in fail_tool(*words.split())
    assert not out.exists()


def test_corrected_images_are_not_flipped_again(fail_tool, simulated, tmp_path):
    star = tmp_path / "flipped.star"
    text = (simulated / "particles.star").read_text()
    text = text.replace("_rlnImageSize", "_rlnCtfDataArePhaseFlipped").replace(
        "particles.mrcs", str(simulated / "particles.mrcs")
    )
    star.write_text(text)
    said = fail_tool("phase_flip", star, simulated / "ctf.pkl", "-o", tmp_path / "no.mrcs")
    assert "says that its images are phase flipped or multiplied by the CTF already" in said
