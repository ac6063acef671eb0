"""Recurrent layers: the loop over time in one launch each way. A step computes a matrix product, and then the gates.

- z (steps, rows, gates * size): the contribution of the input to each gate, computed beforehand by one product for all steps.
- w (gates * size, size): the weights of the previous state.
- rec, of the shape of z: the contribution of the state, which the forward kernel writes. From z and rec the pullback computes
  every gate and slope again. It computes no slope from an output, which would give 0 on a plateau.
- states (steps + 1, rows, size): the first state and all others in the order of time. Step t leads from the state at t to the
  one at t + 1, or back if time runs backwards (`reverse`).

The gates are computed row by row, on arrays of one axis that each have a name. LLVM vectorises these loops, but not the same
formulas on arrays of four axes: the pullback of the LSTM takes 10 us instead of 80.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from ..formulas import ACTIVATIONS
from ..formulas.exponential import decay, tanh, tanh_near
from ..formulas.record import Elementwise
from ..formulas.saturating import sigmoid
from ..machine.blas import gemm
from ..machine.door import launch
from ..machine.policy import Array3, Array4, Matrix, Pair, Parameters, Vector, factory, kernel, pair, scalar
from .pointwise import swap

WORTH_TURNING = 4       # steps from which a transposed copy of the weights pays: gemm reads it faster


def turned_weights(w: Any, steps: int) -> tuple[Any, bool]:
    """The weights for ``state @ w.T`` in every step, and whether they have been transposed."""
    if steps < WORTH_TURNING:
        return w, False
    out = np.empty(w.shape[::-1], w.dtype)
    launch(swap, w[None], out[None])
    return out, True


@scalar
def at(step, steps, reverse):
    """The time of a step, and the positions of the states before and after it."""
    return (steps - 1 - step, steps - step, steps - 1 - step) if reverse else (step, step, step + 1)


@scalar
def copy_matrix(source, out):
    """``out[...] = source`` for matrices. It compiles in a tenth of the time of the assignment."""
    for r in range(out.shape[0]):
        for k in range(out.shape[1]):
            out[r, k] = source[r, k]


@scalar
def both_sigmoids(x):
    """sigmoid(x) and 1 - sigmoid(x), both to full precision, from one exponential; the slope is their product."""
    T = type(x)
    e = decay(-abs(x))
    most = T(1) / (T(1) + e)
    least = e * most
    return (least, most) if x < T(0) else (most, least)


@scalar
def tanh_and_slope(x):
    """tanh(x) = s(2x) - s(-2x) and its slope 4 s(2x) s(-2x), with the sigmoid s; near 0 the difference would cancel."""
    T = type(x)
    plus, minus = both_sigmoids(x + x)
    return tanh_near(x) if abs(x) < T(0.55) else plus - minus, T(4) * plus * minus


@factory([ACTIVATIONS["tanh"], ACTIVATIONS["relu"]])
def rnn(activation: Elementwise[...]) -> Pair:
    """A simple recurrent layer, ``h' = f(z + w h)``."""
    f, f_dx = activation.f, activation.f_dx

    def forward(z: Array3, h: Matrix, w: Matrix, turned: bool, p: Parameters, reverse: bool, rec: Array3, states: Array3):
        steps, rows, size = z.shape
        copy_matrix(h, states[steps if reverse else 0])
        for step in range(steps):
            t, before, after = at(step, steps, reverse)
            gemm(False, not turned, states[before], w, 0.0, rec[t])
            for r in range(rows):
                for i in range(size):
                    states[after, r, i] = f(z[t, r, i] + rec[t, r, i], *p)

    def pullback(g: Array3, z: Array3, rec: Array3, states: Array3, w: Matrix, p: Parameters, reverse: bool, gz: Array3,
                 gh: Matrix):
        steps, rows, size = z.shape
        copy_matrix(g[0 if reverse else steps], gh)
        for step in range(steps - 1, -1, -1):
            t, before, after = at(step, steps, reverse)
            for r in range(rows):
                for i in range(size):
                    gz[t, r, i] = f_dx(gh[r, i], z[t, r, i] + rec[t, r, i], states[after, r, i], *p)
                    gh[r, i] = g[before, r, i]
            gemm(False, False, gz[t], w, 1.0, gh)

    return pair(f"rnn_{activation.name}", activation, forward, pullback)


@scalar
def lstm_row(zi, zf, zg, zo, ri, rf, rg, ro, before, cell, h):
    for k in range(h.size):
        cell[k] = sigmoid(zf[k] + rf[k]) * before[k] + sigmoid(zi[k] + ri[k]) * tanh(zg[k] + rg[k])
        h[k] = sigmoid(zo[k] + ro[k]) * tanh(cell[k])


@scalar
def lstm_row_pullback(g, zi, zf, zg, zo, ri, rf, rg, ro, before, cell, gi, gf, gg, go, gh, gc):
    """Replaces gh and gc, the gradients of the states after the step, by those of the states before it, except for the part
    that comes through the gates."""
    for k in range(gh.size):
        i, not_i = both_sigmoids(zi[k] + ri[k])
        f, not_f = both_sigmoids(zf[k] + rf[k])
        n, slope_n = tanh_and_slope(zg[k] + rg[k])
        o, not_o = both_sigmoids(zo[k] + ro[k])
        squashed, slope = tanh_and_slope(cell[k])
        down = gc[k] + gh[k] * o * slope
        gi[k] = down * n * (i * not_i)
        gf[k] = down * before[k] * (f * not_f)
        gg[k] = down * i * slope_n
        go[k] = gh[k] * squashed * (o * not_o)
        gc[k] = down * f
        gh[k] = g[k]


@kernel
def lstm(z: Array4, h: Matrix, c: Matrix, w: Matrix, turned: bool, reverse: bool, rec: Array4, states: Array3, cells: Array3):
    """Gates i, f, g, o: ``c' = f c + i g``, ``h' = o tanh(c')``. z and rec are (steps, rows, 4, size); `states` ends with the
    last cell state, after the hidden ones."""
    steps, rows, gates, size = z.shape
    copy_matrix(h, states[steps if reverse else 0])
    copy_matrix(c, cells[steps if reverse else 0])
    for step in range(steps):
        t, before, after = at(step, steps, reverse)
        gemm(False, not turned, states[before], w, 0.0, rec[t].reshape(rows, gates * size))
        for r in range(rows):
            x, y = z[t, r], rec[t, r]
            lstm_row(x[0], x[1], x[2], x[3], y[0], y[1], y[2], y[3], cells[before, r], cells[after, r], states[after, r])
    copy_matrix(cells[0 if reverse else steps], states[steps + 1])


@kernel
def lstm_pullback(g: Array3, z: Array4, rec: Array4, cells: Array3, w: Matrix, reverse: bool, gz: Array4, gh: Matrix, gc: Matrix):
    steps, rows, gates, size = z.shape
    copy_matrix(g[0 if reverse else steps], gh)
    copy_matrix(g[steps + 1], gc)
    for step in range(steps - 1, -1, -1):
        t, before, after = at(step, steps, reverse)
        for r in range(rows):
            x, y, gx = z[t, r], rec[t, r], gz[t, r]
            lstm_row_pullback(g[before, r], x[0], x[1], x[2], x[3], y[0], y[1], y[2], y[3], cells[before, r],
                              cells[after, r], gx[0], gx[1], gx[2], gx[3], gh[r], gc[r])
        gemm(False, False, gz[t].reshape(rows, gates * size), w, 1.0, gh)


@scalar
def gru_row(zr, zu, zn, rr, ru, rn, before, h):
    for k in range(h.size):
        keep, renew = both_sigmoids(zu[k] + ru[k])
        h[k] = renew * tanh(zn[k] + sigmoid(zr[k] + rr[k]) * rn[k]) + keep * before[k]


@scalar
def gru_row_pullback(g, zr, zu, zn, rr, ru, rn, before, gr, gu, gn, grec_n, gh):
    for k in range(gh.size):
        r, not_r = both_sigmoids(zr[k] + rr[k])
        keep, renew = both_sigmoids(zu[k] + ru[k])
        new, slope = tanh_and_slope(zn[k] + r * rn[k])
        down = gh[k] * renew * slope
        gr[k] = down * rn[k] * (r * not_r)
        gu[k] = gh[k] * (before[k] - new) * (keep * renew)
        gn[k] = down
        grec_n[k] = down * r
        gh[k] = g[k] + gh[k] * keep


@kernel
def gru(z: Array4, h: Matrix, w: Matrix, turned: bool, bias: Vector, reverse: bool, rec: Array4, states: Array3):
    """Gates r, z, n: ``n = tanh(z_n + r rec_n)``, ``h' = (1 - z) n + z h``."""
    steps, rows, gates, size = z.shape
    copy_matrix(h, states[steps if reverse else 0])
    for step in range(steps):
        t, before, after = at(step, steps, reverse)
        flat = rec[t].reshape(rows, gates * size)
        for r in range(rows):
            for k in range(bias.size):
                flat[r, k] = bias[k]
        gemm(False, not turned, states[before], w, 1.0 if bias.size else 0.0, flat)
        for r in range(rows):
            x, y = z[t, r], rec[t, r]
            gru_row(x[0], x[1], x[2], y[0], y[1], y[2], states[before, r], states[after, r])


@kernel
def gru_pullback(g: Array3, z: Array4, rec: Array4, states: Array3, w: Matrix, reverse: bool, gz: Array4, grec: Array4,
                 gh: Matrix):
    """The gradients of the contributions of the input (gz) and of the state (grec) differ only in gate n, by the factor r."""
    steps, rows, gates, size = z.shape
    copy_matrix(g[0 if reverse else steps], gh)
    for step in range(steps - 1, -1, -1):
        t, before, after = at(step, steps, reverse)
        for r in range(rows):
            x, y, gx, gy = z[t, r], rec[t, r], gz[t, r], grec[t, r]
            gru_row_pullback(g[before, r], x[0], x[1], x[2], y[0], y[1], y[2], states[before, r], gx[0], gx[1], gx[2], gy[2],
                             gh[r])
            copy_matrix(gx, gy[:2])
        gemm(False, False, grec[t].reshape(rows, gates * size), w, 1.0, gh)
