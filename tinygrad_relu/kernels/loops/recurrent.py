"""Recurrent layers: the loop over time in one launch each way. A step computes a matrix product, and then the gates.

- z (steps, rows, gates * size): the contribution of the input to each gate, computed beforehand by one product for all steps.
- w (gates * size, size): the weights of the previous state.
- sums, of the shape of z: z plus the contribution of the state, which the forward kernel writes. (The last gate of a GRU is not a
  sum: there it is the contribution of the state.) From these the pullback computes every gate and slope again. It computes no
  slope from an output, which would give 0 on a plateau.
- states (steps + 1, rows, size): the first state and all others in the order of time. Step t leads from the state at t to the
  one at t + 1, or back if time runs backwards (`reverse`).

Rows do not depend on each other. So threads share them: each takes `ROWS` of them through all steps. These thin products take
OpenBLAS's kernels for small matrices, which do not pack the weights (twice as fast as one product of 32 rows that does).

The gates are computed row by row, on arrays of one axis that each have a name. LLVM vectorises these loops, but not the same
formulas on arrays of four axes: the pullback of the LSTM takes 10 us instead of 80.
"""
from __future__ import annotations

from ..formulas import ACTIVATIONS
from ..formulas.exponential import decay, tanh, tanh_near
from ..formulas.record import Elementwise
from ..formulas.saturating import sigmoid
from ..machine.blas import UNPACKED, gemm_block
from ..machine.parallel import parallel
from ..machine.policy import Array3, Array4, Matrix, Pair, Parameters, Vector, factory, kernel, pair, scalar
from ..machine.slabs import room
from .norm import as_line
from .pointwise import swap_matrix
from .reduce import GRAIN, LANES

ROWS = 8                # rows that go through all steps together
WORTH_COPYING = 4       # steps from which a copy of the weights pays


@scalar
def copy_rows(source, first, last, out):
    """``out[first:last] = source[first:last]`` for matrices. It compiles in a tenth of the time of the assignment."""
    for r in range(first, last):
        for k in range(out.shape[1]):
            out[r, k] = source[r, k]


@scalar
def weights_of(w, steps, turn):
    """A copy of the weights for many steps, transposed if `turn` is set: gemm reads it faster."""
    if steps < WORTH_COPYING:
        return w
    rows, columns = w.shape
    out = room(columns if turn else rows, rows if turn else columns, w)
    if turn:
        swap_matrix(w, out)
    else:
        copy_rows(w, 0, rows, out)
    return out


@scalar
def at(step, steps, reverse):
    """The time of a step, and the positions of the states before and after it."""
    return (steps - 1 - step, steps - step, steps - 1 - step) if reverse else (step, step, step + 1)


@scalar
def rows_of_sequence(z):
    """How many rows are worth a thread's attention."""
    return ROWS * (1 + GRAIN // (1 + z.size // max(1, z.shape[1]) * ROWS))


@scalar
def thin_product(transpose_b, a, b, beta, c):
    """``c = a @ op(b) + beta * c`` for few rows, so many columns at a time that OpenBLAS packs nothing."""
    rows, columns = c.shape
    pieces = 1 + rows * columns * a.shape[1] // UNPACKED
    width = (columns // pieces // LANES + 1) * LANES
    for left in range(0, columns, width):
        gemm_block(False, transpose_b, a, b, beta, c, 0, rows, left, min(left + width, columns))


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
    return tanh_near(x) if abs(x) < T(0.6) else plus - minus, T(4) * plus * minus


@scalar
def add_lines(a, b, out):
    for k in range(out.size):
        out[k] = a[k] + b[k]


@scalar
def slope_line(f_dx, g, x, y, p, out):
    for k in range(out.size):
        out[k] = f_dx(g[k], x[k], y[k], *p)


@scalar
def map_line(f, x, p, out):
    for k in range(out.size):
        out[k] = f(x[k], *p)


# -- the loop over time, in which a cell computes each step of some rows --------------------------------------------------------


@scalar
def forward_over(start, stop, cell, h, w, bias, reverse, sums, states, arrays):
    """``cell(t, before, after, first, last, product, sums, states, arrays)`` gets the product ``states[before] @ w (+ bias)`` of
    each step, which it may overwrite."""
    steps = len(sums)
    products = room(ROWS, w.size // h.shape[1], w)
    copy_rows(h, start, stop, states[steps if reverse else 0])
    for first in range(start, stop, ROWS):
        last = min(first + ROWS, stop)
        product = products[:last - first]
        for step in range(steps):
            t, before, after = at(step, steps, reverse)
            for r in range(last - first):
                for k in range(bias.size):
                    product[r, k] = bias[k]
            thin_product(steps < WORTH_COPYING, states[before, first:last], w, 1.0 if bias.size else 0.0, product)
            cell(t, before, after, first, last, product, sums, states, arrays)


@scalar
def pullback_over(start, stop, cell, g, w, reverse, gz, gh, arrays):
    """``cell(t, before, after, first, last, down, g, gz, arrays)`` writes gz, the gradient of the product of a step. In `down` it
    replaces the gradient of the states after the step by that of the states before it, except for the part through gz."""
    steps = len(gz)
    downs = room(ROWS, gh.shape[1], g)
    for first in range(start, stop, ROWS):
        last = min(first + ROWS, stop)
        down = downs[:last - first]
        copy_rows(g[0 if reverse else steps, first:last], 0, last - first, down)
        for step in range(steps - 1, -1, -1):
            t, before, after = at(step, steps, reverse)
            cell(t, before, after, first, last, down, g, gz, arrays)
            thin_product(False, gz[t, first:last].reshape(last - first, len(w)), w, 1.0, down)
        copy_rows(down, 0, last - first, gh[first:last])


# -- the cells ------------------------------------------------------------------------------------------------------------------


@factory([ACTIVATIONS["tanh"], ACTIVATIONS["relu"]])
def rnn(activation: Elementwise[...]) -> Pair:
    """A simple recurrent layer, ``h' = f(z + w h)``."""
    f, f_dx = activation.f, activation.f_dx

    @scalar
    def cell(t, before, after, first, last, product, sums, states, arrays):
        z, p = arrays
        total = as_line(sums[t], first, last)
        add_lines(as_line(z[t], first, last), as_line(product, 0, last - first), total)
        map_line(f, total, p, as_line(states[after], first, last))

    def forward(z: Array3, h: Matrix, w: Matrix, p: Parameters, reverse: bool, sums: Array3, states: Array3):
        parallel(forward_over, len(h), rows_of_sequence(z),
                 (cell, h, weights_of(w, len(z), True), w[0, :0], reverse, sums, states, (z, p)))

    @scalar
    def cell_pullback(t, before, after, first, last, down, g, gz, arrays):
        sums, states, p = arrays
        slope_line(f_dx, as_line(down, 0, last - first), as_line(sums[t], first, last), as_line(states[after], first, last), p,
                   as_line(gz[t], first, last))
        copy_rows(g[before, first:last], 0, last - first, down)

    def pullback(g: Array3, sums: Array3, states: Array3, w: Matrix, p: Parameters, reverse: bool, gz: Array3, gh: Matrix):
        parallel(pullback_over, len(gh), rows_of_sequence(sums),
                 (cell_pullback, g, weights_of(w, len(sums), False), reverse, gz, gh, (sums, states, p)))

    return pair(f"rnn_{activation.name}", activation, forward, pullback)


@scalar
def next_cell(i, f, g, before, cell):
    for k in range(cell.size):
        cell[k] = f[k] * before[k] + i[k] * g[k]


@scalar
def seen_cell(o, cell, h):
    for k in range(h.size):
        h[k] = o[k] * tanh(cell[k])


@scalar
def lstm_row(sums, gates, before, cell, h):
    """`gates` has room for the values of all gates. A loop for each gate is a sixth faster than one loop for all."""
    n = h.size
    map_line(sigmoid, sums[:2 * n], (), gates[:2 * n])
    map_line(tanh, sums[2 * n:3 * n], (), gates[2 * n:3 * n])
    map_line(sigmoid, sums[3 * n:], (), gates[3 * n:])
    next_cell(gates[:n], gates[n:2 * n], gates[2 * n:3 * n], before, cell)
    seen_cell(gates[3 * n:], cell, h)


@scalar
def lstm_row_pullback(g, si, sf, sg, so, before, cell, gi, gf, gg, go, gh, gc):
    """Replaces gh and gc, the gradients of the states after the step, by those of the states before it, except for the part
    that comes through the gates."""
    for k in range(gh.size):
        i, not_i = both_sigmoids(si[k])
        f, not_f = both_sigmoids(sf[k])
        n, slope_n = tanh_and_slope(sg[k])
        o, not_o = both_sigmoids(so[k])
        squashed, slope = tanh_and_slope(cell[k])
        down = gc[k] + gh[k] * o * slope
        gi[k] = down * n * (i * not_i)
        gf[k] = down * before[k] * (f * not_f)
        gg[k] = down * i * slope_n
        go[k] = gh[k] * squashed * (o * not_o)
        gc[k] = down * f
        gh[k] = g[k]


@scalar
def lstm_cell(t, before, after, first, last, product, sums, states, arrays):
    z, cells = arrays
    add_lines(as_line(z[t], first, last), as_line(product, 0, last - first), as_line(sums[t], first, last))
    for r in range(first, last):
        lstm_row(sums[t, r], product[r - first], cells[before, r], cells[after, r], states[after, r])


@kernel
def lstm(z: Array3, h: Matrix, c: Matrix, w: Matrix, reverse: bool, sums: Array3, states: Array3, cells: Array3):
    """Gates i, f, g, o: ``c' = f c + i g``, ``h' = o tanh(c')``. After the hidden states, `states` has the last cell state."""
    steps = len(z)
    copy_rows(c, 0, len(c), cells[steps if reverse else 0])
    parallel(forward_over, len(h), rows_of_sequence(z),
             (lstm_cell, h, weights_of(w, steps, True), w[0, :0], reverse, sums, states, (z, cells)))
    copy_rows(cells[0 if reverse else steps], 0, len(c), states[steps + 1])


@scalar
def lstm_cell_pullback(t, before, after, first, last, down, g, gz, arrays):
    sums, cells, gc = arrays
    for r in range(first, last):
        y, gx = sums[t, r], gz[t, r]
        lstm_row_pullback(g[before, r], y[0], y[1], y[2], y[3], cells[before, r], cells[after, r],
                          gx[0], gx[1], gx[2], gx[3], down[r - first], gc[r])


@kernel
def lstm_pullback(g: Array3, sums: Array4, cells: Array3, w: Matrix, reverse: bool, gz: Array4, gh: Matrix, gc: Matrix):
    copy_rows(g[len(sums) + 1], 0, len(gc), gc)
    parallel(pullback_over, len(gh), rows_of_sequence(sums),
             (lstm_cell_pullback, g, weights_of(w, len(sums), False), reverse, gz, gh, (sums, cells, gc)))


@scalar
def gru_row(zn, sn, r, su, before, h):
    for k in range(h.size):
        keep, renew = both_sigmoids(su[k])
        h[k] = renew * tanh(zn[k] + r[k] * sn[k]) + keep * before[k]


@scalar
def gru_row_pullback(g, zn, sr, su, sn, before, gr, gu, gn, grec_n, gh):
    for k in range(gh.size):
        r, not_r = both_sigmoids(sr[k])
        keep, renew = both_sigmoids(su[k])
        new, slope = tanh_and_slope(zn[k] + r * sn[k])
        down = gh[k] * renew * slope
        gr[k] = down * sn[k] * (r * not_r)
        gu[k] = gh[k] * (before[k] - new) * (keep * renew)
        gn[k] = down
        grec_n[k] = down * r
        gh[k] = g[k] + gh[k] * keep


@scalar
def gru_cell(t, before, after, first, last, product, sums, states, arrays):
    (z,) = arrays
    size = states.shape[2]
    for r in range(first, last):
        x, y, part = z[t, r], sums[t, r], product[r - first]
        add_lines(as_line(x, 0, 2), part, as_line(y, 0, 2))
        map_line(sigmoid, y[0], (), part[:size])
        for k in range(size):
            y[2, k] = part[2 * size + k]
        gru_row(x[2], y[2], part[:size], y[1], states[before, r], states[after, r])


@kernel
def gru(z: Array4, h: Matrix, w: Matrix, bias: Vector, reverse: bool, sums: Array4, states: Array3):
    """Gates r, z, n: ``n = tanh(z_n + r sums_n)``, ``h' = (1 - z) n + z h``."""
    parallel(forward_over, len(h), rows_of_sequence(z),
             (gru_cell, h, weights_of(w, len(z), True), bias, reverse, sums, states, (z,)))


@scalar
def gru_cell_pullback(t, before, after, first, last, down, g, gz, arrays):
    z, sums, states, gn = arrays
    for r in range(first, last):
        y, gy = sums[t, r], gz[t, r]
        gru_row_pullback(g[before, r], z[t, r, 2], y[0], y[1], y[2], states[before, r], gy[0], gy[1], gn[t, r], gy[2],
                         down[r - first])


@kernel
def gru_pullback(g: Array3, z: Array4, sums: Array4, states: Array3, w: Matrix, reverse: bool, gz: Array4, gn: Array3,
                 gh: Matrix):
    """gz is the gradient of the contribution of the state. That of the input is gn in gate n, without the factor r."""
    parallel(pullback_over, len(gh), rows_of_sequence(z),
             (gru_cell_pullback, g, weights_of(w, len(z), False), reverse, gz, gh, (z, sums, states, gn)))
