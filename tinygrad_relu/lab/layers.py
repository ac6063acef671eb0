"""A hidden layer, what it does on a batch of samples, and the states of its units on all samples."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from .. import functional as F
from ..autodiff.node import Array, Node, no_grad, recording
from ..autodiff.tape import grad
from ..kernels.formulas.record import Elementwise
from ..kernels.loops.reduce import extremes_given_slopes, unit_extremes
from ..kernels.machine.door import launch
from ..nn import Module, Parameter
from ..ops.activation import activation_op, flat_sides
from ..tensor import Tensor
from .passes import Parts, apart, gate_of


class State(IntEnum):
    """The state of a unit on a whole data set."""

    ALIVE = 0
    DEAD = 1            # slope exactly zero on every sample, on the low side (or low on some samples and high on the others)
    DEAD_HIGH = 2       # slope exactly zero on every sample, on the high side (hardtanh, relu6, hardsigmoid)
    SATURATED = 3       # all slopes below a threshold, but not all zero; or all zero, by underflow or by a step
    ALWAYS_ON = 4       # z > 0 and the same slope on every sample: an affine function of the data
    NEVER_WINS = 5      # a Maxout piece that is not the largest on any sample
    DIVERGED = 6        # a pre-activation is NaN or infinite
    CUT_OFF = 7         # not dead, but on each sample on which its slope is not zero, all units of some later layer are flat
    AFFINE = 8          # the same slope, not zero, on every sample, but not all z > 0: a leaky unit below 0, or z is constant

    @property
    def label(self) -> str:
        return self.name.lower().replace("_", " ").replace("dead high", "dead on the high side")

    @property
    def gone(self) -> bool:
        """Whether the unit's own slopes let no gradient through to its weights and bias. (The learned slope of a dead PReLU may
        get a gradient. So may the weights before a layer norm, through the mean and variance that the units share.)"""
        return self in (State.DEAD, State.DEAD_HIGH, State.NEVER_WINS)


GONE = np.array([state.gone for state in State])        # indexed by an array of states


class Place(NamedTuple):
    """Where a layer acts in a forward pass: the numbers of nodes, and the gate of a recurrent layer."""

    out: int
    z: int | None           # None: the first input of `out`
    affine: int | None      # the affine map directly before it
    gate: str


class Outgoing(NamedTuple):
    """The one layer that takes the outputs of a hidden layer: column j of its weight has the outgoing weights of unit j."""

    weight: Parameter
    bias: Parameter | None


@dataclass(frozen=True, eq=False)
class HiddenLayer:
    """One hidden layer of a model: an activation, mostly ``activation(norm(affine(x)))``."""

    name: str                       # of its weights in the state dict, without ".weight"; of a gate, with the name of the gate
    activation: Module | None       # None for Maxout; made for the occasion if the model calls a function
    owned: bool
    units: int
    pieces: int
    dtype: Any
    parts: Parts                    # the parameters of which each unit has a part: the axis of the units, and which entries
    weight: Parameter | None        # if it is the activation of one affine map, x @ weight.T + bias, perhaps with a norm between
    bias: Parameter | None
    norm: Module | None
    plain: bool                     # whether there is such a map, and no norm
    fixed: bool                     # whether no parameter of the model acts on its inputs: they follow from the data alone
    follows: HiddenLayer | None     # the hidden layer whose output is its input, if nothing is in between
    gates: frozenset[str]           # the names of the layers of which every path to the output leads through this one
    outgoing: Outgoing | str        # where its outputs go, or in words why there is no one such layer
    unclaimed: str                  # why the theory claims nothing of its dead units; empty if it claims something
    places: tuple[Place, ...]

    @property
    def parameters(self) -> list[Parameter]:
        """Those of which each unit has a part: of a plain layer the weight, and the bias if there is one."""
        return list(self.parts)

    def part(self, p: Parameter, array: Array) -> Array:
        """The parts of the units of a parameter, or of its gradient, (units, numbers)."""
        axis, rows = self.parts[p]
        return np.moveaxis(array, axis, 0)[rows].reshape(self.units, -1)

    @property
    def is_recurrent(self) -> bool:
        return bool(self.places[0].gate)

    @property
    def activation_name(self) -> str:
        return "maxout" if self.activation is None else str(getattr(self.activation, "name", type(self.activation).__name__))

    def outputs(self, z: Tensor) -> Tensor:
        """The outputs of the layer, as in evaluation (RReLU: with the mean slope); nothing is recorded."""
        with self._apart(), no_grad():
            return self._applied(z)

    def slopes(self, z: Tensor, out: Tensor) -> Array:
        """The slopes dh/dz, per sample and unit, where ``out = outputs(z)``."""
        record: Elementwise[...] | None = getattr(self.activation, "record", None)
        if record is not None:
            p, pull = getattr(self.activation, "p", ()), activation_op(record).pull_of(0)
            return np.asarray(pull(np.ones(z.shape, z.dtype), out.data, z.data, p=p))
        z = Tensor.leaf(z.data, requires_grad=True)
        with self._apart():
            again = self._applied(z)
            return np.asarray(grad(again, z, np.ones(again.shape, again.dtype))[0].data)

    def _apart(self) -> AbstractContextManager[object, bool | None]:
        return recording() if self.activation is None else apart(self.activation)

    def _applied(self, z: Tensor) -> Tensor:
        return F.maxout(z, self.pieces) if self.activation is None else self.activation(z)

    def read(self, nodes: Sequence[Node], samples: int) -> Look:
        """What the layer does in a pass with these nodes; slopes are computed when they are asked for."""
        inputs, z, out = list[Array](), list[Array](), list[Array]()
        for place in self.places:
            node = nodes[place.out]
            if place.gate:               # (steps, rows, size), in the order of time
                at = np.ascontiguousarray(gate_of(node, place.gate).transpose(1, 0, 2))
                z.append(at)
                out.append(self.outputs(Tensor.leaf(at.reshape(-1, self.units))).data.reshape(at.shape))
            else:
                z.append(node.values[0] if place.z is None else nodes[place.z].array)
                out.append(node.array)
            if place.affine is not None:
                inputs.append(nodes[place.affine].values[0])
        aligned = all(len(part) == samples for part in z)

        def rows(several: list[Array], size: int) -> Array:         # of several places, those of each sample side by side
            if len(several) < 2:
                return several[0].reshape(-1, size) if several else np.empty((0, 0), self.dtype)
            if aligned:
                return np.concatenate([part.reshape(samples, -1, size) for part in several], axis=1).reshape(-1, size)
            return np.concatenate([part.reshape(-1, size) for part in several])

        flat = rows(z, self.units)
        return Look(self, rows(inputs, inputs[0].shape[-1] if inputs else 0), Tensor.leaf(flat),
                    Tensor.leaf(rows(out, self.units // self.pieces)), len(flat) // samples if aligned else 0)


@dataclass(eq=False)
class Look:
    """One batch at one hidden layer: its inputs; and per unit z, h and the slope dh/dz, of shape (rows, units).

    There is a row for each sample; if the layer acts on several positions of a sample, or at several times, `positions` rows, one
    after the other. `positions` is 0 if the samples are not along the first axis.
    """

    layer: HiddenLayer
    inputs: Array
    before: Tensor
    out: Tensor
    positions: int

    @property
    def z(self) -> Array:
        return self.before.array

    @cached_property
    def slope(self) -> Array:
        return self.layer.slopes(self.before, self.out)

    @property
    def h(self) -> Array:
        """The outputs; of a Maxout piece, where it wins."""
        return self.out.array if self.layer.activation is not None else np.where(self.slope > 0, self.z, 0)


def flat_edges(activation: Module | None) -> tuple[float, float]:
    """Where an activation is flat, its slope exactly zero: for z <= low and for z >= high, with -inf and inf if nowhere.

    A PReLU is flat on the low side if one of its slopes is 0: that unit is a ReLU.

    >>> flat_edges(nn.ReLU()), flat_edges(nn.ReLU6()), flat_edges(nn.Tanh()), flat_edges(nn.ReLU(at_zero=0.5))
    ((0.0, inf), (0.0, 6.0), (-inf, inf), (-5e-324, inf))
    """
    record: Elementwise[...] | None = getattr(activation, "record", None)
    if record is None:
        slopes = [p.data for p in activation.parameters() if p.kind == "slope"] if activation is not None else []
        return -np.inf if all(slope.all() for slope in slopes) else 0.0, np.inf
    return flat_sides(record, getattr(activation, "p", ()))


class Extremes:
    """The extremes of z and slope of the units of one layer, batch by batch, and the `states` that follow from them."""

    def __init__(self, layer: HiddenLayer) -> None:
        self.layer = layer
        self.numbers: Array         # (6, units): all that the states follow from (see `unit_extremes`)
        self.look: Look             # the batch that was added last

    def add(self, look: Look, path: Array) -> Array:
        """Note a batch. `path` says from which samples a path leads from the outputs of this layer to those of the model, and the
        result from which one leads through this layer: a layer is closed on a sample if all its slopes there are exactly zero.
        (Weights of zero do not close a path.)
        """
        numbers, leads = np.empty((6, self.layer.units), self.layer.dtype), np.empty(len(look.z), bool)
        rows = path if len(path) == len(leads) else np.repeat(path, len(leads) // len(path))
        # If the activation has a record, its slopes follow from z and the outputs, and need no array.
        record: Elementwise[...] | None = getattr(self.layer.activation, "record", None)
        known = record is None or "slope" in vars(look)
        first: Any = (extremes_given_slopes, look.z, look.slope, ()) if known else (
            unit_extremes(record), look.z, look.out.array, getattr(self.layer.activation, "p", ()))
        launch(*first, rows, numbers, leads)
        if hasattr(self, "numbers"):            # of earlier batches
            for rows_of, extreme in ((slice(0, None, 2), np.maximum), (slice(1, None, 2), np.minimum)):
                extreme(numbers[rows_of], self.numbers[rows_of], out=numbers[rows_of])
        self.numbers, self.look = numbers, look
        return np.asarray(leads.reshape(len(path), -1).any(axis=1))

    def states(self, saturation: float = 1e-3) -> Array:
        """The state of every unit, as integers of `State`."""
        low, high = flat_edges(self.layer.activation)
        zmax, zmin, slope_max, slope_min, bad, cut_off = self.numbers
        all_flat = slope_max == 0
        if self.layer.activation is None:
            found = np.where(all_flat, State.NEVER_WINS, np.where(slope_min > 0, State.ALWAYS_ON, State.ALIVE))
        else:
            same = (slope_min == slope_max) & (slope_max >= saturation)
            found = np.where(slope_max < saturation, State.SATURATED, State.ALIVE)
            always_on = same & (zmin > max(low, 0.0))
            found[self._same_sign(same & ~always_on)] = State.AFFINE
            found[always_on] = State.ALWAYS_ON
        found[(cut_off > 0) & ~all_flat] = State.CUT_OFF
        if self.layer.activation is not None:
            found[all_flat & (zmin >= high)] = State.DEAD_HIGH
            found[all_flat & ((zmax <= low) | ((zmin <= low) & (zmax >= high)))] = State.DEAD
        found[bad > 0] = State.DIVERGED
        return found.astype(np.uint8)

    def _same_sign(self, candidates: Array) -> Array:
        """The candidates whose slopes at the smallest and the largest z are equal: those of abs(x) are the same in size only."""
        if not candidates.any():
            return candidates
        both = self.numbers[[1, 0]]
        z = Tensor(both.reshape(-1, both.shape[-1]))
        slopes = self.layer.slopes(z, self.layer.outputs(z)).reshape(both.shape)
        return np.asarray(candidates & (slopes[0] == slopes[1]))


def noted(batches: Iterable[Sequence[Look]], layers: Sequence[Extremes]) -> Iterator[Sequence[Look]]:
    """The batches, each of which has been added to the extremes of the layers, with its paths."""
    for looks in batches:
        open_ones: list[tuple[HiddenLayer, Array]] = []     # later layers, and the samples from which a path leads through each
        for extremes, look in zip(reversed(layers), reversed(looks)):
            path: Array = np.ones(len(look.z) // (look.positions or 1), bool)
            for later, leads in open_ones if look.positions else ():
                if look.layer.name in later.gates:
                    path &= leads
            leads = extremes.add(look, path)
            if look.positions:
                open_ones.append((look.layer, leads))
        yield looks
