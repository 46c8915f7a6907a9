"""Particle files downsampled as they are: stacks beside stacks, metadata carried along."""

import numpy as np
import pytest

from cryodrgn.io.image_stack import ImageStack
from cryodrgn.io.mrc import stack_writer
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.io.star import read_star

OPTICS = """data_optics

loop_
_rlnOpticsGroup #1
_rlnImagePixelSize #2
_rlnImageSize #3
_rlnVoltage #4
_rlnSphericalAberration #5
_rlnAmplitudeContrast #6
1 1.500000 32 300.0 2.7 0.1
2 9.000000 32 300.0 2.7 0.1

data_particles

loop_
"""
NAMES = ("b/one.mrcs", "b/one.mrcs", "c/two.mrcs")


@pytest.fixture
def stacks(tmp_path, rng):
    """Two stacks of images of 32 px and 1.5 Å/px, in folders of their own."""
    for name in dict.fromkeys(NAMES):
        with stack_writer(tmp_path / "a" / name, 32, 1.5) as writer:
            writer.append(rng.normal(size=(2, 32, 32)).astype(np.float32))
    return tmp_path


def star_of(folder, unit, origins):
    columns = ["rlnImageName", "rlnOpticsGroup", f"rlnOriginX{unit}", f"rlnOriginY{unit}"]
    columns += ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnDefocusU", "rlnDefocusV"]
    columns += ["rlnDefocusAngle", "rlnComment"]
    head = "".join(f"_{name} #{n}\n" for n, name in enumerate(columns, 1))
    rows = "".join(
        f"{number % 2 + 1:06d}@a/{name}  1  {x} {y} 10 20 30 9000 8000 5  'as it was'\n"
        for number, (name, (x, y)) in enumerate(zip(NAMES, origins, strict=True))
    )
    path = folder / "particles.star"
    path.write_text(f"# a comment\n\n{OPTICS}{head}{rows}\n")
    return path


@pytest.mark.parametrize(("unit", "scale"), [("Angst", 1.5), ("", 1.0)])
def test_the_same_particles_are_found_at_the_new_size(run, stacks, unit, scale):
    origins = np.array([[2, -4], [0, 1], [3, 6]]) * scale
    source = star_of(stacks, unit, origins.tolist())
    output = stacks / "new/small.star"
    run("downsample", source, "-D", 16, "-o", output, "--outdir", stacks / "new/stacks")
    before, after = (open_particles(ParticleFiles(particles=p)) for p in (source, output))
    assert after.box_size == 16
    np.testing.assert_allclose(after.images.pixel_sizes, 3.0)
    np.testing.assert_allclose(after.images.poses.shifts, before.images.poses.shifts, atol=1e-5)
    np.testing.assert_array_equal(after.images.poses.rotations, before.images.poses.rotations)
    names = read_star(output)["particles"].text("rlnImageName")
    assert names == [f"{n % 2 + 1:06d}@stacks/{name}" for n, name in enumerate(NAMES)]
    whole = stacks / "whole.mrcs"
    run("downsample", source, "-D", 16, "-o", whole)
    expected = ImageStack.whole_files([whole]).read(np.arange(3))
    np.testing.assert_array_equal(after.images.pixels.read(np.arange(3)), expected)
    assert after.images.pixels.pixel_size == 3.0


def test_everything_else_in_the_file_stays(run, stacks):
    source = star_of(stacks, "Angst", [[0, 0]] * 3)
    output = stacks / "small.star"
    run("downsample", source, "-D", 16, "-o", output, "--outdir", stacks / "new")
    lines = [path.read_text().splitlines() for path in (source, output)]
    changed = [
        number for number, pair in enumerate(zip(*lines, strict=True)) if len({*pair}) > 1
    ]
    assert {lines[0][number].split()[0] for number in changed} == {
        *("1", "2", "000001@a/b/one.mrcs", "000002@a/b/one.mrcs", "000001@a/c/two.mrcs"),
    }
    assert "1 3.000000 16 300.0 2.7 0.1" in lines[1]
    # A group that no particle is in stays, and is converted like the others.
    assert "2 18.000000 16 300.0 2.7 0.1" in lines[1]
    assert lines[1][-2].endswith("'as it was'")


def test_a_choice_of_rows_needs_their_stacks_only(run, stacks, write_pickle, caplog):
    source = star_of(stacks, "Angst", [[0, 0]] * 3)
    rows = write_pickle(np.array([1]), "ind.pkl")
    output = stacks / "small.star"
    run("downsample", source, "-D", 16, "-o", output, "--outdir", stacks / "n", "--ind", rows)
    assert read_star(output)["particles"].text("rlnImageName") == ["000002@n/one.mrcs"]
    assert [path.name for path in (stacks / "n").iterdir()] == ["one.mrcs"]
    assert "wrote 2 images in 1 stack" in caplog.text
    assert f"{output}, which lists 1 of them; stacks are written whole" in caplog.text


def test_a_list_of_stacks_becomes_a_list_of_smaller_ones(run, stacks):
    (stacks / "list.txt").write_text("a/b/one.mrcs\na/c/two.mrcs\n")
    run("downsample", stacks / "list.txt", "-D", 16, "-o", stacks / "new/list.txt")
    assert (stacks / "new/list.txt").read_text().split() == ["b/one.mrcs", "c/two.mrcs"]
    run("downsample", stacks / "list.txt", "-D", 16, "-o", stacks / "whole.mrcs")
    both = [
        open_particles(ParticleFiles(particles=stacks / name)).images.pixels
        for name in ("new/list.txt", "whole.mrcs")
    ]
    np.testing.assert_array_equal(*(images.read(np.arange(4)) for images in both))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("a/b/one.mrcs -D 16 -o x.star", "but the input is"),
        ("particles.star -D 16 -o x.star --chunk 2", "--chunk divides one stack"),
        ("list.txt -D 16 -o x.txt --ind ind.pkl", "name a stack (.mrcs) as output"),
        ("particles.star -D 16 -o x.star --outdir a", "give another folder"),
    ],
)
def test_what_cannot_be_listed_is_refused(fail, stacks, monkeypatch, words, reason):
    monkeypatch.chdir(stacks)
    star_of(stacks, "Angst", [[0, 0]] * 3)
    (stacks / "list.txt").write_text("a/b/one.mrcs\n")
    assert reason in fail("downsample", *words.split())
    assert not list(stacks.glob("x.*"))
