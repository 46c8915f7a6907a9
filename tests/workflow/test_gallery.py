import numpy as np
import pytest

from cryodrgn.io.mrc import write_volume
from cryodrgn.progress import Progress
from cryodrgn.rundir import VolumeSeries
from cryodrgn.workflow import gallery


def test_large_volumes_are_drawn_from_smaller_ones_at_the_same_level(tmp_path, monkeypatch):
    axis = np.arange(32) - 16
    squares = axis**2 + axis[:, None] ** 2 + axis[:, None, None] ** 2
    paths = [tmp_path / f"vol_{number:03d}.mrc" for number in range(2)]
    for path, radius in zip(paths, (8, 9), strict=True):
        write_volume(
            path, (3 / (1 + np.exp(np.sqrt(squares) - radius))).astype(np.float32), 2.0
        )
    looks = []
    for largest in (32, 16):
        monkeypatch.setattr(gallery, "LARGEST", largest)
        with Progress(2, "drawing") as progress:
            series = VolumeSeries(tmp_path)
            looks.append(gallery.draw_series(series, paths, progress, is_path=True))
        assert series.film.is_file()
        assert series.picture(1).is_file()
        assert series.difference(0).is_file()
    assert looks[1].level == pytest.approx(looks[0].level, rel=0.1)
    assert looks[1].extent == pytest.approx(looks[0].extent, rel=0.15)
    width = gallery.look_as_mapping(looks[0], 2.0, 32)["width"]
    assert width == pytest.approx(2 * looks[0].extent * 64, abs=0.1)
