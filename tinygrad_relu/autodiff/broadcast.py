"""Broadcasting, undone in this one place; and the sum of two gradients. The walk back itself needs these three operations.

The gradient of an input that was repeated along an axis is the sum over that axis. So `sum_to` and `broadcast_to` are each
other's derivative.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels.loops.move import copy
from ..kernels.loops.reduce import sum_over
from ..kernels.machine.door import launch
from .node import Array, Op


def _sum_to(g: Array, *, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    if g.shape != shape:
        extra = g.ndim - len(shape)
        repeated = tuple(i + extra for i, n in enumerate(shape) if n == 1 and g.shape[i + extra] != 1)
        axes = tuple(range(extra)) + repeated
        total = np.empty(shape, g.dtype)
        sum_over(g, axes, total)
        g = total
    return g if g.dtype == dtype else g.astype(dtype)


def _broadcast_to(x: Array, *, shape: tuple[int, ...]) -> Array:
    out = np.empty(shape, x.dtype)
    launch(copy, x, out)
    return out


def _plus(a: Array, b: Array) -> Array:
    out = np.empty(a.shape, a.dtype)
    launch(np.add, a, b, out)
    return out


sum_to: Op = Op("sum_to", _sum_to, pull=(lambda g, y, x, shape, dtype: unbroadcast(broadcast_to(g, shape=x.shape), x),))
broadcast_to: Op = Op("broadcast_to", _broadcast_to, pull=(lambda g, y, x, shape: g,))
plus: Op = Op("add", _plus, pull=(lambda g, y, a, b: g, lambda g, y, a, b: g), elementwise=True)    # of one shape and dtype


def unbroadcast(g: Any, like: Any) -> Any:
    """The gradient g of an input `like` that may have been repeated: summed to its shape, in its dtype. Arrays or nodes."""
    if g.shape == like.shape and g.dtype == like.dtype:
        return g
    return sum_to(g, shape=like.shape, dtype=like.dtype)
