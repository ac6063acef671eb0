"""The inverse problem: which weight decay, rate or momentum brings the first dead unit back at a given step?

By the comparison theorem (laws.py), raising one of the three never delays the return. So the step of the first return falls like
a staircase as the option grows; a bisection finds the ends of one stair. One sample decides: the one with the largest V/z (from
rest all samples return together), or, if only weights or only biases decay, the one with the largest ratio of the part of z that
stays to the size of the part that decays.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import partial
from typing import Any, Literal, get_args

import numpy as np

from .. import functional as F
from ..autodiff.node import Array, no_grad
from ..checks import check_count, check_name
from ..nn import Module
from ..optim import Optimizer
from ..text import Shown
from .closed_form import revival_step
from .formulas import buffers, settings_of
from .laws import ratio
from .layers import Look, flat_edges
from .prognosis import prognosis
from .readings import shown
from .recurrence import Settings
from .rehearsal import Ahead
from .roll_forward import Decay, revival_parts
from .units import Units

Option = Literal["weight_decay", "lr", "momentum"]
OPTIONS: tuple[Option, ...] = get_args(Option)


@dataclass(frozen=True, repr=False)
class Prescription(Shown):
    """The values of one option for which the first dead unit returns exactly at one step.

    - `low`, `high`: the ends of the interval, rounded inwards by about 1 % of its width (by more where rounding moves the step);
      high is inf for step 1.
    - `below`, `above`: a value just outside the interval, and the step of its return (None: never), mostly `at` + 1 and `at` - 1;
      None if there is no such value.
    """
    option: Option
    at: int
    low: float
    high: float
    below: tuple[float, int | None] | None
    above: tuple[float, int | None] | None

    @property
    def ends(self) -> list[tuple[float, int | None]]:
        """(value, step) just outside and at both ends, the smallest value first."""
        inside: list[tuple[float, int | None]] = [(end, self.at) for end in (self.low, self.high) if end < math.inf]
        return [*filter(None, [self.below]), *inside, *filter(None, [self.above])]

    def parts(self) -> list[str]:
        outside = "; ".join(f"{value} gives {'never' if step is None else step}" for value, step in self.ends if step != self.at)
        return [f"{self.option} from {self.low} to {self.high} brings the first unit back at step {self.at}"
                + (f" ({outside})" if outside else "")]


def prescribe(model: Module | Units, x: Any, optimizer: Optimizer, at: int = 300,
              option: Option = "weight_decay") -> Prescription:
    """The interval of one option of SGD in which the first dead unit of the first layer returns exactly at step `at`.

    Nothing is changed. A rehearsal of the optimizer, in the dtype of the model, confirms the steps at both ends and just outside.

    - `x`: the whole training set, (samples, features).
    - `optimizer`: an SGD in its present state; its other options are kept. Buffers that are not empty count.
    - `option`: "weight_decay", "lr" or "momentum" of all parameters of the layer (the decay only of those that decay).

    >>> model = nn.MLP([2, 3, 2], rng=0, dtype="float64")
    >>> model[0].bias.data = [-100.0, 0.0, 0.0]
    >>> x = np.random.default_rng(0).standard_normal((50, 2))
    >>> print(lab.prescribe(model, x, optim.SGD(model.parameters(), lr=0.1, momentum=0.99)))
    weight_decay from 0.00077357 to 0.00077643 brings the first unit back at step 300 (0.00077356 gives 301; 0.00077644 gives 299)
    """
    check_count(at, "prescribe: at")
    check_name(option, OPTIONS, "prescribe: option")
    case = _Case.of(Units.of(model), x, optimizer)
    settings = case.settings
    if (case.velocity or 0.0) > 0 and (option == "momentum" or settings.nesterov or settings.decoupled):
        raise ValueError(f"prescribe: the buffers push every dead unit further down, so a larger {option} may delay the return; "
                         "expected a fresh optimizer")

    step = partial(case.step, option)
    floor, ceiling = 0.0, settings.lr or 1.0
    bounded = option == "momentum" or case.decay != "both"
    if option == "momentum":
        floor, ceiling = 1e-9 if settings.nesterov else 0.0, float(np.nextafter(1, 0))
    elif bounded:                       # up to lr*weight_decay = 1: beyond, the part that decays flips its sign at every step
        ceiling = 1 / ((settings.lr if option == "weight_decay" else settings.weight_decay) or 1.0)
    while not bounded and step(ceiling) > 1 and ceiling < 1e12:
        ceiling *= 2
    if not step(ceiling) <= at <= step(floor):
        raise ValueError(f"prescribe: at is {at}, but {option} gives steps from {shown(step(ceiling), '.0f')} (at {ceiling:.6g}) "
                         f"to {shown(step(floor), '.0f')} (at {floor:g}); expected one of these")
    low = floor if step(floor) == at else _fall(step, floor, ceiling, at)[1]
    if step(low) != at:
        raise ValueError(f"prescribe: no {option} brings the first unit back at step {at}; at {low:.6g} the step falls from "
                         f"{shown(step(float(np.nextafter(low, 0))), '.0f')} to {shown(step(low), '.0f')}")
    high = _fall(step, low, ceiling, at - 1)[0] if step(ceiling) < at else ceiling if bounded else math.inf
    unit = Decimal(1).scaleb(math.floor(math.log10((high - low if high < math.inf else low) or 1.0)) - 2)

    def outside(value: Decimal) -> tuple[float, int | None]:
        return float(value), None if step(float(value)) == math.inf else int(step(float(value)))

    for margin in unit / 10, unit, 10 * unit:           # the distance from the ends: larger where rounding moves the step
        least, most, below, above = low, high, None, None
        if low > floor:
            least = float((Decimal(low) + margin).quantize(unit, ROUND_CEILING))
            below = outside((Decimal(low) - margin).quantize(unit, ROUND_FLOOR))
        if step(ceiling) < at:
            most = float((Decimal(high) - margin).quantize(unit, ROUND_FLOOR))
            above = outside((Decimal(high) + margin).quantize(unit, ROUND_CEILING))
        found = Prescription(option, at, least, most, below, above)
        if least <= most and all(case.confirms(option, value, expected, at) for value, expected in found.ends):
            return found
    raise ValueError(f"prescribe: the interval of {option} from {low:.10g} to {high:.10g} is so narrow that rounding in "
                     f"{case.look.z.dtype} decides the step; expected a smaller at, or a float64 model")


def _fall(step: Callable[[float], float], low: float, high: float, target: int) -> tuple[float, float]:
    """The two neighbouring numbers between which the step falls to `target` or below."""
    while low < (middle := (low + high) / 2) < high:
        low, high = (low, middle) if step(middle) <= target else (middle, high)
    return low, high


@dataclass(frozen=True)
class _Case:
    """The sample that decides: z and its buffer (None: fresh), and the bias where only weights or only biases decay."""

    look: Look
    dead: Array
    optimizer: Optimizer
    settings: Settings
    decay: Decay
    z: float
    velocity: float | None = None
    bias: float | None = None

    @classmethod
    def of(cls, units: Units, x: Any, optimizer: Optimizer) -> _Case:
        look = next(units.walk(units.data(x)))
        layer = look.layer
        if flat_edges(layer.activation) != (0.0, np.inf):
            raise ValueError(f"prescribe: the activation of layer {layer.name} is {layer.activation_name}, expected one that is "
                             "flat below 0 and nowhere else, such as ReLU")
        if not (told := [unit for unit in prognosis(units, x, optimizer, horizon=1).units if unit.layer == layer.name]):
            raise ValueError(f"prescribe: no unit of layer {layer.name} is dead on x, expected at least one")
        if unclaimed := [unit.reason for unit in told if unit.verdict == "estimate"]:
            raise ValueError(f"prescribe: nothing is claimed of layer {layer.name}, expected one without this: {unclaimed[0]}")
        dead, known = np.array([unit.unit for unit in told]), settings_of(optimizer, layer)
        if known is None:
            raise TypeError(f"prescribe: the optimizer is {type(optimizer).__name__}, expected an SGD that moves the weights and "
                            "biases of the first layer with the same options, apart from the decay")
        case, kept = partial(cls, look, dead, optimizer, *known), buffers(look, dead, optimizer) or []
        weight, *biases = (p.data[dead].astype(np.float64) for p in layer.parameters)
        parts = [look.inputs @ weight.T, *(np.broadcast_to(b, (len(look.inputs), len(dead))) for b in biases)]
        if known[1] == "both":
            z = np.minimum(np.add.reduce(parts), 0.0).ravel()
            if not kept:
                return case(float(z.min()))
            v = np.asarray(sum(kept)).ravel()
            best = int(np.lexsort((-z, ratio(z[None], v[None])))[-1])
            return case(float(z[best]), float(v[best]))
        if any(b.any() for b in kept):
            raise ValueError("prescribe: only weights or only biases decay, and the buffers are not empty; expected a fresh "
                             "optimizer")
        still, fading = parts[::-1] if known[1] == "weights" else parts
        with np.errstate(all="ignore"):
            best = int(np.where(fading < 0, -still / fading, -np.inf).argmax())
        return case(float(parts[0].flat[best]), bias=float(parts[1].flat[best]))

    def step(self, option: Option, value: float) -> float:
        """The step of the first return by the closed form; inf for never."""
        settings = asdict(Settings(**{**asdict(self.settings), option: value}))
        if self.bias is None:
            found = revival_step(self.z, None if self.velocity is None else -settings["lr"] * self.velocity, **settings)
        else:
            found = revival_parts(self.z, self.bias, decay=self.decay, **settings).step
        return math.inf if found is None else found

    def confirms(self, option: Option, value: float, step: int | None, at: int) -> bool:
        """Whether the optimizer itself, on a copy of the layer with zero gradients, brings the first unit back at this step
        (None: not until step `at` + 1). Only z at that step and at the step before is computed."""
        parameters = self.look.layer.parameters
        ahead, last, lives = Ahead(parameters, self.optimizer), step or at + 1, False
        for group, p in zip(ahead.twin.param_groups, parameters):
            if option != "weight_decay" or self.decay in ("both", "weights" if p is parameters[0] else "biases"):
                group[option] = value
        for t in range(1, last + 1):
            ahead.step()
            if t >= last - 1:
                if lives:
                    return False
                with no_grad():
                    lives = bool((F.linear(self.look.inputs, *ahead.copies.values()).data[:, self.dead] > 0).any())
        return lives is (step is not None)
