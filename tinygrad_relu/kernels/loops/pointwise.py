"""The loops that turn the scalar formulas of a record into kernels: written once, compiled once per formula and dtype.

Arrays are flat and contiguous, and results are written into an array that the caller passes: a call of such a loop costs 0.2 us,
of a ufunc with the same formula five times that.
"""
from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ..formulas import ACTIVATIONS
from ..formulas.piecewise import leaky_relu, leaky_relu_da, leaky_relu_dx
from ..formulas.record import Elementwise
from ..machine.policy import Array3, Booleans, Integers, Kernel, Matrix, Parameters, Vector, factory, kernel
from .reduce import LANES


class Loops(NamedTuple):
    """The kernels of one elementwise function."""

    forward: Kernel             # forward(x, p, out): out = f(x)
    pullback: Kernel            # pullback(g, x, y, p, out): out = g f'(x)
    curvature: Kernel | None    # curvature(c, x, y, p, out): out = c f''(x); None if there is no formula


@factory(ACTIVATIONS.values())
def loops(record: Elementwise[...]) -> Loops:
    """The kernels of a record, made when they are first used (so that an import costs nothing)."""
    f = record.f

    def forward(x: Vector, p: Parameters, out: Vector):
        for i in range(out.size):
            out[i] = f(x[i], *p)

    first = kernel(forward, name=f"{record.name}_forward", formulas=(f,), parameters=len(record.parameters))
    return Loops(first, derivative(record, 1), derivative(record, 2))


@cache
def derivative(record: Elementwise[...], order: int) -> Any:
    """``kernel(c, x, y, p, out)``: out = c times the derivative of this order; None if the record has no formula for it."""
    formula = record.derivative(order)
    if formula is None:
        return None

    def loop(c: Vector, x: Vector, y: Vector, p: Parameters, out: Vector):
        for i in range(out.size):
            out[i] = formula(c[i], x[i], y[i], *p)

    name = ("pullback", "curvature")[order - 1] if order < 3 else f"derivative{order}"
    return kernel(loop, name=f"{record.name}_{name}", formulas=(formula,), parameters=len(record.parameters))


# -- choices -------------------------------------------------------------------------------------------------------------
# Kernels that select element by element and never multiply by a mask: an element that is not selected is exactly 0, or the other
# number. ``np.where`` branches for each element, and mispredicts on random conditions: 3.6 ms for a million numbers, where these
# take 0.2. All arrays are flat.


@kernel
def choose(condition: Booleans, a: Vector, b: Vector, out: Vector):
    """``out = a`` where the condition holds, ``b`` elsewhere."""
    for i in range(out.size):
        yes, no = a[i], b[i]            # both are read: otherwise LLVM would keep the branch
        out[i] = yes if condition[i] else no


@kernel
def choose_or(condition: Booleans, holds: bool, x: Vector, number: float, out: Vector):
    """``out = x`` where the condition is `holds`, the number elsewhere."""
    other = x.dtype.type(number)
    for i in range(out.size):
        out[i] = x[i] if condition[i] == holds else other


@kernel
def rival_pullback(g: Vector, rival: Vector, y: Vector, wins: bool, out: Vector):
    """``out = g`` where ``(rival == y) == wins``, 0 elsewhere; NaN equals NaN here.

    A rival of one number is compared with all of y.
    """
    zero = y.dtype.type(0)
    if rival.size == 1:
        bound = rival[0]
        for i in range(out.size):
            is_it = (bound == y[i]) | ((bound != bound) & (y[i] != y[i]))
            out[i] = g[i] if is_it == wins else zero
    else:
        for i in range(out.size):
            is_it = (rival[i] == y[i]) | ((rival[i] != rival[i]) & (y[i] != y[i]))
            out[i] = g[i] if is_it == wins else zero


# -- leaky ReLU with an array of slopes, learned (prelu) or drawn (rrelu): x (outer, channels, inner), one slope per channel -----


@kernel
def channel_prelu(x: Array3, slopes: Vector, out: Array3):
    """``out = x if x > 0 else slopes[channel] * x``."""
    for o in range(x.shape[0]):
        if x.shape[2] == 1:         # the channels are the contiguous axis
            for c in range(x.shape[1]):
                out[o, c, 0] = leaky_relu(x[o, c, 0], slopes[c])
        else:
            for c in range(x.shape[1]):
                for i in range(x.shape[2]):
                    out[o, c, i] = leaky_relu(x[o, c, i], slopes[c])


@kernel
def channel_prelu_pullback(g: Array3, x: Array3, slopes: Vector, out: Array3):
    """The gradient of x."""
    for o in range(x.shape[0]):
        if x.shape[2] == 1:
            for c in range(x.shape[1]):
                out[o, c, 0] = leaky_relu_dx(g[o, c, 0], x[o, c, 0], x[o, c, 0], slopes[c])
        else:
            for c in range(x.shape[1]):
                for i in range(x.shape[2]):
                    out[o, c, i] = leaky_relu_dx(g[o, c, i], x[o, c, i], x[o, c, i], slopes[c])


@kernel
def channel_slope_pullback(g: Array3, x: Array3, out: Vector):
    """The gradient of the slopes: the sum of ``min(0, x) g`` over a channel, in float64."""
    total = np.zeros(out.size)
    if x.shape[2] == 1:
        for o in range(x.shape[0]):
            for c in range(x.shape[1]):
                total[c] += leaky_relu_da(g[o, c, 0], x[o, c, 0])
    else:
        lanes = np.zeros(LANES)
        for c in range(x.shape[1]):
            lanes[:] = 0
            for o in range(x.shape[0]):
                for start in range(0, x.shape[2], LANES):
                    a, b = g[o, c, start:start + LANES], x[o, c, start:start + LANES]
                    for k in range(a.size):
                        lanes[k] += leaky_relu_da(a[k], b[k])
            total[c] = lanes.sum()
    out[:] = total


# -- maxout: the largest of k pieces, and which piece it is (Goodfellow et al. 2013, arXiv 1302.4389) --------------------------


@kernel
def maxout(x: Matrix, out: Vector, winner: Integers):
    """``out[i] = max_k x[i, k]``, ``winner[i]`` the index of the piece; a tie goes to the lowest, NaN to the first NaN."""
    for i in range(x.shape[0]):
        best = x[i, 0]
        index = 0
        for k in range(1, x.shape[1]):
            better = (x[i, k] > best) | ((x[i, k] != x[i, k]) & (best == best))
            best = x[i, k] if better else best
            index = k if better else index
        out[i] = best
        winner[i] = index


@kernel
def maxout_pullback(g: Vector, winner: Integers, gx: Matrix):
    """The gradient goes to the winner, and exactly zero to every other piece."""
    for i in range(gx.shape[0]):
        for k in range(gx.shape[1]):
            gx[i, k] = g[i] if winner[i] == k else gx.dtype.type(0)
