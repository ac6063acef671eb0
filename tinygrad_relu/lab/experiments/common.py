"""What experiments are made of: their record, the way they train, formulas, and the look of their figures."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import functional as F
from ...autodiff.node import Array as Array
from ...autodiff.tape import grad as grad
from ...capture import capture
from ...data import Dataset
from ...nn import Linear, Module
from ...optim import SGD, Optimizer
from ...parameters import Parameter
from ...tensor import Tensor as Tensor
from ..drawing import ALIVE as ALIVE, BLUE as BLUE, COLUMN as COLUMN, DASHES as DASHES, DEAD as DEAD, FAINT as FAINT, INK as INK
from ..drawing import LIGHT as LIGHT, RETURN as RETURN, label as label, say as say
from .record import Claim as Claim, Experiment as Experiment, Finding as Finding, Series as Series
from .record import at_least as at_least, at_most as at_most

Figure = Any            # of matplotlib, which may be missing
Options = dict[str, Any]        # settings by name


def stepper(model: Module, optimizer: Optimizer, loss: Callable[..., Tensor]) -> Callable[[Array, Array], Tensor]:
    """A captured step of training, which returns the loss before it; of a population, that of each member."""
    @capture
    def step(x: Array, y: Array) -> Tensor:
        optimizer.zero_grad()
        found = loss(model(x), y) if model.members is None else F.per_member(loss, model(x), y)
        found.sum().backward()
        optimizer.step()
        return found

    return step


def descend(model: Module, optimizer: Optimizer, loss: Callable[..., Tensor], x: Array, y: Array, steps: int,
            look: Callable[[int], object] = lambda step: None) -> Array:
    """Train on all of x at every step. Returns the losses before each step, (steps,); of a population, (steps, members).

    `look(step)` is called before each step and after the last.
    """
    step, losses = stepper(model, optimizer, loss), []
    for i in range(steps):
        look(i)
        losses.append(step(x, y).data.copy())
    look(steps)
    return np.array(losses)


def learn(model: Module, samples: Dataset, steps: int, look: Callable[[int], object] = lambda step: None,
          **settings: Any) -> Array:
    """`descend` on the cross-entropy of a data set by SGD with these settings: `lr`, `momentum`, ..."""
    return descend(model, SGD(model.parameters(), **settings), F.cross_entropy, samples.x, samples.y, steps, look)


def watch(model: Module, optimizer: Optimizer, samples: Dataset, steps: int) -> Array:
    """`descend` on the cross-entropy; the largest z of each unit of the first layer, before each step and after the last.

    Shape (steps + 1, units); of a population, (steps + 1, members, units).
    """
    first: Any = next(module for module in model.modules() if isinstance(module, Linear))
    found = np.empty((steps + 1, *first.bias.data.shape))

    def look(step: int) -> None:
        found[step] = (samples.x @ first.weight.data.swapaxes(-1, -2) + first.bias.data[..., None, :]).max(axis=-2)

    descend(model, optimizer, F.cross_entropy, samples.x, samples.y, steps, look)
    return found


def path_of(theta: Parameter, optimizer: Optimizer, steps: int, gradient: Callable[[int, Array], Array]) -> Array:
    """A parameter before each step and after the last, (steps + 1, *shape), if its gradient is ``gradient(step, its data)``."""
    path = [theta.data.copy()]
    for step in range(steps):
        theta.grad = gradient(step, theta.data)
        optimizer.step()
        path.append(theta.data.copy())
    return np.array(path)


def first_positive(z: Array) -> Array:
    """Along the first axis, the first step at which z is positive; inf for never."""
    return np.where((z > 0).any(axis=0), (z > 0).argmax(axis=0), np.inf)


def accuracy(model: Module, samples: Dataset) -> Array:
    """The share of the samples whose largest output is that of their class; of a population, one for each member."""
    return (model(samples.x).data.argmax(axis=-1) == samples.y).mean(axis=-1)


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
    return grad(f(leaf), leaf, np.ones_like(x))[0].data
