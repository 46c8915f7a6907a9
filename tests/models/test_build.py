import pytest
import torch

from cryodrgn.errors import ConfigError
from cryodrgn.models.build import build_model
from cryodrgn.models.config_file import model_config, model_mapping
from cryodrgn.models.settings import DecoderConfig, EncoderConfig, ModelConfig


def config(**changes) -> ModelConfig:
    parts = {
        "box_size": 16,
        "latent_dim": 2,
        "encoder": EncoderConfig(hidden_dim=8, num_layers=1, mask_radius=6),
        "decoder": DecoderConfig(
            hidden_dim=8, num_layers=2, encoding="gaussian", encoding_dim=4
        ),
    }
    return ModelConfig(**(parts | changes))


def test_config_survives_the_round_trip_through_a_config_file():
    assert model_config(model_mapping(config())) == config()


def test_configs_of_0_2_0_lack_keys_that_have_one_meaning():
    mapping = model_mapping(config(encoder=EncoderConfig(), decoder=DecoderConfig()))
    for name in ("activation", "pe_dim", "feat_sigma"):
        del mapping["model_args"][name]
    read = model_config(mapping)
    assert read.decoder == DecoderConfig()
    assert read.encoder == EncoderConfig(mask_radius=8)


def test_a_missing_key_is_named():
    mapping = model_mapping(config())
    del mapping["model_args"]["zdim"]
    with pytest.raises(ConfigError, match="'zdim' is missing"):
        model_config(mapping)


@pytest.mark.parametrize("latent_dim", [0, -1])
def test_impossible_sizes_are_refused(latent_dim):
    with pytest.raises(ConfigError, match="`zdim` must be at least 1"):
        config(latent_dim=latent_dim)


def test_weights_depend_on_the_seed_alone_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (
        build_model(config(), 1),
        build_model(config(), 1),
        build_model(config(), 2),
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    for a, b, c in zip(*(m.state_dict().values() for m in (first, again, other)), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_parameters_come_in_the_order_of_cryodrgns_optimiser_state():
    names = [name for name, _ in build_model(config()).named_parameters()]
    assert names[:2] == ["encoder.main.0.weight", "encoder.main.0.bias"]
    assert names.index("decoder.rand_freqs") == 6
    assert names[7] == "decoder.decoder.main.0.weight"
