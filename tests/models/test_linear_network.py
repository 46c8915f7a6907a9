import math

import pytest
import torch

from cryodrgn.fourier.half_grid import interpolation_envelope
from cryodrgn.imaging.grouping import Grouping, ImageSets
from cryodrgn.models.basis import BasisModel
from cryodrgn.models.linear_encoder import LinearEncoder
from cryodrgn.models.linear_network import LinearNetwork
from cryodrgn.models.settings import LinearEncoderConfig, LinearNetworkConfig

BOX, DIM = 16, 2
DOMAINS = ["fourier", "hartley"]


def smooth_volumes(count, side=BOX):
    axis = torch.arange(side) - side // 2
    radii = (axis.square()[:, None, None] + axis.square()[:, None] + axis.square()).sqrt()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(count, side, side, side, generator=generator)
    blurred = torch.fft.ifftn(
        torch.fft.fftn(noise, dim=(1, 2, 3))
        * torch.fft.ifftshift((-radii.square() / 20).exp()),
        dim=(1, 2, 3),
    )
    return blurred.real * (radii < side // 2 - 2)


def network(latent_dim=DIM + 1, domain="fourier", *, landmarks=0, trains_volumes=False):
    functions = DIM if not landmarks else 3
    config = LinearNetworkConfig(
        linear_dim=DIM,
        num_functions=functions,
        num_landmarks=landmarks,
        num_neighbours=landmarks,
        trains_volumes=trains_volumes,
        hidden_dim=16,
        num_layers=1,
        domain=domain,
    )
    torch.manual_seed(1)
    model = LinearNetwork(config, box_size=BOX, latent_dim=latent_dim)
    if landmarks:
        tables = model.functions
        tables.get_buffer("metric").copy_(torch.eye(DIM))
        tables.get_buffer("landmarks").normal_()
        tables.get_buffer("values").normal_()
    model.put_volumes(smooth_volumes(functions + 1))
    return model


def taught(model):
    """The model after its last layer has learnt something."""
    torch.manual_seed(2)
    torch.nn.init.normal_(model.network.decoder.main[-1].weight)
    return model


def latents(count, dim=DIM + 1):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(3))


def points(count):
    generator = torch.Generator().manual_seed(4)
    directions = torch.nn.functional.normalize(
        torch.randn(2, count, 3, generator=generator), dim=-1
    )
    return directions * 0.45 * torch.rand(2, count, 1, generator=generator)


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("landmarks", [0, 20])
def test_volumes_of_an_untrained_network_are_those_of_the_linear_model(domain, landmarks):
    model, z = network(domain=domain, landmarks=landmarks), latents(3)
    basis = BasisModel(model.config.functions(BOX))
    basis.get_buffer("volumes").copy_(model.get_buffer("volumes"))
    if landmarks:
        basis.functions.load_state_dict(model.functions.state_dict())
    for ours, theirs in zip(
        model.make_volumes(z, scale=3.0), basis.make_volumes(z[:, :DIM]), strict=True
    ):
        torch.testing.assert_close(ours, 3.0 * theirs, atol=1e-5, rtol=1e-5)


def test_slices_of_an_untrained_network_are_those_of_the_linear_model():
    model, z, at = network(), latents(2), points(50)
    basis = BasisModel(model.config.functions(BOX))
    basis.get_buffer("volumes").copy_(model.get_buffer("volumes"))
    exact = basis(at, z[:, :DIM])
    limit = 0.05 * float(exact.square().mean().sqrt())
    with torch.no_grad():
        assert float((model(at, z) - exact).square().mean().sqrt()) < limit


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_network_adds_the_same_to_slices_and_to_volumes(domain):
    model, z = taught(network(domain=domain)), latents(1)
    added = next(model.make_volumes(z)) - next(network(domain=domain).make_volumes(z))
    at = torch.tensor([[[0, 1, -1], [1, 2, -3], [-2, 0, 4], [3, -1, 1]]]) / BOX
    axis = torch.arange(BOX) - BOX // 2
    along = torch.polar(torch.ones(()), -2 * math.pi * at[0][..., None] * axis)
    expected = torch.einsum("px,py,pz,zyx->p", *along.unbind(1), added.to(along.dtype))
    found = torch.view_as_complex((model(at, z) - model.linear(at, z))[0].contiguous())
    assert expected.abs().max() > 1
    torch.testing.assert_close(found, expected, atol=0.01, rtol=1e-3)


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_fast_evaluation_is_the_model(domain):
    model, z = taught(network(domain=domain)), latents(2)
    at = points(30)[:1].expand(2, -1, -1)
    at = at * torch.where(at[..., 2:] > 0, -1.0, 1.0)
    values = model.fast_evaluation()(at[0], z)
    expected = model(at, z).detach()
    if domain == "hartley":
        expected = expected[..., :1] - expected[..., 1:]
    torch.testing.assert_close(values, expected, atol=1e-3, rtol=1e-4)


def slope(function, at, direction, step):
    """Change of a function along a direction, by difference and by gradient."""
    with torch.no_grad():
        ahead, behind = function(at + step * direction), function(at - step * direction)
    at = at.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(at), at)
    return float(ahead - behind) / (2 * step), float((gradient * direction).sum())


@pytest.mark.parametrize("landmarks", [0, 20])
def test_latents_have_the_gradients_of_functions_and_network(landmarks):
    model, at = taught(network(landmarks=landmarks)), points(5)
    weights = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(6))

    def total(z):
        return (model(at, z) * weights).sum()

    for number in range(DIM + 1):
        direction = torch.eye(DIM + 1)[number].expand(2, -1)
        expected, found = slope(total, latents(2), direction, 1e-2)
        assert found == pytest.approx(expected, rel=0.02, abs=0.5)


def test_poses_have_the_gradients_of_slices_between_grid_points():
    model, z = network(), latents(2)
    weights = torch.randn(2, 6, 2, generator=torch.Generator().manual_seed(6))

    def total(at):
        return (model.linear(at, z) * weights).sum()

    direction = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(7))
    expected, found = slope(total, points(6), direction, 1e-4)
    assert abs(expected) > 100
    assert found == pytest.approx(expected, rel=0.02)


def test_a_model_is_the_same_once_its_weights_are_read_back():
    model, z, at = taught(network(landmarks=20)), latents(2), points(20)
    other = LinearNetwork(model.config, box_size=BOX, latent_dim=DIM + 1)
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other(at, z), model(at, z), atol=0, rtol=0)


def test_volumes_that_nobody_has_put_are_zero():
    model = LinearNetwork(network().config, box_size=BOX, latent_dim=DIM + 1)
    values = model(points(40), latents(2))
    assert torch.equal(values, torch.zeros_like(values))


def test_the_forecast_counts_all_weights():
    model = network(landmarks=20)
    sizes = LinearNetwork.sizes(model.config, box_size=BOX, latent_dim=DIM + 1)
    held = model.state_dict()
    assert sizes.weights == sum(values.numel() for values in held.values())
    learning = sum(values.numel() for values in model.parameters())
    assert sizes.fixed == sizes.weights - learning


def test_the_forecast_of_an_encoder_counts_all_weights():
    config = LinearEncoderConfig(linear_dim=DIM, radius=4, grid_size=12, hidden_dim=16)
    encoder = LinearEncoder(config, box_size=BOX, latent_dim=3)
    sizes = LinearEncoder.sizes(config, box_size=BOX, latent_dim=3)
    assert sizes.weights == sum(values.numel() for values in encoder.state_dict().values())


def test_latents_are_the_same_whatever_the_sign_of_the_contrast_transfer():
    config = LinearEncoderConfig(linear_dim=DIM, radius=5, grid_size=14, hidden_dim=16)
    encoder = LinearEncoder(config, box_size=BOX, latent_dim=3)
    encoder.put_model(smooth_volumes(DIM + 1, 14), torch.ones(9), 0.0)
    lattice = LinearEncoder.stored_lattice(config, BOX)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, len(lattice), 2, generator=generator)
    transfer = torch.randn(4, len(lattice), generator=generator)
    axes = torch.linalg.qr(torch.randn(4, 3, 3, generator=generator)).Q

    def told(images, transfer):
        sets = ImageSets(
            images=images, grouping=Grouping(num_images=4), axes=axes, transfer=transfer
        )
        return encoder(sets)

    flipped = told(images * transfer.sign()[..., None], transfer)
    turned = told(images * transfer.sign()[..., None], transfer.abs())
    for ours, theirs in zip(flipped, turned, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    mean, log_variance = flipped
    assert (mean[:, DIM:] == 0).all()
    assert (log_variance[:, DIM:] == 0).all()
    assert (log_variance[:, :DIM] < 0).all()


def learning(domain="fourier"):
    """A model whose volumes have changed."""
    model = taught(network(domain=domain, landmarks=20, trains_volumes=True))
    generator = torch.Generator().manual_seed(8)
    assert model.changes is not None
    model.changes.steps.data = 20 * torch.randn(model.changes.steps.shape, generator=generator)
    return model


def test_slices_have_the_gradients_of_volumes_that_learn():
    model, z, at = learning(), latents(2), points(40)
    weights = torch.randn(2, 40, 2, generator=torch.Generator().manual_seed(6))
    start = model.changes.steps.detach()

    def total(steps):
        state = {"changes.steps": steps}
        return (torch.func.functional_call(model, state, (at, z)) * weights).sum()

    direction = torch.randn(start.shape, generator=torch.Generator().manual_seed(9))
    expected, found = slope(total, start, direction, 1.0)
    assert abs(expected) > 1
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("domain", DOMAINS)
def test_volumes_that_learn_are_decoded_as_they_are_learnt(domain):
    model, z = learning(domain), latents(1)
    at = torch.tensor([[[0, 1, -1], [0, -2, 3], [1, 2, -3], [-2, 0, 4], [3, -1, 1]]]) / BOX
    axis = torch.arange(BOX) - BOX // 2
    fixed = network(landmarks=20)
    fixed.functions.load_state_dict(model.functions.state_dict())
    taught_alone = taught(fixed)
    added = model._linear_volume(z[0], BOX) - taught_alone._linear_volume(z[0], BOX)
    flat = added / interpolation_envelope(BOX, BOX)
    along = torch.polar(torch.ones(()), -2 * math.pi * at[0][..., None] * axis)
    expected = torch.einsum("px,py,pz,zyx->p", *along.unbind(1), flat.to(along.dtype))
    with torch.no_grad():
        slices = model.changes(at, model.coefficients(z))[0]
        # Points of the half grid, where volumes are evaluated.
        half = at[:, [0, 2]]
        whole = model(half, z)
        evaluated = model.fast_evaluation()(half[0], z)
    found = torch.view_as_complex(slices.contiguous())
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    if domain == "hartley":
        whole = whole[..., :1] - whole[..., 1:]
    torch.testing.assert_close(evaluated, whole, atol=1e-3, rtol=1e-4)


def test_changes_are_zero_before_the_first_step_and_kept_in_the_weights():
    fixed, model = network(landmarks=20), network(landmarks=20, trains_volumes=True)
    model.functions.load_state_dict(fixed.functions.state_dict())
    z, at = latents(2), points(20)
    torch.testing.assert_close(model(at, z), fixed(at, z), atol=0, rtol=0)
    changed = learning()
    other = LinearNetwork(changed.config, box_size=BOX, latent_dim=DIM + 1)
    other.load_state_dict(changed.state_dict())
    torch.testing.assert_close(other(at, z), changed(at, z), atol=0, rtol=0)
    sizes = LinearNetwork.sizes(changed.config, box_size=BOX, latent_dim=DIM + 1)
    held = changed.state_dict()
    assert sizes.weights == sum(values.numel() for values in held.values())
    assert sizes.weights - sizes.fixed == sum(p.numel() for p in changed.parameters())
