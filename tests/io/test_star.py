import re
from pathlib import Path

import numpy as np
import pytest
import starfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryodrgn.errors import InputFileError, MetadataError
from cryodrgn.io.relion import RelionParticles
from cryodrgn.io.star import particle_block, read_star, write_star

words = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"]), min_size=1)
plain_words = words.filter(lambda w: not re.search(r"""['"]""", w) and w.strip() == w)


@given(
    st.integers(1, 5)
    .flatmap(
        lambda rows: st.dictionaries(
            st.from_regex(r"rln[A-Za-z0-9]{1,12}", fullmatch=True),
            st.lists(plain_words, min_size=rows, max_size=rows),
            min_size=1,
            max_size=4,
        )
    )
    .filter(lambda columns: len({name.lower() for name in columns}) == len(columns))
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_reads_back(tmp_path, columns):
    path = tmp_path / "round.star"
    write_star(path, {"particles": columns})
    table = read_star(path)["particles"]
    assert table.names == list(columns)
    assert {name: table.text(name) for name in table.names} == columns


def test_written_files_read_the_same_in_the_starfile_package(tmp_path):
    path = tmp_path / "file.star"
    optics = {"rlnOpticsGroup": [1], "rlnVoltage": [300.0]}
    particles = {"rlnImageName": ["1@a.mrcs", "2@a.mrcs"], "rlnDefocusU": [10000.5, 2e4]}
    write_star(path, {"optics": optics, "particles": particles})
    assert path.read_text().count("# version 30001") == 2
    read = starfile.read(path, always_dict=True)
    assert read["optics"]["rlnVoltage"].tolist() == [300.0]
    assert read["particles"].to_dict("list") == particles


def test_quotes_comments_pairs_and_nameless_blocks_are_understood(tmp_path):
    path = tmp_path / "file.star"
    path.write_text(
        """
# version 50001
data_general
_rlnTomoSubTomosAre2DStacks    1

data_

loop_
_rlnA #1
_rlnB #2
'a b' [1,2,3] # trailing
# comment
"d e" 1e-3
"""
    )
    blocks = read_star(path)
    assert list(blocks) == ["general", ""]
    assert blocks["general"].numbers("rlnTomoSubTomosAre2DStacks").tolist() == [1]
    assert blocks[""].text("rlnA") == ["a b", "d e"]
    assert blocks[""].text("rlnB") == ["[1,2,3]", "1e-3"]


def test_missing_column_names_those_present(tmp_path):
    path = tmp_path / "file.star"
    write_star(path, {"particles": {"rlnDefocusU": [1.0], "rlnImageName": ["x"]}})
    table = read_star(path)["particles"]
    with pytest.raises(
        MetadataError, match="no column rlnDefocusV; the file has rlnDefocusU, rln"
    ):
        table.numbers("rlnDefocusV")
    with pytest.raises(MetadataError, match="rlnImageName is not numeric"):
        table.numbers("rlnImageName")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_numbers_that_are_not_finite_are_refused_with_their_row(tmp_path, value):
    path = tmp_path / "file.star"
    write_star(path, {"particles": {"rlnDefocusU": ["1.0", value]}})
    with pytest.raises(MetadataError, match=f"rlnDefocusU holds '{value}' in row 1"):
        read_star(path)["particles"].numbers("rlnDefocusU")


@pytest.mark.parametrize(
    "text", ["", "no star\n", "data_x\nloop_\n_a\n_b\n1 2 3\n", "data_x\n"]
)
def test_files_that_are_no_tables_are_refused(tmp_path, text):
    path = tmp_path / "file.star"
    path.write_text(text)
    with pytest.raises(InputFileError, match=r"file.star"):
        read_star(path)


def test_numbers_are_written_to_six_decimals(tmp_path):
    path = tmp_path / "file.star"
    write_star(path, {"x": {"rlnA": np.array([1 / 3], dtype=np.float32)}})
    assert "0.333333" in path.read_text()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("1 2\n'a b' 4\n5", "it is cut off: line 9 has 1 value for 2 columns, and is the last"),
        ("1 2\n3 \n5 6\n", "line 8 has 1 value for 2 columns"),
    ],
)
def test_a_row_that_is_not_whole_is_named(tmp_path, rows, said):
    path = tmp_path / "cut.star"
    path.write_text(f"# version 30001\n\ndata_particles\nloop_\n_rlnA #1\n_rlnB #2\n{rows}")
    with pytest.raises(InputFileError) as caught:
        read_star(path)
    assert str(caught.value) == f"{path} cannot be read as a STAR file: {said}" + (
        "; copy the file again" if "cut off" in said else ""
    )


HEADER = "# version 30001\n\ndata_particles\nloop_\n_rlnName #1\n_rlnA #2\n"
ROWS = "".join(f"{n}@a.mrcs {n}.250000\n" for n in range(40))


@pytest.mark.parametrize(
    ("cut", "said"),
    [
        (len(ROWS) + 4, "it ends within its header, at '_rlnA'"),
        (len(ROWS) + 7, "it ends within its header, at '_r'"),
        (len(ROWS) + 11, "it ends within its header, at '_rlnName #'"),
        (len(ROWS) + 23, "it ends within its header, at 'loop'"),
        (3, "it ends within the value '39.2500' of its last row"),
        (7, "it ends within the value '39.' of its last row"),
        (8, "it ends within the value '39' of its last row"),
    ],
)
def test_a_file_that_is_cut_off_within_a_word_is_refused(tmp_path, cut, said):
    path = tmp_path / "cut.star"
    path.write_text((HEADER + ROWS)[:-cut])
    with pytest.raises(InputFileError, match="is cut off") as caught:
        read_star(path)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        (HEADER + ROWS)[:-1],
        HEADER + ROWS.replace("50000", "5") + "5@a.mrcs 5.25",
        HEADER + "".join(ROWS.splitlines(keepends=True)[:20]) + "20@a.mrcs 20.5",
        "data_job\n_rlnJobType 3",
        HEADER + "1@a.mrcs 2",
    ],
)
def test_a_whole_file_may_lack_the_end_of_its_last_line(tmp_path, caplog, text):
    path = tmp_path / "whole.star"
    path.write_text(text)
    assert read_star(path)
    assert f"its last line has no end behind {text.split()[-1]!r}" in caplog.text
    caplog.clear()
    path.write_text(f"{text}\n")
    assert read_star(path)
    assert not caplog.text


def test_a_file_that_ends_behind_the_first_line_of_a_table_is_refused(tmp_path):
    path = tmp_path / "cut.star"
    path.write_text(f"{HEADER}{ROWS}\ndata_other\nloop_\n")
    with pytest.raises(InputFileError, match="cut off: it ends within its header, at 'loop_'"):
        read_star(path)


@pytest.mark.parametrize("end", [" ", "\n# version 30001", "\r"])
def test_a_last_value_with_its_end_is_not_warned_of(tmp_path, caplog, end):
    path = tmp_path / "whole.star"
    path.write_text(HEADER + ROWS[:-1] + end, newline="")
    assert read_star(path)
    assert not caplog.text


def test_a_file_that_ends_within_its_optics_table_is_refused_alone(tmp_path, caplog):
    path = tmp_path / "cut.star"
    path.write_text("data_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnVoltage #2\n1 300")
    with pytest.raises(InputFileError, match="an optics table but no particles"):
        RelionParticles(path)
    assert "has no end" not in caplog.text


def test_a_file_of_an_optics_table_alone_may_be_cut_off():
    with pytest.raises(InputFileError, match="an optics table but no particles: it may be cut"):
        particle_block(Path("cut.star"), {"optics": 1})
