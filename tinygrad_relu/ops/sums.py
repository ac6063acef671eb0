"""Sums along axes, and the means and moments that are made of them."""
from __future__ import annotations

from math import inf, nan, prod
from typing import Any

import numpy as np

from ..autodiff.broadcast import broadcast_to
from ..autodiff.node import Array, Op
from ..checks import check_real
from ..kernels.loops import reduce as kernels
from ..kernels.loops.move import copy
from ..kernels.loops.reduce import sum_over
from ..kernels.machine.door import launch
from .axes import Axis, T, axis_or_flat, block, kept_shape, left_shape, normalised_axes
from .elementwise import compare, div, mul, sub, where
from .shape import reshape


def _kept(g: Any, x: Any, axis: Axis) -> Any:
    """The gradient g of a reduction of x, with the reduced axes as axes of length 1, so that it broadcasts over x."""
    return reshape(g, shape=kept_shape(x.shape, normalised_axes("sum", axis, x.shape)))


def _count(name: str, x: Any, axis: Axis) -> int:
    """How many numbers of x go into one number of the result."""
    return prod(x.shape[a] for a in normalised_axes(name, axis, x.shape))


# -- sums ------------------------------------------------------------------------------------------------------------


def _sum(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    axes = normalised_axes("sum", axis, x.shape)
    out = np.empty((kept_shape if keepdims else left_shape)(x.shape, axes), x.dtype)
    sum_over(x, sorted(axes), out)
    return out


def _sum_fused(g: Array, y: Array, saved: Any, into: list[Array], add: int, x: Array, *, axis: Axis = None,
               keepdims: bool = False) -> None:
    launch(copy, g.reshape(kept_shape(x.shape, normalised_axes("sum", axis, x.shape))), into[0])


SUM: Op = Op("sum", _sum, fused=_sum_fused, pull=(
    lambda g, y, x, axis=None, keepdims=False: broadcast_to(_kept(g, x, axis), shape=x.shape),))


def sum(x: T, axis: Axis = None, keepdims: bool = False) -> T:
    """``sum_k x_k`` over `axis`: a number, several, or None for all axes. With `keepdims` the summed axes stay, with length 1.

    The sum of no numbers is 0.

    >>> tg.sum([[1.0, 2.0], [3.0, 4.0]], axis=0)
    Tensor([4., 6.])
    """
    return SUM(x, axis=axis, keepdims=keepdims)


def mean(x: T, axis: Axis = None, keepdims: bool = False) -> T:
    """``sum_k x_k / n`` over `axis` (None: all axes), n being the number of terms; NaN for no numbers, as in NumPy.

    >>> tg.mean([[1.0, 2.0], [3.0, 4.0]], axis=(0, 1)).item()
    2.5
    """
    count = _count("mean", x, axis)
    return div(SUM(x, axis=axis, keepdims=keepdims), float(count) or nan)


def _cumsum(x: Array, *, axis: int, reverse: bool = False) -> Array:
    out, lines = np.empty(x.shape, x.dtype), block(x.shape, (axis,))
    launch(kernels.running_sum, x.reshape(lines), reverse, out.reshape(lines))
    return out


CUMSUM: Op = Op("cumsum", _cumsum, pull=(
    lambda g, y, x, axis, reverse=False: CUMSUM(g, axis=axis, reverse=not reverse),))


def cumsum(x: T, axis: int | None = None) -> T:
    """``y_i = x_1 + ... + x_i`` along an axis; None: of x made flat.

    >>> tg.cumsum([[1.0, 2.0], [3.0, 4.0]], axis=1)
    Tensor([[1., 3.],
            [3., 7.]])
    """
    if axis is None:
        return CUMSUM(reshape(x, shape=(prod(x.shape),)), axis=0)
    return CUMSUM(x, axis=axis_or_flat("cumsum", axis, x.shape))


# -- moments ---------------------------------------------------------------------------------------------------------


def _weight(name: str, x: Any, axis: Axis, ddof: float) -> float:
    """1 / (n - ddof); infinite where n - ddof is not positive, so that the result is infinite or NaN, as in NumPy."""
    left = _count(name, x, axis) - check_real(ddof, f"{name}: ddof")
    return 1.0 / left if left > 0 else inf


def _centred(x: Any, axis: Axis) -> Any:
    return sub(x, mean(x, axis, keepdims=True))


def _var(x: Array, *, axis: Axis = None, ddof: float = 0, keepdims: bool = False, name: str = "var") -> Array:
    weight = _weight(name, x, axis, ddof)
    squares = _centred(x, axis)
    launch(np.square, squares, squares)
    return mul(sum(squares, axis, keepdims), weight)


def _std(x: Array, *, axis: Axis = None, **options: Any) -> Array:
    """Of the differences from the first number: so equal numbers give exactly 0, even if their mean is rounded."""
    axes = normalised_axes("std", axis, x.shape)
    first = x[(*(slice(1) if i in axes else slice(None) for i in range(x.ndim)), ...)]
    out = _var(sub(x, first), axis=axes, **options, name="std")
    launch(np.sqrt, out, out)
    return out


def _var_pull(g: Any, y: Any, x: Any, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Any:
    return mul(_kept(g, x, axis), mul(_centred(x, axis), 2.0 * _weight("var", x, axis, ddof)))


def _var_fused(g: Array, y: Array, saved: Any, into: list[Array], add: int, x: Array, *, axis: Axis = None, ddof: float = 0,
               keepdims: bool = False) -> None:
    (out,) = into
    launch(np.subtract, x, mean(x, axis, keepdims=True), out)
    launch(np.multiply, out, mul(_kept(g, x, axis), 2.0 * _weight("var", x, axis, ddof)), out)


def _through_root(g: Any, y: Any) -> Any:
    """g times the slope of the square root y; 0 where all numbers are equal: the tip of a cone."""
    tip = compare(np.equal, y, 0.0)
    return where(tip, 0.0, div(g, mul(where(tip, 1.0, y), 2.0)))


VAR: Op = Op("var", _var, fused=_var_fused, pull=(_var_pull,))
STD: Op = Op("std", _std, fused=lambda g, y, *rest, **options: _var_fused(_through_root(g, y), y, *rest, **options),
             pull=(lambda g, y, x, **options: _var_pull(_through_root(g, y), y, x, **options),))


def var(x: T, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> T:
    """``sum((x - mean(x))^2) / (n - ddof)`` over `axis` (None: all axes).

    ``ddof=0`` is NumPy's default, 1 is PyTorch's. Where n - ddof is not positive, the result is infinite or NaN.

    >>> tg.var([1.0, 3.0]).item(), tg.var([1.0, 3.0], ddof=1).item()
    (1.0, 2.0)
    """
    return VAR(x, axis=axis, ddof=ddof, keepdims=keepdims)


def std(x: T, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> T:
    """``sqrt(var(x))`` over `axis` (None: all axes). Where it is 0, so is its gradient.

    >>> tg.std([[1.0, 3.0], [2.0, 2.0]], axis=1)
    Tensor([1., 0.])
    """
    return STD(x, axis=axis, ddof=ddof, keepdims=keepdims)
