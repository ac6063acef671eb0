"""The affine layer, alone or with the activation that follows it, as one operation."""
from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..autodiff.node import Array, Op
from ..kernels.formulas.record import Elementwise
from ..kernels.loops import affine as kernels
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


_LINEAR = kernels.affine()


def _linear(x: Array, weight: Array, bias: Array) -> Array:
    return _LINEAR.forward(x, weight, bias, _new_result(x, weight, bias))


def _linear_fused(g: Array, y: Array, saved: Any, into: list[Array], add: int, x: Array, weight: Array, bias: Array) -> None:
    _LINEAR.pullback(g, y, y, x, weight, *into, add)


_plain: Op = Op("linear", _linear, fused=_linear_fused, adds=True, multiplies=True, pull=(
    lambda g, y, x, weight, bias: product(g, weight),
    lambda g, y, x, weight, bias: product(g, x, transpose_a=True),
    lambda g, y, x, weight, bias: SUM(g, axis=0),
))


def _activated(record: Elementwise[...], p: tuple[float, ...]) -> Op:
    layer = kernels.affine(record, p)

    def forward(x: Array, weight: Array, bias: Array) -> tuple[Array, Array]:
        out = _new_result(x, weight, bias)
        return out, layer.forward(x, weight, bias, out)

    def fused(g: Array, y: Array, z: Array, into: list[Array], add: int, x: Array, weight: Array, bias: Array) -> None:
        layer.pullback(g, z, y, x, weight, *into, add)

    def composed(i: int) -> Any:
        def rule(g: Any, y: Any, x: Any, weight: Any, bias: Any) -> Any:
            z = _plain(x, weight, bias)
            gz = activation_op(record).pull_of(0)(g, y, z, p=p)
            return _plain.pull_of(i)(gz, z, x, weight, bias)

        return rule

    return Op(f"linear_{record.name}", forward, fused=fused, saves=True, adds=True, pull=composed, multiplies=True,
              activation=record, p=p)
