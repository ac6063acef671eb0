"""Advice: what the literature recommends, applied to what a census, a prognosis and the lethal rates find in one model."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from .. import functional as F
from ..checks import check_count, counted
from ..nn import Module, PReLU
from ..optim import Optimizer
from ..tensor import Tensor
from ..text import Table
from .census import Census, LayerCensus, census
from .formulas import settings_of
from .layers import GONE, HiddenLayer, State
from .lethal import LethalRates, lethal_lr
from .prognosis import Prognosis, prognosis
from .readings import Reading, for_members
from .sites import Site
from .units import Units, check_optimizer

Urgency = Literal["act", "watch", "fine"]       # the most urgent first
MANY = 0.4          # the share of dead units of which the claim A9 speaks
VANISHED = 1e-3     # mean gradient of the first hidden layer over that of the last
LARGE = 10.0        # gradient over weight: at a rate of 0.1 a step is as long as the weight


@dataclass(frozen=True)
class Hint:
    """One finding, and what to do about it.

    `claim` is the key of the claim behind it ("A8"), `units` says which units of the layer it concerns (empty: all of it).
    """

    urgency: Urgency
    claim: str
    layer: str
    units: list[int]
    finding: str
    advice: str
    reason: str


@dataclass(frozen=True, repr=False)
class Advice(Reading):
    """All hints, the most urgent first. Printing it gives a table; `census`, `prognosis` and `rates` hold what they rest on."""

    hints: list[Hint]
    census: Census
    prognosis: Prognosis | None
    rates: LethalRates | None

    def to_dict(self) -> dict[str, Any]:
        return {"samples": self.census.samples, "hints": [asdict(hint) for hint in self.hints]}

    def table(self) -> Table:
        """One row per hint."""
        return Table(f"advice from {counted(self.census.samples, 'sample')}", ["", "claim", "layer", "found", "advice", "reason"],
                     [(hint.urgency, hint.claim, hint.layer, hint.finding, hint.advice, hint.reason) for hint in self.hints])

    def parts(self) -> list[str]:
        paragraphs = [f"{hint.urgency}: {f'layer {hint.layer}: ' * bool(hint.layer)}{hint.finding}.\n    {hint.advice}.\n"
                      f"    {hint.reason} ({hint.claim})." for hint in self.hints]
        return [f"advice from {counted(self.census.samples, 'sample')}", *paragraphs]

    def plot(self) -> Any:
        """The states of the units of each layer, with the hints beside them, as a matplotlib Figure."""
        return self.census.plot({layer.name: ", ".join(f"{hint.urgency} ({hint.claim})" for hint in self.hints
                                                       if hint.layer == layer.name and hint.urgency != "fine")
                                 for layer in self.census.layers})


class Case(NamedTuple):
    """What the rules look at."""

    units: Units
    census: Census
    optimizer: Optimizer | None
    prognosis: Prognosis | None
    rates: LethalRates | None
    batch_size: int | None

    def layers(self) -> Iterator[tuple[HiddenLayer, LayerCensus]]:
        return zip(self.units.layers, self.census.layers)


@for_members
def advise(model: Module | Units, x: Any, y: Any = None, optimizer: Optimizer | None = None, *,
           loss: Callable[..., Tensor] = F.cross_entropy, batch_size: int | None = None, horizon: int = 1000) -> Advice:
    """What to do about the units of a model: each hint with its reason and its claim. Nothing is changed.

    More arguments give more hints. The data are those of the training.

    - `y`: labels (or targets of `loss`): the gradients of the layers, and with an optimizer the rates at which units die.
    - `optimizer`: which dead units it will bring back by itself, and what its settings do to units.
    - `loss`: ``loss(output, y, reduction="sum")``
    - `batch_size`: of the training: which units are silent on most batches.
    - `horizon`: steps of the prognosis.

    >>> model, x = nn.MLP([2, 4, 3], rng=0), np.random.default_rng(0).standard_normal((50, 2))
    >>> lab.kill(model, x, [0, 2])
    >>> opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.99)
    >>> for hint in lab.advise(model, x, optimizer=opt).hints:
    ...     print(hint.urgency, hint.claim, hint.units, hint.advice)
    act A11 [0, 2] set weight_decay above 0.000251258, or call lab.ReDo().apply(model, optimizer, {0: hint.units}, rng)
    act A9 [0, 2] lower the rate, or train with nn.LeakyReLU, nn.ELU or batch normalisation
    fine A14 [] keep it
    """
    units = Units.of(model, x)
    check_optimizer(optimizer, "advise")
    check_count(horizon, "advise: horizon")
    if batch_size is not None:
        check_count(batch_size, "advise: batch_size")
    found = census(units, x, y, loss=loss)
    whole = not any(layer.count(State.DIVERGED) for layer in found.layers)
    future = prognosis(units, x, optimizer, horizon=horizon) if optimizer is not None and whole and any(found.dead) else None
    rates = lethal_lr(units, x, y, optimizer=optimizer, loss=loss) if whole and y is not None and optimizer is not None else None
    case = Case(units, found, optimizer, future, rates, batch_size)
    hints = [hint for rule in RULES for hint in rule(case)]
    return Advice(sorted(hints, key=lambda hint: get_args(Urgency).index(hint.urgency)), found, future, rates)


# -- the rules, each from a case to its hints ------------------------------------------------------------------------------------


def diverged(case: Case) -> Iterator[Hint]:
    for _, layer in case.layers():
        if gone := np.flatnonzero(layer.state == State.DIVERGED).tolist():
            yield Hint("act", "A13", layer.name, gone, f"z of {counted(len(gone), 'unit')} is NaN or infinite",
                       "go back to the last finite state, and lower the rate", "a rate that overshoots lets the loss grow "
                       "without end; this is not death, and no treatment of units helps")


def cut_off(case: Case) -> Iterator[Hint]:
    if closed := [layer.name for layer in case.census.layers if GONE[layer.state].all()]:
        yield Hint("act", "A23", closed[-1], [], "all units are dead", "revive some of them, for example with lab.DataInit(x)",
                   "no gradient reaches this layer or any before it, and the outputs do not depend on x: training ends at the "
                   "mean of the targets (squared loss) or their median (absolute loss)")


def dead(case: Case) -> Iterator[Hint]:
    for index, (hidden, layer) in enumerate(case.layers()):
        if not (gone := np.flatnonzero(GONE[layer.state]).tolist()):
            continue
        futures = {u.unit: u for u in case.prognosis.units if u.layer == layer.name} if case.prognosis else {}
        if back := [j for j in gone if j in futures and futures[j].step is not None and futures[j].verdict != "estimate"]:
            steps = [futures[j].step or 0 for j in back]
            when = f"at step {steps[0]}" if min(steps) == max(steps) else f"at steps {min(steps)} to {max(steps)}"
            yield Hint("watch", "A11", layer.name, back, f"{counted(len(back), 'dead unit')} will return, {when}",
                       "go on training", "death is not for ever: momentum and decay move a unit that has no gradient")
        if not (stuck := sorted({*gone} - {*back})):
            continue
        if hidden.activation is None:
            yield Hint("watch", "B13", layer.name, stuck, f"{counted(len(stuck), 'Maxout piece')} without a win on any sample",
                       "take fewer pieces, or another seed", "a piece that never wins gets no gradient: it is dead, and the unit "
                       "has one piece fewer")
            continue
        known = futures and all(futures[j].verdict != "estimate" for j in stuck)
        yield Hint("act", "A11", layer.name, stuck, f"{len(stuck)} of {len(layer.state)} units dead"
                   + (", with no return within the horizon" if known else ""), _remedy(case, index, hidden),
                   "their gradient is exactly zero: only decay with momentum, or an intervention, brings them back")
        if len(gone) >= MANY * len(layer.state):
            yield Hint("act", "A9", layer.name, gone, f"{len(gone) / len(layer.state):.0%} of the units are dead",
                       "lower the rate, or train with nn.LeakyReLU, nn.ELU or batch normalisation", "so many deaths come from a "
                       "rate that is too high, or from a start or data that lie on one side")


def _remedy(case: Case, index: int, hidden: HiddenLayer) -> str:
    """The decay above which momentum brings dead units back from rest, if there is one; and an intervention that is possible."""
    known = settings_of(case.optimizer, hidden) if case.optimizer is not None and not hidden.unclaimed else None
    edge = known[0].threshold if known and not known[0].decoupled and known[0].momentum and known[0].lr else None
    window = f"set weight_decay above {edge / known[0].lr:.6g}, or " if known and edge and known[0].eta_lambda <= edge else ""
    site = Site("advise", case.units, index, np.empty(0, int), None, None)
    model = "model" if case.units.tells_inputs else "lab.Units(model, x)"
    for cure, needs, more in (("ReDo()", site.following, ", rng"), ("BumpBias(x)", site.bias, ""),
                              ("SwapToLeaky()", site.activation_place, "")):
        try:
            needs()
        except ValueError:                  # such as outgoing weights that are not its own
            continue
        return f"{window}call lab.{cure}.apply({model if '()' in cure else 'model'}, optimizer, {{{index}: hint.units}}{more})"
    return f"{window}use an activation with a slope on both sides, such as leaky_relu"


def rate(case: Case) -> Iterator[Hint]:
    if case.rates is None or case.optimizer is None:
        return
    lr = max(float(np.max(group["lr"])) for group in case.optimizer.param_groups)
    if lr > case.rates.safe_rate:
        yield Hint("act", "A8", "", [], f"the next step, at rate {lr:g}, kills units",
                   f"lower the rate: up to {case.rates.safe_rate:.3g} the step kills none", "a step that is too long throws a "
                   "unit off the data")
    elif not any(case.census.dead):
        yield Hint("fine", "A10", "", [], f"no unit is dead, and the next step at rate {lr:g} kills none", "keep the rate",
                   "with a proper rate deaths are rare")


def sparse(case: Case) -> Iterator[Hint]:
    for hidden, layer in case.layers():
        alive = layer.state == State.ALIVE
        if hidden.activation_name == "relu" and alive.any():
            rate = float(layer.on_rate[alive].mean())
            yield Hint("fine", "A14", layer.name, [], f"living units are active on {100 * rate:.3g}% of the samples", "keep it",
                       "sparsity is not death: a unit that is active on some samples learns from them")


def rare(case: Case) -> Iterator[Hint]:
    m = case.batch_size
    for _, layer in case.layers() if m else ():
        if units := np.flatnonzero((layer.flat**m > 0.5) & ~GONE[layer.state] & (layer.flat < 1)).tolist():
            enough = int(np.ceil(np.log(2) / (1 - layer.flat[units].max())))
            yield Hint("watch", "A7", layer.name, units, f"{counted(len(units), 'unit')} silent on most batches of {m}",
                       f"judge death on all data; batches of {enough} show each of them half of the time", "a unit that is "
                       "active with probability p is silent on (1 - p)^m of the batches, and learns from the others")


def saturated(case: Case) -> Iterator[Hint]:
    for hidden, layer in case.layers():
        units = np.flatnonzero(layer.state == State.SATURATED).tolist()
        if units and hidden.activation_name == "step":
            yield Hint("act", "D11", layer.name, units, "a step has slope 0 everywhere", "use nn.Step(straight_through=1.0), or "
                       "a step in the last layer only", "no gradient passes")
        elif units:
            yield Hint("act", "D8", layer.name, units, f"{counted(len(units), 'unit')} saturated", "start with smaller weights "
                       "(glorot, lecun), standardise x, or use lab.InsertBatchNorm(x)", "slopes below 0.001 on all data: not "
                       "zero, but the unit hardly learns")


def activations(case: Case) -> Iterator[Hint]:
    names = [hidden.activation_name for hidden, _ in case.layers() if not hidden.is_recurrent]
    if len(set(names)) > 1:
        yield Hint("watch", "B15", "", [], f"several activations: {', '.join(dict.fromkeys(names))}", "use one",
                   "common advice: a mixture has no known merit, and is harder to watch")
    if names.count("sigmoid") > 2:
        yield Hint("watch", "C1", "", [], f"{names.count('sigmoid')} layers of sigmoids", "use relu, or tanh",
                   "each multiplies the gradient by at most 1/4, and its outputs are all positive")


def affine(case: Case) -> Iterator[Hint]:
    for hidden, layer in case.layers():
        same = (layer.state == State.AFFINE) & layer.flags["constant"]
        if units := np.flatnonzero((layer.state == State.AFFINE) & ~same).tolist():
            yield Hint("watch", "B2", layer.name, units, f"{counted(len(units), 'unit')} below 0 on all data", "wait, or use "
                       "lab.Mirror()", "alive, but affine, and slow: back over the kink takes 1 / slope times as many steps")
        if units := np.flatnonzero(same).tolist():
            yield Hint("watch", "A21", layer.name, units, f"{counted(len(units), 'unit')} with the same output on all data",
                       "look at the inputs: they are constant, or their weights are 0", "it acts as a bias of the next layer: "
                       "the layer has fewer dimensions than units")
        if layer.count(State.ALWAYS_ON) == len(layer.state) and hidden.activation is not None:
            yield Hint("act", "A1", layer.name, [], "all units are always on", "standardise x, or use lab.DataInit(x)",
                       "without a kink among the data the layer is affine")


def slopes(case: Case) -> Iterator[Hint]:
    for hidden, layer in case.layers():
        if isinstance(hidden.activation, PReLU) and case.optimizer is not None:
            weight = hidden.activation.weight
            if case.optimizer.holds(weight) and np.any(case.optimizer.options_of(weight)["weight_decay"]):
                yield Hint("act", "B4", layer.name, [], "the slopes of PReLU decay", "put them in a group with weight_decay=0",
                           "decay pulls a PReLU towards a ReLU, which can die")


def norms(case: Case) -> Iterator[Hint]:
    for _, layer in case.layers():
        if layer.flags["idle bias"].all():
            yield Hint("fine", "D10", layer.name, [], "the bias before batch normalisation does nothing", "leave it out: "
                       "nn.Linear(..., bias=False)", "batch normalisation subtracts it again; the norm keeps units alive in "
                       "training while its own bias is above -|weight| / sqrt(m - 1), on batches of m")


def gradients(case: Case) -> Iterator[Hint]:
    mean = [float(layer.gradient.mean()) for layer in case.census.layers]
    sizes = [np.mean([np.linalg.norm(hidden.part(p, p.data), axis=1) for p in hidden.parts if p.kind == "weight"] or np.nan)
             for hidden, _ in case.layers()]
    if not np.isfinite(mean).all():
        return
    first, last, name = mean[0], mean[-1], case.census.layers[0].name
    if max(mean) < 1e-12:
        yield Hint("watch", "D9", "", [], "all gradients are 0, or as good as 0", "ask lab.why_zero whether it is finished",
                   "a loss that is satisfied gives the same zeros as a network that is cut off")
    elif first < VANISHED * last:
        yield Hint("act", "C7", name, [], f"its mean gradient is {first / last:.1g} of that of the last hidden layer", "use relu "
                   "or maxout with the start \"he\", batch normalisation, or residual=True", "a product over the later layers: "
                   "it vanishes with depth, and early layers are frozen (C12)")
    elif any(g > LARGE * size for g, size in zip(mean, sizes)):
        yield Hint("act", "C11", "", [], f"gradients of up to {max(mean):.1g}, where the weights are {max(sizes):.1g}",
                   "start with smaller weights (\"he\"), or clip the gradient", "values and gradients grow by a factor in each "
                   "layer: they explode")


def copies(case: Case) -> Iterator[Hint]:
    for _, layer in case.layers():
        if units := np.flatnonzero(layer.flags["duplicate"]).tolist():
            yield Hint("act", "A21", layer.name, units, f"{counted(len(units), 'unit')} equal to another", "draw them again: "
                       "lab.ReDo()", "with equal outgoing weights they stay equal: the layer has fewer dimensions than units")
        if frozen := np.flatnonzero(layer.flags["frozen"]).tolist():
            yield Hint("fine", "D18", layer.name, frozen, "its weights require no gradient", "set requires_grad if the layer is "
                       "to learn", "it is frozen")


RULES: tuple[Callable[[Case], Iterator[Hint]], ...] = (
    diverged, cut_off, dead, rate, saturated, gradients, affine, copies, slopes, rare, activations, norms, sparse)
