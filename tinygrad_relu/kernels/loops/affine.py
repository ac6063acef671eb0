"""The affine layer, alone or with the activation that follows it."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ..formulas import ACTIVATIONS
from ..formulas.record import Elementwise
from ..machine.blas import gemm
from ..machine.door import copy, launch
from ..machine.matmul import LARGE, matmul
from ..machine.policy import Matrix, Pair, Parameters, Vector, factory, kernel, pair, scalar
from .pointwise import loops
from .reduce import column_sums


class Affine(NamedTuple):
    """An affine layer and its pullback: one launch each for small layers, and matrix products in panels for large ones.

    x (rows, inputs), weight (outputs, inputs), bias (outputs,) or empty, out (rows, outputs).
    """

    forward: Callable[..., Any]
    """``forward(x, weight, bias, out) -> z``: out = f(x @ weight.T + bias), and z is what the pullback needs."""
    pullback: Callable[..., None]
    """``pullback(g, y, z, into, add, x, weight, bias)``: the gradients, as the `fused` of an operation."""


@cache
def affine(activation: Elementwise[...] | None = None, p: tuple[float, ...] = ()) -> Affine:
    """The layer with an activation, of parameters p, or without one."""
    return Affine(_forward, _pullback) if activation is None else _activated(activation, p)


# -- the kernels ---------------------------------------------------------------------------------------------------------


@scalar
def affine_part(x, weight, bias, out):
    if bias.size:
        for r in range(out.shape[0]):
            for c in range(out.shape[1]):
                out[r, c] = bias[c]
        gemm(False, True, x, weight, 1.0, out)
    else:
        gemm(False, True, x, weight, 0.0, out)


@scalar
def affine_gradients(g, x, weight, gx, gw, gb, add):
    if gx.size:
        gemm(False, False, g, weight, 1.0 if add & 1 else 0.0, gx)
    if gw.size:
        gemm(True, False, g, x, 1.0 if add & 2 else 0.0, gw)
    if gb.size:
        column_sums(g, gb, add & 4)


@kernel
def linear(x: Matrix, weight: Matrix, bias: Vector, out: Matrix):
    affine_part(x, weight, bias, out)


@kernel
def linear_pullback(g: Matrix, x: Matrix, weight: Matrix, gx: Matrix, gw: Matrix, gb: Vector, add: int):
    affine_gradients(g, x, weight, gx, gw, gb, add)


@factory(ACTIVATIONS.values())
def linear_activation(activation: Elementwise[...]) -> Pair:
    """The two kernels: ``forward(x, weight, bias, p, z, out)`` computes z = x @ weight.T + bias and out = f(z).

    One launch and one node less per layer make a training step of a small MLP a third faster. If, with default parameters, the
    slope can be read off the result (relu), `forward` does not write z.
    """
    f, f_dx, overwrites = activation.f, activation.f_dx, activation.slope_from_y(*activation.defaults)

    def forward(x: Matrix, weight: Matrix, bias: Vector, p: Parameters, z: Matrix, out: Matrix):
        before = out if overwrites else z
        affine_part(x, weight, bias, before)
        for r in range(out.shape[0]):
            for c in range(out.shape[1]):
                out[r, c] = f(before[r, c], *p)

    def pullback(g: Matrix, z: Matrix, y: Matrix, x: Matrix, weight: Matrix, p: Parameters, gx: Matrix, gw: Matrix, gb: Vector,
                 add: int):
        gz = np.empty_like(g)
        for r in range(g.shape[0]):
            for c in range(g.shape[1]):
                gz[r, c] = f_dx(g[r, c], z[r, c], y[r, c], *p)
        affine_gradients(gz, x, weight, gx, gw, gb, add)

    return pair(f"linear_{activation.name}", activation, forward, pullback)


# -- which way -----------------------------------------------------------------------------------------------------------


def _forward(x: Any, weight: Any, bias: Any, out: Any) -> Any:
    if x.size * len(weight) < LARGE:
        launch(linear, x, weight, bias, out)
    else:
        if bias.size:
            launch(copy, bias, out)
        matmul(False, True, x, weight, 1.0 if bias.size else 0.0, out)
    return out


def _pullback(g: Any, y: Any, z: Any, into: Sequence[Any], add: int, x: Any, weight: Any, bias: Any) -> None:
    gx, gw, gb = into
    if x.size * len(weight) < LARGE:
        launch(linear_pullback, g, x, weight, gx, gw, gb, add)
        return
    if gx.size:
        matmul(False, False, g, weight, 1.0 if add & 1 else 0.0, gx)
    if gw.size:
        matmul(True, False, g, x, 1.0 if add & 2 else 0.0, gw)
    if gb.size:
        launch(linear_pullback, g, x, weight, gx[:0], gw[:0], gb, add)


def _activated(activation: Elementwise[...], p: tuple[float, ...]) -> Affine:
    (fused_forward, fused_pullback), apart = linear_activation(activation), loops(activation)
    from_y, overwrites = activation.slope_from_y(*p), activation.slope_from_y(*activation.defaults)
    one_launch = from_y or not overwrites       # else `fused_forward` would leave out the z that is needed

    def forward(x: Any, weight: Any, bias: Any, out: Any) -> Any:
        z = out if from_y and overwrites else np.empty(out.shape, out.dtype)
        if one_launch and x.size * len(weight) < LARGE:
            launch(fused_forward, x, weight, bias, p, z, out)
        else:
            _forward(x, weight, bias, z)
            launch(apart.forward, z.ravel(), p, out.ravel())
        return z

    def pullback(g: Any, y: Any, z: Any, into: Sequence[Any], add: int, x: Any, weight: Any, bias: Any) -> None:
        if x.size * len(weight) < LARGE:
            launch(fused_pullback, g, z, y, x, weight, p, *into, add)
        else:
            gz = np.empty(g.shape, g.dtype)
            launch(apart.pullback, g.ravel(), z.ravel(), y.ravel(), p, gz.ravel())
            _pullback(gz, y, z, into, add, x, weight, bias)

    return Affine(forward, pullback)
