"""Every command line of every page is one that its program understands."""

from pathlib import Path

import pytest

from cryodrgn.cli.topics import COMMANDS, TOOLS
from pages import PAGES, PROGRAMS, lines_of, mentions_in

# Stand for any number of words.
PATTERN = ("…", "[")


@pytest.mark.parametrize("page", [page for page in PAGES if lines_of(page)])
def test_lines_of_a_page_are_understood(page, capsys):
    for line in lines_of(page):
        if not any(mark in word for mark in PATTERN for word in line.words):
            try:
                line.parse()
            except SystemExit:
                pytest.fail(f"{page}: {line.words}: {capsys.readouterr().err}")


def test_commands_and_options_in_the_code_of_pages_exist():
    parsers = {name: program._parsers()[1] for name, program in PROGRAMS.items()}
    # The table of other versions lists what is refused, too.
    pages = [page for page in PAGES if page != "docs/compatibility.md"]
    mentioned = [(page, *mention) for page in pages for mention in mentions_in(page)]
    assert len(mentioned) > 100
    wrong = [
        (page, program, command, options)
        for page, program, command, options in mentioned
        if command not in parsers[program]
        or set(options) - set(parsers[program][command]._option_string_actions)
    ]
    assert not wrong


def test_the_readme_names_every_command_and_every_page():
    root = Path(__file__).parents[2]
    readme = (root / "README.md").read_text()
    for topics in (COMMANDS, TOOLS):
        names = [name for commands in topics.values() for name in commands]
        assert [name for name in names if f"`{name}`" not in readme] == []
    pages = {path: path.read_text() for path in (root / "docs").glob("*.md")}
    texts = {root / "README.md": readme} | pages
    unlinked = [
        page.name
        for page in pages
        if not any(f"{page.name})" in text for path, text in texts.items() if path != page)
    ]
    assert unlinked == []
