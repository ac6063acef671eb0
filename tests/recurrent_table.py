"""Recurrent layers and cells as rows of the table: every kind in every arrangement, with its slow twin.

A case returns a tuple of results: the output and the states of a layer, or the states of a cell. A row joins them into one
vector, because the checks of the table take one array.
"""
from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import recurrent_twin as twin
import table

import tinygrad_relu as tg
from tinygrad_relu import nn
from tinygrad_relu.ops.recurrent import narrow
from tinygrad_relu.ops.shape import concatenate


class Case(NamedTuple):
    name: str
    ours: Callable[..., Any]        # x, the states and all weights in, the results out: as a tuple
    twin: Callable[..., Any]
    shapes: tuple[Any, ...]


def flat(*results):
    """All results in one vector."""
    return concatenate([y.reshape(-1) for y in results])


def results_of(layer, x, states):
    """A list of the output and the states of a layer, or of the states of a cell."""
    found = layer(x, tuple(states) if len(states) == 2 else states[0])
    if isinstance(layer, nn.RNNCell | nn.LSTMCell | nn.GRUCell):
        return found if isinstance(found, tuple) else (found,)
    return found[0], *(found[1] if isinstance(found[1], tuple) else (found[1],))


def names_of(layer):
    return [name for name, _ in layer.named_parameters()]


def with_weights(layer, weights):
    """The same module with these Tensors instead of its parameters."""
    layer, weights = copy.deepcopy(layer), iter(weights)
    for _, module in layer.named_modules():
        for name in [name for name, p in vars(module).items() if isinstance(p, nn.Parameter)]:
            w = next(weights)
            vars(module)[name] = w if isinstance(w, tg.Tensor) else tg.Tensor(w)
    return layer


def layer_case(kind, steps=2, batch=2, inputs=2, size=2, **options):
    layer = getattr(nn, kind)(inputs, size, rng=0, dtype="float64", **options)
    step, directions = twin.STEPS[kind], 1 + layer.bidirectional
    if kind == "RNN":
        def step(x, states, weights):
            return twin.rnn_step(x, states, weights, twin.NONLINEARITIES[layer.nonlinearity])
    count, s = layer.num_layers * directions, 2 if kind == "LSTM" else 1
    middle = (batch,) if batch else ()
    shape = (batch, steps, inputs) if layer.batch_first and batch else (steps, *middle, inputs)

    def f(x, *rest):
        return results_of(with_weights(layer, rest[s:]), x, rest[:s])

    def g(x, *rest):
        states, weights = list(rest[:s]), list(rest[s:])
        if not layer.bias:
            weights = [w for i in range(0, len(weights), 2) for w in (weights[i], weights[i + 1], 0.0, np.zeros(len(weights[i])))]
        if not batch:
            x, states = x[:, None], [h[:, None] for h in states]
        elif layer.batch_first:
            x = x.swapaxes(0, 1)
        y, *states = twin.layers(step, x, states, weights, directions)
        if not batch:
            return y[:, 0], *(h[:, 0] for h in states)
        return y.swapaxes(0, 1) if layer.batch_first else y, *states

    name = ", ".join([f"{kind} {shape} {size}", *(f"{k}={v}" for k, v in options.items())])
    return Case(name, f, g, (shape, *[(count, *middle, size)] * s, *(p.shape for p in layer.parameters())))


def cell_case(kind, batch=2, inputs=3, size=2, **options):
    cell = getattr(nn, f"{kind}Cell")(inputs, size, rng=0, dtype="float64", **options)
    s, middle = 2 if kind == "LSTM" else 1, (batch,) if batch else ()

    def f(x, *rest):
        return results_of(with_weights(cell, rest[s:]), x, rest[:s])

    def g(x, *rest):
        f = {"f": twin.NONLINEARITIES[cell.nonlinearity]} if kind == "RNN" else {}
        weights = rest[s:] if cell.bias else (*rest[s:], 0.0, np.zeros(len(rest[s])))
        return tuple(twin.STEPS[kind](x, rest[:s], weights, **f))

    name = ", ".join([f"{kind}Cell {(*middle, inputs)} {size}", *(f"{k}={v}" for k, v in options.items())])
    return Case(name, f, g, ((*middle, inputs), *[(*middle, size)] * s, *(p.shape for p in cell.parameters())))


def row(case):
    return table.Row(case.name, lambda *x: flat(*case.ours(*x)), lambda *x: np.concatenate([y.ravel() for y in case.twin(*x)]),
                     case.shapes)


CASES = [case for kind in twin.STEPS for case in (
    layer_case(kind, steps=3, inputs=3), layer_case(kind, steps=1, batch=1, size=1),
    layer_case(kind, steps=5, batch=1, inputs=1, size=1), layer_case(kind, batch=0, bias=False),
    layer_case(kind, bidirectional=True, batch_first=True, inputs=1), layer_case(kind, num_layers=2, batch=1, size=1),
    layer_case(kind, num_layers=2, bidirectional=True, batch=1, bias=False, inputs=1, size=1),
    cell_case(kind), cell_case(kind, batch=0, bias=False))
] + [layer_case("RNN", nonlinearity="relu", bidirectional=True, size=1), cell_case("RNN", nonlinearity="relu")]

ROWS = [row(case) for case in CASES]
ROWS += [table.Row(f"narrow {i}:{j}", lambda x, i=i, j=j: narrow(x, start=i, stop=j), lambda x, i=i, j=j: x[i:j], ((3, 4, 2),))
         for i, j in ((1, 3), (0, 3), (1, 1))]
