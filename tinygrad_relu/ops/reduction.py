"""Many numbers to one, along axes: sums, products, extremes, moments. And the running sum."""
from __future__ import annotations

from collections.abc import Sequence
from math import inf, nan
from math import prod as product_of_numbers
from typing import Any

import numpy as np

from ..autodiff.broadcast import broadcast_to
from ..autodiff.node import Array, Op, value
from ..checks import check_real
from ..kernels.loops import reduce as kernels
from ..kernels.loops.move import copy
from ..kernels.loops.reduce import sum_over
from ..kernels.machine.door import launch
from .elementwise import compare, div, mul, same, sub, where
from .shape import Axis, kept_shape, normalised_axes, reshape, transpose


def _reduced(name: str, x: Array, axis: Axis, keepdims: bool) -> tuple[tuple[int, ...], Array]:
    """The axes as numbers from 0 up, and an array for the result."""
    axes = normalised_axes(name, axis, x.shape)
    kept = kept_shape(x.shape, axes)
    return axes, np.empty(kept if keepdims else tuple(n for i, n in enumerate(x.shape) if i not in axes), x.dtype)


def _kept(name: str, g: Any, x: Any, axis: Axis) -> Any:
    """A result of a reduction of x, with the reduced axes as axes of length 1, so that it broadcasts over x."""
    return reshape(g, shape=kept_shape(x.shape, normalised_axes(name, axis, x.shape)))


def _block(shape: tuple[int, ...], axes: Sequence[int]) -> tuple[int, int, int]:
    """How many numbers lie before, along and behind some axes that stand side by side."""
    start, stop = min(axes), max(axes) + 1
    return (product_of_numbers(shape[:start]), product_of_numbers(shape[start:stop]), product_of_numbers(shape[stop:]))


def _count(name: str, x: Any, axis: Axis) -> int:
    """How many numbers of x go into one result."""
    return product_of_numbers(x.shape[a] for a in normalised_axes(name, axis, x.shape))


# -- sums ------------------------------------------------------------------------------------------------------------

def _sum(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    axes, out = _reduced("sum", x, axis, keepdims)
    sum_over(x, sorted(axes), out)
    return out


def _sum_fused(g: Array, y: Array, saved: Any, into: list[Array], add: int, x: Array, *, axis: Axis = None,
               keepdims: bool = False) -> None:
    launch(copy, _kept("sum", g, x, axis), into[0])


def _cumsum(x: Array, *, axis: int, reverse: bool = False) -> Array:
    (along,) = normalised_axes("cumsum", axis, x.shape)
    out = np.empty(x.shape, x.dtype)
    block = _block(x.shape, (along,))
    launch(kernels.running_sum, x.reshape(block), reverse, out.reshape(block))
    return out


sum_: Op = Op("sum", _sum, fused=_sum_fused, pull=(
    lambda g, y, x, axis=None, keepdims=False: broadcast_to(_kept("sum", g, x, axis), shape=x.shape),))
running_sum: Op = Op("cumsum", _cumsum, pull=(
    lambda g, y, x, axis, reverse=False: running_sum(g, axis=axis, reverse=not reverse),))


def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The sum divided by the number of elements that went into it; NaN for none, as in NumPy."""
    count = _count("mean", x, axis)
    return div(sum_(x, axis=axis, keepdims=keepdims), float(count) or nan)


def cumsum(x: Any, axis: int | None = None) -> Any:
    """The sums of the first 1, 2, 3 ... numbers along one axis; None: of x made flat."""
    if axis is None:
        return running_sum(reshape(x, shape=(product_of_numbers(x.shape),)), axis=0)
    return running_sum(x, axis=_one_axis("cumsum", axis, x.shape))


def _one_axis(name: str, axis: Any, shape: tuple[int, ...]) -> int:
    axes = normalised_axes(name, axis, shape)
    if isinstance(axis, (tuple, list)):
        raise ValueError(f"{name}: got axis {axis} for shape {shape}; expected one axis, or None for x made flat")
    return axes[0]


# -- moments ---------------------------------------------------------------------------------------------------------

def _weight(name: str, x: Any, axis: Axis, ddof: float) -> float:
    """1 / (n - ddof); infinite where nothing is left, so that the result is infinite or NaN, as in NumPy."""
    left = _count(name, x, axis) - check_real(ddof, f"{name}: ddof")
    return 1.0 / left if left > 0 else inf


def _centred(x: Any, axis: Axis) -> Any:
    return sub(x, mean(x, axis, keepdims=True))


def _var(x: Array, *, axis: Axis = None, ddof: float = 0, keepdims: bool = False, name: str = "var") -> Array:
    weight = _weight(name, x, axis, ddof)
    squares = _centred(x, axis)
    launch(np.square, squares, squares)
    return mul(sum_(squares, axis=axis, keepdims=keepdims), weight)


def _std(x: Array, *, axis: Axis = None, **options: Any) -> Array:
    """Of the distances to the first number: so equal numbers give exactly 0, also where their mean is rounded."""
    axes = normalised_axes("std", axis, x.shape)
    first = x[(*(slice(1) if i in axes else slice(None) for i in range(x.ndim)), ...)]
    out = _var(sub(x, first), axis=axes, **options, name="std")
    launch(np.sqrt, out, out)
    return out


def _var_pull(g: Any, y: Any, x: Any, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Any:
    return mul(_kept("var", g, x, axis), mul(_centred(x, axis), 2.0 * _weight("var", x, axis, ddof)))


def _var_fused(g: Array, y: Array, saved: Any, into: list[Array], add: int, x: Array, *, axis: Axis = None, ddof: float = 0,
               keepdims: bool = False) -> None:
    (out,) = into
    launch(np.subtract, x, mean(x, axis, keepdims=True), out)
    launch(np.multiply, out, mul(_kept("var", g, x, axis), 2.0 * _weight("var", x, axis, ddof)), out)


def _through_root(g: Any, y: Any) -> Any:
    """g times the slope of the square root y; 0 where all numbers are equal: the tip of a cone."""
    tip = compare(np.equal, y, 0.0)
    return where(tip, 0.0, div(g, mul(where(tip, 1.0, y), 2.0)))


var: Op = Op("var", _var, fused=_var_fused, pull=(_var_pull,))
std: Op = Op("std", _std, fused=lambda g, y, *rest, **options: _var_fused(_through_root(g, y), y, *rest, **options),
             pull=(lambda g, y, x, **options: _var_pull(_through_root(g, y), y, x, **options),))


# -- extremes --------------------------------------------------------------------------------------------------------

def _check_not_empty(name: str, x: Array, axis: Axis) -> None:
    if not _count(name, x, axis):
        raise ValueError(f"{name}: got shape {x.shape} and axis {axis}; expected at least one number along it")


def _extreme(name: str, ufunc: np.ufunc) -> Any:
    def forward(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
        axes, out = _reduced(name, x, axis, keepdims)
        _check_not_empty(name, x, axis)
        launch(ufunc.reduce, x, axes, None, out, keepdims)
        return out

    return forward


def _first_winner(won: Array, axes: tuple[int, ...], out: Array) -> None:
    """The first True along `axes` (the last of them runs fastest); all others become False."""
    order = [i for i in range(won.ndim) if i not in axes] + sorted(axes)
    by_result = won.transpose(order)
    candidates = by_result.reshape(-1, product_of_numbers(won.shape[a] for a in axes))
    first = np.zeros(candidates.shape, bool)
    np.put_along_axis(first, candidates.argmax(axis=-1)[..., None], True, axis=-1)
    np.copyto(out.transpose(order), first.reshape(by_result.shape))


def _to_the_winner(g: Any, y: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """g goes to the extreme number y (in a tie the first one, which is that of `argmax`), and exactly 0 to every other one."""
    axes = normalised_axes("max", axis, x.shape)
    kept, winner = kept_shape(x.shape, axes), np.empty(x.shape, bool)
    launch(_first_winner, same(x, value(y).reshape(kept)), axes, winner)
    return where(winner, reshape(g, shape=kept), 0.0)


def _extreme_fused(g: Array, y: Array, saved: Any, into: list[Array], add: int, x: Array, *, axis: Axis = None,
                   keepdims: bool = False) -> None:
    axes = sorted(normalised_axes("max", axis, x.shape))
    if axes and axes[-1] - axes[0] == len(axes) - 1:
        outer, n, inner = _block(x.shape, axes)
        launch(kernels.extreme_pullback, g.reshape(outer, inner), x.reshape(outer, n, inner), y.reshape(outer, inner),
               into[0].reshape(outer, n, inner))
    else:
        np.copyto(into[0], _to_the_winner(g, y, x, axis, keepdims))


def _index(name: str, function: Any, x: Array, axis: int | None, keepdims: bool) -> Any:
    along = None if axis is None else _one_axis(name, axis, x.shape)
    _check_not_empty(name, x, along)
    axes = normalised_axes(name, along, x.shape)
    index = np.empty([n for i, n in enumerate(x.shape) if i not in axes], np.intp)
    launch(function, x, along, index)
    return index.reshape(kept_shape(x.shape, axes)) if keepdims else index[()]


max_: Op = Op("max", _extreme("max", np.maximum), fused=_extreme_fused, pull=(_to_the_winner,))
min_: Op = Op("min", _extreme("min", np.minimum), fused=_extreme_fused, pull=(_to_the_winner,))


def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Where the largest number is, as plain integers: the first one in a tie, the first NaN if there is one."""
    return _index("argmax", np.argmax, value(x), axis, keepdims)


def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Where the smallest number is, as `argmax`."""
    return _index("argmin", np.argmin, value(x), axis, keepdims)


# -- products --------------------------------------------------------------------------------------------------------
# The slope of a product is the product of all the other factors: y / x, were it not for zeros. So those products are an
# operation of their own, whose slopes are the products of all factors but two.

def _prod(x: Array) -> Array:
    out = np.empty(x.shape[:-1], x.dtype)
    launch(kernels.products, _lines(x), out.ravel())
    return out


def _prod_fused(g: Array, y: Array, saved: Any, into: list[Array], add: int, x: Array) -> None:
    launch(kernels.products_pullback, g.ravel(), _lines(x), _lines(into[0]))


def _lines(x: Array) -> Array:
    return x.reshape(product_of_numbers(x.shape[:-1]), x.shape[-1])


def _others(x: Array) -> Array:
    out = np.empty(x.shape, x.dtype)
    launch(kernels.products_of_others, _lines(x), _lines(out))
    return out


def _others_pull(h: Any, z: Any, x: Any) -> Any:
    """Row i of a square is x with its factor i replaced by 1; the others of that are the products of all but two."""
    *lines, n = x.shape
    diagonal = np.eye(n, dtype=bool)
    but_two = products_of_others(where(diagonal, 1.0, reshape(x, shape=(*lines, 1, n))))
    return sum_(where(diagonal, 0.0, mul(reshape(h, shape=(*lines, n, 1)), but_two)), axis=-2)


product_of_line: Op = Op("prod", _prod, fused=_prod_fused, pull=(
    lambda g, y, x: mul(reshape(g, shape=(*g.shape, 1)), products_of_others(x)),))
products_of_others: Op = Op("products_of_others", _others, pull=(_others_pull,))


def prod(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The product along `axis`, with slopes that are right where factors are 0. The second takes n x n numbers for n."""
    axes = normalised_axes("prod", axis, x.shape)
    rest = tuple(i for i in range(len(x.shape)) if i not in axes)
    lines = x if (*rest, *axes) == tuple(range(len(x.shape))) else transpose(x, axes=(*rest, *axes))
    shape = tuple(x.shape[i] for i in rest)
    y = product_of_line(reshape(lines, shape=(*shape, _count("prod", x, axis))))
    return reshape(y, shape=kept_shape(x.shape, axes)) if keepdims else y
