import pickle
import re
import shutil

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

import cryodrgn
from cryodrgn.analysis.landscape import (
    VolumeSpace,
    find_states,
    particle_density,
    vector_of,
)
from cryodrgn.analysis.mapping import MappingConfig, learn_mapping
from cryodrgn.analysis.pca import principal_components
from cryodrgn.errors import ConfigError
from cryodrgn.imaging.masks import resize_mask
from cryodrgn.io.cryodrgn_pickle import load_latents, load_pickles, save_pickles
from cryodrgn.io.mrc import read_volume, write_volume
from cryodrgn.workflow import landscape_full
from cryodrgn.workflow.gallery import save_bytes
from mrc_orders import assert_in_one_place

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def landscape(trained, consensus):
    from cryodrgn.cli.main import main

    words = ["-N", "12", "-M", "3", "--pc-dim", "4", "--plot-dim", "2", "--thresh", "0.05"]
    words += ["--like", str(consensus)]
    assert main(["analyze_landscape", str(trained), "1", *words]) == 0
    return trained / "landscape.1"


def test_a_landscape_has_states_whose_means_are_those_of_their_volumes(trained, landscape):
    states = landscape / "sketch_clustering_average_3"
    labels = load_pickles(states / "state_labels.pkl")[0]
    of_particles = load_pickles(landscape / "kmeans12/labels.pkl")[0]
    sizes = np.bincount(of_particles)
    found = []
    for state in range(3):
        members = np.flatnonzero(labels == state)
        volumes = [read_volume(landscape / f"kmeans12/vol_{m:03d}.mrc")[0] for m in members]
        expected = np.average(volumes, axis=0, weights=sizes[members])
        spread = np.average((volumes - expected) ** 2, axis=0, weights=sizes[members])
        mean, pixel_size = read_volume(states / f"state_{state:03d}_mean.mrc")
        np.testing.assert_allclose(mean, expected, atol=1e-5)
        deviation, _ = read_volume(states / f"state_{state:03d}_std.mrc")
        np.testing.assert_allclose(deviation, np.sqrt(spread), atol=1e-4)
        assert pixel_size == 12.0
        found.append(load_pickles(states / f"state_{state:03d}_particle_ind.pkl")[0])
    np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.arange(60))


def test_programs_around_cryodrgn_find_what_they_open(landscape):
    states = landscape / "sketch_clustering_average_3"
    for name in ("state_particle_counts", "state_volume_counts"):
        assert (states / f"{name}.png").is_file()
    with (landscape / "vol_pca_obj.pkl").open("rb") as file:
        model = pickle.load(file)
    space = VolumeSpace.load(landscape / "vol_pca.npz")
    volumes = [read_volume(landscape / f"kmeans12/vol_{n:03d}.mrc")[0] for n in range(12)]
    vectors = np.stack([vector_of(volume, space.mask) for volume in volumes])
    expected = load_pickles(landscape / "vol_pca_12.pkl")[0]
    np.testing.assert_allclose(model.transform(vectors), expected, atol=1e-4)
    fitted = PCA(4).fit(vectors)
    for name in ("explained_variance_", "singular_values_", "explained_variance_ratio_"):
        np.testing.assert_allclose(getattr(model, name), getattr(fitted, name), rtol=1e-3)
    assert model.noise_variance_ == pytest.approx(fitted.noise_variance_, rel=1e-2)


def test_all_volumes_of_a_landscape_lie_on_the_map_that_is_given(
    fail, trained, landscape, consensus, tmp_path
):
    volumes = list(landscape.rglob("*.mrc"))
    assert len(volumes) >= 12 + 2 * 10 + 2 * 3 + 2
    assert_in_one_place(volumes, consensus)
    out = tmp_path / "out"
    words = ("analyze_landscape", trained, 1, "--like", consensus, "-o", out)
    assert "cannot move volumes that --skip-vol keeps" in fail(*words, "--skip-vol")
    assert "fills a box of 192.0 Å" in fail(*words, "--Apix", 10)
    assert not out.exists()


def test_volumes_along_a_component_span_the_coordinates(landscape):
    space = VolumeSpace.load(landscape / "vol_pca.npz")
    coordinates = load_pickles(landscape / "vol_pca_12.pkl")[0]
    assert coordinates.shape == (12, 4)
    ends = [read_volume(landscape / f"vol_pcs/pc1/vol_{n:03d}.mrc")[0] for n in (0, 9)]
    length = np.linalg.norm(ends[1] - ends[0])
    assert length == pytest.approx(np.ptp(coordinates[:, 0]), rel=1e-4)
    assert not (ends[1] - ends[0])[space.mask == 0].any()


def test_volumes_along_a_component_are_at_their_coordinates_whatever_the_clusters_hold(
    landscape,
):
    space = VolumeSpace.load(landscape / "vol_pca.npz")
    coordinates = load_pickles(landscape / "vol_pca_12.pkl")[0][:, 0]
    sizes = np.bincount(load_pickles(landscape / "kmeans12/labels.pkl")[0])
    mean, _ = read_volume(landscape / "kmeans12/vol_mean.mrc")
    change = space.change(1)
    for place, value in ((0, coordinates.min()), (9, coordinates.max())):
        volume, _ = read_volume(landscape / f"vol_pcs/pc1/vol_{place:03d}.mrc")
        moved = np.vdot(volume - mean, change) / np.vdot(change, change)
        # The mean of all particles has a coordinate of its own.
        assert moved + np.average(coordinates, weights=sizes) == pytest.approx(value, abs=1e-3)


def test_a_landscape_ends_in_a_page_and_can_be_made_again(
    run, landscape, trained, tmp_path, rng, drawn
):
    page = (landscape / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert len(re.findall(r"\d: \d+ particles \(\d+%\), \d+ volumes<", page)) == 3
    copied, folder = tmp_path / "run", tmp_path / "landscape"
    shutil.copytree(trained, copied, ignore=shutil.ignore_patterns("analyze*", "landscape*"))
    shutil.copytree(landscape, folder)
    places = rng.normal(size=(60, 2)).astype(np.float32)
    (copied / "analyze.1").mkdir()
    save_pickles(copied / "analyze.1/umap.pkl", [places])
    words = ("-N", 12, "-M", 2, "--pc-dim", 2, "--skip-vol", "--mask", folder / "mask.mrc")
    run("analyze_landscape", copied, 1, *words, "-o", folder)
    states = folder / "sketch_clustering_average_2"
    assert (states / "state_001_mean.mrc").is_file()
    # The map of the analysis is there, too, with the states on it.
    np.testing.assert_array_equal(load_pickles(folder / "umap.pkl")[0], places)
    assert (states / "umap_annotated.png").read_bytes() == (folder / "umap.png").read_bytes()


def test_volumes_that_are_kept_stay_with_their_clusters_epoch_and_orientation(
    run, fail, trained, tmp_path
):
    copied, folder = tmp_path / "run", tmp_path / "landscape"
    shutil.copytree(trained, copied, ignore=shutil.ignore_patterns("analyze*", "landscape*"))
    words = ("-N", 8, "-M", 2, "--pc-dim", 2, "--thresh", 0.05, "-o", folder)
    run("analyze_landscape", copied, 1, *words, "--flip")
    labels = (folder / "kmeans8/labels.pkl").read_bytes()
    save_bytes(folder / "umap.png", b"of an earlier call")
    run("analyze_landscape", copied, 1, *words, "--skip-vol", "--seed", 5)
    assert (folder / "kmeans8/labels.pkl").read_bytes() == labels
    assert "flip: true" in (folder / "landscape.yaml").read_text()
    assert not (folder / "umap.png").exists()
    states = load_pickles(folder / "sketch_clustering_average_2/state_labels.pkl")[0]
    of_particles = states[load_pickles(folder / "kmeans8/labels.pkl")[0]]
    for state in range(2):
        found = load_pickles(
            folder / f"sketch_clustering_average_2/state_00{state}_particle_ind.pkl"
        )[0]
        np.testing.assert_array_equal(found, np.flatnonzero(of_particles == state))

    again = ("analyze_landscape", copied, 1, *words, "--skip-vol")
    assert "are of epoch 1, not of epoch 0" in fail("analyze_landscape", copied, 0, *again[3:])
    with pytest.raises(ConfigError, match="`flip` False was asked for, but"):
        cryodrgn.analyze_landscape(
            copied, 1, sketch_size=8, num_states=2, flip=False, skip_volumes=True, outdir=folder
        )
    latents = load_latents(copied / "z.1.pkl")
    save_pickles(copied / "z.1.pkl", [latents[::-1].copy()])
    assert "are not at latents of these 60 particles" in fail(*again)
    (folder / "kmeans8/z_values.txt").unlink()
    assert "z_values.txt is missing; leave out --skip-vol" in fail(*again)


def test_every_particle_is_mapped_as_the_sketch_was(run, trained, landscape, tmp_path):
    folder = tmp_path / "landscape"
    shutil.copytree(landscape, folder)
    words = ("--landscape-dir", folder, "--epochs", 150, "--lr", 0.003, "--dim", 32)
    printed = run(
        "analyze_landscape_full", trained, 1, *words, "--skip-umap", "--batch-size", 8
    )
    assert "of volumes it never saw the mapping explains" in printed
    everyone = load_pickles(folder / "vol_pca_all.pkl")[0]
    particles = np.loadtxt(folder / "kmeans12/centers_ind.txt", dtype=int)
    sampled = load_pickles(folder / "vol_pca_sampled.pkl")[0]
    sketch = load_pickles(folder / f"vol_pca_{len(particles)}.pkl")[0]
    # The volume of a central particle, made again, stands where it stood in the sketch.
    np.testing.assert_allclose(
        sampled[particles][:, : sketch.shape[1]], sketch, atol=0.02 * np.ptp(sketch)
    )
    residual = everyone[:, 0] - sampled[:, 0]
    assert residual.var() < 0.2 * sampled[:, 0].var()
    assert (folder / "particle_density.png").is_file()
    assert len(load_pickles(folder / "state_labels_all.pkl")[0]) == 60
    communities = load_pickles(folder / "full_clustering/cluster_labels.pkl")[0]
    assert communities.dtype == np.int32
    assert set(communities) == set(range(1, communities.max() + 1))
    page = (folder / "report_full.html").read_text()
    assert page.count("data:image/png") == 2
    assert f"community {communities.max()}<" in page


def test_sampled_volumes_that_are_kept_are_of_this_landscape_and_these_latents(
    run, fail, trained, landscape, tmp_path, caplog
):
    copied, folder = tmp_path / "run", tmp_path / "landscape"
    shutil.copytree(trained, copied, ignore=shutil.ignore_patterns("analyze*", "landscape*"))
    shutil.copytree(landscape, folder)
    words = ("analyze_landscape_full", copied, 1, "--landscape-dir", folder, "-N", 20)
    words += ("--epochs", 2, "--dim", 8, "--skip-umap")
    run(*words)
    again = ("analyze_landscape", copied, 1, "-N", 12, "-M", 2, "--skip-vol", "-o", folder)
    again += ("--pc-dim", 4)
    run(*again, "--mask", folder / "mask.mrc")
    run(*words, "--skip-vol")
    assert "sampled.yaml is missing" not in caplog.text
    results = [folder / name for name in ("vol_pca_all.pkl", "report_full.html")]
    run(*again, "--mask", folder / "mask.mrc")
    assert all(path.is_file() for path in (*results, folder / "state_labels_all.pkl"))
    run(*again, "--mask", folder / "mask.mrc", "--linkage", "ward")
    assert "divided into other states now; analyze_landscape_full" in caplog.text
    assert not (folder / "state_labels_all.pkl").exists()
    assert all(path.is_file() for path in results)

    run(*again, "--thresh", 0.1)
    assert "wrote into" in caplog.text
    assert not any(path.exists() for path in results)
    said = fail(*words, "--skip-vol")
    assert "vol_pca_sampled.pkl are of volumes in another mask, or along other" in said
    assert "leave out --skip-vol to make them again" in said
    (folder / "sampled.yaml").unlink()
    run(*words, "--skip-vol")
    assert "sampled.yaml is missing: the coordinates in vol_pca_sampled.pkl are" in caplog.text
    run(*again[:-1], 3)
    assert "along other components" in fail(*words, "--skip-vol")
    save_pickles(copied / "z.1.pkl", [load_latents(copied / "z.1.pkl")[::-1].copy()])
    assert "are not those of the particles of ind.sampled.pkl" in fail(*words, "--skip-vol")
    (folder / "z.sampled.pkl").unlink()
    assert "z.sampled.pkl is missing; leave out --skip-vol" in fail(*words, "--skip-vol")


def test_pictures_of_an_earlier_map_of_all_particles_do_not_stay(
    run, trained, landscape, tmp_path, monkeypatch
):
    folder, words = tmp_path / "landscape", ("-N", 12, "-M", 2, "--skip-vol")
    shutil.copytree(landscape, folder)
    again = ("analyze_landscape", trained, 1, *words, "--mask", folder / "mask.mrc")
    run(*again, "--pc-dim", 1, "-o", folder)

    def fail(*_, **__):
        msg = "no neighbours"
        raise ValueError(msg)

    monkeypatch.setattr(landscape_full, "find_communities", fail)
    names = ("umap_vol_pca.pkl", "umap_vol_pca_hexbin.png", "full_clustering/umap.png")
    names += ("full_clustering/cluster_labels.pkl", "particle_density.png")
    names += ("particle_density.npz", "volpca_landscape.png")
    for name in names:
        save_bytes(folder / name, b"of an earlier call")
    command = ("analyze_landscape_full", trained, 1, "--landscape-dir", folder, "-N", 20)
    said = run(*command, "--epochs", 2, "--dim", 8, "--skip-umap")
    assert "umap_vol_pca.pkl is removed" in said
    assert not [name for name in names if (folder / name).exists()]
    assert "data:image/png" not in (folder / "report_full.html").read_text()


def test_volumes_unlike_those_of_the_landscape_are_refused(fail, trained, landscape, tmp_path):
    words = ("analyze_landscape_full", trained, 1, "--landscape-dir", landscape)
    assert "was made with 16; leave -d out" in fail(*words, "-d", 12, "-o", tmp_path / "x")
    assert "was made with False; leave --flip" in fail(*words, "--flip", "-o", tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("analyze_landscape", "-N", 61, "-M", 2), "61 clusters need as many different"),
        (("analyze_landscape", "-N", 5, "-M", 6), "cannot be made of -N 5 volumes"),
        (("analyze_landscape", "-N", 5, "-M", 2, "--skip-vol"), "leave out --skip-vol"),
        (("analyze_landscape_full",), "run analyze_landscape first"),
    ],
)
def test_impossible_landscapes_end_in_one_sentence(fail, trained, tmp_path, words, message):
    command, *options = words
    out = (("--landscape-dir", tmp_path) if "full" in command else ()) + ("-o", tmp_path / "x")
    assert message in fail(command, trained, 1, *options, *out)
    assert not (tmp_path / "x").exists()


def test_a_mask_of_finer_voxels_is_resampled_and_a_map_is_refused(
    run, fail, trained, landscape, tmp_path
):
    folder = tmp_path / "landscape"
    shutil.copytree(landscape, folder)
    mask, pixel_size = read_volume(folder / "mask.mrc")
    finer = resize_mask(torch.from_numpy(mask), 2 * len(mask)).numpy()
    write_volume(tmp_path / "finer.mrc", finer, pixel_size / 2)
    words = ("analyze_landscape", trained, 1, "-N", 12, "-M", 2, "--pc-dim", 2)
    run(*words, "--skip-vol", "--mask", tmp_path / "finer.mrc", "-o", folder)
    found, _ = read_volume(folder / "mask.mrc")
    assert found.shape == mask.shape
    assert np.corrcoef(found.flat, mask.flat)[0, 1] > 0.9

    state = folder / "sketch_clustering_average_2/state_000_mean.mrc"
    message = fail(*words, "--mask", state, "-o", tmp_path / "x")
    assert "is no mask: its values run from" in message
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("left", "message"),
    [
        ("vol_pca.npz", "run analyze_landscape first"),
        ("landscape.yaml", "run analyze_landscape first"),
    ],
)
def test_half_of_a_landscape_is_said_to_be_one(
    fail, trained, landscape, tmp_path, left, message
):
    folder = tmp_path / "landscape"
    shutil.copytree(landscape, folder)
    (folder / left).unlink()
    before = sorted(folder.rglob("*"))
    words = ("analyze_landscape_full", trained, 1, "--landscape-dir", folder)
    assert message in fail(*words)
    assert sorted(folder.rglob("*")) == before


def test_vectors_are_masked_and_never_negative(rng):
    volume, mask = rng.normal(size=(2, 4, 4, 4))
    mask = np.clip(mask, 0, 1)
    vector = vector_of(volume, mask)
    assert len(vector) == np.count_nonzero(mask)
    assert vector.min() == 0
    assert vector.sum() == pytest.approx(np.clip(volume * mask, 0, None).sum(), rel=1e-5)


def test_states_are_the_groups_of_the_volumes(rng):
    truth = np.repeat([2, 0, 1], [5, 6, 7])
    centres = 10 * rng.normal(size=(3, 50))
    vectors = (centres[truth] + rng.normal(size=(18, 50))).astype(np.float32)
    for linkage in ("average", "ward"):
        states = find_states(vectors, 3, linkage)
        pairs = set(zip(truth.tolist(), states.labels.tolist(), strict=True))
        assert len(pairs) == 3
    assert sorted(find_states(vectors, 18).labels.tolist()) == list(range(18))


def test_a_space_is_read_as_it_was_written(rng, tmp_path):
    mask = np.ones((4, 4, 4), np.float32)
    volumes = rng.normal(size=(6, 4, 4, 4)).astype(np.float32)
    vectors = np.stack([vector_of(volume, mask) for volume in volumes])
    space = VolumeSpace(mask=mask, components=principal_components(vectors, 3))
    space.save(tmp_path / "space.npz")
    again = VolumeSpace.load(tmp_path / "space.npz")
    expected = space.components.project(vectors)
    np.testing.assert_allclose(again.coordinates(volumes, 6), expected, atol=1e-5)


def test_the_density_of_particles_is_one_in_all_and_its_band_shrinks_with_their_number(rng):
    widths = []
    for count in (500, 50_000):
        density = particle_density(rng.normal(size=(count, 2)), bins=10)
        x, y = density.edges
        assert density.density.sum() * (x[1] - x[0]) * (y[1] - y[0]) == pytest.approx(1)
        assert (density.low <= density.density + 1e-9).all()
        assert (density.high >= density.density - 1e-9).mean() > 0.95
        widths.append(np.ptp(density.profile_band, axis=0).max())
    assert widths[1] < 0.2 * widths[0]


def test_a_mapping_learns_a_smooth_function_and_knows_how_well(rng):
    latents = rng.normal(size=(400, 2)).astype(np.float32)
    coordinates = np.stack(
        [latents.sum(1), np.sin(latents[:, 0]), rng.normal(size=400)], axis=1
    )
    config = MappingConfig(hidden_dim=32, epochs=60, learning_rate=3e-3)
    mapping = learn_mapping(latents, coordinates.astype(np.float32), config, CPU)
    assert (mapping.explained[:2] > 0.9).all()
    assert mapping.explained[2] < 0.2
    error = mapping(latents)[:, :2] - coordinates[:, :2]
    assert error.std() < 0.2
