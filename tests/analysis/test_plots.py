import numpy as np
import pytest
import torch
from matplotlib.text import Text

from cryodrgn.analysis.agreement import first_component, rank_correlation
from cryodrgn.analysis.check_plots import plot_defocus
from cryodrgn.analysis.plots import (
    plot_fsc,
    plot_latent_against_truth,
    plot_volumes_beside_truth,
    save_figure,
)
from cryodrgn.analysis.report import HtmlReport
from cryodrgn.analysis.state_plots import StatePanel, plot_states
from cryodrgn.fourier.shells import ShellCurve


def test_fsc_plot_shows_every_curve_at_its_resolution():
    curve = ShellCurve(torch.tensor([0.1, 0.2, 0.4]), torch.tensor([1.0, 0.8, 0.2]))
    (axes,) = plot_fsc({"first": curve, "second": curve}, pixel_size=2.0).axes
    line = axes.get_lines()[0]
    np.testing.assert_allclose(line.get_xdata(), [0.05, 0.1, 0.2])
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["first", "second"]
    assert axes.get_xticklabels()[-1].get_text() == "4"


def test_volumes_stand_under_their_truth():
    volumes = [np.full((4, 4, 4), value, np.float32) for value in (1, 2)]
    truths = [np.full((4, 4, 4), value, np.float32) for value in (3, 4)]
    grid = plot_volumes_beside_truth(volumes, truths, ["a", "b"]).axes
    shown = [axes.images[0].get_array()[0, 0] for axes in grid]
    assert shown == [3, 4, 1, 2, 12, 16, 4, 8]


@pytest.mark.parametrize("count", [1, 2, 9])
def test_no_words_of_a_picture_of_states_are_cut_off(count):
    section = np.eye(16, dtype=np.float32)
    panel = StatePanel(
        title="state 0",
        section=section,
        projection=section,
        fsc=ShellCurve(torch.tensor([0.1, 0.2, 0.4]), torch.tensor([1.0, 0.8, 0.2])),
        words="12.8 Å or better, 456 images\nEXTRAPOLATED",
        is_supported=True,
    )
    figure = plot_states([panel] * count, 3.0, "half maps share z, " * 6)
    # As when it is saved: the layout of the first pass is that of the second.
    figure.canvas.draw()
    figure.canvas.draw()
    within = figure.bbox.padded(1)
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text():
            place = text.get_window_extent()
            for corner in ((place.x0, place.y0), (place.x1, place.y1)):
                assert within.contains(*corner), text


def test_every_particle_is_in_the_histogram_once(rng):
    latent, truth = rng.normal(size=500), rng.integers(0, 10, 500).astype(float)
    _, histogram, *_ = plot_latent_against_truth(latent, truth, "angle").axes
    assert sum(patch.get_height() for patch in histogram.patches) == pytest.approx(500)


def test_equal_figures_give_equal_files(tmp_path):
    curve = ShellCurve(torch.tensor([0.1, 0.2]), torch.tensor([1.0, 0.8]))
    for name in ("a.png", "b.png"):
        save_figure(plot_fsc({"x": curve}, 1.0), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_rank_correlation_knows_neither_scale_nor_sign(rng):
    truth = rng.uniform(size=200)
    assert rank_correlation(-np.exp(3 * truth)[:, None], truth) == pytest.approx(1)
    plane = np.stack([0.1 * rng.normal(size=200), 5 * truth], axis=1)
    assert rank_correlation(plane, truth) > 0.99
    assert rank_correlation(rng.normal(size=(200, 1)), truth) < 0.25


def test_first_component_is_the_direction_of_largest_spread(rng):
    latent = rng.normal(size=(300, 2)) * [0.1, 3.0] + 7
    component = first_component(latent)
    assert abs(np.corrcoef(component, latent[:, 1])[0, 1]) > 0.999


def test_a_report_escapes_what_it_is_given(tmp_path):
    report = HtmlReport("a < b")
    report.verdict("x & y")
    report.commands(["cat <file>"])
    report.write(tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "<title>a &lt; b</title>" in page
    assert "x &amp; y" in page
    assert "cat &lt;file&gt;" in page


@pytest.mark.parametrize("value", [0.0, 1e-9, 166.096, -3e6])
def test_values_equal_but_for_rounding_have_a_histogram(value):
    values = np.full(50, value, np.float32)
    values[7] = np.nextafter(values[7], np.float32(np.inf))
    figure = plot_defocus(values, values)
    counts = [sum(patch.get_height() for patch in axes.patches) for axes in figure.axes]
    assert counts == [50, 50]
