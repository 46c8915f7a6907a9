import re
from pathlib import Path

import matplotlib.image
import pytest

import cryodrgn
from cryodrgn.errors import ConfigError

PAGE = Path(__file__).parents[2] / "docs/python.md"


def examples():
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def test_commands_are_functions_that_train_look_and_select(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {}
    exec(examples()[0], found)
    assert found["linear"].latents().shape == (400, found["linear"].latent_dim)
    assert found["run"].latents().shape == (400, 2)
    assert 0 < len(found["rows"]) < 400
    assert [path.name for path in found["kept"]] == ["kept.star"]
    with pytest.raises(ConfigError, match="`zdim` must be at least 1, got 0"):
        cryodrgn.train_vae("sim/particles.star", "other", zdim=0)
    exec(examples()[1], found)
    assert len(found["follower"].losses) == 2
    assert [path.name for path in found["follower"].files] == ["z.0.pkl", "z.1.pkl", "z.pkl"]


def test_the_example_of_the_documentation_runs(trained, tmp_path, monkeypatch, capsys):
    (tmp_path / "00_z8").symlink_to(trained)
    monkeypatch.chdir(tmp_path)
    example = examples()[2]
    found: dict[str, object] = {}
    exec(example, found)
    assert capsys.readouterr().out.startswith("[0, 1] 3 16 12.0")
    assert found["volumes"].shape == (5, 16, 16, 16)
    assert cryodrgn.read_volume(Path("first.mrc"))[1] == 12.0
    assert found["clusters"].sizes.sum() == 60
    for name in ("loss", "latents", "clusters", "views"):
        assert matplotlib.image.imread(f"{name}.png").shape[2] == 4


def test_a_run_gives_the_same_latents_by_number_and_by_name(trained):
    run = cryodrgn.open_run(trained)
    assert run.epochs() == [0, 1]
    assert (run.latents(1) == run.latents()).all()
    assert not (run.latents(0) == run.latents()).all()
    assert len(run.losses()) == 2
    assert run.original_rows(60).tolist() == list(range(60))
