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

    This saves one launch and one node per layer: a training step of a small MLP is a third faster. If, with default parameters,
    the slope can be read off the result (relu), `forward` does not write z.
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


# -- the layer -----------------------------------------------------------------------------------------------------------


class Affine(NamedTuple):
    """An affine layer and its pullback: one launch each for small layers, and matrix products in panels for large ones.

    x (rows, inputs), weight (outputs, inputs), bias (outputs,) or empty.
    """

    forward: Callable[..., Any]
    """``forward(x, weight, bias) -> y, z``: y = f(x @ weight.T + bias), and z is what the pullback needs."""
    pullback: Callable[..., None]
    """``pullback(g, y, z, into, add, x, weight, bias)``: the gradients, as the `fused` of an operation."""


@cache
def affine(activation: Elementwise[...] | None = None, p: tuple[float, ...] = ()) -> Affine:
    """The layer with an activation, of parameters p, or without one."""
    fused, apart = (linear_activation(activation), loops(activation)) if activation else (None, None)
    from_y, overwrites = True, True
    if activation:
        from_y, overwrites = activation.slope_from_y(*p), activation.slope_from_y(*activation.defaults)
    one_launch = from_y or not overwrites       # else the kernel would leave out the z that is needed

    def forward(x: Any, weight: Any, bias: Any) -> tuple[Any, Any]:
        (rows, features), dtype = x.shape, x.dtype
        if not (weight.shape == (*bias.shape, features) and dtype is weight.dtype is bias.dtype):
            check(x, weight, bias)
        y = np.empty((rows, len(weight)), dtype)
        z = y if from_y and overwrites else np.empty(y.shape, dtype)
        if one_launch and x.size * len(weight) < LARGE:
            if fused:
                launch(fused.forward, x, weight, bias, p, z, y)
            else:
                launch(linear, x, weight, bias, y)
            return y, z
        if bias.size:
            launch(copy, bias, z)
        matmul(False, True, x, weight, 1.0 if bias.size else 0.0, z)
        if apart:
            launch(apart.forward, z.ravel(), p, y.ravel())
        return y, z

    def pullback(g: Any, y: Any, z: Any, into: Sequence[Any], add: int, x: Any, weight: Any, bias: Any) -> None:
        if x.size * len(weight) < LARGE:
            if fused:
                launch(fused.pullback, g, z, y, x, weight, p, *into, add)
            else:
                launch(linear_pullback, g, x, weight, *into, add)
            return
        if apart:
            gz = np.empty(g.shape, g.dtype)
            launch(apart.pullback, g.ravel(), z.ravel(), y.ravel(), p, gz.ravel())
            g = gz
        gx, gw, gb = into
        if gx.size:
            matmul(False, False, g, weight, 1.0 if add & 1 else 0.0, gx)
        if gw.size:
            matmul(True, False, g, x, 1.0 if add & 2 else 0.0, gw)
        if gb.size:
            launch(linear_pullback, g, x, weight, gx[:0], gw[:0], gb, add)

    return Affine(forward, pullback)


def check(x: Any, weight: Any, bias: Any) -> None:
    """Raise if shapes or dtypes do not fit: the kernels do not check them."""
    shape = weight.shape
    if len(shape) != 2 or shape[1] != x.shape[1] or bias.shape not in (shape[:1], (0,)):
        given = f"the weight {shape}" if bias.shape == (0,) else f"the weight {shape}, the bias {bias.shape}"
        raise ValueError(f"linear: x has shape {x.shape}, {given}; expected x (..., inputs), weight (outputs, inputs) and "
                         "bias (outputs,)")
    if not x.dtype == weight.dtype == bias.dtype:
        given = f"the weight {weight.dtype}" if bias.shape == (0,) else f"the weight {weight.dtype}, the bias {bias.dtype}"
        raise TypeError(f"linear: x is {x.dtype}, {given}; expected one dtype (x.astype(...) converts)")
