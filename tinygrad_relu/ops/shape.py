"""Operations that only move numbers: reshape, transpose."""
from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autodiff.node import Array
from ..autodiff.op import Op
from ..kernels.door import launch

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
    out = np.empty(moved.shape, x.dtype)
    launch(np.positive, moved, out)         # a copy, so that it is C-contiguous like every array in a graph
    return out


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


def kept_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape after a reduction over `axes` with keepdims."""
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


reshape: Op = Op("reshape", _reshape, pull=(lambda g, y, x, shape: reshape(g, shape=x.shape),))
transpose: Op = Op("transpose", _transpose, pull=(_transpose_back,))
