import pytest

from cryodrgn.errors import ConfigError
from cryodrgn.io.run_cleaning import plan_cleaning


@pytest.fixture
def finished(tmp_path):
    for epoch in range(1, 13):
        (tmp_path / f"weights.{epoch}.pkl").write_bytes(b"12345")
        (tmp_path / f"z.{epoch}.pkl").write_bytes(b"1")
    for name in ("weights.pkl", "z.pkl", "config.yaml", "run.log", "notes.txt"):
        (tmp_path / name).touch()
    return tmp_path


def test_epochs_not_divisible_by_the_interval_go(finished):
    # reference.md §9.2: 2 (E − ⌊E/n⌋) files.
    plan = plan_cleaning(finished, 5)
    assert len(plan.files) == 2 * (12 - 12 // 5)
    assert plan.size == 6 * (12 - 12 // 5)
    plan.delete()
    left = {path.name for path in finished.iterdir()}
    assert {"weights.5.pkl", "z.10.pkl", "weights.pkl", "notes.txt"} <= left
    assert not plan_cleaning(finished, 5).files


def test_analysed_epochs_stay_and_so_does_the_last_of_an_unfinished_run(finished):
    (finished / "analyze.7").mkdir()
    kept = {path.name for path in plan_cleaning(finished, 5).files}
    assert "weights.7.pkl" not in kept
    assert "weights.12.pkl" in kept
    (finished / "weights.pkl").unlink()
    assert "weights.12.pkl" not in {path.name for path in plan_cleaning(finished, 5).files}


def test_an_interval_of_nothing_is_refused(finished):
    with pytest.raises(ConfigError, match="`interval` must be at least 1"):
        plan_cleaning(finished, 0)
