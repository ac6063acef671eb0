"""The affine layer, alone or with the activation that follows it, as one operation."""
from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..autodiff.node import Array, Op
from ..kernels.formulas.record import Elementwise
from ..kernels.loops import affine as kernels
from ..kernels.loops.pointwise import loops
from ..kernels.machine.door import launch, launch_typed
from ..kernels.machine.matmul import LARGE
from .activation import activation_op
from .linalg import product
from .sums import SUM


@cache
def affine(activation: Elementwise[...] | None = None, p: tuple[float, ...] = ()) -> Op:
    """The operation ``f(x @ weight.T + bias)``; x (rows, inputs), weight (outputs, inputs), bias (outputs,) or empty.

    f is an activation with the parameters p, or nothing. The numbers are those of two operations, in fewer launches: measured,
    a training step of a small network takes a third less time.
    """
    return _plain if activation is None else _activated(activation, p)


def _new_result(x: Array, weight: Array, bias: Array) -> Array:
    """An array for the result, once shapes and dtypes are known to fit: the machine code relies on it."""
    rows, features = x.shape
    shape, dtype, biases = weight.shape, x.dtype, bias.shape        # each once: NumPy makes a new tuple every time
    if len(shape) != 2 or shape[1] != features or (biases != shape[:1] and biases != (0,)):
        raise ValueError(f"linear: x has shape {x.shape}, the weight {weight.shape}, the bias {bias.shape}; expected "
                         "x (..., inputs), weight (outputs, inputs) and bias (outputs,)")
    if not (dtype is weight.dtype is bias.dtype) and (dtype != weight.dtype or dtype != bias.dtype):    # `is` is faster
        raise TypeError(f"linear: x is {dtype}, the weight {weight.dtype}, the bias {bias.dtype}; expected one dtype")
    return np.empty((rows, shape[0]), dtype)


def _linear(x: Array, weight: Array, bias: Array) -> Array:
    out = _new_result(x, weight, bias)
    if x.size * len(weight) >= LARGE:
        kernels.large_affine(x, weight, bias, out)
    else:
        launch_typed(kernels.linear, out.dtype, x, weight, bias, out)
    return out


def _linear_fused(g: Array, y: Array, saved: Any, into: list[Array], add: int, x: Array, weight: Array, bias: Array) -> None:
    if x.size * len(weight) >= LARGE:
        kernels.large_affine_pullback(g, x, weight, into, add)
    else:
        launch_typed(kernels.linear_pullback, g.dtype, g, x, weight, *into, add)


_plain: Op = Op("linear", _linear, fused=_linear_fused, adds=True, multiplies=True, pull=(
    lambda g, y, x, weight, bias: product(g, weight),
    lambda g, y, x, weight, bias: product(g, x, transpose_a=True),
    lambda g, y, x, weight, bias: SUM(g, axis=0),
))


def _activated(record: Elementwise[...], p: tuple[float, ...]) -> Op:
    """Where the slope can be read off the result (relu), that is all that is saved for the way back."""
    kernel = kernels.linear_activation(record)
    in_place, pullback = kernel.in_place, kernel.pullback
    from_y = record.slope_from_y(*p)

    def forward(x: Array, weight: Array, bias: Array) -> tuple[Array, Array]:
        out = _new_result(x, weight, bias)
        if x.size * len(weight) >= LARGE:
            z = np.empty(out.shape, out.dtype)
            kernels.large_affine(x, weight, bias, z)
            launch(loops(record).forward, z.ravel(), p, out.ravel())
            return out, out if from_y else z
        if from_y:
            launch_typed(in_place, x.dtype, x, weight, bias, p, out)
            return out, out
        z = np.empty(out.shape, out.dtype)
        launch_typed(kernel.forward, x.dtype, x, weight, bias, p, z, out)
        return out, z

    def fused(g: Array, y: Array, z: Array, into: list[Array], add: int, x: Array, weight: Array, bias: Array) -> None:
        if x.size * len(weight) >= LARGE:
            gz = np.empty(g.shape, g.dtype)
            launch(loops(record).pullback, g.ravel(), z.ravel(), y.ravel(), p, gz.ravel())
            kernels.large_affine_pullback(gz, x, weight, into, add)
        else:
            launch_typed(pullback, g.dtype, g, z, y, x, weight, p, *into, add)

    def composed(i: int) -> Any:
        def rule(g: Any, y: Any, x: Any, weight: Any, bias: Any) -> Any:
            z = _plain(x, weight, bias)
            gz = activation_op(record).pull_of(0)(g, y, z, p=p)
            return _plain.pull_of(i)(gz, z, x, weight, bias)

        return rule

    return Op(f"linear_{record.name}", forward, fused=fused, saves=True, adds=True, pull=composed, multiplies=True,
              activation=record, p=p)
