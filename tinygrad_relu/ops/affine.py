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
    layer = kernels.affine(activation, p)

    def forward(x: Array, weight: Array, bias: Array) -> tuple[Array, Array]:
        (rows, features), shape, dtype = x.shape, weight.shape, x.dtype
        if not (bias.shape == shape[:1] and shape[1:] == (features,) and dtype is weight.dtype is bias.dtype):
            _check(x, weight, bias)
        out = np.empty((rows, shape[0]), dtype)
        return out, layer.forward(x, weight, bias, out)

    def pull(i: int) -> Any:
        def rule(g: Any, y: Any, x: Any, weight: Any, bias: Any) -> Any:
            if activation is not None:
                g = activation_op(activation).pull_of(0)(g, y, affine()(x, weight, bias), p=p)
            return product(g, weight) if i == 0 else product(g, x, transpose_a=True) if i == 1 else SUM(g, axis=0)

        return rule

    name = "linear" if activation is None else f"linear_{activation.name}"
    return Op(name, forward, fused=layer.pullback, saves=True, adds=True, pull=pull, multiplies=True, activation=activation, p=p)


def _check(x: Array, weight: Array, bias: Array) -> None:
    """The machine code relies on shapes and dtypes that fit."""
    shape = weight.shape
    if len(shape) != 2 or shape[1] != x.shape[1] or bias.shape not in (shape[:1], (0,)):
        raise ValueError(f"linear: x has shape {x.shape}, the weight {shape}, the bias {bias.shape}; expected "
                         "x (..., inputs), weight (outputs, inputs) and bias (outputs,)")
    if not x.dtype == weight.dtype == bias.dtype:
        raise TypeError(f"linear: x is {x.dtype}, the weight {weight.dtype}, the bias {bias.dtype}; expected one dtype")
