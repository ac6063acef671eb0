"""Arithmetic with broadcasting: each operation and its derivative rules, side by side.

The loops are NumPy's own ufuncs, which handle every layout and warn as NumPy does; they pass through the same door as the
compiled kernels. What happens at a tie or a kink is one rule for all operations: a tie goes to the first (docs/architecture.md).

Where a rule would make arrays on the way, it stands here a second time for plain arrays, as what it writes into a given array
(`fused_by`).
"""
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..autodiff.broadcast import unbroadcast
from ..autodiff.node import Array, Op, value
from ..kernels.loops import pointwise as kernels
from ..kernels.machine.door import launch

Write = Callable[..., None]


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


def fused_by(*writes: Write | None) -> Any:
    """The fused pullback of an elementwise operation: ``writes[i](g, y, *inputs, out)`` puts the gradient of input i, in the
    shape of g, into `out`."""

    def fused(g: Array, y: Array, saved: Any, into: list[Array], add: int, *inputs: Any) -> None:
        for write, out in zip(writes, into):
            if write is not None and out.size:
                if out.shape == g.shape and out.dtype == g.dtype:
                    write(g, y, *inputs, out)
                else:
                    repeated = np.empty(g.shape, g.dtype)
                    write(g, y, *inputs, repeated)
                    np.copyto(out, unbroadcast(repeated, out))

    return fused


def flat(x: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """x (an array or a number) as a kernel takes it: broadcast to a shape, and flat."""
    if isinstance(x, np.ndarray) and x.shape == shape and x.dtype == dtype and x.flags.carray:
        return x.ravel()
    return np.array(np.broadcast_to(x, shape), dtype, order="C").ravel()


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
    dtype = dtypes.pop() if len(dtypes) == 1 else np.result_type(*dtypes)
    out = np.empty(joint_shape("where", condition, a, b), dtype)
    _choose(condition, a, b, out)
    return out


def _choose(condition: Any, a: Any, b: Any, out: Array) -> None:
    holds = flat(condition, out.shape, bool)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        launch(kernels.choose, holds, flat(a, out.shape, out.dtype), flat(b, out.shape, out.dtype), out.ravel())
    else:
        first = isinstance(a, np.ndarray)
        x, number = (a, b) if first else (b, a)
        launch(kernels.choose_or, holds, first, flat(x, out.shape, out.dtype), float(number), out.ravel())


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


def _won_by(mine: int) -> Write:
    """`_won` for the first (0) or the second (1) operand, in one launch."""

    def write(g: Array, y: Array, a: Any, b: Any, out: Array) -> None:
        rival, wins = (a, mine == 0) if isinstance(b, np.ndarray) else (b, False)
        like = y.shape if isinstance(rival, np.ndarray) else (1,)
        launch(kernels.extreme_pullback, g.ravel(), flat(rival, like, y.dtype), y.ravel(), wins, out.ravel())

    return write


def _div_by(g: Array, y: Array, a: Any, b: Array, out: Array) -> None:
    launch(np.multiply, g, y, out)
    launch(np.divide, out, b, out)
    launch(np.negative, out, out)


entrywise = partial(Op, elementwise=True)

add: Op = entrywise("add", binary(np.add), pull=(lambda g, y, a, b: g, lambda g, y, a, b: g))
sub: Op = entrywise("sub", binary(np.subtract), pull=(lambda g, y, a, b: g, lambda g, y, a, b: neg(g)))
mul: Op = entrywise("mul", binary(np.multiply), pull=(lambda g, y, a, b: mul(g, b), lambda g, y, a, b: mul(g, a)),
                    multiplies=True, fused=fused_by(lambda g, y, a, b, out: launch(np.multiply, g, b, out),
                                                    lambda g, y, a, b, out: launch(np.multiply, g, a, out)))
div: Op = entrywise("div", binary(np.divide), pull=(lambda g, y, a, b: div(g, b), lambda g, y, a, b: neg(div(mul(g, y), b))),
                    fused=fused_by(lambda g, y, a, b, out: launch(np.divide, g, b, out), _div_by))
pos: Op = entrywise("pos", unary(np.positive), pull=(lambda g, y, a: g,))
neg: Op = entrywise("neg", unary(np.negative), pull=(lambda g, y, a: neg(g),),
                    fused=fused_by(lambda g, y, a, out: launch(np.negative, g, out)))
maximum: Op = entrywise("maximum", binary(_larger, "maximum"), fused=fused_by(_won_by(0), _won_by(1)), pull=(
    lambda g, y, a, b: _won(g, y, a, b, first=True), lambda g, y, a, b: _won(g, y, b, a, first=False)))
minimum: Op = entrywise("minimum", binary(_smaller, "minimum"), fused=maximum.fused, pull=maximum.pull)
where: Op = entrywise(
    "where", _where, index="condition",
    fused=fused_by(None, lambda g, y, condition, a, b, out: _choose(condition, g, 0.0, out),
                   lambda g, y, condition, a, b, out: _choose(condition, 0.0, g, out)),
    pull=(None, lambda g, y, condition, a, b: where(condition, g, 0.0), lambda g, y, condition, a, b: where(condition, 0.0, g)))


def clip(x: Any, low: Any = None, high: Any = None) -> Any:
    """x, but not less than `low` and then not more than `high`; None is no bound."""
    x = x if low is None else maximum(x, low)
    return x if high is None else minimum(x, high)
