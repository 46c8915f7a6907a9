"""The scripts of 0.2.0 that look at latents and learning curves, as tools."""

import numpy as np
import pytest

from cryodrgn.io.cryodrgn_pickle import load_pickles, save_latents
from cryodrgn.io.latent_text import load_latent_text

PICTURE = b"\x89PNG"


@pytest.fixture
def latents(tmp_path, rng):
    """Three clouds of 20 particles each, far apart."""
    middles = np.repeat([[0, 0, 9], [9, 0, 0], [0, 9, 0]], 20, axis=0)
    values = (middles + rng.normal(size=(60, 3))).astype(np.float32)
    save_latents(tmp_path / "z.pkl", values, np.zeros_like(values))
    return values


def test_clusters_are_the_clouds_and_their_centres_their_means(tool, latents, tmp_path):
    out = ("-o", tmp_path / "labels.pkl", "--out-k", tmp_path / "k.txt")
    said = tool("kmeans", tmp_path / "z.pkl", "-k", 3, *out, "--out-png", tmp_path / "k.png")
    labels = load_pickles(tmp_path / "labels.pkl")[0]
    assert all(len(set(labels[start : start + 20])) == 1 for start in (0, 20, 40))
    assert said.count(": 20 particles") == 3
    centres = load_latent_text(tmp_path / "k.txt", 3)
    means = latents.reshape(3, 20, 3).mean(1)
    np.testing.assert_allclose(centres[labels[::20]], means, atol=1e-5)
    assert (tmp_path / "k.png").read_bytes().startswith(PICTURE)
    tool("kmeans", tmp_path / "z.pkl", "-k", 3, *out, "--on-data")
    for centre in load_latent_text(tmp_path / "k.txt", 3):
        assert np.abs(latents - centre).max(1).min() < 1e-5


def test_a_stride_takes_every_nth_particle(tool, fail_tool, latents, tmp_path, caplog):
    out = ("-o", tmp_path / "labels.pkl")
    tool("kmeans", tmp_path / "z.pkl", "-k", 2, "--stride", 7, *out)
    assert f"row i of {tmp_path / 'labels.pkl'} is particle 7 i" in caplog.text
    assert len(load_pickles(tmp_path / "labels.pkl")[0]) == 9
    message = fail_tool("kmeans", tmp_path / "z.pkl", "-k", 2, "--stride", 60, *out)
    assert "has 1 particles at --stride 60" in message


@pytest.mark.parametrize("name", ["run_umap", "tsne"])
def test_maps_keep_clouds_apart(tool, latents, tmp_path, name):
    out = tmp_path / "map.pkl"
    tool(name, tmp_path / "z.pkl", "-o", out, "--show")
    places = load_pickles(out)[0].reshape(3, 20, 2)
    middles = places.mean(1)
    spread = np.linalg.norm(places - middles[:, None], axis=-1).mean()
    apart = np.linalg.norm(middles - np.roll(middles, 1, axis=0), axis=-1).min()
    assert apart > 3 * spread
    assert out.with_suffix(".png").read_bytes().startswith(PICTURE)


def test_latents_are_drawn_by_their_dimension(tool, fail_tool, latents, tmp_path):
    tool("plot_z_pca", tmp_path / "z.pkl", "-o", tmp_path / "pca.png")
    for dimensions in (1, 2):
        path = tmp_path / f"z{dimensions}.pkl"
        save_latents(path, latents[:, :dimensions], latents[:, :dimensions])
        tool(f"plot_z{dimensions}", path, "-o", path.with_suffix(".png"))
        message = fail_tool(f"plot_z{dimensions}", tmp_path / "z.pkl", "-o", tmp_path / "n.png")
        assert f"holds a latent of dimension 3, expected {dimensions}" in message
    for name in ("pca", "z1", "z2"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(PICTURE)
    assert not (tmp_path / "n.png").exists()


def test_learning_curves_come_out_of_logs_of_any_version(tool, fail_tool, tmp_path):
    (tmp_path / "old.log").write_text(
        "2020-04-01 # =====> Epoch: 1 Average gen loss = 0.9, KLD = 1, total loss = 0.95; Fin\n"
        "2020-04-01 # =====> Epoch: 2 Average gen loss = 0.8, KLD = 1, total loss = 0.85; Fin\n"
    )
    said = tool("plot_loss", tmp_path / "old.log", "-o", tmp_path / "loss.png")
    assert "old.log: 2 epochs, last loss 0.85" in said
    assert (tmp_path / "loss.png").read_bytes().startswith(PICTURE)
    (tmp_path / "empty.log").touch()
    assert "reports no epoch" in fail_tool("plot_loss", tmp_path / "empty.log")


def test_marks_are_particles_and_medians_of_groups(tool, fail_tool, latents, tmp_path):
    line = ("plot_z_pca", tmp_path / "z.pkl", "-o", tmp_path / "z.png")
    out = ("--out-s", tmp_path / "s.txt")
    tool(*line, "--sample1", 5, "--seed", 3, *out)
    chosen = load_latent_text(tmp_path / "s.txt", 3)
    assert all(np.abs(latents - point).max(1).min() < 1e-6 for point in chosen)
    tool(*line, "--sample1", 5, "--seed", 4, *out)
    assert not np.array_equal(load_latent_text(tmp_path / "s.txt", 3), chosen)
    tool(*line, "--sample2", 3, "--annotate", *out)
    medians = np.median(latents.reshape(3, 20, 3), axis=1)
    np.testing.assert_allclose(load_latent_text(tmp_path / "s.txt", 3), medians, rtol=1e-6)
    assert "--sample1 61 is more than the 60" in fail_tool(*line, "--sample1", 61)


def test_any_dimensions_of_a_latent_are_drawn(tool, fail_tool, latents, tmp_path, drawn):
    save_latents(tmp_path / "one.pkl", latents[:, 1:2], latents[:, 1:2])
    pictures = []
    for name, *axis in (("z", "--axis", 1), ("one",)):
        out = tmp_path / f"{name}.png"
        tool("plot_z1", tmp_path / f"{name}.pkl", "-o", out, *axis, "--ylim", -5, 15)
        pictures.append(out.read_bytes())
    assert all(picture.startswith(PICTURE) for picture in pictures)
    said = fail_tool("plot_z2", tmp_path / "z.pkl", "--axis", 1, 3)
    assert said.endswith("--axis must be 2 of the dimensions 0 to 2, got 1 3\n")
