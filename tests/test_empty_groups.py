"""Groups of nobody (halves, optics groups, clusters, states, shells) end no command badly.

A command gives finite numbers, or refuses in one sentence and leaves nothing.
"""

import csv
from dataclasses import dataclass

import numpy as np
import pytest

from cryodrgn.cli import tools
from cryodrgn.cli.main import main
from cryodrgn.io.cryodrgn_pickle import save_pickles
from cryodrgn.io.mrc import read_volume, write_volume
from finished_run import SMALL_VAE

COUNT, BOX = 60, 16


@dataclass(frozen=True)
class Case:
    """A line on a set in which a group is empty.

    Attributes:
        line: The command line, with IN and OUT for folders.
        sentence: What it is refused with; empty if it must succeed.
    """

    line: str
    sentence: str = ""


ONE = "IN/particles.star --ind IN/one.txt"
PAIR = "IN/particles.star --ind IN/pair.txt"
GROUPED = "IN/grouped.star --ind IN/first.txt"
VAE = "--zdim 1 -n 1 " + " ".join(map(str, SMALL_VAE))
CASES = {
    # A half set without particles.
    "half map": Case(
        f"backproject_voxel {ONE} -o OUT/map.mrc", "need at least two different images"
    ),
    "half maps of two": Case(f"backproject_voxel {PAIR} -o OUT/map.mrc"),
    "half of a linear fit": Case(f"train_linear {PAIR} --components 1 -o OUT", "particles"),
    "half of states": Case(
        f"reconstruct_states --particles {ONE} --latents IN/z_one.pkl -z 0 --functions 2 "
        "-o OUT",
        "particles",
    ),
    "held out": Case(f"train_vae {PAIR} {VAE} --held-out 0.01 -o OUT", "--held-out"),
    # Optics groups that no chosen particle is of.
    "group of a map": Case(f"backproject_voxel {GROUPED} -o OUT/map.mrc"),
    "group of a check": Case(f"check {GROUPED} --accept -o OUT"),
    "group of the noise": Case(f"train_vae {GROUPED} {VAE} --noise-model radial -o OUT"),
    "group of a fit": Case(f"train_linear {GROUPED} --components 1 --radius 4 -o OUT"),
    # Clusters of nobody.
    "cluster without particles": Case(
        "conformational_density IN --labels IN/labels.pkl --bootstraps 2 -o OUT"
    ),
    "cluster that is chosen": Case(
        "select --coordinates IN/z.pkl --labels IN/labels.pkl --clusters 1 -o OUT/x.pkl",
        "no particle",
    ),
    "more clusters than particles": Case("tool kmeans IN/z_pair.pkl -k 5 -o OUT/x.pkl", "5"),
    "clusters of one place": Case("tool kmeans IN/z_same.pkl -k 3 -o OUT/x.pkl", "3 clusters"),
    # States without particles near them.
    "state far from all": Case(
        "reconstruct_states --particles IN/particles.star --latents IN/z.pkl -z 90 "
        "--method kernel --functions 4 -o OUT"
    ),
    "states of one place": Case(
        "reconstruct_states --particles IN/particles.star --latents IN/z_same.pkl "
        "--num-states 3 --functions 2 -o OUT",
        "3 clusters need as many different latents",
    ),
    # Shells without power, or without points.
    "shells of an empty map": Case("tool fsc IN/map.mrc IN/empty.mrc -o OUT/fsc.txt"),
    "shells within an empty mask": Case(
        "tool fsc IN/map.mrc IN/map.mrc --mask IN/empty.mrc -o OUT/fsc.txt", "mask"
    ),
    "shells of two voxels": Case("tool fsc IN/tiny.mrc IN/tiny.mrc -o OUT/fsc.txt", "2 voxels"),
    "shells of half maps": Case("tool postprocess IN/map.mrc IN/empty.mrc -o OUT", "empty"),
}


def in_three_groups(star):
    """A particle file whose halves are of two optics groups, beside a third one of nobody."""
    lines, row = [], 0
    for line in star.read_text().splitlines():
        words = line.split()
        if line.startswith("1 opticsGroup1"):
            lines += [line, *(f"{n} group{n} " + " ".join(words[2:]) for n in (2, 3))]
        elif "@" in line:
            lines.append(" ".join([words[0], str(1 + 2 * row // COUNT), *words[2:]]))
            row += 1
        else:
            lines.append(line)
    assert row == COUNT
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("groups")
    words = f"simulate -D {BOX} --Apix 12 -n {COUNT} --num-states 2 --snr 2 -o {folder}"
    assert main(words.split()) == 0
    (folder / "one.txt").write_text("3\n")
    (folder / "pair.txt").write_text("3\n4\n")
    (folder / "first.txt").write_text("\n".join(map(str, range(COUNT // 2))))
    (folder / "grouped.star").write_text(in_three_groups(folder / "particles.star"))
    rng = np.random.default_rng(0)
    z = rng.normal(size=(COUNT, 1)).astype(np.float32)
    doubt = np.full_like(z, -3)
    for name, rows_of in (("z", slice(None)), ("z_one", slice(3, 4)), ("z_pair", slice(3, 5))):
        save_pickles(folder / f"{name}.pkl", [z[rows_of], doubt[rows_of]])
    save_pickles(folder / "z_same.pkl", [np.zeros_like(z), doubt])
    save_pickles(folder / "labels.pkl", [2 * (np.arange(COUNT) % 2)])
    volume, _ = read_volume(folder / "gt/state_000.mrc")
    write_volume(folder / "map.mrc", volume, 12.0)
    write_volume(folder / "empty.mrc", np.zeros_like(volume), 12.0)
    write_volume(folder / "tiny.mrc", volume[7:9, 7:9, 7:9].copy(), 12.0)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_a_group_of_nobody_is_no_traceback(folder, tmp_path, capsys, name):
    case, out = CASES[name], tmp_path / "out"
    words = case.line.replace("IN", str(folder)).replace("OUT", str(out)).split()
    program = tools.main if words[0] == "tool" else main
    status = program(words[1:] if words[0] == "tool" else words)
    said = capsys.readouterr().err
    if case.sentence:
        assert status == 2, said
        assert case.sentence in said.splitlines()[-1]
        assert not out.exists() or not [path for path in out.rglob("*") if path.is_file()]
        return
    assert status == 0, said
    assert out.is_dir()
    for path in out.rglob("*.mrc"):
        assert np.isfinite(read_volume(path)[0]).all(), path
    for path in out.rglob("*.csv"):
        rows = list(csv.reader(path.read_text().splitlines()))
        assert "nan" not in {word for row in rows for word in row}, path
