"""The operations of random graphs: all that have a derivative, by kind and name. Every row of the tables is one of them."""
from __future__ import annotations

from itertools import product
from math import inf, prod
from typing import Any

import exact
import module_table
import naive
import numpy as np
import recurrent_table
import table
from graphs_kinds import AS_IT_IS, Draw, Function, Hand, Pair, binary, few, fitted, named, of_rows, unary, within
from graphs_twin import Made

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu.kernels.formulas import ACTIVATIONS

# -- elementwise -------------------------------------------------------------------------------------------------------


def activation(name: str, record: str) -> dict[str, Draw]:
    """The function with its default parameters, and with half of their values."""
    usual = tuple(ACTIVATIONS[record].parameters.values())
    domain = {"log": within(0.5, 2.5), "log1p": within(-0.5, 1.5)}.get(name, AS_IT_IS)
    return named(name, exact.twin(record), lambda x: [usual, tuple(v / 2 for v in usual)], domain=domain)


RECORDS = {name: name for name in ACTIVATIONS if name != "prelu"} | {"gelu_erf": "gelu"}

ACTIVATION = {
    **{call: draw for name, record in RECORDS.items() for call, draw in activation(name, record).items()},
    "gelu by tanh": unary(lambda x: F.gelu(x, approximate="tanh"), exact.twin("gelu_tanh")),
    "prelu": fitted(lambda x, slopes: F.prelu(x, slopes), naive.prelu, ((2, 3), (3,))),
}

ELEMENTWISE = {
    **named("abs", naive.dual(np.abs, np.sign)),
    **named("sqrt", np.sqrt, domain=within(0.5, 2.5)),
    **named("square", lambda x: x * x),
    **named("sin", np.sin),
    **named("cos", np.cos),
    **named("clip", naive.dual(np.clip, lambda x, low, high: (x > low) & (x < high)), lambda x: [(-1.0, 1.0), (-inf, 0.5)]),
    "abs(x)": unary(abs, naive.dual(np.abs, np.sign)),
    "+x": unary(lambda x: +x),
    "-x": unary(lambda x: -x),
    "2 + x": unary(lambda x: 2 + x),
    "2 - x": unary(lambda x: 2 - x),
    "0.5 * x": unary(lambda x: 0.5 * x),
    "x / 4": unary(lambda x: x / 4),
    "1 / (2 + cos x)": unary(lambda x: 1 / (2 + tg.cos(x)), lambda x: 1 / (2 + np.cos(x))),
    "x ** 3": unary(lambda x: x**3, lambda x: x * x * x),
    "1.5 ** sin x": unary(lambda x: 1.5 ** tg.sin(x), lambda x: np.exp(np.sin(x) * np.log(1.5))),
    "array * x": unary(lambda x: np.full(x.shape, 1.5) * x, lambda x: 1.5 * x),
    "array - x": unary(lambda x: np.full(x.shape, 0.25) - x, lambda x: 0.25 - x),
    "x.clone()": unary(lambda x: x.clone(), lambda x: x),
    **{f"x.{name}()": unary(lambda x, name=name: getattr(x, name)(), exact.twin(name)) for name in ("relu", "sigmoid", "tanh")},
    **{f"x.{name}()": unary(lambda x, name=name: getattr(x, name)(), getattr(naive, name), np.ndim) for name in ("softmax", "log_softmax")},
    "x.astype(its dtype)": unary(lambda x: x.astype(x.dtype), lambda x: x),
    "maximum of a number and x": unary(lambda x: tg.maximum(0.25, x), lambda x: naive.maximum(x, 0.25)),
}


def mask(a: Any, b: Any) -> np.ndarray:
    shape = np.broadcast_shapes(a.shape, b.shape)
    return np.arange(prod(shape)).reshape(shape) % 3 > 0


BINARY = {
    "a + b": binary(lambda a, b: a + b),
    "a - b": binary(lambda a, b: a - b),
    "a * b": binary(lambda a, b: a * b),
    "a / (2 + sin b)": binary(lambda a, b: a / (2 + tg.sin(b)), lambda a, b: a / (2 + np.sin(b))),
    "(1 + a * a) ** sin b": binary(lambda a, b: (1 + a * a) ** tg.sin(b), lambda a, b: naive.power(1 + a * a, np.sin(b))),
    "maximum": binary(lambda a, b: tg.maximum(a, b), naive.maximum),
    "minimum": binary(lambda a, b: tg.minimum(a, b), naive.minimum),
    "a.clip(b)": binary(lambda a, b: a.clip(b), naive.maximum),
    "where": binary(lambda a, b: tg.where(mask(a, b), a, b), lambda a, b: np.where(mask(a, b), a, b)),
    "where a < b": binary(lambda a, b: tg.where(a < b, a, 2 * b), lambda a, b: np.where(a.real < b.real, a, 2 * b)),
    "where a <= b": binary(lambda a, b: tg.where(a <= b, a, 2 * b), lambda a, b: np.where(a.real <= b.real, a, 2 * b)),
    "where a > b": binary(lambda a, b: tg.where(a > b, a, 2 * b), lambda a, b: np.where(a.real > b.real, a, 2 * b)),
    "where a >= b": binary(lambda a, b: tg.where(a >= b, a, 2 * b), lambda a, b: np.where(a.real >= b.real, a, 2 * b)),
    "where a == b": binary(lambda a, b: tg.where(a == b, a, 2 * b), lambda a, b: np.where(a.real == b.real, a, 2 * b)),
    "where a != b": binary(lambda a, b: tg.where(a != b, a, 2 * b), lambda a, b: np.where(a.real != b.real, a, 2 * b)),
}


# -- along axes --------------------------------------------------------------------------------------------------------

def axes(x: np.ndarray) -> range:
    return range(-x.ndim, x.ndim)


def reduced(name: str, twin: Function, domain: Pair = AS_IT_IS) -> dict[str, Draw]:
    """A reduction over all axes, one, two, or none."""
    return named(name, twin, lambda x: product([None, *axes(x), *((k, m - x.ndim) for m in range(x.ndim) for k in range(m)), ()],
                                               [False, True]), domain=domain)


def spread(name: str, twin: Function) -> dict[str, Draw]:
    """The same, with ddof between axis and keepdims."""
    return named(name, lambda x, axis, ddof, keepdims: twin(x, axis, keepdims, ddof),
                 lambda x: product([None, *axes(x), ()], [0, 0.5], [False, True]))


def along(name: str, twin: Function) -> dict[str, Draw]:
    return named(name, twin, lambda x: [(axis,) for axis in axes(x)], np.ndim)


def winner(find: Function, twin: Function) -> Draw:
    """The index of the largest or smallest entry, which has no gradient, and the entry at that index, which has one."""
    def draw(hand: Hand) -> Made:
        i = hand.operand(np.ndim)
        axis = hand.choose([None, *axes(hand.values[i])], "axis")
        if axis is None:
            return Made(lambda x: x.flatten()[find(x)], twin, (i,))
        return Made(lambda x: tg.take_along_axis(x, find(x, axis, True), axis), lambda x: twin(x, axis, True), (i,))
    return draw


def divisors(x: np.ndarray) -> list[tuple[int]]:
    return [(n,) for n in range(1, x.shape[-1] + 1) if x.shape[-1] % n == 0]


ALONG = {
    **reduced("sum", lambda x, axis, keepdims: np.sum(x, axis, keepdims=keepdims)),
    **reduced("mean", lambda x, axis, keepdims: np.mean(x, axis, keepdims=keepdims)),
    **reduced("max", naive.largest),
    **reduced("min", naive.smallest),
    **reduced("prod", lambda x, axis, keepdims: np.prod(x, axis, keepdims=keepdims), within(-1.5, 1)),
    **reduced("logsumexp", naive.logsumexp),
    **spread("var", naive.var),
    **spread("std", naive.std),
    **named("cumsum", np.cumsum, lambda x: [(), *((axis,) for axis in axes(x))]),
    **along("softmax", naive.softmax),
    **along("log_softmax", naive.log_softmax),
    **named("maxout", naive.maxout, divisors, np.ndim),
    "maxout_winners": unary(lambda x: tg.take_along_axis(x, F.maxout_winners(x, x.shape[-1]), -1),
                            lambda x: naive.largest(x, -1, True), np.ndim),
    "argmax": winner(lambda x, *p: F.argmax(x, *p), naive.largest),
    "argmin": winner(lambda x, *p: F.argmin(x, *p), naive.smallest),
    "x.argmax()": winner(lambda x, *p: x.argmax(*p), naive.largest),
    "x.argmin()": winner(lambda x, *p: x.argmin(*p), naive.smallest),
}


# -- moving numbers ----------------------------------------------------------------------------------------------------

def orders(x: np.ndarray) -> list[tuple[tuple[int, ...]]]:
    return [((*range(k, x.ndim), *range(k)),) for k in range(x.ndim + 1)]


def new_axes(x: np.ndarray) -> list[tuple[Any]]:
    return [(0,), (-1,), ((0, -1),)]


def indices(x: np.ndarray) -> list[Any]:
    """A few indices; the rows of the table have more."""
    n = len(x)
    return [n // 2, slice(None, None, -1), slice(n // 2, None), [0, -1, 0], np.arange(n) % 2 == 0, (..., 0), (None, -1)]


def part(hand: Hand) -> Made:
    i = hand.operand(np.ndim)
    index = hand.choose(indices(hand.values[i]), "index")
    return Made(lambda x: x[index], lambda x: x[index], (i,))


def split(hand: Hand) -> Made:
    i = hand.operand(np.ndim)
    axis = hand.choose(axes(hand.values[i]), "axis")
    where = hand.choose([hand.values[i].shape[axis], [1]], "where")
    return Made(lambda x: tg.split(x, where, axis), lambda x: np.split(x, where, axis), (i,))


def joined(name: str, new: int) -> Draw:
    """Join up to three operands of one shape, along one of their axes or along a new one."""
    def draw(hand: Hand) -> Made:
        i = hand.operand(lambda x: few(x) and x.ndim + new)
        shape = hand.values[i].shape
        others = [hand.operand(lambda x: x.shape == shape) for _ in range(hand.choose([0, 1, 2], "others"))]
        axis = hand.choose(range(-len(shape) - new, len(shape) + new), "axis")
        return Made(lambda *x: getattr(F, name)(x, axis), lambda *x: getattr(np, name)(x, axis), (i, *others))
    return draw


MOVES = {
    **named("reshape", np.reshape, lambda x: [((x.size,),), ((1, -1),), ((-1, 1),), (x.shape[::-1],)]),
    **named("transpose", np.transpose, orders),
    **named("permute", np.transpose, orders),
    "x.T": unary(lambda x: x.T),
    **named("swapaxes", np.swapaxes, lambda x: product(axes(x), axes(x)), np.ndim),
    **named("squeeze", np.squeeze, lambda x: [(), *((axis,) for axis in axes(x) if x.shape[axis] == 1)]),
    **named("expand_dims", np.expand_dims, new_axes),
    **named("unsqueeze", np.expand_dims, new_axes),
    **named("flatten", lambda x, start=0: x.reshape(*x.shape[:start], -1), lambda x: [(), *((k,) for k in range(x.ndim))]),
    **named("broadcast_to", np.broadcast_to, lambda x: [((2, *x.shape),)], few),
    **named("flip", np.flip, lambda x: [(), *((axis,) for axis in axes(x))]),
    **named("pad", lambda x, width, value=0: np.pad(x, width, constant_values=value), lambda x: [(1,), ((0, 1), 0.5)], few),
    "part": part,
    "list(x)": unary(list, fits=np.ndim),
    "split": split,
    "concatenate": joined("concatenate", 0),
    "stack": joined("stack", 1),
}


# -- products ----------------------------------------------------------------------------------------------------------

def times_turned(ours: Function) -> Draw:
    """``a @ b.T`` for two matrices with the same number of columns, computed by one of several operations."""
    def draw(hand: Hand) -> Made:
        i = hand.operand(lambda x: x.ndim == 2)
        k = hand.operand(lambda x: x.ndim == 2 and x.shape[1] == hand.values[i].shape[1])
        return Made(ours, lambda a, b: a @ b.T, (i, k))
    return draw


def lines(x: Any) -> np.ndarray:
    """A matrix that x can be multiplied by."""
    n = x.shape[-2 if x.ndim > 1 else 0]
    return np.arange(2.0 * n).reshape(2, n) % 3 - 1


PRODUCTS = {
    "a @ b.T": times_turned(lambda a, b: a @ b.T),
    "matmul": times_turned(lambda a, b: tg.matmul(a, b.T)),
    "linear": times_turned(lambda a, b: F.linear(a, b)),
    "einsum": times_turned(lambda a, b: tg.einsum("ij,kj->ik", a, b)),
    "array @ x": unary(lambda x: lines(x) @ x, fits=np.ndim),
    "list @ x": unary(lambda x: lines(x).tolist() @ x, lambda x: lines(x) @ x, np.ndim),
}


# -- all ---------------------------------------------------------------------------------------------------------------

DRAWS: dict[str, dict[str, Draw]] = {
    "activations": ACTIVATION, "elementwise": ELEMENTWISE, "binary": BINARY, "along axes": ALONG, "moves": MOVES, "products": PRODUCTS,
    "recurrent": {case.name: fitted(case.ours, case.twin, case.shapes) for case in recurrent_table.CASES},
    "rows of arithmetic": of_rows(table.ARITHMETIC), "rows of arrays": of_rows(table.ARRAYS),
    "rows of shapes": of_rows(table.SHAPES + table.MOVES + table.JOINS), "rows of indices": of_rows(table.BY_INDEX),
    "rows of products": of_rows(table.MATRICES), "rows of einsum": of_rows(table.EINSUMS),
    "rows of layers": of_rows(table.LAYERS + table.NORMS), "rows of losses": of_rows(table.LOSSES),
    "modules": of_rows(module_table.LAYERS), "modules of losses": of_rows(module_table.LOSSES),
}
