"""Recurrent layers over whole sequences: RNN, LSTM and GRU, each one operation with one kernel each way.

The inputs are z (steps, rows, gates * size), which is x after the affine map to the gates; the first state h (rows, size), and
for the LSTM the first cell state c; and the weight w (gates * size, size) of the state. The result is
(steps + 1, rows, size): all states in order of time, h first (last, if reversed). Outputs and last state are slices of it
without a copy (`narrow`). The LSTM appends the last cell state.

Second derivatives come from the definitions, written step by step with ordinary operations (see `derivative`).
"""
from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ..autodiff.broadcast import sum_over
from ..autodiff.node import Array, Op
from ..autodiff.tape import derivative
from ..kernels.formulas import ACTIVATIONS
from ..kernels.formulas.record import Elementwise
from ..kernels.loops import recurrent as kernels
from ..kernels.loops.reduce import put_part
from ..kernels.machine.door import copy, launch
from ..kernels.machine.matmul import matmul as matrix_product
from .activation import activation_op
from .elementwise import add, mul, neg
from .indexing import cut, paste
from .linalg import product
from .shape import split, stack

# x[start:stop] without a copy.
narrow: Op = Op(
    "narrow", lambda x, start, stop: x[start:stop], adds=True,
    fused=lambda g, y, saved, into, add, x, start, stop: launch(
        put_part, g.ravel(), start * (x.size // len(x)), bool(add), into[0].ravel()),
    pull=(lambda g, y, x, start, stop: paste(g, key=(slice(start, stop), ...), shape=x.shape),))


def _apart(z: Array, gates: int) -> Array:
    """z with an axis for the gates."""
    return z.reshape(*z.shape[:-1], gates, z.shape[-1] // gates)


def _weight_gradient(g: Array, states: Array, reverse: bool, out: Array) -> None:
    """The sum over all steps of ``g.T @ (state before)``, if it is wanted: one product."""
    if out.size:
        steps, rows, size = len(g), *states.shape[1:]
        before = states[1:steps + 1] if reverse else states[:steps]
        matrix_product(True, False, g.reshape(steps * rows, len(out)), before.reshape(steps * rows, size), 0.0, out)


def _needed(into: list[Array], *inputs: Array) -> list[Array]:
    """Space for gradients that the kernel computes even if they are not wanted."""
    return [out if out.shape == x.shape else np.empty(x.shape, x.dtype) for out, x in zip(into, inputs)]


# -- the definitions, step by step -----------------------------------------------------------------------------------


def _unrolled(cell: Callable[..., tuple[Any, ...]], z: Any, reverse: bool, h: Any, *first: Any) -> Any:
    """``h, *c = cell(z_t, h, *c)``, step by step: all states in order of time, and the last c."""
    states, c = [h], list(first)
    for t in range(z.shape[0])[::-1 if reverse else 1]:
        h, *c = cell(cut(z, key=(t, ...)), h, *c)
        states.append(h)
    return stack([*(states[::-1] if reverse else states), *c])


_sigmoid, _tanh = activation_op(ACTIVATIONS["sigmoid"]), activation_op(ACTIVATIONS["tanh"])


def _lstm_steps(z: Any, h: Any, c: Any, w: Any, reverse: bool = False) -> Any:
    def cell(z_t: Any, h: Any, c: Any) -> tuple[Any, Any]:
        i, f, g, o = split(add(z_t, product(h, w, transpose_b=True)), 4, axis=1)
        c = add(mul(_sigmoid(f), c), mul(_sigmoid(i), _tanh(g)))
        return mul(_sigmoid(o), _tanh(c)), c

    return _unrolled(cell, z, reverse, h, c)


def _gru_steps(z: Any, h: Any, w: Any, bias: Any, reverse: bool = False) -> Any:
    def cell(z_t: Any, h: Any) -> tuple[Any]:
        rec = product(h, w, transpose_b=True)
        rec = add(rec, bias) if bias.shape[0] else rec
        (z_r, z_u, z_n), (r_r, r_u, r_n) = split(z_t, 3, axis=1), split(rec, 3, axis=1)
        new, update = _tanh(add(z_n, mul(_sigmoid(add(z_r, r_r)), r_n))), add(z_u, r_u)
        return (add(mul(_sigmoid(neg(update)), new), mul(_sigmoid(update), h)),)

    return _unrolled(cell, z, reverse, h)


# -- the fused operations --------------------------------------------------------------------------------------------


@cache
def rnn_op(record: Elementwise[...]) -> Op:
    """``h' = f(z + w h)``: the operation ``op(z, h, w, reverse=False)``."""
    f, p = activation_op(record), tuple(record.parameters.values())

    def forward(z: Array, h: Array, w: Array, *, reverse: bool = False) -> tuple[Array, Array]:
        states, sums = np.empty((len(z) + 1, *h.shape), z.dtype), np.empty(z.shape, z.dtype)
        launch(kernels.rnn(record).forward, z, h, w, p, reverse, sums, states)
        return states, sums

    def fused(g: Array, y: Array, sums: Array, into: list[Array], add: int, z: Array, h: Array, w: Array, *,
              reverse: bool = False) -> None:
        to_z, to_h = _needed(into, z, h)
        launch(kernels.rnn(record).pullback, g, sums, y, w, p, reverse, to_z, to_h)
        _weight_gradient(to_z, y, reverse, into[2])

    def steps(z: Any, h: Any, w: Any, reverse: bool = False) -> Any:
        return _unrolled(lambda z_t, h: (f(add(z_t, product(h, w, transpose_b=True)), p=p),), z, reverse, h)

    return Op(f"rnn_{record.name}", forward, fused=fused, saves=True, pull=derivative(steps))


def _lstm(z: Array, h: Array, c: Array, w: Array, *, reverse: bool = False) -> tuple[Array, tuple[Array, Array]]:
    steps, dtype = len(z), z.dtype
    states, cells, sums = np.empty((steps + 2, *h.shape), dtype), np.empty((steps + 1, *h.shape), dtype), np.empty(z.shape, dtype)
    launch(kernels.lstm, z, h, c, w, reverse, sums, states, cells)
    return states, (sums, cells)


def _lstm_fused(g: Array, y: Array, saved: tuple[Array, Array], into: list[Array], add: int, z: Array, h: Array,
                c: Array, w: Array, *, reverse: bool = False) -> None:
    (sums, cells), (to_z, to_h, to_c) = saved, _needed(into, z, h, c)
    launch(kernels.lstm_pullback, g, _apart(sums, 4), cells, w, reverse, _apart(to_z, 4), to_h, to_c)
    _weight_gradient(to_z, y, reverse, into[3])


def _gru(z: Array, h: Array, w: Array, bias: Array, *, reverse: bool = False) -> tuple[Array, Array]:
    states, sums = np.empty((len(z) + 1, *h.shape), z.dtype), np.empty(z.shape, z.dtype)
    launch(kernels.gru, _apart(z, 3), h, w, bias, reverse, _apart(sums, 3), states)
    return states, sums


def _gru_fused(g: Array, y: Array, sums: Array, into: list[Array], add: int, z: Array, h: Array, w: Array,
               bias: Array, *, reverse: bool = False) -> None:
    (to_z, to_h), to_n = _needed(into, z, h), np.empty((len(z), *h.shape), z.dtype)
    launch(kernels.gru_pullback, g, _apart(z, 3), _apart(sums, 3), y, w, reverse, _apart(to_z, 3), to_n, to_h)
    _weight_gradient(to_z, y, reverse, into[2])
    if into[3].size:
        sum_over(to_z, (0, 1), into[3])
    launch(copy, to_n, _apart(to_z, 3)[:, :, 2])


lstm: Op = Op("lstm", _lstm, fused=_lstm_fused, saves=True, pull=derivative(_lstm_steps))          # op(z, h, c, w)
gru: Op = Op("gru", _gru, fused=_gru_fused, saves=True, pull=derivative(_gru_steps))     # op(z, h, w, bias); bias may be empty
