"""Launches, and the arrays in their arguments: trees of tuples, lists and dicts."""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from ..autodiff.guard import Later
from ..autodiff.node import Array, bare, made_leaf
from ..checks import owner_of
from ..tensor import Tensor

LARGE = 1 << 16         # bytes from which copies take longer than comparisons
PLAIN: Any = object.__eq__, int.__eq__, str.__eq__      # by others, equal things may differ: 0.0 and -0.0, (1,) and (True,)


class Launch(NamedTuple):
    """A kernel, or any other function that was launched, and its arguments."""

    kernel: Any
    arguments: tuple[Any, ...]

    def __str__(self) -> str:
        return getattr(self.kernel, "__name__", str(self.kernel))


def entries(tree: Any) -> Any:
    """Those of a tuple (named or not), list or dict; None of anything else."""
    kind = type(tree)
    if kind is dict or kind is OrderedDict:
        return tree.values()
    return tree if kind is tuple or kind is list or (isinstance(tree, tuple) and hasattr(tree, "_make")) else None


def mapped(f: Callable[[Any], Any], tree: Any) -> Any:
    if (inner := entries(tree)) is None:
        return f(tree)
    new = [mapped(f, entry) for entry in inner]
    return type(tree)(zip(tree, new)) if isinstance(tree, dict) else getattr(tree, "_make", type(tree))(new)


def arrays_in(tree: Any) -> Iterator[Array]:
    """All arrays, those of Tensors and placeholders included."""
    if isinstance(tree, (ndarray, Tensor, Later)):
        yield tree if isinstance(tree, ndarray) else tree.array
    else:
        for entry in entries(tree) or ():
            yield from arrays_in(entry)


def form(trees: Iterable[Any], leaves: list[Any]) -> tuple[Any, ...]:
    """What distinguishes trees, but for their arrays and Tensors, which are appended to `leaves`."""
    found: list[Any] = []
    for x in trees:
        found.append(kind := type(x))
        if kind is ndarray or kind is Tensor or isinstance(x, (ndarray, Tensor, Later)):
            leaves.append(x)
            if kind is not ndarray and getattr(x, "requires_grad", False):
                found.append(next(i for i, other in enumerate(leaves) if other is x))       # two may be one
        elif (inner := entries(x)) is not None:
            found += tuple(x) if inner is not x else None, form(inner, leaves)
        else:
            try:
                hash(x)
            except (TypeError, ValueError):         # of a memoryview
                x = id(x)                           # a recording keeps x
            plain, number = type(x).__eq__ in PLAIN, isinstance(x, (float, complex, np.inexact))
            found.append(x if plain else repr(x) if number else (x, repr(x), repr(getattr(x, "__dict__", None))))
    return tuple(found)


def agree(a: Any, b: Any) -> bool:
    """Whether two trees are equal, except for the numbers in arrays."""
    if isinstance(a, (ndarray, Tensor)) and isinstance(b, (ndarray, Tensor)):
        (a,), (b,) = arrays_in(a), arrays_in(b)
        return bool((a.shape, a.dtype, a.strides) == (b.shape, b.dtype, b.strides))
    if type(a) is not type(b):
        return False
    if (inner := entries(a)) is not None:
        return len(a) == len(b) and (inner is a or [*a] == [*b]) and all(map(agree, inner, entries(b)))
    return a is b or type(a) is Later or bool(a == b) or (a != a and b != b)


def is_same(a: Array, b: Array) -> bool:
    return owner_of(a) is owner_of(b) and a.ctypes.data == b.ctypes.data


def differ(a: Array, b: Array, nan: bool = True) -> bool:
    """Whether any bit does. NumPy's operations and kernels give `nan` signs of their own."""
    if not nan and a.dtype == b.dtype and a.dtype.kind == "f":
        a, b = (np.where(x == x, x, np.nan) for x in (a, b))
    if a.nbytes > LARGE and a.dtype == b.dtype and a.dtype.kind in "fiu" and a.itemsize < 16:
        return bool((a.view(f"u{a.itemsize}") != b.view(f"u{b.itemsize}")).any())
    return a.tobytes() != b.tobytes()


def bytes_of(x: Array) -> Array:
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
