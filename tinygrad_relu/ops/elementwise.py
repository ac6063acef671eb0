"""Arithmetic with broadcasting, choices and dropout: each operation and its derivative rules, side by side.

The arithmetic is NumPy's own ufuncs, launched like the compiled kernels. In a tie the first operand gets the gradient.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.random import Generator

from ..autodiff.broadcast import filled, unbroadcast
from ..autodiff.node import Array, Node, Op, value
from ..checks import as_floats, check_rng
from ..kernels.loops import pointwise as kernels
from ..kernels.loops import random
from ..kernels.machine.door import copy, launch
from .axes import T


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
    """The shape to which the operands (arrays or numbers) broadcast."""
    try:
        return np.broadcast(*operands).shape
    except ValueError:
        *shapes, last = (np.shape(x) for x in operands)
        raise ValueError(f"{name}: shapes {', '.join(map(str, shapes))} and {last} cannot be broadcast together") from None


def unary(ufunc: np.ufunc) -> Any:
    """The forward of a ufunc of one operand."""
    return lambda a: filled(np.empty(a.shape, a.dtype), ufunc, a)


def _line(x: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """x (an array or a number) broadcast to a shape, as a contiguous array of one axis."""
    if isinstance(x, np.ndarray) and x.shape == shape and x.dtype == dtype and x.flags.carray:
        return x.ravel()
    return filled(np.empty(shape, dtype), copy, x).ravel()


def compare(ufunc: Callable[..., Any], a: Any, b: Any) -> Array:
    """A comparison such as ``a < b``: a plain array of booleans, without a gradient."""
    a, b = value(a), value(b)
    return filled(np.empty(joint_shape(ufunc.__name__, a, b), bool), ufunc, a, b)


def one_hot(index: Array, n: int) -> Array:
    """Booleans of the shape (*index.shape, n), true at the index."""
    return compare(np.equal, index[..., None], np.arange(n))


def equal_or_nan(x: Any, y: Any) -> Array:
    """Where x equals y, or both are NaN, as `compare`: it finds all numbers that tie for the maximum y."""
    return compare(_equal_or_nan, x, y)


def _equal_or_nan(x: Any, y: Any, out: Array) -> None:
    np.equal(x, y, out)
    undefined = np.isnan(y)
    if undefined.any():
        out |= undefined & np.isnan(x)


def _where(condition: Any, a: Any, b: Any) -> Array:
    """a where the condition holds, b elsewhere; one of them may be a Python number."""
    dtype = np.result_type(*(x.dtype for x in (a, b) if isinstance(x, np.ndarray)))
    out = np.empty(joint_shape("where", condition, a, b), dtype)
    holds = _line(condition, out.shape, bool)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        launch(kernels.choose, holds, _line(a, out.shape, out.dtype), _line(b, out.shape, out.dtype), out.ravel())
    else:
        first = isinstance(a, np.ndarray)
        x, number = (a, b) if first else (b, a)
        launch(kernels.choose_or, holds, first, _line(x, out.shape, out.dtype), float(number), out.ravel())
    return out


def _larger(a: Any, b: Any, out: Array) -> None:
    np.maximum(a, b, out=out)           # a third positional argument is deprecated here


def _smaller(a: Any, b: Any, out: Array) -> None:
    np.minimum(a, b, out=out)


def _won(g: Any, y: Any, mine: Any, other: Any, first: bool) -> Any:
    """The gradient of the operand `mine`: g where it is the result y, exactly 0 where the other is; in a tie the first gets g.

    A Python number is a bound, not a rival: in a tie with it the slope is 0, so that ``maximum(x, 0)`` is relu and
    ``clip(x, -1, 1)`` is hardtanh.
    """
    if first and isinstance(value(other), np.ndarray):
        return where(equal_or_nan(mine, y), g, 0.0)
    return where(equal_or_nan(other, y), 0.0, g)


def _won_fused(g: Array, y: Array, saved: Any, into: list[Array], add: int, a: Any, b: Any) -> None:
    """`_won` for both operands, by one launch each."""
    for i, out in enumerate(into):
        if out.size:
            rival, wins = (a, i == 0) if isinstance(b, np.ndarray) else (b, False)
            like = y.shape if isinstance(rival, np.ndarray) else (1,)
            part = out if out.shape == g.shape and out.dtype == g.dtype else np.empty(g.shape, g.dtype)
            launch(kernels.rival_pullback, g.ravel(), _line(rival, like, y.dtype), y.ravel(), wins, part.ravel())
            if part is not out:
                launch(copy, unbroadcast(part, out), out)


def _mul_fused(g: Array, y: Array, saved: Any, into: list[Array], add: int, a: Any, b: Any) -> None:
    for out, factor in zip(into, (b, a)):
        if out.shape == g.shape and out.dtype == g.dtype:
            launch(np.multiply, g, factor, out)
        elif out.size:
            launch(copy, unbroadcast(mul(g, factor), out), out)


entrywise = partial(Op, elementwise=True)

add: Op = entrywise("add", binary(np.add), pull=(lambda g, y, a, b: g, lambda g, y, a, b: g))
sub: Op = entrywise("sub", binary(np.subtract), pull=(lambda g, y, a, b: g, lambda g, y, a, b: neg(g)))
mul: Op = entrywise("mul", binary(np.multiply), pull=(lambda g, y, a, b: mul(g, b), lambda g, y, a, b: mul(g, a)),
                    fused=_mul_fused, multiplies=True)
div: Op = entrywise("div", binary(np.divide), pull=(lambda g, y, a, b: div(g, b), lambda g, y, a, b: neg(div(mul(g, y), b))))
pos: Op = entrywise("pos", unary(np.positive), pull=(lambda g, y, a: g,))
neg: Op = entrywise("neg", unary(np.negative), pull=(lambda g, y, a: neg(g),))
maximum: Op = entrywise("maximum", binary(_larger, "maximum"), fused=_won_fused, pull=(
    lambda g, y, a, b: _won(g, y, a, b, first=True), lambda g, y, a, b: _won(g, y, b, a, first=False)))
minimum: Op = entrywise("minimum", binary(_smaller, "minimum"), fused=maximum.fused, pull=maximum.pull)
cast: Op = entrywise("astype", lambda x, dtype: filled(np.empty(x.shape, dtype), copy, x),
                     pull=(lambda g, y, x, dtype: g,))      # backward casts g back
where: Op = entrywise("where", _where, index="condition", pull=(
    None, lambda g, y, condition, a, b: where(condition, g, 0.0), lambda g, y, condition, a, b: where(condition, 0.0, g)))


def clip(x: T, min: Any = None, max: Any = None) -> T:
    """``minimum(maximum(x, min), max)``, elementwise; None means no bound. Bounds are numbers, arrays or Tensors.

    At a bound that is a number the slope is 0, as in hardtanh (in PyTorch's clamp it is 1). Where `min` is above `max`, the
    result is `max`, as in NumPy.

    >>> x = Tensor([-2.0, -1.0, 0.0], requires_grad=True)
    >>> x.clip(-1, 1).sum().backward()
    >>> x.grad
    array([0., 0., 1.])
    """
    low, high = (bound if bound is None else operand(bound, x) for bound in (min, max))
    y = x if low is None else maximum(x, low)
    return y if high is None else minimum(y, high)


def operand(x: Any, like: Array | Node) -> Any:
    """The other operand of `like`: a Tensor as it is, a number as a Python number, an array in the dtype of `like`.

    So float32 stays float32, whatever it is combined with, unless that is a float64 Tensor.
    """
    if isinstance(x, Node):
        return x
    if isinstance(x, (int, float, np.number, np.bool_)) and not isinstance(x, np.complexfloating):
        return float(x)
    return as_floats(x, like.dtype, "operand")


def operand_array(x: Any, like: Array | Node, name: str = "operand") -> Any:
    """As `operand`, for operations on whole matrices: a number becomes an array too."""
    return x if isinstance(x, Node) else as_floats(x, like.dtype, name)


# -- random operations --------------------------------------------------------------------------------------------------
# The draws are a function of a place: a key and a counter (see kernels/loops/random.py). The state of a random layer is a place
# too: an array, which a kernel reads and advances. So a run that loads a saved state continues with the same draws.


def new_place(rng: int | Generator | None, who: str) -> Array:
    """A place whose key is drawn from `rng`, and whose counter is 0."""
    return np.array([check_rng(rng, who).integers(2**63), 0])


def advance(state: Array, size: int) -> Array:
    """The place for the next `size` draws; `state` advances past them."""
    return filled(np.empty(2, np.int64), random.take, state, size)


def uniform(place: Array, shape: tuple[int, ...], dtype: Any, low: float, high: float) -> Array:
    """Draws from U(low, high)."""
    out = np.empty(shape, dtype)
    random.fill_uniform(place, low, high, out)
    return out


def _dropout(x: Array, place: Array, *, p: float) -> Array:
    out = np.empty(x.shape, x.dtype)
    random.drop_out(x, place, p, out)
    return out


# Linear in x: the pullback drops the same elements of g, by drawing the numbers again, which takes no memory.
dropout: Op = entrywise("dropout", _dropout, pull=(lambda g, y, x, place, p: dropout(g, place, p=p), None), index="random key")
