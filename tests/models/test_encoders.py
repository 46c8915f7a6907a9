import pytest
import torch

from cryodrgn.errors import ConfigError
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.imaging.grouping import ImageSets
from cryodrgn.models.encoders import MlpEncoder
from cryodrgn.models.settings import EncoderConfig


def encoder(**changes) -> MlpEncoder:
    torch.manual_seed(0)
    return MlpEncoder(EncoderConfig(hidden_dim=16, **changes), box_size=16, latent_dim=3).eval()


@pytest.mark.parametrize(("radius", "count"), [(None, 196), (8, 196), (5, 80), (-1, 289)])
def test_the_mask_decides_how_many_values_are_seen(radius, count):
    network = encoder(mask_radius=radius)
    assert network.main[0].weight.shape == (16, count)
    stored = MlpEncoder.stored_lattice(network.config, 16)
    images = torch.randn(4, len(stored), 2, generator=torch.Generator().manual_seed(0))
    mean, log_variance = network(ImageSets.of_single_images(images))
    assert mean.shape == log_variance.shape == (4, 3)


def test_values_are_the_hartley_transform_in_raster_order_inside_the_mask():
    network = encoder(mask_radius=5)
    stored = HalfPlaneFrequencies.disc(16)
    images = torch.randn(1, len(stored), 2, generator=torch.Generator().manual_seed(0))
    seen = stored.to_hartley(images)[:, (stored.whole().square().sum(-1) <= 25)]
    expected = network.main(seen)
    torch.testing.assert_close(
        torch.cat(network(ImageSets.of_single_images(images)), dim=-1), expected
    )


@pytest.mark.parametrize(
    ("radius", "message"),
    [
        (0, "`mask_radius` must be at least 1, or -1, got 0"),
        (-2, "`mask_radius` must be at least 1, or -1, got -2"),
        (9, "`encoder_mask` 9 must be a radius from 1 to 8"),
    ],
)
def test_masks_that_cannot_be_are_refused(radius, message):
    with pytest.raises(ConfigError, match=message):
        encoder(mask_radius=radius)


def test_plain_encoders_have_no_residual_layers():
    assert not [name for name in encoder(mode="mlp").state_dict() if "linear" in name]
