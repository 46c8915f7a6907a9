import subprocess
import sys
from importlib import import_module

import pytest

from command_line import subparsers
from cryodrgn.cli import tools
from cryodrgn.cli.main import CRYODRGN, CommandParser, main
from cryodrgn.cli.tools import CRYODRGN_UTILS
from cryodrgn.cli.topics import TOOL_JOBS, TOOLS

HEAVY = ("numpy", "torch", "matplotlib", "gemmi", "mrcfile", "scipy", "yaml")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import sys\nfrom cryodrgn.cli.main import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("program", [CRYODRGN, CRYODRGN_UTILS], ids=lambda p: p.name)
def test_the_help_of_no_command_imports_anything_heavy(program):
    module = "main" if program is CRYODRGN else "tools"
    code = (
        f"import sys\nfrom cryodrgn.cli.{module} import main\n"
        f"for command in {[*program.commands, *program.aliases]!r}:\n"
        "    try:\n        main([command, '--help'])\n    except SystemExit:\n        pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", TOOL_JOBS)
def test_a_tool_is_a_function_of_its_name_for_notebooks_too(name):
    place, _, kind = TOOL_JOBS[name].partition(":")
    module = import_module(f"cryodrgn.jobs.{place}")
    function = getattr(module, name)
    assert function.__wrapped__ is getattr(module, kind)
    assert function.__name__ == name
    summary = next(topic[name] for topic in TOOLS.values() if name in topic)
    assert function.__doc__.splitlines()[0] == f"{summary}."


def test_version_names_the_program(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out.startswith("cryoDRGN ")


def test_the_module_runs_as_the_command_does():
    done = subprocess.run(
        [sys.executable, "-m", "cryodrgn", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("cryoDRGN ")


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["downsample"], ["downsample", "--x"]])
def test_wrong_command_lines_end_with_status_2(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "usage: cryodrgn" in capsys.readouterr().err


@pytest.mark.parametrize("program", [CRYODRGN, CRYODRGN_UTILS], ids=lambda p: p.name)
def test_every_option_has_help(program):
    for command, parser in subparsers(program).items():
        for action in parser._actions:
            assert action.help, f"{command} {action.option_strings or action.dest}"


def test_the_version_of_the_tools_is_that_of_the_program(capsys):
    with pytest.raises(SystemExit, match="0"):
        tools.main(["--version"])
    assert capsys.readouterr().out.startswith("cryoDRGN ")


def test_numbers_in_exponent_notation_are_values_not_options():
    parser = CommandParser()
    parser.add_argument("-z", type=float, nargs="*")
    parser.add_argument("-o")
    known = parser.parse_args(["-z", "-0.5", "-1e-05", "-.5", "-2E3", "-o", "x"])
    assert known.z == [-0.5, -1e-05, -0.5, -2000.0]


def test_a_bug_ends_in_a_traceback(monkeypatch, tmp_path):
    monkeypatch.setattr("cryodrgn.simulation.simulate.simulate", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["simulate", "-o", str(tmp_path)])
