"""Joining arrays along an axis, and splitting them again."""
from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..autodiff.node import Array, Op, Pull
from ..kernels.machine.door import copy, launch
from .indexing import EVERYTHING, cut
from .shape import T, expand_dims, reshape, single_axis
from .spelling import spelled


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
