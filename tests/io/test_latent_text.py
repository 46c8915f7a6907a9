"""Points of a latent space, in every file in which people have them."""

import numpy as np
import pytest

from cryodrgn.errors import InputFileError
from cryodrgn.io.cryodrgn_pickle import save_pickles
from cryodrgn.io.latent_text import load_latent_text, save_latent_text


def test_points_are_read_from_text_arrays_and_pickles(tmp_path, rng):
    points = rng.normal(size=(3, 2)).astype(np.float32)
    save_latent_text(tmp_path / "z.txt", points)
    np.save(tmp_path / "z.npy", points)
    # A z.pkl has the variances behind the latents.
    save_pickles(tmp_path / "z.pkl", [points, points])
    for name in ("z.txt", "z.npy", "z.pkl"):
        np.testing.assert_array_equal(load_latent_text(tmp_path / name, 2), points)
        with pytest.raises(InputFileError, match=rf"{name}.* rows of 5"):
            load_latent_text(tmp_path / name, 5)
