"""The likelihood of images: every form of it is the same squared residual."""

import pytest
import torch

from cryodrgn.imaging.likelihood import (
    expected_squares,
    in_units_of_noise,
    log_likelihood_ratios,
    log_likelihood_ratios_of_shells,
    matched_terms,
    mean_squared_error,
    predict,
    shell_sums,
    squared_residuals,
)

IMAGES, SLICES, POINTS, SHELLS = 3, 4, 10, 3


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    observed = torch.randn(IMAGES, POINTS, 2, generator=generator)
    slices = torch.randn(SLICES, POINTS, 2, generator=generator)
    transfer = torch.randn(IMAGES, POINTS, generator=generator)
    shells = torch.arange(POINTS) % SHELLS
    variances = 0.5 + torch.rand(SHELLS, generator=generator)
    return observed, slices, transfer, shells, variances


def log_likelihood(observed, predicted, variances):
    """Of independent normal real and imaginary parts, by torch, beside the constant."""
    spread = variances.sqrt()[:, None].expand_as(predicted)
    normal = torch.distributions.Normal(predicted, spread)
    return (normal.log_prob(observed) - normal.log_prob(predicted)).sum((-1, -2))


@pytest.mark.parametrize("with_ctf", [True, False])
def test_ratios_for_many_slices_are_those_of_normal_distributions(case, with_ctf):
    observed, slices, transfer, shells, variances = case
    transfer = transfer if with_ctf else None
    matched, weights = matched_terms(observed, transfer, 1 / variances[shells])
    found = log_likelihood_ratios(matched[:, None], weights, slices)[:, 0]
    nothing = log_likelihood(observed, torch.zeros_like(observed), variances[shells])
    for number, one in enumerate(slices):
        predicted = predict(one.expand_as(observed), transfer)
        expected = log_likelihood(observed, predicted, variances[shells]) - nothing
        torch.testing.assert_close(found[:, number], expected, atol=1e-4, rtol=1e-4)


def test_ratios_of_shells_are_those_of_points(case):
    observed, slices, transfer, shells, variances = case
    predicted = predict(slices[:IMAGES], transfer)
    scale = torch.tensor([0.5, 1.0, 2.0])
    overlaps, powers = (
        shell_sums((predicted * other).sum(-1), shells, SHELLS)
        for other in (observed, predicted)
    )
    found = log_likelihood_ratios_of_shells(overlaps, powers, variances, scale)
    scaled = scale[shells][:, None] * predicted
    expected = log_likelihood(observed, scaled, variances[shells]) - log_likelihood(
        observed, torch.zeros_like(observed), variances[shells]
    )
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_residuals_follow_from_inner_products(case):
    observed, slices, transfer, shells, variances = case
    coefficients = torch.randn(IMAGES, SLICES, generator=torch.Generator().manual_seed(1))
    columns = torch.cat([slices * transfer[:, None, :, None], observed[:, None]], dim=1)
    membership = torch.nn.functional.one_hot(shells, SHELLS).float()
    products = torch.einsum("bipc,bjpc,ps->bsij", columns, columns, membership)
    vector = torch.cat([-coefficients, torch.ones(IMAGES, 1)], dim=1)
    found = expected_squares(products, vector[:, :, None] * vector[:, None])
    predicted = predict(torch.einsum("bi,ipc->bpc", coefficients, slices), transfer)
    squares = squared_residuals(predicted, observed)
    torch.testing.assert_close(found, shell_sums(squares, shells, SHELLS), atol=1e-3, rtol=1e-4)
    by_group = variances * torch.tensor([[1.0], [2.0], [3.0]])
    gram = in_units_of_noise(products, by_group)
    direct = torch.einsum("bipc,bjpc,bp->bij", columns, columns, 1 / by_group[:, shells])
    torch.testing.assert_close(gram, direct, atol=1e-4, rtol=1e-4)


def test_the_mean_squared_error_is_the_likelihood_of_unit_noise(case):
    observed, slices, transfer, *_ = case
    predicted = predict(slices[:IMAGES], transfer)
    expected = log_likelihood(observed, predicted, torch.ones(POINTS)).mean() / POINTS
    torch.testing.assert_close(-mean_squared_error(predicted, observed) / 2, expected)
