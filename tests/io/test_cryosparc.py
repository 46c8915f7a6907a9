import numpy as np
import pytest

from cryodrgn.errors import InputFileError, MetadataError
from cryodrgn.io.cryodrgn_pickle import load_poses
from cryodrgn.io.cryosparc import CryosparcParticles
from cryodrgn.io.cryosparc_tables import read_table
from cryodrgn.io.mrc import MrcFile, stack_writer
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.io.star import write_star

FIELDS = {
    "blob/path": ("S20", [b">J1/extract/a.mrc", b"J1/extract/b.mrc"]),
    "blob/idx": ("u4", [4, 0]),
    "blob/shape": (("u4", (2,)), [[64, 64], [64, 64]]),
    "blob/psize_A": ("f4", [1.5, 1.5]),
    "ctf/accel_kv": ("f4", [300, 300]),
    "ctf/cs_mm": ("f4", [2.7, 2.7]),
    "ctf/amp_contrast": ("f4", [0.1, 0.1]),
    "ctf/df1_A": ("f4", [12000, 13000]),
    "ctf/df2_A": ("f4", [11000, 12000]),
    "ctf/df_angle_rad": ("f4", [0.3, -0.2]),
    "alignments3D/pose": (("f4", (3,)), [[0, 0, 0], [0.1, 0.2, 0.3]]),
    "alignments3D/shift": (("f4", (2,)), [[2, 1], [-1, 0]]),
}


def table(tmp_path, **changes):
    fields = {k: v for k, v in (FIELDS | changes).items() if v is not None}
    dtype = [
        (name, *(kind if isinstance(kind, tuple) else (kind,)))
        for name, (kind, _) in fields.items()
    ]
    array = np.zeros(2, dtype=dtype)
    for name, (_, values) in fields.items():
        array[name] = values
    path = tmp_path / "particles.cs"
    with path.open("wb") as file:
        np.save(file, array)
    return path


def test_paths_lose_their_leading_mark(tmp_path):
    names, frames = CryosparcParticles(table(tmp_path)).image_names()
    assert names == ["J1/extract/a.mrc", "J1/extract/b.mrc"]
    assert frames.tolist() == [4, 0]


def test_shifts_count_in_pixels_of_the_refinement(tmp_path):
    plain = CryosparcParticles(table(tmp_path))
    np.testing.assert_allclose(plain.poses(plain.pixel_sizes()).shifts, [[3, 1.5], [-1.5, 0]])
    cropped = CryosparcParticles(
        table(tmp_path, **{"alignments3D/psize_A": ("f4", [3.0, 3.0])})
    )
    np.testing.assert_allclose(cropped.poses(cropped.pixel_sizes()).shifts, [[6, 3], [-3, 0]])


def test_hetrefine_doubles_shifts_only_where_the_file_does_not_scale_them(tmp_path, caplog):
    plain = CryosparcParticles(table(tmp_path), shift_scale=2)
    np.testing.assert_allclose(plain.poses(plain.pixel_sizes()).shifts, [[6, 3], [-3, 0]])
    cropped = CryosparcParticles(
        table(tmp_path, **{"alignments3D/psize_A": ("f4", [3.0, 3.0])}), shift_scale=2
    )
    np.testing.assert_allclose(cropped.poses(cropped.pixel_sizes()).shifts, [[6, 3], [-3, 0]])
    same = CryosparcParticles(
        table(tmp_path, **{"alignments3D/psize_A": ("f4", [1.5, 1.5])}), shift_scale=2
    )
    np.testing.assert_allclose(same.poses(same.pixel_sizes()).shifts, [[3, 1.5], [-1.5, 0]])
    assert caplog.text.count("not doubled again") == 2


def test_ctf_keeps_radians_and_a_missing_phase_shift_is_zero(tmp_path):
    ctf = CryosparcParticles(table(tmp_path)).ctf()
    np.testing.assert_allclose(ctf.defocus_angle, [0.3, -0.2], rtol=1e-6)
    assert not ctf.phase_shift.any()


def test_missing_columns_name_the_job_and_what_is_there(tmp_path):
    metadata = CryosparcParticles(
        table(tmp_path, **{"ctf/df1_A": None, "alignments3D/pose": None})
    )
    with pytest.raises(
        MetadataError, match=r"no column ctf/df1_A.*Patch CTF.*alignments3D, blob"
    ):
        metadata.ctf()
    with pytest.raises(MetadataError, match=r"no column alignments3D/pose.*refinement"):
        metadata.poses(np.ones(2))
    assert not metadata.has_poses()
    assert not metadata.has_ctf()


def test_files_that_are_no_tables_are_refused(tmp_path):
    path = tmp_path / "x.cs"
    path.write_bytes(b"not numpy")
    with pytest.raises(InputFileError, match=r"x.cs cannot be read"):
        CryosparcParticles(path)
    with path.open("wb") as file:
        np.save(file, np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputFileError, match="holds Python objects"):
        CryosparcParticles(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(InputFileError, match="no table"):
        CryosparcParticles(path)
    mixed = table(tmp_path, **{"blob/shape": (("u4", (2,)), [[64, 64], [32, 32]])})
    assert CryosparcParticles(mixed).box_sizes().tolist() == [64, 32]


def test_a_magnification_is_stored_less_the_identity(tmp_path):
    column = {"ctf/anisomag": (("f4", (4,)), [[0, 0, 0, 0], [0.01, 0.002, -0.003, -0.01]])}
    found = CryosparcParticles(table(tmp_path, **column)).magnifications()
    expected = [np.eye(2), [[1.01, 0.002], [-0.003, 0.99]]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    none = {"ctf/anisomag": (("f4", (4,)), np.zeros((2, 4)))}
    assert CryosparcParticles(table(tmp_path, **none)).magnifications() is None


def parsed(run, path, *options):
    out = path.with_name("pose.pkl")
    run("parse_pose_csparc", path, *options, "-o", out)
    return load_poses(out)[1].tolist()


def test_shifts_of_a_refinement_at_another_box_are_fractions_of_that_box(
    run, fail, tmp_path, caplog
):
    # Images of 64 pixels; shifts of 2 and 1 pixels of the refinement.
    older = table(tmp_path)
    assert parsed(run, older)[0] == [2 / 64, 1 / 64]
    assert caplog.text.count("taken to count in pixels of the images") == 1
    caplog.clear()
    assert parsed(run, older, "-D", 32)[0] == [2 / 32, 1 / 32]
    assert parsed(run, older, "-D", 64)[0] == [2 / 64, 1 / 64]
    # What is known is not doubled again.
    assert parsed(run, older, "--hetrefine")[0] == [2 / 32, 1 / 32]
    assert parsed(run, older, "--hetrefine", "-D", 32)[0] == [2 / 32, 1 / 32]
    assert parsed(run, older, "--hetrefine", "-D", 64)[0] == [2 / 32, 1 / 32]

    assert "taken to count" not in caplog.text

    newer = table(tmp_path, **{"alignments3D/psize_A": ("f4", [3.0, 3.0])})
    for options in ((), ("-D", 32), ("-D", 64)):
        assert parsed(run, newer, *options)[0] == [2 / 32, 1 / 32]
    message = fail("parse_pose_csparc", newer, "-D", 48, "-o", tmp_path / "new.pkl")
    assert "images have 64 pixels and whose refinement had 32" in message
    assert "-D must be at least 1, got 0" in fail(
        "parse_pose_csparc", older, "-D", 0, "-o", tmp_path / "n.pkl"
    )


@pytest.mark.parametrize("refined_at", [None, ("f4", [3.0, 3.0])])
def test_a_table_without_images_has_the_box_of_its_refinement(run, fail, tmp_path, refined_at):
    missing = {"blob/shape": None, "blob/psize_A": None}
    path = table(tmp_path, **missing, **{"alignments3D/psize_A": refined_at})
    assert parsed(run, path, "-D", 32)[0] == [2 / 32, 1 / 32]
    assert "give it with -D" in fail("parse_pose_csparc", path, "-o", tmp_path / "new.pkl")


def test_pixels_of_another_size_need_the_size_of_the_images(run, fail, tmp_path):
    columns = {"blob/psize_A": None, "alignments3D/psize_A": ("f4", [3.0, 3.0])}
    path = table(tmp_path, **columns)
    message = fail("parse_pose_csparc", path, "-o", tmp_path / "new.pkl")
    assert "does not say the pixel size; give it with --Apix" in message
    assert parsed(run, path, "--Apix", 1.5)[0] == [2 / 32, 1 / 32]


def signed(tmp_path, rng, signs):
    """Images whose stack holds those of sign -1 inverted."""
    pixels = rng.normal(size=(4, 8, 8)).astype(np.float32)
    with stack_writer(tmp_path / "a.mrc", 8, 1.5) as writer:
        writer.append(pixels * np.array(signs, np.float32)[:, None, None])
    array = np.zeros(
        4,
        [("blob/path", "S8"), ("blob/idx", "u4"), ("blob/psize_A", "f4"), ("blob/sign", "f4")],
    )
    array["blob/path"], array["blob/idx"] = b"a.mrc", np.arange(4)
    array["blob/psize_A"], array["blob/sign"] = 1.5, signs
    with (tmp_path / "signed.cs").open("wb") as file:
        np.save(file, array)
    return tmp_path / "signed.cs", pixels


def test_images_of_both_contrasts_are_read_as_of_one(tool, fail_tool, tmp_path, rng, caplog):
    caplog.set_level("INFO")
    path, pixels = signed(tmp_path, rng, [1, -1, -1, 1])
    images = open_particles(ParticleFiles(particles=path)).images
    np.testing.assert_array_equal(images.read(np.array([2, 0, 1])), pixels[[2, 0, 1]])
    assert "2 of 4 images have the inverse contrast of others (blob/sign -1)" in caplog.text
    np.save(tmp_path / "ind.npy", np.array([2, 1]))
    chosen = ParticleFiles(particles=path, indices=tmp_path / "ind.npy")
    np.testing.assert_array_equal(
        open_particles(chosen).images.read(np.arange(2)), pixels[[2, 1]]
    )
    tool("filter_mrcs", path, "--ind", tmp_path / "ind.npy", "-o", tmp_path / "b.mrcs")
    np.testing.assert_array_equal(
        MrcFile.open(tmp_path / "b.mrcs").sections(0, 2), pixels[[2, 1]]
    )
    tool("write_cs", path, "--ind", tmp_path / "ind.npy", "-o", tmp_path / "c.cs")
    assert "blob/sign" in fail_tool("write_star", path, "-o", tmp_path / "no.star")


@pytest.mark.parametrize(
    ("command", "options"),
    [("filter_cs", ()), ("write_cs", ()), ("write_cs", ("--full-path",)), ("export", ())],
)
def test_a_part_of_one_contrast_is_read_as_in_the_whole(
    run, tool, tmp_path, rng, command, options
):
    path, pixels = signed(tmp_path, rng, [1, -1, -1, 1])
    begin = run if command == "export" else tool
    for rows in ([2, 1], [3, 0]):
        np.save(tmp_path / "ind.npy", np.array(rows))
        out = tmp_path / "part.cs"
        begin(command, path, "--ind", tmp_path / "ind.npy", *options, "-o", out)
        images = open_particles(ParticleFiles(particles=out)).images
        np.testing.assert_array_equal(images.read(np.arange(2)), pixels[rows])
        out.unlink()


@pytest.mark.parametrize("options", [(), ("--full-path",)])
def test_a_table_made_anew_keeps_the_sign_that_all_images_have(tool, tmp_path, rng, options):
    path, pixels = signed(tmp_path, rng, [-1, -1, -1, -1])
    np.save(tmp_path / "ind.npy", np.array([3, 1]))
    out = tmp_path / "new.cs"
    tool("write_cs", path, "--ind", tmp_path / "ind.npy", *options, "-o", out)
    assert np.load(out)["blob/sign"].tolist() == [-1, -1]
    images = open_particles(ParticleFiles(particles=out)).images
    np.testing.assert_array_equal(images.read(np.arange(2)), -pixels[[3, 1]])


def test_one_contrast_for_all_changes_nothing(tmp_path, rng, caplog):
    caplog.set_level("INFO")
    path, pixels = signed(tmp_path, rng, [-1, -1, -1, -1])
    images = open_particles(ParticleFiles(particles=path)).images
    np.testing.assert_array_equal(images.read(np.arange(4)), -pixels)
    assert "all of its images are of one contrast (blob/sign -1)" in caplog.text
    wrong, _ = signed(tmp_path, rng, [1, -1, 0.5, 1])
    with pytest.raises(MetadataError, match="blob/sign of row 2 is 0.5, expected 1 or -1"):
        open_particles(ParticleFiles(particles=wrong))


@pytest.mark.parametrize("is_named", [True, False])
def test_images_of_other_optics_are_in_other_groups(tool, write_stack, rng, tmp_path, is_named):
    write_stack(rng.normal(size=(6, 8, 8)), "stack.mrcs")
    particles = {
        "rlnImageName": [f"{row}@stack.mrcs" for row in range(1, 7)],
        **{name: [20000.0] * 6 for name in ("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle")},
        "rlnOpticsGroup": [3, 1, 1, 2, 3, 2],
    }
    optics = {
        "rlnOpticsGroup": [1, 2, 3],
        "rlnVoltage": [300.0, 300.0, 200.0],
        "rlnSphericalAberration": [2.7] * 3,
        "rlnAmplitudeContrast": [0.1] * 3,
        "rlnImagePixelSize": [2.0] * 3,
        "rlnImageSize": [8] * 3,
    }
    star = tmp_path / "x.star"
    if not is_named:
        places = [number - 1 for number in particles.pop("rlnOpticsGroup")]
        del optics["rlnOpticsGroup"]
        particles |= {name: [values[n] for n in places] for name, values in optics.items()}
    write_star(
        star, {"optics": optics, "particles": particles} if is_named else {"": particles}
    )
    tool("write_cs", star, "-o", tmp_path / "x.cs")
    found = read_table(tmp_path / "x.cs")["ctf/exp_group_id"]
    assert found.tolist() == ([1, 2, 2, 3, 1, 3] if is_named else [1, 2, 2, 2, 1, 2])
