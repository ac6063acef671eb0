"""How an operation of a random graph is drawn: a `Hand` chooses operands and settings, and both twins apply the operation.

Some kinds take tensors as they are (`unary`, `binary`, `named`). Operations that need certain shapes, as the rows of the tables
do, reshape their operands first (`fitted`).
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any

import numpy as np
from graphs_twin import Graph, Made
from table import Row

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn

Function = Callable[..., Any]
Pair = tuple[Function, Function]        # of tensors, and the same of arrays
MANY = 40               # arrays with more entries are not enlarged any further


class Hand:
    """The source of random choices for a draw. ``choose(options, what)`` picks one of the options."""

    def __init__(self, graph: Graph, choose: Callable[[Sequence[Any], str], Any]) -> None:
        self.values, self.choose = graph.values, choose

    def operand(self, fits: Callable[[np.ndarray], Any] = lambda x: True) -> int:
        """The index of a tensor of the graph. The newest come first, because Hypothesis prefers those, and graphs get deep."""
        return self.choose([i for i in reversed(range(len(self.values))) if fits(self.values[i])], "operand")


Draw = Callable[[Hand], Made]
AS_IT_IS: Pair = (lambda x: x), (lambda x: x)
MODULES = {name: cls for name, cls in nn.activations.MODULES.items() if issubclass(cls, nn.Activation)}


def within(low: float, high: float) -> Pair:
    """Map all numbers smoothly into these bounds, for functions that are not defined elsewhere or grow too fast."""
    middle, width = (high + low) / 2, (high - low) / 2
    return (lambda x: middle + width * tg.sin(x)), (lambda x: middle + width * np.sin(x))


def unary(ours: Function, twin: Function | None = None, fits: Callable[[np.ndarray], Any] = lambda x: True) -> Draw:
    """A function of one operand. Without a twin, the function is written the same way for tensors and arrays."""
    return lambda hand: Made(ours, twin or ours, (hand.operand(fits),))


def binary(ours: Function, twin: Function | None = None) -> Draw:
    """A function of two operands whose shapes broadcast."""
    def draw(hand: Hand) -> Made:
        i = hand.operand(few)
        return Made(ours, twin or ours, (i, hand.operand(lambda x: few(x) and meet(x.shape, hand.values[i].shape))))
    return draw


def few(x: np.ndarray) -> bool:
    return x.size <= MANY


def meet(*shapes: tuple[int, ...]) -> bool:
    """Whether shapes broadcast."""
    try:
        return np.broadcast_shapes(*shapes) is not None
    except ValueError:
        return False


def named(name: str, twin: Function, settings: Callable[[np.ndarray], Iterable[tuple[Any, ...]]] = lambda x: [()],
          fits: Callable[[np.ndarray], Any] = lambda x: True, domain: Pair = AS_IT_IS) -> dict[str, Draw]:
    """A function, method or module by its name, of one operand and of settings that may depend on the operand."""
    def draw_of(call: Function) -> Draw:
        def draw(hand: Hand) -> Made:
            i = hand.operand(fits)
            p = hand.choose(list(settings(hand.values[i])), "settings")
            return Made(lambda x: call(domain[0](x), *p), lambda x: twin(domain[1](x), *p), (i,))
        return draw

    found: dict[str, Draw] = {}
    if hasattr(F, name):
        found[name] = draw_of(lambda x, *p: getattr(F, name)(x, *p))
    if hasattr(tg.Tensor, name):
        found[f"x.{name}()"] = draw_of(lambda x, *p: getattr(x, name)(*p))
    if name in MODULES:
        found[MODULES[name].__name__] = draw_of(lambda x, *p: MODULES[name](*p)(x))
    return found


def fitted(ours: Function, twin: Function, shapes: Sequence[Any]) -> Draw:
    """A function of operands that are brought into these shapes, and mapped into -2 to 2 if they are larger. (An input for which
    the table has a draw of its own is mapped into 0.5 to 1.)"""
    sizes = [np.shape(shape(np.random.default_rng(0))) if callable(shape) else shape for shape in shapes]

    def draw(hand: Hand) -> Made:
        inputs = tuple(hand.operand() for _ in sizes)
        fits = [fit(hand.values[i], size, callable(shape)) for i, size, shape in zip(inputs, sizes, shapes)]
        return Made(lambda *x: ours(*(f(v) for (f, _), v in zip(fits, x))), lambda *x: twin(*(f(v) for (_, f), v in zip(fits, x))),
                    inputs)
    return draw


def fit(x: np.ndarray, shape: tuple[int, ...], special: bool) -> Pair:
    """The operand in another shape: its numbers are repeated as by np.resize."""
    ours, twin = within(0.5, 1) if special else within(-2, 2) if np.max(abs(x)) > 3 else AS_IT_IS
    if x.shape == shape:
        return ours, twin
    places = np.arange(prod(shape)) % x.size
    return lambda x: ours(x).flatten()[places].reshape(shape), lambda x: np.resize(twin(x), shape)


def of_rows(rows: Iterable[Row]) -> dict[str, Draw]:
    return {row.name: fitted(row.f, row.twin, row.inputs) for row in rows}
