"""The census: every unit of every hidden layer over a whole data set."""
from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import functional as F
from ..autodiff.node import Array, recording
from ..autodiff.tape import grad
from ..checks import check_count, check_labels, check_samples
from ..kernels.loops.units import unit_sums
from ..kernels.machine.door import launch
from ..nn import Module
from ..nn.summary import evaluating
from ..tensor import Tensor
from .tables import Table
from .units import Extremes, HiddenLayer, State, hidden_layers, walk

BATCH = 4096        # samples at a time: bounds the memory, and stays inside the caches


@dataclass(frozen=True)
class LayerCensus:
    """One hidden layer: arrays with an entry per unit (in a Maxout layer: per piece).

    Attributes
    ----------
    name, activation : str
    pieces : int
        Pieces per Maxout unit, otherwise 1.
    state : ndarray of `State`
    on_rate : ndarray
        Share of the samples with z > 0 (of a Maxout piece: on which it wins).
    max_z, mean_z : ndarray
        Largest and mean pre-activation.
    margin : ndarray
        ``max_z / |w|``: how far the farthest sample on the active side lies from the unit's hyperplane; negative: how far the
        hyperplane is off the data. NaN behind a norm, for which z is not the distance of anything.
    mean_h : ndarray
        Mean absolute activation.
    dormancy : ndarray
        ``mean_h`` over its mean in the layer (Sokar et al. 2023, arXiv 2302.12902: tau-dormant if <= tau).
    gradient : ndarray
        Norm of the raw gradient of the unit's incoming weights and bias; NaN where no labels were given.
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
        """How many units get no gradient at all."""
        return sum(State(s).gone for s in self.state)

    def count(self, state: State) -> int:
        """How many units are in this state."""
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
             "units": [{k: _plain(v) for k, v in layer.unit(j).items()} for j in range(len(layer.state))]}
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
        """One row per unit, those in trouble first; `rows` is how many at most (None: all)."""
        units = sorted(self.units(), key=lambda unit: (unit["state"] == State.ALIVE.label))
        shown = units if rows is None else units[:rows]
        rest = f" ({len(shown)} of {len(units)})" if len(shown) < len(units) else ""
        table = Table(f"units{rest}", ["layer", "unit", "state", "on-rate", "max z", "mean z", "margin", "mean |h|", "dormancy",
                                       "|gradient|"])
        for unit in shown:
            name = f"{unit['unit']}" + (f".{unit['piece']}" if "piece" in unit else "")
            table.add(unit["layer"], name, unit["state"], *(f"{unit[key]:.4g}" for key in NUMBERS))
        return table

    def __str__(self) -> str:
        return f"{self.summary()}\n{self.table()}"


def census(model: Module, x: Any, y: Any = None, *, loss: Callable[..., Tensor] = F.cross_entropy, batch_size: int = BATCH,
           saturation: float = 1e-3) -> Census:
    """Every unit of every hidden layer over a whole data set, streamed in batches. Nothing of the model is changed.

    Parameters
    ----------
    model : Sequential
    x : array_like, shape (samples, features)
    y : array_like, optional
        Labels (or targets of `loss`). With them the norm of each unit's raw gradient is computed too.
    loss : callable
        ``loss(output, y, reduction="sum")``; the gradient is that of the mean over the samples.
    batch_size : int
    saturation : float
        A unit whose slope is below this on every sample is saturated.

    Raises
    ------
    ValueError
        If x holds NaN or infinity (named with its row), is empty, or does not fit the model or y.

    Examples
    --------
    >>> from tinygrad_relu import nn
    >>> model = nn.MLP([2, 4, 3], rng=0)
    >>> model[0].bias.data = [-100.0, 0.0, 0.0, 100.0]
    >>> found = census(model, np.random.default_rng(0).standard_normal((50, 2)))
    >>> [unit["state"] for unit in found.units()]
    ['dead', 'alive', 'alive', 'always on']
    """
    layers = hidden_layers(model)
    x = matching_dtype(check_samples(x), layers)
    check_count(batch_size, "batch_size")
    targets = None if y is None else check_labels(y, n=len(x)) if loss is F.cross_entropy else np.asarray(y)
    if targets is not None and len(targets) != len(x):
        raise ValueError(f"census: y has {len(targets)} entries for {len(x)} samples; expected one each")
    statistics = [Statistics(layer) for layer in layers]
    gradients = [[np.zeros_like(p.data) for p in (layer.affine.weight, layer.affine.bias) if p is not None] for layer in layers]
    for start in range(0, len(x), batch_size):
        part = x[start:start + batch_size]
        for statistic, (_, _, z, h, slope) in zip(statistics, walk(model, part)):
            statistic.join(z, h, slope)
        if targets is not None:
            _add_gradients(gradients, model, layers, loss, part, targets[start:start + batch_size])
    return Census(len(x), [_layer_census(s, g if targets is not None else None, len(x), saturation)
                           for s, g in zip(statistics, gradients)])


class Statistics(Extremes):
    """What a census wants to know beyond the extremes."""

    def __init__(self, layer: HiddenLayer) -> None:
        super().__init__(layer)
        self.zsum, self.hsum, self.on, self.flat = np.zeros((4, layer.units))

    def join(self, z: Array, h: Array, slope: Array) -> None:
        self.add(z, slope)
        launch(unit_sums, z, h, slope, self.zsum, self.hsum, self.on, self.flat)


def matching_dtype(x: Array, layers: list[HiddenLayer]) -> Array:
    """x in the dtype of the model; its features must fit."""
    weight = layers[0].affine.weight
    if x.shape[1] != weight.shape[1]:
        raise ValueError(f"x has {x.shape[1]} features, expected {weight.shape[1]}, the inputs of the model")
    return x.astype(weight.dtype, copy=False)


def _add_gradients(gradients: list[list[Array]], model: Module, layers: list[HiddenLayer], loss: Callable[..., Tensor],
                   x: Array, y: Array) -> None:
    parameters = [p for layer in layers for p in (layer.affine.weight, layer.affine.bias) if p is not None]
    with evaluating(model), recording():
        found = iter(grad(loss(model(x), y, reduction="sum"), parameters))
    for arrays in gradients:
        for array in arrays:
            array += next(found).data


def _layer_census(s: Statistics, gradients: list[Array] | None, samples: int, saturation: float) -> LayerCensus:
    layer = s.layer
    mean_h = s.hsum / samples
    with np.errstate(all="ignore"):         # of a network that has diverged, too, a census is taken
        weight_norm = np.linalg.norm(layer.affine.weight.data, axis=1) if layer.norm is None else np.full(layer.units, np.nan)
        margin, dormancy = s.zmax / weight_norm, mean_h / mean_h.mean()
        norm = np.full(layer.units, np.nan) if gradients is None else np.sqrt(
            sum(np.square(g / samples).reshape(layer.units, -1).sum(axis=1) for g in gradients))
    on = 1 - s.flat / samples if layer.activation is None else s.on / samples
    return LayerCensus(layer.name, layer.activation_name, layer.pieces, s.states(saturation), on, s.zmax, s.zsum / samples,
                       margin, mean_h, dormancy, norm)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
