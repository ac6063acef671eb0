"""The lethal window: the learning rates at which the next step of an optimizer kills a unit.

A step moves the weights and the bias of a unit by rate * (s_w, s_b). While its inputs x_i stay the same, its pre-activation on
sample i falls in proportion to the rate::

    z_i(rate) = z_i - rate * r_i,        r_i = -(s_w . x_i + s_b)

So a ReLU that is alive on sample i stays alive there up to the rate z_i / r_i (for ever, if r_i <= 0), and one that is dead there
comes alive above abs(z_i) / abs(r_i) (never, if r_i >= 0). The unit is dead where it is alive on no sample: from

    lo = max over the living samples of z_i / r_i        up to        hi = min over the rising dead samples of abs(z_i) / abs(r_i)

and at no rate if some living sample does not fall, or hi < lo. An activation with two flat sides, and a Maxout piece, which lives
where it beats every other piece, are alive on a bounded interval of rates for each sample; lo is where their union first ends.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import functional as F
from ..autodiff.node import Array
from ..checks import counted
from ..nn import Module, Parameter
from ..optim import Optimizer
from ..tensor import Tensor
from ..text import Table
from .drawing import FAINT, axes_of, explain, say
from .layers import HiddenLayer, flat_edges
from .readings import Reading, for_members, plain, shown
from .units import BATCH, Units, check_optimizer

SHARES = (0.0, 0.01, 0.1, 0.25, 0.5)        # the quantiles in the table
TRIED = 10 ** (np.arange(-30, 11) / 10)     # rates by trial; at 1 the step is as long as the weights


def rooms(layer: HiddenLayer, z: Array, units: Array, *, edges: bool = True) -> list[Array]:
    """A unit is alive on a sample where each of these, (samples, units), is positive: its distances from the edges of the flat
    sides, or a Maxout piece's leads over the others. They are affine in z; without `edges`, their linear parts."""
    if layer.activation is None:
        pieces = z.reshape(len(z), -1, layer.pieces)
        return [(pieces - np.roll(pieces, k, axis=2)).reshape(z.shape)[:, units] for k in range(1, layer.pieces)]
    z, (low, high) = z[:, units], flat_edges(layer.activation)
    return [side + (edge if edges else 0.0) for side, edge in ((z, -low), (-z, high)) if np.isfinite(edge)]


def _lives(layer: HiddenLayer, z: Array, rate: Array, units: Array) -> tuple[Array, Array]:
    """The open interval of learning rates in which each unit is alive on each sample; empty where it ends before it begins."""
    begin, end = np.zeros((len(z), len(units))), np.full((len(z), len(units)), np.inf)
    for room, speed in zip(rooms(layer, z, units), rooms(layer, rate, units, edges=False)):
        with np.errstate(divide="ignore", invalid="ignore"):
            meets = np.maximum(room / speed, 0.0)           # where the room is 0, if it ever is
        end = np.where(speed > 0, np.minimum(end, np.where(room > 0, meets, 0.0)), end)
        begin = np.where(room > 0, begin, np.where(speed < 0, np.maximum(begin, meets), np.inf))
    return begin, end


def windows(units: Units, steps: Mapping[Parameter, Array], x: Array, batch_size: int, mine: Sequence[Array],
            start: float = 0.0) -> list[tuple[Array, Array]]:
    """(lo, hi) of some units (`mine`) of each layer, in multiples of the `steps` of its parameters: the window that contains
    `start`, or the next above it. lo is inf if there is none. NaN where a norm comes before the activation."""
    blank = [np.full(len(own), 0.0 if layer.plain else np.nan) for layer, own in zip(units.layers, mine)]
    found = [lo + start for lo in blank]
    while True:             # twice; more often only if bounded intervals form a chain
        ends, begins, below = [lo.copy() for lo in found], [lo + np.inf for lo in blank], [lo.copy() for lo in blank]
        for looks in units.looks(x, batch_size):
            for i, look in enumerate(looks):
                layer = look.layer
                if not layer.plain or not len(mine[i]):
                    continue
                weight, *bias = (steps.get(p, np.zeros_like(p.array)) for p in layer.parameters)
                rate = -(look.inputs @ weight.T) - (bias[0] if bias else 0.0)
                begin, end = _lives(layer, look.z.astype(np.float64), rate.astype(np.float64), mine[i])
                lives = end > begin
                ends[i] = np.maximum(ends[i], np.where(lives & (begin <= found[i]), end, 0.0).max(axis=0))
                begins[i] = np.minimum(begins[i], np.where(lives & (begin > found[i]), begin, np.inf).min(axis=0))
                below[i] = np.maximum(below[i], np.where(lives & (end <= start), end, 0.0).max(axis=0))
        if not any((end > lo).any() for end, lo in zip(ends, found)):
            return [(np.where(lo == start, low, lo), hi) for lo, low, hi in zip(found, below, begins)]
        found = ends


@dataclass(frozen=True)
class LayerRates:
    """The lethal windows of the units of one layer: arrays with an entry per unit (in a Maxout layer: per piece).

    - `lo`, `hi`: the unit is dead after the step if lo <= rate <= hi. lo is infinite if no rate kills it, and 0 if it is dead
      now.
    - `exact`: whether these are the edges of the window, as in the first layer. In deeper layers, whose inputs move too, and
      where z is not one affine map (after a norm, in a recurrent layer), 41 rates were tried, each a quarter larger than the
      last, up to one at which the step is ten times as long as the weights: `lo` is the first that kills the unit, `hi` the last
      before it lives again.
    """

    name: str
    lo: Array
    hi: Array
    exact: bool

    @property
    def alive(self) -> Array:
        return self.lo > 0

    def quantile(self, share: float) -> float:
        """The rate at which this share of the living units dies (at higher rates some of them may live again)."""
        return float(np.quantile(self.lo[self.alive], share, method="inverted_cdf")) if self.alive.any() else np.nan


@dataclass(frozen=True, repr=False)
class LethalRates(Reading):
    """The lethal windows of all units, layer by layer. Printing it gives the quantiles of lo for each layer.

    `safe_rate`: the step at this rate kills no unit of any layer, nor did one at a smaller rate that was tried. It is within 1 %
    of one that kills. Infinite if no rate kills.
    """

    samples: int
    layers: list[LayerRates]
    safe_rate: float

    def to_dict(self) -> Any:
        return plain({"samples": self.samples, "safe_rate": self.safe_rate, "layers": [
            {"name": layer.name, "exact": layer.exact, "lo": layer.lo, "hi": layer.hi,
             "quantiles": {str(share): layer.quantile(share) for share in SHARES}} for layer in self.layers]})

    def table(self) -> Table:
        """One row per layer: at which rates the first unit, 1 %, ... of its living units die."""
        headings = ["layer", "units", "dead now", "never", *(f"{100 * share:g}%" if share else "first" for share in SHARES), ""]
        return Table(f"rates at which the next step kills units, from {counted(self.samples, 'sample')}", headings, [
            (layer.name, len(layer.lo), int((layer.lo == 0).sum()), int(np.isinf(layer.lo).sum()),
             *(shown(layer.quantile(share)) for share in SHARES), "" if layer.exact else "by trial") for layer in self.layers])

    def parts(self) -> list[str | Table]:
        return [self.table(), f"safe rate: {shown(self.safe_rate, infinite='any')} (the step kills no unit)"]

    def plot(self) -> Any:
        """The share of the living units that are dead after the next step, for each layer, over the learning rate."""
        figure, axes = axes_of(9, 3.4, "Units killed by one step", "learning rate", "living units killed, %")
        known = np.concatenate([rates for layer in self.layers for rates in (layer.lo, layer.hi)])
        known = known[np.isfinite(known) & (known > 0)]
        grid = np.geomspace(known.min() / 5, known.max() * 5, 400) if known.size else np.geomspace(1e-3, 1e3, 2)
        for layer in self.layers:
            lo, hi = layer.lo[layer.alive], layer.hi[layer.alive]
            if len(lo):
                dead = ((lo <= grid[:, None]) & (grid[:, None] <= hi)).mean(axis=1)
                axes.plot(grid, 100 * dead, label=f"layer {layer.name}{'' if layer.exact else ' (by trial)'}")
        if np.isfinite(self.safe_rate):
            axes.axvline(self.safe_rate, color=FAINT, linestyle="--", linewidth=1, label=f"safe rate: {self.safe_rate:.3g}")
        elif axes.lines:
            say(axes, "no rate kills a unit", (0.5, 0.5), FAINT, ha="center", transform=axes.transAxes)
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter("")
        axes.set(xlim=(grid[0], grid[-1]), ylim=(-2, 105))
        explain(figure, axes, "all units are dead already", ncols=1 + len(axes.lines) // 16)
        return figure


@for_members
def lethal_lr(model: Module | Units, x: Any, y: Any, *, optimizer: Optimizer | None = None,
              loss: Callable[..., Tensor] = F.cross_entropy, batch_size: int = BATCH) -> LethalRates:
    """The learning rates at which the next step kills each unit: before any training, and without a step. Nothing is changed.

    Exact for the first layer. In deeper layers, whose inputs move too, after a norm, and in recurrent layers, the steps are tried
    on a copy.

    - `y`: labels (or targets of `loss`). The step is that of the mean gradient over all samples, as one batch.
    - `optimizer`: its rule, buffers and decay make the step (by default plain SGD). Its step has to be proportional to its rate,
      as in SGD, Adam and AdamW; all groups get the same rate.
    - `loss`: ``loss(output, y, reduction="sum")``

    >>> model = nn.MLP([2, 8, 3], rng=0, dtype="float64")
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.standard_normal((50, 2)), rng.integers(0, 3, 50)
    >>> found = lab.lethal_lr(model, x, y)
    >>> lr = found.layers[0].quantile(0.1)      # kills one unit of eight
    >>> F.cross_entropy(model(x), y).backward()
    >>> optim.SGD(model.parameters(), lr=lr * 1.001).step()
    >>> lab.census(model, x).dead
    [1]
    """
    units = Units.of(model, x)
    x = units.data(x)
    gradients = units.gradients(x, y, units.model.parameters(), "lethal_lr", loss, batch_size)
    if not all(np.isfinite(g).all() for g in gradients.values()):
        raise ValueError("lethal_lr: gradients are NaN or infinite, expected a network that has not diverged")
    steps = {p: -g for p, g in gradients.items()} if optimizer is None else next_steps(optimizer, gradients, "lethal_lr", 1.0)
    exact = [layer.plain and layer.fixed for layer in units.layers]
    found = windows(units, steps, x, batch_size, [np.arange(layer.units if known else 0)
                                                  for layer, known in zip(units.layers, exact)])
    lowest = min((float(lo[lo > 0].min(initial=np.inf)) for lo, _ in found), default=np.inf)
    safe = 0.999 * lowest                   # at the edge itself rounding would decide
    if not all(exact):
        tried, safe = _tried(units, steps, x, batch_size, safe)
        found = [of if known else by for of, by, known in zip(found, tried, exact)]
    return LethalRates(units.samples(x), [LayerRates(layer.name, *window, known)
                                for layer, window, known in zip(units.layers, found, exact)], safe)


def _tried(units: Units, steps: Mapping[Parameter, Array], x: Array, batch_size: int,
           most: float) -> tuple[list[tuple[Array, Array]], float]:
    """(lo, hi) of the units of each layer, and the safe rate, at most `most`, from steps at several rates that a copy makes."""
    trial = units.twin()
    moved = [(copy, p.array, steps[p]) for p, copy in zip(units.model.parameters(), trial.model.parameters()) if p in steps]

    def gone(rate: float) -> list[Array]:
        for copy, values, step in moved:
            copy.array[...] = values + rate * step
        return trial.gone(x, batch_size)

    weights, step = (sum(float(np.square(part[i], dtype=np.float64).sum()) for part in moved) ** 0.5 for i in (1, 2))
    rates = np.array([0.0, *(TRIED * weights / step)]) if step else np.zeros(1)
    dead = [np.stack(several) for several in zip(*map(gone, rates))]                    # for each layer (rates, units)
    index, windows = np.arange(len(rates))[:, None], []
    for mine in dead:
        first = mine.argmax(axis=0)
        lives = ~mine & (index > first)                                                 # again
        windows.append((np.where(mine.any(axis=0), rates[first], np.inf),
                        np.where(mine.any(axis=0) & lives.any(axis=0), rates[lives.argmax(axis=0) - 1], np.inf)))

    def kills(rate: float) -> bool:
        return any((now & ~mine[0]).any() for now, mine in zip(gone(rate), dead))

    deadly = np.logical_or.reduce([(mine & ~mine[0]).any(axis=1) for mine in dead])
    bad = min(rates[deadly.argmax()] if deadly.any() else np.inf, most)
    if bad == most and (most == np.inf or not kills(most)):
        return windows, most
    safe = rates[rates < bad][-1]
    while bad > 1.01 * safe and bad > 1e-9 * rates[-1]:
        middle = (safe + bad) / 2
        safe, bad = (safe, middle) if kills(middle) else (middle, bad)
    return windows, float(safe)


def next_steps(optimizer: Optimizer, gradients: Mapping[Parameter, Array], who: str,
               rate: float | None = None) -> dict[Parameter, Array]:
    """The next step of each parameter that the optimizer holds, if these were the gradients, at its rate or at this one."""
    check_optimizer(optimizer, who)
    if not (copies := {p: deepcopy(p) for p in gradients if optimizer.holds(p)}):
        raise ValueError(f"{who}: the optimizer holds no weight of a hidden layer of this model, expected the one that trains it")
    twin = optimizer.twin(copies)
    for group in twin.param_groups if rate is not None else ():
        group["lr"] = rate
    for p, copy in copies.items():
        copy.grad = gradients[p]
    return {p: twin.terms(copy).step for p, copy in copies.items()}
