"""Posteriors by which models are judged."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from cryodrgn.training.likelihood_bounds import highest, untempered


def posterior(information, most_likely, times):
    """Mean and log-variance where a normal likelihood counts several times."""
    precision = times * information + 1
    return times * information * most_likely / precision, -precision.log()


@given(st.floats(1, 100), st.integers(0, 2**31))
def test_images_that_counted_several_times_count_once(times, seed):
    draw = torch.Generator().manual_seed(seed)
    information = 50 * torch.rand(20, 3, generator=draw)
    most_likely = torch.randn(20, 3, generator=draw)
    expected = posterior(information, most_likely, 1)
    found = untempered(posterior(information, most_likely, times), times)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_a_posterior_wider_than_the_prior_becomes_the_prior():
    mean, log_variance = untempered((torch.zeros(1, 2), torch.ones(1, 2)), 8.0)
    assert not mean.any()
    assert not log_variance.any()


def test_a_model_has_the_better_one_of_its_posteriors():
    worse, better = np.array([3.0, -9.0]), np.array([0.0, 1.0])
    assert highest([worse, better]) is better
    assert highest([better, worse]) is better
