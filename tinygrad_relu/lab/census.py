"""The census: the state of every unit of every hidden layer on a data set."""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np

from .. import functional as F
from ..autodiff.node import Array
from ..checks import check_count, check_name, check_number, counted
from ..kernels.loops.reduce import unit_sums
from ..kernels.machine.door import launch
from ..nn import Module
from ..tensor import Tensor
from ..text import Table
from .drawing import COLOURS, COLUMN, INK, axes_of, explain, legend
from .layers import GONE, Extremes, HiddenLayer, Look, State, noted
from .readings import Reading, for_members, plain
from .units import BATCH, Units, check_loss


@dataclass(frozen=True)
class LayerCensus:
    """One hidden layer: arrays with an entry per unit (in a Maxout layer: per piece).

    - `pieces`: pieces per Maxout unit, otherwise 1.
    - `state`: integers of `State`.
    - `on_rate`: share of the samples with z > 0 (for a Maxout piece: on which it wins).
    - `flat`: share of the samples on which the slope is exactly zero.
    - `margin`: ``max_z / |w|``, the distance from the unit's hyperplane to the farthest sample on its active side; if negative,
      to the nearest sample. NaN after a norm, because z is then not affine in the input.
    - `mean_h`: mean absolute activation.
    - `dormancy`: ``mean_h`` over its mean in the layer (Sokar et al. 2023, arXiv 2302.12902), 0 in a layer that is silent.
    - `gradient`: norm of the raw gradient of the unit's incoming weights and bias; NaN if no labels were given.
    - `flags`: other properties of a unit: for each of `FLAGS`, an array of bools.
    - `over_time`: of a layer that acts on several positions of a sample, such as the time steps of a recurrent one: the mean
      output of each unit at each of them, (positions, units); else None.
    """

    name: str
    activation: str
    pieces: int
    state: Array
    on_rate: Array
    flat: Array
    max_z: Array
    mean_z: Array
    margin: Array
    mean_h: Array
    dormancy: Array
    gradient: Array
    flags: dict[str, Array]
    over_time: Array | None = None

    @property
    def dead(self) -> int:
        """The number of units whose own slopes let no gradient through: `State.gone`."""
        return int(GONE[self.state].sum())

    def count(self, state: State) -> int:
        return int((self.state == state).sum())

    def unit(self, j: int) -> dict[str, Any]:
        """One unit as a dict of plain numbers."""
        numbers = {name: float(getattr(self, name)[j]) for name in NUMBERS}
        return {"layer": self.name, "unit": j // self.pieces, **({"piece": j % self.pieces} if self.pieces > 1 else {}),
                "state": State(self.state[j]).label, "flags": [flag for flag in FLAGS if self.flags[flag][j]], **numbers}


NUMBERS = ("on_rate", "max_z", "mean_z", "margin", "mean_h", "dormancy", "gradient")
FLAGS = {
    "frozen": "neither its weights nor its bias require a gradient",
    "constant": "the same activation on every sample",
    "duplicate": "another unit of the layer has the same weights and bias",
    "dormant": "a dormancy of at most tau",
    "idle bias": "batch normalisation subtracts the bias again, so in training its gradient is zero up to rounding",
}


@dataclass(frozen=True, repr=False)
class Census(Reading):
    """All hidden layers of a model on one data set. Printing it gives tables; `to_dict` and `to_json` give data."""

    samples: int
    layers: list[LayerCensus]

    @property
    def dead(self) -> list[int]:
        """The number of units whose own slopes let no gradient through, layer by layer."""
        return [layer.dead for layer in self.layers]

    def units(self) -> list[dict[str, Any]]:
        return [layer.unit(j) for layer in self.layers for j in range(len(layer.state))]

    def select(self, *names: str) -> dict[int, Array]:
        """The units in any of these states, or with any of these flags, as an intervention takes them: {hidden layer: indices}.

        >>> model = nn.MLP([2, 4, 3], rng=0)
        >>> model[0].bias.data = [-100.0, 0.0, 0.0, 100.0]
        >>> lab.census(model, np.random.default_rng(0).standard_normal((50, 2))).select("dead", "always on")
        {0: array([0, 3])}
        """
        states = {state.label: state for state in State}
        for name in names:
            check_name(name, [*states, *FLAGS], "select: a state or flag")
        found = {i: np.any([layer.state == states[name] if name in states else layer.flags[name] for name in names], axis=0)
                 for i, layer in enumerate(self.layers)}
        return {i: np.flatnonzero(units) for i, units in found.items() if units.any()}

    def to_dict(self) -> dict[str, Any]:
        return {"samples": self.samples, "layers": [
            {"name": layer.name, "activation": layer.activation, "pieces": layer.pieces, "dead": layer.dead,
             "units": [plain(layer.unit(j)) for j in range(len(layer.state))],
             **({} if layer.over_time is None else {"over_time": plain(layer.over_time)})} for layer in self.layers]}

    def plot(self, notes: Mapping[str, str] = {}) -> Any:
        """The shares of the states in each layer as a bar, with a note beside it, as a matplotlib Figure."""
        figure, axes = axes_of(9, 1.3 + 0.45 * len(self.layers), f"The units on {counted(self.samples, 'sample')}",
                               "share of the units", "")
        for i, layer in enumerate(self.layers):
            left = 0.0
            for state in State:
                share = layer.count(state) / len(layer.state)
                axes.barh(i, share, left=left, color=COLOURS[state], height=0.7)
                left += share
            axes.text(1.02, i, notes.get(layer.name, ""), va="center", fontsize=9, color=INK)
        axes.set_yticks(range(len(self.layers)), [f"layer {layer.name}" for layer in self.layers])
        axes.set(xlim=(0, 1), ylim=(len(self.layers) - 0.5, -0.5))
        legend(figure, (state for state in State if any(layer.count(state) for layer in self.layers)))
        return figure

    def over_time(self, rows: int | None = 24) -> Table:
        """One row per position (time step): the mean output of each layer that acts on several; at most `rows` (None: all)."""
        each = {layer.name: layer.over_time.mean(axis=1) for layer in self.layers if layer.over_time is not None}
        return Table("mean outputs over time", ["step", *each], [
            (t, *(f"{means[t]:.4g}" if t < len(means) else "-" for means in each.values()))
            for t in range(max(map(len, each.values()), default=0))], most=rows)

    def plot_over_time(self) -> Any:
        """`over_time` as a matplotlib Figure, with the spread over the units of each layer."""
        figure, axes = axes_of(9, 3.6, f"Outputs over time, on {counted(self.samples, 'sample')}", "step", "mean output")
        each = [(layer.name, layer.over_time) for layer in self.layers if layer.over_time is not None]
        for (name, outputs), colour in zip(each, cycle(COLUMN)):
            mean, spread = outputs.mean(axis=1), outputs.std(axis=1)
            axes.fill_between(range(len(mean)), mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
            axes.plot(mean, ".-", color=colour, label=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        explain(figure, axes, "no layer acts on several positions")
        return figure

    def summary(self) -> Table:
        """One row per layer, with the states and flags that occur."""
        states = [s for s in State if s in (State.ALIVE, State.DEAD) or any(layer.count(s) for layer in self.layers)]
        flags = [flag for flag in FLAGS if any(layer.flags[flag].any() for layer in self.layers)]
        headings = ["layer", "activation", "units", *(s.label for s in states), "on-rate", *flags]
        return Table(f"census on {counted(self.samples, 'sample')}", headings, [
            (layer.name, layer.activation, len(layer.state), *(layer.count(s) or "-" for s in states),
             f"{layer.on_rate.mean():.3f}", *(int(layer.flags[flag].sum()) or "-" for flag in flags)) for layer in self.layers])

    def table(self, rows: int | None = 24) -> Table:
        """One row per unit, at most `rows` (None: all); units that are not alive come first. (The flags "constant" and "dormant"
        are not printed for dead units: a dead ReLU has both.)"""
        units = sorted(self.units(), key=lambda unit: (unit["state"] == State.ALIVE.label))
        headings = ["layer", "unit", "state", *(name.replace("_", " ") for name in NUMBERS), "flags"]
        silent = State.DEAD.label, State.NEVER_WINS.label
        return Table("units", headings, [
            (unit["layer"], f"{unit['unit']}" + (f".{unit['piece']}" if "piece" in unit else ""), unit["state"],
             *(f"{unit[key]:.4g}" for key in NUMBERS),
             ", ".join(flag for flag in unit["flags"] if unit["state"] not in silent or flag not in ("constant", "dormant")))
            for unit in units], most=rows)

    def parts(self) -> list[Table]:
        return [self.summary(), self.table()]


@for_members
def census(model: Module | Units, x: Any, y: Any = None, *, loss: Callable[..., Tensor] = F.cross_entropy,
           batch_size: int = BATCH, saturation: float = 1e-3, tau: float = 0.025) -> Census:
    """Every unit of every hidden layer over a whole data set, streamed in batches. The model is not changed.

    - `y`: labels (or targets of `loss`), with which the norm of each unit's raw gradient is computed too.
    - `loss`: ``loss(output, y, reduction="sum")``; the gradient is that of the mean over the samples.
    - `saturation`: a unit with a slope below this on every sample is saturated.
    - `tau`: a unit with a dormancy of at most this is dormant.

    >>> model = nn.MLP([2, 4, 3], rng=0)
    >>> model[0].bias.data = [-100.0, 0.0, 0.0, 100.0]
    >>> found = lab.census(model, np.random.default_rng(0).standard_normal((50, 2)))
    >>> [unit["state"] for unit in found.units()]
    ['dead', 'alive', 'alive', 'always on']
    """
    units = Units.of(model, x)
    x = units.data(x)
    check_loss(loss, "census")
    check_count(batch_size, "census: batch_size")
    check_number(saturation, "census: saturation")
    check_number(tau, "census: tau")
    layers = [_Sums(layer) for layer in units.layers]
    for _ in noted(units.looks(x, batch_size), layers):
        pass
    learning = [p for layer in units.layers for p in layer.parameters]
    gradients = {p: np.full(p.shape, np.nan) for p in learning} if y is None else units.gradients(
        x, y, learning, "census", loss, batch_size)
    return Census(units.samples(x), [one.census(saturation, tau, gradients) for one in layers])


class _Sums(Extremes):
    """The extremes, and the sums that only a census needs."""

    def __init__(self, layer: HiddenLayer) -> None:
        super().__init__(layer)
        self.zsum, self.hsum, self.on, self.flat = np.zeros((4, layer.units))
        self.over_time: Any = 0.0
        self.rows, self.hmin, self.hmax = 0, np.full(layer.units, np.inf), np.full(layer.units, -np.inf)

    def add(self, look: Look, path: Array) -> Array:
        slope, h = look.slope, look.h
        self.rows += len(h)
        if look.positions > 1:
            self.over_time = self.over_time + look.out.array.reshape(-1, look.positions, h.shape[1]).sum(axis=0, dtype=np.float64)
        launch(unit_sums, look.z, h, slope, self.zsum, self.hsum, self.on, self.flat)
        self.hmin, self.hmax = np.minimum(self.hmin, h.min(axis=0)), np.maximum(self.hmax, h.max(axis=0))
        return super().add(look, path)

    def census(self, saturation: float, tau: float, gradients: dict[Any, Array]) -> LayerCensus:
        layer, samples, mean_h, zmax = self.layer, self.rows, self.hsum / self.rows, self.numbers[0]
        with np.errstate(all="ignore"):         # the network may have diverged
            weight = layer.weight if layer.plain else None
            margin = zmax / (np.linalg.norm(weight.data, axis=1) if weight is not None else np.nan)
            dormancy = mean_h / mean_h.mean() if mean_h.any() else np.zeros_like(mean_h)
            squares = [np.square(layer.part(p, gradients[p])).sum(axis=1) for p in layer.parameters]
        on = 1 - self.flat / samples if layer.activation is None else self.on / samples
        idle = layer.bias is not None and layer.norm is not None and layer.norm.depends_on_mode
        flags = {"frozen": np.full(layer.units, bool(layer.parts) and not any(p.requires_grad for p in layer.parameters)),
                 "constant": self.hmin == self.hmax, "duplicate": duplicates(layer), "dormant": dormancy <= tau,
                 "idle bias": np.full(layer.units, idle)}
        return LayerCensus(layer.name, layer.activation_name, layer.pieces, self.states(saturation), on, self.flat / samples,
                           zmax, self.zsum / samples, margin, mean_h, dormancy,
                           np.sqrt(sum(squares, np.zeros(layer.units) if squares else np.nan + np.zeros(layer.units))), flags,
                           self.over_time / (samples / len(self.over_time)) if np.ndim(self.over_time) else None)


def duplicates(layer: HiddenLayer) -> Array:
    """Which units have the same parameters as another: weights, bias, and their own entries in a norm or a slope. If their
    outgoing weights are the same too, their gradients are the same, and they stay equal."""
    width = layer.units // layer.pieces
    others = [p for m in (layer.norm, layer.activation) if m is not None for p in m.parameters() if p.shape[:1] == (layer.units,)]
    rows = [*(layer.part(p, p.data).reshape(width, -1) for p in layer.parameters), *(p.data.reshape(width, -1) for p in others)]
    if not layer.parts:
        return np.zeros(layer.units, bool)
    alike = Counter(keys := [row.tobytes() for row in np.concatenate(rows, axis=1) + 0.0])         # -0.0 becomes 0.0
    return np.repeat([alike[key] > 1 for key in keys], layer.pieces)
