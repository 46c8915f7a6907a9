"""Convergence of training and evidence of heterogeneity, from held-out particles."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from cryodrgn.training.model_choice import PARAMETER_COST

# Progress is that of the last epochs over as many before them.
EPOCHS_COMPARED = 3
# Progress that counts: in standard errors, and as a share of what has been reached by the map
# and by the latents.
SIGNIFICANT, WORTHWHILE_MAP, WORTHWHILE_LATENTS = 2.0, 0.002, 0.02
# Standard deviations of the error after exchange from which heterogeneity is found.
FOUND = 4.0
# And from which it may be there, so that training goes on.
SUSPECTED = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class HalfImageExchangeTest:
    """Improvement of an image's likelihood by its own state over the states of others.

    Attributes:
        gain: Decrease of the squared error of an image in units of the noise, on average.
        error: Its standard error over images.
        score: The gain in standard deviations of what random exchange gives.
        num_images: Images it was found from.
    """

    gain: float
    error: float
    score: float
    num_images: int

    @property
    def is_heterogeneous(self) -> bool:
        """True if the states explain their images better than noise can."""
        return self.score > FOUND and self.is_worthwhile

    @property
    def is_suspected(self) -> bool:
        """True if they may, so that it is too early to say that they do not."""
        return self.score > SUSPECTED and self.is_worthwhile

    @property
    def is_worthwhile(self) -> bool:
        """True if they explain more than a parameter costs."""
        # A score has no size: maps that differ by nothing have one, too.
        return self.gain * self.num_images > PARAMETER_COST


def exchange_errors(
    halves: Float[np.ndarray, "halves images states"], blocks: Int[np.ndarray, "blocks block"]
) -> Float[np.ndarray, "blocks block block"]:
    """Errors of halves of images at the states that fit halves of other images.

    Args:
        halves: Errors of both halves of every image at the same states, in units of the noise:
            |residual|² over its expectation, so that exp(−error) is a likelihood.
        blocks: Images whose halves are exchanged with one another.

    Returns:
        Entry (i, j) of a block, as if the first half of image i and the second of image j were
        those of one image: the error of each at the states that fit the other, added up.
    """
    likely = [_likely_states(half[blocks]) for half in halves]
    first, second = (half[blocks] for half in halves)
    return np.einsum("bis,bjs->bij", first, likely[1]) + np.einsum(
        "bis,bjs->bij", likely[0], second
    )


def _likely_states(
    errors: Float[np.ndarray, "blocks block states"],
) -> Float[np.ndarray, "blocks block states"]:
    """Probability of every state, given the errors of half an image at all of them."""
    # What all images of a block have in common is due to the map, not to an image.
    known = errors - errors.mean(1, keepdims=True)
    weights = np.exp(known.min(2, keepdims=True) - known)
    return weights / weights.sum(2, keepdims=True)


def gains_over_exchange(
    errors: Float[np.ndarray, "blocks block block"],
) -> Float[np.ndarray, "blocks block"]:
    """By how much every image is explained better by its own halves than by exchanged ones."""
    expected = errors.mean(2) + errors.mean(1) - errors.mean((1, 2))[:, None]
    return expected - np.diagonal(errors, axis1=1, axis2=2)


def compare_exchanged(errors: Float[np.ndarray, "blocks block block"]) -> HalfImageExchangeTest:
    """Compare the errors of images with those of images put together from exchanged halves.

    If the states that fit one half of an image say nothing of the other half, every permutation
    of halves within a block is as good as any other. Mean and variance over all permutations of
    the sum of errors are exact (Hoeffding, Ann. Math. Stat. 22, 558, 1951).

    Args:
        errors: See :func:`exchange_errors`.
    """
    gains = gains_over_exchange(errors)
    rest = errors - errors.mean(2, keepdims=True) - errors.mean(1, keepdims=True)
    rest += errors.mean((1, 2), keepdims=True)
    deviation = float(np.sqrt((rest**2).sum() / (errors.shape[1] - 1)))
    return HalfImageExchangeTest(
        gain=float(gains.mean()),
        error=float(gains.std(ddof=1) / np.sqrt(gains.size)),
        score=float(gains.sum()) / max(deviation, 1e-30),
        num_images=gains.size,
    )


def still_improves(
    errors: Sequence[Float[np.ndarray, " images"]], reached: float, worthwhile: float
) -> bool:
    """True if the last epochs improved on those before, image by image.

    Args:
        errors: The error of every image after each epoch.
        reached: What has been reached in all, in the same units.
        worthwhile: Share of it that is worth more epochs.

    Returns:
        True as long as there are too few epochs to tell.
    """
    if len(errors) < 2 * EPOCHS_COMPARED:
        return True
    before = np.mean(errors[-2 * EPOCHS_COMPARED : -EPOCHS_COMPARED], axis=0)
    decrease = before - np.mean(errors[-EPOCHS_COMPARED:], axis=0)
    error = decrease.std(ddof=1) / np.sqrt(len(decrease))
    return bool(decrease.mean() > max(SIGNIFICANT * error, worthwhile * abs(reached)))


def verdict_in_words(converged_at: int | None, exchange: HalfImageExchangeTest | None) -> str:
    """The state of a run in a sentence.

    Args:
        converged_at: Number of the epoch, from 0, at which training converged; None if it has
            not.
        exchange: Whether states say anything of images; None where there are no states, or too
            few images to tell.
    """
    has_converged = converged_at is not None
    words = "not converged"
    if converged_at is not None:
        words = f"converged at epoch {converged_at + 1}"
    if exchange is None:
        return words
    gain = f"{exchange.gain:.2g} ± {exchange.error:.2g} units of noise"
    if exchange.is_heterogeneous:
        return (
            f"{words}; heterogeneity is found: the state that fits one half of an image "
            f"explains its other half better than other states, by {gain}"
        )
    if exchange.is_suspected:
        return (
            f"{words}; heterogeneity is suspected, but not clear: the state that fits one half "
            f"of an image explains its other half better than other states, by {gain}"
        )
    reason = (
        "the state that fits one half of an image explains its other half "
        f"{_compared_in_words(exchange, gain)}"
    )
    found = "no heterogeneity above noise found"
    if has_converged:
        return f"{found} ({words}): {reason}"
    return f"{found} so far ({words}; more epochs may find it): {reason}"


def _compared_in_words(exchange: HalfImageExchangeTest, gain: str) -> str:
    """Own states against those of others, where no heterogeneity is suspected."""
    if exchange.gain <= SIGNIFICANT * exchange.error:
        return f"no better than other states, {gain}"
    if not exchange.is_worthwhile:
        return f"better than other states by too little to matter, {gain}"
    return (
        f"better than other states by {gain}, but halves that are exchanged at random differ "
        f"as much: it is {exchange.score:.1f} standard deviations of that"
    )
