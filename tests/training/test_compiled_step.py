"""Compiled steps and replayed ones lead where plain steps lead."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from cryodrgn import compiled_code
from cryodrgn.cli.main import main
from cryodrgn.data.training_set import TrainingSet
from cryodrgn.io.cryodrgn_pickle import load_latents
from cryodrgn.training import compiled_step, execution
from cryodrgn.training.compiled_step import CompiledStep, radius_computed
from finished_run import SMALL_VAE, Finished
from simulated_card import simulated_card
from simulated_graph import with_graphs

# Kernels one after another: processes that compile several at once take longer to start.
ALONE = {"TORCHINDUCTOR_COMPILE_THREADS": "1"}


@pytest.fixture(scope="module")
def star(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    words = "simulate -D 16 --Apix 12 -n 44 --num-states 2 --snr 1 -o"
    assert main([*words.split(), str(folder)]) == 0
    return folder / "particles.star"


@pytest.fixture
def uncompiled(monkeypatch):
    """The function of a step as it is, in place of a compiled one."""
    for place in (compiled_step, compiled_code):
        monkeypatch.setattr(place, "compiled", lambda function: function)
    monkeypatch.setattr(compiled_code, "compiler_problem", lambda device: None)


def line(star, out, *more):
    common = ("--zdim", 2, "-n", 3, "-b", 8, *SMALL_VAE, "--no-amp")
    return ["train_vae", star, *common, *more, "-o", out]


def train(star, out, *more):
    words = line(star, out, *more)
    assert main([str(word) for word in words]) == 0
    return Finished(out)


def losses(run: Finished) -> list[float]:
    return [row["total"] for row in run.metrics]


def assert_the_same(first: Finished, second: Finished, tolerance: float = 1e-4):
    for name, value in second.weights().items():
        torch.testing.assert_close(first.weights()[name], value, rtol=tolerance, atol=1e-5)
    np.testing.assert_allclose(losses(first), losses(second), rtol=tolerance)
    # The encoder's evaluation of all images is executed in the same way.
    latents = (load_latents(run.path / "z.pkl") for run in (first, second))
    np.testing.assert_allclose(*latents, rtol=tolerance, atol=1e-4)


CASES = {
    "plain": (),
    "growing radius": ("--curriculum", 2),
    "a target of the divergence": ("--beta", "a", "--beta-control", 0.1),
    "poses that are refined": ("--do-pose-sgd", "--pretrain", 1),
    "particles kept out": ("--held-out", 0.2),
    "noise and contrasts": ("--noise-model", "radial", "--contrast"),
}


@pytest.fixture(scope="module")
def in_parts(star, tmp_path_factory):
    """Runs with steps in parts, by case; each is made once."""
    folder, runs = tmp_path_factory.mktemp("parts"), {}

    def of(case):
        if case not in runs:
            out = folder / str(len(runs))
            runs[case] = train(star, out, "--compile", "off", *CASES[case])
        return runs[case]

    return of


@pytest.mark.parametrize("case", CASES)
def test_the_step_as_one_function_is_the_step_in_parts(
    star, in_parts, uncompiled, tmp_path, case
):
    expected = in_parts(case)
    found = train(star, tmp_path / "on", "--compile", "on", *CASES[case])
    assert_the_same(found, expected)


@pytest.mark.parametrize("case", ["plain", "growing radius", "noise and contrasts"])
def test_a_step_that_is_replayed_is_the_step(
    star, in_parts, uncompiled, tmp_path, case, monkeypatch
):
    expected = in_parts(case)
    graphs = with_graphs(monkeypatch)
    with simulated_card(monkeypatch):
        found = train(star, tmp_path / "graphs", "--device", "cuda", *CASES[case])
    assert_the_same(found, expected)
    assert sum(graph.replays for graph in graphs) > 5


@pytest.mark.slow  # a compiler's minute
@pytest.mark.skipif(
    compiled_code.compiler_problem(torch.device("cpu")) is not None,
    reason="needs a C++ compiler",
)
def test_a_compiled_run_learns_as_a_plain_one_does(star, tmp_path):
    lines = []
    for how in ("off", "on"):
        more = ("--compile", how, "--log-interval", 8)
        lines.append(line(star, tmp_path / how, *more))
    program = (
        "from cryodrgn.cli.main import main; import json, sys; "
        "sys.exit(sum(main(line) for line in json.loads(sys.argv[1])))"
    )
    # Without the checks of shapes, which compilers cannot look through.
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps([[str(w) for w in one] for one in lines])],
        env=os.environ | ALONE | {compiled_code.CACHE_VARIABLE: str(tmp_path / "compiled")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "not compiled" not in done.stderr
    plain, found = (losses(Finished(tmp_path / how)) for how in ("off", "on"))
    assert len(plain) > 10
    np.testing.assert_allclose(found, plain, rtol=1e-3)
    assert any((tmp_path / "compiled").iterdir())


def test_images_that_do_not_fit_on_the_card_are_sent_ahead(
    star, in_parts, uncompiled, tmp_path, monkeypatch
):
    expected = in_parts("plain")
    graphs = with_graphs(monkeypatch)
    with simulated_card(monkeypatch):
        found = train(star, tmp_path / "sent", "--device", "cuda", "--lazy")
    assert_the_same(found, expected)
    assert sum(graph.replays for graph in graphs) > 5


def test_a_replayed_run_that_was_stopped_goes_on_exactly(
    star, uncompiled, tmp_path, monkeypatch
):
    with_graphs(monkeypatch)
    with simulated_card(monkeypatch):
        whole = train(star, tmp_path / "whole", "--device", "cuda")
        train(star, tmp_path / "part", "--device", "cuda", "-n", 2)
        part = train(star, tmp_path / "part", "--device", "cuda", "--load", "latest")
    for name, value in whole.weights().items():
        assert torch.equal(part.weights()[name], value), name


def test_a_bad_batch_is_left_out_of_a_replayed_run(
    star, uncompiled, tmp_path, monkeypatch, capsys
):
    batch = TrainingSet.looked_up
    monkeypatch.setattr(
        "cryodrgn.training.loop.generator_at",
        lambda *place: torch.Generator().manual_seed(hash(place) % 1000),
    )

    def spoilt(self, rows, *rest):
        found = batch(self, rows, *rest)
        found.images.mul_(torch.where(rows == 5, torch.nan, 1.0)[:, None, None])
        return found

    graphs = with_graphs(monkeypatch)
    monkeypatch.setattr(TrainingSet, "looked_up", spoilt)
    monkeypatch.setattr(
        "cryodrgn.training.objectives.encode_all", lambda *_: (np.zeros(1),) * 2
    )
    with simulated_card(monkeypatch):
        run = train(star, tmp_path / "bad", "--device", "cuda", "-n", 4)
    assert "skipped a batch" in capsys.readouterr().err
    assert sum(graph.replays for graph in graphs) > 5
    assert all(torch.isfinite(value).all() for value in run.weights().values())


def test_a_compiler_that_fails_is_said_and_done_without(
    star, in_parts, tmp_path, monkeypatch, capsys
):
    def broken(function):
        def fail(*_):
            msg = "this machine's compiler crashed\nlong story"
            raise RuntimeError(msg)

        return fail

    expected = in_parts("plain")
    monkeypatch.setattr(compiled_code, "compiler_problem", lambda device: None)
    for place in (compiled_step, compiled_code):
        monkeypatch.setattr(place, "compiled", broken)
    capsys.readouterr()
    found = train(star, tmp_path / "on", "--compile", "on")
    said = capsys.readouterr().err
    assert said.count("this machine's compiler crashed; steps are not compiled") == 1
    assert "long story" not in said
    assert_the_same(found, expected, 0.0)


def test_a_graph_that_cannot_be_captured_is_done_without(
    star, in_parts, uncompiled, tmp_path, monkeypatch, capsys
):
    def refuse(self, slot):
        msg = "operation not permitted when stream is capturing"
        raise RuntimeError(msg)

    expected = in_parts("plain")
    monkeypatch.setattr(CompiledStep, "_capture", refuse)
    with simulated_card(monkeypatch):
        found = train(star, tmp_path / "graphs", "--device", "cuda")
    said = capsys.readouterr().err
    assert said.count("is capturing; steps are compiled without CUDA graphs") == 1
    assert_the_same(found, expected)


@pytest.mark.parametrize(
    ("capability", "sentence"),
    [((6, 1), "has compute capability 6.1, and compiled code needs 7.0; steps are not")],
)
def test_a_card_too_old_for_compiled_code_is_said(monkeypatch, capability, sentence, caplog):
    with simulated_card(monkeypatch, capability=capability):
        assert execution.choose_variant("graphs", torch.device("cuda", 0)) == "off"
    assert sentence in caplog.text


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("triton", "the package triton, which PyTorch compiles with, is not installed"),
        ("gcc", "this machine has no compiler (gcc, clang, cc)"),
    ],
)
def test_what_code_of_cards_is_compiled_with_is_missed(monkeypatch, missing, sentence, caplog):
    found = None if missing == "triton" else "there"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found)
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.delenv("CC", raising=False)
    with simulated_card(monkeypatch):
        assert execution.choose_variant("graphs", torch.device("cuda", 0)) == "off"
    assert f"graphs: {sentence}; steps are not compiled" in caplog.text


def test_a_machine_without_compiler_is_said(monkeypatch, caplog):
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    assert execution.choose_variant("on", torch.device("cpu")) == "off"
    assert "this machine has no compiler (g++, clang++, c++); steps are not" in caplog.text


def test_slices_are_computed_within_few_radii():
    found = {radius_computed(radius, 64) for radius in range(4, 65)}
    assert found == {16, 32, 48, None}
    assert all((radius_computed(radius, 9) or 9) >= radius for radius in range(1, 10))


def test_compiled_code_is_kept_in_the_users_cache(tmp_path):
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    compiled_code.keep_compiled_code(environment)
    assert environment[compiled_code.CACHE_VARIABLE] == str(tmp_path / "cryodrgn" / "compiled")
    compiled_code.keep_compiled_code(named := {compiled_code.CACHE_VARIABLE: "there"})
    assert named == {compiled_code.CACHE_VARIABLE: "there"}
