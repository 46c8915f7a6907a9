"""Commands run with every option and every pair of options, and what came of each.

A command that takes seconds is run up to the library's function that does the work; the
arguments of that function, settings among them, then stand for the result.
"""

import argparse
import contextlib
import functools
import hashlib
import itertools
import logging
import re
import shlex
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, patch

import jaxtyping
import numpy as np
import torch
from matplotlib.artist import Artist
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text

from cryodrgn.cli.declared import settings_given
from cryodrgn.cli.inactive_options import Inactive
from cryodrgn.cli.main import Program
from cryodrgn.cli.parsing import CommandParser, ReadOptions, ignored_options, names_read
from cryodrgn.data.config import DataConfig
from cryodrgn.errors import CryodrgnError
from cryodrgn.io.log import log_from
from cryodrgn.io.particle_files import ParticleFiles
from cryodrgn.jobs import training
from cryodrgn.linear.latents import Latents
from cryodrgn.models import registry
from cryodrgn.models.decoders import Decoder
from cryodrgn.particles.particle_set import ParticleSet
from cryodrgn.reconstruction.align import Alignment
from cryodrgn.rundir import AnalysisFiles, LandscapeFiles, VolumeSeries
from cryodrgn.training.start import ResumePoint

OUT = "OUT"
TRAINING = "cryodrgn.jobs.training"
PACKAGE = logging.getLogger("cryodrgn")
# What differs from run to run: an address is sought where there is one, and a number by its
# first digit, so that long texts are passed over fast.
PLACES = {" at 0x": re.compile(r" at 0x[0-9a-f]+"), " id='": re.compile(r" id='\d+'")}
TIMES = re.compile(r"[\d.]++ (?:s|min|[kMG]B)\b")
BINARY = (argparse._StoreTrueAction, argparse._StoreConstAction, argparse.BooleanOptionalAction)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A command whose options are tried in pairs.

    Attributes:
        line: A line that works; ``OUT`` is an empty folder, ``IN`` that of the inputs.
        values: What follows an option, where no number or choice other than its default does.
        stubs: Functions whose arguments stand for the result, instead of being run.
        quiet: Options of which nothing can be seen in the result (they change speed, say the
            default, or name where the input already lies); it is enough that they are read.
        refused: Options that are accepted beside no single other one.
    """

    line: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    stubs: Sequence[str] = ()
    quiet: str = ""
    refused: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of a run: its result, what it read and what it said is ignored."""

    result: tuple[object, ...]
    read: frozenset[str]
    ignored: frozenset[str]
    refused: bool


class Pairs:
    """The runs of one command."""

    def __init__(self, program: Program, command: str, case: Case, folders: tuple) -> None:
        self.case, self.inputs, self.out = case, folders[0], folders[1]
        _, parsers = program._parsers(only=command)
        self.parser: CommandParser = parsers[command]
        self.module = program.load_command(command)
        self.rules: Sequence[Inactive] = program.inactive.get(command, ())
        self.base = vars(self._parsed([]))
        fixed = {a.dest for a in self.parser._actions if a.required}
        typed = {self.parser.dest_of(w) for w in self._words(case.line)} | fixed
        on_the_line = [a for a in self.parser._actions if self.base.get(a.dest) != a.default]
        self.always = typed | {action.dest for action in on_the_line}
        self.recorded: list[object] = []
        self.changes: dict[str, dict[str, Any]] = {}
        for action in self.parser._actions:
            name = max(action.option_strings, key=len, default="")
            if (
                name in {"", "--help", "--compat"}
                or action.dest in typed
                or action.dest in self.changes
            ):
                continue
            words = [name, *self._value(action)]
            after = vars(self._parsed(words))
            # An optional setting may have the value of its default.
            self.changes[action.dest] = {action.dest: after[action.dest]}

    def pairs(self) -> Iterator[tuple[str, str | None]]:
        """Settings beside none, and beside every other with which they are accepted."""
        yield from ((name, None) for name in self.changes)
        seen = [name for name in self.changes if not name.startswith("unused_")]
        exclusive = [
            {action.dest for action in group._group_actions}
            for group in self.parser._mutually_exclusive_groups
        ]
        for pair in itertools.permutations(seen, 2):
            if not any(set(pair) <= group for group in exclusive):
                yield pair

    def outcome(self, *names: str) -> Outcome:
        """Run the command with some options."""
        settings = dict(self.base)
        for name in names:
            settings |= self.changes[name]
        given = frozenset(names) | self.always
        options = ReadOptions(argparse.Namespace(**settings, given=given))
        said = frozenset(ignored_options(options, self.parser, self.rules))
        options = ReadOptions(argparse.Namespace(**settings, given=given))
        recorded, refused = self.recorded, False
        recorded.clear()
        clear(self.out)
        with logged() as lines:
            try:
                self._run(options)
            except CryodrgnError as error:
                refused = True
                recorded.append(steady(str(error)))
        result = (*recorded, *lines, *digests(self.out))
        return Outcome(result, names_read(options), said, refused)

    def _run(self, options: ReadOptions) -> None:
        kind = self.module.job
        job = kind.with_given(settings_given(kind, options, options.given))
        job.run()
        for name in job.names_read:
            getattr(options, name, None)

    def silent(self, is_ours: Callable[[str, str], bool] = lambda *_: True) -> list[str]:
        """Options that had no effect beside another one, and of which nothing was said.

        Args:
            is_ours: True for pairs that are tried here, by their settings in order.
        """
        with self._stubbed(), unchecked_shapes():
            return self._silent(is_ours)

    def _silent(self, is_ours: Callable[[str, str], bool]) -> list[str]:
        alone = {name: self.outcome(name) for name in self.changes}
        nothing = self.outcome()
        # Else every option would seem to have an effect.
        assert nothing.result == self.outcome().result
        quiet = {self.parser.dest_of(name) for name in self.case.quiet.split()}
        found, together, accepted = [], {}, {None}
        for name, other in self.pairs():
            if other is not None and not is_ours(*sorted((name, other))):
                continue
            without = nothing if other is None else alone[other]
            pair = frozenset((name, other))
            if pair not in together:
                together[pair] = alone[name] if other is None else self.outcome(other, name)
            both = together[pair]
            if not both.refused:
                accepted |= {name, other}
            if name in both.ignored or both.refused:
                continue
            if both.result == without.result and not (name in quiet and name in both.read):
                beside = "" if other is None else f" beside {self._name(other)}"
                found.append(f"{self._name(name)}{beside}")
        known = {self.parser.dest_of(name) for name in self.case.refused.split()}
        pairs = [pair for pair in self.pairs() if None not in pair]
        refused = [
            name
            for name in sorted(self.changes.keys() - accepted - known)
            if all(
                (together.get(frozenset(pair)) or self.outcome(*pair)).refused
                for pair in pairs
                if pair[0] == name
            )
        ]
        return [*found, *(f"{self._name(name)} is always refused" for name in refused)]

    def _name(self, dest: str) -> str:
        return max(self.parser.options_of(dest), key=len)

    def _words(self, line: str) -> list[str]:
        words = line.replace("IN/", f"{self.inputs}/").replace(OUT, str(self.out))
        return shlex.split(words)

    def _parsed(self, more: list[str]) -> argparse.Namespace:
        return self.parser.parse_args([*self._words(self.case.line), *more])

    def _value(self, action: argparse.Action) -> list[str]:
        for known in action.option_strings:
            if known in self.case.values:
                return self._words(self.case.values[known])
        if isinstance(action, BINARY):
            return []
        if action.choices is not None:
            return [next(str(c) for c in action.choices if c != action.default)]
        count = action.nargs if isinstance(action.nargs, int) else 1
        if action.type in {int, float}:
            default = action.default if isinstance(action.default, int | float) else 3
            return [str(action.type(default + 1))] * count
        return ["IN/none"] * count

    @contextlib.contextmanager
    def _stubbed(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for module in (home_of(self.module), training):
                if self.case.stubs and hasattr(module, "joined"):
                    stack.enter_context(patch.object(module, "joined", join(self.recorded)))
            for stub in self.case.stubs:
                home, name = stub.split(":")
                owner, *inner = name.split(".")
                target = import_module(home)
                for part in inner:
                    target, owner = getattr(target, owner), part
                stack.enter_context(patch.object(target, owner, recorder(owner, self.recorded)))
            stack.enter_context(patch.object(Figure, "savefig", describe))
            known = functools.cache(registry.entry_points)
            stack.enter_context(patch.object(registry, "entry_points", known))
            before = PACKAGE.level
            log_from(logging.INFO)
            yield
            log_from(before)


def shares(options: Mapping[str, Sequence[str]]) -> dict[str, Callable[[str, str], bool]]:
    """For commands that share options and code, pairs divided among those that have both.

    Args:
        options: Settings of every command.
    """

    def is_of(command: str, first: str, second: str) -> bool:
        owners = [name for name, has in options.items() if first in has and second in has]
        return owners[zlib.crc32(f"{first} {second}".encode()) % len(owners)] == command

    return {command: functools.partial(is_of, command) for command in options}


@contextlib.contextmanager
def unchecked_shapes() -> Iterator[None]:
    """While it lasts, shapes are not checked, which takes a third of a run without work."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def describe(figure: Figure, path: Path, **how: object) -> None:
    """In place of a drawing, which takes a tenth of a second: what there is to draw."""
    parts = [figure.get_size_inches(), how]
    for artist in drawn(figure):
        asked = ["get_xydata", "get_array", "get_offsets", "get_xlim", "get_ylim"]
        asked += ["get_text"] if isinstance(artist, Text) else []
        if isinstance(artist, Axis):
            locator, formatter = artist.get_major_locator(), artist.get_major_formatter()
            parts += [artist.get_scale(), type(locator), getattr(locator, "locs", "")]
            parts += [type(formatter), getattr(formatter, "seq", "")]
        parts += [type(artist).__name__, *(getattr(artist, n, str)() for n in asked)]
    path.write_text(show(parts), encoding="utf-8")


def drawn(artist: Artist) -> Iterator[Artist]:
    """A figure and all that is in it; of axes the labels and numbers, not the ticks themselves.

    Ticks are made when they are asked for, which takes longer than all else.
    """
    yield artist
    if isinstance(artist, Axis):
        yield artist.label
        return
    for child in artist.get_children():
        yield from drawn(child)


# A mock takes a millisecond to make, and thousands of runs are made.
mock = functools.cache(lambda name: MagicMock(name=name))
TEAM = MagicMock(is_writer=True)


def home_of(command: Any) -> Any:
    """The module in which a command does its work."""
    job = getattr(command, "job", None)
    return command if job is None else import_module(job.__module__)


def recorder(name: str, recorded: list[object]) -> Any:
    """A function that does nothing but remember its arguments."""
    nothing = mock(name)

    def record(*args: object, **kwargs: object) -> object:
        shown = [show(value) for value in args]
        shown += [f"{key}={show(value)}" for key, value in kwargs.items()]
        recorded.append((name, *shown))
        return ANSWERS[name](*args) if name in ANSWERS else nothing

    return record


def join(recorded: list[object]) -> Any:
    """In place of a team of processes: this one alone, with the device remembered."""

    @contextlib.contextmanager
    def joined(args: argparse.Namespace) -> Iterator[tuple[object, object]]:
        more = [getattr(args, name, None) for name in ("multigpu", "deterministic")]
        recorded.append(("joined", args.device, *more))
        yield TEAM, torch.device("cpu")

    return joined


def steady(text: str) -> str:
    """A text without what differs from run to run: addresses, times and sizes."""
    for beginning, place in PLACES.items():
        if beginning in text:
            text = place.sub("", text)
    return TIMES.sub("", text)


def show(value: object) -> str:
    """A value in words that are the same in every run."""
    if isinstance(value, ParticleSet):
        poses = value.images.poses
        seen = "" if poses is None else hashlib.sha1(poses.rotations.tobytes()).hexdigest()
        return f"{len(value)} particles, {len(value.images)} images seen along {seen}"
    if isinstance(value, np.ndarray | torch.Tensor):
        return f"array {hashlib.sha1(np.asarray(value).tobytes()).hexdigest()}"
    if isinstance(value, functools.partial):
        # It holds the job, whose options are to be seen in what is done with them.
        return str(value.func)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(show, value))}]"
    return steady(repr(value))


# What stubs return where the command goes on with it.
OPENED = MagicMock(box_size=16, source="recorded.star")
OPENED.__len__.return_value = 12
OPENED.require_pixel_size.return_value = 12.0
LATENTS = Latents(mean=np.zeros((12, 3), np.float32), covariances=None, source="run")
RECORDED = DataConfig(files=ParticleFiles(particles=Path("recorded.star")))
VAE = MagicMock(has_encoder=True, decoder=MagicMock(spec=Decoder))
TRAINED_MODEL = MagicMock(pixel_size=12.0, model=VAE)
TRAINED_MODEL.volume_decoder.return_value = MagicMock(latent_dim=2, box_size=16)
FOUND = Alignment(rotation=torch.eye(3), shift=torch.zeros(3), correlation=1.0)
RUN = MagicMock(name="open_run")
RUN.latents.return_value = np.zeros((12, 3), np.float32)
RUN.files.analysis.return_value = AnalysisFiles(Path("analysis"))
RUN.files.landscape.return_value = LandscapeFiles(Path("landscape"))
MAPS, FAILED = MagicMock(half_maps=(MagicMock(), MagicMock())), MagicMock(passed=False)


def in_other_stack(data: DataConfig, *_: object, **__: object) -> SimpleNamespace:
    """In place of particles found in another file: that file as it was described."""
    return SimpleNamespace(
        particles=OPENED,
        latents=LATENTS,
        has_same_box=True,
        described=lambda _: data,
        write=lambda _: None,
    )


ANSWERS: dict[str, Any] = {
    "in_other_stack": in_other_stack,
    "run_excluding_bad_images": lambda screened, work, how, _: work(screened(how)),
    "screen_data": lambda data, particles, *_: (data, particles),
    "screen_particles": lambda particles, *_: particles,
    "load": lambda *_: TRAINED_MODEL,
    "open": lambda _: OPENED,
    "resolve_resume": lambda *_: ResumePoint(checkpoint={}),
    "with_places": lambda data, *_: data,
    "run_latents": lambda *_: LATENTS,
    "of_particles": lambda *_: LATENTS,
    "Latents.of_particles": lambda *_: LATENTS,
    "recorded_data": lambda *_: RECORDED,
    "backproject": lambda *_, **__: MAPS,
    "check_particles": lambda *_: FAILED,
    "umap_embedding": lambda *_: np.zeros((12, 2), np.float32),
    "tsne_embedding": lambda *_: np.zeros((12, 2), np.float32),
    "plan_cleaning": lambda *_: MagicMock(files=[Path("weights.1.pkl")], size=1),
    "find_run_config": lambda _: Path("config.yaml"),
    "load_run_config": lambda _: {"model_args": {}, "lattice_args": {}, "dataset_args": {}},
    "TrainedModel.load": lambda *_: TRAINED_MODEL,
    "align_volume": lambda *_, **__: FOUND,
    "replace": lambda value, **_: value,
    "places_kept": lambda *_: np.arange(12),
    "table": lambda *_: [],
    "open_run": lambda *_: RUN,
    "_divided": lambda *_: (np.arange(3), np.arange(3, 12)),
    "series": lambda *_: (Path("analysis"), [(VolumeSeries(Path("pc1")), [Path("vol.mrc")])]),
    "_maps": lambda *_: [("z_pca", np.zeros((12, 2)), ("PC1", "PC2"))],
    "choose_device": lambda *_: torch.device("cpu"),
}


@contextlib.contextmanager
def logged() -> Iterator[list[str]]:
    """What the package logs, at the level that the command sets, but for times."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(  # type: ignore[method-assign]
        steady(record.getMessage())
    )
    handlers = PACKAGE.handlers[:]
    PACKAGE.handlers[:] = [handler]
    try:
        yield lines
        lines.append(f"level {PACKAGE.level}")
    finally:
        log_from(logging.INFO)
        PACKAGE.handlers[:] = handlers


def files_below(folder: Path) -> list[Path]:
    """All that is in a folder, in order; fast where there is nothing, as in most runs."""
    return sorted(folder.rglob("*")) if any(folder.iterdir()) else []


def clear(folder: Path) -> None:
    """Empty a folder."""
    for path in reversed(files_below(folder)):
        path.rmdir() if path.is_dir() else path.unlink()


def digests(folder: Path) -> Iterator[tuple[str, str]]:
    """Names and contents of the files of a folder."""
    for path in files_below(folder):
        if path.is_file():
            content = hashlib.sha1(path.read_bytes()).hexdigest()
            yield str(path.relative_to(folder)), content
