"""Axes and shapes: the axes that users name, and the operations that only move numbers.

As in NumPy, what `reshape`, `squeeze`, `expand_dims` and `flatten` return shares memory with their input: writing into the
``.data`` of one changes the other. Every other operation returns numbers of its own.
"""
from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any, TypeVar

import numpy as np

from ..autodiff import broadcast
from ..autodiff.node import Array, Node, Op
from ..checks import said
from ..kernels.loops.pointwise import swap
from ..kernels.machine.door import copy, launch
from .spelling import spelled

Axis = int | Sequence[int] | None

# The functions of this folder take arrays and return arrays, or take Tensors and return Tensors.
T = TypeVar("T", bound=Array | Node)


def normalised_axes(name: str, axis: Axis, shape: tuple[int, ...], of: str = "") -> tuple[int, ...]:
    """`axis` as a tuple of distinct numbers from 0 up; None means all. Errors say `of` in place of the shape."""
    if axis is None:
        return tuple(range(len(shape)))
    try:
        axes = [operator.index(a) for a in (axis if isinstance(axis, (tuple, list)) else (axis,))]
    except TypeError:
        raise TypeError(f"{name}: got axis {said(axis)}; expected whole numbers, or None for all axes") from None
    found = tuple(a + len(shape) if a < 0 else a for a in axes)
    if any(not 0 <= a < len(shape) for a in found) or len(set(found)) != len(found):
        known = f"distinct axes from {-len(shape)} to {len(shape) - 1}" if shape else "none, as a number has no axes"
        raise ValueError(f"{name}: got axis {axis} for {of or f'shape {shape}'}; expected {known}")
    return found


def whole_numbers(numbers: Any, got: str) -> tuple[int, ...]:
    """One or several whole numbers, as a tuple. The error begins with `got`."""
    try:
        return tuple(map(operator.index, numbers if isinstance(numbers, Iterable) else (numbers,)))
    except TypeError:
        raise TypeError(f"{got} {said(numbers)}; expected whole numbers") from None


def single_axis(name: str, axis: int, shape: tuple[int, ...]) -> int:
    """`axis` as a number from 0 up."""
    if axis is None or isinstance(axis, (tuple, list)):
        raise TypeError(f"{name}: got axis {said(axis)}; expected one whole number")
    return normalised_axes(name, axis, shape)[0]


def axis_or_flat(name: str, axis: int, shape: tuple[int, ...]) -> int:
    """As `single_axis`, for functions where None stands for x flattened."""
    axes = normalised_axes(name, axis, shape)
    if isinstance(axis, (tuple, list)):
        raise ValueError(f"{name}: got axis {axis} for shape {shape}; expected one axis, or None for x flattened")
    return axes[0]


def reduced_shape(shape: tuple[int, ...], axes: Sequence[int], keepdims: bool = False) -> tuple[int, ...]:
    """The shape after a reduction over `axes`."""
    return tuple(1 if i in axes else n for i, n in enumerate(shape) if keepdims or i not in axes)


def lines(x: Array) -> Array:
    """x (..., n) as a matrix (rows, n)."""
    return x.reshape(prod(x.shape[:-1]), x.shape[-1])


def block(shape: tuple[int, ...], axes: Sequence[int]) -> tuple[int, int, int]:
    """How many numbers there are before, along and after some neighbouring axes."""
    start, stop = min(axes), max(axes) + 1
    return prod(shape[:start]), prod(shape[start:stop]), prod(shape[stop:])


def _reshape(x: Array, *, shape: tuple[int, ...]) -> Array:
    try:
        return x.reshape(shape)
    except (ValueError, TypeError):
        raise ValueError(f"reshape: {x.size} elements of shape {x.shape} do not fit shape {shape}") from None


def _transpose(x: Array, *, axes: tuple[int, ...] | None) -> Array:
    if axes is not None and len(normalised_axes("transpose", axes, x.shape)) != x.ndim:
        raise ValueError(f"transpose: axes {axes} are not a permutation of the {x.ndim} axes of shape {x.shape}")
    moved = x.transpose(axes)
    out = np.empty(moved.shape, x.dtype)    # a copy, so that it is C-contiguous like every array in a graph
    order = tuple(range(x.ndim))[::-1] if axes is None else tuple(a % x.ndim for a in axes)
    blocks = _swapped_blocks(order)
    if blocks:
        fixed, first, second = (prod(x.shape[part]) for part in blocks)
        launch(swap, x.reshape(fixed, first, second), out.reshape(fixed, second, first))
    else:
        launch(copy, moved, out)
    return out


def _swapped_blocks(order: tuple[int, ...]) -> tuple[slice, slice, slice] | None:
    """The leading axes that stay, and the two blocks after them that swap places, if that is all that `order` does."""
    start = next((i for i, a in enumerate(order) if i != a), None)
    if start is None:
        return None
    middle, end = order[start], len(order)
    if order[start:] != (*range(middle, end), *range(start, middle)):
        return None
    return slice(start), slice(start, middle), slice(middle, end)


def _transpose_back(g: Any, y: Any, x: Any, axes: tuple[int, ...] | None) -> Any:
    return TRANSPOSE(g, axes=None if axes is None else tuple(int(i) for i in np.argsort([a % len(axes) for a in axes])))


RESHAPE: Op = Op("reshape", _reshape, pull=(lambda g, y, x, shape: RESHAPE(g, shape=x.shape),))
TRANSPOSE: Op = Op("transpose", _transpose, pull=(_transpose_back,))


def reshape(x: T, shape: int | Sequence[int]) -> T:
    """The same numbers, in the same order, in another shape; one size may be -1 and is computed. Shares memory with `x`.

    >>> tg.reshape([1.0, 2.0, 3.0, 4.0], (2, -1))
    Tensor([[1., 2.],
            [3., 4.]])
    """
    return RESHAPE(x, shape=shape if type(shape) is tuple else whole_numbers(shape, "reshape: got the shape"))


def transpose(x: T, axes: Sequence[int] | None = None) -> T:
    """The axes in another order: axis k of the result is axis ``axes[k]`` of `x`; None reverses them.

    (PyTorch's transpose, of two axes, is `swapaxes` here.)

    >>> tg.transpose(np.ones((2, 3, 4))).shape, tg.transpose(np.ones((2, 3, 4)), (2, 0, 1)).shape
    ((4, 3, 2), (4, 2, 3))
    """
    return TRANSPOSE(x, axes=None if axes is None else whole_numbers(axes, "transpose: got axis"))


@spelled()
def permute(x: T, axes: Sequence[int]) -> T:
    """The axes in another order, as `transpose`: PyTorch's name.

    >>> tg.permute(np.ones((2, 3, 4)), (2, 0, 1)).shape
    (4, 2, 3)
    """
    return TRANSPOSE(x, axes=whole_numbers(axes, "transpose: got axis"))


@spelled()
def swapaxes(x: T, axis1: int, axis2: int) -> T:
    """Two axes swapped.

    >>> tg.swapaxes(np.ones((2, 3, 4)), 0, -1).shape
    (4, 3, 2)
    """
    order = list(range(len(x.shape)))
    one, other = single_axis("swapaxes", axis1, x.shape), single_axis("swapaxes", axis2, x.shape)
    order[one], order[other] = other, one
    return TRANSPOSE(x, axes=tuple(order))


@spelled()
def squeeze(x: T, axis: Axis = None) -> T:
    """`x` without its axes of size 1: all of them, or those in `axis`. Shares memory with `x`.

    An axis in `axis` of another size is an error, as in NumPy. (PyTorch leaves it as it is.)

    >>> tg.squeeze(np.ones((1, 3, 1))).shape, tg.squeeze(np.ones((1, 3, 1)), 0).shape
    ((3,), (3, 1))
    """
    axes = [i for i, n in enumerate(x.shape) if n == 1] if axis is None else normalised_axes("squeeze", axis, x.shape)
    if any(x.shape[i] != 1 for i in axes):
        raise ValueError(f"squeeze: got axis {axis} for shape {x.shape}; expected axes of size 1")
    return RESHAPE(x, shape=tuple(n for i, n in enumerate(x.shape) if i not in axes))


@spelled()
def expand_dims(x: T, axis: int | Sequence[int]) -> T:
    """`x` with new axes of size 1, which are the axes `axis` of the result. Shares memory with `x`. PyTorch: `unsqueeze`.

    >>> tg.expand_dims([1.0, 2.0], 0).shape, tg.unsqueeze([1.0, 2.0], -1).shape, tg.expand_dims([1.0, 2.0], (0, 2)).shape
    ((1, 2), (2, 1), (1, 2, 1))
    """
    count = len(axis) if isinstance(axis, (tuple, list)) else 1
    new = normalised_axes("expand_dims, unsqueeze", axis, x.shape + (1,) * count, f"x of shape {x.shape}")
    sizes = iter(x.shape)
    return RESHAPE(x, shape=tuple(1 if i in new else next(sizes) for i in range(len(x.shape) + count)))


@spelled()
def flatten(x: T, start_axis: int = 0, end_axis: int = -1) -> T:
    """The axes from `start_axis` to `end_axis`, both included, merged into one. Shares memory with `x`.

    A number becomes a vector of length 1. PyTorch's names are start_dim and end_dim.

    >>> tg.flatten(np.ones((2, 3, 4))).shape, tg.flatten(np.ones((2, 3, 4)), 1).shape, tg.flatten(3.0).shape
    ((24,), (2, 12), (1,))
    """
    shape = x.shape or (1,)
    start, end = (single_axis("flatten", axis, shape) for axis in (start_axis, end_axis))
    if start > end:
        raise ValueError(f"flatten: got start_axis {start_axis} and end_axis {end_axis} for shape {x.shape}; expected "
                         "start_axis <= end_axis")
    return RESHAPE(x, shape=(*shape[:start], prod(shape[start:end + 1]), *shape[end + 1:]))


def broadcast_to(x: T, shape: int | Sequence[int]) -> T:
    """`x` repeated along its axes of size 1, and along new leading axes, to this shape. The gradient is summed over them.

    >>> tg.broadcast_to([1.0, 2.0], (2, 2))
    Tensor([[1., 2.],
            [1., 2.]])
    """
    sizes = whole_numbers(shape, "broadcast_to: got the shape")
    try:
        fits = np.broadcast_shapes(x.shape, sizes) == sizes
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"broadcast_to: shape {x.shape} cannot be broadcast to {sizes}")
    return broadcast.broadcast_to(x, shape=sizes)
