import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_sentence_of_the_conventions_names_a_test_that_exists():
    page = (ROOT / "docs/conventions.md").read_text()
    sentences = re.findall(r"^- .*?(?=^- |^#|\Z)", page, flags=re.MULTILINE | re.DOTALL)
    assert len(sentences) > 20
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    tests = set(re.findall(r"^def (test_\w+)", sources, flags=re.MULTILINE))
    for sentence in sentences:
        (name,) = re.findall(r"`(test_\w+)`", sentence)
        assert name in tests, sentence
