"""Every elementwise function as an operation, derived from its record; and the activations that are not elementwise.

The derivatives of a record are operations too, each the derivative of the one before it:

    value       y = f(x)
    pullback    g f'(x)          linear in g
    curvature   c f''(x)         linear in c
    ...         as far as the record has formulas
"""
from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from math import prod
from typing import Any, Concatenate, ParamSpec

import numpy as np
from numpy import empty, int64  # by name: see autodiff/tape.py

from ..autodiff.broadcast import filled, unbroadcast
from ..autodiff.node import Array, Node, Op, bare, is_grad_enabled, made_leaf, value
from ..checks import as_floats
from ..kernels.formulas.piecewise import PRELU
from ..kernels.formulas.record import Elementwise
from ..kernels.loops import pointwise
from ..kernels.loops.pointwise import loops
from ..kernels.machine.door import copy, current_watcher, launch
from .axes import T
from .elementwise import compare, mul, one_hot, where
from .shape import reshape

P = ParamSpec("P")
_functions: dict[Elementwise[...], Any] = {}        # see `elementwise_function`


@cache
def activation_op(record: Elementwise[...]) -> Op:
    """The operation ``op(x, p=parameters)`` of a record; `parameters` is a tuple of numbers in the record's order."""
    usual = record.defaults

    def forward(x: Array, *, p: tuple[float, ...] = usual) -> Array:
        kernel, out = loops(record).forward, empty(x.shape, dtype := x.dtype)
        flat = (x, p, out) if x.ndim == 1 else (x.ravel(), p, out.ravel())
        (kernel.code[dtype] if current_watcher() is None else partial(launch, kernel))(*flat)       # `launch`, in less time
        return out

    return Op(record.name, forward, elementwise=True, activation=record,
              pull=(lambda g, y, x, p=usual: _derivative_op(record, 1)(g, x, value(y), p=p),),
              fused=lambda g, y, saved, into, add, x, p=usual: launch(
                  loops(record).pullback, g.ravel(), x.ravel(), y.ravel(), p, into[0].ravel()))


@cache
def _derivative_op(record: Elementwise[...], order: int) -> Op:
    """``op(c, x, y, p=parameters)``: c times the derivative of this order at x.

    y = f(x) is passed only because it is already known; its gradient flows through x.
    """
    kernel = pointwise.derivative(record, order)
    if kernel is None:
        known, missing = ("value", "first", "second", "third", "fourth")[order - 1:order + 1]
        raise RuntimeError(f"{record.name}: no {missing} derivative, as it has no formula f_d{order * 'x'}; derivatives up to "
                           f"the {known} work")

    def forward(c: Array, x: Array, y: Array, *, p: tuple[float, ...]) -> Array:
        return filled(np.empty(x.size, x.dtype), kernel, c.ravel(), x.ravel(), y.ravel(), p).reshape(x.shape)

    return Op(f"{record.name}_derivative{order}", forward, pull=(
        lambda h, z, c, x, y, p: _derivative_op(record, order)(h, x, y, p=p),
        lambda h, z, c, x, y, p: _derivative_op(record, order + 1)(mul(h, c), x, y, p=p),
        None))


def flat_sides(record: Elementwise[...], p: tuple[float, ...]) -> tuple[float, float]:
    """Where a function with the parameters p is flat, its slope exactly zero: for x <= low and for x >= high; -inf and inf if
    nowhere. Its flat pieces lie beyond its outermost kinks. A kink belongs to a flat piece if the slope there is taken as 0."""
    kinks, one = [x for x, _ in record.kinks(*p)], np.float64(1)

    def is_flat(x: float) -> bool:
        return float(record.f_dx(one, np.float64(x), record.f(np.float64(x), *p), *p)) == 0.0

    def edge(kink: float, beyond: float) -> float:
        return kink if is_flat(kink) else float(np.nextafter(kink, beyond))

    low = edge(min(kinks), -np.inf) if kinks and is_flat(min(kinks) - 1) else -np.inf
    high = edge(max(kinks), np.inf) if kinks and is_flat(max(kinks) + 1) else np.inf
    return (low, high) if low < high else (-np.inf, np.inf)     # flat on both sides (step): there is no live side


def applied(op: Op, x: Any, given: dict[str, Any]) -> Any:
    """``op(x, **given)`` of anything array_like, for the operation of a record, in 0.2 us less."""
    array = x.array if isinstance(x, Node) else as_floats(x, name="x")
    y = op.forward(array, **given) if given else op.forward(array)
    if isinstance(x, Node) and x.requires_grad and is_grad_enabled():
        return op.record(y, None, (x,), (array,), given)
    return made_leaf(bare(Node.result), y)


def elementwise_function(record: Elementwise[P]) -> Callable[Concatenate[T, P], T]:
    """The function of a record, with its name, parameters and docs, of anything array_like. `Tensor` has some as methods."""
    op = activation_op(record)

    def function(x: Any, *args: P.args, **kwargs: P.kwargs) -> Any:
        return applied(op, x, {"p": record.bind(record.name, args, kwargs)} if args or kwargs else {})

    function.__name__ = function.__qualname__ = record.name
    function.__doc__ = record.docstring(f"F.{record.name}([-2.0, 0.0, 2.0])")
    function.__signature__ = record.signature("x")      # type: ignore[attr-defined]
    return _functions.setdefault(record, function)


def _blocks(x: Array, slopes: Array) -> tuple[tuple[int, int, int], Array]:
    """The shape (outer, channels, inner) of x and one slope per channel, as the kernel takes slopes that broadcast over x."""
    if slopes.size == 1:
        return (1, 1, x.size), slopes.ravel()
    long_axes = [i + x.ndim - slopes.ndim for i, n in enumerate(slopes.shape) if n > 1]
    if len(long_axes) == 1 and x.shape[long_axes[0]] == slopes.size:
        axis = long_axes[0]
        return (prod(x.shape[:axis]), slopes.size, prod(x.shape[axis + 1:])), slopes.ravel()
    return (1, x.size, 1), filled(np.empty(x.shape, slopes.dtype), copy, slopes).ravel()


def _prelu(x: Array, slopes: Array) -> Array:
    if x.dtype != slopes.dtype:
        raise TypeError(f"prelu: x is {x.dtype}, the slopes {slopes.dtype}; expected one dtype (x.astype(...) converts)")
    shape, channels = _blocks(x, slopes)
    return filled(np.empty(shape, x.dtype), pointwise.channel_prelu, x.reshape(shape), channels).reshape(x.shape)


def _prelu_fused(g: Array, y: Array, saved: Any, into: list[Array], add: int, x: Array, slopes: Array) -> None:
    shape, channels = _blocks(x, slopes)
    shape_of_x, (to_x, to_slopes) = x.shape, into
    g, x = g.reshape(shape), x.reshape(shape)
    if to_x.size:
        launch(pointwise.channel_prelu_pullback, g, x, channels, to_x.reshape(shape))
    if to_slopes.size:
        total = np.empty(channels.shape, channels.dtype)
        launch(pointwise.channel_slope_pullback, g, x, total)
        launch(copy, total.reshape(slopes.shape) if total.size == slopes.size else
               unbroadcast(total.reshape(shape_of_x), slopes), to_slopes)


# Slopes that broadcast over x: learned ones (prelu), or drawn ones (rrelu). At x = NaN both gradients are NaN.
prelu: Op = Op("prelu", _prelu, fused=_prelu_fused, elementwise=True, activation=PRELU, pull=(
    lambda g, y, x, slopes: where(compare(np.less_equal, x, 0.0), mul(g, slopes),
                                  where(compare(np.greater, x, 0.0), g, value(x))),
    lambda g, y, x, slopes: where(compare(np.greater_equal, x, 0.0), 0.0, mul(g, x)),
))


def maxout_with_winners(x: Array) -> tuple[Array, Array]:
    """The largest piece of the last axis, and which one it was: the lowest index in a tie."""
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"maxout: got shape {x.shape}; expected (..., pieces) with at least one piece")
    out, winner = empty(x.shape[:-1], x.dtype), empty(x.shape[:-1], int64)
    launch(pointwise.maxout(x.shape[-1]).forward, x.ravel(), out.ravel(), winner.ravel())
    return out, winner


def _maxout_pull(g: Any, y: Any, x: Any) -> Any:
    winner = maxout_with_winners(value(x))[1]
    return where(one_hot(winner, x.shape[-1]), reshape(g, shape=(*g.shape, 1)), 0.0)


maxout: Op = Op("maxout", maxout_with_winners, saves=True, pull=(_maxout_pull,), fused=lambda g, y, winner, into, add, x: launch(
    pointwise.maxout(x.shape[-1]).pullback, g.ravel(), winner.ravel(), into[0].ravel()))
