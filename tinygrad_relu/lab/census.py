"""The census: the state of every unit of every hidden layer on a whole data set."""
from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import functional as F
from ..autodiff.node import Array, recording
from ..autodiff.tape import grad
from ..checks import check_count, check_labels
from ..kernels.loops.units import unit_sums
from ..kernels.machine.door import launch
from ..nn import Module
from ..nn.module import evaluating
from ..tensor import Tensor
from ..text import Table
from .units import Extremes, HiddenLayer, Look, State, Units

BATCH = 4096        # samples at a time: bounds the memory, and fits into the caches


@dataclass(frozen=True)
class LayerCensus:
    """One hidden layer: arrays with an entry per unit (in a Maxout layer: per piece).

    Attributes
    ----------
    pieces : pieces per Maxout unit, otherwise 1.
    state : integers of `State`.
    on_rate : share of the samples with z > 0 (for a Maxout piece: on which it wins).
    max_z, mean_z : largest and mean pre-activation.
    margin : ``max_z / |w|``, the distance from the unit's hyperplane to the farthest sample on its active side; if negative, to
        the nearest sample. NaN after a norm, where z is no distance.
    mean_h : mean absolute activation.
    dormancy : ``mean_h`` over its mean in the layer (Sokar et al. 2023, arXiv 2302.12902: tau-dormant if <= tau).
    gradient : norm of the raw gradient of the unit's incoming weights and bias; NaN if no labels were given.
    """

    name: str
    activation: str
    pieces: int
    state: Array
    on_rate: Array
    max_z: Array
    mean_z: Array
    margin: Array
    mean_h: Array
    dormancy: Array
    gradient: Array

    @property
    def dead(self) -> int:
        """The number of units that get no gradient at all."""
        return sum(State(s).gone for s in self.state)

    def count(self, state: State) -> int:
        """The number of units in this state."""
        return int((self.state == state).sum())

    def unit(self, j: int) -> dict[str, Any]:
        """One unit as a dict of plain numbers."""
        numbers = {name: float(getattr(self, name)[j]) for name in NUMBERS}
        return {"layer": self.name, "unit": j // self.pieces, **({"piece": j % self.pieces} if self.pieces > 1 else {}),
                "state": State(self.state[j]).label, **numbers}


NUMBERS = ("on_rate", "max_z", "mean_z", "margin", "mean_h", "dormancy", "gradient")


@dataclass(frozen=True)
class Census:
    """All hidden layers of a model on one data set. Printing it gives tables; `to_dict` and `to_json` give data."""

    samples: int
    layers: list[LayerCensus]

    @property
    def dead(self) -> list[int]:
        """Units without any gradient, layer by layer."""
        return [layer.dead for layer in self.layers]

    def units(self) -> list[dict[str, Any]]:
        """Every unit as a dict."""
        return [layer.unit(j) for layer in self.layers for j in range(len(layer.state))]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers; NaN and infinities become None."""
        return {"samples": self.samples, "layers": [
            {"name": layer.name, "activation": layer.activation, "pieces": layer.pieces, "dead": layer.dead,
             "units": [{k: finite(v) for k, v in layer.unit(j).items()} for j in range(len(layer.state))]}
            for layer in self.layers]}

    def to_json(self) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def summary(self) -> Table:
        """One row per layer."""
        table = Table(f"census on {self.samples} samples", ["layer", "activation", "units", *(s.label for s in State), "on-rate"])
        for layer in self.layers:
            table.add(layer.name, layer.activation, len(layer.state), *(layer.count(s) or "-" for s in State),
                      f"{layer.on_rate.mean():.3f}")
        return table

    def table(self, rows: int | None = 24) -> Table:
        """One row per unit, at most `rows` (None: all); units that are not alive come first."""
        units = sorted(self.units(), key=lambda unit: (unit["state"] == State.ALIVE.label))
        shown = units[:rows]
        rest = f" ({len(shown)} of {len(units)})" if len(shown) < len(units) else ""
        table = Table(f"units{rest}", ["layer", "unit", "state", "on-rate", "max z", "mean z", "margin", "mean |h|", "dormancy",
                                       "|gradient|"])
        for unit in shown:
            name = f"{unit['unit']}" + (f".{unit['piece']}" if "piece" in unit else "")
            table.add(unit["layer"], name, unit["state"], *(f"{unit[key]:.4g}" for key in NUMBERS))
        return table

    def __str__(self) -> str:
        return f"{self.summary()}\n{self.table()}"


def census(model: Module | Units, x: Any, y: Any = None, *, loss: Callable[..., Tensor] = F.cross_entropy,
           batch_size: int = BATCH, saturation: float = 1e-3) -> Census:
    """Every unit of every hidden layer over a whole data set, streamed in batches. The model is not changed.

    Parameters
    ----------
    model : Sequential
    x : array_like, shape (samples, features)
    y : array_like, optional
        Labels (or targets of `loss`). With them the norm of each unit's raw gradient is computed too.
    loss : callable
        ``loss(output, y, reduction="sum")``; the gradient is that of the mean over the samples.
    saturation : float
        A unit with a slope below this on every sample is saturated.

    >>> model = nn.MLP([2, 4, 3], rng=0)
    >>> model[0].bias.data = [-100.0, 0.0, 0.0, 100.0]
    >>> found = census(model, np.random.default_rng(0).standard_normal((50, 2)))
    >>> [unit["state"] for unit in found.units()]
    ['dead', 'alive', 'alive', 'always on']
    """
    units = Units.of(model)
    x = units.data(x)
    check_count(batch_size, "batch_size")
    targets = None if y is None else check_labels(y, n=len(x)) if loss is F.cross_entropy else np.asarray(y)
    if targets is not None and len(targets) != len(x):
        raise ValueError(f"census: y has {len(targets)} entries for {len(x)} samples; expected one each")
    layers = [_Sums(layer) for layer in units.layers]
    for start in range(0, len(x), batch_size):
        part = x[start:start + batch_size]
        for sums, look in zip(layers, units.walk(part)):
            sums.join(look)
        if targets is not None:
            with evaluating(units.model), recording():
                total = loss(units.model(part), targets[start:start + batch_size], reduction="sum")
                found = iter(grad(total, [p for sums in layers for p in sums.layer.parameters]))
            for sums in layers:
                sums.gradients = [g + next(found).data for g in sums.gradients]
    return Census(len(x), [sums.census(len(x), saturation, targets is not None) for sums in layers])


class _Sums(Extremes):
    """The extremes, and the sums that a census needs besides."""

    def __init__(self, layer: HiddenLayer) -> None:
        super().__init__(layer)
        self.zsum, self.hsum, self.on, self.flat = np.zeros((4, layer.units))
        self.gradients = [np.zeros_like(p.data) for p in layer.parameters]

    def join(self, look: Look) -> None:
        self.add(look.z, look.slope)
        launch(unit_sums, look.z, look.h, look.slope, self.zsum, self.hsum, self.on, self.flat)

    def census(self, samples: int, saturation: float, labelled: bool) -> LayerCensus:
        layer, mean_h, unknown = self.layer, self.hsum / samples, np.full(self.layer.units, np.nan)
        with np.errstate(all="ignore"):         # the network may have diverged
            margin = self.zmax / np.linalg.norm(layer.affine.weight.data, axis=1) if layer.norm is None else unknown
            dormancy = mean_h / mean_h.mean()
            squares = [np.square(g / samples).reshape(layer.units, -1).sum(axis=1) for g in self.gradients]
        on = 1 - self.flat / samples if layer.activation is None else self.on / samples
        return LayerCensus(layer.name, layer.activation_name, layer.pieces, self.states(saturation), on, self.zmax,
                           self.zsum / samples, margin, mean_h, dormancy, np.sqrt(sum(squares)) if labelled else unknown)


def finite(value: Any) -> Any:
    """None for NaN and infinity, which JSON cannot hold; anything else as it is."""
    return None if isinstance(value, float) and not np.isfinite(value) else value
