"""Steps that several experiments share."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import functional as F
from ...autodiff.node import Array
from ...autodiff.tape import grad
from ...capture import capture
from ...nn import Linear, Module
from ...optim import Optimizer
from ...tensor import Tensor


def descend(model: Module, optimizer: Optimizer, loss: Callable[..., Tensor], x: Array, y: Array, steps: int,
            look: Callable[[int], object] = lambda step: None) -> Array:
    """Train on all of x at every step. Returns the losses before each step, (steps,); of a population, (steps, members).

    `look(step)` is called before each step and after the last.
    """
    @capture
    def step(x: Array, y: Array) -> Tensor:
        optimizer.zero_grad()
        found = loss(model(x), y) if model.members is None else F.per_member(loss, model(x), y)
        found.sum().backward()
        optimizer.step()
        return found

    losses = []
    for i in range(steps):
        look(i)
        losses.append(step(x, y).data.copy())
    look(steps)
    return np.array(losses)


def descend_and_watch(model: Module, optimizer: Optimizer, loss: Callable[..., Tensor], x: Array, y: Array, steps: int) -> Array:
    """`descend`; the largest z over x of each unit of the first layer, before each step and after the last.

    Shape (steps + 1, units); of a population, (steps + 1, members, units).
    """
    first: Any = next(module for module in model.modules() if isinstance(module, Linear))
    found = np.empty((steps + 1, *first.bias.data.shape))

    def look(step: int) -> None:
        found[step] = (x @ first.weight.data.swapaxes(-1, -2) + first.bias.data[..., None, :]).max(axis=-2)

    descend(model, optimizer, loss, x, y, steps, look)
    return found


def first_positive(z: Array) -> Array:
    """Along the first axis, the first step at which z is positive; inf for never."""
    return np.where((z > 0).any(axis=0), (z > 0).argmax(axis=0), np.inf)


def accuracy(model: Module, x: Array, y: Array) -> Array:
    """The share of the samples x whose largest output is that of their class y; of a population, one for each member."""
    found: Array = (model(x).data.argmax(axis=-1) == y).mean(axis=-1)
    return found


def four_errors(share: float, n: int) -> float:
    """Four standard errors of a share that is measured on n independent draws."""
    return 4 * float(np.sqrt(share * (1 - share) / n))


def normal_mean(f: Callable[[Array], Array], deviation: float) -> float:
    """E f(z) for z ~ N(0, deviation^2), by a sum over a fine grid."""
    z = np.linspace(-9, 9, 6001)
    chance = np.exp(-z ** 2 / 2)
    return float(chance @ f(deviation * z) / chance.sum())


def slope(f: Callable[[Tensor], Tensor], x: Array) -> Array:
    """The derivative of an elementwise function at x, by autodiff."""
    leaf = Tensor(x, requires_grad=True)
    found: Array = grad(f(leaf), leaf, np.ones_like(x))[0].data
    return found
