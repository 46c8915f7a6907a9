"""From errors of particles kept out of training to a verdict."""

from itertools import permutations, product

import numpy as np
import pytest
import torch

from cryodrgn.training.convergence import (
    FOUND,
    HalfImageExchangeTest,
    compare_exchanged,
    exchange_errors,
    still_improves,
    verdict_in_words,
)
from cryodrgn.training.epoch_records import EpochRecord, read_records, verdict_of, write_records
from cryodrgn.training.held_out import choose_held_out, view_blocks


def images_of_states(rng, count, *, size, states=6, noise=1.0, points=400):
    """Errors of both halves of images of a molecule, at points of the latent space.

    States lie on a line in image space, ``size`` apart from first to last in all.
    """
    direction = rng.normal(size=points)
    direction *= size / np.linalg.norm(direction)
    places = np.linspace(-0.5, 0.5, states)
    truth = rng.uniform(-0.5, 0.5, count)
    images = truth[:, None] * direction + noise * rng.normal(size=(count, points))
    residuals = images[:, None] - places[:, None] * direction
    halves = residuals.reshape(count, states, 2, points // 2)
    return np.moveaxis((halves**2).sum(-1), 2, 0) / 2


def blocks_of(count, size=6):
    return np.arange(count // size * size).reshape(-1, size)


def score(halves):
    return compare_exchanged(exchange_errors(halves, blocks_of(halves.shape[1]))).score


def test_mean_and_spread_over_exchanges_are_those_of_all_permutations(rng):
    errors = rng.normal(size=(2, 3, 3)) ** 2
    orders = list(permutations(range(3)))
    sums = [
        sum(errors[block, i, order[i]] for block, order in enumerate(pair) for i in range(3))
        for pair in product(orders, orders)
    ]
    own = np.trace(errors, axis1=1, axis2=2).sum()
    expected = (np.mean(sums) - own) / np.std(sums)
    found = compare_exchanged(errors)
    assert found.score == pytest.approx(expected)
    assert found.gain == pytest.approx((np.mean(sums) - own) / 6)
    assert found.num_images == 6


def test_without_heterogeneity_the_score_is_a_standard_normal_number():
    # The maps differ (they were fitted to noise), the images do not.
    scores = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        halves = images_of_states(rng, 60, size=4.0)
        # Images of one state: their truth has been replaced by noise.
        rows = [rng.permutation(60) for _ in range(2)]
        scores.append(score(np.stack([halves[half][rows[half]] for half in range(2)])))
    assert abs(np.mean(scores)) < 3 / np.sqrt(150)
    assert 0.8 < np.std(scores) < 1.2
    assert max(scores) < FOUND


def test_images_of_one_structure_do_not_fake_heterogeneity():
    """Whatever the decoder's states are: the two halves of an image share no noise."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        states = rng.normal(size=(6, 400)) * 0.3
        residuals = rng.normal(size=(120, 400))[:, None] - states
        halves = np.moveaxis((residuals.reshape(120, 6, 2, 200) ** 2).sum(-1), 2, 0) / 2
        assert abs(score(halves)) < FOUND


@pytest.mark.parametrize("size", [6.0, 12.0])
def test_heterogeneity_is_found_where_halves_tell_of_each_other(rng, size):
    found = compare_exchanged(
        exchange_errors(images_of_states(rng, 240, size=size), blocks_of(240))
    )
    assert found.is_heterogeneous
    assert found.gain > 3 * found.error


def test_states_that_hardly_differ_are_no_heterogeneity(rng):
    halves = images_of_states(rng, 240, size=12.0)
    mean = halves.mean(2, keepdims=True)
    found = compare_exchanged(
        exchange_errors(mean + 1e-3 * (halves - mean), blocks_of(halves.shape[1]))
    )
    assert found.score > FOUND
    assert not found.is_heterogeneous
    assert not found.is_suspected
    dead = HalfImageExchangeTest(gain=1.4e-8, error=6.4e-9, score=2.1, num_images=498)
    words = verdict_in_words(None, dead)
    assert words.startswith("no heterogeneity above noise found so far")
    assert words.endswith("by too little to matter, 1.4e-08 ± 6.4e-09 units of noise")


def epochs_of(rng, means, count=200):
    fixed = rng.normal(100, 10, count)
    return [fixed + mean + 0.5 * rng.normal(size=count) for mean in means]


def test_training_improves_while_errors_fall_and_no_longer(rng):
    falling = epochs_of(rng, [10, 8, 6, 4, 2, 0])
    assert still_improves(falling, 50.0, 0.002)
    assert not still_improves(epochs_of(rng, [0, 0, 0, 0, 0, 0]), 50.0, 0.002)
    assert not still_improves(epochs_of(rng, [0, 0, 0, 1, 2, 3]), 50.0, 0.002)
    # Progress may be clear and still not worth more epochs.
    assert not still_improves(falling, 50.0, 0.5)
    # Of a few epochs nothing is said.
    assert still_improves(falling[:5], 50.0, 0.5)


def test_verdicts_are_said_in_words():
    none = HalfImageExchangeTest(gain=0.1, error=0.2, score=0.5, num_images=60)
    some = HalfImageExchangeTest(gain=9.0, error=1.0, score=9.0, num_images=60)
    assert verdict_in_words(13, some).startswith(
        "converged at epoch 14; heterogeneity is found"
    )
    assert verdict_in_words(13, none).startswith(
        "no heterogeneity above noise found (converged at epoch 14)"
    )
    assert "no better than other states, 0.1 ± 0.2" in verdict_in_words(13, none)
    chance = HalfImageExchangeTest(gain=1.2, error=0.35, score=1.7, num_images=60)
    words = verdict_in_words(13, chance)
    assert words.startswith("no heterogeneity above noise found")
    assert "better than other states by 1.2 ± 0.35 units of noise, but halves that are" in words
    assert words.endswith("it is 1.7 standard deviations of that")
    doubtful = HalfImageExchangeTest(gain=6.0, error=1.4, score=3.9, num_images=60)
    assert "heterogeneity is suspected, but not clear" in verdict_in_words(13, doubtful)
    assert verdict_in_words(None, none).startswith(
        "no heterogeneity above noise found so far (not converged; more epochs may find it): "
    )
    assert verdict_in_words(None, None) == "not converged"


def test_records_come_back_from_their_table_and_from_checkpoints(tmp_path):
    exchange = HalfImageExchangeTest(gain=1.5, error=0.25, score=6.5, num_images=48)
    first = EpochRecord(
        epoch=0,
        error=0.5,
        explained=0.25,
        map_change=None,
        exchange=None,
        shells=(0.0, 0.5),
        converged=False,
    )
    second = EpochRecord(
        epoch=1,
        error=0.5,
        explained=0.25,
        map_change=0.125,
        exchange=exchange,
        shells=(0.0, 0.5),
        converged=True,
    )
    write_records(tmp_path / "c.csv", [first, second])
    assert read_records(tmp_path / "c.csv") == [first, second]
    assert EpochRecord.from_state(second.state()) == second
    assert read_records(tmp_path / "none.csv") == []


def test_what_was_clear_at_convergence_remains_so():
    def record(epoch, score):
        return EpochRecord(
            epoch=epoch,
            error=0.5,
            explained=0.5,
            map_change=0.1,
            exchange=HalfImageExchangeTest(gain=score, error=1.0, score=score, num_images=60),
            shells=(0.5,),
            converged=epoch > 5,
        )

    assert "is found" in verdict_of([record(5, 1.0), record(6, 4.2), record(7, 3.9)])
    assert "is suspected" in verdict_of([record(5, 4.2), record(6, 3.0), record(7, 3.9)])
    assert "no heterogeneity" in verdict_of([record(5, 4.2), record(6, 1.5), record(7, 1.0)])


def test_particles_kept_out_follow_the_seed_and_have_the_share_asked_for():
    rows = choose_held_out(1000, 0.05, 3)
    assert len(rows) == 50
    assert torch.equal(rows, choose_held_out(1000, 0.05, 3))
    assert torch.equal(rows, rows.unique())
    assert not torch.equal(rows, choose_held_out(1000, 0.05, 4))


def test_blocks_hold_particles_of_similar_views():
    generator = torch.Generator().manual_seed(0)
    views = torch.nn.functional.normalize(torch.randn(300, 3, generator=generator), dim=1)
    blocks = view_blocks(views)
    assert len(blocks.unique()) == blocks.numel() > 280
    within = torch.stack([views[block].var(0).sum() for block in blocks]).mean()
    assert within < 0.2 * views.var(0).sum()
