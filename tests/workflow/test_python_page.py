import re
from pathlib import Path

import matplotlib.image

import cryodrgn

PAGE = Path(__file__).parents[2] / "docs/python.md"


def test_the_example_of_the_documentation_runs(trained, tmp_path, monkeypatch, capsys):
    (tmp_path / "00_z8").symlink_to(trained)
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
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
