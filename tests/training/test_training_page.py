"""The command lines of docs/training.md."""

import re
import shlex
from pathlib import Path

import pytest
import torch

from finished_run import SMALL_VAE, Finished

PAGE = Path(__file__).parents[2] / "docs/training.md"


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="PyTorch before 2.9")
def test_the_recipe_of_the_page_is_what_it_is_typed_out(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("simulate", "-D", 16, "--Apix", 12, "-n", 40, "--num-states", 1, "-o", tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    commands = re.findall(r"^    cryodrgn (.*)$", text, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        short = ("-n", 1, "--no-amp", *SMALL_VAE)
        run(*shlex.split(command.replace("-n 5 ", "")), *short)
    recipe, adam, typed = (Finished(tmp_path / shlex.split(line)[-1]) for line in commands)
    assert typed.has_the_weights_of(recipe)
    assert not adam.has_the_weights_of(recipe)
