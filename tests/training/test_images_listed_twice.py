"""A set and the same set listed three times: inputs, poses, features, first maps are alike."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cryodrgn.cli.main import main
from cryodrgn.data.noise import initial_noise
from cryodrgn.data.prepared import Storage
from cryodrgn.data.preprocessing import Preprocessing
from cryodrgn.data.training_set import build_training_set
from cryodrgn.errors import ConfigError
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.io.mrc import read_volume
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.io.star import read_star, write_star
from cryodrgn.linear.feature import LEAST_GAIN, Amounts, two_groups
from cryodrgn.linear.iteration import DiscImages
from cryodrgn.linear.pose_refinement import MovedPoses, refine_poses
from cryodrgn.orientation.initial import FrequencyDisc
from cryodrgn.particles.optics_groups import optics_groups
from cryodrgn.training.input_weights import spectral_snr
from cryodrgn.training.pose_search import PoseSearch

BOX, COUNT, COPIES = 16, 40, 3
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("thrice")
    line = f"simulate -D {BOX} --Apix 12 -n {COUNT} --num-states 1 --snr 0.3 -o {folder}"
    assert main(line.split()) == 0
    tables = {
        name: {column: table.text(column) for column in table.names}
        for name, table in read_star(folder / "particles.star").items()
    }
    rows = np.repeat(np.arange(COUNT), COPIES).tolist()
    listed = tables["particles"]
    tables["particles"] = {name: [texts[row] for row in rows] for name, texts in listed.items()}
    write_star(folder / "thrice.star", tables)
    return folder


def prepared(particles, folder):
    lattice = HalfPlaneFrequencies.disc(BOX, 6).by_radius()
    storage = Storage(scratch_dir=folder)
    return build_training_set(particles, lattice, Preprocessing(), CPU, storage=storage)


@pytest.fixture
def both(folder, tmp_path):
    """The set once and three times: particles, and their images up to a radius."""
    found = []
    for name in ("particles", "thrice"):
        particles = open_particles(ParticleFiles(particles=folder / f"{name}.star"))
        found.append((particles, prepared(particles, tmp_path)))
    assert [len(images) for _, images in found] == [COUNT, COPIES * COUNT]
    return found


def test_inputs_of_encoders_are_weighed_as_in_the_set(both, tmp_path):
    once, thrice = (spectral_snr(images) for _, images in both)
    torch.testing.assert_close(thrice, once, rtol=1e-3, atol=1e-4)
    # Were rows particles, their copies would agree on the noise, too.
    particles = both[1][0]
    as_rows = replace(particles, images=replace(particles.images, copies=None))
    counted = spectral_snr(prepared(as_rows, tmp_path))
    assert float(counted[-1]) > 1.5 * float(once[-1])


def test_poses_are_corrected_as_in_the_set(folder, both):
    volume = torch.from_numpy(read_volume(folder / "gt/state_000.mrc")[0])
    found = []
    for particles, images in both:
        poses = MovedPoses(particles.images.poses, CPU)
        correction = refine_poses(
            DiscImages(images),
            poses,
            particles.images.pixel_sizes,
            (volume[None], volume[None]),
            initial_noise(images, optics_groups(particles.images)),
        )
        found.append((correction, poses.poses()))
    (once, poses), (thrice, copied) = found
    assert thrice.turn_left == pytest.approx(once.turn_left, rel=0.02)
    assert thrice.spread.turn == pytest.approx(once.spread.turn, rel=0.02)
    first = np.arange(0, COPIES * COUNT, COPIES)
    np.testing.assert_allclose(copied.rotations[first], poses.rotations, atol=2e-3)
    for copy in range(1, COPIES):
        np.testing.assert_allclose(copied.shifts[first + copy], copied.shifts[first], atol=1e-4)


def test_a_piece_of_density_gains_as_much_as_in_the_set(rng):
    noise = rng.uniform(0.5, 1.5, 60)
    values = (
        np.where(rng.random(60) < 0.4, 1.2, -0.8) + np.sqrt(noise) * rng.normal(size=60) / 4
    )
    rows = np.repeat(np.arange(60), COPIES)
    noise = noise / 16
    known = {"mean": 1.0, "spread": 1.0}
    once = two_groups(Amounts(values=values, variances=noise, **known))
    thrice = two_groups(
        Amounts(values=values[rows], variances=noise[rows], copies=float(COPIES), **known)
    )
    assert thrice.gain == pytest.approx(once.gain, rel=1e-3)
    np.testing.assert_allclose(thrice.probabilities[::COPIES], once.probabilities, atol=1e-3)
    # Values of one group gain a little by chance, which copies do not multiply.
    values = rng.normal(size=200)
    found = []
    for copies in (1, 40):
        rows = np.repeat(np.arange(200), copies)
        amounts = Amounts(
            values=values[rows],
            variances=np.full(len(rows), 0.5),
            copies=float(copies),
            **known,
        )
        with pytest.raises(ConfigError, match=f"expected {LEAST_GAIN:g} at least") as refused:
            two_groups(amounts)
        found.append(str(refused.value))
    assert found[0] == found[1]


class _Counted(SimpleNamespace):
    def __len__(self):
        return len(self.numbers)


def test_first_maps_are_made_of_different_images(both):
    asked = []

    def transforms(rows, positions):
        asked.extend(rows.tolist())
        return torch.zeros(len(rows), len(positions), 2), None

    _, images = both[1]
    particles = _Counted(numbers=images.numbers, unshifted_transforms=transforms)
    search = SimpleNamespace(
        _particles=particles, _search=SimpleNamespace(start_images=COUNT), _box_size=BOX
    )
    disc = FrequencyDisc.of(images.lattice, 4, CPU)
    sample = PoseSearch._sample(search, disc, torch.Generator().manual_seed(0))
    assert len(sample) == COUNT
    assert sorted(images.numbers[asked].tolist()) == list(range(COUNT))
