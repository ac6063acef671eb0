"""Launches, and the arrays in their arguments: trees of tuples, lists and dicts."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from ..autodiff.guard import Later
from ..autodiff.node import Array, bare, made_leaf
from ..checks import owner_of
from ..tensor import Tensor

LARGE = 1 << 16         # bytes from which copies take longer than comparisons


class Launch(NamedTuple):
    """A kernel, or any other function that was launched, and its arguments."""

    kernel: Any
    arguments: tuple[Any, ...]

    def __str__(self) -> str:
        return getattr(self.kernel, "__name__", str(self.kernel))


def mapped(f: Callable[[Any], Any], tree: Any) -> Any:
    if type(tree) in (tuple, list):
        return type(tree)([mapped(f, entry) for entry in tree])
    return {name: mapped(f, entry) for name, entry in tree.items()} if type(tree) is dict else f(tree)


def arrays_in(tree: Any) -> Iterator[Array]:
    """All arrays, those of Tensors and placeholders included."""
    if isinstance(tree, (ndarray, Tensor, Later)):
        yield tree if isinstance(tree, ndarray) else tree.array
    elif type(tree) in (tuple, list, dict):
        for entry in tree.values() if type(tree) is dict else tree:
            yield from arrays_in(entry)


def agree(a: Any, b: Any) -> bool:
    """Whether two trees are equal, except for the numbers in arrays."""
    if isinstance(a, (ndarray, Tensor)) and isinstance(b, (ndarray, Tensor)):
        (a,), (b,) = arrays_in(a), arrays_in(b)
        return bool((a.shape, a.dtype, a.strides) == (b.shape, b.dtype, b.strides))
    if type(a) is not type(b):
        return False
    if type(a) in (tuple, list):
        return len(a) == len(b) and all(map(agree, a, b))
    if type(a) is dict:
        return a.keys() == b.keys() and all(agree(a[key], b[key]) for key in a)
    return a is b or type(a) is Later or bool(a == b) or (a != a and b != b)


def is_same(a: Array, b: Array) -> bool:
    return owner_of(a) is owner_of(b) and a.ctypes.data == b.ctypes.data


def differ(a: Array, b: Array) -> bool:
    """Whether any bit does."""
    if a.nbytes > LARGE and a.dtype == b.dtype and a.dtype.kind in "fiu":
        return bool((a.view(f"u{a.itemsize}") != b.view(f"u{b.itemsize}")).any())
    return a.tobytes() != b.tobytes()


def bytes_of(x: Array) -> Array:
    """A copy."""
    return np.frombuffer(x.tobytes(), np.uint8)


def fresh(x: Any) -> Any:
    """A result as users get it, with memory of its own."""
    if isinstance(x, Tensor):
        return made_leaf(bare(Tensor), x.array.copy())
    return np.array(x) if isinstance(x, ndarray) else x.array.item() if type(x) is Later else x


def copies(arrays: Iterable[Array]) -> list[Array]:
    return [x.copy() for x in arrays]


def restore(arrays: Iterable[Array], saved: Iterable[Array]) -> None:
    for x, copy in zip(arrays, saved):
        x[...] = copy


def described(x: Array) -> str:
    return f"an array of shape {x.shape} and {x.dtype}"
