"""The reference pages say what the declarations of settings and files say."""

import inspect
from pathlib import Path

import pytest

import cryodrgn
from cryodrgn.cli.declared import JobCommand
from cryodrgn.cli.main import CRYODRGN
from cryodrgn.cli.reference import PAGES
from cryodrgn.settings import command_of, options_of

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_a_reference_page_is_made_from_the_declarations(name):
    assert (DOCS / f"{name}.md").read_text() == PAGES[name](), (
        f"python -m cryodrgn.cli.reference {name} > docs/{name}.md"
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
