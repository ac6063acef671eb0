"""The prognosis: the future of every dead unit, before the training is run.

A unit that is dead on the whole training set gets a gradient of exactly zero, so the optimizer alone decides its future. A
rehearsal of the optimizer proves the step (`rehearsal`); a formula gives the reason, and what lies beyond the horizon
(`formulas`). Where the inputs of a unit learn, the answer is an estimate that holds them fixed.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from itertools import count, islice, tee
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

from ..autodiff.node import Array, Node, recording
from ..autodiff.tape import grad, history
from ..checks import check_count, check_number, counted, said
from ..nn import Module, Parameter
from ..nn.module import evaluating
from ..ops.linalg import affine
from ..optim import Adam, LRScheduler, Optimizer, ReduceLROnPlateau
from ..text import Table
from .closed_form import Revival
from .drawing import ALIVE, BLUE, axes_of, explain
from .formulas import by_closed_form, by_coasting, by_comparison, moves_as
from .layers import HiddenLayer, Look, State
from .passes import nodes_of, tensors, unfused
from .readings import Reading, for_members
from .rehearsal import Fate, Rehearsal, steepest
from .units import INPUTS, PIECE, Units

SLOPE = "its slope is exactly 0 but can still learn, as it has a gradient on the flat side; once it has moved, the unit lives"
FAR = 10_000        # a return that the closed form predicts beyond the horizon is rehearsed too, up to this step
Schedule = Callable[[int], float] | LRScheduler
Verdict = Literal["never", "revives", "not within the horizon", "estimate"]


@dataclass(frozen=True)
class UnitPrognosis:
    """The future of one dead unit.

    - `verdict`: "never", "revives", "not within the horizon", or "estimate", which claims nothing.
    - `step`: the number of optimizer steps after which some slope is not zero for the first time.
    - `sample`: the row of x through which it returns (of a layer that acts on several positions of a sample: the position,
      counted through all samples).
    - `proved`: whether the verdict is proved for the training on this computer, with all its rounding. "never" is proved so up to
      the horizon, and beyond it in real numbers only (unless nothing moves any more).
    - `between`: (a, b): it is proved that the first return is at one of the steps a to b; a = b where `step` is proved. None if
      no return is predicted.
    """

    layer: str
    unit: int
    verdict: Verdict
    step: int | None
    sample: int | None
    reason: str
    proved: bool
    between: tuple[int, int] | None


@dataclass(frozen=True, repr=False)
class Prognosis(Reading):
    """The futures of all dead units, layer by layer. Printing it gives a table.

    `cut_off`: all units of some hidden layer are dead, in training too, so no gradient reaches this layer, or any before it.
    `opens`: the steps a to b at which the first unit of the last such layer returns; None if none does within the horizon, or
    nothing is claimed.
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
        if layer is not None and not isinstance(layer, str):
            raise TypeError(f"first: the layer is {said(layer)}, expected its name, such as '0'")
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
        return Table(f"prognosis of {counted(len(units), 'dead unit')}", headings, cells, most=rows)

    def parts(self) -> Sequence[str | Table]:
        """The table. If units share a reason, the reasons are below it, each once."""
        table = self.table()
        reasons = list(dict.fromkeys(row[-1] for row in table.rows))
        if len(reasons) == len(table.rows):
            return [table]
        for row in table.rows:
            row[-1] = f"({reasons.index(row[-1]) + 1})"
        return [table, *(f"({number}) {reason}" for number, reason in enumerate(reasons, 1))]

    def plot(self) -> Any:
        """The steps at which the dead units of each layer return, as a matplotlib Figure."""
        layers = list(dict.fromkeys(unit.layer for unit in self.units))
        figure, axes = axes_of(9, 1.6 + 0.45 * len(layers), "When the dead units return", "step", "layer")
        for proved, marker, name in ((True, "o", "proved"), (False, "x", "estimated")):
            if told := [(u.step, layers.index(u.layer)) for u in self.units if u.step is not None and u.proved == proved]:
                axes.plot(*zip(*told), marker, color=ALIVE if proved else BLUE, label=name, clip_on=False)
        counts = [[unit.step is not None for unit in self.units if unit.layer == layer] for layer in layers]
        axes.set_yticks(range(len(layers)), [f"{layer}: {sum(own)} of {len(own)}" for layer, own in zip(layers, counts)])
        axes.set_ylim(max(len(layers), 1) - 0.5, -0.5)
        axes.set_xlim(left=0)
        if not axes.lines:
            axes.set_xticks([])
        explain(figure, axes, "no return is predicted" if layers else "no unit is dead", "outside lower center", ncols=2)
        return figure


@for_members
def prognosis(model: Module | Units, x: Any, optimizer: Optimizer, *, schedule: Schedule | None = None,
              horizon: int = 10_000, loss: Callable[[], Any] | None = None) -> Prognosis:
    """The future of every unit of `model` that is dead on x, if training goes on with `optimizer`. Nothing is changed.

    The claims hold for training steps that begin with `zero_grad`, use any rows of x, and differentiate a loss of the outputs. If
    the derivative multiplies by a slope of 0 (`leaky_relu` with slope 0, PReLU), the gradients must stay finite.

    - `x`: the whole training set, (samples, features): a unit that is active on one sample is not dead.
    - `optimizer`: in its present state, with its buffers and parameter groups.
    - `schedule`: the learning rate of each coming step, ``schedule(0)`` for the next; or a schedule of the optimizer, which makes
      a step after each step of the optimizer.
    - `horizon`: the number of steps of the rehearsal, which goes on to a later return that a formula predicts, up to step 10,000.
    - `loss`: a function without arguments that returns the loss of the training. It is called once, to see whether a dead unit
      gets a gradient after all, for example from a penalty on its weights. Nothing is claimed of such a unit.

    >>> model = nn.MLP([2, 3, 2], rng=0, dtype="float64")
    >>> model[0].bias.data = [-100.0, 0.0, 0.0]
    >>> x = np.random.default_rng(0).standard_normal((50, 2))
    >>> opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    >>> unit = lab.prognosis(model, x, opt).units[0]
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
    units = Units.of(model, x)
    if not any(map(optimizer.holds, units.model.parameters())):
        raise ValueError("prognosis: the optimizer holds no parameter of this model, expected the one that trains it")
    data, layers = units.data(x), units.layers
    looks = [(extremes.look, extremes.states()) for extremes in units.extremes(data)]
    dead = [np.flatnonzero((states == State.DEAD) | (states == State.DEAD_HIGH)) for _, states in looks]
    gates = [i for i, (layer, mine) in enumerate(zip(layers, dead))
             if len(mine) == layer.units and layer.gates.issuperset(one.name for one in layers[:i])]
    reasons = _unclaimed(units, dead, gates, data, optimizer, loss)
    length = _chain(layers, gates, reasons) if optimizer.elementwise else 0
    claims, opens = list[UnitPrognosis](), None
    if any(map(len, dead[:length])):
        claims, rehearsal = _futures([look for look, _ in looks[:length]], dead[:length], optimizer, schedule, horizon)
        first = rehearsal.opens
        opens = (first.a, first.b) if gates[-1:] == [length - 1] and first.a is not None and first.b is not None else None
    found: list[UnitPrognosis] = []
    for (look, states), mine, reason in zip(looks, dead, reasons):
        claimed = {unit.unit: unit for unit in claims if unit.layer == look.layer.name}
        rest = np.array([j for j in mine if j not in claimed], int)
        others = ([_estimate(look.layer, j, reason) for j in rest] if reason else
                  _estimates(look, rest, optimizer, schedule, horizon) if len(rest) else [])
        others += [_estimate(look.layer, j, PIECE) for j in np.flatnonzero(states == State.NEVER_WINS)]
        found += sorted([*claimed.values(), *others], key=lambda unit: unit.unit)
    return Prognosis(found, opens, any(not reasons[i] for i in gates))


def _estimate(layer: HiddenLayer, unit: Any, reason: str) -> UnitPrognosis:
    return UnitPrognosis(layer.name, int(unit), "estimate", None, None, reason, False, None)


# -- the premises: which gradients are exactly zero ------------------------------------------------------------------------


def _unclaimed(units: Units, dead: Sequence[Array], gates: Sequence[int], x: Array, optimizer: Optimizer,
               loss: Callable[[], Any] | None) -> list[str]:
    """For each layer, why nothing is claimed of it; "" if its dead units (before a gate: all) get gradients of exactly zero."""
    with recording():
        if loss is None:
            with evaluating(units.model):
                root, *_ = tensors(units.model(units.example))
        else:
            root = loss()
            if not isinstance(root, Node) or root.array.size != 1:
                raise TypeError(f"prognosis: loss() is {said(root)}, expected a Tensor of one number")
    uses: dict[Any, list[Node]] = {}
    for node in history(root, "prognosis: loss()"):
        for parent in node.parents:
            uses.setdefault(parent, []).append(node)
    learning = [p for layer in units.layers for p in layer.parameters if p.requires_grad]
    gradients = dict(zip(learning, grad(root, learning, retain_graph=True))) if loss is not None and root.requires_grad else {}
    hooked = next((m for m in units.model.modules() if m._hooks), None)
    if hooked is not None:
        return [f"a hook on {type(hooked).__name__} may change outputs or gradients, and nothing is claimed"] * len(units.layers)
    other = _in_training(units, x)
    return [layer.unclaimed or other or _may_learn(
                layer, mine if i > max(gates, default=-1) else slice(None), uses, gradients, optimizer)
            for i, (layer, mine) in enumerate(zip(units.layers, dead))]


def _in_training(units: Units, x: Array) -> str:
    """What is said of all layers if a `forward` of the user's own computes other numbers in training (``F.dropout``, say)."""
    ours = __name__.partition(".")[0]
    own = next((type(m).__name__ for m in units.model.modules() if type(m).__module__.partition(".")[0] != ours), None)
    if own is None:
        return ""
    if units.samples(x) == 1:       # a batch norm has no variance of one
        x = np.repeat(x, 2, units.axis)
    twin = deepcopy(units.model).train().requires_grad_()
    with unfused(twin), recording():
        nodes = nodes_of(twin(x))
    same = units.program == [node.op.name for node in nodes] and all(
        np.array_equal(one.z, other.z, equal_nan=True) for one, other in zip(units.walk(x), units.seen(nodes, units.samples(x)))
        if not one.layer.unclaimed)
    return "" if same else INPUTS.format(f"the forward of {own}")


def _may_learn(layer: HiddenLayer, units: Any, uses: Mapping[Any, list[Node]], gradients: Mapping[Any, Any],
               optimizer: Optimizer) -> str:
    """Why these units of a layer may have a gradient although they are dead; "" if they have none."""
    own = [] if layer.activation is None else layer.activation.parameters()
    if any(p.kind == "slope" and p.requires_grad and optimizer.holds(p) for p in own):
        return SLOPE
    if any(p.hooks for p in layer.parameters):
        return "a hook on its parameters may change their gradients, and nothing is claimed"
    for p in layer.parameters:
        nodes = uses.get(p, [])
        if p.requires_grad and not (len(nodes) == 1 and nodes[0].op in (affine(), affine(nodes[0].op.activation, nodes[0].op.p))):
            return (f"its {p.kind} is used {counted(len(nodes), 'time')} in the graph, expected once, by its layer: if it is "
                    "shared, or in a penalty, a dead unit may get a gradient, and nothing is claimed")
        if p in gradients and gradients[p].array[units].any():
            return "its gradient is not zero although it is dead on x, perhaps by other data or a penalty: nothing is claimed"
        source = nodes[0].parents[0] if nodes else None
        if layer.fixed and source is not None and (source.op is not None or optimizer.holds(source)):
            return "its inputs are results of other operations, or learn themselves, and nothing is claimed"
    return ""


def _chain(layers: Sequence[HiddenLayer], gates: Sequence[int], reasons: Sequence[str]) -> int:
    """How many layers, from the first, are rehearsed together: up to the last gate for which z can be bounded."""
    length = 0
    for i, layer in enumerate(layers):
        if reasons[i] or (layer.follows is not layers[i - 1] if i else not layer.fixed):
            break
        length = i + 1 if i == 0 or i in gates else length
        if steepest(layer.activation) is None:
            break
    return length


# -- one chain of layers: the rehearsal, with reasons ----------------------------------------------------------------------


def _estimates(look: Look, dead: Array, optimizer: Optimizer, schedule: Schedule | None, horizon: int) -> list[UnitPrognosis]:
    """The futures if the inputs of the layer did not move, and the optimizer were elementwise."""
    premise = ("with the inputs held fixed" if not look.layer.fixed else
               f"as {type(optimizer).__name__} does not declare that it moves each number by itself (elementwise = True)")
    told = by_closed_form(look, dead, optimizer) if schedule is None else [None]
    units = [UnitPrognosis(look.layer.name, int(j), "estimate", r.step, r.sample, r.reason, False, None)
             for j, r in zip(dead, told) if r is not None]
    if len(units) < len(dead):
        units, _ = _futures([look], [dead], optimizer, schedule, horizon)
    return [replace(unit, verdict="estimate", proved=False, between=None, reason=f"estimate {premise}: {unit.reason}")
            for unit in units]


@np.errstate(all="ignore")      # numbers that overflow are within rounding
def _futures(looks: Sequence[Look], dead: Sequence[Array], optimizer: Optimizer, schedule: Schedule | None,
             horizon: int) -> tuple[list[UnitPrognosis], Rehearsal]:
    """The futures of the dead units of a chain, as far as it proves them; and its rehearsal."""
    rehearsal = Rehearsal([look.layer for look in looks], dead, looks[0].inputs, optimizer)
    told = by_closed_form(looks[0], dead[0], optimizer) if schedule is None else [None] * len(dead[0])
    far = [revival.step for revival in told if revival is not None and revival.step is not None and revival.step <= FAR]
    rates, again = tee(_rates(schedule, optimizer, rehearsal.held))
    rehearsal.run(max([horizon, *far]), None if schedule is None else rates)
    if schedule is not None:
        told = by_comparison(looks[0], dead[0], optimizer, list(islice(again, rehearsal.t)))
    elif rehearsal.t and not rehearsal.still and isinstance(optimizer, Adam) and moves_as(Adam, optimizer):
        told = [old or new for old, new in zip(told, by_coasting(looks[0].layer, dead[0], rehearsal))]
    opened, found = rehearsal.opens.a, []
    for i, look in enumerate(looks):
        for revival, (unit, fate) in zip(told if i == 0 else [None] * len(dead[i]), rehearsal.fates[i].items()):
            if i == 0 or opened is None or (fate.b is not None and fate.b <= opened):
                found.append(_future(look.layer.name, unit, fate, revival, rehearsal, type(optimizer).__name__))
    return found, rehearsal


def _future(layer: str, unit: int, fate: Fate, told: Revival | None, rehearsal: Rehearsal, name: str) -> UnitPrognosis:
    """The prognosis that follows from a fate; `told` is the answer of a formula for real numbers, if there is one."""
    ideal = f"; in real numbers {told.reason}" if told else ""
    if fate.a is not None and fate.b is not None:
        step, sample = fate.step, fate.sample
        reason = f"step {step}, through sample {sample}: by a rehearsal of {name} with zero gradients"
        if told is not None and told.step == step:
            sample, reason = told.sample, told.reason
        if fate.a < fate.b:
            reason = f"steps {fate.a} to {fate.b}, within rounding; {reason}"
        return UnitPrognosis(layer, unit, "revives", step, sample, reason, fate.a == fate.b, (fate.a, fate.b))
    if fate.a is not None:
        reason = f"from step {fate.a} on, some z is within rounding of the edge{ideal}"
        return UnitPrognosis(layer, unit, "estimate", fate.step, fate.sample, reason, False, None)
    never = told.reason if told and told.step is None and told.decided else ""
    if rehearsal.still and not never:
        never = f"never: without a gradient {name} does not move it"
    late = f"a rehearsal of {name} over {rehearsal.t} steps does not bring it back{ideal}"
    return UnitPrognosis(layer, unit, "never" if never else "not within the horizon", None, None, never or late, True, None)


def _rates(schedule: Schedule | None, optimizer: Optimizer, moved: Mapping[Parameter, Parameter]) -> Iterator[list[float]]:
    """The rates of the coming steps, for each of the parameters that move."""
    groups = [dict(group) for group in optimizer.param_groups]
    mine = [group for p in moved for group in groups if any(p is q for q in group["params"])]
    if isinstance(schedule, LRScheduler):
        schedule = deepcopy(schedule, {id(optimizer): SimpleNamespace(param_groups=groups)})
    for t in count():
        yield [check_number(schedule(t), f"schedule({t})") if callable(schedule) else group["lr"] for group in mine]
        if isinstance(schedule, LRScheduler):
            schedule.step()         # type: ignore[attr-defined]        # all have it, with their own arguments
