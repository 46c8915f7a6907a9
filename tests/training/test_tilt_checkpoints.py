"""Checkpoints that cryoDRGN 4 wrote of tilt series: the weights do here what they did there.

Names, shapes and formulas are those of its specification, and nothing here is the package's:
images are windowed, transformed, moved and phase flipped, and perceptrons evaluated, by numpy.
"""

import mrcfile
import numpy as np
import pytest
import starfile
import torch
import yaml

from cryodrgn.cli.main import main
from cryodrgn.io.cryodrgn_pickle import load_latents

BOX, APIX, PARTICLES, TILTS, LATENTS = 16, 12.0, 6, 4, 2
SCALE, PE_DIM = 35.0, 8
# Perceptron on every tilt, and on what it says of all; and the decoder: layers and width.
FIRST, SECOND, DECODER = (2, 8, 5), (2, 12, 2 * LATENTS), (1, 8, 2)


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    words = f"simulate -D {BOX} --Apix {APIX} -n {PARTICLES} --num-states 2 --snr 0.5"
    words += " --tilt-series --tilt-step 30"
    assert main([*words.split(), "-o", str(folder)]) == 0
    # Rows in any order: tilts are taken by their dose.
    blocks = starfile.read(folder / "particles.star")
    blocks["particles"] = blocks["particles"].sample(frac=1, random_state=3)
    starfile.write(blocks, folder / "particles.star", overwrite=True)
    return folder / "particles.star"


@pytest.fixture(scope="module")
def checkpoint(series, tmp_path_factory):
    """Config and weights in the layout of files of 4.3; weights are drawn at random."""
    folder = tmp_path_factory.mktemp("run")
    config = {
        "cmd": ["cryodrgn", "train_vae"],
        "dataset_args": {
            "particles": str(series),
            "norm": [0, SCALE],
            "invert_data": False,
            "ind": None,
            "keepreal": False,
            "window": True,
            "window_r": 0.85,
            "datadir": None,
            "ctf": None,
            "poses": None,
            "do_pose_sgd": False,
            "ntilts": TILTS,
        },
        "lattice_args": {"D": BOX + 1, "extent": 0.5, "ignore_DC": True},
        "model_args": {
            "qlayers": FIRST[0],
            "qdim": FIRST[1],
            "players": DECODER[0],
            "pdim": DECODER[1],
            "zdim": LATENTS,
            "enc_mask": BOX // 2,
            "encode_mode": "tilt",
            "pe_type": "gaussian",
            "feat_sigma": 0.5,
            "pe_dim": PE_DIM,
            "domain": "fourier",
            "activation": "relu",
            "tilt_params": {
                "tdim": SECOND[1],
                "tlayers": SECOND[0],
                "t_emb_dim": FIRST[2],
                "ntilts": TILTS,
            },
        },
        "seed": 0,
        "version": "4.3.0",
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    generator = np.random.default_rng(4)
    weights = {
        **perceptron(generator, "encoder.encoder1.main", 196, *FIRST),
        **perceptron(generator, "encoder.encoder2.main", TILTS * FIRST[2], *SECOND),
        **perceptron(generator, "decoder.decoder.main", 6 * PE_DIM + LATENTS, *DECODER),
        "decoder.rand_freqs": generator.normal(size=(3 * PE_DIM, 3)),
    }
    state = {
        name: torch.from_numpy(value.astype(np.float32)) for name, value in weights.items()
    }
    torch.save(
        {"epoch": 1, "model_state_dict": state, "optimizer_state_dict": {}},
        folder / "weights.pkl",
    )
    return folder, weights


def perceptron(generator, name, size, layers, width, values):
    """Weights of a residual perceptron by their names in files."""
    sizes = {0: (width, size), 2 * layers + 2: (values, width)}
    sizes |= {2 * layer: (width, width) for layer in range(1, layers + 1)}
    found = {}
    for place, shape in sizes.items():
        linear = f"{name}.{place}" if place in {0, 2 * layers + 2} else f"{name}.{place}.linear"
        found[f"{linear}.weight"] = generator.normal(0, shape[1] ** -0.5, shape)
        found[f"{linear}.bias"] = generator.normal(0, 0.1, shape[0])
    return found


def evaluated(weights, name, values, layers):
    """What a residual perceptron says of some values."""
    values = values @ weights[f"{name}.0.weight"].T + weights[f"{name}.0.bias"]
    for layer in range(1, layers + 1):
        values = np.maximum(values, 0)
        linear = f"{name}.{2 * layer}.linear"
        values = values + values @ weights[f"{linear}.weight"].T + weights[f"{linear}.bias"]
    last = f"{name}.{2 * layers + 2}"
    return np.maximum(values, 0) @ weights[f"{last}.weight"].T + weights[f"{last}.bias"]


def hartley_values(image, shift, ctf):
    """The centred, phase flipped Hartley transform on the disc without its middle."""
    axis = np.arange(BOX) - BOX // 2
    radius = np.hypot(axis, axis[:, None]) / (BOX / 2)
    window = np.clip(1 - (radius - 0.85) / 0.14, 0, 1)
    k = np.arange(-BOX // 2, BOX // 2 + 1)
    waves = np.exp(-2j * np.pi * np.outer(k, axis) / BOX)
    moved = np.exp(-2j * np.pi * (k * shift[0] + k[:, None] * shift[1]) / BOX)
    transform = (waves @ (window * image) @ waves.T) * moved
    squares = k**2 + k[:, None] ** 2
    inside = (squares <= (BOX // 2) ** 2) & (squares > 0)
    values = (transform.real - transform.imag) / SCALE * np.sign(ctf(k / (BOX * APIX)))
    return values[inside]


def ctf_of(row, optics):
    """The CTF of an image at frequencies along both axes, in 1/Å."""
    volts = 1000 * optics.rlnVoltage
    wavelength = 12.2639 / np.sqrt(volts + 0.97845e-6 * volts**2)
    contrast, cs = optics.rlnAmplitudeContrast, 1e7 * optics.rlnSphericalAberration

    def ctf(s):
        squares, angle = s**2 + s[:, None] ** 2, np.arctan2(s[:, None], s)
        turned = np.cos(2 * (angle - np.deg2rad(row.rlnDefocusAngle)))
        u, v = row.rlnDefocusU, row.rlnDefocusV
        defocus = (u + v + (u - v) * turned) / 2
        gamma = np.pi * (-defocus * wavelength * squares + cs * wavelength**3 * squares**2 / 2)
        return np.sqrt(1 - contrast**2) * np.sin(gamma) - contrast * np.cos(gamma)

    return ctf


def test_latents_are_those_of_its_encoder_on_the_best_tilts(series, checkpoint, run, tmp_path):
    folder, weights = checkpoint
    run("eval_images", series, folder / "weights.pkl", "-o", tmp_path / "z.pkl")
    found = load_latents(tmp_path / "z.pkl")
    blocks = starfile.read(series)
    optics = blocks["optics"].iloc[0]
    expected = []
    groups = blocks["particles"].groupby(["rlnTomoName", "rlnTomoParticleName"], sort=False)
    for _, group in groups:
        said = []
        for row in group.sort_values("rlnMicrographPreExposure").iloc[:TILTS].itertuples():
            frame, _, name = row.rlnImageName.partition("@")
            image = mrcfile.read(series.parent / name)[int(frame) - 1]
            shift = np.array([row.rlnOriginXAngst, row.rlnOriginYAngst]) / APIX
            said.append(hartley_values(image, shift, ctf_of(row, optics)))
        values = evaluated(weights, "encoder.encoder1.main", np.array(said), FIRST[0])
        latent = evaluated(weights, "encoder.encoder2.main", values.ravel(), SECOND[0])
        expected.append(latent[:LATENTS])
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())


def test_the_volume_is_that_of_its_decoder(checkpoint, run, tmp_path):
    folder, weights = checkpoint
    latent = [0.5, -1.0]
    run("eval_vol", folder / "weights.pkl", "-z", *latent, "-o", tmp_path / "v.mrc")
    volume = mrcfile.read(tmp_path / "v.mrc")
    k = np.arange(-BOX // 2, BOX // 2)
    z, y, x = (axis.ravel() for axis in np.meshgrid(k, k, k, indexing="ij"))
    # The half space that is fed to the network; values elsewhere are those of the mates.
    is_mate = (z > 0) | ((z == 0) & ((y > 0) | ((y == 0) & (x > 0))))
    points = np.where(is_mate, -1, 1)[:, None] * np.stack([x, y, z], axis=1) / BOX
    turns = BOX // 2 * points @ weights["decoder.rand_freqs"].T
    features = np.concatenate([np.sin(turns), np.cos(turns)], axis=1)
    values = np.concatenate([features, np.tile(latent, (len(points), 1))], axis=1)
    real, imaginary = evaluated(weights, "decoder.decoder.main", values, DECODER[0]).T
    hartley = SCALE * (real - np.where(is_mate, -imaginary, imaginary))
    hartley[x**2 + y**2 + z**2 > (BOX // 2) ** 2] = 0
    transform = np.fft.fftn(np.fft.ifftshift(hartley.reshape([BOX] * 3)))
    expected = np.fft.fftshift(transform.real - transform.imag) / BOX**3
    np.testing.assert_allclose(volume, expected, atol=1e-4 * np.abs(expected).max())
