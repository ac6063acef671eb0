"""The autopsy: which step killed a unit, and which part of that step.

Between the ends of two steps, the pre-activation z of a unit on one sample changes for five reasons, each through the unit's
weights or its bias::

    data        what changed outside of the step: the samples, running statistics, values that were assigned
    gradient    }
    inertia     }  the named terms of the optimizer's step, `Optimizer.terms`, of the unit's own layer
    decay       }
    upstream    the inputs of the layer moved, because earlier layers did: by their weights, or by their biases

The changes are made one after the other, in this order, on a copy of the model in float64, and z is computed after each. So the
shares sum to the whole change. In a plain layer the share of the gradient, for example, is ``term_w . h`` and ``term_b``, with
the inputs h before the step, and upstream is ``w' . (h' - h)``, with the weights after it.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..autodiff.node import Array
from ..checks import check_count, counted, said
from ..nn import Module, Parameter
from ..nn.module import Buffer
from ..optim import Optimizer, Terms
from ..text import Table
from .drawing import axes_of
from .layers import HiddenLayer
from .lethal import rooms, windows
from .readings import Reading, plain
from .units import BATCH, Units, module_of

CAUSES = ("gradient", "inertia", "decay", "upstream", "data")
COLOURS = ("#d1495b", "#b8860b", "#0072b2", "#009e73", "#767676")
DRAWN = 40          # deaths in a picture
Values = dict[Parameter | Buffer, Array]


class Share(NamedTuple):
    """A part of the change of z, through the weights and through the bias of a unit (or, upstream, of earlier layers)."""

    weight: float
    bias: float

    @property
    def total(self) -> float:
        return self.weight + self.bias


@dataclass(frozen=True)
class Death:
    """One death of one unit: it was alive on some sample at the end of step ``step - 1``, and on none at the end of `step`.

    - `step`: the number of optimizer steps made, with the one that killed it; the first is 1.
    - `unit`: in a Maxout layer: the piece. There z is its lead over the piece that wins on this sample after the step.
    - `sample`: the row of x on which it was farthest inside its living side.
    - `before`, `after`: z on this sample at the end of the step before, and at the end of this step.
    - `gradient`, `inertia`, `decay`, `upstream`, `data`: the shares, which sum to ``after - before``, but for `rest`.
    - `rest`: the rounding of the step, and what moved the unit's layer beside this optimizer.
    - `lr`: the learning rate of the step.
    - `window`: (lo, hi): the step kills the unit at any rate from lo to hi, if its inputs do not move: so it is exact in the
      first layer, and an estimate in deeper ones. If only the movement of the inputs killed it, the next window above `lr`, or
      (inf, inf) if there is none. NaN after a norm.
    - `member`: of a population, whose unit it is.
    """

    step: int
    layer: str
    unit: int
    sample: int
    before: float
    after: float
    gradient: Share
    inertia: Share
    decay: Share
    upstream: Share
    data: Share
    rest: float
    lr: float
    window: tuple[float, float]
    member: int | None = None

    @property
    def shares(self) -> dict[str, Share]:
        return {cause: getattr(self, cause) for cause in CAUSES}

    @property
    def cause(self) -> str:
        """The largest share of those that point in the direction of the change."""
        sign = 1.0 if self.after > self.before else -1.0
        return max(CAUSES, key=lambda cause: sign * self.shares[cause].total)


class Autopsy(Reading):
    """Watches a training run, and examines every unit that dies: call `step` in place of ``optimizer.step()``.

    `deaths` has a record for each death, in the order of the steps. Nothing else grows with the length of the run. Each step
    costs one more forward pass over `x`.

    - `model`: also a population (see `nn.population`), with its optimizer; then `units` are those of its first member.
    - `x`: the samples on which a unit counts as dead or alive: the whole training set.
    - `optimizer`: the one that trains the model.

    >>> model = nn.MLP([2, 8, 3], rng=0, dtype="float64")
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.standard_normal((50, 2)), rng.integers(0, 3, 50)
    >>> optimizer = optim.SGD(model.parameters(), lr=30.0, momentum=0.9)
    >>> autopsy = lab.Autopsy(model, x, optimizer)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     F.cross_entropy(model(x), y).backward()
    ...     autopsy.step()
    >>> [(death.unit, death.step, death.cause) for death in autopsy.deaths]
    [(3, 2, 'gradient'), (5, 2, 'gradient')]
    """

    def __init__(self, model: Module | Units, x: Any, optimizer: Optimizer, *, batch_size: int = BATCH) -> None:
        self.model, self.optimizer = module_of(model, "Autopsy"), optimizer
        self.members = self.model.members
        found = [Units.of(model, x)] if self.members is None else [Units(self.model.member(k), x) for k in range(self.members)]
        self.units, self.x = found[0], found[0].data(x)
        if not isinstance(optimizer, Optimizer) or not any(map(optimizer.holds, self.model.parameters())):
            raise TypeError(f"Autopsy: the optimizer is {said(optimizer)}, expected the one that trains this model")
        self.deaths: list[Death] = []
        self.steps, self.batch_size = 0, check_count(batch_size, "Autopsy: batch_size")
        self._networks = [_Network(units, self.x, self.batch_size, None if self.members is None else k)
                          for k, units in enumerate(found)]

    def step(self, x: Any = None, closure: Callable[[], Any] | None = None) -> Any:
        """``optimizer.step(closure)``, with a look at all units after it. `x`: samples that from now on take the place of the
        former ones, row by row."""
        former, now = self.x, self.x if x is None else self.units.data(x)
        if now.shape != former.shape:
            raise ValueError(f"Autopsy: the new x has shape {now.shape}, expected {former.shape}: row i takes the place of row i")
        loss = None if closure is None else closure()
        for network in self._networks:
            network.begin()
        for i, p in enumerate(self.model.parameters()):
            if p.grad is not None and self.optimizer.holds(p):
                terms, lr = self.optimizer.terms(p), self.optimizer.options_of(p)["lr"]
                for k, network in enumerate(self._networks):
                    own = (terms, lr) if self.members is None else (Terms(*(part[k] for part in terms)), float(lr[k]))
                    network.terms[network.parameters[i]] = own
        self.optimizer.step()
        self.steps, self.x = self.steps + 1, now
        for network in self._networks:
            self.deaths += network.end(self.steps, former, now, self.batch_size)
        return loss

    def of(self, unit: int, layer: int = 0, member: int | None = None) -> list[Death]:
        """The deaths of one unit; `layer` is counted from 0 among the hidden layers. Of a population: in one member or all."""
        wanted = self.units.layer(layer, "Autopsy").name, unit
        return [death for death in self.deaths if (death.layer, death.unit) == wanted and member in (None, death.member)]

    def to_dict(self) -> Any:
        return {"steps": self.steps, "samples": self.units.samples(self.x),
                "deaths": [{**plain(death), "cause": death.cause} for death in self.deaths]}

    def summary(self) -> Table:
        """One row per layer: how many of its deaths have which cause."""
        table = Table(f"deaths in {counted(self.steps, 'step')}, by their largest cause", ["layer", "units", "deaths", *CAUSES])
        for layer in self.units.layers:
            causes = [death.cause for death in self.deaths if death.layer == layer.name]
            counts = (causes.count(cause) or "-" for cause in CAUSES)
            table.add(layer.name, layer.units * len(self._networks), len(causes), *counts)
        return table

    def table(self, rows: int | None = 24) -> Table:
        """One row per death: z before and after, and the shares of the change (weights + bias); at most `rows` (None: all)."""
        member = [] if self.members is None else ["member"]
        headings = [*member, "step", "layer", "unit", "sample", "z before", "z after", *CAUSES, "rate", "kills from", "to"]
        return Table("autopsies: the change of z, by weights + bias", headings, [
            (*(death.member for _ in member), death.step, death.layer, death.unit, death.sample,
             f"{death.before:.4g}", f"{death.after:.4g}",
             *(f"{share.weight:.3g} {share.bias:+.3g}" if any(share) else "-" for share in death.shares.values()),
             f"{death.lr:.4g}", *(f"{rate:.4g}" if death.window[0] < np.inf else "-" for rate in death.window))
            for death in self.deaths], most=rows)

    def parts(self) -> list[str | Table]:
        return [self.summary(), self.table()] if self.deaths else [f"no unit died in {counted(self.steps, 'step')}"]

    def plot(self) -> Any:
        """A bar for each of the first deaths: the shares in % of the change of z; those against it are on the other side of 0."""
        shown = self.deaths[:DRAWN]
        happened = f"{counted(len(self.deaths), 'death')} in {counted(self.steps, 'step')}"
        names = [f"{death.layer}:{death.unit}, step {death.step}" for death in shown]
        height = 3.4 + 0.05 * max(map(len, names), default=16)
        figure, axes = axes_of(9, height, happened if shown == self.deaths else f"The first {DRAWN} of {happened}",
                               "layer:unit, and the step that killed it", "share of the change of z, %")
        places, ends = np.arange(len(shown)), np.zeros((2, len(shown)))
        for cause, colour in zip(CAUSES, COLOURS):
            parts = np.array([100 * death.shares[cause].total / abs(death.after - death.before) for death in shown])
            for end, size in zip(ends, (np.maximum(parts, 0), np.minimum(parts, 0))):
                axes.bar(places, size, bottom=end, color=colour, width=0.8)
                end += size
            axes.bar([0], [0], color=colour, label=cause)
        axes.axhline(0, color="black", linewidth=0.6)
        axes.set_xticks(places, names, fontsize=7, rotation=90)
        axes.set(ylim=np.clip([ends.min(initial=-100) * 1.05, ends.max(initial=0) + 10], -400, 300), xlim=(-1, len(shown)))
        figure.legend(loc="outside upper right", frameon=False, ncols=len(CAUSES), fontsize=8)
        return figure


class _Network:
    """One network, and a twin in float64 to examine its steps: `copies` has the twin's parameters and buffers. Of a step it keeps
    the values at the end of the step before (`last`), those at its beginning (`first`), and its terms and learning rates."""

    def __init__(self, units: Units, x: Array, batch_size: int, member: int | None) -> None:
        self.units, self.member, self.parameters = units, member, units.model.parameters()
        self.twin = units.twin("float64")
        held, copies = ([*model.parameters(), *model.buffers()] for model in (units.model, self.twin.model))
        self.copies: dict[Any, Any] = dict(zip(held, copies))
        self.terms: dict[Parameter, tuple[Terms, float]] = {}
        self.gone, self.last = units.gone(x, batch_size), self.values()

    def values(self) -> Values:
        return {held: held.data.copy() for held in self.copies}

    def begin(self) -> None:
        self.first = self.values()
        self.terms.clear()

    def end(self, step: int, former: Array, now: Array, batch_size: int) -> list[Death]:
        """The deaths of this step; the samples were `former` at the end of the step before."""
        gone, last, deaths = self.units.gone(now, batch_size), self.values(), list[Death]()
        dead = [np.flatnonzero(mine & ~before) for mine, before in zip(gone, self.gone)]
        if any(map(len, dead)):
            samples = self._samples(former, dead, batch_size)
            self._set(self.first)
            steps = {self.copies[p]: terms.step.astype(np.float64) for p, (terms, _) in self.terms.items()}
            lethal = windows(self.twin, steps, now, batch_size, dead, start=1.0)
            for layer, its_twin, units, rows, window in zip(self.units.layers, self.twin.layers, dead, samples, lethal):
                if len(units):
                    lr = max((self.terms[p][1] for p in layer.parameters if p in self.terms), default=np.nan)
                    positions, axis = len(self._z(its_twin, self.twin.data(now))) // self.units.samples(now), self.units.axis
                    chosen = rows // positions              # the samples
                    place = np.arange(len(rows)) * positions + rows % positions
                    before, after, shares, rest = self._shares(its_twin, units, place, np.take(former, chosen, axis),
                                                               np.take(now, chosen, axis), last)
                    lo, hi = (np.where(np.isinf(scale), scale, lr * np.where(np.isinf(scale), 0, scale)) for scale in window)
                    deaths += [Death(step, layer.name, int(unit), int(chosen[i]), float(before[i]), float(after[i]),
                                     **{cause: Share(*(float(part[i]) for part in shares[cause])) for cause in CAUSES},
                                     rest=float(rest[i]), lr=lr, window=(float(lo[i]), float(hi[i])), member=self.member)
                               for i, unit in enumerate(units)]
        self.gone, self.last = gone, last
        return deaths

    def _samples(self, x: Array, dead: list[Array], batch_size: int) -> list[Array]:
        """For each of these units the row of z in which it was farthest inside its living side before the step."""
        self._set(self.last)
        samples, deepest = [np.zeros(len(units), int) for units in dead], [np.full(len(units), -np.inf) for units in dead]
        starts = [0] * len(dead)
        for looks in self.twin.looks(self.twin.data(x), batch_size):
            for i, (look, units, row, best) in enumerate(zip(looks, dead, samples, deepest)):
                if len(units):
                    room = np.minimum.reduce(rooms(look.layer, look.z, units))
                    row[:] = np.where(room.max(axis=0) > best, starts[i] + room.argmax(axis=0), row)
                    best[:] = np.maximum(room.max(axis=0), best)
                    starts[i] += len(room)
        return samples

    def _shares(self, layer: HiddenLayer, units: Array, at: Array, former: Array, now: Array,
                end: Values) -> tuple[Array, Array, dict[str, list[Array]], Array]:
        """z before and after, in the rows `at`, the shares as [weight, bias], and the rest, each with an entry per unit."""
        own = {*layer.parts, *(layer.norm.parameters() if layer.norm is not None else ())}
        mine, others = ([[held for held, copy in self.copies.items() if (copy in own) == is_own and
                          (getattr(held, "kind", "") == "bias") == is_bias] for is_bias in (False, True)]
                        for is_own in (True, False))
        former, now, each = self.twin.data(former), self.twin.data(now), np.arange(len(units))
        self._set(end)
        rivals = None                                   # of Maxout pieces: those that win after the step
        if layer.activation is None:
            pieces = (units - units % layer.pieces)[:, None] + np.arange(layer.pieces)
            rivals = pieces[each, self._z(layer, now)[at[:, None], pieces].argmax(axis=1)]
        course: list[Array] = []                        # z after each change

        def change(values: Mapping[Any, Array], x: Array) -> None:
            self._set(values)
            z = self._z(layer, x)
            course.append(z[at, units] - (0.0 if rivals is None else z[at, rivals]))

        change(self.last, former)
        change({p: self.first[p] for p in mine[1]}, former)
        change(self.first, now)
        for name in ("gradient", "inertia", "decay"):
            for several in mine:
                change({p: self.copies[p].data + getattr(self.terms[p][0], name) for p in several if p in self.terms}, now)
        for several in ([*mine[0], *mine[1]], *others):
            change({held: end[held] for held in several}, now)
        data_bias, data_weight, *parts, rest, upstream_weight, upstream_bias = np.diff(course, axis=0)
        shares = {"data": [data_weight, data_bias], "upstream": [upstream_weight, upstream_bias],
                  "gradient": parts[0:2], "inertia": parts[2:4], "decay": parts[4:6]}
        return course[0], course[-1], shares, rest

    def _set(self, values: Mapping[Any, Array]) -> None:
        for held, value in values.items():
            self.copies[held].data[...] = value

    def _z(self, layer: HiddenLayer, x: Array) -> Array:
        return next(look.z for look in self.twin.walk(x) if look.layer is layer)
