"""Every reader of the program, with small files that it accepts."""

import csv
import io
import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
import yaml
from mrcfile.dtypes import HEADER_DTYPE

from cryodrgn.analysis.landscape import VolumeSpace
from cryodrgn.io.checkpoints import load_checkpoint
from cryodrgn.io.cryodrgn_pickle import (
    load_ctf,
    load_labels,
    load_latents,
    load_pickles,
    load_poses,
    load_shifts,
)
from cryodrgn.io.cryosparc_tables import describe_table, read_table
from cryodrgn.io.curves import read_curves
from cryodrgn.io.latent_text import load_index_text, load_latent_text
from cryodrgn.io.learning_curve import load_epoch_losses
from cryodrgn.io.mrc import MrcFile, read_volume, stack_writer, write_volume
from cryodrgn.io.mrc_edit import describe_header
from cryodrgn.io.particle_files import ParticleFiles, open_particles, open_stack
from cryodrgn.io.pickle_rows import filter_pickle
from cryodrgn.io.reference_map import geometry_like
from cryodrgn.io.run_config import load_run_config
from cryodrgn.io.score_table import read_scores
from cryodrgn.io.selection_files import load_indices
from cryodrgn.io.star_rows import StarRows
from cryodrgn.io.text import read_json, read_yaml
from cryodrgn.linear.latents import file_latents, recorded_data
from cryodrgn.models import config_file
from cryodrgn.models.build import build_model, named_weights
from cryodrgn.models.settings import DecoderConfig, EncoderConfig, ModelConfig
from cryodrgn.particles.poses import Poses
from cryodrgn.preflight.screening import read_screened
from cryodrgn.reconstruction.trained import TrainedModel
from cryodrgn.rundir import RunDirectory
from cryodrgn.simulation.density import read_models
from cryodrgn.training.run_config import RunConfig
from cryodrgn.training.run_log import read_events

COUNT, BOX = 4, 8


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One kind of file.

    Attributes:
        name: What the file is called when it is read.
        read: Reads it.
        seeds: Files that it accepts.
        beside: Other files that it needs in the same folder.
    """

    name: str
    read: Callable[[Path], object]
    seeds: list[bytes]
    beside: Mapping[str, bytes] = field(default_factory=dict)


def pickled(*objects: object, protocol: int = 4) -> bytes:
    return b"".join(pickle.dumps(item, protocol=protocol) for item in objects)


def written(write: Callable[[Path], object], folder: Path, name: str) -> bytes:
    write(folder / name)
    return (folder / name).read_bytes()


def saved(save: Callable[..., object], *arrays: np.ndarray, **named: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    save(buffer, *arrays, **named)
    return buffer.getvalue()


def tables() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    rotations = np.tile(np.eye(3, dtype=np.float32), (COUNT, 1, 1))
    ctf = np.array([[BOX, 2.0, 15000, 14000, 30, 300, 2.7, 0.1, 0]] * COUNT, np.float32)
    return {
        "rotations": rotations,
        "shifts": rng.uniform(-0.1, 0.1, (COUNT, 2)).astype(np.float32),
        "ctf": ctf,
        "latents": rng.normal(size=(COUNT, 2)).astype(np.float32),
        "indices": np.arange(COUNT),
        "images": rng.normal(size=(COUNT, BOX, BOX)).astype(np.float32),
        "volume": rng.normal(size=(BOX, BOX, BOX)).astype(np.float32),
    }


STAR = b"""
# version 30001

data_optics

loop_
_rlnOpticsGroup #1
_rlnVoltage #2
_rlnSphericalAberration #3
_rlnAmplitudeContrast #4
_rlnImagePixelSize #5
_rlnImageSize #6
1 300.0 2.7 0.1 2.0 8


# version 30001

data_particles

loop_
_rlnImageName #1
_rlnAngleRot #2
_rlnAngleTilt #3
_rlnAnglePsi #4
_rlnOriginXAngst #5
_rlnOriginYAngst #6
_rlnDefocusU #7
_rlnDefocusV #8
_rlnDefocusAngle #9
_rlnOpticsGroup #10
000001@stack.mrcs 10.0 20.0 30.0 1.0 -1.0 15000.0 14000.0 30.0 1
000002@stack.mrcs 10.0 20.0 30.0 1.0 -1.0 15000.0 14000.0 30.0 1
000003@stack.mrcs 10.0 20.0 30.0 1.0 -1.0 15000.0 14000.0 30.0 1
000004@stack.mrcs 'a b' 20.0 30.0 1.0 -1.0 15000.0 14000.0 30.0 1
""".replace(b"'a b'", b"10.0")
OLD_STAR = b"""
data_images

loop_
_rlnImageName
_rlnAngleRot
_rlnAngleTilt
_rlnAnglePsi
_rlnOriginX
_rlnOriginY
_rlnDefocusU
_rlnDefocusV
_rlnDefocusAngle
_rlnVoltage
_rlnSphericalAberration
_rlnAmplitudeContrast
_rlnDetectorPixelSize
_rlnMagnification
1@stack.mrcs 1 2 3 0.5 0.5 15000 14000 30 300 2.7 0.1 14 70000
2@stack.mrcs 1 2 3 0.5 0.5 15000 14000 30 300 2.7 0.1 14 70000
"""
PDB = b"""\
ATOM      1  N   ALA A   1      11.104   6.134  -6.504  1.00  0.00           N
ATOM      2  CA  ALA A   1      11.639   6.071  -5.147  1.00  0.00           C
END
"""


def cryosparc_table() -> np.ndarray:
    dtype = [
        ("uid", "u8"),
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
    table["uid"], table["blob/idx"] = np.arange(COUNT), np.arange(COUNT)
    table["blob/path"], table["blob/shape"], table["blob/psize_A"] = b">stack.mrcs", BOX, 2.0
    table["ctf/df1_A"], table["ctf/df2_A"] = 15000, 14000
    table["ctf/accel_kv"], table["ctf/cs_mm"], table["ctf/amp_contrast"] = 300, 2.7, 0.1
    return table


def model_config() -> ModelConfig:
    return ModelConfig(
        box_size=BOX,
        latent_dim=2,
        encoder=EncoderConfig(num_layers=1, hidden_dim=4),
        decoder=DecoderConfig(num_layers=1, hidden_dim=4),
    )


def swapped(volume: bytes) -> bytes:
    """A volume in the other byte order."""
    header = np.frombuffer(volume[:1024], HEADER_DTYPE).copy()
    header["machst"] = (0x11, 0x11, 0, 0)
    other = header.astype(HEADER_DTYPE.newbyteorder(">"))
    return other.tobytes() + np.frombuffer(volume[1024:], "<f4").astype(">f4").tobytes()


def run_settings() -> dict[str, object]:
    own = {"pixel_size": 2.0, "num_particles": COUNT, "network_dtype": "float32"}
    files = {"particles": "stack.mrcs", "ind": None, "datadir": None}
    dataset = {
        **files,
        "poses": "poses.pkl",
        "ctf": "ctf.pkl",
        "norm": [0.0, 1.5],
        "invert_data": False,
        "window": True,
        "window_r": 0.85,
    }
    return {
        "dataset_args": dataset,
        **config_file.model_mapping(model_config()),
        "seed": 0,
        "training": own,
    }


def read_config(path: Path) -> None:
    """As far as commands go that are given a run."""
    settings = load_run_config(path)
    recorded_data(settings)
    config_file.model_config(settings)
    if "settings" in settings.get("training", {}):
        RunConfig.from_settings(settings["training"]["settings"])


def read_beside_weights(path: Path) -> None:
    """A config and the weights beside it."""
    TrainedModel.load(path.with_name("weights.pkl"), load_run_config(path))


def read_trained(path: Path) -> None:
    load_checkpoint(path)
    TrainedModel.load(path, run_settings())


def read_stack(path: Path) -> None:
    images, _ = open_stack(path)
    images.read(np.arange(min(len(images), 3)), with_bad=True)
    describe_header(path)


def read_particles(path: Path) -> None:
    particles = open_particles(ParticleFiles(particles=path))
    particles.images.read(np.arange(min(len(particles), 3)))


def read_place(path: Path) -> object:
    """The place of a map, and of its box on a coarser grid."""
    box_size = MrcFile.open(path).shape[0]
    return geometry_like(path, box_size + 2, 2.0 * box_size / (box_size + 2)).cropped(1)


def read_list(path: Path) -> None:
    images, _ = open_stack(path)
    images.read(np.arange(1), with_bad=True)


def read_poses(path: Path) -> None:
    rotations, shifts = load_poses(path)
    Poses(rotations=rotations, shifts=shifts, source=str(path))
    load_shifts(path)


def read_rows(path: Path) -> None:
    star = StarRows.read(path)
    star.write(path.with_name("rows.star"), np.arange(len(star.rows)), {"new": star.rows})


def read_pickle_rows(path: Path) -> None:
    load_pickles(path)
    filter_pickle(path, np.array([0, 1]), path.with_name("rows.pkl"))


def of_run(name: str) -> Callable[[Path], object]:
    return lambda path: load_epoch_losses(RunDirectory(path.parent))


@cache
def all_readers(folder: Path) -> dict[str, Reader]:
    """The readers by name; ``folder`` is for making their files."""
    made = tables()
    poses = (made["rotations"], made["shifts"])

    def write_stack(path: Path) -> None:
        with stack_writer(path, BOX, 2.0) as writer:
            writer.append(made["images"])

    stack = written(write_stack, folder, "made.mrcs")
    volume = written(lambda path: write_volume(path, made["volume"], 2.0), folder, "x.mrc")
    model = build_model(model_config())
    weights = {"epoch": 0, "model_state_dict": named_weights(model)}
    with_numpy = weights | {"rot": made["rotations"]}
    old_weights = saved(
        lambda file: torch.save(weights, file, _use_new_zipfile_serialization=False)
    )
    lines = io.StringIO()
    metrics = csv.writer(lines)
    metrics.writerows([("epoch", "images", "total"), (0, 4, 1.5), (1, 8, 1.2)])
    log = (
        b"# =====> Epoch: 1 Average gen loss = 1.1, KLD = 2, total loss = 1.2; Finished in 1\n"
    )
    config = run_settings()
    curve = b"pixres fsc\n0.0 1.0\n0.1 0.9\n0.2 0.5\n"
    space = {
        "mask": made["volume"],
        "mean": np.zeros(8, np.float32),
        "directions": np.zeros((2, 8), np.float32),
        "variances": np.ones(2),
        "total_variance": np.array(3.0),
    }
    beside = {"stack.mrcs": stack}
    protocols = (0, 2, 4, 5)
    return {
        "poses.pkl": Reader(
            name="poses.pkl",
            read=read_poses,
            seeds=[pickled(poses, protocol=n) for n in protocols] + [pickled(list(poses))],
        ),
        "ctf.pkl": Reader(
            name="ctf.pkl",
            read=load_ctf,
            seeds=[pickled(made["ctf"], protocol=n) for n in protocols]
            + [pickled(made["ctf"].tolist())],
        ),
        "index.pkl": Reader(
            name="ind.pkl",
            read=load_indices,
            seeds=[
                pickled(item)
                for item in (made["indices"], [1, 2, 3], {1, 2}, frozenset({3}), [True, False])
            ],
        ),
        "index.npy": Reader(
            name="ind.npy",
            read=load_indices,
            seeds=[
                saved(np.save, made["indices"]),
                saved(np.save, np.array([True, False, True])),
            ],
        ),
        "index.txt": Reader(name="ind.txt", read=load_indices, seeds=[b"1\n2\n3\n", b"7\n"]),
        "labels.pkl": Reader(
            name="labels.pkl",
            read=load_labels,
            seeds=[pickled(made["indices"]), pickled(np.array([0.0, 1.0]))],
        ),
        "z.pkl": Reader(
            name="z.pkl",
            read=lambda path: (load_latents(path), file_latents(path)),
            seeds=[pickled(made["latents"], made["latents"], protocol=n) for n in protocols],
        ),
        "rows.pkl": Reader(
            name="any.pkl",
            read=read_pickle_rows,
            seeds=[pickled(poses), pickled(made["latents"], made["latents"])],
        ),
        "config.pkl": Reader(name="config.pkl", read=read_config, seeds=[pickled(config)]),
        "config.yaml": Reader(
            name="config.yaml",
            read=read_config,
            seeds=[yaml.safe_dump(config).encode()],
        ),
        "model": Reader(
            name="config.yaml",
            read=read_beside_weights,
            seeds=[yaml.safe_dump(config).encode()],
            beside={"weights.pkl": saved(lambda file: torch.save(weights, file))},
        ),
        "weights.pkl": Reader(
            name="weights.pkl",
            read=read_trained,
            seeds=[
                saved(lambda file: torch.save(weights, file)),
                saved(lambda file: torch.save(with_numpy, file)),
                old_weights,
            ],
        ),
        "star": Reader(
            name="p.star", read=read_particles, seeds=[STAR, OLD_STAR], beside=beside
        ),
        "star rows": Reader(name="p.star", read=read_rows, seeds=[STAR, OLD_STAR]),
        "cs": Reader(
            name="p.cs",
            read=lambda path: (read_particles(path), describe_table(read_table(path))),
            seeds=[saved(np.save, cryosparc_table())],
            beside=beside,
        ),
        "mrcs": Reader(name="p.mrcs", read=read_stack, seeds=[stack]),
        "mrc": Reader(name="v.mrc", read=read_volume, seeds=[volume, swapped(volume)]),
        "mrc place": Reader(name="v.mrc", read=read_place, seeds=[volume, swapped(volume)]),
        "txt list": Reader(
            name="list.txt",
            read=read_list,
            seeds=[b"stack.mrcs\nstack.mrcs\n"],
            beside=beside,
        ),
        "npy latents": Reader(
            name="z.npy", read=file_latents, seeds=[saved(np.save, made["latents"])]
        ),
        "npz space": Reader(
            name="space.npz",
            read=VolumeSpace.load,
            seeds=[saved(np.savez, **space), saved(np.savez_compressed, **space)],
        ),
        "z text": Reader(
            name="z.txt",
            read=lambda path: load_latent_text(path, 2),
            seeds=[b"0.5 1e-3\n-2 3\n"],
        ),
        "index text": Reader(name="ind.txt", read=load_index_text, seeds=[b"1\n2\n3\n"]),
        "fsc text": Reader(name="fsc.txt", read=read_curves, seeds=[curve]),
        "metrics.csv": Reader(
            name="metrics.csv", read=of_run("metrics"), seeds=[lines.getvalue().encode()]
        ),
        "events.jsonl": Reader(
            name="events.jsonl",
            read=read_events,
            seeds=[b'{"event": "StepsTaken", "images": 60, "total": 0.5}\n{"event": "Ru'],
        ),
        "screened.csv": Reader(
            name="screened.csv", read=read_screened, seeds=[b"row,reason\n3,constant\n7,hot\n"]
        ),
        "scores.csv": Reader(
            name="scores.csv",
            read=read_scores,
            seeds=[b"row,contrast,junk\n3,0.9,0\n7,-0.1,1\n"],
        ),
        "run.log": Reader(name="run.log", read=of_run("log"), seeds=[log * 3]),
        "yaml": Reader(
            name="record.yaml", read=read_yaml, seeds=[b"a: &a [1, 2]\nb: *a\nc: {d: 1.5}\n"]
        ),
        "json": Reader(
            name="x.json", read=read_json, seeds=[json.dumps({"a": [1, None, "x"]}).encode()]
        ),
        "pdb": Reader(name="x.pdb", read=read_models, seeds=[PDB]),
    }
