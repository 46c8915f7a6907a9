"""One particle set in the layouts of RELION 3.0, 3.1 and 5 and of cryoSPARC, there and back."""

from dataclasses import dataclass

import numpy as np
import pytest
import starfile
from scipy.spatial.transform import Rotation

from cryodrgn.io.cryosparc_tables import read_table, write_table
from cryodrgn.io.export import export_particles
from cryodrgn.io.mrc import stack_writer
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.io.star import read_star

COUNT, BOX = 6, 8
PIXEL_SIZES = np.array([1.2, 1.25, 1.25, 1.2, 1.2, 1.25])
GROUPS = np.where(PIXEL_SIZES == 1.2, 1, 2)
VOLTAGES = np.where(GROUPS == 1, 300.0, 200.0)
ANGLES = np.array(
    [[10, 30, 50], [-20, 90, 5], [0, 120, -70], [170, 3, 9], [1, 2, 3], [45, 60, 75]]
)
SHIFTS = np.array([[2.4, -1.2], [0, 0.5], [1, 1], [-3.6, 0], [0.25, 0], [5, -5]])
DEFOCUS = np.array([[12000, 11000, 30], [9000, 8000, -45], [15000, 15000, 0]] * 2, dtype=float)
STACKS = ["Extract/mic 1.mrcs" if row % 2 else "Extract/b.mrcs" for row in range(COUNT)]
FRAMES = [row // 2 for row in range(COUNT)]

OPTICS = """data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnImagePixelSize #3
_rlnImageSize #4
_rlnVoltage #5
_rlnSphericalAberration #6
_rlnAmplitudeContrast #7
_rlnImageDimensionality #8
 1 'first group'   1.200000 8 300.0 2.7 0.1 2
 2 "second group" 1.250000 8 200.0 2.7 0.1 2

"""
EXTRA = "data_job\n\n_rlnJobTypeLabel  'relion.refine3d'\n_rlnComment \"it is done\"\n\n"


def name_of(row):
    text = f"{FRAMES[row] + 1:06d}@{STACKS[row]}"
    return f'"{text}"' if " " in text else text


def particles(version):
    """The particle block of a version of RELION, with numbers as it prints them."""
    names = ["rlnImageName", "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]
    names += ["rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle", "rlnMicrographName"]
    if version == "3.0":
        names += ["rlnOriginX", "rlnOriginY", "rlnMagnification", "rlnDetectorPixelSize"]
        names += ["rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast"]
    else:
        names += ["rlnOriginXAngst", "rlnOriginYAngst", "rlnOpticsGroup"]
    rows = []
    for row in range(COUNT):
        values = [name_of(row), *(f"{v:.6f}" for v in (*ANGLES[row], *DEFOCUS[row]))]
        values.append('"mic 1.mrc"' if row % 2 else "b.mrc")
        if version == "3.0":
            pixels = SHIFTS[row] / PIXEL_SIZES[row]
            values += [f"{v:.9f}" for v in pixels]
            values += [
                f"{50000 / PIXEL_SIZES[row]:.9f}",
                "5.0",
                str(VOLTAGES[row]),
                "2.7",
                "0.1",
            ]
        else:
            values += [*(f"{v:.6f}" for v in SHIFTS[row]), str(GROUPS[row])]
        rows.append("  ".join(values))
    block = "data_" if version == "3.0" else "data_particles"
    header = [f"_{name} #{number}" for number, name in enumerate(names, start=1)]
    return "\n".join([block, "", "loop_", *header, *rows, "", ""])


def relion(version, *, reverse=False, windows=False):
    mark = {"3.0": "# RELION; version 3.0\n\n", "3.1": "# version 30001\n\n"}
    mark = mark.get(version, "# version 50001\n\n")
    if version == "3.0":
        return mark + particles(version)
    parts = [OPTICS, EXTRA, particles(version)]
    if version == "5":
        parts.insert(0, "data_general\n\n_rlnTomoSubTomosAre2DStacks  0\n\n")
    text = "".join(mark + part for part in (parts[::-1] if reverse else parts))
    return text.replace("\n", "\r\n") if windows else text


STARS = {
    "relion 3.0": relion("3.0"),
    "relion 3.1": relion("3.1"),
    "relion 3.1, blocks in another order": relion("3.1", reverse=True),
    "relion 5": relion("5"),
    "relion 5, written under Windows": relion("5", windows=True, reverse=True),
}


@dataclass(frozen=True)
class Job:
    """Columns of a cryoSPARC job."""

    uid: np.ndarray

    def table(self, prefixes):
        vectors = Rotation.from_euler("ZYZ", ANGLES, degrees=True).as_rotvec()
        columns = {
            "blob/path": np.array([f">J3/{stack}".encode() for stack in STACKS]),
            "blob/idx": np.array(FRAMES, "u4"),
            "blob/shape": np.full((COUNT, 2), BOX, "u4"),
            "blob/psize_A": PIXEL_SIZES.astype("f4"),
            "ctf/accel_kv": VOLTAGES.astype("f4"),
            "ctf/cs_mm": np.full(COUNT, 2.7, "f4"),
            "ctf/amp_contrast": np.full(COUNT, 0.1, "f4"),
            "ctf/df1_A": DEFOCUS[:, 0].astype("f4"),
            "ctf/df2_A": DEFOCUS[:, 1].astype("f4"),
            "ctf/df_angle_rad": np.deg2rad(DEFOCUS[:, 2]).astype("f4"),
            "alignments3D/pose": vectors.astype("f4"),
            "alignments3D/shift": (SHIFTS / PIXEL_SIZES[:, None]).astype("f4"),
            "alignments3D/psize_A": PIXEL_SIZES.astype("f4"),
            "location/center_x_frac": np.linspace(0, 1, COUNT, dtype="f4"),
        }
        chosen = {n: v for n, v in columns.items() if n.startswith(tuple(prefixes))}
        dtype = [("uid", "u8"), *((n, v.dtype, v.shape[1:]) for n, v in chosen.items())]
        table = np.zeros(COUNT, dtype)
        table["uid"] = self.uid
        for column, values in chosen.items():
            table[column] = values
        return table


@pytest.fixture
def project(tmp_path, rng):
    """A folder with the stacks of the particles, as both programs find them."""
    for folder in (tmp_path, tmp_path / "J3"):
        (folder / "Extract").mkdir(parents=True)
        for stack in set(STACKS):
            with stack_writer(folder / stack, BOX, 1.2) as writer:
                writer.append(rng.normal(size=(3, BOX, BOX)).astype(np.float32))
    return tmp_path


def write(project, layout):
    """Write a layout; returns its main file."""
    if layout in STARS:
        path = project / "particles.star"
        path.write_bytes(STARS[layout].encode())
        return path
    job = Job(uid=np.arange(7, 7 + COUNT).astype("u8"))
    path = project / "J9_particles.cs"
    if layout == "cryosparc":
        write_table(path, job.table(["blob", "ctf", "alignments3D", "location"]))
        return path
    write_table(path, job.table(["alignments3D"]))
    passed = job.table(["blob", "ctf", "location"])
    write_table(project / "J9_passthrough_particles.cs", passed[[3, 1, 0, 5, 4, 2]])
    return path


LAYOUTS = [*STARS, "cryosparc", "cryosparc, images passed through"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_particles(project, layout):
    found = open_particles(ParticleFiles(particles=write(project, layout)))
    expected = Rotation.from_euler("ZYZ", ANGLES, degrees=True).inv().as_matrix()
    np.testing.assert_allclose(found.images.poses.rotations, expected, atol=2e-6)
    np.testing.assert_allclose(found.images.poses.shifts, SHIFTS, atol=2e-6)
    np.testing.assert_allclose(found.images.pixel_sizes_in_files, PIXEL_SIZES, rtol=1e-6)
    ctf = found.images.ctf
    np.testing.assert_allclose(ctf.defocus_u, DEFOCUS[:, 0])
    np.testing.assert_allclose(ctf.defocus_v, DEFOCUS[:, 1])
    np.testing.assert_allclose(ctf.defocus_angle, np.deg2rad(DEFOCUS[:, 2]), atol=1e-6)
    np.testing.assert_allclose(ctf.voltage_kv, VOLTAGES)
    assert found.images.read(np.arange(COUNT)).shape == (COUNT, BOX, BOX)


@pytest.mark.parametrize("layout", STARS)
def test_star_files_read_as_the_starfile_package_reads_them(project, layout):
    path = write(project, layout)
    blocks = {name.lower(): block for name, block in read_star(path).items()}
    for name, expected in starfile.read(path, always_dict=True).items():
        found = blocks[name.lower()]
        table = (
            expected if hasattr(expected, "columns") else {k: [v] for k, v in expected.items()}
        )
        assert sorted(found.names) == sorted(table)
        for column in found.names:
            values = list(table[column])
            if all(isinstance(value, int | float | np.number) for value in values):
                assert found.numbers(column).tolist() == [float(value) for value in values]
            else:
                assert found.text(column) == [str(value) for value in values]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_particles_filtered_twice_are_the_rows_of_the_original(project, layout):
    source = write(project, layout)
    ending = source.suffix
    first, second = np.array([5, 3, 0, 4]), np.array([2, 3, 0])
    once, twice, direct = (project / f"{name}/out{ending}" for name in ("a", "b", "c"))
    for output in (once, twice, direct):
        output.parent.mkdir()
    export_particles(source, first, once)
    passed = [once.with_name(f"{once.stem}_passthrough{ending}")]
    passed = passed if passed[0].is_file() else None
    export_particles(once, second, twice, passthrough=passed)
    export_particles(source, first[second], direct)
    assert twice.read_bytes() == direct.read_bytes()
    if ending == ".cs":
        assert read_table(twice).tobytes() == read_table(source)[first[second]].tobytes()
        return
    rows, text = first[second], source.read_bytes()
    assert all(line in text for line in twice.read_bytes().splitlines())
    before, after = (starfile.read(path, always_dict=True) for path in (source, twice))
    assert before.keys() == after.keys()
    for name in before:
        if "rlnImageName" in before[name]:
            expected = before[name].iloc[rows].reset_index(drop=True)
            assert after[name].equals(expected)
        else:
            assert str(after[name]) == str(before[name])
