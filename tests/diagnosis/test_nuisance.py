import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.preprocessing import PolynomialFeatures

from cryodrgn.diagnosis.nuisance import _polynomials, explained_share, nuisance_scores


@pytest.fixture
def folds(rng):
    return rng.permutation(400) % 5


def test_a_linear_cause_is_found_to_its_true_share(rng, folds):
    cause = rng.normal(size=(400, 2))
    noise = rng.normal(size=(400, 2))
    latents = np.stack([2 * cause[:, 0] + noise[:, 0], noise[:, 1]], axis=1)
    share = explained_share(cause, latents, folds)
    assert share[0] == pytest.approx(0.8, abs=0.05)
    assert share[1] < 0.02


def test_regression_agrees_with_scikit_learn(rng, folds):
    features = rng.normal(size=(400, 3))
    target = features @ [1.0, -2.0, 0.5] + rng.normal(size=400)
    predicted = cross_val_predict(Ridge(alpha=3.0), features, target, cv=PredefinedSplit(folds))
    expected = 1 - np.square(target - predicted).sum() / np.square(target - target.mean()).sum()
    found = explained_share(features, target[:, None], folds)[0]
    assert found == pytest.approx(expected, abs=1e-3)


def test_groups_explain_what_differs_between_them(rng, folds):
    groups = rng.integers(0, 20, 400)
    means = rng.normal(size=20)
    latents = (means[groups] + 0.3 * rng.normal(size=400))[:, None]
    assert explained_share(groups, latents, folds)[0] > 0.8
    # As many groups as particles explain nothing of others.
    assert explained_share(np.arange(400), latents, folds)[0] < 0.01


def test_scores_beyond_chance_are_told_from_shuffled_ones(rng):
    cause = rng.normal(size=(600, 1))
    latents = np.concatenate([cause + rng.normal(size=(600, 1)), rng.normal(size=(600, 1))], 1)
    many = rng.normal(size=(600, 50))
    true, chance = nuisance_scores(latents, {"cause": cause, "chance": many})
    assert true.counts().tolist() == [True, False]
    assert not chance.counts().any()
    assert true.explained[0] == pytest.approx(0.5, abs=0.08)
    assert np.abs(true.baseline).max() < 0.02


@pytest.mark.parametrize("degree", [1, 2, 4])
def test_polynomials_are_all_products_once(rng, degree):
    values = rng.normal(size=(5, 3))
    expected = PolynomialFeatures(degree, include_bias=False).fit_transform(values)
    found = _polynomials(values, degree)
    assert found.shape == expected.shape
    np.testing.assert_allclose(np.sort(found, axis=1), np.sort(expected, axis=1))
