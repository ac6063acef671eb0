"""Arithmetic with broadcasting: each operation and its derivative rules, side by side.

The loops are NumPy's own ufuncs, which handle every layout; they pass through the same door as the compiled kernels.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from ..autodiff.node import Array, value
from ..autodiff.op import Op
from ..kernels.door import launch


def _binary(ufunc: np.ufunc) -> Any:
    """The forward of a ufunc of two operands, one of which may be a Python number (which never widens the other)."""

    def forward(a: Any, b: Any) -> Array:
        if not isinstance(b, np.ndarray):
            shape, dtype = a.shape, a.dtype
        elif not isinstance(a, np.ndarray):
            shape, dtype = b.shape, b.dtype
        else:
            shape = a.shape if a.shape == b.shape else _joint_shape(ufunc.__name__, a, b)
            dtype = a.dtype if a.dtype == b.dtype else np.result_type(a, b)
        out = np.empty(shape, dtype)
        launch(ufunc, a, b, out)
        return out

    return forward


def _joint_shape(name: str, a: Array, b: Array) -> tuple[int, ...]:
    try:
        return np.broadcast(a, b).shape
    except ValueError:
        raise ValueError(f"{name}: shapes {a.shape} and {b.shape} cannot be broadcast together") from None


def _unary(ufunc: np.ufunc) -> Any:
    def forward(a: Array) -> Array:
        out = np.empty(a.shape, a.dtype)
        launch(ufunc, a, out)
        return out

    return forward


def _where(condition: Array, a: Any, b: Any) -> Array:
    """a where the condition holds, b elsewhere; one of them may be a Python number."""
    like = a if isinstance(a, np.ndarray) else b
    out = np.empty(np.broadcast_shapes(np.shape(condition), np.shape(a), np.shape(b)), like.dtype)
    launch(_select, condition, a, b, out)
    return out


def _select(condition: Array, a: Any, b: Any, out: Array) -> None:
    np.copyto(out, b)
    np.copyto(out, a, where=condition)


def _power(a: Any, b: Any) -> Array:
    """a^b; the powers that everybody writes by what is a hundred times faster than `pow`, and as exact."""
    if isinstance(a, np.ndarray) and isinstance(b, (int, float)) and b in (0.5, 1.0, 2.0, 3.0):
        out = np.empty(a.shape, a.dtype)
        launch({0.5: np.sqrt, 1.0: np.positive}.get(b, np.square), a, out)
        if b == 3.0:
            launch(np.multiply, out, a, out)
        return out
    return _general_power(a, b)


_general_power = _binary(np.power)


def _pow_base(g: Any, y: Any, a: Any, b: Any) -> Any:
    """g b a^(b-1), and 0 for 0^0 (0 0^-1 would be NaN)."""
    if isinstance(b, (int, float)):
        return where(False, g, 0.0) if b == 0 else mul(g, mul(power(a, b - 1), b))
    usual = (value(a) != 0) | (value(b) != 0)
    return where(usual, mul(g, mul(b, power(a, where(usual, sub(b, 1.0), 0.0)))), 0.0)


def _pow_exponent(g: Any, y: Any, a: Any, b: Any) -> Any:
    """g a^b ln a, and 0 at a = 0, the limit for b > 0 (and the convention of PyTorch at 0^0)."""
    if isinstance(a, (int, float)):
        return mul(mul(g, y), float(np.log(a)) if a else 0.0)
    base = value(a)
    return where(base != 0, mul(g, mul(y, log(where(base != 0, a, 1.0)))), 0.0)


add: Op = Op("add", _binary(np.add), pull=(lambda g, y, a, b: g, lambda g, y, a, b: g))
sub: Op = Op("sub", _binary(np.subtract), pull=(lambda g, y, a, b: g, lambda g, y, a, b: neg(g)))
mul: Op = Op("mul", _binary(np.multiply), pull=(lambda g, y, a, b: mul(g, b), lambda g, y, a, b: mul(g, a)))
div: Op = Op("div", _binary(np.divide), pull=(lambda g, y, a, b: div(g, b), lambda g, y, a, b: neg(div(mul(g, y), b))))
power: Op = Op("power", _power, pull=(_pow_base, _pow_exponent))
neg: Op = Op("neg", _unary(np.negative), pull=(lambda g, y, a: neg(g),))
log: Op = Op("log", _unary(np.log), pull=(lambda g, y, a: div(g, a),))
where: Op = Op("where", _where, pull=(
    None,
    lambda g, y, condition, a, b: where(condition, g, 0.0),
    lambda g, y, condition, a, b: where(condition, 0.0, g),
))
