"""Indexing, and its transpose: putting numbers back where they came from.

Everything that NumPy's brackets can say is made of two pairs of operations. In each pair, one is the derivative of the other:

``cut``      a regular part of an array, by slices, integers and None
``paste``    a part put back in its place, among zeros
``take``     entries along an axis (or several, merged into one) by position, in any order, with repeats
``add_at``   entries added to zeros at those positions; repeated positions add up

An embedding is a take: the rows of a table.
"""
from __future__ import annotations

from functools import reduce
from math import prod
from typing import Any

import numpy as np

from ..autodiff.broadcast import filled
from ..autodiff.guard import current_recorder
from ..autodiff.node import Array, Op
from ..checks import as_numbers, check_real, copied
from ..kernels.loops.reduce import add_rows, take_rows
from ..kernels.machine.door import copy, launch
from .axes import Axis, T, normalised_axes, single_axis, spelled
from .elementwise import where

EVERYTHING = slice(None)
INDICES = "integers, slices, None, Ellipsis, or arrays of integers or booleans"


def _cut(x: Array, *, key: tuple[Any, ...]) -> Array:
    part = _look(x, key, x.shape)
    return filled(np.empty(part.shape, x.dtype), copy, part)


def cut_fused(g: Array, y: Array, saved: Any, into: list[Array], add: int, x: Array, *, key: tuple[Any, ...]) -> None:
    """Adds in place to the gradient of other parts: n parts of one array need not allocate n arrays."""
    launch(_add_part if add else _put, g, key, 0.0, into[0])


def _put(part: Array, key: tuple[Any, ...], fill: float, out: Array) -> None:
    out.fill(fill)
    out[key] = part


def _add_part(part: Array, key: tuple[Any, ...], fill: float, out: Array) -> None:
    out[key] += part


def _take(x: Array, *, rows: Array, axis: int, count: int = 1) -> Array:
    lead, length, width = _merged(x.shape, axis, count)
    out = np.empty((*x.shape[:axis], *rows.shape, *x.shape[axis + count:]), x.dtype)
    launch(take_rows, x.reshape(lead, length, width), rows.ravel(), out.reshape(lead, rows.size, width))
    return out


def _merged(shape: tuple[int, ...], axis: int, count: int) -> tuple[int, int, int]:
    """The shape with the axes before `axis`, the `count` axes from there on, and those after them each merged into one."""
    return prod(shape[:axis]), prod(shape[axis:axis + count]), prod(shape[axis + count:])


def _take_fused(g: Array, y: Array, saved: Any, into: list[Array], add: int, x: Array, *, rows: Array, axis: int,
                count: int = 1) -> None:
    lead, length, width = _merged(x.shape, axis, count)
    launch(add_rows, g.reshape(lead, rows.size, width), rows.ravel(), add, into[0].reshape(lead, length, width))


def _add_at(g: Array, *, shape: tuple[int, ...], **where: Any) -> Array:
    out = np.empty(shape, g.dtype)
    _take_fused(g, g, None, [out], 0, out, **where)
    return out


# key: from `_checked`, without arrays. rows: positions, from 0 up, in `count` merged axes from `axis` on; of any shape.
cut: Op = Op("cut", _cut, fused=cut_fused, adds=True, pull=(lambda g, y, x, key: paste(g, key=key, shape=x.shape),))
paste: Op = Op("paste", lambda part, key, shape, fill=0.0: filled(np.empty(shape, part.dtype), _put, part, key, fill),
               pull=(lambda g, y, part, key, shape, fill=0.0: cut(g, key=key),))
take: Op = Op("take", _take, fused=_take_fused, adds=True, pull=(lambda g, y, x, **where: add_at(g, shape=x.shape, **where),))
add_at: Op = Op("add_at", _add_at, pull=(lambda g, y, part, shape, **where: take(g, **where),))


def _embedding_fused(g: Array, y: Array, saved: Any, into: list[Array], add: int, table: Array, index: Array, *,
                     spared: int = -1) -> None:
    out = into[0]
    before = filled(np.empty(out.shape[1:], out.dtype), copy, out[spared] if add else 0.0) if spared >= 0 else None
    _take_fused(g, y, saved, into, add, table, rows=index, axis=0)
    if spared >= 0:
        launch(copy, before, out[spared])


def _embedding_pull(g: Any, y: Any, table: Any, index: Array, spared: int = -1) -> Any:
    used = g if spared < 0 else where((index != spared)[..., None], g, 0.0)
    return add_at(used, rows=index, axis=0, shape=table.shape)


# table (rows, width), index any shape of int64; no gradient reaches the row `spared`.
embedding: Op = Op("embedding", lambda table, index, spared=-1: _take(table, rows=index, axis=0), fused=_embedding_fused,
                   adds=True, pull=(_embedding_pull, None), index="index")


def getitem(x: T, index: Any) -> T:
    """``x[index]`` as in NumPy, but always a copy: slices, integers, None, Ellipsis, arrays of integers or booleans, mixed.

    The gradient of an element that is taken several times is the sum.

    >>> x = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    >>> x[[0, 0, 1], 1].sum().backward()
    >>> x.grad
    array([[0., 2.],
           [0., 1.]])
    """
    shape = x.shape
    key = _checked(index, shape)
    if not any(isinstance(entry, np.ndarray) for entry in key):
        return cut(x, key=key if ... in key else (*key, ...))       # with dots, NumPy returns an array even for one number
    while key[-1] is ... or _is_everything(key[-1]):
        key = key[:-1]
    lead = next(i for i, entry in enumerate(key) if not _is_everything(entry))
    lead = lead if len(key) == lead + 1 else 0      # several entries: NumPy's rules decide the order of the axes
    end = lead + sum(_axes_of(entry) for entry in key[lead:])
    rows = _rows(key[lead:], lead, shape[lead:end], shape)
    return take(x, rows=rows, axis=lead, count=end - lead)


def _rows(key: tuple[Any, ...], lead: int, front: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """The positions in memory of the entries that `key` takes from the axes `front`, which follow the first `lead` of `shape`.

    NumPy itself finds them: it indexes arrays of coordinates, axis by axis. One array alone, the usual case, is simpler.
    """
    rows = _found(key, lead, front, shape)
    if current_recorder() is not None:      # a replay finds them again
        launch(_find, key, lead, front, shape, rows)
    return rows


def _find(key: tuple[Any, ...], lead: int, front: tuple[int, ...], shape: tuple[int, ...], out: Array) -> None:
    found = _found(key, lead, front, shape)
    if found.shape != out.shape:
        raise ValueError(f"index: an array of booleans chose {found.size} numbers, and {out.size} when it was recorded")
    np.copyto(out, found)


def _found(key: tuple[Any, ...], lead: int, front: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    alone = key[0] if len(key) == 1 else None
    if alone is not None and alone.dtype != bool:
        _look(np.broadcast_to(False, (1,) * lead + front), (EVERYTHING,) * lead + key, shape)       # are all in range?
        return alone + front[0] * (alone < 0)
    if alone is not None and alone.shape == front:
        return np.flatnonzero(alone)
    coordinates = [_mesh(prod(front[axis + 1:]) * np.arange(n), axis, len(front)) for axis, n in enumerate(front)]
    return reduce(np.add, (_look(np.broadcast_to(numbers, front), key, shape)
                           for numbers in coordinates or [np.zeros((), np.intp)]))


def _mesh(numbers: Array, axis: int, ndim: int) -> Array:
    """The numbers along one of `ndim` axes."""
    return numbers.reshape(-1, *(1,) * (ndim - 1 - axis))


def _look(x: Array, key: tuple[Any, ...], shape: tuple[int, ...]) -> Array:
    try:
        return x[key]
    except IndexError as error:
        raise IndexError(f"index: {error}, in shape {shape}") from None


def _checked(index: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """The index as integers, slices, None, and arrays of integers or booleans; slices replace an Ellipsis."""
    key = [_entry(entry) for entry in (index if isinstance(index, tuple) else (index,))]
    dots = [i for i, entry in enumerate(key) if entry is Ellipsis]
    missing = len(shape) - sum(_axes_of(entry) for entry in key)
    if missing < 0:
        raise IndexError(f"index: got indices for {len(shape) - missing} axes in shape {shape}; expected at most {len(shape)}")
    if len(dots) > 1:
        raise IndexError(f"index: got {len(dots)} Ellipses in shape {shape}; expected at most one")
    if missing:         # otherwise dots stay: they mean no axes, but they separate two arrays
        at = dots[0] if dots else len(key)
        key[at:at + len(dots)] = [EVERYTHING] * missing
    return tuple(key)


def _is_everything(entry: Any) -> bool:
    return isinstance(entry, slice) and entry == EVERYTHING


def _axes_of(entry: Any) -> int:
    """How many axes an entry of an index uses up."""
    if entry is None or entry is Ellipsis:
        return 0
    return entry.ndim if isinstance(entry, np.ndarray) and entry.dtype == bool else 1


def _entry(entry: Any) -> Any:
    if entry is None or entry is Ellipsis:
        return entry
    if isinstance(entry, slice):
        try:
            entry.indices(0)
        except (TypeError, ValueError) as error:
            raise type(error)(f"index: {error} (got {entry})") from None
        return entry
    array = as_numbers(entry, "index", INDICES)
    if array.dtype.kind == "f" and (array.size or not isinstance(entry, (list, tuple))):    # [] is an empty list of integers
        raise TypeError(f"index: got {array.dtype} numbers; expected {INDICES}")
    if array.dtype == bool:
        return array
    return copied(array, array.astype(np.intp)) if array.ndim else int(array)


@spelled()
def take_along_axis(x: T, indices: Any, axis: int | None = -1) -> T:
    """The entries of `x` at `indices` along `axis`: ``y[i, j] = x[i, indices[i, j]]`` for the last of two axes.

    `indices` has as many axes as `x` and broadcasts with it along the others; negative indices count from the end. ``axis=None``
    flattens `x`. The gradient of a number that is taken several times is the sum.

    >>> tg.take_along_axis([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [[2], [0]], axis=1)
    Tensor([[3.],
            [4.]])
    """
    if axis is not None:
        return _along("take_along_axis", x, indices, axis, x.shape)
    flat = (prod(x.shape),)
    return take(x, rows=_rows((_integers("take_along_axis", indices, flat),), 0, flat, flat), axis=0, count=len(x.shape))


@spelled()
def gather(x: T, axis: int, index: Any) -> T:
    """PyTorch's `take_along_axis`: the result has the shape of `index`, which may be shorter than `x` along the other axes.

    `index` does not broadcast. PyTorch's name of `axis` is dim.

    >>> tg.gather([[1.0, 2.0], [3.0, 4.0]], 1, [[1, 1, 0]])
    Tensor([[2., 2., 1.]])
    """
    sizes = np.shape(index)
    place = single_axis("gather", axis, x.shape)
    if len(sizes) == len(x.shape) and any(n > x.shape[i] for i, n in enumerate(sizes) if i != place):
        raise ValueError(f"gather: got an index of shape {sizes} for shape {x.shape}; expected no axis longer than in x, except "
                         f"axis {axis}")
    return _along("gather", x, index, axis, sizes)


def _along(name: str, x: Any, indices: Any, axis: int, sizes: tuple[int, ...]) -> Any:
    place = single_axis(name, axis, x.shape)
    found = _integers(name, indices, x.shape)
    return getitem(x, tuple(found if i == place else _mesh(np.arange(n), i, len(sizes)) for i, n in enumerate(sizes)))


def _integers(name: str, indices: Any, shape: tuple[int, ...]) -> Array:
    found = _entry(indices)
    if not isinstance(found, np.ndarray) or found.dtype == bool or found.ndim != len(shape):
        raise ValueError(f"{name}: got indices of shape {np.shape(indices)} for shape {shape}; expected integers, and as many "
                         "axes")
    return found


@spelled()
def flip(x: T, axis: Axis = None) -> T:
    """``y_i = x_(n-1-i)`` along `axis`: a number, several, or None for all axes.

    >>> tg.flip([[1.0, 2.0], [3.0, 4.0]], 0)
    Tensor([[3., 4.],
            [1., 2.]])
    """
    axes = normalised_axes("flip", axis, x.shape)
    return cut(x, key=(*(slice(None, None, -1) if i in axes else EVERYTHING for i in range(len(x.shape))), ...))


def pad(x: T, pad_width: Any, constant_values: float = 0.0) -> T:
    """`x` with constants before and after the numbers of each axis, as np.pad.

    `pad_width` is one number, one pair (before, after), or a pair per axis.

    >>> tg.pad([[1.0, 2.0]], ((0, 1), (1, 0)))
    Tensor([[0., 1., 2.],
            [0., 0., 0.]])
    """
    fill, shape, widths = check_real(constant_values, "pad: constant_values"), x.shape, as_numbers(pad_width, "pad_width")
    if widths.dtype.kind not in "iu" and widths.size:
        raise TypeError(f"pad: the widths are {widths.dtype} numbers, expected integers")
    try:
        pairs = np.broadcast_to(widths, (len(shape), 2)).tolist()
    except ValueError:
        raise ValueError(f"pad: got widths of shape {widths.shape} for shape {shape}; expected a pair (before, after) per axis, "
                         "or one for all") from None
    if widths.size and widths.min() < 0:
        raise ValueError(f"pad: got the width {widths.min()}; expected 0 or more")
    key = (*(slice(before, before + n) for (before, _), n in zip(pairs, shape)), ...)
    return paste(x, key=key, shape=tuple(before + n + after for (before, after), n in zip(pairs, shape)), fill=fill)
