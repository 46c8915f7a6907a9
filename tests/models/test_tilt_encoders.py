"""Encoders that read all images of a particle."""

import itertools

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from cryodrgn.errors import ConfigError
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.imaging.grouping import Grouping, ImageSets
from cryodrgn.imaging.slices import slice_coordinates
from cryodrgn.models.build import build_model, encoder_sizes, named_weights
from cryodrgn.models.settings import DecoderConfig, EncoderConfig, ModelConfig
from cryodrgn.models.tilt_encoders import HalfBall, SubtomogramEncoder, TiltSeriesEncoder

BOX, RADIUS = 16, 5
COUNTS = [3, 1, 5]
LATTICE = HalfPlaneFrequencies.disc(BOX)


def subtomogram_encoder(**changes) -> SubtomogramEncoder:
    torch.manual_seed(0)
    config = EncoderConfig(mode="subtomogram", hidden_dim=16, mask_radius=RADIUS, **changes)
    return SubtomogramEncoder(config, box_size=BOX, latent_dim=3).eval()


def tilts(counts=COUNTS, seed=0) -> ImageSets:
    """Images, poses and transfer functions at random."""
    generator = torch.Generator().manual_seed(seed)
    count = sum(counts)
    rotations = torch.from_numpy(Rotation.random(count, random_state=seed).as_matrix()).float()
    return ImageSets(
        images=torch.randn(count, len(LATTICE), 2, generator=generator),
        grouping=Grouping(num_images=count, counts=torch.tensor(counts)),
        axes=rotations,
        transfer=torch.randn(count, len(LATTICE), generator=generator),
    )


def reordered(sets: ImageSets, order: list[int], counts: list[int]) -> ImageSets:
    return ImageSets(
        images=sets.images[order],
        grouping=Grouping(num_images=len(order), counts=torch.tensor(counts)),
        axes=sets.axes[order],
        transfer=sets.transfer[order],
    )


def test_the_order_of_the_images_of_a_particle_says_nothing():
    network, sets = subtomogram_encoder(), tilts()
    mean, log_variance = network(sets)
    others = network(reordered(sets, [2, 0, 1, 3, 8, 4, 6, 5, 7], COUNTS))
    assert torch.equal(others[0], mean)
    assert torch.equal(others[1], log_variance)


def test_particles_are_encoded_alike_alone_and_beside_others():
    network, sets = subtomogram_encoder(), tilts()
    together = network.subtomograms(sets)
    for particle, rows in enumerate(([0, 1, 2], [3], [4, 5, 6, 7, 8])):
        alone = network.subtomograms(reordered(sets, rows, [len(rows)]))
        torch.testing.assert_close(alone[0], together[particle], atol=1e-5, rtol=1e-5)


def test_copies_of_an_image_count_as_often_as_they_are_there():
    """S / (W + 1) of n copies is n S / (n W + 1)."""
    network, sets = subtomogram_encoder(), tilts([1])
    alone = network.subtomograms(sets)
    points = slice_coordinates(network.points, sets.axes)
    squares = sets.transfer[:, network.positions].square()
    nothing = torch.zeros_like(squares)
    owners = torch.zeros(1, dtype=torch.long)
    values = torch.stack([nothing, nothing, squares])
    sums = network.grid.added_up(points, values, owners, 1)
    weight = sums[2][:, network.voxels, None]
    for copies in (2, 7):
        found = network.subtomograms(reordered(sets, [0] * copies, [copies]))
        expected = alone * (weight + 1) * copies / (copies * weight + 1)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_images_without_signal_say_nothing():
    network, sets = subtomogram_encoder(), tilts([1])
    both = tilts([2], seed=1)
    both = ImageSets(
        images=torch.cat([sets.images, both.images[:1]]),
        grouping=both.grouping,
        axes=torch.cat([sets.axes, both.axes[:1]]),
        transfer=torch.cat([sets.transfer, torch.zeros(1, len(LATTICE))]),
    )
    torch.testing.assert_close(network.subtomograms(both), network.subtomograms(sets))


def test_a_turned_particle_seen_from_everywhere_has_the_subtomogram_of_its_volume(rng):
    """Slices of a linear function of frequency add up to that function on every voxel.

    Trilinear weights reproduce it where points lie around a voxel on all sides, as they do with
    many random views, and the odd imaginary part is Hermitian.
    """
    network = subtomogram_encoder()
    slope = torch.tensor([0.3, -0.7, 0.5])
    count = 3000
    rotations = torch.from_numpy(Rotation.random(count, random_state=3).as_matrix()).float()
    images = torch.zeros(count, len(LATTICE), 2)
    points = slice_coordinates(LATTICE.points.float(), rotations)
    images[..., 1] = points @ slope
    sets = ImageSets(
        images=images,
        grouping=Grouping(num_images=count, counts=count),
        axes=rotations,
        transfer=None,
    )
    found = network.subtomograms(sets)[0]
    side = network.grid.shape[2]
    z, rest = np.divmod(network.voxels.numpy(), side * side)
    y, x = np.divmod(rest, side)
    places = torch.from_numpy(np.stack([x - side // 2, y - side // 2, z], axis=1)).float()
    inner = places.norm(dim=1) <= RADIUS - 1.8
    assert inner.sum() > 20
    torch.testing.assert_close(found[inner, 1], places[inner] @ slope, atol=0.12, rtol=0)
    torch.testing.assert_close(found[:, 0], torch.zeros(len(found)))


def test_the_half_ball_holds_one_of_each_pair_of_mates():
    ball = HalfBall(RADIUS)
    axis = range(-RADIUS, RADIUS + 1)
    whole = [k for k in itertools.product(axis, repeat=3) if 0 < np.dot(k, k) <= RADIUS**2]
    assert 2 * len(ball.voxels()) == len(whole)


def test_poses_that_are_not_known_are_refused():
    images = ImageSets.of_single_images(torch.zeros(2, len(LATTICE), 2))
    with pytest.raises(ConfigError, match="adds up images by their poses"):
        subtomogram_encoder()(images)


@pytest.mark.parametrize("mode", ["tilt_series", "subtomogram"])
def test_sizes_are_those_of_the_model(mode):
    config = EncoderConfig(mode=mode, hidden_dim=12, num_tilts=3, tilt_hidden_dim=20)
    model = ModelConfig(box_size=BOX, latent_dim=2, encoder=config, decoder=DecoderConfig())
    weights = build_model(model).encoder.state_dict().values()
    assert sum(w.numel() for w in weights) == encoder_sizes(model).weights


class TestTiltSeries:
    """The encoder of cryoDRGN 4."""

    def network(self, **changes) -> TiltSeriesEncoder:
        torch.manual_seed(0)
        config = EncoderConfig(mode="tilt_series", hidden_dim=8, num_tilts=3, **changes)
        return TiltSeriesEncoder(config, box_size=BOX, latent_dim=2).eval()

    def test_weights_have_the_names_of_cryodrgn(self):
        config = EncoderConfig(
            mode="tilt_series",
            num_layers=2,
            hidden_dim=8,
            num_tilts=3,
            tilt_embedding_dim=6,
            tilt_layers=1,
            tilt_hidden_dim=10,
        )
        model = build_model(
            ModelConfig(
                box_size=BOX,
                latent_dim=2,
                encoder=config,
                decoder=DecoderConfig(num_layers=1, hidden_dim=8),
            )
        )
        shapes = {name: tuple(w.shape) for name, w in named_weights(model).items()}
        encoder = {name: s for name, s in shapes.items() if "weight" in name and "enc" in name}
        assert encoder == {
            "encoder.encoder1.main.0.weight": (8, 196),
            "encoder.encoder1.main.2.linear.weight": (8, 8),
            "encoder.encoder1.main.4.linear.weight": (8, 8),
            "encoder.encoder1.main.6.weight": (6, 8),
            "encoder.encoder2.main.0.weight": (10, 18),
            "encoder.encoder2.main.2.linear.weight": (10, 10),
            "encoder.encoder2.main.4.weight": (4, 10),
        }

    def test_it_reads_the_first_tilts_in_their_order(self):
        network, sets = self.network(), tilts([3, 5])
        mean, _ = network(sets)
        values = LATTICE.to_hartley(sets.images)
        said = network.encoder1(values)
        expected = network.encoder2(torch.stack([said[:3].flatten(), said[3:6].flatten()]))
        torch.testing.assert_close(mean, expected[:, :2])
        swapped, _ = network(reordered(sets, [1, 0, 2, 3, 4, 5, 6, 7], [3, 5]))
        assert not torch.allclose(swapped[0], mean[0])

    def test_fewer_tilts_are_refused(self):
        with pytest.raises(ConfigError, match="reads 3 tilts of every particle, but one has 2"):
            self.network()(tilts([4, 2]))
