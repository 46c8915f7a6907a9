import pytest
import torch

from cryodrgn.models.layers import Mlp


def keys(**arguments) -> list[str]:
    return list(Mlp(**arguments).state_dict())


def test_parameters_have_the_names_of_cryodrgns_weight_files():
    # reference.md §2.7: 2 L + 3 entries, residual blocks at 2, 4, … 2 L.
    assert keys(in_dim=10, num_layers=2, hidden_dim=8, out_dim=4) == [
        "main.0.weight",
        "main.0.bias",
        "main.2.linear.weight",
        "main.2.linear.bias",
        "main.4.linear.weight",
        "main.4.linear.bias",
        "main.6.weight",
        "main.6.bias",
    ]


def test_ends_of_equal_width_become_residual_and_plain_networks_never_do():
    assert "main.0.linear.weight" in keys(in_dim=8, num_layers=1, hidden_dim=8, out_dim=3)
    assert "main.4.linear.weight" in keys(in_dim=5, num_layers=1, hidden_dim=8, out_dim=8)
    plain = keys(in_dim=8, num_layers=2, hidden_dim=8, out_dim=8, residual=False)
    assert not [name for name in plain if "linear" in name]


@pytest.mark.parametrize("features", [6, 5])
def test_conditioning_equals_appending_the_latent_to_every_point(features):
    # With 5 features and 3 latents the first layer is residual.
    network = Mlp(features + 3, 2, 8, 2)
    values = torch.randn(4, 7, features, generator=torch.Generator().manual_seed(0))
    latent = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    appended = torch.cat([values, latent[:, None].expand(-1, 7, -1)], dim=-1)
    torch.testing.assert_close(network.conditioned(values, latent), network(appended))
