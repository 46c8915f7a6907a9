"""Copies of a particle are on one side of every split; without copies, particles take turns."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryodrgn.cli.main import main
from cryodrgn.data.config import DataConfig
from cryodrgn.io.cryodrgn_pickle import save_pickles
from cryodrgn.io.mrc import read_volume
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.linear.config import LinearConfig
from cryodrgn.linear.latents import Latents
from cryodrgn.linear.runner import _chosen_rows
from cryodrgn.particles.copies import in_order_of_appearance
from cryodrgn.particles.half_sets import (
    halves_of,
    rows_of,
)
from cryodrgn.training.assembly import held_out_particles
from cryodrgn.training.options import HeldOutConfig
from cryodrgn.training.run_config import TrainConfig

COUNT = 60


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    words = f"simulate -D 16 --Apix 8 -n {COUNT} --num-states 1 --snr 5 -o"
    assert main([*words.split(), str(folder)]) == 0
    # Every third particle three times, the others twice, not one after another.
    rows = np.concatenate([np.arange(COUNT)[::-1], np.arange(COUNT), np.arange(0, COUNT, 3)])
    save_pickles(folder / "copies.pkl", [rows])
    return folder


def expanded(folder):
    return open_particles(
        ParticleFiles(particles=folder / "particles.star", indices=folder / "copies.pkl")
    )


@given(st.lists(st.integers(0, 9), min_size=1))
def test_numbers_are_equal_for_copies_and_count_up_where_a_particle_first_appears(copies):
    numbers = in_order_of_appearance(np.array(copies))
    assert [copies.index(c) for c in copies] == [list(numbers).index(n) for n in numbers]
    _, first = np.unique(numbers, return_index=True)
    assert (np.diff(first) > 0).all()


@given(st.integers(1, 50))
def test_without_copies_particles_take_turns(count):
    first, second = halves_of(np.arange(count), in_order_of_appearance(np.arange(count)))
    np.testing.assert_array_equal(first, np.arange(count)[0::2])
    np.testing.assert_array_equal(second, np.arange(count)[1::2])


def test_copies_are_recognised_by_their_frame(simulated):
    plain = open_particles(ParticleFiles(particles=simulated / "particles.star"))
    assert plain.images.copies is None
    assert plain.num_different == len(plain) == COUNT
    particles = expanded(simulated)
    assert particles.num_different == COUNT
    assert len(particles) == 2 * COUNT + COUNT // 3
    rows = particles.images.rows
    np.testing.assert_array_equal(particles.numbers, in_order_of_appearance(rows))


def test_no_particle_is_in_both_halves(simulated):
    particles = expanded(simulated)
    first, second = halves_of(np.arange(len(particles)), particles.numbers)
    rows = particles.images.rows
    assert not set(rows[first]) & set(rows[second])
    assert len(set(rows[first])) == len(set(rows[second])) == COUNT // 2


def test_latents_of_copies_are_in_the_half_of_their_particle_whoever_is_left_out(simulated):
    particles = expanded(simulated)
    latents = Latents(mean=np.zeros((len(particles), 1), np.float32), source="z.pkl")
    kept = np.arange(1, len(particles))
    found = latents.of_particles(particles).select(kept).halves()
    expected = halves_of(kept, particles.numbers)
    for half, rows in zip(found, expected, strict=True):
        np.testing.assert_array_equal(kept[half], rows)


def test_half_maps_of_a_set_listed_twice_are_those_of_the_set(run, simulated, tmp_path):
    save_pickles(tmp_path / "twice.pkl", [np.repeat(np.arange(COUNT), 2)])
    run("backproject_voxel", simulated / "particles.star", "-o", tmp_path / "once.mrc")
    said = run(
        *("backproject_voxel", simulated / "particles.star", "-o", tmp_path / "twice.mrc"),
        *("--ind", tmp_path / "twice.pkl"),
    )
    assert f"lists {COUNT} different images in {2 * COUNT} rows" in said
    for half in "ab":
        once, twice = (
            read_volume(tmp_path / f"{name}_half_map_{half}.mrc")[0]
            for name in ("once", "twice")
        )
        np.testing.assert_allclose(twice, once, atol=1e-5 * np.abs(once).max())


def test_a_sample_of_particles_holds_all_copies_of_each_and_both_halves(simulated):
    particles = expanded(simulated)
    data = DataConfig(files=ParticleFiles(particles=simulated / "particles.star"))
    config = LinearConfig(data=data, num_components=1, fit_images=40)
    rows = _chosen_rows(particles.numbers, config).numpy()
    chosen = np.unique(particles.numbers[rows])
    np.testing.assert_array_equal(np.sort(rows), rows_of(chosen, particles.numbers))
    assert 30 <= len(rows) <= 40
    halves = halves_of(rows, particles.numbers)
    assert abs(len(halves[0]) - len(halves[1])) <= 4


def test_a_plain_sample_is_drawn_as_before():
    data = DataConfig(files=ParticleFiles(particles=__file__))
    config = LinearConfig(data=data, num_components=1, fit_images=10, seed=3)
    rows = _chosen_rows(np.arange(100), config)
    assert len(rows) == 10
    assert (rows % 2).tolist() == [0, 1] * 5
    assert (rows[0::2].diff() > 0).all()


def test_held_out_particles_are_held_out_with_all_of_their_copies(simulated):
    particles = expanded(simulated)
    settings = TrainConfig(held_out=HeldOutConfig(fraction=0.2))
    held_out = held_out_particles(settings, particles).numpy()
    chosen = np.unique(particles.numbers[held_out])
    assert len(chosen) == COUNT // 5
    np.testing.assert_array_equal(held_out, rows_of(chosen, particles.numbers))
