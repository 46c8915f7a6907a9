"""Files with every mistake that :mod:`cli.messages` names, beside sound ones."""

import pickle
from pathlib import Path

import numpy as np

from cryodrgn.cli.main import main
from cryodrgn.io.cryodrgn_pickle import load_ctf, load_pickles, save_pickles
from cryodrgn.io.mrc import stack_writer, write_volume

COUNT, BOX = 24, 16


def write_stack(path: Path, images: np.ndarray, box: int | None = None) -> None:
    with stack_writer(path, box or images.shape[-1], 12.0) as writer:
        writer.append(images.astype(np.float32))


def write_others(folder: Path, star: str) -> None:
    """Files that were not meant: of other programs, kinds and formats."""
    texts = {
        "optimiser.star": "data_optimiser_general\n\n_rlnOutputRootName Refine3D/job007/run\n"
        "_rlnExperimentalDataStarFile Refine3D/job007/run_data.star\n",
        "model.star": "data_model_general\n\n_rlnReferenceDimensionality 3\n\n"
        "data_model_classes\n\nloop_\n_rlnReferenceImage\nrun_class001.mrc\n",
        "job.star": "data_job\n\n_rlnJobTypeLabel relion.refine3d\n",
        "micrographs.star": "data_micrographs\nloop_\n_rlnMicrographName\n_rlnDefocusU\na 1\n",
        "cistem.star": "data_\nloop_\n_cisTEMPositionInStack\n_cisTEMAnglePsi\n1 20\n",
        "tomo.star": star.replace("rlnAngleRot", "rlnTomoSubtomogramRot").replace(
            "rlnAngleTilt", "rlnTomoName"
        ),
        "volumes_3d.star": star.replace(f" {BOX} 2 ", f" {BOX} 3 "),
        "lfs.star": "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        "page.star": "<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n",
        "group.csg": "created: now\ngroup:\n  name: particles\nresults:\n  blob:\n"
        "    metafile: '>J7_particles.cs'\n    type: particle.blob\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "csdat.cs").write_bytes(b"\x94CSDAT" + bytes(200))
    table = np.zeros(2, [("uid", "u8"), ("map/path", "S20"), ("map/psize_A", "f4")])
    with (folder / "volumes.cs").open("wb") as file:
        np.save(file, table)


def make_files(folder: Path) -> None:
    """All files that the lines below name."""
    words = f"simulate -D {BOX} --Apix 12 -n {COUNT} --num-states 1 -o {folder / 'sim'}"
    assert main(words.split()) == 0
    sim, rng = folder / "sim", np.random.default_rng(0)
    rotations, shifts = load_pickles(sim / "poses.pkl")[0]
    ctf = load_pickles(sim / "ctf.pkl")[0]
    star = (sim / "particles.star").read_text()
    images = rng.normal(size=(COUNT, BOX, BOX))
    load_ctf(sim / "ctf.pkl")

    def changed(array: np.ndarray, row: object, value: object) -> np.ndarray:
        array = array.copy()
        array[row] = value
        return array

    pickles = {
        "short_poses": (rotations[:5], shifts[:5]),
        "mirror": (changed(rotations, 3, np.diag([1, 1, -1])), shifts),
        "scaled": (changed(rotations, 2, 2 * np.eye(3)), shifts),
        "nan_poses": (changed(rotations, 4, np.nan), shifts),
        "pixels": (rotations, changed(shifts, 0, -7)),
        "flat": np.zeros((COUNT, 9)),
        "text": "hello",
        "nested": [[[[[1]]]]],
        "short_ctf": ctf[:5],
        "wide_ctf": np.ones((COUNT, 8)),
        "volts": changed(ctf, (1, 5), 300_000),
        "no_volts": changed(ctf, (1, 5), 0),
        "contrast": changed(ctf, (2, 7), 1.5),
        "defocus": changed(ctf, (3, 2), 1e9),
        "nan_ctf": changed(ctf, (0, 3), np.nan),
        "cs": changed(ctf, (5, 6), 2.7e7),
        "no_size": changed(ctf, (5, 1), 0),
        "beyond": np.array([0, COUNT]),
        "negative": np.array([-1, 3]),
        "none": np.array([], dtype=int),
        "floats": np.array([0.5]),
        "table": np.zeros((3, 2), dtype=int),
    }
    for name, content in pickles.items():
        save_pickles(folder / f"{name}.pkl", [content])
    (folder / "evil.pkl").write_bytes(pickle.dumps(print))
    (folder / "garbage.pkl").write_bytes(b"garbage")
    (folder / "empty.pkl").write_bytes(b"")
    (folder / "folder.pkl").mkdir()
    write_stack(folder / "more.mrcs", rng.normal(size=(COUNT + 1, BOX, BOX)))
    write_stack(folder / "nan.mrcs", changed(images, 7, np.nan))
    bad = changed(changed(images, 7, np.nan), 8, 0)
    bad[9, 3, 3] = 1e6
    write_stack(folder / "bad.mrcs", bad)
    write_stack(folder / "zero.mrcs", np.zeros((COUNT, BOX, BOX)))
    whole = (sim / "particles.mrcs").read_bytes()
    (folder / "cut.mrcs").write_bytes(whole[:-100])
    (folder / "short.mrcs").write_bytes(whole[:100])
    (folder / "packed.mrcs").write_bytes(b"\x1f\x8b" + bytes(2000))
    header = bytearray(whole)
    header[12:16] = (77).to_bytes(4, "little")
    (folder / "mode.mrcs").write_bytes(header)
    (folder / "particles.xyz").write_text("x")
    (folder / "empty.txt").write_text("\n")
    (folder / "lost.txt").write_text("nowhere.mrcs\n")
    (folder / "binary.txt").write_bytes(b"\xff\xfe")
    (folder / "empty.star").write_text("")
    (folder / "rows.star").write_text("data_particles\n")
    write_volume(folder / "map.mrc", rng.normal(size=(BOX, BOX, BOX)), 12.0)
    write_others(folder, star)
    (folder / "no_name.star").write_text(star.replace("rlnImageName", "rlnImageTitle"))
    (folder / "lost.star").write_text(star.replace("particles.mrcs", "lost.mrcs"))
    (folder / "word.star").write_text(star.replace("000001@particles.mrcs", "particles.mrcs"))
    no_kv = star.replace("rlnVoltage", "rlnVolts").replace("@", "@sim/")
    (folder / "no_kv.star").write_text(no_kv)
    (folder / "box.star").write_text(star.replace(f" {BOX} ", " 300 "))
    (folder / "table.cs").write_bytes(b"no table")
    (folder / "z.txt").write_text("1 2 3\n")


# Stands for how much room there happens to be.
