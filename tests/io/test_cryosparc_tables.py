import numpy as np
import numpy.lib.recfunctions
import pytest
import yaml

from cryodrgn.errors import MetadataError, ShapeMismatchError
from cryodrgn.io.cryosparc import CryosparcParticles
from cryodrgn.io.cryosparc_tables import (
    describe_table,
    export_result_group,
    read_table,
    with_columns,
    write_table,
)

COUNT = 6


@pytest.fixture
def job(tmp_path, rng):
    """A refinement job: poses in its own file, images and CTF passed through, shuffled."""
    uids = np.arange(100, 100 + COUNT)
    own = np.zeros(
        COUNT,
        [("uid", "u8"), ("alignments3D/pose", "f4", (3,)), ("alignments3D/shift", "f4", (2,))],
    )
    own["uid"], own["alignments3D/pose"] = uids, rng.normal(size=(COUNT, 3))
    passed = np.zeros(
        COUNT + 2,
        [
            ("uid", "u8"),
            ("blob/path", "S12"),
            ("blob/idx", "u4"),
            ("blob/psize_A", "f4"),
            ("ctf/df1_A", "f4"),
            ("ctf/df2_A", "f4"),
            ("ctf/df_angle_rad", "f4"),
            ("ctf/accel_kv", "f4"),
            ("ctf/cs_mm", "f4"),
            ("ctf/amp_contrast", "f4"),
            ("location/micrograph_path", "S8"),
        ],
    )
    order = np.array([3, 7, 1, 0, 6, 5, 2, 4])
    passed["uid"] = 100 + order
    passed["blob/idx"], passed["blob/path"] = order, b">J1/a.mrc"
    passed["blob/psize_A"], passed["ctf/accel_kv"] = 1.5, 300
    passed["ctf/df1_A"] = passed["ctf/df2_A"] = 10000 + order
    write_table(tmp_path / "J7_particles.cs", own)
    write_table(tmp_path / "P1_J7_passthrough_particles.cs", passed)
    return tmp_path / "J7_particles.cs"


def test_columns_that_a_job_only_passed_on_are_found_by_uid(job, caplog):
    caplog.set_level("INFO")
    particles = CryosparcParticles(job)
    assert particles.image_names()[1].tolist() == list(range(COUNT))
    assert particles.ctf().defocus_u.tolist() == [10000.0 + i for i in range(COUNT)]
    assert "columns of blob, ctf, location are taken from" in caplog.text


def test_what_lies_beside_and_is_broken_is_named_only_where_something_is_missing(job, caplog):
    caplog.set_level("INFO")
    # Sorted before and after the right one; no table has a column of micrographs.
    whole = job.parent / "P1_J7_passthrough_particles.cs"
    table = read_table(whole)
    names = [name for name in table.dtype.names if not name.startswith("location")]
    write_table(whole, np.lib.recfunctions.repack_fields(table[names]))
    for name in ("A_passthrough_class_1.cs", "Z_passthrough_class_2.cs"):
        job.with_name(name).write_bytes(b"")
    CryosparcParticles(job).ctf()
    assert "not used" not in caplog.text
    whole.unlink()
    CryosparcParticles(job)
    assert "A_passthrough_class_1.cs is empty (0 bytes)" in caplog.text
    assert caplog.text.count("is not used") == 2


def test_passthrough_files_of_other_particles_are_left_alone(job):
    other = read_table(job)
    other["uid"] += 1000
    write_table(job, other)
    with pytest.raises(MetadataError, match="no column blob/path"):
        CryosparcParticles(job).image_names()


def test_an_exported_group_holds_the_same_rows_everywhere(job, tmp_path):
    rows = np.array([4, 1, 2])
    out = tmp_path / "out" / "kept.cs"
    paths = export_result_group(job, rows, out)
    assert [path.name for path in paths] == ["kept.cs", "kept_passthrough.cs", "kept.csg"]
    kept, passed = read_table(paths[0]), read_table(paths[1])
    np.testing.assert_array_equal(kept, read_table(job)[rows])
    assert passed["uid"].tolist() == kept["uid"].tolist() == [104, 101, 102]
    assert passed["blob/idx"].tolist() == [4, 1, 2]
    group = yaml.safe_load(paths[2].read_text())
    assert group["group"]["type"] == "particle"
    assert group["results"]["alignments3D"] == {
        "metafile": ">kept.cs",
        "num_items": 3,
        "type": "particle.alignments3D",
    }
    assert {name: part["metafile"] for name, part in group["results"].items()} == {
        "alignments3D": ">kept.cs",
        "blob": ">kept_passthrough.cs",
        "ctf": ">kept_passthrough.cs",
        "location": ">kept_passthrough.cs",
    }
    again = CryosparcParticles(paths[0])
    np.testing.assert_array_equal(again.image_names()[1], [4, 1, 2])


def test_exporting_twice_gives_the_rows_of_the_original(job, tmp_path):
    first = export_result_group(job, np.array([5, 3, 0]), tmp_path / "a" / "a.cs")
    second = export_result_group(first[0], np.array([2, 0]), tmp_path / "b" / "b.cs")
    once = export_result_group(job, np.array([0, 5]), tmp_path / "c" / "b.cs")
    for twice, direct in zip(second[:2], once[:2], strict=True):
        assert twice.read_bytes() == direct.read_bytes()


def test_own_columns_are_added_but_not_announced(job, tmp_path):
    columns = {"cryodrgn/latent": np.ones((2, 3), np.float32)}
    paths = export_result_group(job, np.array([0, 1]), tmp_path / "x.cs", columns=columns)
    table = read_table(paths[0])
    np.testing.assert_array_equal(table["cryodrgn/latent"], np.ones((2, 3)))
    assert "cryodrgn" not in yaml.safe_load(paths[-1].read_text())["results"]


def test_a_passthrough_file_that_lacks_particles_is_refused(job, tmp_path):
    passed = tmp_path / "P1_J7_passthrough_particles.cs"
    write_table(tmp_path / "few.cs", read_table(passed)[:2])
    with pytest.raises(MetadataError, match=r"few.cs does not hold all of the chosen"):
        export_result_group(
            job, np.arange(3), tmp_path / "o.cs", passthrough=[tmp_path / "few.cs"]
        )


def test_columns_are_described_with_type_and_first_value(job):
    lines = describe_table(read_table(job))
    assert lines[0] == "6 rows of 3 columns"
    assert lines[1].split() == ["uid", "<u8", "100"]
    assert "<f4[3]" in lines[2]


def test_columns_must_be_new_and_of_the_same_length(job):
    table = read_table(job)
    with pytest.raises(MetadataError, match="a column uid already"):
        with_columns(table, {"uid": table["uid"]})
    with pytest.raises(ShapeMismatchError, match="5 values for 6 particles"):
        with_columns(table, {"x": np.zeros(5)})
