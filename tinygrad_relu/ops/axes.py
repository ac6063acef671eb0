"""Axes as users name them, and shapes after axes are gone."""
from __future__ import annotations

import operator
from collections.abc import Sequence
from math import prod
from typing import TypeVar

from ..autodiff.node import Array, Node

Axis = int | Sequence[int] | None

# The functions of this folder take arrays and return arrays, or take Tensors and return Tensors.
T = TypeVar("T", bound=Array | Node)


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


def axis_or_flat(name: str, axis: int, shape: tuple[int, ...]) -> int:
    """As `single_axis`, for functions where None means: of x made flat."""
    axes = normalised_axes(name, axis, shape)
    if isinstance(axis, (tuple, list)):
        raise ValueError(f"{name}: got axis {axis} for shape {shape}; expected one axis, or None for x made flat")
    return axes[0]


def kept_shape(shape: tuple[int, ...], axes: Sequence[int]) -> tuple[int, ...]:
    """The shape after a reduction over `axes` with keepdims."""
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def left_shape(shape: tuple[int, ...], axes: Sequence[int]) -> tuple[int, ...]:
    """The shape after a reduction over `axes` without keepdims."""
    return tuple(n for i, n in enumerate(shape) if i not in axes)


def block(shape: tuple[int, ...], axes: Sequence[int]) -> tuple[int, int, int]:
    """How many numbers there are before, along and after some neighbouring axes."""
    start, stop = min(axes), max(axes) + 1
    return prod(shape[:start]), prod(shape[start:stop]), prod(shape[stop:])
