"""Poses of cryoSPARC jobs of one class and of several."""

import logging

import numpy as np
import pytest

from cryodrgn.cli.main import main
from cryodrgn.errors import ConfigError, MetadataError
from cryodrgn.geometry.conventions import matrices_from_cryosparc_poses
from cryodrgn.io.cryodrgn_pickle import load_poses
from cryodrgn.io.cryosparc import CryosparcParticles
from cryodrgn.io.cryosparc_poses import WantedPoses
from cryodrgn.io.cryosparc_tables import write_table

COUNT, CLASSES, BOX, APIX = 7, 3, 64, 2.0


class Job:
    """A job of three classes: every particle has poses in all, and one is its own."""

    def __init__(self, rng):
        self.vectors = rng.normal(size=(COUNT, CLASSES, 3)).astype("f4")
        self.shifts = rng.normal(size=(COUNT, CLASSES, 2)).astype("f4")
        self.own = np.array([0, 1, 2, 1, 2, 2, 1])
        noise = rng.random((COUNT, CLASSES)) * 0.3
        self.posterior = (np.eye(CLASSES)[self.own] + noise).astype("f4")

    def images(self):
        return {
            "uid": np.arange(COUNT, dtype="u8"),
            "blob/path": np.array(["a.mrcs"] * COUNT, "S6"),
            "blob/idx": np.arange(COUNT, dtype="u4"),
            "blob/shape": np.full((COUNT, 2), BOX, "u4"),
            "blob/psize_A": np.full(COUNT, APIX, "f4"),
        }

    def groups(self, *, posterior=True):
        columns = {}
        for number in range(CLASSES):
            group = f"alignments_class_{number}"
            columns[f"{group}/pose"] = self.vectors[:, number]
            columns[f"{group}/shift"] = self.shifts[:, number]
            # The job worked on images of half the size.
            columns[f"{group}/psize_A"] = np.full(COUNT, 2 * APIX, "f4")
            if posterior:
                columns[f"{group}/class_posterior"] = self.posterior[:, number]
        return columns

    def arrays(self):
        return {
            "alignments3D_multi/pose": self.vectors,
            "alignments3D_multi/shift": self.shifts,
            "alignments3D_multi/psize_A": np.full((COUNT, CLASSES), 2 * APIX, "f4"),
            "alignments3D_multi/class_posterior": self.posterior,
        }

    def poses_of(self, classes):
        rows = np.arange(COUNT)
        vectors, shifts = self.vectors[rows, classes], self.shifts[rows, classes]
        return matrices_from_cryosparc_poses(vectors), shifts * 2 * APIX


@pytest.fixture
def job(rng):
    return Job(rng)


def saved(path, columns):
    names = [(name, values.dtype.str, values.shape[1:]) for name, values in columns.items()]
    table = np.zeros(COUNT, names)
    for name, values in columns.items():
        table[name] = values
    write_table(path, table)
    return path


def assert_poses(particles, expected):
    found = particles.poses(np.full(COUNT, APIX))
    np.testing.assert_allclose(found.rotations, expected[0], atol=1e-5)
    np.testing.assert_allclose(found.shifts, expected[1], atol=1e-5)


@pytest.mark.parametrize("layout", ["groups", "arrays"])
def test_every_particle_has_the_pose_of_its_most_probable_class(job, layout, tmp_path, caplog):
    caplog.set_level(logging.INFO, "cryodrgn")
    path = saved(tmp_path / "p.cs", job.images() | getattr(job, layout)())
    assert_poses(CryosparcParticles(path), job.poses_of(job.own))
    counts = "class 0: 1 particles, class 1: 3 particles, class 2: 3 particles"
    assert counts in caplog.text


@pytest.mark.parametrize("layout", ["groups", "arrays"])
def test_a_class_that_is_chosen_gives_the_poses_of_all(job, layout, tmp_path):
    path = saved(tmp_path / "p.cs", job.images() | getattr(job, layout)())
    chosen = CryosparcParticles(path, WantedPoses(class_number=1))
    assert_poses(chosen, job.poses_of(np.ones(COUNT, int)))


def test_poses_of_a_refinement_come_first_unless_those_of_classes_are_wanted(job, tmp_path):
    refined = {
        "alignments3D/pose": np.zeros((COUNT, 3), "f4"),
        "alignments3D/shift": np.zeros((COUNT, 2), "f4"),
    }
    path = saved(tmp_path / "p.cs", job.images() | job.groups() | refined)
    identity = np.tile(np.eye(3), (COUNT, 1, 1))
    assert_poses(CryosparcParticles(path), (identity, np.zeros((COUNT, 2))))
    classes = CryosparcParticles(path, WantedPoses(of_classes=True))
    assert_poses(classes, job.poses_of(job.own))


def test_classes_without_probabilities_are_refused_and_one_of_them_is_taken(job, tmp_path):
    path = saved(tmp_path / "p.cs", job.images() | job.groups(posterior=False))
    with pytest.raises(
        ConfigError, match=r"classes 0, 1, 2.*no class_posterior.*`class_number`"
    ):
        CryosparcParticles(path).poses(np.full(COUNT, APIX))
    with pytest.raises(ConfigError, match="class 0, 1, 2, none of class 5"):
        CryosparcParticles(path, WantedPoses(class_number=5)).poses(np.full(COUNT, APIX))


@pytest.mark.parametrize("layout", ["groups", "arrays"])
def test_probabilities_that_say_no_class_are_no_choice(job, layout, tmp_path, caplog):
    def poses():
        path = saved(tmp_path / "p.cs", job.images() | getattr(job, layout)())
        return CryosparcParticles(path)

    job.posterior[3] = job.posterior[3].max()
    assert_poses(poses(), job.poses_of(np.where(np.arange(COUNT) == 3, 0, job.own)))
    assert "1 particles have two or more classes of the same highest" in caplog.text
    job.posterior[5, 1] = np.nan
    with pytest.raises(MetadataError, match="class_posterior of row 5 is no finite number"):
        poses().poses(np.full(COUNT, APIX))
    job.posterior[:] = 0
    with pytest.raises(ConfigError, match="one class_posterior for all.*`class_number`"):
        poses().poses(np.full(COUNT, APIX))
    assert len(CryosparcParticles(tmp_path / "p.cs", WantedPoses(class_number=1))) == COUNT


def test_classes_of_a_refinement_are_refused_with_the_options_to_leave_out(job, tmp_path):
    refined = {
        "alignments3D/pose": np.zeros((COUNT, 3), "f4"),
        "alignments3D/shift": np.zeros((COUNT, 2), "f4"),
    }
    path = saved(tmp_path / "p.cs", job.images() | refined)
    for wanted in (WantedPoses(of_classes=True), WantedPoses(class_number=0)):
        with pytest.raises(ConfigError, match="none of classes; leave out `abinit`"):
            CryosparcParticles(path, wanted).poses(np.full(COUNT, APIX))


def test_a_file_of_one_class_needs_no_probabilities(job, tmp_path):
    one = {name: v for name, v in job.groups(posterior=False).items() if "class_2" in name}
    path = saved(tmp_path / "p.cs", job.images() | one)
    assert_poses(CryosparcParticles(path), job.poses_of(np.full(COUNT, 2)))


def test_arrays_of_another_shape_are_refused(job, tmp_path):
    arrays = job.arrays() | {"alignments3D_multi/shift": np.zeros((COUNT, 2, 2), "f4")}
    path = saved(tmp_path / "p.cs", job.images() | arrays)
    with pytest.raises(MetadataError, match=r"alignments3D_multi/shift.*\(2, 2\).*\(3, 2\)"):
        CryosparcParticles(path).poses(np.full(COUNT, APIX))


@pytest.mark.parametrize("layout", ["groups", "arrays"])
def test_parsed_poses_are_those_of_the_class_of_each_particle(job, layout, tmp_path):
    path = saved(tmp_path / "p.cs", job.images() | getattr(job, layout)())
    for options, classes in (((), job.own), (("--class", "2"), np.full(COUNT, 2))):
        line = ["parse_pose_csparc", str(path), "--abinit", *options, "-o"]
        assert main([*line, str(tmp_path / "poses.pkl")]) == 0
        rotations, shifts = load_poses(tmp_path / "poses.pkl")
        expected = job.poses_of(classes)
        np.testing.assert_allclose(rotations, expected[0], atol=1e-5)
        np.testing.assert_allclose(shifts, expected[1] / (BOX * APIX), atol=1e-6)


def test_passthrough_tables_that_are_empty_or_broken_are_not_needed(job, tmp_path, caplog):
    caplog.set_level(logging.INFO, "cryodrgn")
    path = saved(tmp_path / "particles.cs", {"uid": job.images()["uid"]} | job.groups())
    np.save(tmp_path / "0.npy", np.zeros(0, [("uid", "u8"), ("blob/idx", "u4")]))
    (tmp_path / "0.npy").rename(tmp_path / "passthrough_particles_class_0.cs")
    (tmp_path / "passthrough_particles_class_1.cs").write_text("nothing")
    saved(tmp_path / "passthrough_particles_class_2.cs", job.images())
    particles = CryosparcParticles(path)
    assert (particles.box_sizes() == BOX).all()
    assert_poses(particles, job.poses_of(job.own))
    taken = [line for line in caplog.messages if "are taken from" in line]
    assert len(taken) == 1
    assert "blob" in taken[0]
    assert "class_2.cs" in taken[0]


def test_the_search_ends_when_nothing_is_missing(job, tmp_path, caplog):
    caplog.set_level(logging.INFO, "cryodrgn")
    ctf = {f"ctf/{name}": np.zeros(COUNT, "f4") for name in ("df1_A", "df2_A")}
    place = {"location/micrograph_uid": np.zeros(COUNT, "u8")}
    path = saved(tmp_path / "p.cs", job.images() | job.groups() | ctf | place)
    (tmp_path / "p_passthrough.cs").write_text("nothing")
    CryosparcParticles(path)
    assert "passthrough" not in caplog.text
    CryosparcParticles(saved(path, job.images() | job.groups()))
    assert "p_passthrough.cs cannot be read" in caplog.text
    assert "is not used" in caplog.text
