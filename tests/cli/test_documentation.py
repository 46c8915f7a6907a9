"""Every command line of the cryoDRGN 0.2.0 documentation works as typed there.

The lines stand here as the documentation types them; words in brackets are replaced by file
names, and the number of epochs is lowered so that the test ends in seconds.
"""

import re
import shlex
import shutil
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from cryodrgn.cli.main import build_parser, main
from cryodrgn.io.cryodrgn_pickle import load_latents, load_pickles
from cryodrgn.io.mrc import stack_writer
from cryodrgn.io.star import write_star
from finished_run import SMALL_VAE

PREPARE = r"""
cryodrgn downsample [input particle stack] -D 128 -o particles.128.mrcs
cryodrgn downsample [input particle stack] -D 256 -o particles.256.mrcs
cryodrgn parse_pose_star particles.star -o pose.pkl -D 300
cryodrgn parse_pose_csparc cryosparc_P27_J3_005_particles.cs -o pose.pkl -D 300
cryodrgn parse_ctf_star particles.star -D 300 --Apix 1.03 -o ctf.pkl
cryodrgn parse_ctf_csparc cryosparc_P27_J3_005_particles.cs -o ctf.pkl
"""
BACKPROJECT = r"""
cryodrgn backproject_voxel projections.128.mrcs --poses pose.pkl --ctf ctf.pkl --invert-data -o backproject.128.mrc
"""
TRAIN = r"""
cryodrgn train_vae projections.128.mrcs --poses pose.pkl --ctf ctf.pkl --zdim 1 -n 50 -o 00_vae128_z1
cryodrgn train_vae projections.128.mrcs --poses pose.pkl --ctf ctf.pkl --zdim 10 -n 50 -o 01_vae128_z10
cryodrgn train_vae projections.256.mrcs --poses pose.pkl --ctf ctf.pkl --zdim 10 -n 20 --qdim 1024 --qlayers 3 --pdim 1024 --players 3 -o 02_vae256_z10
"""
EVALUATE = r"""
python $CDRGN_SRC/eval_decoder.py [WORKDIR]/weights.pkl --config [WORKDIR]/config.pkl -z ZVALUE -o reconstruct.sample1.mrc
python $CDRGN_SRC/eval_decoder.py [WORKDIR]/weights.pkl --config [WORKDIR]/config.pkl --zfile zvalues.txt -o [WORKDIR]/trajectory
"""
ANALYZE = r"""
$CDRGN_SRC/utils/analysis/analyze.sh [WORKDIR] [EPOCH] # Use 0-based index for the epoch number
"""
HELP = r"""
python $CDRGN_SRC/utils/analysis/get_z_pcs.py -h
"""
COUNT = 2


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


def words_of(line: str, epochs: int = 1) -> list[str]:
    """The words of a line of the documentation, with names for those in brackets."""
    line = line.replace("[input particle stack]", "particles.star")
    line = line.replace("[WORKDIR]", "00_vae128_z1").replace("ZVALUE", "0.3")
    line = line.replace("[EPOCH]", "0")
    line = re.sub(r"(?:python )?\$CDRGN_SRC/(?:\w+/)*(\w+)\.\w+", r"cryodrgn \1", line)
    words = shlex.split(line, comments=True)[1:]
    build_parser(words[0]).parse_args(words)
    if "-n" in words:
        words[words.index("-n") + 1] = str(epochs)
    # As wide as typed, a network would be trained for a quarter of a minute.
    return ["128" if word == "1024" else word for word in words]


@pytest.fixture
def typed(run):
    """Runs a line of the documentation in the folder of the project."""
    return lambda line: run(*words_of(line))


@pytest.fixture
def project(raw, tmp_path, monkeypatch):
    """A folder of one's own with the particle set."""
    return entered(raw, tmp_path, monkeypatch)


def entered(made: Path, folder: Path, monkeypatch) -> Path:
    """A folder with links to files that are there, in which lines are typed."""
    for path in made.iterdir():
        (folder / path.name).symlink_to(path)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A particle set of 300 px as RELION and as cryoSPARC would leave it."""
    tmp_path, rng = tmp_path_factory.mktemp("raw"), np.random.default_rng(0)
    with stack_writer(tmp_path / "stack.mrcs", 300, 1.03) as writer:
        writer.append(rng.normal(size=(COUNT, 300, 300)).astype(np.float32))
    values = {
        "rlnImageName": [f"{number + 1}@stack.mrcs" for number in range(COUNT)],
        "rlnAngleRot": [10.0, 20.0],
        "rlnAngleTilt": [30.0, 40.0],
        "rlnAnglePsi": [50.0, 60.0],
        "rlnOriginX": [3.0, -6.0],
        "rlnOriginY": [0.0, 1.5],
        "rlnDefocusU": [15000.0, 16000.0],
        "rlnDefocusV": [14000.0, 15500.0],
        "rlnDefocusAngle": [0.0, 30.0],
        "rlnVoltage": [300.0] * COUNT,
        "rlnSphericalAberration": [2.7] * COUNT,
        "rlnAmplitudeContrast": [0.1] * COUNT,
    }
    write_star(tmp_path / "particles.star", {"": values})
    dtype = [
        ("blob/path", "S20"),
        ("blob/idx", "u4"),
        ("blob/shape", "u4", (2,)),
        ("blob/psize_A", "f4"),
        ("alignments3D/pose", "f4", (3,)),
        ("alignments3D/shift", "f4", (2,)),
        *((f"ctf/{name}", "f4") for name in ("df1_A", "df2_A", "df_angle_rad", "accel_kv")),
        *((f"ctf/{name}", "f4") for name in ("cs_mm", "amp_contrast", "phase_shift_rad")),
    ]
    table = np.zeros(COUNT, dtype=dtype)
    table["blob/path"], table["blob/shape"], table["blob/psize_A"] = "stack.mrcs", 300, 1.03
    table["ctf/df1_A"], table["ctf/df2_A"] = 15000, 14000
    table["ctf/accel_kv"], table["ctf/cs_mm"], table["ctf/amp_contrast"] = 300, 2.7, 0.1
    with (tmp_path / "cryosparc_P27_J3_005_particles.cs").open("wb") as file:
        np.save(file, table)
    return tmp_path


@pytest.fixture(scope="module")
def prepared(raw, tmp_path_factory):
    """The files that training reads."""
    folder = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        entered(raw, folder, patch)
        for line in (
            *(f"downsample particles.star -D {n} -o projections.{n}.mrcs" for n in (128, 256)),
            "parse_pose_star particles.star -o pose.pkl -D 300",
            "parse_ctf_star particles.star -D 300 --Apix 1.03 -o ctf.pkl",
        ):
            assert main(line.split()) == 0
    return folder


@pytest.fixture
def downsampled(prepared, tmp_path, monkeypatch):
    return entered(prepared, tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def learnt(prepared, tmp_path_factory):
    """The first run of the documentation, with a small network."""
    folder = tmp_path_factory.mktemp("learnt")
    with pytest.MonkeyPatch.context() as patch:
        entered(prepared, folder, patch)
        assert main([*words_of(lines(TRAIN)[0]), *map(str, SMALL_VAE)]) == 0
    return folder


@pytest.fixture
def trained(learnt, tmp_path, monkeypatch):
    """A folder of one's own with the first run."""
    run = "00_vae128_z1"
    shutil.copytree(learnt / run, tmp_path / run)
    for path in learnt.glob("*.*"):
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("line", lines(PREPARE))
def test_preparing_images_poses_and_ctf(typed, project, line):
    typed(line)
    written = Path(project / shlex.split(line)[shlex.split(line).index("-o") + 1])
    if written.suffix == ".mrcs":
        with mrcfile.open(written) as mrc:
            assert len(mrc.data) == COUNT
            assert mrc.voxel_size.x == pytest.approx(1.03 * 300 / mrc.data.shape[-1])
    elif written.stem == "pose":
        rotations, shifts = load_pickles(written)[0]
        assert rotations.shape == (COUNT, 3, 3)
        assert np.abs(shifts).max() == pytest.approx(6 / 300 if "star" in line else 0)
    else:
        assert load_pickles(written)[0][:, :2] == pytest.approx(
            np.array([[300, 1.03]] * COUNT), rel=1e-6
        )


@pytest.mark.parametrize("line", lines(BACKPROJECT))
def test_testing_poses_and_ctf(typed, downsampled, line):
    assert "the half maps" in typed(line)
    with mrcfile.open(downsampled / "backproject.128.mrc") as mrc:
        assert mrc.data.shape == (128, 128, 128)


@pytest.mark.parametrize("line", lines(TRAIN))
def test_training(typed, downsampled, line):
    typed(line)
    words = shlex.split(line)
    latents = load_latents(downsampled / words[words.index("-o") + 1] / "z.pkl")
    assert latents.shape == (COUNT, int(words[words.index("--zdim") + 1]))


@pytest.mark.parametrize("line", lines(EVALUATE))
def test_generating_volumes(typed, trained, line):
    (trained / "zvalues.txt").write_text("-0.5\n1e-2\n")
    typed(line)
    if "zfile" in line:
        written = sorted((trained / "00_vae128_z1/trajectory").iterdir())
        assert [path.name for path in written] == ["vol_000.mrc", "vol_001.mrc"]
    else:
        written = [trained / "reconstruct.sample1.mrc"]
    for path in written:
        with mrcfile.open(path) as mrc:
            assert mrc.data.shape == (128, 128, 128)
            assert mrc.data.std() > 0


@pytest.mark.parametrize("line", lines(HELP))
def test_asking_for_help(typed, capsys, line):
    with pytest.raises(SystemExit) as stopped:
        typed(line)
    assert stopped.value.code == 0
    assert "principal components" in capsys.readouterr().out.lower()


@pytest.mark.parametrize("line", lines(ANALYZE))
def test_analysing(typed, trained, line):
    # There are two particles here, fewer than twenty clusters: one dimension has none.
    typed(f"{line.partition('#')[0]} --n-per-pc 2")
    assert (trained / "00_vae128_z1/analyze.0/report.html").is_file()
    assert (trained / "00_vae128_z1/analyze.0/vol_001.mrc").is_file()
