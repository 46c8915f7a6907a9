"""Tilt series: particles are told by their names, images ordered by dose, weights follow."""

import numpy as np
import pytest
import torch

from cryodrgn.data.preprocessing import exposure_parameters
from cryodrgn.errors import ConfigError, MetadataError
from cryodrgn.imaging.exposure import exposure_weights
from cryodrgn.io.cryodrgn_pickle import save_pickles
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.io.star import write_star
from cryodrgn.particles.options import TiltSeriesSettings

BOX = 8
# Tilts in the order of acquisition of a dose-symmetric series, 3 e/Å² each.
ANGLES = np.array([0, 3, -3, -6, 6, 9, -9], dtype=float)
DOSES = 3.0 * np.arange(len(ANGLES))
PARTICLES = 5


def columns(rng, *, relion=True):
    """A row for every tilt of every particle, image k of the stack being row k."""
    owner = np.repeat(np.arange(PARTICLES), len(ANGLES))
    rows = np.arange(len(owner))
    common = {
        "rlnImageName": [f"{row + 1}@stack.mrcs" for row in rows],
        "rlnAngleRot": rng.uniform(-180, 180, len(rows)),
        "rlnAngleTilt": rng.uniform(0, 180, len(rows)),
        "rlnAnglePsi": rng.uniform(-180, 180, len(rows)),
        "rlnOriginXAngst": rng.normal(size=len(rows)),
        "rlnOriginYAngst": rng.normal(size=len(rows)),
        "rlnDefocusU": 20000 + 10.0 * rows,
        "rlnDefocusV": 19000 + 10.0 * rows,
        "rlnDefocusAngle": 1.0 * rows,
        "rlnVoltage": np.full(len(rows), 300.0),
        "rlnSphericalAberration": np.full(len(rows), 2.7),
        "rlnAmplitudeContrast": np.full(len(rows), 0.1),
        "rlnImagePixelSize": np.full(len(rows), 2.0),
        "rlnImageSize": np.full(len(rows), BOX),
    }
    tomograms = [f"TS_{number % 2 + 1:02d}" for number in owner]
    scales = np.tile(np.cos(np.deg2rad(ANGLES)), PARTICLES)
    doses = np.tile(DOSES, PARTICLES)
    if relion:
        names = [f"{tomo}/{n}" for tomo, n in zip(tomograms, owner, strict=True)]
        return common | {
            "rlnTomoName": tomograms,
            "rlnTomoParticleName": names,
            "rlnMicrographPreExposure": doses,
            "rlnCtfScalefactor": scales,
        }
    return common | {
        "rlnMicrographName": [f"{tomo}.tomostar" for tomo in tomograms],
        "rlnGroupName": [f"{tomo}_{n:04d}" for tomo, n in zip(tomograms, owner, strict=True)],
        "rlnCtfBfactor": -4 * doses,
        "rlnCtfScalefactor": scales,
    }


def chosen(table, rows):
    return {name: [values[row] for row in rows] for name, values in table.items()}


@pytest.fixture
def write(write_stack, rng, tmp_path):
    write_stack(rng.normal(size=(PARTICLES * len(ANGLES), BOX, BOX)), "stack.mrcs")

    def written(table, name="x.star"):
        write_star(tmp_path / name, {"particles": table})
        return tmp_path / name

    return written


def opened(path, **settings):
    series = TiltSeriesSettings(**settings)
    return open_particles(ParticleFiles(particles=path, series=series))


def by_name(particles):
    """The particles in the order of their names."""
    return particles.select(np.argsort(particles.names))


def assert_equal_sets(found, expected):
    assert found.names.tolist() == expected.names.tolist()
    assert found.image_counts.tolist() == expected.image_counts.tolist()
    for name in ("doses", "weights", "pixel_sizes"):
        np.testing.assert_array_equal(
            getattr(found.images, name), getattr(expected.images, name), err_msg=name
        )
    for name in ("rotations", "shifts"):
        np.testing.assert_array_equal(
            getattr(found.images.poses, name), getattr(expected.images.poses, name)
        )
    np.testing.assert_array_equal(found.images.ctf.defocus_u, expected.images.ctf.defocus_u)
    rows = np.arange(len(found.images))
    np.testing.assert_array_equal(found.images.read(rows), expected.images.read(rows))


def test_rows_of_relion_are_images_of_particles(write, rng):
    particles = opened(write(columns(rng)))
    assert len(particles) == PARTICLES
    assert particles.image_counts.tolist() == [len(ANGLES)] * PARTICLES
    assert particles.names.tolist()[:2] == ["TS_01/0", "TS_02/1"]
    assert particles.tomograms.tolist()[:2] == ["TS_01", "TS_02"]
    np.testing.assert_allclose(particles.images.doses[: len(ANGLES)], DOSES)
    np.testing.assert_allclose(
        particles.images.weights[: len(ANGLES)], np.cos(np.deg2rad(ANGLES)), atol=1e-6
    )
    assert particles.images.tilt_angles is None


def test_rows_of_warp_are_the_same_images(write, rng):
    seed = rng.integers(1 << 30)
    relion = opened(write(columns(np.random.default_rng(seed))))
    warp = opened(write(columns(np.random.default_rng(seed), relion=False), "warp.star"))
    assert warp.names.tolist()[:2] == ["TS_01_0000", "TS_02_0001"]
    assert warp.tomograms.tolist()[:2] == ["TS_01.tomostar", "TS_02.tomostar"]
    assert_equal_sets(
        type(warp)(
            images=warp.images,
            original_rows=warp.original_rows,
            offsets=warp.offsets,
            names=relion.names,
        ),
        relion,
    )


@pytest.mark.parametrize("relion", [True, False])
def test_shuffled_rows_are_the_same_particles(write, rng, relion):
    table = columns(rng, relion=relion)
    ordered = by_name(opened(write(table)))
    shuffled = chosen(table, rng.permutation(PARTICLES * len(ANGLES)))
    assert_equal_sets(by_name(opened(write(shuffled, "shuffled.star"))), ordered)


def test_missing_and_doubled_tilts_leave_the_others_as_they_are(write, rng, caplog):
    table = columns(rng)
    rows = [*range(3, 20), *range(22, PARTICLES * len(ANGLES)), 30]
    particles = opened(write(chosen(table, rows)))
    assert particles.image_counts.tolist() == [4, 7, 6, 6, 8]
    assert particles.images.doses[:4].tolist() == [9, 12, 15, 18]
    assert "lists 1 images more than once" in caplog.text


def test_particles_of_the_same_name_in_two_tomograms_are_two(write, rng):
    table = columns(rng)
    tomograms = np.array(table["rlnTomoName"])
    first = [np.flatnonzero(tomograms == name)[: len(ANGLES)] for name in ("TS_01", "TS_02")]
    table["rlnTomoParticleName"] = ["1"] * len(tomograms)
    particles = opened(write(chosen(table, np.concatenate(first).tolist())))
    assert particles.names.tolist() == ["TS_01/1", "TS_02/1"]
    with pytest.raises(
        MetadataError, match=r"1 \(rlnTomoParticleName\) has two images or more of"
    ):
        opened(write(table))


def test_the_best_images_are_those_of_the_smallest_dose(write, rng):
    particles = opened(write(columns(rng)), num_tilts=2)
    assert particles.image_counts.tolist() == [2] * PARTICLES
    assert set(particles.images.doses.tolist()) == {0, 3}
    assert opened(write(columns(rng)), num_tilts=1).offsets is None


def test_an_index_counts_particles_and_tables_count_images(write, rng, tmp_path):
    table = columns(rng)
    order = rng.permutation(PARTICLES * len(ANGLES))
    path = write(chosen(table, order))
    whole = opened(path)
    index = tmp_path / "ind.pkl"
    save_pickles(index, [np.array([3, 1])])
    turned = np.roll(np.tile(np.eye(3, dtype=np.float32), (len(order), 1, 1)), 1, axis=2)
    shifts = np.stack([np.arange(len(order)), np.zeros(len(order))], axis=1) / 100
    save_pickles(tmp_path / "all.pkl", [(turned, shifts)])
    files = ParticleFiles(particles=path, indices=index, poses=tmp_path / "all.pkl")
    found = open_particles(files)
    assert_names = whole.names[[3, 1]].tolist()
    assert found.names.tolist() == assert_names
    rows = found.images.rows
    np.testing.assert_allclose(found.images.poses.shifts[:, 0], rows / 100 * 2 * BOX, rtol=1e-5)
    # A table of the chosen images alone has them in the order of the file.
    kept = np.sort(rows)
    save_pickles(tmp_path / "few.pkl", [(turned[kept], shifts[kept])])
    few = ParticleFiles(particles=path, indices=index, poses=tmp_path / "few.pkl")
    np.testing.assert_array_equal(
        open_particles(few).images.poses.shifts, found.images.poses.shifts
    )


def without(table, *names):
    return {name: values for name, values in table.items() if name not in names}


def test_dose_and_tilt_follow_from_ranks_where_the_file_says_neither(write, rng):
    """Ranks are by scale; the check values of weights are those of cryoDRGN-ET at 300 kV."""
    table = without(columns(rng), "rlnMicrographPreExposure")
    path = write(chosen(table, rng.permutation(PARTICLES * len(ANGLES))))
    particles = opened(path, dose_per_tilt=2.93)
    first = slice(0, len(ANGLES))
    np.testing.assert_allclose(
        particles.images.doses[first], 2.93 * np.arange(len(ANGLES)), rtol=1e-6
    )
    np.testing.assert_allclose(
        particles.images.weights[first],
        np.cos(np.deg2rad([0, 3, 3, 6, 6, 9, 9])),
        atol=1e-6,
    )
    table = without(columns(rng), "rlnCtfScalefactor")
    particles = opened(write(table), angle_per_tilt_deg=3.0)
    np.testing.assert_allclose(
        particles.images.tilt_angles[first], np.deg2rad([0, 3, 3, 6, 6, 9, 9]), rtol=1e-6
    )
    damping = exposure_parameters(particles.images)[: len(ANGLES)]
    frequencies = torch.tensor([0.05, 0.1, 0.2])
    found = exposure_weights(
        torch.stack([frequencies, torch.zeros(3)], dim=1).expand(len(ANGLES), 3, 2), damping
    )
    critical = np.array([38.7337, 14.13834, 6.382326])
    doses = DOSES[:, None]
    expected = np.exp(-doses / (2 * critical)) * (doses < 2.51284 * critical)
    expected *= np.cos(np.deg2rad([0, 3, 3, 6, 6, 9, 9]))[:, None]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dose_per_tilt": 2.5}, "`dose_per_tilt` 2.5 contradicts .*x.star.* 3 e/Å² apart"),
        ({"angle_per_tilt_deg": 2.0}, "`angle_per_tilt_deg` 2 contradicts .*x.star.* 3° apart"),
    ],
)
def test_a_contradiction_is_an_error(write, rng, settings, words):
    with pytest.raises(ConfigError, match=words):
        opened(write(columns(rng)), **settings)
    opened(write(columns(rng)), dose_per_tilt=3.0, angle_per_tilt_deg=3.0)


def test_ranks_need_a_column_to_rank_by(write, rng):
    table = without(columns(rng), "rlnMicrographPreExposure", "rlnCtfScalefactor")
    with pytest.raises(ConfigError, match="neither rlnMicrographPreExposure nor"):
        opened(write(table), dose_per_tilt=3.0)
    assert opened(write(table)).images.doses is None


def test_settings_of_tilt_series_are_refused_for_single_images(write, rng):
    names = ("rlnTomoName", "rlnTomoParticleName", "rlnGroupName")
    path = write(without(columns(rng), *names))
    for name in ("dose_per_tilt", "angle_per_tilt_deg", "num_tilts"):
        with pytest.raises(ConfigError, match=f"`{name}` is for tilt series"):
            opened(path, **{name: 3})
    # cryoDRGN's encoder implies a number of tilts.
    with pytest.raises(ConfigError, match="leave out `num_tilts`, or `encode_mode` tilt"):
        opened(path, num_tilts=3)


def test_a_negative_dose_is_refused(write, rng):
    table = columns(rng)
    table["rlnMicrographPreExposure"] = table["rlnMicrographPreExposure"] - 1
    with pytest.raises(MetadataError, match="rlnMicrographPreExposure of row 0 is -1"):
        opened(write(table))


def test_two_particles_of_one_name_are_two_though_tilts_are_missing(write, rng):
    table = columns(rng)
    owner = np.repeat(np.arange(PARTICLES), len(ANGLES))
    name = table["rlnTomoParticleName"][0]
    table["rlnTomoName"] = ["TS_01"] * len(owner)
    table["rlnTomoParticleName"] = [
        name if number < 2 else f"TS_01/{number}" for number in owner
    ]
    rows = np.setdiff1d(np.arange(len(owner)), [0, 1, 8])
    with pytest.raises(
        MetadataError, match=rf"{name} .* has two images or more of 5 of its 6 doses"
    ):
        opened(write(chosen(table, rows)))


def test_a_dose_that_tilts_of_a_particle_share_is_none_of_tilts(write, rng, caplog):
    caplog.set_level("INFO")
    table = columns(rng)
    table["rlnMicrographPreExposure"] = np.repeat(np.arange(5.0), len(ANGLES))
    path = write(table)
    assert opened(path).images.doses is None
    assert "dose not known (rlnMicrographPreExposure is the same for all tilts" in caplog.text
    found = opened(path, dose_per_tilt=3.0).images.doses
    np.testing.assert_allclose(found[: len(ANGLES)], DOSES)


def test_columns_of_dose_and_tilt_that_disagree_are_named(write, rng, caplog):
    table = columns(rng)
    doses = table["rlnMicrographPreExposure"]
    tilts = np.tile(ANGLES, PARTICLES)
    agreeing = {"rlnCtfBfactor": -4 * doses, "rlnTomoNominalStageTiltAngle": tilts}
    expected = opened(write(table | agreeing)).images
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    others = {"rlnCtfBfactor": -8 * doses, "rlnTomoNominalStageTiltAngle": 5 * tilts}
    found = opened(write(table | others)).images
    assert "rlnCtfBfactor / 4 says other doses than rlnMicrographPreExposure" in caplog.text
    assert "by up to 18 e/Å²" in caplog.text
    assert "rlnCtfScalefactor is not the cosine of rlnTomoNominalStageTiltAngle" in caplog.text
    np.testing.assert_array_equal(found.doses, expected.doses)


def test_stages_are_not_tilted_by_more_than_a_right_angle(write, rng):
    table = without(columns(rng), "rlnCtfScalefactor")
    table["rlnTomoNominalStageTiltAngle"] = 20 * np.tile(ANGLES, PARTICLES)
    with pytest.raises(MetadataError, match="TiltAngle of row 5 is 180°, expected .* than 90°"):
        opened(write(table))


def test_tilt_images_of_unknown_particles_are_named(write, rng, caplog):
    table = without(columns(rng, relion=False), "rlnGroupName")
    assert opened(write(table)).offsets is None
    assert "no column rlnTomoParticleName or rlnGroupName says which" in caplog.text


def test_settings_of_tilt_series_do_not_go_with_single_images(write, rng):
    with pytest.raises(ConfigError, match="`single_images` takes every image of .*x.star"):
        opened(write(columns(rng)), is_series=False, num_tilts=3)


@pytest.mark.parametrize("relion", [True, False])
@pytest.mark.parametrize("layout", [(), ("--relion30",)])
def test_a_written_star_file_lists_the_same_series(write, rng, tool, tmp_path, relion, layout):
    star = write(columns(rng, relion=relion))
    said = tool("write_star", star, *layout, "-o", tmp_path / "out" / "x.star")
    assert "wrote 35 tilt images" in said
    found, expected = opened(tmp_path / "out" / "x.star"), opened(star)
    assert found.names.tolist() == expected.names.tolist()
    assert found.tomograms.tolist() == expected.tomograms.tolist()
    np.testing.assert_array_equal(found.image_counts, expected.image_counts)
    for name in ("doses", "weights", "pixel_sizes"):
        values = getattr(expected.images, name)
        np.testing.assert_allclose(getattr(found.images, name), values, rtol=1e-6)
    poses = expected.images.poses
    np.testing.assert_allclose(found.images.poses.rotations, poses.rotations, atol=1e-5)
    np.testing.assert_allclose(found.images.poses.shifts, poses.shifts, atol=1e-4)
    rows = np.arange(len(found.images))
    np.testing.assert_array_equal(found.images.read(rows), expected.images.read(rows))


def test_rows_of_a_series_stay_images_of_their_particles(write, rng, tool, tmp_path):
    # One image of each of two particles: by themselves they look like single images.
    (tmp_path / "ind.txt").write_text("1 8 9")
    line = ("--ind", tmp_path / "ind.txt", "-o", tmp_path / "some.star")
    said = tool("write_star", write(columns(rng, relion=False)), *line)
    assert "--ind count rows" in said
    found = opened(tmp_path / "some.star", is_series=True)
    assert found.names.tolist() == ["TS_01_0000", "TS_02_0001"]
    assert found.image_counts.tolist() == [1, 2]


def test_a_cryosparc_table_is_said_to_hold_no_series(write, rng, tool, tmp_path, caplog):
    tool("write_cs", write(columns(rng)), "-o", tmp_path / "x.cs")
    assert "lists images of tilt series" in caplog.text
