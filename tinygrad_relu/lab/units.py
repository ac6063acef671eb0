"""Where the units of a model are, and in which state a unit is.

A *unit* is one column of a hidden layer: an affine map and the activation behind it. In a Maxout layer the pieces are the
units: a piece that never wins gets no gradient, just like a dead ReLU.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from .. import functional as F
from ..autodiff.node import Array, no_grad, recording
from ..autodiff.tape import grad
from ..kernels.formulas.record import Activation
from ..kernels.loops.units import extremes_given_slopes, unit_extremes
from ..kernels.machine.door import launch
from ..nn import BatchNorm1d, Dropout, LayerNorm, Linear, Maxout, Module, PReLU, Sequential
from ..nn.summary import evaluating
from ..tensor import Tensor

NORMS = (BatchNorm1d, LayerNorm)


class State(IntEnum):
    """What a unit is on a whole data set."""

    ALIVE = 0
    DEAD = 1            # slope exactly zero on every sample, on the low side
    DEAD_HIGH = 2       # slope exactly zero on every sample, on the high side (hardtanh, relu6, hardsigmoid)
    SATURATED = 3       # some slope is not zero, but none is worth speaking of; or all are zero, on both sides
    ALWAYS_ON = 4       # z > 0 and the same slope on every sample: an affine function of the data
    NEVER_WINS = 5      # a Maxout piece that is not the largest on any sample
    DIVERGED = 6        # a pre-activation is NaN or infinite

    @property
    def label(self) -> str:
        return self.name.lower().replace("_", " ").replace("dead high", "dead on the high side")

    @property
    def gone(self) -> bool:
        """Whether the unit gets no gradient at all. (The slope of a PReLU is no part of it: a unit with the slope 0 is dead, and
        its slope can still learn.)"""
        return self in (State.DEAD, State.DEAD_HIGH, State.NEVER_WINS)


GONE = np.array([state.gone for state in State])        # indexed by an array of states


@dataclass(frozen=True)
class HiddenLayer:
    """One hidden layer of a model.

    Attributes
    ----------
    name : str
        Of its affine module in the model.
    affine : Linear or Maxout
    activation : Module or None
        None behind a Maxout.
    depth : int
        0 for the layer that sees the data themselves.
    norm : BatchNorm1d, LayerNorm or None
        What stands between the affine module and the activation.
    """

    name: str
    affine: Linear | Maxout
    activation: Module | None
    depth: int
    norm: Module | None = None

    @property
    def pieces(self) -> int:
        return self.affine.pieces if isinstance(self.affine, Maxout) else 1

    @property
    def units(self) -> int:
        """How many units (in a Maxout layer: pieces) there are."""
        return len(self.affine.weight.data)

    @property
    def activation_name(self) -> str:
        return "maxout" if self.activation is None else str(getattr(self.activation, "name", type(self.activation).__name__))

    def pre_activations(self, x: Any) -> Tensor:
        """z (samples, units): what the activation sees, normalised as in evaluation where there is a norm."""
        with no_grad():
            z = F.linear(x, self.affine.weight, self.affine.bias)
            if self.norm is None:
                return z
            with evaluating(self.norm):
                return self.norm(z)

    def responses(self, z: Tensor) -> tuple[Tensor, Array, Array]:
        """What the layer passes on; and, per unit, its activation h and its slope dh/dz (samples, units)."""
        z = Tensor.leaf(z.data, requires_grad=True)
        with recording():                               # a census may be taken under no_grad too
            if self.activation is None:
                out = F.maxout(z, self.pieces)
            else:
                with evaluating(self.activation):       # RReLU: the mean slope, no draws
                    out = self.activation(z)
            (slope,) = grad(out, z, np.ones(out.shape, out.dtype))
        h = out.data if self.activation is not None else np.where(slope.data > 0, z.data, 0)    # a piece: where it wins
        return out.detach(), h, slope.data


def hidden_layers(model: Module) -> list[HiddenLayer]:
    """The hidden layers of a Sequential model, first to last.

    A norm may stand before the activation, and dropout behind it, which is nothing in evaluation, as units are looked at.

    Raises
    ------
    TypeError
        If the model is not a Sequential of such layers (a `Residual`, or a norm behind a Maxout, is none).
    ValueError
        If it has no hidden layer.

    Examples
    --------
    >>> from tinygrad_relu import nn
    >>> [layer.name for layer in hidden_layers(nn.MLP([2, 3, 4, 1], rng=0))]
    ['0', '2']
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"the laboratory got {type(model).__name__}, expected a Sequential model (such as nn.MLP)")
    layers = list(model.named_children())
    found: list[HiddenLayer] = []
    while layers:
        name, affine = layers.pop(0)
        if not isinstance(affine, (Linear, Maxout)):
            raise TypeError(f"the laboratory found {type(affine).__name__} at layer {name}, expected Linear or Maxout there")
        if not layers and isinstance(affine, Linear):
            break                                               # the output layer
        norm = activation = None
        if isinstance(affine, Linear):
            norm = layers.pop(0)[1] if isinstance(layers[0][1], NORMS) else None
            activation = layers.pop(0)[1] if layers else None
            if activation is None or isinstance(activation, (Linear, Maxout, Sequential, Dropout, *NORMS)):
                other = "nothing" if activation is None else type(activation).__name__
                raise TypeError(f"the laboratory found {other} right behind layer {name}, expected an activation")
        found.append(HiddenLayer(name, affine, activation, len(found), norm))
        while layers and isinstance(layers[0][1], Dropout):
            layers.pop(0)
    if not found:
        raise ValueError("the laboratory found no hidden layer in this model, expected at least one")
    return found


def flat_edges(activation: Module | None) -> tuple[float, float]:
    """Where the flat pieces of an activation begin: (low, high), with -inf and inf where it has none.

    Read off the record: a piece beyond the outermost kink is flat if the slope there is exactly zero. A PReLU has such a piece
    as soon as one of its slopes is 0: that unit is a ReLU.

    >>> from tinygrad_relu import nn
    >>> flat_edges(nn.ReLU()), flat_edges(nn.ReLU6()), flat_edges(nn.Tanh())
    ((0.0, inf), (0.0, 6.0), (-inf, inf))
    """
    record: Activation | None = getattr(activation, "record", None)
    if record is None:
        return 0.0 if isinstance(activation, PReLU) and not activation.weight.data.all() else -np.inf, np.inf
    p = getattr(activation, "p", ())
    kinks = [x for x, _ in record.kinks(*p)]
    one = np.float64(1)

    def is_flat(x: float) -> bool:
        return float(record.f_dx(one, np.float64(x), record.f(np.float64(x), *p), *p)) == 0.0

    low = min(kinks) if kinks and is_flat(min(kinks) - 1) else -np.inf
    high = max(kinks) if kinks and is_flat(max(kinks) + 1) else np.inf
    return (low, high) if low < high else (-np.inf, np.inf)     # flat on both sides (step): there is no live side


class Extremes:
    """The extremes of the units of one layer, batch by batch; `states` is what they say."""

    def __init__(self, layer: HiddenLayer) -> None:
        self.layer = layer
        n, dtype = layer.units, layer.affine.weight.dtype
        self.zmax, self.slope_max = np.full(n, -np.inf, dtype), np.zeros(n, dtype)
        self.zmin, self.slope_min = np.full(n, np.inf, dtype), np.full(n, np.inf, dtype)
        self.bad = np.zeros(n)

    def add(self, z: Array, slope: Array) -> None:
        launch(extremes_given_slopes, z, slope, (), *self._arrays())

    def add_outputs(self, z: Tensor, out: Tensor) -> None:
        """`add`, where the activation has made `out` of `z` already: a record tells the slopes by itself."""
        record: Activation | None = getattr(self.layer.activation, "record", None)
        if record is None:
            self.add(z.data, self.layer.responses(z)[2])
        else:
            launch(unit_extremes(record), z.data, out.data, getattr(self.layer.activation, "p", ()), *self._arrays())

    def _arrays(self) -> tuple[Array, ...]:
        return self.zmax, self.zmin, self.slope_max, self.slope_min, self.bad

    def states(self, saturation: float = 1e-3) -> Array:
        """The state of every unit, as integers of `State`."""
        low, high = flat_edges(self.layer.activation)
        all_flat = self.slope_max == 0
        if self.layer.activation is None:
            found = np.where(all_flat, State.NEVER_WINS, np.where(self.slope_min > 0, State.ALWAYS_ON, State.ALIVE))
        else:
            always_on = (self.slope_min == self.slope_max) & (self.zmin > max(low, 0.0))
            found = np.where(self.slope_max < saturation, State.SATURATED, np.where(always_on, State.ALWAYS_ON, State.ALIVE))
            found[all_flat & (self.zmin >= high)] = State.DEAD_HIGH
            found[all_flat & (self.zmax <= low)] = State.DEAD
        found[self.bad > 0] = State.DIVERGED
        return found.astype(np.uint8)


def walk(model: Module, x: Array) -> Iterator[tuple[HiddenLayer, Array, Array, Array, Array]]:
    """Send one batch through the model, layer by layer: (layer, its inputs, z, h, slope) of each hidden layer."""
    inputs = x
    for layer in hidden_layers(model):
        z = layer.pre_activations(inputs)
        out, h, slope = layer.responses(z)
        yield layer, inputs, z.data, h, slope
        inputs = out.data
