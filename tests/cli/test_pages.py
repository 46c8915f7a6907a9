"""Every command line of every page is one that its program understands."""

import pytest

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
