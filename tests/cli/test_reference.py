"""The reference page says what the declarations of settings say."""

import inspect
from pathlib import Path

import pytest

import cryodrgn
from cryodrgn.cli.declared import JobCommand
from cryodrgn.cli.main import CRYODRGN
from cryodrgn.cli.reference import commands_page
from cryodrgn.settings import command_of, options_of

PAGE = Path(__file__).parents[2] / "docs/commands.md"


def test_the_page_of_commands_is_made_from_their_settings():
    assert PAGE.read_text() == commands_page(), (
        "python -m cryodrgn.cli.reference > docs/commands.md"
    )


@pytest.mark.parametrize("name", CRYODRGN.commands)
def test_every_command_is_a_documented_function_of_the_package(name):
    command = CRYODRGN.load_command(name)
    assert isinstance(command, JobCommand)
    assert command_of(command.job) == name
    function = getattr(cryodrgn, name.removesuffix("_voxel"))
    assert set(inspect.signature(function).parameters) == set(options_of(command.job))
    summary = CRYODRGN.commands[name]
    assert function.__doc__.startswith(command.job.__doc__.splitlines()[0])
    assert command.job.__doc__.splitlines()[0] == f"{summary}."
