import torch

from cryodrgn.imaging.linear_posterior import Posterior, pair_products, posterior_of, with_one

VALUES, IMAGES = 40, 6


def design(dims, seed=0):
    """Slices of a mean and ``dims`` volumes, and images made of them, in units of the noise."""
    generator = torch.Generator().manual_seed(seed)
    slices = torch.randn(IMAGES, VALUES, dims + 1, generator=generator)
    latents = torch.randn(IMAGES, dims, generator=generator)
    noise = torch.randn(IMAGES, VALUES, generator=generator)
    images = (slices @ with_one(latents)[..., None])[..., 0] + noise
    return torch.cat([slices, images[..., None]], dim=-1)


def gram(columns):
    return columns.mT @ columns


def test_posterior_is_that_of_gaussian_conditioning():
    columns = design(dims=3)
    found = posterior_of(gram(columns), 0.0)
    mean, components, images = columns[..., 0], columns[..., 1:-1], columns[..., -1]
    # Covariance of (z, y): z ~ N(0, I), y = A z + mean + N(0, I).
    for row in range(IMAGES):
        matrix = components[row].double()
        data = matrix @ matrix.T + torch.eye(VALUES, dtype=torch.float64)
        gain = matrix.T @ torch.linalg.inv(data)
        expected = gain @ (images[row] - mean[row]).double()
        torch.testing.assert_close(found.mean[row].double(), expected, atol=1e-4, rtol=1e-4)
        covariance = torch.eye(3, dtype=torch.float64) - gain @ matrix
        torch.testing.assert_close(
            found.covariance[row].double(), covariance, atol=1e-4, rtol=1e-4
        )


def test_contrast_without_components_is_a_regularised_projection():
    columns = design(dims=1)
    columns[..., 1] = 0
    spread = 0.3
    found = posterior_of(gram(columns), spread)
    mean, images = columns[..., 0], columns[..., -1]
    precision = spread**-2 + mean.square().sum(1)
    expected = (spread**-2 + (mean * images).sum(1)) / precision
    torch.testing.assert_close(found.contrast, expected)
    torch.testing.assert_close(found.contrast_square, expected.square() + 1 / precision)


def test_a_tiny_spread_leaves_contrasts_at_one():
    found = posterior_of(gram(design(dims=2)), 1e-4)
    torch.testing.assert_close(found.contrast, torch.ones(IMAGES), atol=1e-4, rtol=0.0)


def test_divergence_agrees_with_torch_distributions():
    found = posterior_of(gram(design(dims=3)), 0.0)
    posterior = torch.distributions.MultivariateNormal(found.mean, found.covariance)
    prior = torch.distributions.MultivariateNormal(torch.zeros(3), torch.eye(3))
    expected = torch.distributions.kl_divergence(posterior, prior)
    torch.testing.assert_close(found.divergence(), expected, atol=1e-4, rtol=1e-4)


def test_products_are_second_moments_of_samples():
    mean = torch.tensor([[0.5, -1.0]])
    covariance = torch.tensor([[[0.3, 0.1], [0.1, 0.2]]])
    generator = torch.Generator().manual_seed(0)
    factor = torch.linalg.cholesky(covariance[0])
    samples = mean + torch.randn(200_000, 2, generator=generator) @ factor.T
    vectors = with_one(samples)
    moments = vectors.T @ vectors / len(samples)
    first, second = torch.triu_indices(3, 3)
    torch.testing.assert_close(
        pair_products(mean, covariance)[0], moments[first, second], atol=1e-2, rtol=1e-2
    )


def test_coefficients_count_contrast_once_and_products_twice():
    ones = torch.ones(1)
    posterior = Posterior(
        mean=torch.tensor([[2.0]]),
        covariance=torch.tensor([[[0.5]]]),
        contrast=3 * ones,
        contrast_square=10 * ones,
    )
    torch.testing.assert_close(posterior.coefficients(), torch.tensor([[3.0, 6.0]]))
    torch.testing.assert_close(posterior.products(), torch.tensor([[10.0, 20.0, 45.0]]))
