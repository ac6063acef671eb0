"""Extremes, products, moments and running sums, along one axis, several, or all of them."""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autodiff.broadcast import filled
from ..autodiff.guard import guarded
from ..autodiff.node import Array, Node, Op, value
from ..checks import check_real
from ..kernels.loops import reduce as kernels
from ..kernels.machine.door import copy, launch
from . import sums
from .axes import Axis, T, axis_or_flat, block, lines, normalised_axes, reduced_shape, spelled
from .elementwise import compare, div, equal_or_nan, mul, sub, where
from .shape import reshape, transpose

# -- extremes --------------------------------------------------------------------------------------------------------


def _check_not_empty(name: str, x: Array, axes: tuple[int, ...], axis: Axis) -> None:
    if not math.prod(x.shape[a] for a in axes):
        raise ValueError(f"{name}: got shape {x.shape} and axis {axis}; expected at least one number along it")


def _extreme(name: str, ufunc: np.ufunc) -> Any:
    def forward(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
        axes = normalised_axes(name, axis, x.shape)
        _check_not_empty(name, x, axes, axis)
        out = np.empty(reduced_shape(x.shape, axes, keepdims), x.dtype)
        launch(ufunc.reduce, x, axes, None, out, keepdims)
        return out

    return forward


def _first_winner(won: Array, axes: tuple[int, ...], out: Array) -> None:
    """The first True along `axes` (the last of them runs fastest); all others become False."""
    order = [i for i in range(won.ndim) if i not in axes] + sorted(axes)
    by_result = won.transpose(order)
    candidates = by_result.reshape(-1, math.prod(won.shape[a] for a in axes))
    first = candidates.argmax(axis=-1)[..., None] == np.arange(candidates.shape[1])
    np.copyto(out.transpose(order), first.reshape(by_result.shape))


def _to_the_winner(g: Any, y: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """g for the extreme number y (in a tie the first one, that of `argmax`), and exactly 0 for every other number."""
    axes = normalised_axes("max", axis, x.shape)
    kept = reduced_shape(x.shape, axes, True)
    winner = filled(np.empty(x.shape, bool), _first_winner, equal_or_nan(x, value(y).reshape(kept)), axes)
    return where(winner, reshape(g, shape=kept), 0.0)


def _extreme_fused(g: Array, y: Array, saved: Any, into: list[Array], add: int, x: Array, *, axis: Axis = None,
                   keepdims: bool = False) -> None:
    axes = sorted(normalised_axes("max", axis, x.shape))
    if axes and axes[-1] - axes[0] == len(axes) - 1:
        outer, n, inner = block(x.shape, axes)
        launch(kernels.extreme_pullback, g.reshape(outer, inner), x.reshape(outer, n, inner), y.reshape(outer, inner),
               into[0].reshape(outer, n, inner))
    else:
        launch(copy, _to_the_winner(g, y, x, axis, keepdims), into[0])


MAX: Op = Op("max", _extreme("max", np.maximum), fused=_extreme_fused, pull=(_to_the_winner,))
MIN: Op = Op("min", _extreme("min", np.minimum), fused=_extreme_fused, pull=(_to_the_winner,))


@spelled("PyTorch's max(dim) returns numbers and indices: write x.max(axis=...), and x.argmax(axis=...) for the indices")
def max(x: T, axis: Axis = None, keepdims: bool = False) -> T:
    """The largest number over `axis` (None: all axes); NaN if there is one.

    The gradient goes to the largest number, in a tie to the first one (that of `argmax`), and is exactly 0 for every other one.
    NaN counts as the largest. (PyTorch's `amax` shares the gradient among equals; its `max(dim)` behaves as here.)

    >>> x = Tensor([1.0, 3.0, 3.0], requires_grad=True)
    >>> x.max().backward()
    >>> x.grad
    array([0., 1., 0.])
    """
    return MAX(x, axis=axis, keepdims=keepdims)


@spelled("PyTorch's min(dim) returns numbers and indices: write x.min(axis=...), and x.argmin(axis=...) for the indices")
def min(x: T, axis: Axis = None, keepdims: bool = False) -> T:
    """The smallest number over `axis` (None: all axes); NaN if there is one. The gradient is as in `max`.

    >>> tg.min([[1.0, 2.0], [4.0, 3.0]], axis=1)
    Tensor([1., 3.])
    """
    return MIN(x, axis=axis, keepdims=keepdims)


def _index(name: str, function: Any, x: Array, axis: int | None, keepdims: bool) -> Any:
    along = None if axis is None else axis_or_flat(name, axis, x.shape)
    axes = normalised_axes(name, along, x.shape)
    _check_not_empty(name, x, axes, along)
    index = filled(np.empty(reduced_shape(x.shape, axes), np.intp), function, x, along)
    return guarded(index.reshape(reduced_shape(x.shape, axes, True)) if keepdims else index)[() if index.ndim == 0 else ...]


@spelled()
def argmax(x: Array | Node, axis: int | None = None, keepdims: bool = False) -> Any:
    """The index of the largest number along `axis` (None: in x flattened): plain integers without a gradient.

    In a tie it is the first index. If there is a NaN, it is the index of the first NaN.

    >>> tg.argmax([[1.0, 2.0], [4.0, 3.0]], axis=1), tg.argmax([[1.0, 2.0], [4.0, 3.0]])
    (array([1, 0]), np.int64(2))
    """
    return _index("argmax", np.argmax, value(x), axis, keepdims)


@spelled()
def argmin(x: Array | Node, axis: int | None = None, keepdims: bool = False) -> Any:
    """The index of the smallest number; otherwise as `argmax`.

    >>> tg.argmin([[1.0, 2.0], [4.0, 3.0]], axis=0)
    array([0, 0])
    """
    return _index("argmin", np.argmin, value(x), axis, keepdims)


# -- products --------------------------------------------------------------------------------------------------------
# The slope of a product is the product of all other factors; y / x would fail for factors of 0. So the products of all others
# are an operation of their own, whose slopes are the products of all factors but two.


def _others_pull(h: Any, z: Any, x: Any) -> Any:
    """The products of all factors of x but two: x repeated as the rows of a square, with a 1 for factor i in row i."""
    *lead, n = x.shape
    diagonal = np.eye(n, dtype=bool)
    but_two = PRODUCTS_OF_OTHERS(where(diagonal, 1.0, reshape(x, shape=(*lead, 1, n))))
    return sums.sum(where(diagonal, 0.0, mul(reshape(h, shape=(*lead, n, 1)), but_two)), axis=-2)


# Both along the last axis.
PROD: Op = Op(
    "prod", lambda x: filled(np.empty(math.prod(x.shape[:-1]), x.dtype), kernels.products, lines(x)).reshape(x.shape[:-1]),
    fused=lambda g, y, saved, into, add, x: launch(kernels.products_pullback, g.ravel(), lines(x), lines(into[0])),
    pull=(lambda g, y, x: mul(reshape(g, shape=(*g.shape, 1)), PRODUCTS_OF_OTHERS(x)),))
PRODUCTS_OF_OTHERS: Op = Op(
    "products_of_others", pull=(_others_pull,),
    forward=lambda x: filled(lines(np.empty(x.shape, x.dtype)), kernels.products_of_others, lines(x)).reshape(x.shape))


@spelled()
def prod(x: T, axis: Axis = None, keepdims: bool = False) -> T:
    """``x_1 x_2 ... x_n`` over `axis` (None: all axes); 1 for no numbers.

    Each slope is the product of all other factors, which is right for factors of 0 too. (The second derivative of a product of
    n factors takes memory for n x n numbers.)

    >>> x = Tensor([0.0, 2.0, 3.0], requires_grad=True)
    >>> x.prod().backward()
    >>> x.grad
    array([6., 0., 0.])
    """
    axes, n = normalised_axes("prod", axis, x.shape), len(x.shape)
    rest = tuple(i for i in range(n) if i not in axes)
    ordered = x if (*rest, *axes) == tuple(range(n)) else transpose(x, axes=(*rest, *axes))
    y = PROD(reshape(ordered, shape=(*(x.shape[i] for i in rest), math.prod(x.shape[a] for a in axes))))
    return reshape(y, shape=reduced_shape(x.shape, axes, True)) if keepdims else y


# -- moments ---------------------------------------------------------------------------------------------------------


_DIVISOR = "PyTorch divides by n - 1: write axis=..., ddof=1; here the default is ddof=0, as in NumPy"


def _weight(name: str, x: Any, axis: Axis, ddof: float) -> float:
    """1 / (n - ddof); infinite where n - ddof is not positive, so that the result is infinite or NaN, as in NumPy."""
    left = math.prod(x.shape[a] for a in normalised_axes(name, axis, x.shape)) - check_real(ddof, f"{name}: ddof")
    return 1.0 / left if left > 0 else math.inf


def _centred(x: Any, axis: Axis) -> Any:
    return sub(x, sums.mean(x, axis, keepdims=True))


def _var(x: Array, *, axis: Axis = None, ddof: float = 0, keepdims: bool = False, name: str = "var") -> Array:
    weight = _weight(name, x, axis, ddof)
    squares = _centred(x, axis)
    launch(np.square, squares, squares)
    return mul(sums.sum(squares, axis, keepdims), weight)


def _std(x: Array, *, axis: Axis = None, **options: Any) -> Array:
    """Computed from the differences to the first number: equal numbers give exactly 0, even if their mean is rounded."""
    axes = normalised_axes("std", axis, x.shape)
    first = x[(*(slice(1) if i in axes else slice(None) for i in range(x.ndim)), ...)]
    out = _var(sub(x, first), axis=axes, **options, name="std")
    launch(np.sqrt, out, out)
    return out


def _var_pull(g: Any, y: Any, x: Any, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Any:
    return mul(_centred(x, axis), mul(sums.kept(g, x, axis), 2.0 * _weight("var", x, axis, ddof)))


def _through_root(g: Any, y: Any) -> Any:
    """g times the slope of the square root y; 0 where all numbers are equal, since std has a kink there, like |x| at 0."""
    tip = compare(np.equal, y, 0.0)
    return where(tip, 0.0, div(g, mul(where(tip, 1.0, y), 2.0)))


VAR: Op = Op("var", _var, pull=(_var_pull,))
STD: Op = Op("std", _std, pull=(lambda g, y, x, **options: _var_pull(_through_root(g, y), y, x, **options),))


@spelled(_DIVISOR)
def var(x: T, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> T:
    """``sum((x - mean(x))^2) / (n - ddof)`` over `axis` (None: all axes).

    ``ddof=0`` is NumPy's default, 1 is PyTorch's. Where n - ddof is not positive, the result is infinite or NaN.

    >>> tg.var([1.0, 3.0]).item(), tg.var([1.0, 3.0], ddof=1).item()
    (1.0, 2.0)
    """
    return VAR(x, axis=axis, ddof=ddof, keepdims=keepdims)


@spelled(_DIVISOR)
def std(x: T, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> T:
    """``sqrt(var(x))`` over `axis` (None: all axes). Where it is 0, so is its gradient.

    >>> tg.std([[1.0, 3.0], [2.0, 2.0]], axis=1)
    Tensor([1., 0.])
    """
    return STD(x, axis=axis, ddof=ddof, keepdims=keepdims)


# -- running sums ---------------------------------------------------------------------------------------------------------


def _cumsum(x: Array, *, axis: int, reverse: bool = False) -> Array:
    shape = block(x.shape, (axis,))
    return filled(np.empty(shape, x.dtype), kernels.running_sum, x.reshape(shape), reverse).reshape(x.shape)


CUMSUM: Op = Op("cumsum", _cumsum, pull=(lambda g, y, x, axis, reverse=False: CUMSUM(g, axis=axis, reverse=not reverse),))


@spelled()
def cumsum(x: T, axis: int | None = None) -> T:
    """``y_i = x_1 + ... + x_i`` along an axis; None: of x flattened.

    >>> tg.cumsum([[1.0, 2.0], [3.0, 4.0]], axis=1)
    Tensor([[1., 3.],
            [3., 7.]])
    """
    if axis is None:
        return CUMSUM(reshape(x, shape=(math.prod(x.shape),)), axis=0)
    return CUMSUM(x, axis=axis_or_flat("cumsum", axis, x.shape))
