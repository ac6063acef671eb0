"""A piece of an axis, its inverse, and pieces put together: what recurrent layers need to take sequences apart."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..autodiff.node import Array
from ..autodiff.op import Op, Pull
from ..kernels.door import launch


def _piece(axis: int, start: int, stop: int) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, slice(start, stop))


def _narrow(x: Array, *, axis: int, start: int, stop: int) -> Array:
    part = x[_piece(axis, start, stop)]
    if part.flags.c_contiguous:             # along the first axis always: no copy
        return part
    out = np.empty(part.shape, x.dtype)
    launch(np.positive, part, out)
    return out


def _widen(x: Array, *, axis: int, start: int, length: int) -> Array:
    out = np.zeros((*x.shape[:axis], length, *x.shape[axis + 1:]), x.dtype)
    launch(np.positive, x, out[_piece(axis, start, start + x.shape[axis])])
    return out


def _concatenate(*parts: Array, axis: int) -> Array:
    length = sum(part.shape[axis] for part in parts)
    out = np.empty((*parts[0].shape[:axis], length, *parts[0].shape[axis + 1:]), parts[0].dtype)
    start = 0
    for part in parts:
        launch(np.positive, part, out[_piece(axis, start, start + part.shape[axis])])
        start += part.shape[axis]
    return out


def _concatenate_back(i: int) -> Pull:
    def rule(g: Any, y: Any, *parts: Any, axis: int) -> Any:
        start = sum(part.shape[axis] for part in parts[:i])
        return narrow(g, axis=axis, start=start, stop=start + parts[i].shape[axis])

    return rule


# x[start:stop] along an axis (a number from 0 up), and the array of zeros around such a piece: each other's derivative.
narrow: Op = Op("narrow", _narrow, pull=(
    lambda g, y, x, axis, start, stop: widen(g, axis=axis, start=start, length=x.shape[axis]),))
widen: Op = Op("widen", _widen, pull=(
    lambda g, y, x, axis, start, length: narrow(g, axis=axis, start=start, stop=start + x.shape[axis]),))
concatenate: Op = Op("concatenate", _concatenate, pull=_concatenate_back)
