"""Numbers of no use are refused before any work is done."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest

from cli.said import parsed_commands
from cryodrgn.errors import ConfigError
from cryodrgn.settings import Option, each, hints_of, options_of, within
from cryodrgn.training.schedules import KlWeighting

# Of these settings every number means something, or the file says which do.
ANY_NUMBER = {
    "tilt_deg": "an angle",
    "phase_shift_deg": "an angle",
    "z": "a point of the latent space",
    "z_start": "a point of the latent space",
    "z_end": "a point of the latent space",
    "near": "a point of the latent space",
    "threshold": "a density",
    "level": "a density",
    "scale": "-1 undoes shifts",
    "b_factor": "one sign blurs, the other sharpens",
    "spherical_aberration_mm": "correctors make it negative",
    "shift_centre_x_px": "a place",
    "shift_centre_y_px": "a place",
    "axis": "a direction; that it is one is seen when it is divided by its length",
    "feature": "a place and a radius, which are read together",
}
SENSELESS = (-7, -0.5, 0, 1.5, 1e9)


def is_number(hint: Any) -> bool:
    """True if a setting takes a number, or several."""
    return hint in (int, float) or any(map(is_number, get_args(hint)))


def numbers() -> Iterator[tuple[str, str, Option, Any, Any]]:
    """Settings that are numbers: command, name, declaration, type and default."""
    for command, parsed in parsed_commands().items():
        hints = hints_of(parsed.job)
        for name, (field, said) in options_of(parsed.job).items():
            if is_number(hints[name]):
                yield command, name, said, hints[name], field.default


def test_every_number_has_a_range_or_may_be_any():
    without = {name for _, name, said, *_ in numbers() if said.check is None}
    assert without == ANY_NUMBER.keys()


def test_every_range_leaves_something_out_but_not_the_default():
    for command, name, said, _, default in numbers():
        if said.check is None:
            continue
        wanted = f"{command} {name} must be {said.check.words}"
        assert any(_is_refused(said, value) for value in SENSELESS), wanted
        if isinstance(default, int | float | tuple) and default != ():
            assert said.check.holds(default), wanted


def _is_refused(said: Option, value: float) -> bool:
    """True if a number is refused, alone or in place of all that a setting takes."""
    shapes = (value, (value,), (value, value), (0, value), ((0, 1, value),))
    for shape in shapes:
        try:
            return said.check is not None and not said.check.holds(shape)
        except (TypeError, IndexError, ValueError):
            continue
    raise AssertionError(said.flags)


def test_a_weight_of_the_divergence_that_is_no_schedule_must_not_be_negative():
    with pytest.raises(ConfigError, match="`beta`"):
        KlWeighting(beta="-1")


def test_several_numbers_meet_the_condition_on_one():
    check = each(within(1, 3))
    assert check.words == "from 1 to 3 in every place"
    assert check.holds((1, 3))
    assert not check.holds((1, 3.5))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "eval_vol w.pkl -o v --zfile z.txt --vol-start-index -4",
            "must be at least 0, got -4",
        ),
        ("train_dec p.star -o r --zdim 1 --z-lr 0", "--z-lr must be positive, got 0.0"),
        ("downsample p.mrcs -D 15 -o s.mrcs", "-D must be even and at least 2, got 15"),
        (
            "benchmark --boxes 64 -2",
            "--boxes must be even and at least 2 in every place, got 64 -2",
        ),
        (
            "eval_images p.mrcs w.pkl -o z.pkl --enc-mask -2",
            "must be at least 1, or -1, got -2",
        ),
    ],
)
def test_a_number_of_no_use_is_refused_by_its_flag(fail, line, message):
    assert message in fail(*line.split())


def test_a_tool_refuses_a_number_of_no_use(fail_tool, tmp_path):
    line = ("project3d", "v.mrc", "-N", 2, "--t-extent", -3, "-o", tmp_path / "p.mrcs")
    assert "--t-extent must be zero or more, got -3.0" in fail_tool(*line)
