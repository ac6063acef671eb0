"""The rehearsal: the optimizer runs ahead of the training on copies of the dead units. Its result is proved, in four parts.

1. The gradient of a unit that is dead on every sample is exactly zero, for every batch and every loss of the outputs: its
   derivative selects 0 and does not multiply by it, and a sum of zeros is 0 in any order.
2. An elementwise optimizer computes each new weight only from the old one, its gradient, its buffers and the settings. A `twin`
   of the optimizer, with gradients of zero, does the same arithmetic on the same numbers. So the copies are the parameters of the
   coming training, bit for bit (except the sign of a zero), in float32 as in float64, with any rate, decay, buffer or schedule.
3. Only z = w.x + b is summed by the training in an unknown order: it depends on the BLAS and on the batch. But any sum of n
   products lies within gamma_n (|w|.|x| + |b|) of the true one, gamma_n = n u / (1 - n u), u the unit roundoff (Higham 2002,
   Accuracy and stability of numerical algorithms, section 3.1). So at every step each sample is *surely dead*, *surely alive*,
   or within rounding of the edge.
4. Let a be the first step at which some sample is not surely dead, and b the first at which some sample is surely alive. Before
   a the unit is dead, so 1 and 2 hold up to a. If it has not returned before b, they hold up to b, where it is alive. So the
   first return is at one of the steps a to b. If a = b, the step is proved.

The inputs of the first layer are the data. Those of a deeper layer move. But no gradient passes a layer that is wholly dead, a
*gate*: until the gate opens, 1 and 2 hold for all layers up to it, and the bounds of 3 are carried from layer to layer.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..autodiff.node import Array, no_grad
from ..kernels.formulas.record import Elementwise, flat
from ..nn import Module, Parameter
from ..ops.linalg import product
from ..optim import Optimizer
from ..tensor import Tensor
from .layers import HiddenLayer, flat_edges
from .units import BATCH

SLACK = 1.01        # covers the rounding of the bounds themselves


class Ball(NamedTuple):
    """Numbers that the training computes, in whatever order: all within `radius` of `centre` (float64, (samples, units))."""

    centre: Array
    radius: Array


@dataclass
class Fate:
    """The first steps at which a unit is not surely dead (a), alive in float64, and surely alive (b); None: not yet."""

    a: int | None = None
    step: int | None = None
    b: int | None = None
    sample: int | None = None       # the one with the largest z at `step`


def gamma(n: int, u: float) -> float:
    """n u / (1 - n u): bounds the error of a sum of n products, relative to their sizes; inf if too large for `SLACK`."""
    return n * u / (1 - n * u) if n * u < 0.005 else np.inf


def affine(inputs: Ball, values: Array, numbers: Any) -> Ball:
    """``inputs @ weight.T + bias`` as any training may compute it, whose dtype has these `numbers` (np.finfo). The last column of
    `values` is the bias.

    Of the n terms, one is the bias, and 3 cover the rounding of this function. Below the normal numbers a product may be wrong by
    the smallest subnormal, too. Where each product has a factor 0, the sum is exact.
    """
    weight, bias, n = np.ascontiguousarray(values[:, :-1]), values[:, -1], values.shape[1] + 3
    g = gamma(n, float(numbers.eps) / 2) + gamma(n, 2.0**-53)
    sizes = g * (_least(inputs.centre, 1e-15) + inputs.radius) + inputs.radius
    centre = product(inputs.centre, weight, transpose_b=True) + bias
    radius = SLACK * (product(sizes, _least(weight, 1e-290), transpose_b=True) + g * np.abs(bias))
    radius[radius > g * float(numbers.max) / 4] = np.inf            # some order of the sum may overflow
    return Ball(centre, np.where(radius > 0, radius + _ghosts(n, numbers), 0.0))


def _ghosts(n: int, numbers: Any) -> float:
    """A bound on the underflow of n products, here and in the training."""
    return 2 * n * float(numbers.smallest_subnormal)


def _least(array: Array, least: float) -> Array:
    """Absolute values; those that are not 0 are raised to at least `least`, so that their products do not underflow."""
    size = np.abs(array)
    return np.where(size > 0, np.maximum(size, least), 0.0)


def steepest(activation: Module | None) -> float | None:
    """The largest abs(slope) of an activation of straight pieces without a jump (relu, leaky_relu, hardtanh); None of others."""
    record: Elementwise[...] | None = getattr(activation, "record", None)
    if record is None or record.f_dxx is not flat:
        return None
    p, one = getattr(activation, "p", ()), np.float64(1)
    kinks = [float(x) for x, _ in record.kinks(*p)]
    if any(abs(record.f(np.float64(k - 1e-9), *p) - record.f(np.float64(k + 1e-9), *p)) > 1e-6 for k in kinks):
        return None
    ends = sorted([min(kinks, default=0.0) - 1, *kinks, max(kinks, default=0.0) + 1])
    middles = [np.float64((left + right) / 2) for left, right in zip(ends, ends[1:])]
    return float(max(abs(record.f_dx(one, x, record.f(x, *p), *p)) for x in middles))


class Ahead:
    """Copies of parameters, and a twin of their optimizer that moves them with gradients of zero. It leaves those alone that the
    optimizer does not move."""

    def __init__(self, parameters: Iterable[Parameter], optimizer: Optimizer) -> None:
        self.copies = {p: Parameter(p.data, kind=p.kind) for p in parameters}
        self.held = {p: copy for p, copy in self.copies.items() if p.requires_grad and optimizer.holds(p)}
        if self.held:
            self.twin = optimizer.twin(self.held)
        for copy in self.held.values():
            copy.grad = copy.home               # zeros

    def step(self) -> None:
        if self.held:
            self.twin.step()


class Link:
    """One layer of the chain: copies of its parameters, the fates of its watched units, and what the last full look saw."""

    def __init__(self, layer: HiddenLayer, watched: Array, units: Array, copies: Mapping[Parameter, Parameter]) -> None:
        self.layer, self.units = layer, units           # the units that are computed
        self.copies = {p: copies[p] for p in layer.parameters}
        self.fates = {int(j): Fate() for j in watched}
        self.waits = np.isin(np.arange(layer.units), watched)   # which units of the layer are watched and not surely alive yet
        self.low, self.high = flat_edges(layer.activation)
        self.steepest = steepest(layer.activation) or 0.0
        self.numbers = np.finfo(layer.dtype)
        self.roundoff = float(self.numbers.eps) / 2
        self.blur = self.roundoff * max((abs(edge) for edge in (self.low, self.high) if np.isfinite(edge)), default=0.0)
        self.now = self.values()        # at the last look

    @property
    def waiting(self) -> Array:
        """The watched units that are not surely alive yet."""
        return np.flatnonzero(self.waits)

    def values(self, before: Mapping[Parameter, Array] = {}) -> Array:
        """The weights, and in the last column the bias, of each unit, in float64: (units, inputs + 1); or those of `before`."""
        weight, *bias = (before.get(p, copy.array) for p, copy in self.copies.items())
        found = np.zeros((len(self.units), weight.shape[1] + 1))
        found[:, :-1] = weight[self.units]
        if bias:
            found[:, -1] = bias[0][self.units]
        return found

    def room(self, z: Ball) -> Array:
        """How far z is surely inside the flat region; negative: it may be outside."""
        radius = z.radius + self.blur
        return np.maximum(self.low - (z.centre + radius), (z.centre - radius) - self.high)

    def note(self, z: Ball, t: int, samples: Array) -> None:
        """Update the fates by z at step t on these samples."""
        radius, unsure = z.radius + self.blur, ~(self.room(z) >= 0).all(axis=0)
        if not unsure.any():
            return
        alive = (z.centre > self.low) & (z.centre < self.high)
        surely_alive: Any = ((z.centre - radius > self.low) & (z.centre + radius < self.high)).any(axis=0)
        for i in np.flatnonzero(unsure):
            fate = self.fates.get(int(self.units[i]))
            if fate is None or fate.b is not None:
                continue
            fate.a = t if fate.a is None else fate.a
            if fate.step is None and alive[:, i].any():
                fate.step, fate.sample = t, int(samples[np.where(alive[:, i], z.centre[:, i], -np.inf).argmax()])
            fate.b = t if surely_alive[i] else None
            self.waits[self.units[i]] = fate.b is None

    def outputs(self, z: Ball) -> Ball:
        """The activations: exact where z is surely in a flat region."""
        with no_grad():
            h = self.layer.activation.forward(Tensor(z.centre)).data    # type: ignore[union-attr]    # no Maxout: `steepest`
        radius = self.steepest * z.radius + 4 * self.roundoff * np.abs(h)
        return Ball(h, np.where(self.room(z) >= 0, 0.0, radius))

    def begin(self) -> None:
        """Begin a full look, which `add` continues: remember the parameters."""
        self.then = self.now
        size: Any = np.einsum("ij,ij->i", self.then, self.then)
        self.size = np.where(size > 0, size, 1.0)
        self.rooms = np.empty((0, len(self.units)))
        self.least: Any = np.inf
        self.span: Any = 0.0
        self.reach: Any = 0.0

    def add(self, inputs: Ball, z: Ball) -> None:
        """Remember the room of each z, and its minimum, and how large z and the inputs are."""
        room = self.room(z)
        self.rooms = np.vstack([self.rooms, room])
        self.least = np.minimum(self.least, room.min(axis=0))
        self.span = np.maximum(self.span, (np.abs(z.centre) + z.radius).max(axis=0))
        self.reach = np.maximum(self.reach, np.append((np.abs(inputs.centre) + inputs.radius).max(axis=0), 1.0))

    def moved(self, before: Any) -> tuple[Array, Array]:
        """(c, rest): since the full look each z has become c z, up to an error of `rest`, if the inputs have moved by at most
        `before`.

        With empty buffers, decay multiplies weight and bias by one factor c, up to rounding. If an edge is not at 0, c is 1.
        """
        now, then, c = self.now, self.then, np.ones(len(self.units))
        if (self.low, self.high) == (0, np.inf):
            c = np.maximum(np.einsum("ij,ij->i", now, then) / self.size, 0.0)
        sizes = np.abs(now)
        rounding = np.where(c == 1, 0.0, 2.0**-51 * (sizes @ self.reach))
        rest = SLACK * (np.abs(now - c[:, None] * then) @ self.reach + rounding + sizes[:, :-1] @ before)
        return c, np.where(rest > 0, rest + _ghosts(now.shape[1] + 3, self.numbers), 0.0)

    def stays(self, path: Array) -> dict[int, bool]:
        """Whether each unit stays dead if, after a full look, its parameters move by at most `path`, (units, inputs + 1)."""
        ahead = SLACK * (path + self.roundoff * np.abs(self.values())) @ self.reach
        return dict(zip(self.units.tolist(), (self.least >= ahead).tolist()))


class Rehearsal(Ahead):
    """The coming training of a chain of layers whose gradients are zero, from the data on; if there are several, the last is the
    gate. Of each layer, `watched` are the dead units, whose fates are in `fates`."""

    def __init__(self, layers: Sequence[HiddenLayer], watched: Sequence[Array], x: Array, optimizer: Optimizer) -> None:
        super().__init__([p for layer in layers for p in layer.parameters], optimizer)
        self.links = [Link(layer, mine, np.arange(layer.units) if len(layers) > 1 else mine, self.copies)
                      for layer, mine in zip(layers, watched)]
        self.fates, self.chain = [link.fates for link in self.links], self.links
        self.x, self.t, self.still = x, 0, not self.held
        self.look(fully=True)

    @property
    def opens(self) -> Fate:
        """The first of the fates of the last layer."""
        def first(steps: Iterable[int | None]) -> int | None:
            return min((step for step in steps if step is not None), default=None)

        fates = self.fates[-1].values()
        return Fate(a=first(fate.a for fate in fates), b=first(fate.b for fate in fates))

    def run(self, horizon: int, rates: Iterator[list[float]] | None = None) -> None:
        """Step by step, until the horizon, or until every fate is known, or nothing will ever move again."""
        while self.t < horizon and not self.still and any(link.waits.any() for link in self.chain):
            if rates is not None:
                for group, rate in zip(self.twin.param_groups, next(rates)):
                    group["lr"] = rate
            self.before = {p: copy.array.copy() for p, copy in self.held.items()}
            self.step()
            self.t += 1
            same = all(np.array_equal(copy.array, self.before[p]) for p, copy in self.held.items())
            self.still = rates is None and same and not self.twin.has_inertia()
            self.look()

    def look(self, fully: bool = False) -> None:
        """Compute z on the samples on which some z may have reached an edge since the full look; on all if these are many."""
        near = np.full(len(self.x), fully)
        shift: Any = np.zeros(self.x.shape[1])
        for link in self.chain:
            link.now = link.values()
        for link in self.chain if not fully else []:
            c, rest = link.moved(shift)
            dead = c * link.least >= rest                   # surely, on every sample
            unsure = np.flatnonzero(~dead)
            unsure = unsure[link.waits[link.units[unsure]]]
            if len(unsure):
                near |= ~(c[unsure] * link.rooms[:, unsure] >= rest[unsure]).all(axis=1)
            shift = np.where(dead, 0.0, link.steepest * (np.abs(c - 1) * link.span + rest))
        full = near.mean() >= 0.25
        if full:
            if len(self.chain) == 1:
                (link,) = self.chain
                link.units = link.waiting
                link.now = link.values()
            for link in self.chain:
                link.begin()
        samples = np.arange(len(self.x)) if full else np.flatnonzero(near)
        for part in (samples[i:i + BATCH] for i in range(0, len(samples), BATCH)):
            inputs = Ball(self.x[part].astype(np.float64), np.zeros((len(part), self.x.shape[1])))
            for link in self.chain:
                z = affine(inputs, link.now, link.numbers)
                link.note(z, self.t, part)
                if full:
                    link.add(inputs, z)
                if link is not self.chain[-1]:
                    inputs = link.outputs(z)
        if len(self.chain) > 1 and self.chain[-1].waits.sum() < len(self.fates[-1]):
            self.chain = self.links[:1]             # the gate is open: only the dead units of the first layer are still rehearsed


def rehearsed_orbit(layer: HiddenLayer, unit: int, inputs: Array, optimizer: Optimizer, steps: int) -> list[float]:
    """z of one unit on one sample, now and after each of the next steps, if the unit gets no gradient and its `inputs`
    (features,) do not change."""
    ahead, found = Ahead(layer.parameters, optimizer), list[float]()
    while len(found) <= steps:
        if found:
            ahead.step()
        weight, *bias = (copy.array[unit] for copy in ahead.copies.values())
        found.append(float(weight @ inputs) + sum(map(float, bias)))
    return found
