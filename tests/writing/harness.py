"""Commands that write, run in processes of their own, and what becomes of their files."""

import contextlib
import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from children import Child, exit_status, start
from cryodrgn.data import downsample
from cryodrgn.io import atomic, resumable
from cryodrgn.io.mrc import StackWriter
from finished_run import SMALL_NN, SMALL_VAE

# Files that hold the time, or the place they are in; they are compared by being there.
TIMED = (".log", ".csv", ".yaml", ".pkl.cfg", ".html", ".ipynb", ".csg", ".json", ".jsonl")
NOBODY = 65534


@dataclass(frozen=True)
class Command:
    """A command line up to the name of its output.

    Attributes:
        words: The line.
        output: What is written into the folder of results.
        option: How the output is named on the line; empty for a last word.
    """

    words: tuple[object, ...]
    output: str = ""
    option: str = "-o"

    def line(self, out: Path) -> list[str]:
        words = (*self.words, *((self.option,) if self.option else ()), out / self.output)
        return [str(word) for word in words]


def make_inputs(folder: Path) -> None:
    """A small particle set, a run on it, and a volume."""
    star, run = folder / "sim/particles.star", folder / "run"
    sim = "simulate -D 16 --Apix 12 -n 60 --num-states 2 --snr 1 -o"
    lines: list[tuple[object, ...]] = [
        (*sim.split(), folder / "sim"),
        ("train_vae", star, "--zdim", 2, "-n", 2, *SMALL_VAE, "-o", run),
        ("backproject_voxel", star, "-o", folder / "volume.mrc"),
    ]
    for line in lines:
        assert exit_status(start(line)) == 0
    line = f"tool select_random 60 -n 10 -o {folder / 'ind.pkl'}"
    assert exit_status(start(line.split())) == 0
    (folder / "z.txt").write_text("0.1 0.2\n0.3 0.4\n-1 1\n")


def commands(folder: Path) -> dict[str, Command]:
    """Every command that writes, by name, on the inputs in a folder."""
    sim, run = folder / "sim", folder / "run"
    star, stack, volume = sim / "particles.star", sim / "particles.mrcs", folder / "volume.mrc"
    weights, latents, index = run / "weights.pkl", run / "z.pkl", folder / "ind.pkl"
    # Which number type is faster, every process would measure for itself.
    epochs = ("-n", 3, "-b", 6, "--load", "latest", "--precision", "float32")
    halves = [folder / f"volume_half_map_{half}.mrc" for half in "ab"]
    small = ("-D", 16, "--Apix", 12, "-n", 60, "--num-states", 2)
    motion = ("--domain-kda", 15, "--motions", 10, "--components", 1, "--radius", 5)
    return {
        "simulate": Command(("simulate", *small)),
        "downsample": Command(("downsample", stack, "-D", 12), "x.mrcs"),
        "downsample --chunk": Command(("downsample", star, "-D", 12, "--chunk", 7), "x.mrcs"),
        "downsample --is-vol": Command(("downsample", volume, "-D", 8, "--is-vol"), "x.mrc"),
        "parse_pose_star": Command(("parse_pose_star", star), "poses.pkl"),
        "parse_ctf_star": Command(("parse_ctf_star", star), "ctf.pkl"),
        "backproject_voxel": Command(("backproject_voxel", star), "x.mrc"),
        "train_vae": Command(("train_vae", star, "--zdim", 2, *SMALL_VAE, *epochs)),
        "train_nn": Command(("train_nn", star, *SMALL_NN, *epochs)),
        "train_dec": Command(("train_dec", star, "--zdim", 2, *SMALL_NN, *epochs)),
        "train_linear": Command(
            ("train_linear", star, "--components", 1, "--radius", 5, "--overwrite")
        ),
        "power": Command(("power", star, *motion, "--trials", 1, "--lazy")),
        "power --plant": Command(("power", star, *motion, "--plant")),
        "eval_images": Command(("eval_images", star, weights), "x.pkl"),
        "eval_vol": Command(("eval_vol", weights, "--zfile", folder / "z.txt")),
        "analyze": Command(
            ("analyze", run, -1, "--skip-umap", "--ksample", 2, "--pc", 1, "--n-per-pc", 2)
        ),
        "pc_traversal": Command(("pc_traversal", latents)),
        "direct_traversal": Command(("direct_traversal", latents, "--anchors", 1, 7), "x.txt"),
        "select": Command(
            ("select", "--coordinates", latents, "--random", "--count", 10), "ind.pkl"
        ),
        "export": Command(("export", star, "--ind", index), "x.star"),
        "postprocess": Command(("tool", "postprocess", *halves)),
        "add_noise": Command(("tool", "add_noise", stack, "--snr", 1), "x.mrcs"),
        "filter_mrcs": Command(("tool", "filter_mrcs", stack, "--ind", index), "x.mrcs"),
        "filter_star": Command(("tool", "filter_star", star, "--ind", index), "x.star"),
        "filter_pkl": Command(("tool", "filter_pkl", latents, "--ind", index), "x.pkl"),
        "flip_hand": Command(("tool", "flip_hand", volume), "x.mrc"),
        "invert_contrast": Command(("tool", "invert_contrast", volume), "x.mrc"),
        "gen_mask": Command(("tool", "gen_mask", volume), "x.mrc", ""),
        "select_random": Command(("tool", "select_random", 60, "-n", 5), "x.pkl"),
    }


def call(words: list[str], log: Path | None = None) -> tuple[int, str]:
    """Run a command in a process of its own; its status and what it wrote to the terminal."""
    return finish(start(words, log), log)


def finish(process: Child, log: Path | None = None) -> tuple[int, str]:
    status = exit_status(process)
    return status, log.read_text(errors="replace") if log is not None else ""


def visible(folder: Path) -> dict[str, bytes]:
    """Files that look complete, by their place in the folder."""
    if not folder.exists():
        return {}
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def is_timed(name: str) -> bool:
    return name.endswith(TIMED) or Path(name).name.startswith(("config", "checkpoint"))


def damaged(found: dict[str, bytes], whole: dict[str, bytes], *, all_of: bool) -> list[str]:
    """Files that differ from those of a run that nothing disturbed.

    Args:
        found: What is there.
        whole: What should be.
        all_of: Whether everything should be there.
    """
    bad = [
        name
        for name, content in found.items()
        if not is_timed(name) and not _same(name, content, whole)
    ]
    if all_of:
        bad += [name for name in whole if name not in found]
    return bad


def _same(name: str, content: bytes, whole: dict[str, bytes]) -> bool:
    if name not in whole:
        return name == "screened.csv"
    if Path(name).name.startswith("weights"):
        # Weights remember settings with the folder in them.
        return len(content) > 0 and _loads(content) == _loads(whole[name])
    return content == whole[name]


def _loads(content: bytes) -> list[tuple[str, bytes]]:
    import io

    import torch

    loaded = torch.load(io.BytesIO(content), weights_only=True)
    tensors = loaded["model_state_dict"].items()
    return [(name, value.numpy().tobytes()) for name, value in tensors]


@dataclass
class Whole:
    """What a command writes when nothing disturbs it, and how long it takes."""

    files: dict[str, bytes]
    seconds: float


def undisturbed(command: Command, folder: Path) -> Whole:
    started = time.monotonic()
    log = folder.with_suffix(".log")
    status, said = call(command.line(folder), log)
    assert status == 0, said
    return Whole(visible(folder), time.monotonic() - started)


def kill_at_random(command: Command, folder: Path, whole: Whole, seed: object) -> bool:
    """Kill a command at a random time; whether it was still running."""
    process = start(command.line(folder))
    time.sleep(random.Random(f"{seed}").uniform(0, whole.seconds))
    process.kill()
    return exit_status(process) == -signal.SIGKILL


def kill_at_write(command: Command, folder: Path, number: int) -> bool:
    """Kill a command as a file is about to get its name; whether there was such a file."""

    process = start(command.line(folder), prepare=partial(_die_at_write, number))
    return exit_status(process) == -signal.SIGKILL


def _die_at_write(number: int) -> None:
    original, count = atomic.os.fsync, [0]

    def fsync(descriptor: int) -> None:
        count[0] += 1
        if count[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        original(descriptor)

    atomic.os.fsync = fsync  # type: ignore[assignment]


def kill_in_the_middle(command: Command, folder: Path, batches: int) -> bool:
    """Kill a downsampling as so many batches are written; whether it had come so far."""
    process = start(command.line(folder), prepare=partial(_die_behind, batches))
    return exit_status(process) == -signal.SIGKILL


def _die_behind(batches: int) -> None:
    small_batches()
    original, count = StackWriter.append, [0]

    def append(self: StackWriter, images: Any) -> None:
        if count[0] == batches:
            os.kill(os.getpid(), signal.SIGKILL)
        count[0] += 1
        original(self, images)

    StackWriter.append = append  # type: ignore[method-assign]


def small_batches() -> None:
    """Five images of 16 px at a time, and a record behind every batch."""
    downsample.BYTES_PER_BATCH = 5 * 4 * 16**2
    resumable.SECONDS_BETWEEN_RECORDS = 0.0


def count_written() -> None:
    """Small batches, the sizes of which are said."""
    small_batches()
    original = StackWriter.append

    def append(self: StackWriter, images: Any) -> None:
        print(f"written: {len(images)}")  # noqa: T201
        original(self, images)

    StackWriter.append = append  # type: ignore[method-assign]


def as_nobody() -> None:
    """Become a user who owns nothing, if this is the superuser, whom no folder refuses."""
    if os.geteuid() == 0:
        os.setegid(NOBODY)
        os.seteuid(NOBODY)


def limited_files(size: int) -> Callable[[], None]:
    """A limit on the size of every file, where no small disk can be had."""
    return partial(_limit_files, size)


def _limit_files(size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Callable[[int], None] | None]:
    """A disk of ``size`` bytes at a folder; what is yielded changes its size.

    None is yielded where none may be mounted.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def mount(options: str) -> bool:
        words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    if os.geteuid() != 0 or not mount(f"size={size}"):
        yield None
        return
    try:
        yield lambda new: mount(f"remount,size={new}") and None
    finally:
        subprocess.run(["umount", str(folder)], capture_output=True, check=True)
