"""The prognosis: the future of every dead unit, before the training is run.

A unit that is dead on the whole training set gets a gradient of exactly zero, whatever the rest of the network does. In the first
hidden layer its inputs do not move either, so the optimizer alone decides its future, to the step. A closed form gives the answer
(`closed_form`), or, where none is known (Adam, schedules, kinks away from 0), a rehearsal: it runs the optimizer on a copy of the
layer with zero gradients. In deeper layers the inputs move; the answer is then an estimate that holds them fixed.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from itertools import count
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

from .. import functional as F
from ..autodiff.node import Array, no_grad
from ..checks import check_count, check_number, said
from ..nn import Module, Parameter
from ..optim import SGD, LRScheduler, Optimizer, ReduceLROnPlateau
from ..text import Table
from .closed_form import Revival, layer_revivals
from .recurrence import Settings
from .roll_forward import Decay, revival_parts
from .units import HiddenLayer, Look, State, Units, flat_edges

NORMALISED = "a norm comes before the activation: in training z depends on the batch, and nothing is claimed"
PIECE = "a piece that never wins is moved by the optimizer alone; whether it wins again depends on the others, which learn"
SLOPE = "its slope is exactly 0 but can still learn, as it has a gradient on the flat side; once it has moved, the unit lives"
Schedule = Callable[[int], float] | LRScheduler
Verdict = Literal["never", "revives", "not within the horizon", "estimate"]


@dataclass(frozen=True)
class UnitPrognosis:
    """The future of one dead unit.

    Attributes
    ----------
    verdict : "never", "revives", "not within the horizon" (a rehearsal proves nothing beyond its end), or "estimate".
    step : the number of optimizer steps after which some pre-activation is on the live side for the first time.
    sample : the row of x through which it returns.
    proved : whether the whole verdict is a theorem about the computer's training, with its rounding.
    between : the steps a to b of the first return; (step, step) where it is proved, None if no return is foretold.
    """

    layer: str
    unit: int
    verdict: Verdict
    step: int | None
    sample: int | None
    reason: str
    proved: bool
    between: tuple[int, int] | None


@dataclass(frozen=True)
class Prognosis:
    """The futures of all dead units, layer by layer. Printing it gives a table.

    `cut_off`: every unit of the last hidden layer is dead, so the gradient is exactly zero in all hidden layers. `opens`: the
    steps a to b at which the first of them lives again; None if the network is not cut off, or no path opens within the horizon.
    """

    units: list[UnitPrognosis]
    opens: tuple[int, int] | None = None
    cut_off: bool = False

    @property
    def proved(self) -> int:
        """The number of units whose verdict is proved."""
        return sum(unit.proved for unit in self.units)

    def first(self, layer: str | None = None) -> UnitPrognosis | None:
        """The unit that returns first (in one layer); None if none does."""
        back = [u for u in self.units if u.step is not None and layer in (None, u.layer)]
        return min(back, key=lambda u: u.step or 0, default=None)

    def to_dict(self) -> list[dict[str, Any]]:
        return [asdict(unit) for unit in self.units]

    def table(self, rows: int | None = 24) -> Table:
        """One row per dead unit, the earliest return first; at most `rows` (None: all)."""
        units = sorted(self.units, key=lambda u: (u.step is None, u.step or 0))
        cells = [(u.layer, u.unit, u.verdict, *("-" if v is None else v for v in (u.step, u.sample)),      # each said once
                  u.reason.removeprefix(u.verdict).lstrip(": ").replace(f"step {u.step}, through sample {u.sample}: ", ""))
                 for u in units]
        headings = ["layer", "unit", "verdict", "step", "sample", "reason"]
        return Table(f"prognosis of {len(units)} dead units", headings, cells, most=rows)

    def __str__(self) -> str:
        return str(self.table())


def prognosis(model: Module | Units, x: Any, optimizer: Optimizer, *, schedule: Schedule | None = None,
              horizon: int = 10_000, loss: Callable[[], Any] | None = None) -> Prognosis:
    """The future of every unit of `model` that is dead on x, if training goes on with `optimizer`. Nothing is changed.

    Parameters
    ----------
    x : the whole training set, (samples, features): a unit that is active on one sample is not dead.
    optimizer : in its present state, with its buffers and parameter groups.
    schedule : the learning rate of each coming step, ``schedule(0)`` for the next; or a schedule of the optimizer, whose steps
        follow those of the optimizer. Every unit is then rehearsed.
    horizon : the number of steps of a rehearsal.
    loss : a function without arguments that returns the loss of the training.

    >>> model = nn.MLP([2, 3, 2], rng=0, dtype="float64")
    >>> model[0].bias.data = [-100.0, 0.0, 0.0]
    >>> x = np.random.default_rng(0).standard_normal((50, 2))
    >>> opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    >>> unit = prognosis(model, x, opt).units[0]
    >>> unit.verdict, unit.step, unit.proved
    ('revives', 24, True)
    """
    check_count(horizon, "prognosis: horizon")
    if loss is not None and not callable(loss):
        raise TypeError(f"prognosis: loss is {said(loss)}, expected a function without arguments that returns the loss")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"prognosis: the optimizer is {type(optimizer).__name__}, expected the one that trains the model, such "
                        "as optim.SGD(model.parameters(), lr=0.1)")
    known = schedule is None or callable(schedule) or isinstance(schedule, LRScheduler)
    if not known or isinstance(schedule, ReduceLROnPlateau):
        raise TypeError(f"prognosis: the schedule is {type(schedule).__name__}, expected a function of the step (0 is the next), "
                        "or a schedule from optim whose rates are known in advance")
    if isinstance(schedule, LRScheduler) and schedule.optimizer is not optimizer:
        raise ValueError("prognosis: the schedule belongs to another optimizer, expected one of the optimizer that was given")
    units = Units.of(model)
    if not any(map(optimizer.holds, units.model.parameters())):
        raise ValueError("prognosis: the optimizer holds no parameter of this model, expected the one that trains it")
    found: list[UnitPrognosis] = []
    cut_off = False
    for look, extremes in units.extremes(units.data(x)):
        layer, states = look.layer, extremes.states()
        dead = np.flatnonzero((states == State.DEAD) | (states == State.DEAD_HIGH))
        own = [] if layer.activation is None else layer.activation.parameters()
        slope_learns = any(p.kind == "slope" and optimizer.holds(p) for p in own)
        unclaimed = NORMALISED if layer.norm is not None else SLOPE if slope_learns else ""
        if unclaimed:
            found += [_estimate(layer, j, unclaimed) for j in dead]
        elif len(dead):
            found += _layer_prognosis(look, states, dead, optimizer, schedule, horizon)
        found += [_estimate(layer, j, PIECE) for j in np.flatnonzero(states == State.NEVER_WINS)]
        cut_off = len(dead) == layer.units
    return Prognosis(found, None, cut_off)


def _estimate(layer: HiddenLayer, unit: Any, reason: str) -> UnitPrognosis:
    return UnitPrognosis(layer.name, int(unit), "estimate", None, None, reason, False, None)


def _layer_prognosis(look: Look, states: Array, dead: Array, optimizer: Optimizer, schedule: Schedule | None,
                     horizon: int) -> list[UnitPrognosis]:
    layer = look.layer
    moved = [p for p in layer.parameters if optimizer.holds(p)]
    if not moved:
        frozen = "never: the optimizer does not move this layer"
        return [UnitPrognosis(layer.name, int(j), "never", None, None, frozen, layer.depth == 0, None) for j in dead]
    relu_like = flat_edges(layer.activation)[0] == 0 and not (states[dead] == State.DEAD_HIGH).any()
    told = ((_by_formula(look, dead, optimizer) if relu_like and schedule is None else None)
            or _by_rehearsal(look, dead, optimizer, schedule, horizon))
    exact = layer.depth == 0 and look.z.dtype == np.float64 and not any(
        optimizer.options_of(p).get("dampening") == 1 and optimizer.options_of(p)["weight_decay"]
        for p in moved)                                 # dampening 1 with decay: z may tend to exactly 0, and rounding decides
    answers = []
    for j, revival in zip(dead, told):
        verdict: Verdict = "revives" if revival.step is not None else "never" if revival.decided else "not within the horizon"
        reason = revival.reason
        if layer.depth:
            verdict, reason = "estimate", f"estimate with the inputs held fixed: {reason}"
        answers.append(UnitPrognosis(layer.name, int(j), verdict, revival.step, revival.sample, reason, exact,
                                     (revival.step, revival.step) if exact and revival.step is not None else None))
    return answers


def settings_of(optimizer: Optimizer, layer: HiddenLayer) -> tuple[Settings, Decay] | None:
    """SGD's settings for this layer, and the part on which its decay acts; None if weights and biases differ in more than that,
    or the optimizer is not an SGD that moves this layer."""
    if not isinstance(optimizer, SGD) or not all(map(optimizer.holds, layer.parameters)):
        return None
    mine, *rest = (Settings.among(optimizer.options_of(p)) for p in layer.parameters)
    other = rest[0] if rest else mine
    if mine == other:
        return mine, "both"
    if replace(mine, weight_decay=other.weight_decay) != other or (mine.weight_decay and other.weight_decay):
        return None
    return (mine, "weights") if mine.weight_decay else (other, "biases")


def _by_formula(look: Look, dead: Array, optimizer: Optimizer) -> list[Revival] | None:
    """By the closed forms; None where they do not apply."""
    known = settings_of(optimizer, look.layer)
    if known is None:
        return None
    settings, decay = known
    buffers = [optimizer.state_of(p).get("momentum_buffer") for p in look.layer.parameters]
    if len({buffer is None for buffer in buffers}) > 1:
        return None
    drifts = [-settings.lr * (look.inputs @ buffer[dead].T if buffer.ndim == 2 else buffer[dead]).astype(np.float64)
              for buffer in buffers if buffer is not None]
    z = look.z[:, dead].astype(np.float64)
    if decay == "both":
        return layer_revivals(z, sum(drifts) if drifts else None, **asdict(settings))
    biases = look.layer.parameters[1].data[dead].astype(np.float64)
    return [revival_parts(z[:, i] - b, float(b), drifts[0][:, i] if drifts else None, float(drifts[1][i]) if drifts else None,
                          decay=decay, **asdict(settings)) for i, b in enumerate(biases)]


def _rates(schedule: Schedule | None, optimizer: Optimizer, moved: Mapping[Parameter, Parameter]) -> Iterator[list[float]]:
    """The rates of the coming steps, for each of the parameters."""
    groups = [dict(group) for group in optimizer.param_groups]
    mine = [group for p in moved for group in groups if any(p is q for q in group["params"])]
    if isinstance(schedule, LRScheduler):
        schedule = deepcopy(schedule, {id(optimizer): SimpleNamespace(param_groups=groups)})
    for t in count():
        yield [check_number(schedule(t), f"schedule({t})") if callable(schedule) else group["lr"] for group in mine]
        if isinstance(schedule, LRScheduler):
            schedule.step()         # type: ignore[attr-defined]        # all have it, with their own arguments


def _by_rehearsal(look: Look, dead: Array, optimizer: Optimizer, schedule: Schedule | None, horizon: int) -> list[Revival]:
    """By running the optimizer on a copy of the layer with zero gradients: exact to the last bit, up to the horizon."""
    originals = look.layer.parameters
    rehearsed = [Parameter(p.data, kind=p.kind) for p in originals]
    moved = {p: copy for p, copy in zip(originals, rehearsed) if optimizer.holds(p)}
    copies, twin, rates = list(moved.values()), optimizer.twin(moved), _rates(schedule, optimizer, moved)
    low, high = flat_edges(look.layer.activation)
    first: dict[int, tuple[int, int]] = {}
    still = False
    for p in copies:
        p.grad = np.zeros_like(p.data)
    for t in range(1, horizon + 1):
        for group, rate in zip(twin.param_groups, next(rates)):
            group["lr"] = rate
        before = [p.data.copy() for p in copies]
        twin.step()
        still = schedule is None and all(np.array_equal(p.data, b) for p, b in zip(copies, before)) and not twin.has_inertia()
        with no_grad():
            z = F.linear(look.inputs, *rehearsed).data[:, dead]
        live = (z > low) & (z < high)
        for i in np.flatnonzero(live.any(axis=0)):
            if int(i) not in first:
                first[int(i)] = t, int(np.where(live[:, i], z[:, i], -np.inf).argmax())
        if still or len(first) == len(dead):
            break
    name = type(optimizer).__name__
    back = f"by a rehearsal of {name} with zero gradients"
    gone = Revival(None, None, f"never: without a gradient {name} does not move it" if still else
                   f"a rehearsal of {name} over {horizon} steps does not bring it back", decided=still)
    return [Revival(*first[i], f"step {first[i][0]}, {back}") if i in first else gone for i in range(len(dead))]
