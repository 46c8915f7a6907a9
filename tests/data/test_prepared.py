from dataclasses import replace

import numpy as np
import pytest

from cryodrgn.data import memory, prepared
from cryodrgn.data.prepared import Storage, prepare_all
from cryodrgn.data.preprocessing import Preprocessing, prepare_images
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.io.atomic import format_size
from cryodrgn.io.particle_files import ParticleFiles, open_particles
from cryodrgn.particles.optics import CtfTable


@pytest.fixture
def particles(write_stack, write_pickle, rng):
    count = 7
    stack = write_stack(rng.normal(size=(count, 12, 12)))
    poses = (np.tile(np.eye(3), (count, 1, 1)), rng.uniform(-0.1, 0.1, (count, 2)))
    return open_particles(
        ParticleFiles(particles=stack, poses=write_pickle(poses, "poses.pkl"))
    )


@pytest.mark.parametrize("on_disk", [False, True])
def test_prepared_images_are_those_of_the_preprocessing(
    particles, tmp_path, monkeypatch, on_disk
):
    monkeypatch.setattr(prepared, "BATCH", 3)
    lattice, settings = (
        HalfPlaneFrequencies.disc(12),
        Preprocessing(window_radius=0.8, scale=3.0),
    )
    before = set(tmp_path.iterdir())
    storage = Storage(scratch_dir=tmp_path / "new/run", on_disk=on_disk)
    images = prepare_all(particles, lattice, settings, storage=storage)
    assert (images.store.resident is None) == on_disk
    # The scratch file has no name: it cannot stay behind, nor can a folder made for it.
    assert set(tmp_path.iterdir()) == before
    rows = np.array([5, 0, 6])
    expected = prepare_images(particles.images, rows, lattice, settings)
    np.testing.assert_allclose(images.read(rows), expected, atol=1e-5)


def test_kept_images_are_not_used_again_at_another_magnification(particles, tmp_path):
    count, lattice = len(particles), HalfPlaneFrequencies.disc(12)
    numbers = dict.fromkeys(("defocus_u", "defocus_v"), np.full(count, 1e4, np.float32))
    numbers |= dict.fromkeys(("defocus_angle", "phase_shift"), np.zeros(count, np.float32))
    ctf = CtfTable(
        **numbers,
        voltage_kv=np.full(count, 300, np.float32),
        spherical_aberration_mm=np.full(count, 2.7, np.float32),
        amplitude_contrast=np.full(count, 0.1, np.float32),
        odd_zernike=np.ones((count, 2), np.float32),
        source="test",
    )
    for scale in (1.0, 1.1):
        matrices = np.tile(np.float32(scale) * np.eye(2, dtype=np.float32), (count, 1, 1))
        images = replace(particles.images, ctf=ctf, magnifications=matrices)
        storage = Storage(scratch_dir=tmp_path, cache_dir=tmp_path / "kept")
        kept = prepare_all(
            replace(particles, images=images), lattice, Preprocessing(), storage=storage
        )
        rows = np.arange(count)
        expected = prepare_images(images, rows, lattice, Preprocessing())
        np.testing.assert_allclose(kept.read(rows), expected, atol=1e-5)


def test_images_that_do_not_fit_into_memory_go_to_disk(
    particles, tmp_path, monkeypatch, caplog
):
    caplog.set_level("INFO")
    monkeypatch.setattr(prepared, "available_memory", lambda: 100)
    storage = Storage(scratch_dir=tmp_path)
    images = prepare_all(
        particles, HalfPlaneFrequencies.disc(12), Preprocessing(), storage=storage
    )
    assert images.store.resident is None
    assert "in a scratch file in" in caplog.text


def test_the_limit_of_a_batch_job_counts(tmp_path, monkeypatch):
    limit, use = tmp_path / "memory.max", tmp_path / "memory.current"
    limit.write_text("5000\n")
    use.write_text("2000\n")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    assert memory.available_memory() == 3000
    limit.write_text("max\n")
    assert memory.available_memory() > 3000


def test_the_limits_of_all_groups_above_count_and_files_that_are_cached_do_not(
    tmp_path, monkeypatch
):
    process, groups = tmp_path / "proc", tmp_path / "groups"
    inner = groups / "memory" / "job" / "step"
    inner.mkdir(parents=True)
    process.mkdir()
    (process / "cgroup").write_text("4:memory:/job/step\n0::/\n")
    (inner / "memory.limit_in_bytes").write_text(str(2**63 - 4096))
    (inner / "memory.usage_in_bytes").write_text("1000")
    (inner.parent / "memory.limit_in_bytes").write_text("10000")
    (inner.parent / "memory.usage_in_bytes").write_text("7000")
    (inner.parent / "memory.stat").write_text("cache 6000\ntotal_inactive_file 4000\n")
    monkeypatch.setattr(memory, "PROCESS", process)
    monkeypatch.setattr(memory, "CGROUPS", groups)
    assert memory.memory_limits({})["control group"] == 7000


def test_what_slurm_grants_counts_less_what_is_held():
    held = memory.resident_memory()
    assert held > 10**7
    of_node = memory.memory_limits({"SLURM_MEM_PER_NODE": "4000"})["SLURM"]
    assert of_node == pytest.approx(4000 * 2**20 - held, abs=10**7)
    of_cpus = {"SLURM_MEM_PER_CPU": "1000", "SLURM_CPUS_ON_NODE": "2"}
    assert memory.memory_limits(of_cpus)["SLURM"] == pytest.approx(2000 * 2**20 - held, abs=1e7)
    assert "SLURM" not in memory.memory_limits({"SLURM_MEM_PER_NODE": "0"})


def test_bytes_are_said_in_sensible_units():
    assert [format_size(n) for n in (999, 1.5e3, 38.5e6, 2e9, 3e12)] == [
        "999 bytes",
        "1.5 kB",
        "38.5 MB",
        "2 GB",
        "3 TB",
    ]
