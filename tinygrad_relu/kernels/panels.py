"""Large matrix products, cut into panels that threads share.

A product is cut along the longer side of its result, into panels whose size depends on the shapes alone. So the bits of
the result do not depend on how many threads there are, nor on which of them did what.
"""
from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from .blas import gemm_block
from .door import launch
from .linear import linear_pullback
from .policy import kernel
from .threads import share

LARGE = 1 << 24         # multiplications from which a product is worth sharing: 0.3 ms of one core in float32
PANEL, PANELS = 128, 8  # rows (or columns) of a panel at least, so that packing stays cheap; panels at most


@kernel
def product_block(transpose_a, transpose_b, a, b, beta, c, top, bottom, left, right):
    """See `blas.gemm_block`."""
    gemm_block(transpose_a, transpose_b, a, b, beta, c, top, bottom, left, right)


@kernel
def repeat_row(row, out):
    """``out[r] = row`` for every r."""
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            out[r, c] = row[c]


def product(transpose_a: bool, transpose_b: bool, a: Any, b: Any, beta: float, c: Any) -> None:
    """``c = op(a) @ op(b) + beta * c`` for C-contiguous matrices of one dtype, on as many threads as are worth it."""
    m, n = c.shape
    inner = a.shape[0] if transpose_a else a.shape[1]
    if c.size * inner < LARGE:
        launch(product_block, transpose_a, transpose_b, a, b, beta, c, 0, m, 0, n)
        return
    length = max(m, n)
    width = max(PANEL, -(-length // PANELS))
    share([partial(launch, product_block, transpose_a, transpose_b, a, b, beta, c,
                   *((start, min(start + width, m), 0, n) if m >= n else (0, m, start, min(start + width, n))))
           for start in range(0, length, width)])


def affine(x: Any, weight: Any, bias: Any, out: Any) -> None:
    """``out = x @ weight.T + bias``, as `linear.linear`, for large layers."""
    if bias.size:
        launch(repeat_row, bias, out)
    product(False, True, x, weight, 1.0 if bias.size else 0.0, out)


def affine_pullback(g: Any, x: Any, weight: Any, into: Sequence[Any], add: int) -> None:
    """The three gradients of `affine`, as `linear.linear_pullback`, for large layers."""
    gx, gw, gb = into
    if gx.size:
        product(False, False, g, weight, 1.0 if add & 1 else 0.0, gx)
    if gw.size:
        product(True, False, g, x, 1.0 if add & 2 else 0.0, gw)
    if gb.size:
        launch(linear_pullback.kernel, g, x, weight, gx[:0], gw[:0], gb, add)
