"""Files that the lines of the cases of options name."""

from pathlib import Path

import numpy as np

from cryodrgn.cli.main import main
from cryodrgn.io.cryodrgn_pickle import load_pickles, save_pickles
from cryodrgn.io.cryosparc_tables import write_table
from cryodrgn.io.mrc import read_volume, stack_writer, write_volume
from tomogram_layouts import Project, write_relion5

COUNT, BOX = 12, 16
CS_COLUMNS = [
    *(("blob/path", "S40"), ("blob/idx", "u4"), ("blob/shape", "u4", (2,))),
    *(("blob/psize_A", "f4"), ("uid", "u8")),
    *(("alignments3D/pose", "f4", (3,)), ("alignments3D/shift", "f4", (2,))),
    *(("alignments_class_0/pose", "f4", (3,)), ("alignments_class_0/shift", "f4", (2,))),
    *(("alignments_class_1/pose", "f4", (3,)), ("alignments_class_1/shift", "f4", (2,))),
    *((f"alignments_class_{number}/class_posterior", "f4") for number in (0, 1)),
    *((f"ctf/{name}", "f4") for name in ("df1_A", "df2_A", "df_angle_rad", "accel_kv")),
    *((f"ctf/{name}", "f4") for name in ("cs_mm", "amp_contrast", "phase_shift_rad")),
]


def _scores() -> str:
    lines = [f"{row},{row / COUNT},0" for row in range(COUNT)]
    return "\n".join(["row,contrast,junk", *lines]) + "\n"


def make_inputs(folder: Path) -> None:
    """All files that the lines below name."""
    words = f"simulate -D {BOX} --Apix 12 -n {COUNT} --num-states 2 --tilt-deg 30 -o {folder}"
    assert main(words.split()) == 0
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(COUNT, 3)).astype(np.float32)
    for name, content in {
        "z": latents,
        "z1": latents[:, :1],
        "z2": latents[:, :2],
        "other": -latents,
        "ind": np.arange(COUNT - 2),
        "all": np.arange(COUNT),
        "few": np.array([1, 3, 5]),
        "labels": np.arange(COUNT) % 3,
    }.items():
        save_pickles(folder / f"{name}.pkl", [content])
    rotations, shifts = load_pickles(folder / "poses.pkl")[0]
    save_pickles(folder / "other_poses.pkl", [(rotations[::-1].copy(), shifts)])
    save_pickles(folder / "selections/some.pkl", [np.array([1, 5, 7])])
    (folder / "config.yaml").write_text("dataset_args: {}\nmodel_args: {}\n")
    texts = {"z.txt": "0.1 0.2\n0.3 0.4\n", "z3.txt": "0.1 0.2 0.3\n", "scores.csv": _scores()}
    for name, text in texts.items():
        (folder / name).write_text(text)
    table = np.zeros(COUNT, dtype=CS_COLUMNS)
    table["blob/path"], table["blob/idx"] = b"particles.mrcs", np.arange(COUNT)
    table["blob/shape"], table["blob/psize_A"], table["uid"] = BOX, 12, np.arange(COUNT)
    for number, name in enumerate(("alignments3D", "alignments_class_0", "alignments_class_1")):
        table[f"{name}/pose"] = rng.normal(size=(COUNT, 3))
        table[f"{name}/shift"] = rng.normal(size=(COUNT, 2)) + number
    table["alignments_class_0/class_posterior"] = np.arange(COUNT) % 2
    table["alignments_class_1/class_posterior"] = 1 - np.arange(COUNT) % 2
    table["ctf/df1_A"], table["ctf/df2_A"], table["ctf/accel_kv"] = 12000, 11000, 300
    table["ctf/cs_mm"], table["ctf/amp_contrast"] = 2.7, 0.1
    star = (folder / "particles.star").read_text()
    rows = [line for line in star.splitlines() if "@" in line]
    grouped = "data_\n\nloop_\n_rlnImageName #1\n_rlnGroupName #2\n_rlnMicrographName #3\n"
    for number, row in enumerate(rows):
        name = next(word for word in row.split() if "@" in word)
        grouped += f"{name} particle{number // 2} micrograph{number % 2}.mrc\n"
    (folder / "grouped.star").write_text(grouped)
    words = f"expand {folder}/particles.star --symmetry C2 -o {folder}/expanded.star"
    assert main(words.split()) == 0
    volume, _ = read_volume(folder / "gt/state_000.mrc")
    write_volume(folder / "mask.mrc", (volume > volume.mean()).astype("f4"), 12.0)
    write_volume(folder / "noisy.mrc", rng.normal(volume, volume.std()).astype("f4"), 12.0)
    with stack_writer(folder / "cube.mrcs", BOX, 12.0) as writer:
        writer.append(rng.normal(size=(BOX, BOX, BOX)).astype(np.float32))
    curve = "\n".join(f"{shell / BOX} {1 - shell / 8}" for shell in range(1, 8))
    (folder / "fsc.txt").write_text(f"frequency fsc\n{curve}\n")
    line = "# =====> Epoch: {} Average loss = {}; Finished in 0:00:01\n"
    (folder / "run.log").write_text("".join(line.format(n, 1 / n) for n in (1, 2, 3)))
    write_table(folder / "particles.cs", table)
    write_relion5(Project.random(rng, count=2), folder, name="tomogram_particles")
