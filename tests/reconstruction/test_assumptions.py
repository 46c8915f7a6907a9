"""Symmetry and curvature that are assumed are said, and doubted where there is reason to."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from atom_images import Microscope, listed, rotations
from cryodrgn.errors import ConfigError
from cryodrgn.reconstruction.assumptions import check_curvature, check_symmetry


def particles_of(microscope, source, copies=None):
    rng = np.random.default_rng(0)
    images = np.zeros((4, microscope.box, microscope.box), np.float32)
    found = listed(images, rotations(4, rng), np.full(4, 1e4), microscope, copies)
    return found.with_images({"source": source})


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, logger="cryodrgn")
    return caplog


def test_nothing_is_said_of_plain_sets(said):
    particles = particles_of(Microscope(), "particles.star")
    check_symmetry(particles, "C1")
    check_curvature(particles, 0)
    assert said.text == ""


def test_odd_dihedral_groups_of_cryosparc_are_doubted(said):
    particles = particles_of(Microscope(), "particles.cs")
    check_symmetry(particles, "d7")
    assert "for its poses that is D7Y" in said.text
    said.clear()
    for name in ("D7Y", "D4", "C7", "T"):
        check_symmetry(particles, name)
    assert "cryoSPARC" not in said.text
    assert "each of 4 different images is added at 14 mates" in said.text


def test_symmetry_of_a_set_that_may_be_expanded_is_doubted(said):
    particles = particles_of(Microscope(), "particles.star", np.array([0, 0, 1, 1]))
    check_symmetry(particles, "C2")
    assert "each of 2 different images" in said.text
    assert "mates of mates" in said.text


def test_symmetry_counts_particles_of_tilt_series_not_their_images(said):
    particles = particles_of(Microscope(), "particles.star")
    series = replace(particles, offsets=np.array([0, 2, 4]), original_rows=np.arange(2))
    check_symmetry(series, "C2")
    assert "each of 2 different particles of several images is added at 2" in said.text


def test_curvature_is_named_where_resolution_box_and_voltage_make_it_matter(said):
    # A virus: 900 px of 1 Å at 300 kV.
    particles = particles_of(Microscope(box=900, pixel_size=1.0), "particles.star")
    check_curvature(particles, 0)
    assert "450 Å (half of the box) at 300 kV is known to about 2.49 Å" in said.text
    assert "its curvature matters, account for it with `ewald` +1 or -1" in said.text
    said.clear()
    check_curvature(particles, -1)
    assert "curvature -1 is accounted for" in said.text
    with pytest.raises(ConfigError, match="gives no CTF parameters"):
        check_curvature(particles.with_images({"ctf": None}), 1)
