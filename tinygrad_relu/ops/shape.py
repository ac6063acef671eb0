"""Operations that only move numbers: reshape, transpose and their relatives.

What `reshape` returns shares memory with its input, as it does in NumPy, and so do its relatives `squeeze`, `expand_dims` and
`flatten`: writing into the ``.data`` of the one changes the other. Every other operation returns numbers of its own.
"""
from __future__ import annotations

import operator
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ..autodiff.broadcast import broadcast_to
from ..autodiff.node import Array, Op
from ..kernels.loops import move
from ..kernels.machine.door import launch

Axis = int | Sequence[int] | None


def _reshape(x: Array, *, shape: tuple[int, ...]) -> Array:
    try:
        return x.reshape(shape)
    except (ValueError, TypeError):
        raise ValueError(f"reshape: {x.size} elements of shape {x.shape} do not fit shape {shape}") from None


def _transpose(x: Array, *, axes: tuple[int, ...] | None) -> Array:
    if axes is not None and len(normalised_axes("transpose", axes, x.shape)) != x.ndim:
        raise ValueError(f"transpose: axes {axes} are no permutation of the {x.ndim} axes of shape {x.shape}")
    moved = x.transpose(axes)
    out = np.empty(moved.shape, x.dtype)    # a copy, so that it is C-contiguous like every array in a graph
    order = tuple(range(x.ndim))[::-1] if axes is None else tuple(a % x.ndim for a in axes)
    blocks = _exchanged(order)
    if blocks:
        fixed, first, second = (prod(x.shape[part]) for part in blocks)
        launch(move.swap, x.reshape(fixed, first, second), out.reshape(fixed, second, first))
    else:
        launch(move.copy, moved, out)
    return out


def _exchanged(order: tuple[int, ...]) -> tuple[slice, slice, slice] | None:
    """The axes that stay in front and two blocks behind them that change places, where `order` does just that."""
    start = next((i for i, a in enumerate(order) if i != a), None)
    if start is None:
        return None
    middle, end = order[start], len(order)
    if order[start:] != (*range(middle, end), *range(start, middle)):
        return None
    return slice(start), slice(start, middle), slice(middle, end)


def _transpose_back(g: Any, y: Any, x: Any, axes: tuple[int, ...] | None) -> Any:
    return transpose(g, axes=None if axes is None else tuple(int(i) for i in np.argsort([a % len(axes) for a in axes])))


def normalised_axes(name: str, axis: Axis, shape: tuple[int, ...]) -> tuple[int, ...]:
    """`axis` as a tuple of distinct numbers from 0 up; None means all."""
    if axis is None:
        return tuple(range(len(shape)))
    try:
        axes = [operator.index(a) for a in (axis if isinstance(axis, (tuple, list)) else (axis,))]
    except TypeError:
        raise TypeError(f"{name}: got axis {axis!r}; expected whole numbers, or None for all axes") from None
    found = tuple(a + len(shape) if a < 0 else a for a in axes)
    if any(not 0 <= a < len(shape) for a in found) or len(set(found)) != len(found):
        known = f"distinct axes from {-len(shape)} to {len(shape) - 1}" if shape else "none, as a number has no axes"
        raise ValueError(f"{name}: got axis {axis} for shape {shape}; expected {known}")
    return found


def single_axis(name: str, axis: int, shape: tuple[int, ...]) -> int:
    """`axis` as a number from 0 up."""
    if axis is None or isinstance(axis, (tuple, list)):
        raise TypeError(f"{name}: got axis {axis!r}; expected one whole number")
    return normalised_axes(name, axis, shape)[0]


def kept_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape after a reduction over `axes` with keepdims."""
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    order = list(range(len(x.shape)))
    one, other = single_axis("swapaxes", axis1, x.shape), single_axis("swapaxes", axis2, x.shape)
    order[one], order[other] = other, one
    return transpose(x, axes=tuple(order))


def squeeze(x: Any, axis: Axis = None) -> Any:
    """x without its axes of size 1, or without those in `axis`, which must be of size 1."""
    axes = [i for i, n in enumerate(x.shape) if n == 1] if axis is None else normalised_axes("squeeze", axis, x.shape)
    if any(x.shape[i] != 1 for i in axes):
        raise ValueError(f"squeeze: got axis {axis} for shape {x.shape}; expected axes of size 1")
    return reshape(x, shape=tuple(n for i, n in enumerate(x.shape) if i not in axes))


def expand_dims(x: Any, axis: int | Sequence[int]) -> Any:
    """x with new axes of size 1 at the places `axis` of the result."""
    count = len(axis) if isinstance(axis, (tuple, list)) else 1
    new = normalised_axes("expand_dims", axis, x.shape + (1,) * count)
    sizes = iter(x.shape)
    return reshape(x, shape=tuple(1 if i in new else next(sizes) for i in range(len(x.shape) + count)))


def flatten(x: Any, start_axis: int = 0, end_axis: int = -1) -> Any:
    """The axes from `start_axis` to `end_axis`, both included, made one; a number becomes a vector of one."""
    shape = x.shape or (1,)
    start, end = (single_axis("flatten", axis, shape) for axis in (start_axis, end_axis))
    if start > end:
        raise ValueError(f"flatten: got start_axis {start_axis} and end_axis {end_axis} for shape {x.shape}; expected the start "
                         "not to lie behind the end")
    return reshape(x, shape=(*shape[:start], prod(shape[start:end + 1]), *shape[end + 1:]))


def broadcast(x: Any, shape: tuple[int, ...]) -> Any:
    """x repeated along axes of size 1, and along new ones in front, until it has this shape."""
    try:
        fits = np.broadcast_shapes(x.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"broadcast_to: shape {x.shape} cannot be broadcast to {shape}")
    return broadcast_to(x, shape=shape)


reshape: Op = Op("reshape", _reshape, pull=(lambda g, y, x, shape: reshape(g, shape=x.shape),))
transpose: Op = Op("transpose", _transpose, pull=(_transpose_back,))
