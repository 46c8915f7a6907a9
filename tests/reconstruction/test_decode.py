import mrcfile
import numpy as np
import pytest
import torch

from cryodrgn.errors import ConfigError
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.resample import downsample_volume
from cryodrgn.fourier.shells import fourier_shell_correlation
from cryodrgn.fourier.transforms import centred_fft, hartley, inverse_hartley
from cryodrgn.io.map_geometry import MapGeometry
from cryodrgn.models import pointwise, volumes
from cryodrgn.models.build import build_model
from cryodrgn.models.settings import DecoderConfig, EncoderConfig, ModelConfig
from cryodrgn.reconstruction.decode import (
    PostProcessing,
    VolumeDecoder,
    decode_volumes,
    straight_path,
)
from mrc_orders import assert_in_one_place, write_consensus

CPU = torch.device("cpu")
LATENT = torch.tensor([0.5, -1.0])


def volume_decoder(
    domain="fourier",
    offset=0.0,
    scale=1.0,
    *,
    hidden_dim=16,
    dtype=torch.float32,
    whole_cube=False,
) -> VolumeDecoder:
    config = ModelConfig(
        box_size=16,
        latent_dim=2,
        encoder=EncoderConfig(hidden_dim=8),
        decoder=DecoderConfig(hidden_dim=hidden_dim, domain=domain),
    )
    decoder = build_model(config, seed=1).decoder
    return VolumeDecoder(decoder, offset, scale, CPU, dtype, whole_cube=whole_cube)


@pytest.mark.parametrize("domain", ["fourier", "hartley"])
def test_the_volumes_transform_is_what_the_network_says(domain):
    decoder = volume_decoder(domain)
    lattice = HalfPlaneFrequencies.disc(16, 7)
    centre = torch.cat([lattice.frequencies, torch.zeros(len(lattice), 1)], dim=1)
    with torch.inference_mode():
        expected = decoder._decoder(centre[None], LATENT[None])[0]
    transform = centred_fft(decoder.volume(LATENT), 3)[8]
    kx, ky = lattice.points.unbind(-1)
    found = torch.view_as_real(transform[ky + 8, kx + 8])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("domain", ["fourier", "hartley"])
@pytest.mark.parametrize("hidden_dim", [16, 50])
def test_volumes_made_together_are_those_made_alone(monkeypatch, domain, hidden_dim):
    # At width 50 the first layer of 48 + 2 inputs is residual.
    monkeypatch.setattr(volumes, "BYTES_AT_A_TIME", 40_000)
    monkeypatch.setattr(pointwise, "VALUES_PER_PART", {"cpu": 0})
    decoder = volume_decoder(domain, hidden_dim=hidden_dim)
    latents = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    for together, latent in zip(decoder.volumes(latents), latents, strict=True):
        torch.testing.assert_close(together, decoder.volume(latent), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("latents", "message"),
    [([[0, 0], [0, np.nan]], "z must be finite, got .* for volume 1"), ([], "no points")],
)
def test_points_that_are_none_are_refused(latents, message):
    with pytest.raises(ConfigError, match=message):
        decode_volumes(volume_decoder(), torch.tensor(latents).reshape(-1, 2))


def test_half_precision_keeps_the_volume():
    exact, rounded = (volume_decoder(dtype=d) for d in (torch.float32, torch.bfloat16))
    curve = fourier_shell_correlation(exact.volume(LATENT), rounded.volume(LATENT))
    assert curve.values.min() > 0.99


def test_scale_and_offset_turn_network_values_into_those_of_images():
    plain = hartley(volume_decoder(whole_cube=True).volume(LATENT), 3)
    decoder = volume_decoder(offset=2.0, scale=3.0, whole_cube=True)
    scaled = hartley(decoder.volume(LATENT), 3)
    torch.testing.assert_close(scaled, 3 * plain + 2, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("domain", ["fourier", "hartley"])
def test_volumes_are_zero_beyond_the_nyquist_sphere(domain):
    transform = hartley(volume_decoder(domain, scale=5.0, offset=1.0).volume(LATENT), 3)
    axis = torch.arange(16) - 8
    radius = (axis**2 + axis[:, None] ** 2 + axis[:, None, None] ** 2).float().sqrt()
    assert transform[radius > 8].abs().max() < 1e-4
    assert transform[radius < 8].abs().min() > 1e-6


def test_a_smaller_box_leaves_out_the_frequencies_beyond_it():
    decoder = volume_decoder("hartley", whole_cube=True)
    small = centred_fft(decoder.volume(LATENT, 8), 3)[1:, 1:, 1:]
    large = centred_fft(downsample_volume(decoder.volume(LATENT), 8), 3)[1:, 1:, 1:]
    torch.testing.assert_close(small, large, atol=1e-4, rtol=1e-4)


def test_processing_steps():
    volume = torch.randn(8, 8, 8, generator=torch.Generator().manual_seed(0))
    given = MapGeometry(pixel_size=2.0)
    torch.testing.assert_close(
        PostProcessing(flip=True).apply(volume, given)[0], volume.flip(0)
    )
    torch.testing.assert_close(PostProcessing(invert=True).apply(volume, given)[0], -volume)
    cropped, geometry = PostProcessing(crop=4).apply(volume, given)
    torch.testing.assert_close(cropped, volume[2:6, 2:6, 2:6])
    assert geometry == MapGeometry(pixel_size=2.0, origin=(4.0, 4.0, 4.0))
    # 8 Å at 2 Å/px is a quarter of a cycle per pixel: radius 2 of 8.
    passed, _ = PostProcessing(low_pass=8.0).apply(volume, given)
    spectrum = hartley(passed, 3)
    axis = torch.arange(8) - 4
    radius = (axis**2 + axis[:, None] ** 2 + axis[:, None, None] ** 2).float().sqrt()
    assert spectrum[radius > 2].abs().max() < 1e-4
    torch.testing.assert_close(
        spectrum[radius <= 2], hartley(volume, 3)[radius <= 2], atol=1e-4, rtol=1e-4
    )


def test_a_straight_path_includes_both_ends():
    path = straight_path(torch.tensor([0.0, 1.0]), torch.tensor([1.0, -1.0]), 5)
    torch.testing.assert_close(path[[0, 2, 4]], torch.tensor([[0.0, 1], [0.5, 0], [1, -1]]))


def test_inverse_hartley_of_the_hartley_transform_is_the_volume():
    volume = volume_decoder().volume(LATENT)
    torch.testing.assert_close(inverse_hartley(hartley(volume, 3), 3), volume)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    from cryodrgn.cli.main import main

    folder = tmp_path_factory.mktemp("trained")
    simulate = "simulate -D 16 --Apix 12 -n 20 --num-states 2 -o"
    assert main([*simulate.split(), str(folder / "sim")]) == 0
    train = "--zdim 2 -n 1 --qdim 16 --pdim 16 -o"
    star = str(folder / "sim/particles.star")
    assert main(["train_vae", star, *train.split(), str(folder / "run")]) == 0
    return folder / "run"


@pytest.mark.parametrize("command", ["eval_vol", "eval_decoder"])
def test_one_z_gives_one_file_at_the_pixel_size_of_the_images(run, trained, tmp_path, command):
    out = tmp_path / "one.mrc"
    run(
        command,
        trained / "weights.pkl",
        "--config",
        trained / "config.pkl",
        "-z",
        0.1,
        -1e-3,
        "-o",
        out,
    )
    with mrcfile.open(out) as mrc:
        assert mrc.data.shape == (16, 16, 16)
        # A config.pkl of 0.2.0 does not know the pixel size.
        assert mrc.voxel_size.x == 1.0
    run(command, trained / "weights.pkl", "-z", 0.1, -1e-3, "-o", out)
    with mrcfile.open(out) as mrc:
        assert mrc.voxel_size.x == 12.0


def test_a_file_of_z_and_a_path_give_numbered_volumes(run, trained, tmp_path):
    weights = trained / "weights.0.pkl"
    ends = ("--z-start", 0, 0, "--z-end", 1, 2, "-n", 3)
    run("eval_vol", weights, *ends, "-o", tmp_path / "path", "--prefix", "v")
    (tmp_path / "z.txt").write_text("0 0\n0.5 1\n1 2\n")
    file = ("--zfile", tmp_path / "z.txt", "--vol-start-index", 1)
    run("eval_vol", weights, *file, "-o", tmp_path / "file")
    names = sorted(path.name for path in (tmp_path / "path").iterdir())
    assert names == ["v000.mrc", "v001.mrc", "v002.mrc"]
    for number in range(3):
        with (
            mrcfile.open(tmp_path / "path" / f"v{number:03d}.mrc") as a,
            mrcfile.open(tmp_path / "file" / f"vol_{number + 1:03d}.mrc") as b,
        ):
            np.testing.assert_allclose(a.data, b.data, atol=1e-6)


def test_cropping_moves_the_origin_and_downsampling_the_pixel_size(run, trained, tmp_path):
    out = tmp_path / "small.mrc"
    run("eval_vol", trained / "weights.pkl", "-z", 0, 0, "-d", 8, "--crop", 4, "-o", out)
    with mrcfile.open(out) as mrc:
        assert mrc.data.shape == (4, 4, 4)
        assert mrc.voxel_size.x == 24.0
        assert mrc.header.origin.z == 48.0


def test_decoded_volumes_lie_on_the_map_that_is_given(run, fail, trained, tmp_path):
    consensus = write_consensus(tmp_path / "consensus.mrc")
    words = ("eval_vol", trained / "weights.pkl", "-z", 0, 0, "--like", consensus)
    for name, options, shift in (
        ("same.mrc", (), 0.0),
        ("small.mrc", ("-d", 8), 0.0),
        ("cropped.mrc", ("-d", 8, "--crop", 4), 48.0),
    ):
        run(*words, *options, "-o", tmp_path / name)
        assert_in_one_place([tmp_path / name], consensus, shift)
    no = tmp_path / "no.mrc"
    message = fail(*words, "--Apix", 11, "-o", no)
    assert (
        "consensus.mrc fills a box of 192.0 Å, but the volumes fill one of 176.0 Å" in message
    )
    assert not no.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "give z-values in one way"),
        (("-z", 0, 0, "--zfile", "z.txt"), "give z-values in one way"),
        (("-z", 0), "latent of 2 dimensions, but a point of 1 coordinate"),
        (("--z-start", 0, 0), "must both be given"),
        (("--z-start", 0, 0, "--z-end", 1, 1, "-n", 1), "-n must be at least 2, got 1"),
        (("--zfile", "missing.txt"), "missing.txt does not exist"),
        (("-z", 0, 0, "-d", 18), "larger than"),
        (("-z", 0, 0, "--crop", 17), "--crop 17 must lie"),
        (("-z", 0, 0, "--low-pass", 0), "--low-pass must be positive, got 0.0"),
        (
            ("-z", 0, 0, "--pdim", 5),
            "with --pdim 5 in place of its own settings; leave that out: decoder.",
        ),
    ],
)
def test_mistakes_end_in_one_sentence(fail, trained, tmp_path, options, words):
    out = tmp_path / ("x.mrc" if "-z" in options else "x")
    assert words in fail("eval_vol", trained / "weights.pkl", *options, "-o", out)
    assert not out.exists()


def test_wrong_weight_files_are_named(fail, trained, tmp_path):
    config = ("--config", trained / "config.yaml", "-z", 0, 0, "-o", tmp_path / "x.mrc")
    assert "does not exist" in fail("eval_vol", tmp_path / "no.pkl", *config)
    assert "no weight file" in fail("eval_vol", trained / "z.pkl", *config)
    message = fail(
        "eval_vol", trained / "weights.pkl", "--config", trained / "z.pkl", *config[2:]
    )
    assert "no config file of a training run" in message
