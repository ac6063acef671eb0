"""Axes as users give them, as numbers and under PyTorch's argument names (dim, keepdim), and the resulting shapes."""
from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from inspect import signature
from math import prod
from types import NoneType
from typing import Any, TypeVar

import numpy as np

from ..autodiff.node import Array, Node
from ..checks import said

Axis = int | Sequence[int] | None

T = TypeVar("T", bound=Array | Node)        # the functions of this folder return arrays for arrays, and Tensors for Tensors
F = TypeVar("F", bound=Callable[..., Any])


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
    """As `single_axis`, for functions where axis None means that x is flattened."""
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


SPELLINGS = {"dim": ("axis",), "dims": ("axis", "axes"), "keepdim": ("keepdims",), "start_dim": ("start_axis",),
             "end_dim": ("end_axis",), "dim0": ("axis1",), "dim1": ("axis2",), "correction": ("ddof",)}


def spelled(but: str = "") -> Callable[[F], F]:
    """A decorator: accept PyTorch's names of arguments, or refuse them and say how PyTorch's function differs (`but`)."""

    def decorated(f: F) -> F:
        parameters = list(signature(f).parameters)
        names = {theirs: name for theirs, ours in SPELLINGS.items() for name in ours if name in parameters}
        last = parameters.index("keepdims") if "keepdims" in parameters else len(parameters)

        @wraps(f)
        def function(*args: Any, **options: Any) -> Any:
            if not options and len(args) <= last:
                return f(*args)
            for key in options.keys() & names.keys():
                ours = names[key]
                if ours in options or (but and ours == "axis"):
                    raise TypeError(f"{f.__name__}: got {key}=; {but or f'{ours} is the same and was given, too'}")
                options[ours] = options.pop(key)
            keepdims = args[last] if len(args) > last else options.get("keepdims")
            if not isinstance(keepdims, (bool, int, np.bool_, NoneType)):
                raise TypeError(f"{f.__name__}: keepdims is {said(keepdims)}, expected True or False")
            return f(*args, **options)

        function.__signature__ = signature(f)       # type: ignore[attr-defined]
        del function.__wrapped__                    # which `wraps` sets; tools would count f as a second definition
        return function     # type: ignore[return-value]

    return decorated
