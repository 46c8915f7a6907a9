"""Figures of docs/reliability.md, measured again: ``python benchmarks/reliability.py``.

One part alone: ``--parts fuzz kills disks messages memory times sizes``. Figures of the
other parts are kept from the last time (docs/reliability.json), each with its commit.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]
FIGURES, PAGE = ROOT / "docs/reliability.json", ROOT / "docs/reliability.md"
FUZZ = "tests/fuzz/long_run.py --inputs 300000 --seed 7"
CLOCK = """Time is that of the processor from the plan to the end, because others use the
machine; while threads share a loop, that of the slowest. A plan measures moments of the work,
so it is as far off as the machine is slower or faster later than it was then.

"""
KILLS = 2
SHARES = (0.05, 0.3, 0.6, 0.9)

HEAD = """# Reliability, in figures

Made by `python benchmarks/reliability.py`; one part again with `--parts NAME`.
What is promised about files of others stands in [SECURITY.md](../SECURITY.md).

| what | figure | command | commit |
|---|---|---|---|
"""


def fuzz() -> dict[str, Any]:
    words = [sys.executable, *FUZZ.split()]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    return json.loads(done.stdout.splitlines()[-1]) | {"command": f"python {FUZZ}"}


def in_folder(measure: Callable[[Path], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """A measurement in a folder that everybody may read, in memory where there is such."""

    def measured() -> dict[str, Any]:
        from writing import harness

        memory = Path("/dev/shm")
        folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        folder.chmod(0o755)
        try:
            harness.make_inputs(folder)
            return measure(folder)
        finally:
            shutil.rmtree(folder)

    return measured


kills_per_command = KILLS


def kills(folder: Path) -> dict[str, Any]:
    from writing import harness

    counts = {"commands": 0, "kills": 0, "damaged": 0, "failed": 0}
    for name, command in harness.commands(folder).items():
        whole = harness.undisturbed(command, folder / f"whole {name}")
        out = folder / f"killed {name}"
        counts["commands"] += 1
        for number in range(kills_per_command):
            if number % 2:
                was_killed = harness.kill_at_random(command, out, whole, f"{name} {number}")
            else:
                was_killed = harness.kill_at_write(command, out, number + 1)
            counts["kills"] += was_killed
            counts["damaged"] += len(
                harness.damaged(harness.visible(out), whole.files, all_of=False)
            )
        status, _ = harness.call(command.line(out))
        found = harness.visible(out)
        counts["failed"] += bool(status) or bool(
            harness.damaged(found, whole.files, all_of=True)
        )
    return counts


def disks(folder: Path) -> dict[str, Any]:
    from children import nothing
    from writing import harness

    counts = {"full": 0, "limited": 0, "read_only": 0, "wrong": 0}
    log = folder / "log"
    every = harness.commands(folder)
    for name, command in every.items():
        out = folder / f"refused {name}"
        out.mkdir()
        out.chmod(0o555)
        log.unlink(missing_ok=True)
        log.touch()
        log.chmod(0o666)
        process = harness.start(command.line(out), log, harness.as_nobody)
        status, said = harness.finish(process, log)
        counts["read_only"] += 1
        counts["wrong"] += status != 2 or "Traceback" in said or bool(harness.visible(out))
    for name in ("downsample", "train_vae", "analyze"):
        command = every[name]
        whole = harness.undisturbed(command, folder / f"whole {name}")
        size = sum(map(len, whole.files.values()))
        for share in SHARES:
            with harness.small_disk(folder / f"{name} {share}", int(share * size)) as resize:
                if resize is None:
                    continue
                out = folder / f"{name} {share}/out"
                counts["full"] += 1
                counts["wrong"] += not _recovers(command, out, whole, log, nothing)
                resize(20 * size + 2**20)
                counts["wrong"] += harness.call(command.line(out))[0]
        largest = max(map(len, whole.files.values()))
        for share in (0.1, 0.5, 0.9):
            out, prepare = folder / f"{name} limited {share}", harness.limited_files
            counts["limited"] += 1
            limit = prepare(int(share * largest))
            counts["wrong"] += not _recovers(command, out, whole, log, limit)
            counts["wrong"] += harness.call(command.line(out))[0]
    return counts


def _recovers(command: Any, out: Path, whole: Any, log: Path, prepare: Any) -> bool:
    """Whether a command that has no room says so and leaves nothing half."""
    from writing import harness

    status, said = harness.finish(harness.start(command.line(out), log, prepare), log)
    left = harness.damaged(harness.visible(out), whole.files, all_of=False)
    return status == 2 and "needs" in said and "Traceback" not in said and not left


def messages() -> dict[str, Any]:
    from cli.messages import lines

    words = [sys.executable, "-m", "pytest", "-q", "tests/cli/test_messages.py"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    passed = re.search(r"(\d+) passed", done.stdout)
    return {
        "lines": len(lines()),
        "passed": max(int(passed[1]) - 1, 0) if passed else 0,
    }


def plans(table: str) -> dict[str, Any]:
    # In a small process: what a child takes is counted from what its parent had.
    words = ["benchmarks/plans.py", "--table", table]
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    command = f"python {' '.join(words)}"
    return {"cases": json.loads(done.stdout.splitlines()[-1]), "command": command}


def memory() -> dict[str, Any]:
    return plans("trainings")


def times() -> dict[str, Any]:
    return plans("commands")


def sizes() -> dict[str, Any]:
    return plans("sizes")


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "fuzz": fuzz,
    "kills": in_folder(kills),
    "disks": in_folder(disks),
    "messages": messages,
    "memory": memory,
    "times": times,
    "sizes": sizes,
}


def rows(figures: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What is measured, its figures, and the part."""
    found = []
    if "fuzz" in figures:
        f = figures["fuzz"]
        text = (
            f"{f['inputs']:,} over {f['readers']} readers: {f['read']:,} read, "
            f"{f['refused']:,} refused in a sentence, {f['found']} anything else, {f['slow']} "
            f"over 5 s; memory grew by {f['memory_growth_bytes'] / 1e6:.0f} MB"
        )
        found.append(("damaged files", text, "fuzz"))
    if "kills" in figures:
        k = figures["kills"]
        text = (
            f"{k['kills']} kills of {k['commands']} commands, at random times and as a file is "
            f"about to be put in place: {k['damaged']} files damaged, {k['failed']} commands "
            "that did not succeed, with the same files, when run again"
        )
        found.append(("SIGKILL", text, "kills"))
    if "disks" in figures:
        d = figures["disks"]
        text = (
            f"{d['full']} full disks (tmpfs), {d['limited']} limits on the size of a file "
            f"(RLIMIT_FSIZE), {d['read_only']} folders of somebody else: {d['wrong']} that did "
            "not end in a sentence, left half a file, or failed when run again with room"
        )
        found.append(("no room", text, "disks"))
    if "messages" in figures:
        m = figures["messages"]
        text = (
            f"{m['lines']} mistakes; {m['passed']} end in their exact sentence, with status 2, "
            "on stderr alone, without a traceback, within 5 s"
        )
        found.append(("messages", text, "messages"))
    if "memory" in figures:
        errors = errors_of(figures["memory"])
        text = (
            f"{len(errors)} trainings: the plan is {min(errors):+.0%} to {max(errors):+.0%} "
            f"off the peak of resident memory ({sum(map(abs, errors)) / len(errors):.0%} on "
            "average)"
        )
        found.append(("memory planned", text, "memory"))
    for part in ("times", "sizes"):
        if part not in figures:
            continue
        cases = figures[part]["cases"]
        # A plan of less than half a second is said as 0 s, which is no ratio.
        pairs = [case["seconds"] for case in cases if case["seconds"][0] > 0]
        ratios = [planned / max(taken, 0.5) for planned, taken in pairs]
        errors = errors_of(figures[part])
        text = (
            f"{len(pairs)} commands take {1 / max(ratios):.2f} to {1 / min(ratios):.2f} times "
            f"as long as the plan says; their memory is planned {min(errors):+.0%} to "
            f"{max(errors):+.0%} off"
        )
        found.append(("time planned", text, part))
    return found


def errors_of(figures: dict[str, Any]) -> list[float]:
    return [planned / taken - 1 for planned, taken in (c["memory"] for c in figures["cases"])]


def page(figures: dict[str, Any]) -> str:
    lines = [HEAD]
    for what, text, part in rows(figures):
        command = figures[part]["command"]
        lines.append(f"| {what} | {text} | `{command}` | {figures[part]['commit']} |\n")
    if "memory" in figures:
        lines.append("\n## Memory, case by case\n\n`train_vae --zdim 8` on the processor.\n\n")
        lines.append("| box | batch | images | width | layers | plan | peak | error |\n")
        lines.append("|---|---|---|---|---|---|---|---|\n")
        lines += [f"| {c['name']} | {memory_of(c)} |\n" for c in figures["memory"]["cases"]]
    if "times" in figures:
        lines.append(
            f"\n## Commands, case by case\n\n3,000 images of 64 px, one thread. {CLOCK}"
        )
        lines.append(
            "| command | time planned | taken | memory planned | peak | error |\n"
            "|---|---|---|---|---|---|\n"
        )
        lines += [f"| {in_cells(case)} |\n" for case in figures["times"]["cases"]]
    if "sizes" in figures:
        lines.append(f"\n## Commands by size and threads\n\n{CLOCK}")
        lines.append(
            "| command | images | box | threads | time planned | taken | memory planned | peak "
            "| error |\n|---|---|---|---|---|---|---|---|---|\n"
        )
        lines += [f"| {in_cells(case)} |\n" for case in figures["sizes"]["cases"]]
    return "".join(lines)


def in_cells(case: dict[str, Any]) -> str:
    planned, taken = case["seconds"]
    return f"{case['name']} | {planned:.0f} s | {taken:.1f} s | {memory_of(case)}"


def memory_of(case: dict[str, Any]) -> str:
    planned, taken = case["memory"]
    return f"{planned / 1e6:.0f} MB | {taken / 1e6:.0f} MB | {planned / taken - 1:+.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--kills", type=int, default=KILLS, help="of every command")
    options = parser.parse_args()
    global kills_per_command
    kills_per_command = options.kills
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    words = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    for part in options.parts:
        line = f"python benchmarks/reliability.py --parts {part}"
        line += f" --kills {options.kills}" if part == "kills" else ""
        of_part = {"command": line, "commit": commit.stdout.strip()}
        figures[part] = of_part | PARTS[part]()
        print(part, json.dumps(figures[part]))
        sys.stdout.flush()
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
        PAGE.write_text(page(figures))


if __name__ == "__main__":
    main()
