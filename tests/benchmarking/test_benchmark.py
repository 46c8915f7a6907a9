import json

import pytest
import torch

from cryodrgn.benchmarking.search import SearchCase
from cryodrgn.benchmarking.steps import model_config
from cryodrgn.fourier.grids import HalfPlaneFrequencies
from cryodrgn.training.cost import operations_per_particle


@pytest.mark.parametrize(
    ("box", "width", "expected"), [(64, 256, 2.4), (128, 256, 11.5), (64, 1024, 32)]
)
def test_the_cost_of_an_image_is_that_of_its_products(box, width, expected):
    # Decoder costs in GFLOP, forward and backward, as known for the reference program; it
    # also pays for the gradient of the first layer's input, which is a ninth at most.
    found = operations_per_particle(model_config(box, width, 3)) / 1e9
    assert 0.85 * expected < found < 1.02 * expected


def test_figures_are_printed_and_kept(run, tmp_path):
    words = run(
        *("benchmark", "--boxes", 16, "--batches", 4, "--widths", 16, "--seconds", 0.01),
        *("--steps-only", "--device", "cpu", "--json", tmp_path / "figures.json"),
    )
    assert "matrix products in bfloat16" in words
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert {"machine", "ceiling", "train"} == set(figures)
    (row,) = figures["train"]
    keys = {"box", "width", "layers", "batch", "images_per_s", "gflops", "fraction"}
    assert set(row) == keys
    assert row["images_per_s"] > 0
    dtype = figures["machine"]["network_dtype"]
    assert row["fraction"] == pytest.approx(row["gflops"] / figures["ceiling"][dtype])
    flops = operations_per_particle(model_config(16, 16, 3))
    assert row["gflops"] == pytest.approx(row["images_per_s"] * flops / 1e9)


def test_a_search_is_bound_by_the_products_of_its_grids():
    case = SearchCase(16, 0.0, torch.float32, torch.device("cpu"), num_levels=1)
    # 4608 rotations on the disc of radius 7, then 64 of each image.
    points = len(HalfPlaneFrequencies.disc(16, 7))
    first, refined = case._finder.operations_per_image
    assert (first, refined) == (6 * points * 4608, 6 * points * 64)
    ceilings = {"float32": 2.0, "bfloat16": 8.0}
    assert case.bound(ceilings) == pytest.approx(2e9 / (first + refined))
    half = SearchCase(16, 0.0, torch.bfloat16, torch.device("cpu"), num_levels=1)
    assert half.bound(ceilings) == pytest.approx(1e9 / (first / 8 + refined / 2))
    assert case.images_per_s(0.0) > 0
