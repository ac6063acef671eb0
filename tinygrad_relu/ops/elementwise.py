"""Arithmetic with broadcasting: each operation and its derivative rules, side by side.

The loops are NumPy's own ufuncs, which handle every layout and warn as NumPy does; they pass through the same door as the
compiled kernels. What happens at a tie or a kink is one rule for all operations: a tie goes to the first (docs/architecture.md).
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..autodiff.node import Array, value
from ..autodiff.op import Op
from ..kernels.door import launch


def binary(ufunc: Callable[..., Any], name: str = "") -> Any:
    """The forward of a ufunc of two operands, one of which may be a Python number (which never widens the other)."""
    name = name or ufunc.__name__

    def forward(a: Any, b: Any) -> Array:
        if not isinstance(b, np.ndarray):
            shape, dtype = a.shape, a.dtype
        elif not isinstance(a, np.ndarray):
            shape, dtype = b.shape, b.dtype
        else:
            shape = a.shape if a.shape == b.shape else joint_shape(name, a, b)
            dtype = a.dtype if a.dtype == b.dtype else np.result_type(a, b)
        out = np.empty(shape, dtype)
        launch(ufunc, a, b, out)
        return out

    return forward


def joint_shape(name: str, *operands: Any) -> tuple[int, ...]:
    """The shape that the operands (arrays or numbers) have together."""
    try:
        return np.broadcast(*operands).shape
    except ValueError:
        *shapes, last = (np.shape(x) for x in operands)
        raise ValueError(f"{name}: shapes {', '.join(map(str, shapes))} and {last} cannot be broadcast together") from None


def unary(ufunc: np.ufunc) -> Any:
    """The forward of a ufunc of one operand."""

    def forward(a: Array) -> Array:
        out = np.empty(a.shape, a.dtype)
        launch(ufunc, a, out)
        return out

    return forward


def compare(ufunc: np.ufunc, a: Any, b: Any) -> Array:
    """``a < b`` and its kind: a plain array of booleans, through which nothing is differentiated."""
    a, b = value(a), value(b)
    out = np.empty(joint_shape(ufunc.__name__, a, b), bool)
    launch(ufunc, a, b, out)
    return out


def same(x: Any, y: Array) -> Array:
    """Where x is y, as `compare`; NaN is NaN here. So the winners of a maximum y are found again, all of them."""
    x, y = value(x), value(y)
    out = np.empty(joint_shape("same", x, y), bool)
    launch(_same, x, y, out)
    return out


def _same(x: Any, y: Array, out: Array) -> None:
    np.equal(x, y, out)
    undefined = np.isnan(y)
    if undefined.any():
        out |= undefined & np.isnan(x)


def _where(condition: Any, a: Any, b: Any) -> Array:
    """a where the condition holds, b elsewhere; one of them may be a Python number."""
    dtypes = {x.dtype for x in (a, b) if isinstance(x, np.ndarray)}
    out = np.empty(joint_shape("where", condition, a, b), dtypes.pop() if len(dtypes) == 1 else np.result_type(*dtypes))
    launch(_select, condition, a, b, out)
    return out


def _select(condition: Array, a: Any, b: Any, out: Array) -> None:
    np.copyto(out, np.where(condition, a, b))       # twice as fast as a masked copy


def _larger(a: Any, b: Any, out: Array) -> None:
    np.maximum(a, b, out=out)           # not in third place, as of other ufuncs: that is deprecated


def _smaller(a: Any, b: Any, out: Array) -> None:
    np.minimum(a, b, out=out)


def _won(g: Any, y: Any, mine: Any, other: Any, first: bool) -> Any:
    """What `mine` gets of g: all of it where it is the result y, exactly 0 where the other is; in a tie the first gets it.

    A Python number is no rival, but a bound: in a tie with it the slope is 0, so that ``maximum(x, 0)`` is relu and
    ``clip(x, -1, 1)`` is hardtanh.
    """
    if first and isinstance(value(other), np.ndarray):
        return where(same(mine, y), g, 0.0)
    return where(same(other, y), 0.0, g)


add: Op = Op("add", binary(np.add), pull=(lambda g, y, a, b: g, lambda g, y, a, b: g))
sub: Op = Op("sub", binary(np.subtract), pull=(lambda g, y, a, b: g, lambda g, y, a, b: neg(g)))
mul: Op = Op("mul", binary(np.multiply), pull=(lambda g, y, a, b: mul(g, b), lambda g, y, a, b: mul(g, a)))
div: Op = Op("div", binary(np.divide), pull=(lambda g, y, a, b: div(g, b), lambda g, y, a, b: neg(div(mul(g, y), b))))
pos: Op = Op("pos", unary(np.positive), pull=(lambda g, y, a: g,))
neg: Op = Op("neg", unary(np.negative), pull=(lambda g, y, a: neg(g),))
maximum: Op = Op("maximum", binary(_larger, "maximum"), pull=(
    lambda g, y, a, b: _won(g, y, a, b, first=True), lambda g, y, a, b: _won(g, y, b, a, first=False)))
minimum: Op = Op("minimum", binary(_smaller, "minimum"), pull=maximum.pull)
where: Op = Op("where", _where, pull=(
    None,
    lambda g, y, condition, a, b: where(condition, g, 0.0),
    lambda g, y, condition, a, b: where(condition, 0.0, g),
))


def clip(x: Any, low: Any = None, high: Any = None) -> Any:
    """x, but not less than `low` and then not more than `high`; None is no bound."""
    x = x if low is None else maximum(x, low)
    return x if high is None else minimum(x, high)
