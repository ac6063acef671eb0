"""Steps that several experiments share."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ... import functional as F
from ...autodiff.node import Array
from ...capture import capture
from ...nn import Module
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
