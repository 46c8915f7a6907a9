"""The command lines of docs/training.md."""

from finished_run import SMALL_VAE, Finished
from pages import lines_of

PAGE = "docs/training.md"


def test_the_recipe_of_the_page_is_what_it_is_typed_out(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("simulate", "-D", 16, "--Apix", 12, "-n", 40, "--num-states", 1, "-o", tmp_path)
    commands = [line.words for line in lines_of(PAGE)]
    assert len(commands) == 3
    for words in commands:
        place = words.index("-n")
        short = ("-n", 1, "--no-amp", *SMALL_VAE)
        run(*words[:place], *words[place + 2 :], *short)
    recipe, adam, typed = (Finished(tmp_path / words[-1]) for words in commands)
    assert typed.has_the_weights_of(recipe)
    assert not adam.has_the_weights_of(recipe)
