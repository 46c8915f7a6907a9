import re

import pytest

from cryodrgn.errors import CryodrgnError
from cryodrgn.workflow.demo import run_demo


@pytest.mark.slow
def test_the_demo_finds_the_motion_and_shows_it_in_one_self_contained_page(run, tmp_path):
    output = run("demo", "-o", tmp_path / "demo")
    sentence = output.splitlines()[-2]
    numbers = [float(number) for number in re.findall(r"\d\.\d{3}", sentence)]
    correlation, area, rigid, ceiling = numbers
    assert correlation >= 0.9
    assert rigid + 0.02 < area < ceiling
    # The very commands a user would type.
    typed = re.findall(r"^\$ cryodrgn (\w+)", output, flags=re.MULTILINE)
    assert typed == [
        "simulate",
        "downsample",
        "parse_pose_star",
        "parse_ctf_star",
        "backproject_voxel",
        "train_vae",
        "analyze",
        "eval_vol",
    ]
    page = (tmp_path / "demo/report.html").read_text()
    # Three figures against the truth, then what analyze shows: two plots of the latent, two of
    # the training, a film, ten volumes and nine differences.
    assert page.count('src="data:image/png;base64,') == 3 + 2 + 2 + 10 + 9
    assert page.count('src="data:image/gif;base64,') == 1
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert sentence in page


def test_a_command_that_fails_stops_the_demo(tmp_path):
    with pytest.raises(CryodrgnError, match="stopped because this failed: cryodrgn simulate"):
        run_demo(tmp_path, lambda words: 2)
