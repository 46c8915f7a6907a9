"""Traversals of recorded latents against what cryoDRGN 4.3 found (reference.md §9.2)."""

import re

import numpy as np
import pytest

TWO, EIGHT = "zvals_het-2_1k.pkl", "zvals_het-8_4k.pkl"


@pytest.mark.parametrize(
    ("name", "options", "limits", "counts"),
    [
        # There "--pc 0" meant the last component.
        (
            TWO,
            ("--pc", 2, "--lim", 0.10, 0.85, "-n", 5),
            (-0.83899, -0.64078),
            "1183 1186 1189 1191 1198",
        ),
        (TWO, ("--pc", 1), (-2.72574, 3.07564), "669 837 994 1142 1208 1162 973 842 768 689"),
        (
            EIGHT,
            ("--pc", 3),
            (-2.17560, 2.29041),
            "1016 1324 1611 1823 1951 1905 1686 1407 1043 673",
        ),
    ],
)
def test_components(run, acceptance, name, options, limits, counts):
    printed = run("pc_traversal", acceptance / "upstream" / name, *options)
    found = re.findall(r"from (-?[\d.]+) to (-?[\d.]+)", printed)[0]
    assert tuple(map(float, found)) == pytest.approx(limits, abs=1.1e-5)
    assert f": {counts}\n" in printed


def test_straight_lines(run, acceptance, tmp_path):
    out = tmp_path / "z.txt"
    run("direct_traversal", acceptance / "upstream" / TWO, "--anchors", 77, 333, "-o", out)
    path = np.loadtxt(out)
    expected = [[-2.08011341, -0.1485731], [-1.48644042, -0.12028652]]
    np.testing.assert_allclose(path[[0, -1]], expected, atol=1e-7)
    assert len(path) == 6
    run("direct_traversal", acceptance / "upstream" / EIGHT, "--anchors", 1099, 4001, "-o", out)
    path = np.loadtxt(out)
    assert (path @ path.T).sum() == pytest.approx(185.24840, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "options", "longest", "legs", "nodes"),
    [
        (
            TWO,
            ("--anchors", 50, 100, "--max-neighbors", 30, "--avg-neighbors", 10),
            "0.1022",
            [("0.8441", "0.7868")],
            "50 22 1310 1047 1093 857 159 1215 157 1006 672 100",
        ),
        (
            TWO,
            ("--anchors", 50, 100, "--max-neighbors", 50, "--avg-neighbors", 20),
            "0.149",
            [("0.808", "0.7868")],
            "50 22 1310 1047 1069 688 913 100",
        ),
        (
            EIGHT,
            ("--anchors", 2020, 3030, 4040),
            "0.7912",
            [("2.409", "1.528"), ("5.141", "2.689")],
            "2020 4117 1402 3480 1106 3030 3824 3792 707 41 3210 2257 392 301 4040",
        ),
    ],
)
def test_graphs(run, acceptance, tmp_path, name, options, longest, legs, nodes):
    out = ("-o", tmp_path / "i.txt", "--out-z", tmp_path / "z.txt")
    printed = run("graph_traversal", acceptance / "upstream" / name, *options, *out)
    assert f"edges are shorter than {longest}\n" in printed
    assert re.findall(r"length ([\d.]+), straight distance ([\d.]+)", printed) == legs
    assert (tmp_path / "i.txt").read_text().split() == nodes.split()


@pytest.mark.parametrize("anchors", [(50, 1500), (75, 1300)])
def test_no_path(fail, acceptance, tmp_path, anchors):
    out = tmp_path / "i.txt"
    narrow = ("--max-neighbors", 7, "--avg-neighbors", 3)
    message = fail(
        "graph_traversal",
        acceptance / "upstream" / EIGHT,
        "--anchors",
        *anchors,
        *narrow,
        "-o",
        out,
    )
    assert "no path leads" in message
    assert not out.exists()
