"""A package of somebody else adds a decoder or an encoder without a change here."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml

from cryodrgn.cli.main import main
from cryodrgn.data.config import DataConfig
from cryodrgn.errors import ConfigError
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.transforms import centred_fft
from cryodrgn.io.checkpoints import load_checkpoint
from cryodrgn.io.mrc import read_volume
from cryodrgn.io.particle_files import ParticleFiles
from cryodrgn.models.build import build_model, decoder_sizes, encoder_sizes
from cryodrgn.models.config_file import model_config, model_mapping
from cryodrgn.models.protocols import VolumeModel
from cryodrgn.models.registry import DECODERS, ENCODERS, Registry
from cryodrgn.models.settings import (
    BasisConfig,
    DecoderConfig,
    EncoderConfig,
    LinearNetworkConfig,
    ModelConfig,
)
from cryodrgn.training.memory import bytes_written, memory_needed
from cryodrgn.training.run_config import RunConfig, TrainConfig
from pages import lines_of

ROOT = Path(__file__).parents[2]
(GAUSSIANS,) = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs/decoders.md").read_text(), flags=re.DOTALL
)
ENCODER = """
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from cryodrgn.models.protocols import Encoder, EncoderSizes


@dataclass(frozen=True, kw_only=True, slots=True)
class PlainConfig:
    name: ClassVar[str] = "plain"

    slope: float = 0.1


class Plain(Encoder[PlainConfig]):
    settings_type = PlainConfig

    def __init__(self, config, *, box_size, latent_dim):
        super().__init__(config, box_size=box_size, latent_dim=latent_dim)
        points = len(self.stored_lattice(config, box_size))
        self.main = nn.Linear(2 * points, 2 * latent_dim)

    @classmethod
    def sizes(cls, config, *, box_size, latent_dim):
        count = 2 * latent_dim * (2 * len(cls.stored_lattice(config, box_size)) + 1)
        return EncoderSizes(weights=count, multiply_adds=count)

    def forward(self, sets, dtype=None):
        first = sets.grouping.first(sets.images)
        encoded = self.config.slope * self.main(first.flatten(1))
        return encoded.chunk(2, dim=-1)
"""
ENTRY_POINTS = """\
[cryodrgn.decoders]
gaussians = gaussians:Gaussians
missing = no_such_module:Gaussians
function = math:floor
renamed = gaussians:Gaussians
perceptron = gaussians:Gaussians

[cryodrgn.encoders]
plain = plain_encoder:Plain
"""
ENCODER_SETTINGS = EncoderConfig(mask_radius=8)
SMALL = ("--qdim", 16, "--qlayers", 1, "--precision", "float32")
DECODER = ("--decoder", "gaussians:count=5,width_px=2")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder of packages that holds one with a decoder and an encoder."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "gaussians.py").write_text(GAUSSIANS)
    (folder / "plain_encoder.py").write_text(ENCODER)
    record = folder / "gaussians-1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: gaussians\nVersion: 1.0\n")
    (record / "entry_points.txt").write_text(ENTRY_POINTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder
        for name in ("gaussians", "plain_encoder"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def trained(installed, tmp_path_factory):
    """Particles, and a run of one epoch with the decoder of the package."""
    folder = tmp_path_factory.mktemp("trained")
    simulate = "simulate -D 16 --Apix 12 -n 24 --num-states 2 -o"
    assert main([*simulate.split(), str(folder / "sim")]) == 0
    words = (folder / "sim/particles.star", "--zdim", 2, "-n", 1, *SMALL, *DECODER)
    assert main(["train_vae", *map(str, words), "-o", str(folder / "run")]) == 0
    return folder


def gaussians(**changes) -> ModelConfig:
    settings = DECODERS.read("gaussians", changes)
    return ModelConfig(box_size=16, latent_dim=2, decoder=settings, encoder=ENCODER_SETTINGS)


def test_names_are_known_before_anything_is_imported(installed):
    code = (
        "import sys\nfrom cryodrgn.models.registry import DECODERS\n"
        "assert 'gaussians' in DECODERS.names()\nassert 'gaussians' not in sys.modules\n"
        "assert DECODERS.find('perceptron').__module__ == 'cryodrgn.models.decoders'\n"
        "assert DECODERS.find('gaussians').__module__ == 'gaussians'\n"
    )
    paths = {"PYTHONPATH": f"{installed}:{ROOT / 'src'}"}
    subprocess.run([sys.executable, "-c", code], check=True, env=paths)


def test_settings_are_read_without_loading_torch():
    code = "import sys, cryodrgn.models.settings; assert 'torch' not in sys.modules"
    paths = {"PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", code], check=True, env=paths)


def test_lines_of_the_page_work_as_typed(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("particles.star", "particles.mrcs"):
        (tmp_path / name).symlink_to(trained / "sim" / name)
    for line in lines_of("docs/decoders.md"):
        line.run()
    assert read_volume(tmp_path / "vol.mrc")[0].shape == (16, 16, 16)


def test_the_config_of_a_run_names_the_decoder_and_its_settings(trained):
    config = yaml.safe_load((trained / "run/config.yaml").read_text())
    assert config["model_args"]["decoder"] == "gaussians"
    assert config["model_args"]["decoder_args"] == {"count": 5, "width_px": 2}
    assert "pdim" not in config["model_args"]
    weights = load_checkpoint(trained / "run/weights.pkl")["model_state_dict"]
    assert weights["decoder.centres"].shape == (5, 3)
    assert model_config(config).decoder == DECODERS.parse("gaussians:count=5,width_px=2.0")


def test_volumes_are_those_of_the_decoder(run, trained, tmp_path):
    path = tmp_path / "volume.mrc"
    run("eval_vol", trained / "run/weights.pkl", "-z", 0.5, -1, "-o", path)
    config = yaml.safe_load((trained / "run/config.yaml").read_text())
    model = build_model(model_config(config))
    model.load_state_dict(load_checkpoint(trained / "run/weights.pkl")["model_state_dict"])
    lattice = HalfPlaneFrequencies.disc(16, 7)
    points = torch.nn.functional.pad(lattice.frequencies, (0, 1))
    with torch.inference_mode():
        expected = model.decoder(points[None], torch.tensor([[0.5, -1.0]]))[0]
    kx, ky = (lattice.points + 8).unbind(-1)
    found = centred_fft(torch.from_numpy(read_volume(path)[0]), 3)[8, ky, kx]
    scale = config["dataset_args"]["norm"][1]
    torch.testing.assert_close(
        torch.view_as_real(found) / scale, expected, atol=1e-4, rtol=1e-4
    )


def test_a_run_that_is_resumed_ends_as_one_that_was_not(run, trained, tmp_path):
    star, both = trained / "sim/particles.star", ("--zdim", 2, *SMALL, *DECODER)
    run("train_vae", star, "-n", 2, *both, "-o", tmp_path / "whole")
    run("train_vae", star, "-n", 1, *both, "-o", tmp_path / "parts")
    run("train_vae", "--load", "latest", "-n", 2, "-o", tmp_path / "parts")
    whole, parts = (
        load_checkpoint(tmp_path / name / "weights.pkl")["model_state_dict"]
        for name in ("whole", "parts")
    )
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_another_decoder_is_another_run(fail, trained):
    words = ("--zdim", 2, "-n", 1, *SMALL, "-o", trained / "run", "--load", "latest")
    message = fail("train_vae", trained / "sim/particles.star", *words)
    assert "--decoder gaussians there, not given here" in message


def test_a_single_structure_needs_no_latent(run, trained, tmp_path):
    star, out = trained / "sim/particles.star", tmp_path / "out"
    said = run("train_nn", star, "-n", 1, "--decoder", "gaussians:count=3", "-o", out)
    assert "plan: 24 particles of 16 px" in said
    assert read_volume(out / "reconstruct.mrc")[0].shape == (16, 16, 16)
    weights = load_checkpoint(out / "weights.pkl")["model_state_dict"]
    assert weights.keys() == {"centres", "moves", "amplitudes"}


def test_an_encoder_is_found_by_its_name(run, trained, tmp_path):
    star, out = trained / "sim/particles.star", tmp_path / "out"
    words = ("--zdim", 2, "-n", 1, "--encode-mode", "plain:slope=0.5", "--pdim", 16)
    run("train_vae", star, *words, "-o", out)
    config = yaml.safe_load((out / "config.yaml").read_text())["model_args"]
    assert (config["encode_mode"], config["encoder_args"]) == ("plain", {"slope": 0.5})
    run(
        "eval_images", star, out / "weights.pkl", "-o", tmp_path / "x.pkl", "--out-z", out / "y"
    )
    run("train_vae", "--load", "latest", "-n", 2, "-o", out)


def test_memory_is_forecast_from_the_sizes_that_a_model_says(installed):
    def need(count: int):
        run = RunConfig(
            data=DataConfig(files=ParticleFiles(particles=Path("x.star"))),
            model=gaussians(count=count),
            training=TrainConfig(),
        )
        return memory_needed(run, 1000, is_processor=True)

    few, many = need(300), need(500)
    points = len(HalfPlaneFrequencies.disc(16))
    assert many.weights - few.weights == 40 * 200 * (3 * 2 + 4)
    assert many.batch - few.batch == 8 * points * 4 * 6 * 200


def test_averages_of_weights_and_volumes_that_learn_are_part_of_the_forecast():
    def need(*, averaging, trains_volumes):
        decoder = LinearNetworkConfig(
            linear_dim=2, num_functions=2, hidden_dim=8, trains_volumes=trains_volumes
        )
        run = RunConfig(
            data=DataConfig(files=ParticleFiles(particles=Path("x.star"))),
            model=ModelConfig(box_size=16, latent_dim=2, encoder=None, decoder=decoder),
            training=TrainConfig(averaging=averaging),
        )
        sizes = decoder_sizes(run.model)
        needed = memory_needed(run, 1000, is_processor=False)
        return needed, bytes_written(run, 1000), sizes.weights - sizes.fixed

    plain, files, learning = need(averaging=0.0, trains_volumes=False)
    averaged, more_files, _ = need(averaging=0.1, trains_volumes=False)
    moving, _, moved = need(averaging=0.0, trains_volumes=True)
    assert averaged.weights - plain.weights == 12 * learning
    assert (more_files - files) % (4 * learning) == 0 < more_files - files
    changes = 2 * 3 * 17 * 17 * 10
    assert moved - learning == changes
    assert moving.weights - plain.weights == 40 * changes
    assert moving.batch - plain.batch >= 24 * changes


def test_what_a_model_says_it_holds_is_what_it_holds(installed):
    for config in (
        gaussians(count=7),
        ModelConfig(
            box_size=16,
            latent_dim=2,
            decoder=DecoderConfig(hidden_dim=8, encoding="gaussian", encoding_dim=4),
            encoder=EncoderConfig(mode="tilt", hidden_dim=8, mask_radius=5),
        ),
        ModelConfig(
            box_size=16,
            latent_dim=2,
            decoder=DecoderConfig(hidden_dim=8),
            encoder=EncoderConfig(mode="conv", hidden_dim=4, use_real=True),
        ),
        ModelConfig(
            box_size=16,
            latent_dim=2,
            decoder=BasisConfig(
                kind="basis",
                box_size=16,
                latent_dim=2,
                num_functions=3,
                num_landmarks=9,
                num_groups=2,
            ),
            encoder=None,
        ),
    ):
        held = sum(value.numel() for value in build_model(config).state_dict().values())
        said = decoder_sizes(config).weights + encoder_sizes(config).weights
        assert said == pytest.approx(held, abs=2)


def test_settings_survive_the_record_of_a_run_and_its_config_file(installed):
    model = gaussians(count=9)
    assert model_config(model_mapping(model)) == model
    data = DataConfig(files=ParticleFiles(particles=Path("/x.star")))
    run = RunConfig(data=data, model=model)
    assert RunConfig.from_settings(run.settings()) == run


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "nonsense",
            "there is no decoder 'nonsense'; known are perceptron, sum_of_volumes, .*g",
        ),
        ("gaussians:size=3", "has no setting 'size'; it has count, width_px"),
        ("gaussians:count=many", "count of the decoder 'gaussians' is 'many', expected int"),
        ("gaussians:count=1.5", "count of the decoder 'gaussians' is 1.5, expected int"),
        ("gaussians:count", "names a decoder as NAME:SETTING=VALUE,…; got 'count'"),
        ("missing", "'missing' .* cannot be imported: No module named 'no_such_module'"),
        ("function", "math:floor, installed as decoder 'function', is no decoder"),
        ("renamed", "has no settings_type that is a dataclass with the attribute name"),
    ],
)
def test_what_is_no_decoder_is_refused(installed, text, message):
    with pytest.raises(ConfigError, match=message):
        DECODERS.parse(text)


def test_two_packages_with_one_name_are_refused(installed, tmp_path, monkeypatch):
    record = tmp_path / "others-1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    (record / "entry_points.txt").write_text("[cryodrgn.decoders]\ngaussians = others:Other\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"more than once \(gaussians:Gaussians, others:Oth"):
        DECODERS.find("gaussians")


def test_options_of_the_perceptron_are_refused_beside_another_decoder(fail, trained, tmp_path):
    words = ("--zdim", 2, "-n", 1, *DECODER, "--pdim", 16, "-o", tmp_path / "out")
    message = fail("train_vae", trained / "sim/particles.star", *words)
    assert "--pdim describes the perceptron" in message
    weights = trained / "run/weights.pkl"
    message = fail("eval_vol", weights, "-z", 0, 0, "--pdim", 16, "-o", tmp_path / "x.mrc")
    assert "pdim describes the perceptron, but the config is of the decoder" in message


def test_an_unknown_encoder_does_not_become_another(installed):
    mapping = model_mapping(gaussians())
    mapping["model_args"]["encode_mode"] = "nonsense"
    for name in ("qlayers", "qdim", "enc_mask", "use_real", "activation"):
        del mapping["model_args"][name]
    with pytest.raises(ConfigError, match="no encoder 'nonsense'; known are resid, mlp, conv"):
        model_config(mapping)
    with pytest.raises(ConfigError, match="no encoder 'nonsense'"):
        ENCODERS.parse("nonsense")


@pytest.mark.parametrize("kind", ["linear", "basis"])
def test_a_sum_of_volumes_is_the_transform_of_its_volumes(kind):
    torch.manual_seed(0)
    basis = BasisConfig(
        kind=kind,
        box_size=8,
        latent_dim=2,
        num_functions=2,
        num_landmarks=5 if kind == "basis" else 0,
        num_neighbours=3,
    )
    config = ModelConfig(box_size=8, latent_dim=2, decoder=basis, encoder=None)
    model = build_model(config).decoder
    for buffer in model.buffers():
        buffer.copy_(torch.rand(buffer.shape))
    latents = torch.randn(2, 2)
    axis = torch.arange(-4, 4)
    points = torch.cartesian_prod(axis, axis, axis).flip(-1)
    found = model((points / 8).expand(2, -1, -1), latents)
    for volume, values in zip(model.make_volumes(latents), found, strict=True):
        expected = torch.view_as_real(centred_fft(volume, 3)).reshape(-1, 2)
        torch.testing.assert_close(values, expected, atol=1e-3, rtol=1e-4)
    assert model_config(model_mapping(config)) == config


def test_nothing_outside_the_registry_asks_for_the_class_of_a_model():
    classes = (
        "Vae|Decoder|Encoder|Model|VolumeModel|BasisModel|MlpEncoder|ConvEncoder|TiltEncoder"
    )
    asked = re.compile(rf"isinstance\([^)]*\b({classes})\b")
    sources = [path for path in (ROOT / "src").rglob("*.py") if path.name != "registry.py"]
    assert len(sources) > 100
    assert [path.name for path in sources if asked.search(path.read_text())] == []


def test_a_registry_finds_only_classes_of_its_own_kind(installed):
    other = Registry(VolumeModel, "decoder", "cryodrgn.encoders", {})
    with pytest.raises(ConfigError, match="installed as decoder 'plain', is no decoder"):
        other.find("plain")
    assert ENCODERS.find("plain") is import_module("plain_encoder").Plain
