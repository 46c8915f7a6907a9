import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cryodrgn.errors import ConfigError
from cryodrgn.fourier.shells import ShellCurve, fourier_shell_correlation
from cryodrgn.imaging.masks import soft_sphere
from cryodrgn.io.curves import read_curves
from cryodrgn.io.map_geometry import MapGeometry
from cryodrgn.io.mrc import read_map, read_volume, write_volume
from cryodrgn.jobs.postprocess import postprocess
from cryodrgn.reconstruction.backproject import Reconstruction, save_reconstruction
from cryodrgn.reconstruction.guinier import GuinierFit, NoFit, fsc_weights, guinier_fit
from cryodrgn.reconstruction.postprocessing import (
    filter_by_local_resolution,
    masked_agreement,
    sharpened,
    solvent_mask,
    with_b_factor,
)
from cryodrgn.rundir import ReconstructionFiles

PAGE = Path(__file__).parents[2] / "docs/maps.md"
BOX, PIXEL_SIZE = 48, 1.5
GEOMETRY = MapGeometry(pixel_size=PIXEL_SIZE, origin=(-36.0, -36.0, -36.0))


def atoms(b_factor, radius=0.22, seed=0):
    """Points within a ball, whose structure factors fall with a B factor alone."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1, 1, size=(600, 3))
    points = radius * BOX * PIXEL_SIZE * points[np.linalg.norm(points, axis=1) < 1]
    axis = np.fft.fftfreq(BOX, PIXEL_SIZE)
    waves = [np.exp(-2j * np.pi * np.outer(axis, column)) for column in points.T]
    transform = np.einsum("xa,ya,za->zyx", *waves, optimize=True)
    squares = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2
    volume = np.fft.ifftn(transform * np.exp(-b_factor / 4 * squares)).real
    return np.fft.fftshift(volume) / volume.std()


def halves_of(volume, noise, seed=0):
    rng = np.random.default_rng(seed)
    parts = (volume + noise * rng.normal(size=volume.shape) for _ in range(2))
    first, second = (torch.from_numpy(part.astype(np.float32)) for part in parts)
    return first, second


@pytest.mark.parametrize(("b_factor", "noise"), [(60, 0.05), (60, 1.0), (160, 0.3), (240, 0.1)])
def test_the_b_factor_of_a_simulated_map_is_found(b_factor, noise):
    half_maps = halves_of(atoms(b_factor), noise)
    found = sharpened(half_maps, solvent_mask(half_maps, PIXEL_SIZE), PIXEL_SIZE)
    assert isinstance(found.guinier, GuinierFit)
    assert found.guinier.b_factor == pytest.approx(-b_factor, abs=5)
    assert abs(found.guinier.b_factor + b_factor) < 4 * found.guinier.error
    # Weights by FSC bring a map nearer to the truth.
    truth = torch.from_numpy(atoms(b_factor)).float()

    def likeness(volume):
        return float(torch.corrcoef(torch.stack([volume.flatten(), truth.flatten()]))[0, 1])

    assert noise < 0.3 or likeness(found.weighted) > likeness(found.unfiltered)


def test_sharpening_by_one_b_factor_undoes_blurring_by_the_other():
    volume = torch.from_numpy(atoms(80)).float()
    blurred = with_b_factor(volume, 70.0, PIXEL_SIZE)
    ratio = torch.fft.rfftn(blurred)[0, 0, 7].abs() / torch.fft.rfftn(volume)[0, 0, 7].abs()
    square = (7 / (BOX * PIXEL_SIZE)) ** 2
    assert float(ratio) == pytest.approx(np.exp(-70 / 4 * square), rel=1e-4)
    again = with_b_factor(blurred, -70.0, PIXEL_SIZE)
    torch.testing.assert_close(again, volume, atol=1e-4, rtol=0)


def test_random_phases_take_away_what_a_tight_mask_brings():
    half_maps = halves_of(atoms(4000), 0.4)
    found = masked_agreement(half_maps, soft_sphere(BOX, 5.0, 1.0))
    first = found.first_random_shell
    assert first is not None
    far = slice(first + 4, None)
    assert float(found.unmasked.values[far].abs().max()) < 0.1
    assert float(found.masked.values[far].mean()) > 0.5
    assert float(found.corrected.values[far].mean()) < 0.1
    crossings = [curve.first_crossing(0.143) for curve in (found.masked, found.corrected)]
    assert (crossings[0] or 0) > 1.5 * (crossings[1] or 1)


def test_noise_alone_agrees_nowhere():
    half_maps = halves_of(np.zeros((BOX, BOX, BOX)), 1.0)
    found = masked_agreement(half_maps, soft_sphere(BOX, 8.0, 2.0))
    assert float(found.corrected.values[4:].abs().mean()) < 0.15
    sharp = sharpened(half_maps, soft_sphere(BOX, 8.0, 2.0), PIXEL_SIZE)
    assert sharp.b_factor is None
    assert isinstance(sharp.guinier, NoFit)


def test_weights_are_the_correlation_with_the_structure():
    """FSC weights times amplitudes are, for signal and noise of known powers, the signal's."""
    signal, noise = torch.tensor([9.0, 4.0, 1.0]), 2.0
    half_map_fsc = signal / (signal + 2 * noise)
    weights = fsc_weights(ShellCurve(torch.arange(3.0), half_map_fsc))
    torch.testing.assert_close(weights.square(), signal / (signal + noise))
    falling = ShellCurve(torch.arange(4.0), torch.tensor([0.9, 0.1, 0.5, 0.4]))
    assert fsc_weights(falling)[1:].tolist() == [0, 0, 0]


def test_a_voxel_is_filtered_at_its_own_resolution():
    volume = torch.randn(BOX, BOX, BOX, generator=torch.Generator().manual_seed(0))
    resolution = torch.full_like(volume, 6.0)
    resolution[:, :, BOX // 2 :] = 18.0
    filtered = filter_by_local_resolution(volume, resolution, PIXEL_SIZE)
    for part, limit in ((filtered[..., 4:20], 6.0), (filtered[..., 28:44], 18.0)):
        along = torch.fft.rfft(part, dim=0).abs().square().mean((1, 2))
        frequencies = torch.fft.rfftfreq(BOX, PIXEL_SIZE)
        beyond = along[frequencies > 1.2 / limit].mean()
        assert float(beyond) < 0.02 * float(along[1:3].mean())


def test_a_mask_is_drawn_around_the_molecule_whatever_its_sign():
    half_maps = halves_of(atoms(100), 1.0)
    mask = solvent_mask(half_maps, PIXEL_SIZE)
    ball = soft_sphere(BOX, 0.18 * BOX, 1.0) > 0.5
    assert float(mask[ball].mean()) > 0.9
    assert float(mask.mean()) < 0.3
    negative = solvent_mask((-half_maps[0], -half_maps[1]), PIXEL_SIZE)
    torch.testing.assert_close(negative, mask, atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("half_maps")
    names = [folder / "half_a.mrc", folder / "half_b.mrc"]
    for path, half in zip(names, halves_of(atoms(120), 0.5), strict=True):
        write_volume(path, half.numpy(), GEOMETRY)
    return names


def test_the_tool_writes_maps_where_the_half_maps_lie(tool, files, tmp_path, drawn):
    before = [path.read_bytes() for path in files]
    out = tmp_path / "out"
    said = tool("postprocess", *files, "-o", out)
    assert [path.read_bytes() for path in files] == before
    assert "B factor: -1" in said
    assert "± " in said
    assert {read_map(path)[1] for path in out.glob("*.mrc")} == {GEOMETRY}
    halves = [read_volume(path)[0] for path in files]
    mean = read_volume(out / "unfiltered.mrc")[0]
    np.testing.assert_allclose(mean, sum(halves) / 2, atol=1e-6)
    mask = read_volume(out / "mask.mrc")[0]
    masked = read_volume(out / "sharpened_masked.mrc")[0]
    np.testing.assert_allclose(masked, mask * read_volume(out / "sharpened.mrc")[0], atol=1e-5)
    record = json.loads((out / "postprocess.json").read_text())
    assert record["b_factor"] == pytest.approx(-120, abs=5)
    curves = read_curves(out / "fsc.txt")
    assert [*curves] == ["unmasked", "masked", "randomised", "corrected"]
    crossing = curves["corrected"].first_crossing(0.143)
    assert record["resolution"] == pytest.approx(PIXEL_SIZE / (crossing or 1), rel=1e-3)
    assert np.loadtxt(out / "guinier.txt").shape == (BOX // 2 - 1, 3)
    assert (out / "postprocess.png").stat().st_size > 20_000


def test_settings_of_ones_own_take_the_place_of_what_is_found(files, tmp_path):
    mask = tmp_path / "mask.mrc"
    write_volume(mask, soft_sphere(BOX, 18.0, 4.0).numpy(), GEOMETRY)
    options = {"mask": mask, "b_factor": -50.0, "no_local": True}
    found = postprocess(*files, output=tmp_path / "out", **options)
    assert found.b_factor == -50
    assert isinstance(found.guinier, GuinierFit)
    torch.testing.assert_close(found.mask, soft_sphere(BOX, 18.0, 4.0))
    expected = with_b_factor(found.weighted, -50.0, PIXEL_SIZE)
    torch.testing.assert_close(found.sharpened, expected)
    assert found.locally_filtered is None
    assert not (tmp_path / "out/locally_filtered.mrc").exists()


@pytest.mark.parametrize("begin", [5, 10, 100, 1e6])
def test_a_coarse_map_stays_unsharpened_wherever_the_fit_would_begin(tool, tmp_path, begin):
    for path, half in zip("ab", halves_of(atoms(120), 0.5), strict=True):
        write_volume(tmp_path / f"{path}.mrc", half.numpy(), 6.0)
    said = tool(
        "postprocess", tmp_path / "a.mrc", tmp_path / "b.mrc", "-o", tmp_path / "out",
        "--fit-from", begin, "--no-local",
    )  # fmt: skip
    assert "B factor: none, not sharpened: too coarse for a fit: 1" in said
    assert "and 7.1 Å are needed" in said
    assert "(the last shell; the FSC stays above 0.143)" in said
    assert json.loads((tmp_path / "out/postprocess.json").read_text())["b_factor"] is None
    weighted, sharp = (
        read_volume(tmp_path / f"out/{name}.mrc")[0] for name in ("weighted", "sharpened")
    )
    np.testing.assert_allclose(sharp, weighted, atol=1e-4)


@pytest.mark.parametrize(
    ("begin", "resolution", "reason"),
    [
        (10.0, 8.0, "too coarse for a fit: 8.0 Å, and 7.1 Å are needed"),
        (100.0, 8.0, "too coarse for a fit: 8.0 Å, and 7.1 Å are needed"),
        (10.0, 7.08, "too coarse for a fit: 7.14 Å, and 7.07 Å are needed"),
        (5.0, 4.0, "too short a range for a fit: from 5 to 4.0 Å, and 3.5 Å are needed"),
        (4.1, 4.0, "too few shells for a fit: 2 from 4.1 to 4.0 Å, and 4 are needed"),
    ],
)
def test_a_line_needs_shells_a_range_and_a_resolution(begin, resolution, reason):
    # Shells of a box of 200 Å at 1 Å/px that agree to the resolution and no further.
    frequencies = torch.arange(1.0, 101) / 200
    agree = (frequencies <= 1 / resolution + 1e-6).float()
    signal = ShellCurve(frequencies, torch.exp(-30 * frequencies**2))
    found = guinier_fit(signal, ShellCurve(frequencies, 0.9 * agree), 200, 1.0, begin)
    assert found == NoFit(reason)
    fine = ShellCurve(frequencies, torch.full((100,), 0.9))
    assert isinstance(guinier_fit(signal, fine, 200, 1.0, begin), GuinierFit)


def test_a_fit_that_begins_at_the_shape_of_the_molecule_is_warned_of(files, tmp_path, caplog):
    postprocess(*files, output=tmp_path / "out", no_local=True, fit_from=100.0)
    assert "amplitudes coarser than about 10 Å follow the shape" in caplog.text


def test_what_are_no_half_maps_is_refused_before_anything_is_written(
    fail_tool, files, tmp_path
):
    volume, geometry = read_map(files[0])
    for name, values, pixel_size in (
        ("twice.mrc", 2 * volume, 1.5),
        ("coarser.mrc", volume[::-1], 1.6),
        ("smaller.mrc", volume[4:-4, 4:-4, 4:-4], 1.5),
        ("empty.mrc", 0 * volume, 1.5),
        ("small_mask.mrc", np.ones((24, 24, 24), np.float32), 1.5),
    ):
        write_volume(tmp_path / name, np.ascontiguousarray(values), pixel_size)
    out = ("-o", tmp_path / "out")
    for words, expected in (
        ((files[0], files[0]), "the same map twice"),
        ((files[0], tmp_path / "twice.mrc"), "the same map twice"),
        ((files[0], tmp_path / "coarser.mrc"), "has 1.5 Å/px, but"),
        ((files[0], tmp_path / "smaller.mrc"), "has 48 voxels along a side, but"),
        ((files[0], tmp_path / "empty.mrc"), "the same value everywhere"),
        ((*files, "--mask", tmp_path / "small_mask.mrc"), "fills a box of 36.0 Å"),
        ((*files, "--mask", files[0]), "is no mask: its values run from"),
        ((*files, "--fit-from", 0), "--fit-from must be positive"),
    ):
        assert expected in fail_tool("postprocess", *words, *out)
    message = fail_tool("postprocess", *files, "-o", tmp_path / "map.mrc")
    assert "expected a folder" in message
    assert not (tmp_path / "out").exists()
    assert geometry == GEOMETRY


def test_the_lines_of_the_page_lead_from_images_to_a_sharpened_map(
    run, tool, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    words = "simulate -D 32 --Apix 4 -n 200 --num-states 1 --snr 2 -o ."
    run(*words.split())
    programs = {"cryodrgn": run, "cryodrgn_utils": tool}
    lines = re.findall(r"^    (cryodrgn.*)$", PAGE.read_text(), re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        program, *words = shlex.split(line)
        programs[program](*words)
    assert (tmp_path / "sharpened/sharpened.mrc").is_file()


def test_a_curve_that_does_not_fall_is_said_to(tmp_path, caplog):
    half = halves_of(atoms(60), 0.01)
    flat = Reconstruction(volume=half[0], half_maps=half, fsc=fourier_shell_correlation(*half))
    with caplog.at_level("INFO"):
        save_reconstruction(flat, ReconstructionFiles(tmp_path), GEOMETRY)
    assert "agree to 3.127 Å (the last shell; the FSC stays above 0.143)" in caplog.text
    caplog.clear()
    noisy = halves_of(atoms(200), 1.0)
    falling = replace(flat, fsc=fourier_shell_correlation(*noisy))
    with caplog.at_level("INFO"):
        save_reconstruction(falling, ReconstructionFiles(tmp_path), GEOMETRY)
    assert "the half maps agree to" in caplog.text
    assert "does not fall" not in caplog.text


@pytest.mark.parametrize(("b_factor", "words"), [(1e9, "blurs"), (-1e9, "nothing but noise")])
def test_b_factors_that_leave_nothing_of_a_map_are_refused(b_factor, words):
    half_maps = halves_of(atoms(60), 0.05)
    mask = torch.ones_like(half_maps[0])
    with pytest.raises(ConfigError, match=words):
        sharpened(half_maps, mask, PIXEL_SIZE, b_factor=b_factor, with_local=False)
