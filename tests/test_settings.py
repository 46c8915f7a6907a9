"""A setting is declared once: the same in Python, on the command line and in messages."""

import argparse
import inspect
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from cryodrgn.cli.declared import add_options, settings_given
from cryodrgn.errors import ConfigError
from cryodrgn.jobs.command_words import in_flags, words_of
from cryodrgn.jobs.train_linear import TrainLinear
from cryodrgn.jobs.train_vae import TrainVae
from cryodrgn.linear.config import LinearConfig
from cryodrgn.settings import (
    Job,
    Settings,
    at_least,
    between,
    function_of,
    option,
    options_of,
    positional,
    same_as,
    settings,
)
from cryodrgn.training.run_config import TrainConfig


@settings
class Filtering(Settings):
    """Filter of a volume."""

    radius: int = option(
        "-r", "--radius", default=3, group="Filter", check=at_least(1), help="Radius in voxels"
    )
    edge: float | None = option(
        "--edge", default=None, group="Filter", check=between(0, 1), help="Width of the edge"
    )
    kind: Literal["soft", "hard"] = option(
        "--kind",
        default="soft",
        group="Filter",
        help="Kind of edge",
        constants={"--hard": ("hard", "The same as --kind hard")},
    )
    rounds: int = option("--rounds", default=0, bare=4, group="Filter", help="Rounds")


@settings
class FilterVolume(Filtering, Job[tuple[object, ...]]):
    """Filter a volume."""

    volume: Path = positional(help="Volume")
    output: Path = option("-o", "--output", kw_only=False, help="Result")
    norm: tuple[float, float] | None = option("--norm", default=None, help="Offset, scale")
    flip: bool = option("--flip", default=False, help="Flip the hand")
    radius: int = same_as(Filtering, "radius", default=5)

    def run(self) -> tuple[object, ...]:
        """Its settings, for the tests."""
        return self.radius, self.edge, self.kind, self.rounds, self.norm, self.flip


filter_volume = function_of(FilterVolume)


def from_words(line: str) -> FilterVolume:
    parser = argparse.ArgumentParser()
    add_options(parser, FilterVolume)
    args = parser.parse_args(line.split())
    for action in parser._actions:
        action.default = argparse.SUPPRESS
    given = vars(parser.parse_args(line.split()))
    return FilterVolume.with_given(settings_given(FilterVolume, args, given))


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        ("a.mrc -o b.mrc", {}),
        ("a.mrc -o b.mrc -r 2 --edge 0.5", {"radius": 2, "edge": 0.5}),
        ("a.mrc --output b.mrc --hard --flip", {"kind": "hard", "flip": True}),
        ("a.mrc -o b.mrc --norm 0 2 --rounds", {"norm": (0.0, 2.0), "rounds": 4}),
        ("a.mrc -o b.mrc --rounds 2 --kind hard", {"rounds": 2, "kind": "hard"}),
    ],
)
def test_words_and_arguments_make_the_same_job(line, arguments):
    from_python = FilterVolume.with_given(
        {"volume": Path("a.mrc"), "output": Path("b.mrc"), **arguments}
    )
    typed = from_words(line)
    assert typed == from_python
    assert typed.given == from_python.given == {"volume", "output", *arguments}
    assert filter_volume(Path("a.mrc"), Path("b.mrc"), **arguments) == typed.run()


def test_an_option_given_with_its_default_is_remembered_as_given():
    assert "radius" in from_words("a.mrc -o b.mrc -r 5").given
    assert "radius" not in from_words("a.mrc -o b.mrc").given


@pytest.mark.parametrize(
    ("values", "named", "words"),
    [
        (("a.mrc", "b.mrc", 5), {}, "takes 2 values without a name, got 3"),
        (("a.mrc", "b.mrc"), {"output": "c.mrc"}, "`output` is given twice"),
    ],
)
def test_no_value_of_a_function_is_dropped(values, named, words):
    with pytest.raises(ConfigError, match=words):
        filter_volume(*values, **named)


def test_a_function_shows_its_settings():
    signature = inspect.signature(filter_volume)
    assert list(signature.parameters)[:2] == ["volume", "output"]
    assert signature.parameters["radius"].default == 5
    assert filter_volume.__name__ == "filter_volume"
    assert "edge: Width of the edge" in filter_volume.__doc__


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"radius": 0}, "`radius` must be at least 1, got 0"),
        ({"edge": 1.5}, "`edge` must be between 0 and 1, got 1.5"),
        ({"radus": 1}, "filter_volume has no setting 'radus'; did you mean 'radius'?"),
        ({"r": 2}, "no setting 'r'; did you mean 'radius'?"),
        ({"radius": "2"}, "`radius` must be a whole number, got '2'"),
        ({"radius": True}, "`radius` must be a whole number, got True"),
        ({"edge": float("nan")}, "`edge` must be a finite number"),
        ({"volume": ""}, "`volume` must be the path of a file or folder, got ''"),
        ({"volume": None}, "`volume` must be the path of a file or folder, got None"),
        ({"norm": [1]}, "`norm` must be 2 values, each a finite number"),
        ({"output": None, "volume": 1, "edgy": 2}, "no setting 'edgy'; did you mean 'edge'?"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(arguments, message):
    with pytest.raises(ConfigError) as caught:
        FilterVolume.with_given({"volume": Path("a.mrc"), "output": Path("b.mrc")} | arguments)
    assert message in str(caught.value)


def test_a_needed_setting_that_is_missing_is_named():
    with pytest.raises(ConfigError, match="`output` is missing"):
        filter_volume(Path("a.mrc"))


def test_messages_name_flags_on_the_command_line():
    said = in_flags("`radius` must be at least 1; see `volume` and `b.mrc`", FilterVolume)
    assert said == "-r must be at least 1; see the argument VOLUME and `b.mrc`"


def test_settings_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        from_words("a.mrc -o b.mrc").radius = 2


def test_a_job_is_typed_as_it_was_given():
    line = "a.mrc -o b.mrc -r 2 --norm 0 2 --hard --flip"
    words = words_of(from_words(line))
    assert words[0] == "filter_volume"
    assert from_words(" ".join(words[1:])) == from_words(line)


def test_text_lists_and_whole_numbers_are_taken_as_a_notebook_gives_them():
    job = FilterVolume.with_given({"volume": "a.mrc", "output": "b.mrc", "norm": [0, 2]})
    assert (job.volume, job.output, job.norm) == (Path("a.mrc"), Path("b.mrc"), (0.0, 2.0))
    assert isinstance(job.norm[0], float)


def test_numbers_and_arrays_of_numpy_are_taken_as_numbers():
    job = FilterVolume.with_given(
        {"volume": "a.mrc", "output": "b.mrc", "radius": np.int64(2), "norm": np.array([0, 2])}
    )
    assert (type(job.radius), job.norm) == (int, (0.0, 2.0))


@settings
class Divide(Settings):
    """Division into files."""

    output: Path = option("-o", "--output", help="First")
    output_rest: Path | None = option("--out-rest", default=None, help="Second")
    others: Path | None = option("-s", default=None, is_output=True, help="Third")
    table: Path | None = option("--table", default=None, help="An input")


@pytest.mark.parametrize("name", ["output_rest", "others"])
def test_two_outputs_are_never_the_same_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"`output` and `{name}` are both"):
        Divide(output=Path("a.pkl"), **{name: tmp_path / "b/../a.pkl"})
    Divide(output=Path("a.pkl"), table=Path("a.pkl"), **{name: Path("b.pkl")})


def test_what_training_reads_is_declared_once():
    """An option that is new in a group of ``training.options`` needs no second field."""
    for job, record in ((TrainVae, TrainConfig), (TrainLinear, LinearConfig)):
        options, recorded = options_of(job), options_of(record)
        assert recorded.keys() <= options.keys()
        assert all(options[name][1] is said for name, (_, said) in recorded.items())
