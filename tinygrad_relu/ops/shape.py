"""The operations that only move numbers: other shapes and orders of axes, joining and splitting.

The results of `reshape`, `squeeze`, `expand_dims` and `flatten` share memory with their input: writing into the ``.data`` of one
changes the other. (NumPy's `flatten` copies.) The result of any other operation here has memory of its own.
"""
from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from ..autodiff import broadcast
from ..autodiff.node import Array, Op, Pull
from ..kernels.loops.pointwise import swap
from ..kernels.machine.door import copy, launch
from .axes import Axis, T, normalised_axes, single_axis, spelled, whole_numbers
from .indexing import EVERYTHING, cut


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
    start = next((i for i, a in enumerate(order) if i != a), 0)
    middle = order[start] if order else 0
    if start < middle and order[start:] == (*range(middle, x.ndim), *range(start, middle)):     # two blocks swap places
        fixed, first, second = prod(x.shape[:start]), prod(x.shape[start:middle]), prod(x.shape[middle:])
        launch(swap, x.reshape(fixed, first, second), out.reshape(fixed, second, first))
    else:
        launch(copy, moved, out)
    return out


RESHAPE: Op = Op("reshape", _reshape, pull=(lambda g, y, x, shape: RESHAPE(g, shape=x.shape),))
TRANSPOSE: Op = Op("transpose", _transpose, pull=(lambda g, y, x, axes: TRANSPOSE(
    g, axes=None if axes is None else tuple(int(i) for i in np.argsort([a % len(axes) for a in axes]))),))


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

    If an axis in `axis` has another size, an error is raised, as in NumPy. (PyTorch keeps such an axis.)

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
    """`x` repeated along its axes of size 1, and along new leading axes, to this shape. The gradient is summed over repeats.

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


# -- joining arrays along an axis, and splitting them again ---------------------------------------------------------------


def _concatenate(*arrays: Array, axis: int) -> Array:
    first = arrays[0]
    for x in arrays:
        if x.shape[:axis] != first.shape[:axis] or x.shape[axis + 1:] != first.shape[axis + 1:]:
            raise ValueError(f"concatenate: shapes {first.shape} and {x.shape} along axis {axis}; expected one shape, except "
                             "along that axis")
    total = sum(x.shape[axis] for x in arrays)
    out = np.empty((*first.shape[:axis], total, *first.shape[axis + 1:]), np.result_type(*arrays))
    launch(np.concatenate, arrays, axis, out)
    return out


def _pull_of(i: int) -> Pull:
    def pull(g: Any, y: Any, *arrays: Any, axis: int) -> Any:
        start = sum(x.shape[axis] for x in arrays[:i])
        return cut(g, key=_stretch(axis, start, start + arrays[i].shape[axis]))

    return pull


def _concatenate_fused(g: Array, y: Array, saved: Any, into: list[Array], add: int, *arrays: Array, axis: int) -> None:
    """All parts at once: a rule for each of n inputs would look at n inputs, n^2 in all."""
    stop = 0
    for x, part in zip(arrays, into):
        start, stop = stop, stop + x.shape[axis]
        if part.size:
            launch(copy, g[_stretch(axis, start, stop)], part)


def _stretch(axis: int, start: int, stop: int) -> tuple[Any, ...]:
    """The index of the part from `start` to `stop` along `axis`."""
    return (*(EVERYTHING,) * axis, slice(start, stop), ...)


# Any number of arrays; axis from 0 up.
concatenation: Op = Op("concatenate", _concatenate, pull=_pull_of, fused=_concatenate_fused)


def concatenate(arrays: Sequence[Any], axis: int | None = 0) -> Any:
    """The arrays joined along `axis`; None: all of them flattened."""
    _expect_some("concatenate", arrays)
    if axis is None:
        arrays, axis = [reshape(x, shape=(-1,)) for x in arrays], 0
    shape = arrays[0].shape
    for x in arrays:
        if len(x.shape) != len(shape) or not shape:
            raise ValueError(f"concatenate: shapes {shape} and {x.shape}; expected the same number of axes, and at least one")
    return concatenation(*arrays, axis=single_axis("concatenate", axis, shape))


def stack(arrays: Sequence[Any], axis: int = 0) -> Any:
    """The arrays, all of one shape, joined along a new axis, which is axis `axis` of the result."""
    _expect_some("stack", arrays)
    shape = arrays[0].shape
    for x in arrays:
        if x.shape != shape:
            raise ValueError(f"stack: got shapes {shape} and {x.shape}; expected one shape")
    place = single_axis("stack", axis, (*shape, len(arrays)))
    return concatenation(*[expand_dims(x, place) for x in arrays], axis=place)


@spelled("PyTorch's split takes the length of a part: write tg.split(x, sections or indices, axis=...)")
def split(x: T, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[T]:
    """The parts of `x` along an axis, as np.split.

    A number is the number of equal parts (in PyTorch, their length); a sequence gives the start of each part but the first.

    >>> tg.split([1.0, 2.0, 3.0, 4.0], 2), tg.split([1.0, 2.0, 3.0], [1])
    ([Tensor([1., 2.]), Tensor([3., 4.])], [Tensor([1.]), Tensor([2., 3.])])
    """
    place, where = single_axis("split", axis, x.shape), indices_or_sections
    length = x.shape[place]
    try:
        numbers = [operator.index(i) for i in (where if isinstance(where, Iterable) else (where,))]
    except TypeError:
        raise TypeError(f"split: got {where!r}; expected a number of sections, or several indices") from None
    if isinstance(where, Iterable):
        edges = [0, *numbers, length]
    else:
        (parts,) = numbers
        if parts < 1 or length % parts:
            raise ValueError(f"split: axis {axis} of shape {x.shape} cannot be split into {parts} sections of one length")
        edges = [i * (length // parts) for i in range(parts + 1)]
    return [cut(x, key=_stretch(place, start, stop)) for start, stop in pairwise(edges)]


def _expect_some(name: str, arrays: Sequence[Any]) -> None:
    if not arrays:
        raise ValueError(f"{name}: got no arrays; expected at least one")
