"""Undoing broadcasting, and adding two gradients: the three operations that the backward pass itself needs.

The gradient of an input that was repeated along an axis is the sum over that axis. So each of `sum_to` and `broadcast_to` is the
derivative of the other.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from ..kernels.loops.reduce import sum_lines, sum_rows
from ..kernels.machine.door import copy, launch
from .node import Array, Op


def filled(out: Array, kernel: Callable[..., Any], *inputs: Any) -> Array:
    """`out`, after a kernel has written its result there."""
    launch(kernel, *inputs, out)
    return out


def sum_over(x: Any, axes: Sequence[int], out: Any) -> Any:
    """The sum of x over `axes` (numbers from 0 up, in order), written into `out`, which has one number per sum; returns `out`.

    Adjacent axes are merged and summed at once. Separate groups of axes are summed one by one, the last group first.
    """
    if not axes:
        launch(copy, x, out.reshape(x.shape))
        return out
    if len(axes) == x.ndim:
        launch(sum_lines, x.reshape(1, x.size), out.reshape(1))
        return out
    start = stop = axes[-1]
    while start - 1 in axes:
        start -= 1
    before, n, behind = x.shape[:start], prod(x.shape[start:stop + 1]), x.shape[stop + 1:]
    rest = axes[:start - stop - 1]
    part = np.empty(before + behind, x.dtype) if rest else out
    outer, inner = prod(before), prod(behind)
    if inner == 1:
        launch(sum_lines, x.reshape(outer, n), part.reshape(outer))
    else:
        launch(sum_rows, x.reshape(outer, n, inner), part.reshape(outer, inner))
    return sum_over(part, rest, out) if rest else out


def _sum_to(g: Array, *, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    if g.shape != shape:
        extra = g.ndim - len(shape)
        repeated = tuple(i + extra for i, n in enumerate(shape) if n == 1 and g.shape[i + extra] != 1)
        g = sum_over(g, tuple(range(extra)) + repeated, np.empty(shape, g.dtype))
    return g if g.dtype == dtype else filled(np.empty(g.shape, dtype), copy, g)


sum_to: Op = Op("sum_to", _sum_to, pull=(lambda g, y, x, shape, dtype: unbroadcast(broadcast_to(g, shape=x.shape), x),))
broadcast_to: Op = Op(
    "broadcast_to", lambda x, shape: filled(np.empty(shape, x.dtype), copy, x), pull=(lambda g, y, x, shape: g,))
plus: Op = Op(      # of two gradients of one shape and dtype
    "add", lambda a, b: filled(np.empty(a.shape, a.dtype), np.add, a, b), elementwise=True,
    pull=(lambda g, y, a, b: g, lambda g, y, a, b: g))


def unbroadcast(g: Any, like: Any) -> Any:
    """The gradient g, summed to the shape of the input `like` that was broadcast, and cast to its dtype. Arrays or nodes."""
    if g.shape == like.shape and g.dtype == like.dtype:
        return g
    return sum_to(g, shape=like.shape, dtype=like.dtype)
