"""Odd, oblong and larger images: cut or padded, or refused with what mends them."""

import mrcfile
import numpy as np
import pytest

from cryodrgn.io.cryodrgn_pickle import load_latents
from cryodrgn.io.mrc import MrcFile, stack_writer
from cryodrgn.io.star import read_star, write_star
from finished_run import SMALL_VAE

PIXEL_SIZE = 12.0


@pytest.fixture
def odd(write_stack, rng):
    return write_stack(rng.normal(size=(3, 17, 17)), "odd.mrcs", PIXEL_SIZE)


def test_a_stack_of_odd_images_is_cut_and_padded(run, tmp_path, odd):
    whole = MrcFile.open(odd).sections(0, 3)
    run("downsample", odd, "-D", 12, "--box", 12, "-o", tmp_path / "cut.mrcs")
    cut = MrcFile.open(tmp_path / "cut.mrcs")
    assert cut.pixel_size == pytest.approx(PIXEL_SIZE)
    # The middle is the pixel at half the side, rounded down.
    inside = np.fft.fft2(whole[:, 2:14, 2:14])
    found = np.fft.fft2(cut.sections(0, 3))
    np.testing.assert_allclose(found[:, :6, :6], inside[:, :6, :6], atol=1e-3)
    run("downsample", odd, "-D", 20, "--box", 20, "-o", tmp_path / "padded.mrcs")
    padded = MrcFile.open(tmp_path / "padded.mrcs").sections(0, 3)
    expected = np.pad(whole, ((0, 0), (2, 1), (2, 1)))
    found, expected = np.fft.fft2(padded), np.fft.fft2(expected)
    np.testing.assert_allclose(found[:, :10, :10], expected[:, :10, :10], atol=1e-3)


def test_particles_off_the_middle_of_images_that_are_cut_are_warned_of(run, tmp_path, caplog):
    words = ("simulate", "-D", 24, "--Apix", 8, "-n", 6, "--num-states", 1, "--shift", 0)
    run(*words, "-o", tmp_path / "sim")
    star, out = tmp_path / "sim/particles.star", tmp_path / "small.star"
    blocks = {
        block: {name: table.text(name) for name in table.names}
        for block, table in read_star(star).items()
    }
    run("downsample", star, "-D", 12, "--box", 12, "-o", out)
    assert "cut about their centre" not in caplog.text
    blocks["particles"]["rlnOriginXAngst"] = ["0", "40", "0", "-24", "0", "0"]
    write_star(tmp_path / "sim/off.star", blocks)
    run("downsample", tmp_path / "sim/off.star", "-D", 12, "--box", 12, "-o", out)
    assert "the particles of 2 of 6 lie up to 40 Å off it" in caplog.text
    caplog.clear()
    run("downsample", tmp_path / "sim/off.star", "-D", 12, "-o", out)
    assert "off it" not in caplog.text


def test_what_takes_even_squares_names_what_makes_them(run, fail, fail_tool, tmp_path, odd):
    mends = "cryodrgn downsample --box PX -D PX cuts or pads images to an even square"
    said = fail_tool("add_noise", odd, "--sigma", 1, "-o", tmp_path / "x.mrcs")
    assert f"must be an even number; {mends}" in said
    oblong = tmp_path / "oblong.mrcs"
    with mrcfile.new(oblong, data=np.zeros((2, 12, 16), np.float32)) as file:
        file.voxel_size = PIXEL_SIZE
    said = fail_tool("add_noise", oblong, "--sigma", 1, "-o", tmp_path / "x.mrcs")
    assert "16 × 12 pixels, expected squares" in said
    assert mends in said
    run("downsample", odd, "-D", 12, "--box", 12, "-o", tmp_path / "cut.mrcs")
    line = ("downsample", odd, "--is-vol", "-D", 8, "--box", 8, "-o", tmp_path / "v.mrc")
    assert "cuts and pads images" in fail(*line)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    from cryodrgn.cli.main import main

    folder = tmp_path_factory.mktemp("box")
    line = f"simulate -D 16 --Apix {PIXEL_SIZE:g} -n 12 --num-states 1 --shift 0 -o {folder}"
    assert main(line.split()) == 0
    words = f"train_vae {folder}/particles.star -o {folder}/run --zdim 1 -n 1 --screen none"
    assert main([*words.split(), *map(str, SMALL_VAE)]) == 0
    return folder


def test_images_of_a_larger_box_are_evaluated_in_that_of_the_run(run, fail, trained, tmp_path):
    images = MrcFile.open(trained / "particles.mrcs").sections(0, 12)
    with stack_writer(tmp_path / "particles.mrcs", 20, PIXEL_SIZE) as writer:
        writer.append(np.pad(images, ((0, 0), (2, 2), (2, 2))))
    tables = {
        name: {column: table.text(column) for column in table.names}
        for name, table in read_star(trained / "particles.star").items()
    }
    tables["optics"]["rlnImageSize"] = ["20"]
    write_star(tmp_path / "larger.star", tables)
    weights = trained / "run/weights.pkl"
    line = ("eval_images", tmp_path / "larger.star", weights, "-o")
    said = fail(*line, tmp_path / "no.pkl")
    assert "240 Å wide, but the model was trained on images of 192 Å; give --box 16" in said
    run(*line, tmp_path / "z.pkl", "--box", 16)
    run("eval_images", trained / "particles.star", weights, "-o", tmp_path / "same.pkl")
    found, expected = load_latents(tmp_path / "z.pkl"), load_latents(tmp_path / "same.pkl")
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_use_real_changes_nothing_where_the_encoder_sees_transforms(
    run, trained, tmp_path, caplog
):
    line = ("eval_images", trained / "particles.star", trained / "run/weights.pkl", "-o")
    run(*line, tmp_path / "plain.pkl")
    run(*line, tmp_path / "real.pkl", "--use-real")
    assert "sees transforms of images, and goes on to: `use_real` has no effect" in caplog.text
    plain, real = (load_latents(tmp_path / f"{name}.pkl") for name in ("plain", "real"))
    np.testing.assert_array_equal(plain, real)


def test_the_shorter_side_of_oblong_images_is_no_box(run, fail, tmp_path):
    """The 12 × 16 images of a file that says 12, and of a ctf.pkl of 12 px made from it."""
    with mrcfile.new(tmp_path / "oblong.mrcs") as file:
        file.set_data(np.random.default_rng(0).normal(size=(4, 12, 16)).astype(np.float32))
        file.voxel_size = 3.0
    columns = {
        "rlnImageName": [f"{n}@oblong.mrcs" for n in range(1, 5)],
        **dict.fromkeys(("rlnDefocusU", "rlnDefocusV"), np.full(4, 12000.0)),
        **dict.fromkeys(("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"), np.arange(4.0) * 50),
        **dict.fromkeys(("rlnDefocusAngle", "rlnPhaseShift"), np.zeros(4)),
        "rlnVoltage": np.full(4, 300.0),
        "rlnSphericalAberration": np.full(4, 2.7),
        "rlnAmplitudeContrast": np.full(4, 0.1),
        "rlnImagePixelSize": np.full(4, 3.0),
    }
    star, out = tmp_path / "oblong.star", tmp_path / "map.mrc"
    write_star(star, {"": columns | {"rlnImageSize": np.full(4, 12.0)}})
    said = fail("backproject_voxel", star, "-o", out)
    assert "12 pixels, which is the shorter side of its oblong images" in said
    tables = ("--poses", tmp_path / "poses.pkl", "--ctf", tmp_path / "ctf.pkl")
    write_star(star, {"": columns})
    for size, is_right in ((12, False), (16, True)):
        run("parse_pose_star", star, "-D", size, "--Apix", 3, "-o", tables[1])
        run("parse_ctf_star", star, "-D", size, "--Apix", 3, "-o", tables[3])
        line = ("backproject_voxel", tmp_path / "oblong.mrcs", *tables, "-o", out)
        if is_right:
            run(*line)
            assert mrcfile.open(out).voxel_size.x == pytest.approx(3)
        else:
            assert "the shorter side of images of 16 × 12 pixels (36 Å)" in fail(*line)
            assert not out.exists()
