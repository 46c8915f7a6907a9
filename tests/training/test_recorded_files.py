"""Files of tilt pairs lead back from every record of a run, of this version and of others."""

from dataclasses import replace
from pathlib import Path

import pytest

from cryodrgn.data.config import DataConfig
from cryodrgn.io.particle_files import ParticleFiles
from cryodrgn.linear.config import LinearConfig
from cryodrgn.linear.latents import recorded_data
from cryodrgn.models.build import ModelConfig
from cryodrgn.models.decoders import DecoderConfig
from cryodrgn.training.run_config import RunConfig

FILES = ParticleFiles(
    particles=Path("/data/a.star"), tilted=Path("/data/b.mrcs"), tilt_deg=-30.0
)
MODEL = ModelConfig(box_size=16, latent_dim=0, encoder=None, decoder=DecoderConfig())
ALONE = replace(FILES, tilted=None, tilt_deg=45.0)


def config(files):
    return RunConfig(data=DataConfig(files=files), model=MODEL)


@pytest.mark.parametrize("files", [FILES, ALONE])
def test_settings_lead_back_to_the_same_files(files):
    run = config(files)
    assert RunConfig.from_settings(run.settings()).data == run.data
    assert recorded_data(run.to_mapping((0.0, 1.0))).files == files


@pytest.mark.parametrize("files", [FILES, ALONE])
def test_settings_of_the_version_before_do_too(files):
    run = config(files)
    settings = run.settings()
    data = settings["data"]
    data |= {name: data["files"].pop(name) for name in ("tilted", "tilt_deg")}
    mapping = run.to_mapping((0.0, 1.0))
    mapping["dataset_args"].pop("tilt_deg", None)
    mapping["training"]["settings"] = settings
    assert recorded_data(mapping).files == files
    assert RunConfig.from_settings(settings).data == run.data


def test_linear_runs_record_the_angle_of_their_pairs():
    linear = LinearConfig(data=DataConfig(files=FILES))
    mapping = {
        "dataset_args": linear.data.to_mapping((0.0, 1.0), None),
        "training": {"linear": linear.settings()},
    }
    assert recorded_data(mapping).files == FILES
