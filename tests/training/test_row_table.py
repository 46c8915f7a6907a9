import pytest
import torch

from cryodrgn.training.row_table import PerParticleParameters

CPU = torch.device("cpu")


def table(count=5, learning_rate=0.1) -> PerParticleParameters:
    values = torch.randn(count, 2, generator=torch.Generator().manual_seed(0))
    return PerParticleParameters(values, learning_rate, CPU)


def descend(target: PerParticleParameters, rows: torch.Tensor, weight: float = 1.0) -> None:
    """One step on a parabola around zero."""
    (weight * target.rows(rows).square().sum() / 2).backward()
    target.step()


def test_rows_outside_the_batch_do_not_move():
    target = table()
    descend(target, torch.tensor([0, 1, 2, 3, 4]))
    before = target.values.clone()
    descend(target, torch.tensor([1, 3]))
    moved = (target.values != before).any(dim=1)
    assert moved.tolist() == [False, True, False, True, False]


def test_the_first_step_has_the_length_of_the_learning_rate():
    target = table(learning_rate=0.01)
    before = target.values.clone()
    descend(target, torch.arange(5))
    length = (target.values - before).square().mean().sqrt()
    assert length == pytest.approx(0.01, rel=1e-5)


def test_steps_do_not_depend_on_the_scale_of_the_loss():
    small, large = table(), table()
    for _ in range(3):
        descend(small, torch.arange(5), weight=1e-3)
        descend(large, torch.arange(5), weight=1e3)
    torch.testing.assert_close(small.values, large.values)


def test_rows_reach_their_optimum():
    target = table()
    for _ in range(60):
        for row in range(5):
            descend(target, torch.tensor([row]))
    assert target.values.abs().max() < 0.1


def test_parts_of_a_batch_are_one_step():
    whole, parts = table(), table()
    descend(whole, torch.arange(4))
    for rows in (torch.tensor([0, 1]), torch.tensor([2, 3])):
        (parts.rows(rows).square().sum() / 2).backward()
    parts.step()
    torch.testing.assert_close(whole.values, parts.values)


def test_discarded_gradients_leave_no_trace():
    target = table()
    before = target.values.clone()
    target.rows(torch.arange(5)).sum().backward()
    target.discard()
    target.step()
    assert torch.equal(target.values, before)


def test_a_remembered_table_goes_on_exactly():
    original, other = table(), PerParticleParameters(torch.zeros(5, 2), 0.1, CPU)
    descend(original, torch.tensor([0, 2]))
    other.load_state_dict(original.state_dict())
    for target in (original, other):
        descend(target, torch.tensor([2, 3]))
    assert torch.equal(original.values, other.values)
