"""The kernels in Triton, in its interpreter, beside the operations in torch."""

import inspect
import os
import subprocess
import sys

import pytest
import torch

from cryodrgn.kernels import numba_kernels, torch_kernels
from cryodrgn.kernels.backends import Kernels, kernels_for, runs_triton
from cryodrgn.models.layers import Mlp, fuse_residual_layers

WITH_TRITON = pytest.mark.skipif(
    not runs_triton(torch.device("cuda", 0)),
    reason="needs the package triton, which PyTorch without CUDA comes without",
)
OPERATIONS = {name for name, _ in inspect.getmembers(Kernels, inspect.isfunction)} - {
    "__init__",
    "__subclasshook__",
}
# In a process of its own: Triton reads the variable when it is loaded.
COMPARED = """
import torch
from cryodrgn.kernels import torch_kernels
from cryodrgn.kernels.backends import kernels_for
kernels = kernels_for(torch.device("cpu"), fused=True)
assert kernels.__name__.endswith("triton_kernels")
generator = torch.Generator().manual_seed(0)
for rows, width, slope in ((300, 32, 0.0), (130, 48, 0.01), (5000, 16, 0.0), (10, 8, 0.0)):
    shapes = ((2, rows // 2, width), (width, width), (width,))
    given = [torch.randn(shape, generator=generator) for shape in shapes]
    gradient = torch.randn(2, rows // 2, width, generator=generator)
    found = []
    for module in (kernels, torch_kernels):
        leaves = [tensor.clone().requires_grad_() for tensor in given]
        result = module.residual_layer(*leaves, slope)
        found.append([result, *torch.autograd.grad(result, leaves, gradient)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    half = kernels.residual_layer(*[tensor.half() for tensor in given], slope)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), found[1][0], rtol=2e-2, atol=5e-2)
torch.library.opcheck(
    torch.ops.cryodrgn.residual_layer,
    (torch.randn(20, 16, requires_grad=True), torch.randn(16, 16), torch.randn(16), 0.0),
    test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
)
"""


@pytest.mark.parametrize("module", [torch_kernels, numba_kernels])
def test_an_implementation_has_all_operations(module):
    assert all(callable(getattr(module, name)) for name in OPERATIONS)


@WITH_TRITON
def test_triton_has_all_operations():
    module = kernels_for(torch.device("cuda", 0), fused=True)
    assert all(callable(getattr(module, name)) for name in OPERATIONS)


@WITH_TRITON
def test_a_residual_layer_and_its_gradients_are_those_of_torch():
    done = subprocess.run(
        [sys.executable, "-c", COMPARED],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_fused_layers_are_the_layers(activation):
    network = Mlp(10, 2, 24, 2, activation)
    features, latent = torch.randn(3, 5, 8), torch.randn(3, 2)
    expected = network.conditioned(features, latent)
    assert fuse_residual_layers(network) == 2
    torch.testing.assert_close(network.conditioned(features, latent), expected)


def test_without_triton_fused_operations_are_those_of_the_device(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert kernels_for(torch.device("cuda", 0), fused=True) is torch_kernels
