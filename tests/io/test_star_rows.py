import numpy as np
import pytest
import starfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryodrgn.errors import InputFileError, MetadataError, ShapeMismatchError
from cryodrgn.io.star import read_star
from cryodrgn.io.star_rows import StarRows
from cryodrgn.io.star_selection import rows_of_particles, write_by_micrograph

RELION_31 = """
# version 30001

data_optics

loop_ 
_rlnOpticsGroup #1 
_rlnOpticsGroupName #2 
_rlnImagePixelSize #3 
           1 'group one'     1.240000 
           2 "group two"     1.250000 
 

# version 30001

data_particles

loop_ 
_rlnImageName #1 
_rlnMicrographName #2 
_rlnOpticsGroup #3 
000001@Extract/a.mrcs  'mic one.mrc'            1 
000002@Extract/a.mrcs  "mic's two.mrc"          2 
000001@Extract/b.mrcs  mic#3.mrc                1 
000003@Extract/a.mrcs  'mic one.mrc'            2 
 

data_job

_rlnExtra    7
"""
RELION_30 = "data_\n\nloop_\n_rlnA #1\n_rlnB #2\n  1.0   x \n  2.0   y\n 3.0 z"
RELION_5 = """
# version 50001
data_general
_rlnTomoSubTomosAre2DStacks    1

# version 50001
data_particles
loop_
_rlnTomoName #1
_rlnTomoVisibleFrames #2
t1 [1,1,0]
# a remark between rows
t2 [0,1,1]

# version 50001
data_optics
loop_
_rlnOpticsGroup #1
1
"""
WINDOWS = RELION_31.replace("\n", "\r\n")


def star(tmp_path, text):
    path = tmp_path / "in.star"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("text", [RELION_31, RELION_30 + "\n", RELION_5, WINDOWS])
def test_all_rows_are_the_whole_file(tmp_path, text):
    rows = StarRows.read(star(tmp_path, text))
    rows.write(tmp_path / "out.star", np.arange(len(rows.rows)))
    expected = text.encode().replace(b"# a remark between rows\n", b"")
    assert (tmp_path / "out.star").read_bytes() == expected


@pytest.mark.parametrize("text", [RELION_31, RELION_30, RELION_5, WINDOWS])
def test_chosen_rows_keep_every_byte_and_read_as_before(tmp_path, text):
    path = star(tmp_path, text)
    rows = StarRows.read(path)
    chosen = np.arange(len(rows.rows))[::-1][:2]
    rows.write(tmp_path / "out.star", chosen)
    kept = StarRows.read(tmp_path / "out.star")
    assert list(kept.rows) == [rows.rows[row] for row in chosen]
    assert kept.before == rows.before
    before, after = read_star(path), read_star(tmp_path / "out.star")
    assert list(before) == list(after)
    for name, table in before.items():
        for column in table.names:
            values = table.text(column)
            if len(table) == len(rows.rows) and name != "optics":
                values = [values[row] for row in chosen]
            assert after[name].text(column) == values
    if text is not RELION_5:
        assert starfile.read(tmp_path / "out.star", always_dict=True)


def test_filtering_twice_gives_the_rows_of_the_original(tmp_path):
    rows = StarRows.read(star(tmp_path, RELION_31))
    rows.write(tmp_path / "a.star", np.array([1, 2, 3]))
    StarRows.read(tmp_path / "a.star").write(tmp_path / "b.star", np.array([2, 0]))
    rows.write(tmp_path / "c.star", np.array([3, 1]))
    assert (tmp_path / "b.star").read_bytes() == (tmp_path / "c.star").read_bytes()


@pytest.mark.parametrize("text", [RELION_31, RELION_30, WINDOWS])
def test_added_columns_read_back_and_leave_the_others(tmp_path, text):
    path = star(tmp_path, text)
    rows = StarRows.read(path)
    chosen = np.array([2, 0])
    columns = {"cryodrgnCluster": [4, 1], "cryodrgnLatent1": [0.25, -1.5]}
    rows.write(tmp_path / "out.star", chosen, columns)
    tables = read_star(tmp_path / "out.star")
    table = tables.get("particles", next(iter(tables.values())))
    assert table.numbers("cryodrgnCluster").tolist() == [4, 1]
    assert table.numbers("cryodrgnLatent1").tolist() == [0.25, -1.5]
    written = StarRows.read(tmp_path / "out.star")
    for line, row in zip(written.rows, chosen, strict=True):
        assert line.startswith(rows.rows[row].rstrip())
    with pytest.raises(MetadataError, match="has a column cryodrgnCluster already"):
        written.write(tmp_path / "no.star", np.arange(2), {"cryodrgnCluster": [1, 1]})
    with pytest.raises(ShapeMismatchError, match="1 values for 2 particles"):
        written.write(tmp_path / "no.star", np.arange(2), {"x": [1]})
    assert not (tmp_path / "no.star").exists()


words = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=1)
values = words.filter(
    lambda w: (
        w[0] not in "_#$'\";[]"
        and not w.lower().startswith(("data_", "loop_", "stop_", "save_", "global_"))
    )
)


@given(
    st.lists(st.tuples(values, values), min_size=1, max_size=6),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([" ", "\t", "   "]),
    st.sampled_from(["", " ", "  # remark"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_rows_are_found_whatever_their_layout(tmp_path, table, end, blank, tail):
    lines = [
        "data_particles",
        "loop_",
        "_rlnA #1",
        "_rlnB",
        *(f"{a}{blank}{b}{tail}" for a, b in table),
        "",
        "data_x",
        "_y 1",
        "",
    ]
    path = star(tmp_path, end.join(lines))
    rows = StarRows.read(path)
    assert [row.decode().rstrip("\r\n") for row in rows.rows] == lines[4 : 4 + len(table)]
    rows.write(tmp_path / "out.star", np.array([len(table) - 1]))
    assert read_star(tmp_path / "out.star")["particles"].text("rlnB") == [table[-1][1]]


def test_rows_spread_over_lines_stay_together(tmp_path):
    text = "data_x\nloop_\n_a\n_b\n1\n2\n3\n4\n"
    rows = StarRows.read(star(tmp_path, text))
    assert list(rows.rows) == [b"1\n2\n", b"3\n4\n"]


def test_tables_without_rows_of_text_are_refused(tmp_path):
    with pytest.raises(InputFileError, match="is no loop of rows"):
        StarRows.read(star(tmp_path, "data_x\n_a 1\n"))


def test_particles_of_tilt_series_bring_all_their_tilts(tmp_path):
    text = "data_p\nloop_\n_rlnGroupName\n_rlnTilt\nb 1\na 1\nb 2\nc 1\na 2\n"
    path = star(tmp_path, text)
    assert rows_of_particles(path, np.array([0, 2])).tolist() == [0, 2, 3]
    with pytest.raises(ShapeMismatchError, match="holds index 3"):
        rows_of_particles(path, np.array([3]))
    with pytest.raises(MetadataError, match="no column rlnTomoParticleName or rlnGroupName"):
        rows_of_particles(star(tmp_path, RELION_30), np.array([0]))


def test_one_file_per_micrograph_holds_its_rows(tmp_path):
    rows = StarRows.read(star(tmp_path, RELION_31))
    paths = write_by_micrograph(rows, np.array([0, 1, 3]), tmp_path / "out")
    assert sorted(path.name for path in paths) == ["mic one.star", "mic's two.star"]
    assert [len(StarRows.read(path).rows) for path in paths] == [2, 1]
