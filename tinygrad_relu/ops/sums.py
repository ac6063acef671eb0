"""Sums along axes, and means."""
from __future__ import annotations

from math import nan, prod
from typing import Any

import numpy as np

from ..autodiff.broadcast import broadcast_to, sum_over
from ..autodiff.node import Array, Op
from ..kernels.loops.reduce import sum_pullback
from ..kernels.machine.door import launch
from .axes import Axis, T, block, normalised_axes, reduced_shape, spelled
from .elementwise import div
from .shape import reshape


def kept(g: Any, x: Any, axis: Axis) -> Any:
    """The gradient g of a reduction of x, with the reduced axes as axes of length 1, so that it broadcasts over x."""
    return reshape(g, shape=reduced_shape(x.shape, normalised_axes("sum", axis, x.shape), True))


def _sum(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    axes = tuple(range(x.ndim)) if axis is None else normalised_axes("sum", axis, x.shape)
    shape = () if axis is None and not keepdims else reduced_shape(x.shape, axes, keepdims)
    return sum_over(x, sorted(axes), np.empty(shape, x.dtype))


def _sum_fused(g: Array, y: Any, saved: Any, into: Any, add: int, x: Array, *, axis: Axis = None, keepdims: bool = False) -> None:
    axes = normalised_axes("sum", axis, x.shape)
    if axes and max(axes) - min(axes) < len(axes):      # neighbours
        outer, n, inner = block(x.shape, axes)
        launch(sum_pullback, g.reshape(outer, inner), bool(add), into[0].reshape(outer, n, inner))
    else:
        launch(np.add, into[0] if add else 0.0, kept(g, x, axis), into[0])


SUM: Op = Op("sum", _sum, fused=_sum_fused, adds=True, pull=(
    lambda g, y, x, axis=None, keepdims=False: broadcast_to(kept(g, x, axis), shape=x.shape),))


@spelled()
def sum(x: T, axis: Axis = None, keepdims: bool = False) -> T:
    """``sum_k x_k`` over `axis`: a number, several, or None for all axes. With `keepdims` the summed axes stay, with length 1.
    The sum of no numbers is 0.

    >>> tg.sum([[1.0, 2.0], [3.0, 4.0]], axis=0)
    Tensor([4., 6.])
    """
    return SUM(x, axis=axis, keepdims=keepdims)


@spelled()
def mean(x: T, axis: Axis = None, keepdims: bool = False) -> T:
    """``sum_k x_k / n`` over `axis` (None: all axes), n being the number of terms; NaN for no numbers, as in NumPy.

    >>> tg.mean([[1.0, 2.0], [3.0, 4.0]], axis=(0, 1)).item()
    2.5
    """
    shape = x.shape
    count = prod([shape[a] for a in normalised_axes("mean", axis, shape)])
    return div(SUM(x, axis=axis, keepdims=keepdims), float(count) or nan)
