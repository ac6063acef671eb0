"""Kernels of the affine layer: gemm with what stands around it, in one launch (large layers: see below)."""
from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ..formulas.record import Elementwise
from ..machine.blas import gemm
from ..machine.door import launch
from ..machine.matmul import matmul
from ..machine.policy import ByType, by_type, kernel, scalar
from .reduce import column_sums


@scalar
def affine(x, weight, bias, out):
    """``out = x @ weight.T + bias``; x (rows, inputs), weight (outputs, inputs), bias (outputs,) or empty."""
    if bias.size:
        for r in range(out.shape[0]):
            for c in range(out.shape[1]):
                out[r, c] = bias[c]
        gemm(False, True, x, weight, 1.0, out)
    else:
        gemm(False, True, x, weight, 0.0, out)


@scalar
def affine_pullback(g, x, weight, gx, gw, gb, add):
    """The three gradients of `affine`; an empty array means that nobody asked for that one.

    Bits 0, 1, 2 of `add` are set where gx, gw, gb are to join what the array already holds (a leaf that was used before).
    """
    if gx.size:
        gemm(False, False, g, weight, 1.0 if add & 1 else 0.0, gx)
    if gw.size:
        gemm(True, False, g, x, 1.0 if add & 2 else 0.0, gw)
    if gb.size:
        column_sums(g, gb, add & 4)


@by_type(lambda v, m: (m, m, v, m))
@kernel
def linear(x, weight, bias, out):
    affine(x, weight, bias, out)


@by_type(lambda v, m: (m, m, m, m, m, v, 0))
@kernel
def linear_pullback(g, x, weight, gx, gw, gb, add):
    affine_pullback(g, x, weight, gx, gw, gb, add)


class LinearActivation(NamedTuple):
    """The kernels of an affine layer with its activation."""

    forward: ByType     # forward(x, weight, bias, p, z, out): z = x @ weight.T + bias, out = f(z)
    in_place: ByType    # in_place(x, weight, bias, p, out): the same without keeping z
    pullback: ByType    # pullback(g, z, y, x, weight, p, gx, gw, gb, add): the three gradients


@cache
def linear_activation(activation: Elementwise[...]) -> LinearActivation:
    """An affine layer and its activation in one launch each way.

    Measured: two launches and one node of the graph less per layer make a training step of a small MLP a third faster.
    """
    f, f_dx = activation.f, activation.f_dx

    def forward(x, weight, bias, p, z, out):
        affine(x, weight, bias, z)
        for r in range(out.shape[0]):
            for c in range(out.shape[1]):
                out[r, c] = f(z[r, c], *p)

    def in_place(x, weight, bias, p, out):
        affine(x, weight, bias, out)
        for r in range(out.shape[0]):
            for c in range(out.shape[1]):
                out[r, c] = f(out[r, c], *p)

    def pullback(g, z, y, x, weight, p, gx, gw, gb, add):
        gz = np.empty_like(g)
        for r in range(g.shape[0]):
            for c in range(g.shape[1]):
                gz[r, c] = f_dx(g[r, c], z[r, c], y[r, c], *p)
        affine_pullback(gz, x, weight, gx, gw, gb, add)

    def compiled(loop: Any, examples: Any) -> ByType:
        return ByType(lambda: kernel(loop, name=f"linear_{activation.name}_{loop.__name__}", formulas=(f, f_dx)), examples)

    p = activation.defaults
    return LinearActivation(
        compiled(forward, lambda v, m: (m, m, v, p, m, m)),
        compiled(in_place, lambda v, m: (m, m, v, p, m)),
        compiled(pullback, lambda v, m: (m, m, m, m, m, p, m, m, v, 0)))

# -- large layers, by threads --------------------------------------------------------------------------------------------


@kernel
def repeat_row(row, out):
    """``out[r] = row`` for every r."""
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            out[r, c] = row[c]


def large_affine(x: Any, weight: Any, bias: Any, out: Any) -> None:
    """``out = x @ weight.T + bias``, as `linear`, for large layers."""
    if bias.size:
        launch(repeat_row, bias, out)
    matmul(False, True, x, weight, 1.0 if bias.size else 0.0, out)


def large_affine_pullback(g: Any, x: Any, weight: Any, into: Sequence[Any], add: int) -> None:
    """The three gradients of `affine`, as `linear_pullback`, for large layers."""
    gx, gw, gb = into
    if gx.size:
        matmul(False, False, g, weight, 1.0 if add & 1 else 0.0, gx)
    if gw.size:
        matmul(True, False, g, x, 1.0 if add & 2 else 0.0, gw)
    if gb.size:
        launch(linear_pullback.kernel, g, x, weight, gx[:0], gw[:0], gb, add)
