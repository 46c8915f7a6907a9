import pytest

from cryodrgn.errors import ConfigError
from cryodrgn.training.schedules import Curriculum, KlWeighting, parse_beta


@pytest.mark.parametrize(
    ("name", "low", "high", "start", "end"),
    [
        ("a", 0.001, 15, 0, 1_000_000),
        ("b", 5, 15, 200_000, 800_000),
        ("c", 5, 18, 200_000, 800_000),
        ("d", 5, 18, 1_000_000, 5_000_000),
    ],
)
def test_schedules_rise_between_their_ends(name, low, high, start, end):
    weighting = KlWeighting(beta=name, control=1.0)
    assert weighting.beta_at(start) == pytest.approx(low)
    assert weighting.beta_at((start + end) // 2) == pytest.approx((low + high) / 2)
    assert weighting.beta_at(end) == pytest.approx(high)
    assert weighting.beta_at(10 * end) == high


def test_a_number_is_a_constant():
    assert parse_beta("0.25") == 0.25
    assert KlWeighting(beta="0.25").beta_at(12345) == 0.25


@pytest.mark.parametrize(
    ("beta", "words"),
    [
        ("a", "give `beta_control`"),
        ("e", "the schedules a, b, c, d, got e"),
        (-1.0, "at least 0"),
        ("nan", "the schedules a, b, c, d, got nan"),
        ("inf", "the schedules a, b, c, d, got inf"),
    ],
)
def test_what_has_no_meaning_is_refused(beta, words):
    with pytest.raises(ConfigError, match=words):
        KlWeighting(beta=beta)


@pytest.mark.parametrize("command", ["train_vae", "abinit_het"])
def test_a_schedule_without_control_is_refused_before_files_are_read(fail, tmp_path, command):
    words = (tmp_path / "nowhere.mrcs", "--zdim", 2, "-o", tmp_path / "out")
    assert "give --beta-control" in fail(command, *words, "--beta", "a")


def test_a_curriculum_grows_to_all_frequencies():
    curriculum = Curriculum(num_epochs=4)
    assert [curriculum.radius_at(epoch, 32) for epoch in range(6)] == [
        8,
        14,
        20,
        26,
        None,
        None,
    ]
    assert curriculum.radius_at(0, 8) == 4
    assert curriculum.radius_at(0, 3) == 3
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        Curriculum(num_epochs=0)
