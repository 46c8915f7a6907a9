"""Images of several pixel sizes and shapes have one transform at the same frequencies."""

import mrcfile
import numpy as np
import pytest
import torch

from cryodrgn.data.preprocessing import (
    Preprocessing,
    estimate_scale,
    exposure_parameters,
    prepare_images,
    preprocess_on,
)
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.fourier.shifts import shift_transform
from cryodrgn.fourier.transforms import transform_at, transform_on_lattice
from cryodrgn.imaging.exposure import exposure_weights
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.io.relion_write import write_particle_star
from cryodrgn.particles.image_table import ImageTable
from cryodrgn.particles.poses import Poses
from cryodrgn.particles.sampling import Sampling, common_sampling
from cryodrgn.simulation.simulate import SimulationSettings, simulate

REFERENCE = Sampling(box_size=32, pixel_size=3.0, unit_pixel_size=3.0)
LATTICE = HalfPlaneFrequencies.disc(32)
CENTRES = np.array([[0.0, 0.0], [11.0, -7.0], [-9.0, 14.0]])
WIDTH = 7.0
# Height and width in pixels, and Å/px.
KINDS = {
    "coarser": ((32, 32), 3.3),
    "finer": ((48, 48), 2.4),
    "another box": ((40, 40), 3.0),
    "an odd box": ((33, 33), 3.0),
    "oblong": ((36, 45), 2.9),
}


def picture(shape, pixel_size, shift=(0.0, 0.0)) -> np.ndarray:
    """Gaussians around the pixel at half the sides, of a signal that grows with the pixel."""
    y, x = (pixel_size * (np.arange(side) - side // 2) for side in shape)
    image = np.zeros(shape)
    for cx, cy in CENTRES - np.array(shift):
        squared = (x - cx) ** 2 + (y[:, None] - cy) ** 2
        image += pixel_size * np.exp(-squared / (2 * WIDTH**2))
    return image.astype(np.float32)


def expected() -> np.ndarray:
    """The transform of the Gaussians, of their formula."""
    k = LATTICE.points.numpy() / REFERENCE.side_length
    phases = np.exp(-2j * np.pi * k @ CENTRES.T).sum(1)
    peak = 2 * np.pi * WIDTH**2 / REFERENCE.pixel_size
    return peak * np.exp(-2 * (np.pi * WIDTH) ** 2 * (k**2).sum(1)) * phases


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_molecule_has_the_same_transform(kind):
    shape, pixel_size = KINDS[kind]
    image = torch.from_numpy(picture(shape, pixel_size, shift=(4.0, -2.5)))[None]
    shifts = torch.tensor([[4.0, -2.5]])
    values = preprocess_on(REFERENCE, image, pixel_size, LATTICE, Preprocessing(), shifts)
    found = torch.view_as_complex(values)[0].numpy()
    shown = LATTICE.points.numpy()
    shown = (shown**2).sum(1) < REFERENCE.band_limit(pixel_size) ** 2
    scale = np.abs(expected()).max()
    np.testing.assert_allclose(found[shown], expected()[shown], atol=2e-5 * scale)
    assert not found[~shown].any()
    assert shown.all() == (kind != "coarser")


def test_images_of_the_lattice_have_the_discrete_transform(rng):
    images = torch.from_numpy(rng.normal(size=(2, 32, 32)).astype(np.float32))
    found = transform_at(images, LATTICE.points, 1 / 32)
    torch.testing.assert_close(found, transform_on_lattice(images, LATTICE), atol=2e-4, rtol=0)


def test_noise_of_unit_variance_has_the_same_spectrum_in_the_same_field_of_view(rng):
    settings = Preprocessing(window_radius=0.85)
    plain = torch.from_numpy(rng.normal(size=(400, 32, 32)).astype(np.float32))
    fine = torch.from_numpy(rng.normal(size=(400, 40, 40)).astype(np.float32))
    powers = [
        preprocess_on(REFERENCE, images, size, LATTICE, settings).square().mean()
        for images, size in ((plain, 3.0), (fine, 2.4))
    ]
    assert float(powers[1] / powers[0]) == pytest.approx(1, rel=0.02)


def test_beyond_the_field_of_view_nothing_counts(rng):
    image = torch.from_numpy(rng.normal(size=(1, 48, 48)).astype(np.float32))
    inside = torch.zeros(48, 48)
    inside[8:40, 8:40] = 1
    for settings in (Preprocessing(), Preprocessing(window_radius=0.85)):
        whole, cut = (
            preprocess_on(REFERENCE, pixels, 3.0, LATTICE, settings)
            for pixels in (image, image * inside)
        )
        torch.testing.assert_close(whole, cut, atol=1e-4, rtol=0)


def test_the_transfer_ends_where_the_images_do():
    table = table_of([3.0, 3.3, 2.4])
    parameters = exposure_parameters(table)
    assert parameters is not None
    frequencies = LATTICE.frequencies[None] / 3.0
    weights = exposure_weights(frequencies.expand(3, -1, -1), parameters)
    shells = LATTICE.points.float().norm(dim=1).round()
    # 32 px of 3 Å have 14.5 cycles at the Nyquist frequency of 3.3 Å/px.
    assert weights[1].tolist() == (shells <= 14).float().tolist()
    assert bool((weights[[0, 2]] == 1).all())


def table_of(pixel_sizes) -> ImageTable:
    class Nothing:
        box_size = 32

        def __len__(self):
            return len(pixel_sizes)

        def read(self, rows):
            return np.zeros((len(rows), 32, 32), np.float32)

        def select(self, rows):
            return self

        def fingerprint(self):
            return b""

    count = len(pixel_sizes)
    table = ImageTable(
        pixels=Nothing(),
        pixel_sizes=np.array(pixel_sizes, np.float32),
        poses=None,
        ctf=None,
        rows=np.arange(count),
        source="x.star",
    )
    return table.sampled(REFERENCE)


def test_the_lattice_is_that_of_the_most_frequent_kind():
    def of(sizes, shapes, **more):
        return common_sampling(np.array(sizes), np.array(shapes), **more)

    assert of([1.0] * 3, [[8, 8]] * 3) is None
    assert of([1.0, 1.00005, 1.0], [[8, 8]] * 3) is None
    assert of([1.0, 2.0, 2.0], [[8, 8]] * 3) == Sampling(
        box_size=8, pixel_size=2.0, unit_pixel_size=2.0
    )
    assert of([1.0] * 3, [[8, 8], [6, 6], [6, 6]]).box_size == 6
    # Odd and oblong images lose a row, or the ends of their longer side.
    assert of([1.0] * 2, [[9, 9]] * 2).box_size == 8
    assert of([1.0] * 2, [[9, 7]] * 2).box_size == 6
    assert of([1.0] * 2, [[8, 8]] * 2, box_size=10).box_size == 10


def test_cropping_keeps_field_of_view_and_intensities():
    cropped = REFERENCE.cropped(24)
    assert cropped.side_length == pytest.approx(REFERENCE.side_length)
    assert cropped.unit_pixel_size == 3.0
    assert cropped.uncropped() == REFERENCE
    assert Sampling.of_record(cropped.record()) == cropped
    small = HalfPlaneFrequencies.disc(24)
    image = torch.from_numpy(picture((48, 48), 2.4))[None]
    whole, part = (
        preprocess_on(sampling, image, 2.4, lattice, Preprocessing())
        for sampling, lattice in ((REFERENCE, LATTICE), (cropped, small))
    )
    places = {tuple(point): row for row, point in enumerate(LATTICE.points.tolist())}
    rows = [places[tuple(point)] for point in small.points.tolist()]
    torch.testing.assert_close(part[0], whole[0, rows], atol=1e-3, rtol=1e-5)


def test_images_of_many_shapes_in_one_file_are_prepared_alike(tmp_path):
    """The rows of a STAR file that names stacks of all kinds, in turn."""
    kinds = {"plain": ((32, 32), 3.0), **KINDS}
    names, sizes, boxes = [], [], []
    for number, (shape, pixel_size) in enumerate(kinds.values()):
        stack = tmp_path / f"{number}.mrcs"
        with mrcfile.new(stack) as mrc:
            mrc.set_data(np.repeat(picture(shape, pixel_size)[None], 2, axis=0))
            mrc.set_image_stack()
        names += [f"{frame}@{stack.name}" for frame in (1, 2)]
        sizes += [pixel_size] * 2
        boxes += [max(shape)] * 2
    order = np.random.default_rng(0).permutation(len(names))
    rotations = np.tile(np.eye(3, dtype=np.float32), (len(names), 1, 1))
    shifts = np.zeros((len(names), 2), np.float32)
    write_particle_star(
        tmp_path / "x.star",
        [names[row] for row in order],
        box_size=np.array(boxes)[order],
        pixel_sizes=np.array(sizes)[order],
        poses=Poses(rotations=rotations, shifts=shifts, source=""),
    )
    files = ParticleFiles(particles=tmp_path / "x.star")
    particles = open_particles(files)
    assert particles.images.sampling == REFERENCE
    assert particles.require_pixel_size() == 3.0
    np.testing.assert_allclose(particles.images.pixel_sizes_in_files, np.array(sizes)[order])
    values = prepare_images(particles.images, np.arange(len(names)), LATTICE, Preprocessing())
    found = torch.view_as_complex(values).numpy()
    shown = (LATTICE.points.numpy() ** 2).sum(1) < REFERENCE.band_limit(3.3) ** 2
    scale = np.abs(expected()).max()
    for row in found:
        np.testing.assert_allclose(row[shown], expected()[shown], atol=1e-3 * scale)
    chosen = particles.select(np.array([3, 1]))
    assert chosen.images.sampling == REFERENCE
    np.testing.assert_allclose(
        chosen.images.pixel_sizes_in_files, np.array(sizes)[order][[3, 1]]
    )


@pytest.mark.parametrize("side", [24, 40])
def test_a_given_box_cuts_or_pads_the_images(tmp_path, rng, side):
    """The prepared images are those of a stack that was cut or padded with zeros itself."""
    images = rng.normal(size=(3, 32, 32)).astype(np.float32)
    apart = (side - 32) // 2
    changed = (
        np.pad(images, ((0, 0), (apart, apart), (apart, apart)))
        if apart > 0
        else images[:, -apart:apart, -apart:apart]
    )
    lattice, prepared = HalfPlaneFrequencies.disc(side), []
    for name, stack, box_size in (("given", images, side), ("changed", changed, None)):
        with mrcfile.new(tmp_path / f"{name}.mrcs") as mrc:
            mrc.set_data(stack)
            mrc.voxel_size = 3.0
        files = ParticleFiles(particles=tmp_path / f"{name}.mrcs", box_size=box_size)
        table = open_particles(files).images
        assert (table.box_size, table.pixel_sizes[0]) == (side, 3.0)
        prepared.append(prepare_images(table, np.arange(3), lattice, Preprocessing()))
    torch.testing.assert_close(*prepared, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("window_radius", [None, 0.85])
def test_images_are_cut_about_the_particle_whether_or_not_they_are_moved(
    tmp_path, window_radius
):
    """Where poses are refined, images are moved later: nothing of them may be lost before."""
    shift = np.array([[10 * 3.0, -8 * 3.0]], np.float32)
    stack = np.zeros((1, 48, 48), np.float32)
    y, x = np.indices((48, 48)) - 24
    stack[0] = np.exp(-((x + 10) ** 2 + (y - 8) ** 2) / 2)
    with mrcfile.new(tmp_path / "x.mrcs") as mrc:
        mrc.set_data(stack)
        mrc.voxel_size = 3.0
    files = ParticleFiles(particles=tmp_path / "x.mrcs", box_size=24)
    poses = Poses(rotations=np.eye(3, dtype=np.float32)[None], shifts=shift, source="")
    particles = open_particles(files)
    particles = particles.with_images({"poses": poses})
    table, settings = particles.images, Preprocessing(window_radius=window_radius)
    lattice, row = HalfPlaneFrequencies.disc(24), np.arange(1)
    moved = prepare_images(table, row, lattice, settings)
    still = prepare_images(table, row, lattice, settings, centred=False)
    frequencies = lattice.points / table.sampling.side_length
    later = shift_transform(still, frequencies[None], torch.from_numpy(shift))
    torch.testing.assert_close(later, moved, atol=1e-4, rtol=1e-4)
    # All of the blob is there, and its scale is that of the images that are compared.
    total = float(torch.view_as_complex(still).abs().max())
    assert total == pytest.approx(stack.sum(), rel=0.05)
    scale = estimate_scale(particles, lattice, settings)
    assert scale == pytest.approx(float(moved.square().sum(-1).mean().sqrt()), rel=1e-4)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("boxes")
    volume = np.zeros((16, 16, 16), np.float32)
    volume[6:10, 5:9, 7:11] = 1
    simulate([volume], SimulationSettings(num_images=40, pixel_size=6.0, snr=1.0), folder)
    return folder / "particles.star"


@pytest.mark.parametrize("side", [12, 20])
def test_maps_have_the_given_box(run, simulated, tmp_path, side):
    run("backproject_voxel", simulated, "-o", tmp_path / "map.mrc", "--box", side)
    with mrcfile.open(tmp_path / "map.mrc") as found:
        assert found.data.shape == (side,) * 3


def test_an_odd_box_is_refused(fail, simulated, tmp_path):
    said = fail("backproject_voxel", simulated, "-o", tmp_path / "map.mrc", "--box", 13)
    assert "--box must be even and at least 2, got 13" in said
