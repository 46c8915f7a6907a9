import threading

import pytest
import torch

from cryodrgn.threads import one_ahead


def test_pieces_that_follow_one_another_give_what_a_loop_gives():
    def numbers(size: int) -> torch.Tensor:
        return torch.randn(size, generator=generator)

    sizes = [3, 1, 4, 1, 5]
    generator = torch.Generator().manual_seed(0)
    expected = [numbers(size) for size in sizes]
    generator.manual_seed(0)
    for found, of_loop in zip(one_ahead(numbers, sizes), expected, strict=True):
        assert torch.equal(found, of_loop)
    assert list(one_ahead(numbers, [])) == []


def test_the_next_piece_is_made_while_one_is_used():
    second = threading.Event()

    def work(piece: int) -> int:
        if piece == 1:
            second.set()
        return piece

    for _ in one_ahead(work, [0, 1]):
        assert second.wait(timeout=60)


def test_an_error_in_a_piece_reaches_who_uses_it():
    with pytest.raises(ZeroDivisionError):
        list(one_ahead(lambda piece: 1 // piece, [1, 0, 1]))
