"""Command lines of cryoDRGN 0.2.0 and 4.3, and the page that says what becomes of them."""

from pathlib import Path

import pytest

from cryodrgn.cli.compatibility import UNKNOWN, UNUSED, WORKS, outcome, page, read_lines

LINES = list(read_lines(Path(__file__).parent / "data/command_lines.txt"))
PAGE = Path(__file__).parents[2] / "docs/compatibility.md"


@pytest.fixture(scope="module")
def outcomes():
    return [(line, one, outcome(line, one)) for line in LINES for one in ("", *line.options)]


def test_every_command_line_of_0_2_0_works(outcomes):
    found = {one.kind for line, _, one in outcomes if line.version == "0.2.0"}
    assert found == {WORKS, UNUSED}
    assert {
        one.kind for line, words, one in outcomes if not words and line.version == "0.2.0"
    } == {WORKS}


def test_nothing_of_4_3_is_unrecognized_and_whatever_does_nothing_says_why(outcomes):
    assert [(line.command, words) for line, words, one in outcomes if one.kind == UNKNOWN] == []
    assert all(one.why for _, _, one in outcomes if one.kind != WORKS)


def test_an_option_that_nobody_has_is_unrecognized():
    assert outcome(LINES[0], "--nobody").kind == UNKNOWN


def test_the_page_is_made_from_the_parsers():
    assert PAGE.read_text(encoding="utf-8") == page(LINES)
