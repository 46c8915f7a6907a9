import pytest
import torch

from cryodrgn.data import batches
from cryodrgn.data.batches import VisitingOrder


@pytest.fixture
def small_buffers(monkeypatch):
    """Blocks of 5 rows and buffers of 20."""
    monkeypatch.setattr(batches, "BLOCK_BYTES", 500)
    monkeypatch.setattr(batches, "BUFFER_BYTES", 2000)


def order(seed=0, count=103):
    return VisitingOrder(count=count, row_bytes=100, seed=seed)


@pytest.mark.parametrize("epoch", [0, 7])
def test_every_particle_is_visited_once(small_buffers, epoch):
    assert sorted(order().epoch(epoch).tolist()) == list(range(103))
    assert sorted(order().stored().tolist()) == list(range(103))


def test_the_order_depends_on_seed_and_epoch_alone(small_buffers):
    assert torch.equal(order(1).epoch(2), order(1).epoch(2))
    assert not torch.equal(order(1).epoch(2), order(1).epoch(3))
    assert not torch.equal(order(1).epoch(2), order(2).epoch(2))
    assert torch.equal(order(1).stored(), order(2).stored())


def test_a_buffer_holds_whole_blocks_of_the_file(small_buffers):
    target = order(count=100)
    place = torch.empty(100, dtype=torch.long)
    place[target.stored()] = torch.arange(100)
    for buffer in target.epoch(0).split(target.buffer_rows):
        blocks = (place[buffer] // target.block_rows).bincount(minlength=20)
        assert set(blocks.tolist()) == {0, 5}


def test_a_small_set_is_shuffled_as_a_whole():
    rows = order(count=50).epoch(0)
    assert torch.equal(order(count=50).stored(), torch.arange(50))
    assert sorted(rows.tolist()) == list(range(50))
    assert not torch.equal(rows, torch.arange(50))


def test_neighbours_in_the_file_are_parted(small_buffers):
    target = order(count=1000)
    steps = target.epoch(0).diff().abs().float()
    # Of a random order, a third of the count.
    assert steps.mean() == pytest.approx(1000 / 3, rel=0.1)
