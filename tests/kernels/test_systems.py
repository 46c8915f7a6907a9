import numpy as np
import pytest
import torch

from cryodrgn.kernels import backends

COUNT, NUM_ROWS, NUM_SHELLS = 6, 50, 4


@pytest.fixture(params=["compiled", "torch"])
def way(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(backends, "HAS_NUMBA", False)
    return request.param


@pytest.mark.usefixtures("way")
def test_solutions_and_inverses_are_those_of_lapack(rng):
    halves = rng.normal(size=(NUM_ROWS, COUNT, COUNT + 3))
    matrices = halves @ halves.transpose(0, 2, 1)
    right = rng.normal(size=(NUM_ROWS, COUNT, 2))
    damping = rng.uniform(0.1, 1, (COUNT, NUM_SHELLS))
    first, second = np.triu_indices(COUNT)
    columns = (right[..., 0], right[..., 1], matrices[:, first, second])
    table = torch.from_numpy(np.concatenate(columns, axis=1)).float()
    voxels = torch.from_numpy(rng.permutation(NUM_ROWS)[:30])
    shells = torch.from_numpy(rng.integers(NUM_SHELLS, size=30))

    found, inverses = backends.kernels_for(table.device).solve_systems(
        table, voxels, shells, torch.from_numpy(damping).float(), with_inverses=True
    )

    added = np.einsum("nv,nm->vnm", damping[:, shells], np.eye(COUNT))
    expected = np.linalg.inv(matrices[voxels] + added)
    np.testing.assert_allclose(inverses, expected, atol=1e-4, rtol=1e-3)
    np.testing.assert_allclose(found, expected @ right[voxels], atol=1e-4, rtol=1e-3)
