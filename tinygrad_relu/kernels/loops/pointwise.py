"""Loops over single numbers: the formulas of a record, transposes, choices, leaky ReLU with learned slopes, maxout."""
from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

from ..formulas import ACTIVATIONS
from ..formulas.piecewise import leaky_relu, leaky_relu_da, leaky_relu_dx
from ..formulas.record import Elementwise
from ..machine.fingerprint import used
from ..machine.parallel import parallel
from ..machine.policy import Array3, Booleans, Integers, Kernel, Pair, Parameters, Vector, factory, in_turns, kernel, pair, scalar
from .reduce import LANES, same

TILE = 8        # of `swap`: 8 doubles are one line of the cache

# The numbers in a slice that one thread computes: some 5 us of work, as handing out a slice costs 1. So 16,384 gelus take 5.1 us
# on two cores instead of 8.2, 65,536 relus 5.5 instead of 8.
GRAIN = 1 << 15             # of a formula that costs no more than its memory traffic
COSTLY_GRAIN = 1 << 13      # of one with an exponential, say: more than 500 bytes of Python's bytecode, where relu has 90


def grain(formula: Callable[..., Any]) -> int:
    """The numbers in a slice, by the length of the formula with all functions that it calls."""
    found: list[Any] = [formula]
    for each in found:
        found += [f for f in used(each).values() if isinstance(f, FunctionType) and f not in found]
    return COSTLY_GRAIN if sum(len(each.__code__.co_code) for each in found) > 500 else GRAIN


class Loops(NamedTuple):
    """The kernels of one elementwise function."""

    forward: Kernel             # forward(x, p, out): out = f(x)
    pullback: Kernel            # pullback(g, x, y, p, out): out = g f'(x)
    curvature: Kernel | None    # curvature(c, x, y, p, out): out = c f''(x); None if there is no formula


@factory(ACTIVATIONS.values())
def loops(record: Elementwise[...]) -> Loops:
    """The kernels of a record, made when they are first used (so that an import costs nothing)."""
    f, slice_length = record.f, grain(record.f)

    @in_turns
    def values(start, stop, x, p, out):
        x, out = x[start:stop], out[start:stop]
        for i in range(out.size):
            out[i] = f(x[i], *p)

    def forward(x: Vector, p: Parameters, out: Vector):
        parallel(values, out.size, slice_length, (x, p, out))

    return Loops(kernel(forward, name=f"{record.name}_forward", record=record, formula=f), derivative(record, 1),
                 derivative(record, 2))


@cache
def derivative(record: Elementwise[...], order: int) -> Any:
    """``kernel(c, x, y, p, out)``: out = c times the derivative of this order; None if the record has no formula for it."""
    if (formula := record.derivative(order)) is None:
        return None
    slice_length = grain(formula)

    @in_turns
    def values(start, stop, c, x, y, p, out):
        c, x, y, out = c[start:stop], x[start:stop], y[start:stop], out[start:stop]
        for i in range(out.size):
            out[i] = formula(c[i], x[i], y[i], *p)

    def loop(c: Vector, x: Vector, y: Vector, p: Parameters, out: Vector):
        parallel(values, out.size, slice_length, (c, x, y, p, out))

    name = ("pullback", "curvature")[order - 1] if order < 3 else f"derivative{order}"
    return kernel(loop, name=f"{record.name}_{name}", record=record, formula=formula)


@scalar
def swap_matrix(x, out):
    rows, columns = x.shape
    tiled_rows, tiled_columns = rows // TILE * TILE, columns // TILE * TILE
    for top in range(0, tiled_rows, TILE):
        for left in range(0, tiled_columns, TILE):
            for c in range(TILE):
                for r in range(TILE):
                    out[left + c, top + r] = x[top + r, left + c]
    for c in range(columns):                    # the rest below the tiles, and beside them
        for r in range(tiled_rows if c < tiled_columns else 0, rows):
            out[c, r] = x[r, c]


@kernel
def swap(x: Array3, out: Array3):
    """``out[b, c, r] = x[b, r, c]``, in square tiles of a fixed size, so that LLVM moves a row of a tile at a time.

    1024 x 1024 float32 take 0.65 ms; with a loop whose tiles may be smaller they took 1.2, and NumPy takes 3.5.
    """
    for b in range(x.shape[0]):
        swap_matrix(x[b], out[b])


# -- choices -------------------------------------------------------------------------------------------------------------
# These kernels select element by element and never multiply by a mask: an element that is not selected is exactly 0, or the other
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
    """``out = g`` where ``same(rival, y) == wins``, 0 elsewhere. A rival of one number is compared with all of y."""
    zero = y.dtype.type(0)
    if rival.size == 1:
        bound = rival[0]
        for i in range(out.size):
            out[i] = g[i] if same(bound, y[i]) == wins else zero
    else:
        for i in range(out.size):
            out[i] = g[i] if same(rival[i], y[i]) == wins else zero


# -- per channel: x (outer, channels, inner) ---------------------------------------------------------------------------------


@scalar
def by_channel(formula, g, x, numbers, out):
    """``out = formula(g, x, c, numbers)`` for each entry of g and x, c its channel; `numbers` are arrays, an entry per channel.

    If inner is 1, the channels are the contiguous axis, and the inner loop runs over them.
    """
    for o in range(x.shape[0]):
        if x.shape[2] == 1:
            for c in range(x.shape[1]):
                out[o, c, 0] = formula(g[o, c, 0], x[o, c, 0], c, numbers)
        else:
            for c in range(x.shape[1]):
                g_line, x_line, line = g[o, c], x[o, c], out[o, c]
                for i in range(line.size):
                    line[i] = formula(g_line[i], x_line[i], c, numbers)


@scalar
def sloped(g, x, c, slopes):
    """Leaky ReLU with an array of slopes, learned (prelu) or drawn (rrelu)."""
    return leaky_relu(x, slopes[c])


@scalar
def sloped_dx(g, x, c, slopes):
    return leaky_relu_dx(g, x, x, slopes[c])


@kernel
def channel_prelu(x: Array3, slopes: Vector, out: Array3):
    """``out = x if x > 0 else slopes[channel] * x``."""
    by_channel(sloped, x, x, slopes, out)


@kernel
def channel_prelu_pullback(g: Array3, x: Array3, slopes: Vector, out: Array3):
    """The gradient of x."""
    by_channel(sloped_dx, g, x, slopes, out)


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


@factory((2, 3, 4, 5))
def maxout(pieces: int) -> Pair:
    """The two kernels for units of so many pieces; x has the pieces of the first unit, then those of the second, ...

    ``forward(x, out, winner)``: out is the largest piece, winner its index; a tie goes to the lowest, NaN to the first NaN.
    ``pullback(g, winner, gx)``: g goes to the winner, and exactly 0 to every other piece.

    The number of pieces is a constant of the code, so that LLVM unrolls the loop over the pieces, and vectorises the one over the
    units: 1.1 ns for a unit of four instead of 7, and 0.9 instead of 12 for the pullback. (Indices are unsigned, so that
    Numba does not test whether they are negative.)
    """
    k = np.uint64(pieces)

    @scalar
    def largest(start, stop, x, out, winner):
        x, out, winner = x[start * pieces:stop * pieces], out[start:stop], winner[start:stop]
        for i in range(np.uint64(out.size)):
            best, index = x[k * i], 0
            for j in range(1, pieces):
                piece = x[k * i + np.uint64(j)]
                better = (piece > best) | ((piece != piece) & (best == best))
                best, index = piece if better else best, j if better else index
            out[i], winner[i] = best, index

    @scalar
    def gradients(start, stop, g, winner, gx):
        g, winner, gx = g[start:stop], winner[start:stop], gx[start * pieces:stop * pieces]
        for i in range(np.uint64(g.size)):
            for j in range(pieces):
                gx[k * i + np.uint64(j)] = g[i] if winner[i] == j else gx.dtype.type(0)

    def forward(x: Vector, out: Vector, winner: Integers):
        parallel(largest, out.size, COSTLY_GRAIN, (x, out, winner))

    def pullback(g: Vector, winner: Integers, gx: Vector):
        parallel(gradients, g.size, COSTLY_GRAIN, (g, winner, gx))

    return pair(f"maxout{pieces}", None, forward, pullback)
