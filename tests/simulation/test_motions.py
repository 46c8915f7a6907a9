import gemmi
import numpy as np
import pytest
import torch

from cryodrgn.errors import ConfigError, ShapeMismatchError
from cryodrgn.imaging.masks import default_threshold
from cryodrgn.io.mrc import write_volume
from cryodrgn.simulation.hinge import hinge_models
from cryodrgn.simulation.motions import (
    CUBIC_ANGSTROM_PER_KDA,
    SIZES,
    between_maps,
    between_models,
    domain_at_the_end,
    require_sizes,
    turned_chains,
    turned_domain,
)

BOX_SIZE, PIXEL_SIZE = 24, 8.0


def ball(centre, radius, box_size=BOX_SIZE):
    axis = torch.arange(box_size) - box_size // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    squares = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2
    return torch.exp(-squares / radius**2).float()


def centre_of_mass(volume, pixel_size=PIXEL_SIZE):
    axis = pixel_size * (torch.arange(len(volume)) - len(volume) // 2).float()
    parts = [volume.sum(axes) @ axis for axes in ((0, 1), (0, 2), (1, 2))]
    return torch.stack(parts) / volume.sum()


@pytest.fixture
def dumbbell():
    """A large ball, and a small one beside it along x."""
    return ball((-3, 0, 0), 3.0) + 0.8 * ball((4, 0, 0), 2.0)


@pytest.fixture
def models(tmp_path):
    """Files of the built-in molecule, closed and open."""
    paths = []
    for number, model in enumerate(hinge_models([1.2, 1.7])):
        structure = gemmi.Structure()
        structure.add_model(model)
        paths.append(tmp_path / f"{number}.pdb")
        structure.write_pdb(str(paths[-1]))
    return tuple(paths)


@pytest.mark.parametrize("size", [5.0, 20.0])
@pytest.mark.parametrize("axis", [None, (0.0, 0.0, 1.0)])
def test_the_centre_of_a_domain_moves_by_the_size_of_the_motion(dumbbell, size, axis):
    mask = (ball((4, 0, 0), 2.0) > 0.1).float()
    motions = turned_domain(dumbbell, mask, PIXEL_SIZE, (size,), axis)
    path = centre_of_mass(motions.moved[0]) - centre_of_mass(motions.rest)
    assert float(path.norm()) == pytest.approx(size, rel=0.05)
    assert float(motions.differences[0].sum()) == pytest.approx(0, abs=0.5)


def test_a_domain_goes_nowhere_by_a_whole_turn_further(dumbbell):
    mask = (ball((4, 0, 0), 2.0) > 0.1).float()
    with pytest.raises(ConfigError, match="no turn moves it by 500 Å; the largest motion is"):
        turned_domain(dumbbell, mask, PIXEL_SIZE, (500.0,))


def test_the_domain_at_the_end_has_its_mass_and_lies_at_the_end(dumbbell):
    kda = 20 * PIXEL_SIZE**3 / CUBIC_ANGSTROM_PER_KDA
    mask, mass = domain_at_the_end(dumbbell, PIXEL_SIZE, kda)
    assert mass == kda
    assert abs(float(centre_of_mass(mask)[0])) > 2 * PIXEL_SIZE
    # One layer around the 20 voxels, and a soft edge.
    assert 20 <= int((mask == 1).sum()) <= 140


def test_a_domain_larger_than_half_of_the_molecule_is_refused(dumbbell):
    voxels = int((dumbbell > default_threshold(dumbbell)).sum())
    half = voxels * PIXEL_SIZE**3 / CUBIC_ANGSTROM_PER_KDA / 2
    with pytest.raises(ConfigError, match=rf"at most half \({half:.3g} kDa\) can move"):
        domain_at_the_end(dumbbell, PIXEL_SIZE, 500.0)


def test_a_domain_that_nobody_names_is_a_quarter_and_goes_as_far_as_it_can(dumbbell, caplog):
    caplog.set_level("INFO")
    small = PIXEL_SIZE / 4
    mask, mass = domain_at_the_end(dumbbell, small)
    voxels = int((dumbbell > default_threshold(dumbbell)).sum())
    whole = voxels * small**3 / CUBIC_ANGSTROM_PER_KDA
    assert mass == pytest.approx(whole / 4, rel=0.05)
    assert f"has {mass:.3g} of its {whole:.3g} kDa" in caplog.text
    motions = turned_domain(dumbbell, mask, small)
    assert 0 < len(motions.sizes) < len(SIZES)
    assert "can go" in caplog.text
    # Of a large molecule it is 30 kDa.
    assert domain_at_the_end(dumbbell, 2 * PIXEL_SIZE)[1] == 30


def test_a_mask_of_the_whole_molecule_is_called_so(dumbbell):
    mask = torch.ones_like(dumbbell)
    with pytest.raises(ConfigError, match="the mask is the whole molecule"):
        turned_domain(dumbbell, mask, PIXEL_SIZE, (5.0,))


def test_some_chains_turn_and_the_others_stay(models):
    motions = turned_chains(models[0], ["B"], 32, 6.0, (10.0, 20.0))
    assert motions.words == "chain B of 0.pdb"
    differences = motions.differences
    assert float(differences[1].norm()) > float(differences[0].norm()) > 0
    # Chain A, below the hinge, is where it was.
    energy = differences.square().sum(0)
    assert float(energy[:, : 32 // 4].sum()) < 1e-3 * float(energy.sum())


def test_a_motion_is_the_same_whatever_others_are_asked_for(models):
    def between(sizes):
        return between_models(models, 32, 6.0, sizes)

    def turned(sizes):
        return turned_chains(models[0], ["B"], 32, 6.0, sizes)

    for made in (between, turned):
        alone, among = made((5.0,)), made((5.0, 10.0))
        torch.testing.assert_close(alone.rest, among.rest)
        torch.testing.assert_close(alone.moved[0], among.moved[0])
        assert float(centre_of_mass(among.rest, 6.0).norm()) < 0.5


@pytest.mark.parametrize(
    ("chains", "words"), [(["X"], "has no chain X"), (["A", "B"], "all chains of")]
)
def test_chains_that_are_no_domain_are_refused(models, chains, words):
    with pytest.raises(ConfigError, match=words):
        turned_chains(models[0], chains, 32, 6.0, (10.0,))


def test_atoms_go_on_straight_lines_from_one_model_to_the_other(models):
    motions = between_models(models, 32, 6.0, None)
    assert motions.unit == "Å"
    shares = np.array(motions.sizes) / motions.sizes[-1]
    assert shares == pytest.approx([0.25, 0.5, 0.75, 1.0], abs=1e-3)
    with pytest.raises(ConfigError, match="goes beyond; give smaller"):
        between_models(models, 32, 6.0, (1000.0,))


def test_half_the_way_between_maps_is_their_mean(tmp_path, dumbbell):
    other = ball((0, 2, 0), 3.0)
    for name, volume in (("a.mrc", dumbbell), ("b.mrc", other)):
        write_volume(tmp_path / name, volume.numpy(), PIXEL_SIZE)
    paths = (tmp_path / "a.mrc", tmp_path / "b.mrc")
    motions = between_maps(paths, BOX_SIZE, PIXEL_SIZE, (0.5, 1.0))
    torch.testing.assert_close(motions.moved[0], (dumbbell + other) / 2, atol=1e-5, rtol=0)
    assert motions.named(0.5) == "50 % of the way"
    with pytest.raises(ShapeMismatchError, match="fills a box of"):
        between_maps(paths, BOX_SIZE, 2 * PIXEL_SIZE, (0.5,))
    with pytest.raises(ConfigError, match="shares of the way from 0 to 1"):
        between_maps(paths, BOX_SIZE, PIXEL_SIZE, (5.0,))
    with pytest.raises(ConfigError, match="nothing moves"):
        between_maps((paths[0], paths[0]), BOX_SIZE, PIXEL_SIZE, (0.5,))


def test_a_motion_of_nothing_is_refused():
    assert require_sizes((5.0, 3.0, 5.0)) == (3.0, 5.0)
    for sizes in ((0.0, 5.0), (-1.0,), (float("nan"),)):
        with pytest.raises(ConfigError, match="motions must be larger than 0 Å"):
            require_sizes(sizes)
