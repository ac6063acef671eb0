"""Matrix products, and the affine layer."""
from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import prod
from typing import Any

import numpy as np

from ..autodiff.node import Array, Op
from ..kernels.formulas.record import Elementwise
from ..kernels.loops import affine as kernels
from ..kernels.machine.matmul import matmul as matrix_product
from ..kernels.machine.matmul import matmul_stacks
from .activation import activation_op
from .shape import reshape
from .sums import SUM


def _matmul(a: Array, b: Array, *, transpose_a: bool = False, transpose_b: bool = False) -> Array:
    rows, inner = a.shape[-2:][::-1] if transpose_a else a.shape[-2:]
    inner_b, columns = b.shape[-2:][::-1] if transpose_b else b.shape[-2:]
    if inner != inner_b:
        raise ValueError(f"matmul: shapes {a.shape} and {b.shape} do not fit: the inner sizes are {inner} and {inner_b}")
    dtype = a.dtype if a.dtype == b.dtype else np.result_type(a, b)
    if a.ndim == b.ndim == 2:
        out = np.empty((rows, columns), dtype)
        matrix_product(transpose_a, transpose_b, a.astype(dtype, copy=False), b.astype(dtype, copy=False), 0.0, out)
        return out
    lead_a, lead_b = a.shape[:-2], b.shape[:-2]
    try:
        batch = lead_a if lead_a == lead_b else np.broadcast_shapes(lead_a, lead_b)
    except ValueError:
        raise ValueError(f"matmul: the leading axes of {a.shape} and {b.shape} cannot be broadcast together") from None
    out = np.empty((*batch, rows, columns), dtype)
    matmul_stacks(transpose_a, transpose_b, _stack(a.astype(dtype, copy=False)), _stack(b.astype(dtype, copy=False)),
                   _numbers(lead_a, batch), _numbers(lead_b, batch), _stack(out))
    return out


def _stack(x: Array) -> Array:
    """All matrices of x along one axis."""
    return x.reshape(prod(x.shape[:-2]), *x.shape[-2:])


def _numbers(lead: tuple[int, ...], batch: tuple[int, ...]) -> Array:
    """For each matrix of the broadcast stack, its number in the stack with the leading axes `lead`."""
    numbers = np.arange(prod(lead))
    return numbers if lead == batch else np.broadcast_to(numbers.reshape(lead), batch).ravel()


def _matmul_left(g: Any, y: Any, a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False) -> Any:
    if transpose_a:
        return product(b, g, transpose_a=transpose_b, transpose_b=True)
    return product(g, b, transpose_b=not transpose_b)


def _matmul_right(g: Any, y: Any, a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False) -> Any:
    if transpose_b:
        return product(g, a, transpose_a=True, transpose_b=transpose_a)
    return product(a, g, transpose_a=not transpose_a)


# The product of (stacks of) matrices, each taken as it is or transposed: a family that is closed under differentiation.
product: Op = Op("matmul", _matmul, pull=(_matmul_left, _matmul_right), multiplies=True)


def matmul(a: Any, b: Any) -> Any:
    """``a @ b`` as in NumPy: vectors, matrices, stacks of matrices with broadcasting."""
    if not len(a.shape) or not len(b.shape):
        raise ValueError(f"matmul: shapes {a.shape} and {b.shape}: a number has no matrix product; use * instead")
    inner_a, inner_b = a.shape[-1], b.shape[max(0, len(b.shape) - 2)]
    if inner_a != inner_b:
        if len(a.shape) == len(b.shape) == 1:
            raise ValueError(f"matmul: vectors of shapes {a.shape} and {b.shape} have different lengths")
        raise ValueError(f"matmul: shapes {a.shape} and {b.shape} do not fit: the inner sizes are {inner_a} and {inner_b}")
    if len(b.shape) > 2:
        y = product(a if len(a.shape) > 1 else reshape(a, shape=(1, inner_a)), b)
        shape = y.shape if len(a.shape) > 1 else (*y.shape[:-2], y.shape[-1])
    else:       # one product for all rows of a, however many axes it has; and one for each gradient
        y = product(a if len(a.shape) == 2 else reshape(a, shape=(prod(a.shape[:-1]), inner_a)),
                    b if len(b.shape) == 2 else reshape(b, shape=(inner_b, 1)))
        shape = a.shape[:-1] + b.shape[1:]
    return y if y.shape == shape else reshape(y, shape=shape)


# -- the affine layer, alone or with the activation that follows it -------------------------------------------------


@cache
def affine(activation: Elementwise[...] | None = None, p: tuple[float, ...] = (), keeps: bool = False) -> Op:
    """The operation ``f(x @ weight.T + bias)``; x (rows, inputs), weight (outputs, inputs), bias (outputs,) or empty.

    f is an activation with the parameters p, or nothing. The numbers are those of two operations, in fewer launches: a
    training step of a small network takes a third less time. With `keeps`, its nodes have in `saved` what f was applied to,
    although the derivative may not need it.
    """
    layer, name = kernels.affine(activation, p, keeps), "linear" if activation is None else f"linear_{activation.name}"
    return Op(name, layer.forward, fused=layer.pullback, saves=True, adds=True, pull=affine_rules(affine, activation, p),
              scratch=activation is not None, multiplies=True, activation=activation, p=p)


def affine_rules(linear: Callable[[], Op], activation: Elementwise[...] | None, p: tuple[float, ...]) -> Callable[[int], Any]:
    """The derivative rules of an affine layer with an activation; ``linear()`` is the layer without one."""
    def pull(i: int) -> Any:
        def rule(g: Any, y: Any, x: Any, weight: Any, bias: Any) -> Any:
            if activation is not None:
                g = activation_op(activation).pull_of(0)(g, y, linear()(x, weight, bias), p=p)
            return product(g, weight) if i == 0 else product(g, x, transpose_a=True) if i == 1 else SUM(g, axis=-2)

        return rule

    return pull
