import torch
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl

from cryodrgn.fourier.grids import half_to_hartley
from cryodrgn.imaging.likelihood import kl_divergence, reconstruction_loss


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_loss_is_the_mean_squared_error_of_all_hartley_values():
    predicted, observed, ctf = random(3, 10, 2), random(3, 10, 2, seed=1), random(3, 10, seed=2)
    both = half_to_hartley(predicted * ctf[..., None]) - half_to_hartley(observed)
    torch.testing.assert_close(
        reconstruction_loss(predicted, observed, ctf), both.square().mean()
    )


def test_images_without_ctf_are_compared_as_they_are():
    predicted, observed = random(3, 10, 2), random(3, 10, 2, seed=1)
    torch.testing.assert_close(
        reconstruction_loss(predicted, observed, None),
        reconstruction_loss(predicted, observed, torch.ones(3, 10)),
    )


def test_kl_agrees_with_torch_distributions():
    mean, log_variance = random(5, 4), random(5, 4, seed=1)
    posterior = Normal(mean, (0.5 * log_variance).exp())
    expected = torch_kl(posterior, Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(kl_divergence(mean, log_variance), expected)
