import pytest
import torch

from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.geometry.rotations import random_rotations
from cryodrgn.imaging.slices import slice_coordinates
from cryodrgn.models.decoders import Decoder
from cryodrgn.models.encodings import ENCODINGS
from cryodrgn.models.settings import DecoderConfig


def decoder(latent_dim=2, **changes) -> Decoder:
    torch.manual_seed(0)
    config = DecoderConfig(num_layers=2, hidden_dim=16, **changes)
    return Decoder(config, box_size=16, latent_dim=latent_dim).eval()


def points(count: int = 50) -> torch.Tensor:
    return torch.rand(2, count, 3, generator=torch.Generator().manual_seed(1)) - 0.5


LATENT = torch.tensor([[0.3, -1.0], [2.0, 0.1]])


@pytest.mark.parametrize("domain", ["fourier", "hartley"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_transform_is_exactly_hermitian(domain, encoding):
    network = decoder(domain=domain, encoding=encoding)
    at_k, at_minus_k = network(points(), LATENT), network(-points(), LATENT)
    torch.testing.assert_close(at_minus_k, at_k * torch.tensor([1.0, -1.0]), atol=1e-6, rtol=0)


def test_decoding_a_slice_needs_only_its_first_half():
    network, lattice = decoder(), HalfPlaneFrequencies.disc(16)
    rotations = random_rotations(2, torch.Generator().manual_seed(0))
    half = network(slice_coordinates(lattice.frequencies, rotations), LATENT)
    whole = network(slice_coordinates(lattice.whole() / 16, rotations), LATENT)
    real, imaginary = whole.unbind(-1)
    torch.testing.assert_close(lattice.to_hartley(half), real - imaginary, atol=1e-6, rtol=0)


def test_every_latent_gives_its_own_structure():
    network = decoder()
    first = network(points()[:1], LATENT[:1])
    second = network(points()[:1], LATENT[1:])
    assert (first - second).abs().max() > 1e-3


def test_points_of_one_image_do_not_influence_each_other():
    network = decoder()
    torch.testing.assert_close(
        network(points(), LATENT)[:, 7:9], network(points()[:, 7:9], LATENT), atol=1e-6, rtol=0
    )


def test_bfloat16_products_change_little_and_the_result_is_float32():
    network = decoder()
    exact = network(points(), LATENT)
    rounded = network(points(), LATENT, torch.bfloat16)
    assert rounded.dtype == torch.float32
    assert (rounded - exact).abs().max() < 0.03 * exact.abs().max()


def test_gaussian_wave_vectors_are_saved_but_not_trained():
    network = decoder(encoding="gaussian", encoding_dim=4, feature_sigma=0.5)
    assert network.state_dict()["rand_freqs"].shape == (12, 3)
    assert not network.rand_freqs.requires_grad
    assert "rand_freqs" in dict(network.named_parameters())


def test_no_latent_means_a_single_structure():
    network = decoder(latent_dim=0)
    found = network(points(), torch.zeros(2, 0))
    assert found.shape == (2, 50, 2)
