"""Kernels in Triton for CUDA devices; all other operations are those of torch.

A residual layer W h + b + h, with h the activation of u, is one kernel that reads u and writes
the result. Its backward is two: one for the gradient of u, which is the product with W, plus
the gradient of the result, times the slope of the activation; one for those of W and b, which
sums over rows. Rows are summed in a fixed number of pieces and then over the pieces, so the
result is the same in every run. Loaded only where Triton is installed;
``TRITON_INTERPRET=1`` runs the kernels on a processor.
"""

from typing import Any

import torch
import triton  # type: ignore[reportMissingImports]
import triton.language as tl  # type: ignore[reportMissingImports]
from jaxtyping import Float
from torch import Tensor

from cryodrgn.kernels.torch_kernels import (
    add_slices,
    inner_products,
    local_pose_search,
    read_slices,
    read_transform,
    solve_systems,
)
from cryodrgn.kernels.torch_kernels import residual_layer as plain_residual_layer

__all__ = [
    "add_slices",
    "inner_products",
    "local_pose_search",
    "read_slices",
    "read_transform",
    "residual_layer",
    "solve_systems",
]

# Sides of the tiles of a product: rows, columns, and what is summed at a time.
ROWS, COLUMNS, DEPTH = 128, 128, 64
# Rows of a piece that one program sums for gradients of weights.
ROWS_PER_PIECE, MOST_PIECES = 4096, 64
LEAST_WIDTH = 16


def residual_layer(
    values: Float[Tensor, "*rows width"],
    weight: Float[Tensor, "width width"],
    bias: Float[Tensor, " width"],
    slope: float,
) -> Float[Tensor, "*rows width"]:
    """W h + b + h, where h is the activation of the values, in one kernel.

    Sums are float32 and rounded once. Layers too narrow for a tile are computed by torch.
    """
    width = values.shape[-1]
    if width < LEAST_WIDTH:
        return plain_residual_layer(values, weight, bias, slope)
    flat = values.reshape(-1, width)
    return _layer(flat, weight.to(values.dtype), bias.float(), slope).view(values.shape)


@torch.library.custom_op("cryodrgn::residual_layer", mutates_args=())
def _layer(values: Tensor, weight: Tensor, bias: Tensor, slope: float) -> Tensor:
    result = torch.empty_like(values)
    _launch(values, weight.mT, values, bias, result, slope, is_backward=False)
    return result


@torch.library.custom_op("cryodrgn::residual_layer_backward", mutates_args=())
def _layer_backward(
    gradient: Tensor, values: Tensor, weight: Tensor, slope: float
) -> tuple[Tensor, Tensor, Tensor]:
    gradient = gradient.contiguous()
    of_values = torch.empty_like(values)
    _launch(gradient, weight, values, None, of_values, slope, is_backward=True)
    rows, width = values.shape
    pieces = min(MOST_PIECES, triton.cdiv(rows, ROWS_PER_PIECE))
    of_weight = values.new_empty((pieces, width, width), dtype=torch.float32)
    of_bias = values.new_empty((pieces, width), dtype=torch.float32)
    side = _side(width, DEPTH)
    tiles = triton.cdiv(width, side)
    _sum_over_rows[(tiles, tiles, pieces)](  # type: ignore[reportIndexIssue]
        gradient,
        values,
        of_weight,
        of_bias,
        rows,
        width,
        slope,
        triton.cdiv(rows, pieces),
        SIDE=side,
        ROWS_AT_ONCE=DEPTH,
        PRECISION=_precision(values),
        num_warps=4,
    )
    return of_values, of_weight.sum(0).to(weight.dtype), of_bias.sum(0)


@_layer.register_fake
def _(values: Tensor, weight: Tensor, bias: Tensor, slope: float) -> Tensor:  # noqa: ARG001
    return torch.empty_like(values)


@_layer_backward.register_fake
def _(
    gradient: Tensor,  # noqa: ARG001
    values: Tensor,
    weight: Tensor,
    slope: float,  # noqa: ARG001
) -> tuple[Tensor, Tensor, Tensor]:
    bias = values.new_empty(values.shape[1], dtype=torch.float32)
    return torch.empty_like(values), torch.empty_like(weight), bias


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    values, weight, _, ctx.slope = inputs
    ctx.save_for_backward(values, weight)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    values, weight = ctx.saved_tensors
    return *_layer_backward(gradient, values, weight, ctx.slope), None


_layer.register_autograd(_backward, setup_context=_remember)


def _launch(
    left: Tensor,
    right: Tensor,
    values: Tensor,
    bias: Tensor | None,
    result: Tensor,
    slope: float,
    *,
    is_backward: bool,
) -> None:
    """One kernel for the layer or for the gradient of its input."""
    rows, width = values.shape
    columns = _side(width, COLUMNS)
    grid = (triton.cdiv(rows, ROWS), triton.cdiv(width, columns))
    _product[grid](  # type: ignore[reportIndexIssue]
        left,
        right,
        values,
        values if bias is None else bias,
        result,
        rows,
        width,
        right.stride(0),
        right.stride(1),
        slope,
        IS_BACKWARD=is_backward,
        ROWS_AT_ONCE=ROWS,
        COLUMNS_AT_ONCE=columns,
        DEPTH_AT_ONCE=_side(width, DEPTH),
        PRECISION=_precision(values),
        num_warps=8,
        num_stages=3,
    )


def _side(width: int, most: int) -> int:
    return min(most, triton.next_power_of_2(width))


def _precision(values: Tensor) -> str:
    """Products of float32 numbers are not rounded to fewer bits before."""
    return "ieee" if values.dtype == torch.float32 else "tf32"


@triton.jit
def _active(values, slope):
    return tl.where(values > 0, values, values * slope)


@triton.jit
def _product(
    left,
    right,
    values,
    bias,
    result,
    rows,
    width,
    stride_depth,
    stride_column,
    slope,
    IS_BACKWARD: tl.constexpr,
    ROWS_AT_ONCE: tl.constexpr,
    COLUMNS_AT_ONCE: tl.constexpr,
    DEPTH_AT_ONCE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """H W + b + h with h the activation of ``left``; or (g W + g) times its slope."""
    row = tl.program_id(0) * ROWS_AT_ONCE + tl.arange(0, ROWS_AT_ONCE)
    column = tl.program_id(1) * COLUMNS_AT_ONCE + tl.arange(0, COLUMNS_AT_ONCE)
    start = row.to(tl.int64)[:, None] * width
    in_rows, in_columns = row[:, None] < rows, column[None, :] < width
    total = tl.zeros((ROWS_AT_ONCE, COLUMNS_AT_ONCE), dtype=tl.float32)
    for first in range(0, width, DEPTH_AT_ONCE):
        depth = first + tl.arange(0, DEPTH_AT_ONCE)
        a = tl.load(
            left + start + depth[None, :], mask=in_rows & (depth[None, :] < width), other=0.0
        )
        if not IS_BACKWARD:
            a = _active(a, slope).to(a.dtype)
        b = tl.load(
            right + depth[:, None] * stride_depth + column[None, :] * stride_column,
            mask=(depth[:, None] < width) & in_columns,
            other=0.0,
        )
        total += tl.dot(a, b, input_precision=PRECISION)
    inside = in_rows & in_columns
    here = tl.load(values + start + column[None, :], mask=inside, other=0.0).to(tl.float32)
    if IS_BACKWARD:
        passed = tl.load(left + start + column[None, :], mask=inside, other=0.0)
        total = (total + passed.to(tl.float32)) * tl.where(here > 0, 1.0, slope)
    else:
        added = tl.load(bias + column, mask=column < width, other=0.0)
        total += added[None, :] + _active(here, slope)
    tl.store(result + start + column[None, :], total.to(result.dtype.element_ty), mask=inside)


@triton.jit
def _sum_over_rows(
    gradient,
    values,
    of_weight,
    of_bias,
    rows,
    width,
    slope,
    rows_per_piece,
    SIDE: tl.constexpr,
    ROWS_AT_ONCE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """gᵀ h, and the sums of g, over the rows of one piece."""
    out = tl.program_id(0) * SIDE + tl.arange(0, SIDE)
    into = tl.program_id(1) * SIDE + tl.arange(0, SIDE)
    piece = tl.program_id(2)
    begin = piece * rows_per_piece
    end = tl.minimum(begin + rows_per_piece, rows)
    total = tl.zeros((SIDE, SIDE), dtype=tl.float32)
    bias = tl.zeros((SIDE,), dtype=tl.float32)
    for first in range(begin, end, ROWS_AT_ONCE):
        row = first + tl.arange(0, ROWS_AT_ONCE)
        start = row.to(tl.int64)[:, None] * width
        g = tl.load(
            gradient + start + out[None, :],
            mask=(row[:, None] < end) & (out[None, :] < width),
            other=0.0,
        )
        h = tl.load(
            values + start + into[None, :],
            mask=(row[:, None] < end) & (into[None, :] < width),
            other=0.0,
        )
        total += tl.dot(tl.trans(g), _active(h, slope).to(g.dtype), input_precision=PRECISION)
        bias += tl.sum(g.to(tl.float32), axis=0)
    plane = piece.to(tl.int64) * width * width
    inside = (out[:, None] < width) & (into[None, :] < width)
    tl.store(of_weight + plane + out[:, None] * width + into[None, :], total, mask=inside)
    if tl.program_id(1) == 0:
        tl.store(of_bias + piece * width + out, bias, mask=out < width)
