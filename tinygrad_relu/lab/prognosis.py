"""The prognosis: what will become of every dead unit, before the training is run.

A unit that is dead on the whole training set gets a gradient of exactly zero, whatever the rest of the network does. In the
first hidden layer its inputs do not move either, so its future follows from the optimizer alone and can be told to the step:
by the closed forms of `closed_form`, or, where there is none (Adam, kinks away from 0, schedules), by a rehearsal, which
runs the optimizer itself on a copy of the layer with zero gradients. In deeper layers the inputs move, and what is said is an
estimate that holds them still.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from ..autodiff.node import Array
from ..checks import check_count, check_samples
from ..nn import Module, Parameter, PReLU
from ..optim import SGD, Optimizer
from .census import matching_dtype
from .closed_form import layer_revivals
from .roll_forward import revival_parts
from .tables import Table
from .units import Extremes, HiddenLayer, State, flat_edges, hidden_layers, walk

NORMALISED = "a norm stands before the activation: in training z depends on the batch, and nothing is claimed"
PIECE = "a piece that never wins moves by the optimizer alone; whether it wins again depends on the others, which learn"
SLOPE = "its slope is exactly 0 but can still learn, as it has a gradient on the flat side; once it has moved, the unit lives"
Schedule = Callable[[int], float]
Verdict = Literal["never", "revives", "not within the horizon", "estimate"]


@dataclass(frozen=True)
class UnitPrognosis:
    """The future of one dead unit.

    Attributes
    ----------
    layer, unit
        Name of the layer, index of the unit.
    verdict : str
        "never", "revives", "not within the horizon" (a rehearsal proves nothing beyond its end), or "estimate".
    step : int or None
        The number of optimizer steps after which some pre-activation is on the live side for the first time.
    sample : int or None
        The row of x through which it returns.
    reason : str
    exact : bool
        Whether the theory claims the step to the integer: first layer, float64.
    """

    layer: str
    unit: int
    verdict: Verdict
    step: int | None
    sample: int | None
    reason: str
    exact: bool


@dataclass(frozen=True)
class Prognosis:
    """The futures of all dead units, layer by layer. Printing it gives a table."""

    units: list[UnitPrognosis]

    def first(self, layer: str | None = None) -> UnitPrognosis | None:
        """The unit that returns first (in one layer); None where none does."""
        back = [u for u in self.units if u.step is not None and layer in (None, u.layer)]
        return min(back, key=lambda u: u.step or 0, default=None)

    def to_dict(self) -> list[dict[str, Any]]:
        return [asdict(unit) for unit in self.units]

    def table(self, rows: int | None = 24) -> Table:
        """One row per dead unit, the earliest first; `rows` is how many at most (None: all)."""
        units = sorted(self.units, key=lambda u: (u.step is None, u.step or 0))
        shown = units if rows is None else units[:rows]
        rest = f" ({len(shown)} of them shown)" if len(shown) < len(units) else ""
        table = Table(f"prognosis of {len(units)} dead units{rest}", ["layer", "unit", "verdict", "step", "sample", "reason"])
        for u in shown:
            table.add(u.layer, u.unit, u.verdict, *("-" if v is None else v for v in (u.step, u.sample)), u.reason)
        return table

    def __str__(self) -> str:
        return str(self.table())


def prognosis(model: Module, x: Any, optimizer: Optimizer, *, schedule: Schedule | None = None,
              horizon: int = 10_000) -> Prognosis:
    """What will become of every unit of `model` that is dead on x, if `optimizer` goes on. Nothing is changed.

    Parameters
    ----------
    model : Sequential
    x : array_like, shape (samples, features)
        The whole training set: a unit that one sample wakes is not dead.
    optimizer : Optimizer
        As it is now, buffers and parameter groups included.
    schedule : callable, optional
        The learning rate of each coming step, ``schedule(0)`` being that of the next; then every unit is rehearsed.
    horizon : int
        How many steps a rehearsal looks ahead.

    Returns
    -------
    Prognosis

    Examples
    --------
    >>> from tinygrad_relu import nn, optim
    >>> model = nn.MLP([2, 3, 2], rng=0, dtype="float64")
    >>> model[0].bias.data = [-100.0, 0.0, 0.0]
    >>> x = np.random.default_rng(0).standard_normal((50, 2))
    >>> opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    >>> unit = prognosis(model, x, opt).units[0]
    >>> unit.verdict, unit.step, unit.exact
    ('revives', 24, True)
    """
    check_count(horizon, "horizon")
    x = matching_dtype(check_samples(x), hidden_layers(model))
    units: list[UnitPrognosis] = []
    for layer, inputs, z, _, slope in walk(model, x):
        extremes = Extremes(layer)
        extremes.add(z, slope)
        states = extremes.states()
        dead = np.flatnonzero((states == State.DEAD) | (states == State.DEAD_HIGH))
        if layer.norm is not None:
            units += [UnitPrognosis(layer.name, int(j), "estimate", None, None, NORMALISED, False) for j in dead]
        elif len(dead) and isinstance(layer.activation, PReLU) and optimizer.holds(layer.activation.weight):
            units += [UnitPrognosis(layer.name, int(j), "estimate", None, None, SLOPE, False) for j in dead]
        elif len(dead):
            units += _layer_prognosis(layer, inputs, z, states, dead, optimizer, schedule, horizon)
        units += [UnitPrognosis(layer.name, int(j), "estimate", None, None, PIECE, False)
                  for j in np.flatnonzero(states == State.NEVER_WINS)]
    return Prognosis(units)


def _layer_prognosis(layer: HiddenLayer, x: Array, z: Array, states: Array, dead: Array, optimizer: Optimizer,
                     schedule: Schedule | None, horizon: int) -> list[UnitPrognosis]:
    originals = [p for p in (layer.affine.weight, layer.affine.bias) if p is not None]
    if not any(optimizer.holds(p) for p in originals):
        frozen = "never: the optimizer does not move this layer"
        return [UnitPrognosis(layer.name, int(j), "never", None, None, frozen, layer.depth == 0) for j in dead]
    told = None
    relu_like = flat_edges(layer.activation)[0] == 0 and not (states[dead] == State.DEAD_HIGH).any()
    if relu_like and schedule is None and isinstance(optimizer, SGD) and all(map(optimizer.holds, originals)):
        told = _by_formula(layer, x, z, dead, optimizer)
    if told is None:
        told = _by_rehearsal(layer, x, dead, optimizer, schedule, horizon)
    exact = layer.depth == 0 and z.dtype == np.float64 and not any(
        optimizer.options_of(p).get("dampening") == 1 and optimizer.options_of(p)["weight_decay"]
        for p in originals if optimizer.holds(p))       # dampening 1 with decay: z may tend to exactly 0, and rounding decides
    answers = []
    for j, (step, sample, reason, decided) in zip(dead, told):
        verdict: Verdict = "revives" if step is not None else "never" if decided else "not within the horizon"
        if layer.depth:
            verdict, reason = "estimate", f"estimate with the inputs held still: {reason}"
        answers.append(UnitPrognosis(layer.name, int(j), verdict, step, sample, reason, exact))
    return answers


Told = tuple[int | None, int | None, str, bool]     # step, sample, reason, whether it is proved


def _by_formula(layer: HiddenLayer, x: Array, z: Array, dead: Array, optimizer: Optimizer) -> list[Told] | None:
    """By the closed forms; None where they do not apply (rates or momenta that differ between weights and biases)."""
    weight, bias = layer.affine.weight, layer.affine.bias
    options = dict(optimizer.options_of(weight))
    other = options if bias is None else optimizer.options_of(bias)
    shared = {key: options[key] for key in ("lr", "momentum", "dampening", "nesterov", "decoupled")}
    if any(other[key] != value for key, value in shared.items()):
        return None
    decay_w, decay_b = options["weight_decay"], other["weight_decay"]
    v_w = optimizer.state_of(weight).get("momentum_buffer")
    v_b = None if bias is None else optimizer.state_of(bias).get("momentum_buffer")
    if (v_w is None) != (v_b is None) and bias is not None:
        return None
    z = z[:, dead].astype(np.float64)
    lr = options["lr"]
    drift_w = None if v_w is None else -lr * (x @ v_w[dead].T).astype(np.float64)
    drift_b = np.zeros(len(dead)) if v_b is None else -lr * v_b[dead].astype(np.float64)
    if bias is None or decay_w == decay_b:
        drift = None if drift_w is None else drift_w + drift_b
        found = layer_revivals(z, drift, weight_decay=decay_w, **shared)
    elif decay_w == 0 or decay_b == 0:
        b = bias.data[dead].astype(np.float64)
        found = [revival_parts(z[:, i] - b[i], float(b[i]), None if drift_w is None else drift_w[:, i],
                               None if drift_w is None else float(drift_b[i]), weight_decay=max(decay_w, decay_b),
                               decay="weights" if decay_w else "biases", **shared) for i in range(len(dead))]
    else:
        return None
    return [(r.step, r.sample, r.reason, r.decided) for r in found]


def _by_rehearsal(layer: HiddenLayer, x: Array, dead: Array, optimizer: Optimizer, schedule: Schedule | None,
                  horizon: int) -> list[Told]:
    """By running the optimizer on a copy of the layer with zero gradients: exact, to the last bit, as far as it looks."""
    originals = [p for p in (layer.affine.weight, layer.affine.bias) if p is not None]
    stand_ins = [Parameter(p.data, kind=p.kind) for p in originals]
    moved = {p: copy for p, copy in zip(originals, stand_ins) if optimizer.holds(p)}
    copies, twin = list(moved.values()), optimizer.twin(moved)
    stand_in = HiddenLayer(layer.name, _Affine(*stand_ins), layer.activation, layer.depth)  # type: ignore[arg-type]
    low, high = flat_edges(layer.activation)
    first: dict[int, tuple[int, int]] = {}
    still = False
    for t in range(1, horizon + 1):
        for p in copies:
            p.grad = np.zeros_like(p.data) if p.grad is None else p.grad
        if schedule is not None:
            for group in twin.param_groups:
                group["lr"] = float(schedule(t - 1))
        before = [p.data.copy() for p in copies]
        twin.step()
        still = schedule is None and all(np.array_equal(p.data, b) for p, b in zip(copies, before)) and not twin.has_inertia()
        z = stand_in.pre_activations(x).data[:, dead]
        live = (z > low) & (z < high)
        for i in np.flatnonzero(live.any(axis=0)):
            if int(i) not in first:
                first[int(i)] = t, int(np.where(live[:, i], z[:, i], -np.inf).argmax())
        if still or len(first) == len(dead):
            break
    name = type(optimizer).__name__
    return [(*first[i], f"step {first[i][0]}, by a rehearsal of {name} with zero gradients", True) if i in first else
            (None, None, f"never: without a gradient {name} does not move it", True) if still else
            (None, None, f"a rehearsal of {name} over {horizon} steps does not bring it back", False)
            for i in range(len(dead))]


@dataclass(frozen=True)
class _Affine:
    """The weights of a rehearsed layer."""

    weight: Parameter
    bias: Parameter | None = None
