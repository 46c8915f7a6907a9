"""States from another stack of the same particles, which are recognised by what they are."""

import numpy as np
import pytest
import torch

from cryodrgn.cli.main import main
from cryodrgn.errors import ConfigError
from cryodrgn.fourier.resample import downsample_volume
from cryodrgn.io.cryodrgn_pickle import load_latents, load_pickles
from cryodrgn.io.mrc import MrcFile, read_volume, stack_writer
from cryodrgn.io.selection_files import load_indices
from cryodrgn.io.star import read_star, write_star
from cryodrgn.particles.matching import matched

COUNT, SMALL, LARGE = 240, 16, 24
PIXEL = 12.0
KNOWN = ("rlnAngle", "rlnOrigin", "rlnDefocus", "rlnPhase")


def enlarged(images):
    """The same images on a finer lattice: nothing beyond the old Nyquist frequency."""
    spectra = np.fft.fftshift(np.fft.fft2(images), axes=(1, 2))
    margin = (LARGE - SMALL) // 2
    spectra[:, 0, :] = spectra[:, :, 0] = 0
    padded = np.pad(spectra, ((0, 0), (margin, margin), (margin, margin)))
    shift = np.fft.ifftshift(padded, axes=(1, 2))
    return (np.fft.ifft2(shift).real * (LARGE / SMALL) ** 2).astype(np.float32)


def star_of(path, columns, stack, rows, pixel_size, box, *, with_poses=True):
    """A .star of some particles, of which frame k of the stack shows the k-th."""
    kept = {
        name: [values[row] for row in rows]
        for name, values in columns.items()
        if with_poses or not name.startswith(KNOWN)
    }
    kept["rlnImageName"] = [f"{frame + 1:06d}@{stack}" for frame in range(len(rows))]
    kept["rlnMicrographName"] = [f"movies/mic{row // 50}.mrc" for row in rows]
    kept["rlnCoordinateX"] = [f"{10.5 * (row % 50):.3f}" for row in rows]
    kept["rlnCoordinateY"] = [f"{7 * (row % 50) + 1:.3f}" for row in rows]
    optics = {
        "rlnOpticsGroup": [1],
        "rlnImagePixelSize": [pixel_size],
        "rlnVoltage": [300],
        "rlnSphericalAberration": [2.7],
        "rlnAmplitudeContrast": [0.1],
        "rlnImageSize": [box],
        "rlnImageDimensionality": [2],
    }
    write_star(path, {"optics": optics, "particles": kept})


@pytest.fixture(scope="module")
def stacks(tmp_path_factory):
    """A run on small images, and the same particles in large ones, in another order."""
    folder = tmp_path_factory.mktemp("stacks")
    words = (
        f"simulate -D {SMALL} --Apix {PIXEL} -n {COUNT} --num-states 2 --snr 2 -o {folder}/sim"
    )
    assert main(words.split()) == 0
    table = read_star(folder / "sim/particles.star")["particles"]
    columns = {name: table.text(name) for name in table.names}
    images = MrcFile.open(folder / "sim/particles.mrcs").sections()
    order = np.random.default_rng(0).permutation(COUNT)[: COUNT - 20].tolist()
    size = PIXEL * SMALL / LARGE
    large = enlarged(images)
    for name, rows in (("large", order), ("same_order", range(COUNT))):
        with stack_writer(folder / f"{name}.mrcs", LARGE, size) as writer:
            writer.append(large[list(rows)])
    star_of(folder / "large.star", columns, "large.mrcs", order, size, LARGE)
    bare = folder / "bare.star"
    star_of(bare, columns, "large.mrcs", order, size, LARGE, with_poses=False)
    star_of(folder / "small.star", columns, "sim/particles.mrcs", range(COUNT), PIXEL, SMALL)
    words = ["train_linear", str(folder / "small.star"), "--components", "1", "--radius", "6"]
    assert main([*words, "-o", str(folder / "run")]) == 0
    return folder, order


def state(run, folder, out, *words):
    z = load_latents(folder / "run/z.pkl")[4].tolist()
    said = run("reconstruct_states", folder / "run", "-z", *z, *words, "-o", out)
    return *read_volume(out / "state_000.mrc"), said


def correlation(first, second):
    return np.corrcoef(first.ravel(), second.ravel())[0, 1]


@pytest.mark.parametrize("name", ["large.star", "bare.star"])
def test_a_larger_stack_in_another_order_gives_the_same_state(run, stacks, tmp_path, name):
    folder, order = stacks
    small, _, _ = state(run, folder, tmp_path / "small")
    large, pixel_size, said = state(
        run, folder, tmp_path / "large", "--particles", folder / name
    )
    assert f"{COUNT - 20} of the {COUNT} particles" in said
    assert "by micrograph and coordinates" in said
    assert pixel_size == pytest.approx(PIXEL * SMALL / LARGE)
    assert large.shape == (LARGE,) * 3
    coarse = downsample_volume(torch.from_numpy(large), SMALL).numpy()
    assert correlation(coarse, small) > 0.97
    assert ("poses are those of the run" in said) == (name == "bare.star")
    assert load_indices(tmp_path / "large/matched_ind.pkl").tolist() == list(range(COUNT - 20))
    latents = load_latents(folder / "run/z.pkl")
    np.testing.assert_array_equal(load_latents(tmp_path / "large/z.pkl"), latents[order])


def test_rows_of_a_bare_stack_are_taken_in_order_if_images_are_alike(run, stacks, tmp_path):
    folder, _ = stacks
    small, _, _ = state(run, folder, tmp_path / "small")
    words = ("--particles", folder / "same_order.mrcs")
    large, _, said = state(run, folder, tmp_path / "large", *words)
    assert "by the order of images that are alike" in said
    assert "CTF parameters are those of the run" in said
    coarse = downsample_volume(torch.from_numpy(large), SMALL).numpy()
    assert correlation(coarse, small) > 0.97
    rotations, fractions = load_pickles(tmp_path / "large/matched_poses.pkl")[0]
    given = load_pickles(folder / "sim/poses.pkl")[0]
    np.testing.assert_allclose(rotations, given[0], atol=1e-4)
    np.testing.assert_allclose(fractions, given[1], atol=1e-4)
    z = load_latents(folder / "run/z.pkl")[4].tolist()
    run("eval_vol", tmp_path / "large/weights.pkl", "-z", *z, "-o", tmp_path / "v.mrc")
    again, _ = read_volume(tmp_path / "v.mrc")
    np.testing.assert_allclose(again, large, atol=1e-4 * np.abs(large).max())


def test_particles_that_nothing_identifies_are_refused(fail, stacks, tmp_path):
    folder, _ = stacks
    images = MrcFile.open(folder / "same_order.mrcs").sections()
    with stack_writer(tmp_path / "turned.mrcs", LARGE, PIXEL * SMALL / LARGE) as writer:
        writer.append(images[::-1].copy())
    words = ("reconstruct_states", folder / "run", "--particles", tmp_path / "turned.mrcs")
    error = fail(*words, "-o", tmp_path / "out")
    assert "nothing tells which particles" in error
    assert "no stack file in common, and of the images of 40 equal rows that were" in error
    assert "others, or the same in another order" in error
    assert "--latents" in error
    assert not (tmp_path / "out").exists()


def test_particles_of_one_identity_are_refused(fail, stacks, tmp_path):
    folder, _ = stacks
    text = (folder / "large.star").read_text().replace("mic1.mrc", "mic0.mrc")
    (folder / "twice.star").write_text(text)
    words = ("reconstruct_states", folder / "run", "--particles", folder / "twice.star")
    error = fail(*words, "-o", tmp_path / "out")
    assert "of the same micrograph and coordinates" in error
    assert "--ind" in error


def test_the_surest_identity_in_common_is_taken():
    first = {"uid": np.array(["4", "1", "7"]), "image": np.array(["a", "b", "c"])}
    second = {"image": np.array(["c", "x", "a"])}
    found = matched(first, second, ("one", "two"))
    assert found is not None
    assert (found.first.tolist(), found.second.tolist()) == ([2, 0], [0, 2])
    found = matched(first, second | {"uid": np.array(["9", "7", "4"])}, ("one", "two"))
    assert found is not None
    assert (found.first.tolist(), found.second.tolist(), found.kind) == ([2, 0], [1, 2], "uid")
    assert matched(first, {"uid": np.array(["5"])}, ("one", "two")) is None
    with pytest.raises(ConfigError, match="two lists 2 particles of the same uid"):
        matched(first, {"uid": np.array(["7", "7"])}, ("one", "two"))
