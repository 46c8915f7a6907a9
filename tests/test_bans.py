"""Lint catches every way of running what a file holds, and every output is written whole."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from cryodrgn.cli.declared import JobCommand
from cryodrgn.cli.topics import JOBS, TOOL_JOBS
from cryodrgn.settings import options_of
from sources import PACKAGE, PATHS, nodes_of

ROOT = Path(__file__).parents[1]
BANNED = {
    "import pickle\npickle.load(open('x'))": "TID251",
    "import pickle\npickle.loads(b'')": "TID251",
    "import torch\ntorch.load('x', weights_only=False)": "TID251",
    "import numpy as np\nnp.load('x', allow_pickle=True)": "TID251",
    "import yaml\nyaml.load('x', yaml.Loader)": "S506",
    "import yaml\nyaml.unsafe_load('x')": "TID251",
    "import subprocess\nsubprocess.run('ls', shell=True)": "S602",
    "import os\nos.system('ls')": "TID251",
    "eval('1')": "S307",
    "exec('1')": "S102",
    "import marshal\nmarshal.loads(b'')": "S302",
    "import mrcfile\nmrcfile.open('x')": "TID251",
}

# What lies in the root of the repository; sets of trials by hand do not.
IN_THE_ROOT = {
    *(
        ".ci",
        ".gitignore",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "Makefile",
    ),
    *("README.md", "SECURITY.md", "constraints.txt", "pyproject.toml"),
    *("benchmarks", "docs", "src", "tests"),
}


# Packages that come with others, and those that others call by another name.
COME_WITH = {"PIL": "matplotlib", "starlette": "fastapi", "triton": "torch"}
CALLED = {"sklearn": "scikit-learn", "skimage": "scikit-image", "yaml": "pyyaml"}
# Loaded by name, where they are asked for.
BY_NAME = {"graspologic-native", "umap-learn"}


def imported(path):
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).partition(".")[0]


def test_nothing_was_committed_by_mistake():
    done = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("this is no git checkout")
    assert {line.partition("/")[0] for line in done.stdout.splitlines()} <= IN_THE_ROOT


def test_what_is_imported_is_installed_with_the_program():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    more = project["optional-dependencies"]
    stated = [*project["dependencies"], *more["analysis"], *more["dashboard"]]
    declared = {re.split("[>=<]", line)[0] for line in stated}
    found = {name for path in PATHS for name in imported(path)} - {"cryodrgn"}
    found -= sys.stdlib_module_names
    packages = {CALLED.get(name, COME_WITH.get(name, name)) for name in found}
    assert packages | BY_NAME == declared


@pytest.mark.parametrize(("code", "rule"), BANNED.items())
def test_lint_catches(code, rule):
    words = [sys.executable, "-m", "ruff", "check", "--output-format", "concise"]
    done = subprocess.run(
        [*words, "--stdin-filename", "src/cryodrgn/io/x.py", "-"],
        input=code,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert rule in done.stdout


def test_only_two_places_are_excused_from_the_bans():
    excused = [
        (path.name, line.strip())
        for path in PATHS
        for line in path.read_text().splitlines()
        if "noqa: TID251" in line or "noqa: S" in line
    ]
    assert [name for name, _ in excused] == ["checkpoints.py", "star.py"]
    assert "weights_only=True" in excused[0][1]


def test_no_test_stops_the_clock_of_its_process():
    """A server of another test would sleep until the clock is where it was before."""
    patched = re.compile(r"setattr\((\w+\.)*time,|setattr\(\s*\"(\w+\.)*time\.")
    tests = sorted((ROOT / "tests").rglob("*.py"))
    assert [path for path in tests if patched.search(path.read_text())] == []


# Writers of whole files, logs that grow line by line, and scratch files without a name.
OWN_WRITERS = {"atomic.py", "resumable.py", "mrc.py", "run_log.py", "stores.py", "prepared.py"}
WRITES = {"write_text", "write_bytes", "savefig", "savetxt", "save", "savez", "tofile"}
WRITES |= {"savez_compressed", "copyfile", "dump"}


def writing_calls(path: Path) -> list[tuple[int, str]]:
    """Calls that write, outside any block that begins with ``atomic_path``."""
    atomic = [
        node
        for node in nodes_of(path)
        if isinstance(node, ast.With) and "atomic_path" in ast.unparse(node.items[0])
    ]
    inside = {id(inner) for block in atomic for inner in ast.walk(block)}
    found = []
    for node in nodes_of(path):
        if not isinstance(node, ast.Call) or id(node) in inside:
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        modes = [a.value for a in node.args if isinstance(a, ast.Constant)]
        opens = name == "open" and any(m in {"w", "wb", "a", "ab", "r+b"} for m in modes)
        if name in WRITES or opens:
            found.append((node.lineno, ast.unparse(node)))
    return found


# Written into memory, or by a method of ours that is atomic itself.
IN_MEMORY = ("buffer", "space.save", "frames[0].save", "page.save", "report.save", "copyreg")


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_output_is_written_through_the_atomic_writer(path):
    if path.name in OWN_WRITERS:
        return
    for line, call in writing_calls(path):
        assert any(word in call for word in IN_MEMORY), f"{path}:{line}: {call}"


def test_files_stay_short_enough_to_be_read_at_once():
    lengths = {path.name: len(path.read_text().splitlines()) for path in PATHS}
    assert not {name: length for name, length in lengths.items() if length >= 500}


def test_functions_stay_shorter_than_a_page():
    found = [
        f"{path.name}: {node.name}"
        for path in PATHS
        for node in nodes_of(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= 59
    ]
    assert not found


def test_docstrings_say_what_a_value_is_and_ask_no_question():
    questions = ("What ", "How ", "Whether ", "Where ", "Why ", "Which ", "As ")
    found = [
        f"{path.name}: {words.splitlines()[0]}"
        for path in PATHS
        for node in nodes_of(path)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
        and (words := ast.get_docstring(node))
        and words.startswith(questions)
    ]
    assert not found


# A flag, and where one stands by itself: in tables of flags, and among words for a launcher.
FLAG = re.compile(r"(?<![\w`/.-])--?[A-Za-z][\w-]*")
FLAGS_OF = ("jobs/", "cli/", "benchmarking/", "compat.py", "outputs.py", "settings.py")
# Texts that show what is typed: lines of this program, and of others.
SHOWN = re.compile(r"cryodrgn|ssh -L|(gzip|bzip2|xz|zstd|lz4|7z|tar) -?[dx]")
DECLARED = {"option", "positional", "same_as"}


@cache
def messages_of(path):
    """Texts of a file but docstrings and declarations, with … for what is put into them."""
    left_out, found = set(), []
    for node in nodes_of(path):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            left_out.add(node.value)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in DECLARED:
            left_out.update(ast.walk(node))
        if isinstance(node, ast.JoinedStr):
            left_out.update(node.values)
            if node not in left_out:
                parts = node.values
                found.append(
                    "".join(p.value if isinstance(p, ast.Constant) else "…" for p in parts)
                )
    for node in nodes_of(path):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and node not in left_out:
            found.append(node.value)
    return found


def test_messages_name_settings_and_the_command_line_makes_flags_of_them():
    for path in PATHS:
        place = path.relative_to(PACKAGE).as_posix()
        texts = [] if place.startswith("cli/") else messages_of(path)
        for text in texts:
            flag = FLAG.search(text)
            is_alone = flag and re.fullmatch("[=…]*", text[flag.end() :]) and not flag.start()
            if flag and not (is_alone and place.startswith(FLAGS_OF)):
                assert SHOWN.search(text[: flag.end()]), f"{place}: {text}"


def test_every_setting_that_messages_name_is_one_of_a_command():
    jobs = [JobCommand.load(name, place).job for name, place in (JOBS | TOOL_JOBS).items()]
    known = {name for job in jobs for name in options_of(job)}
    for path in PATHS:
        # The page's texts quote the page; the table of files, plots.
        if {"cli", "page"} & set(path.parts) or path.name == "rundir.py":
            continue
        for text in messages_of(path):
            named = set(re.findall(r"`([a-z_]+)(?:=\w+)?`", text))
            assert named <= known, f"{path}: {text}"


def test_parameters_are_not_packed_by_stars():
    """Five are: the flags of an option, listeners, and what is handed on to a function."""
    found = [
        f"{path.name}: {getattr(node, 'name', 'lambda')} {packed.arg}"
        for path in PATHS
        for node in nodes_of(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for packed in (node.args.vararg, node.args.kwarg)
        if packed is not None
    ]
    assert sorted(found) == [
        "compiled_code.py: __call__ args",
        "events.py: listening listeners",
        "settings.py: option flags",
        "settings.py: work args",
        "settings.py: work settings",
    ]


PACKED = ast.Tuple | ast.List | ast.Set


def test_calls_pack_no_arguments_only_to_unpack_them():
    found = [
        f"{path.name}:{node.lineno}"
        for path in PATHS
        for node in nodes_of(path)
        if isinstance(node, ast.Call)
        and (
            any(isinstance(a, ast.Starred) and isinstance(a.value, PACKED) for a in node.args)
            or any(k.arg is None and isinstance(k.value, ast.Dict) for k in node.keywords)
        )
    ]
    assert not found
