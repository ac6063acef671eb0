"""Why is a gradient zero? The reason for every entry of every parameter, over a whole data set."""
from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import functional as F
from ..autodiff.node import Array, recording, value
from ..checks import as_numbers, check_count, check_name, counted, said
from ..inside.reasons import Found, Reason, added, reasons
from ..nn import Module, Parameter
from ..tensor import Tensor
from ..text import Table
from .drawing import axes_of
from .passes import tensors, unfused
from .readings import Reading, for_members
from .units import BATCH, Units, check_finite, labelled, module_of, samples_axis

BECAUSE = {
    Reason.UNDERFLOW: "its terms are too small for the type",
    Reason.CANCELLED: "its terms cancel each other, as those of a bias before a batch normalisation do",
    Reason.SATISFIED_LOSS: "the loss is satisfied wherever it could act",
    Reason.DEAD_DOWNSTREAM: "every later unit that it reaches is flat there",
    Reason.ZERO_WEIGHT_DOWNSTREAM: "the weights that lead on are exactly zero",
    Reason.CLIPPED: "a maximum or minimum takes the bound in place of it",
    Reason.SATURATION: "the activation is so saturated that its slope is rounded to zero",
    Reason.ZERO_INPUT: "the input that it multiplies is zero",
    Reason.MASK: "its unit is on the flat side on every sample",
    Reason.FROZEN: "it requires no gradient",
    Reason.DISCONNECTED: "nothing leads from it to the loss",
}
COLOURS = {
    Reason.NONE: "#e8e8e8", Reason.MASK: "#1f2d4a", Reason.DEAD_DOWNSTREAM: "#7d7461", Reason.SATURATION: "#a9b4c8",
    Reason.SATISFIED_LOSS: "#009e73", Reason.ZERO_INPUT: "#0072b2", Reason.ZERO_WEIGHT_DOWNSTREAM: "#3a9bc9",
    Reason.UNDERFLOW: "#d1495b", Reason.CANCELLED: "#b0529a", Reason.CLIPPED: "#b8860b", Reason.FROZEN: "#00c2d1",
    Reason.DISCONNECTED: "#000000",
}


@dataclass(frozen=True, repr=False)
class WhyZero(Reading):
    """The reasons for all zeros in the gradients of parameters. Printing it gives the counts, and a sentence for each reason.

    - `reasons`: for each parameter (of one unit: for its part), an array of its shape with integers of `lab.Reason`.
    """

    samples: int
    reasons: dict[str, Array]

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """For each parameter, how many entries have which reason."""
        found = {}
        for name, codes in self.reasons.items():
            numbers = np.bincount(codes.ravel(), minlength=len(Reason))
            found[name] = {reason.label: int(numbers[reason]) for reason in Reason if numbers[reason]}
        return found

    @property
    def found(self) -> list[Reason]:
        """The reasons that occur, the most frequent first."""
        numbers = np.bincount(np.concatenate([codes.ravel() for codes in self.reasons.values()]), minlength=len(Reason))
        return [Reason(code) for code in np.argsort(-numbers, kind="stable").tolist() if code and numbers[code]]

    def to_dict(self) -> dict[str, Any]:
        """The counts, and the codes of all entries as nested lists."""
        return {"samples": self.samples, "codes": {reason.label: int(reason) for reason in Reason}, "counts": self.counts,
                "reasons": {name: codes.tolist() for name, codes in self.reasons.items()}}

    def table(self) -> Table:
        """One row per parameter: how many of its entries have which reason."""
        counts, columns = self.counts, [Reason.NONE, *self.found]
        return Table(f"why gradients are zero, on {counted(self.samples, 'sample')}",
                     ["parameter", "entries", *(reason.label for reason in columns)],
                     [(name, self.reasons[name].size, *(own.get(reason.label, "-") for reason in columns))
                      for name, own in counts.items()])

    def parts(self) -> list[str | Table]:
        said = [f"{reason.label}: {BECAUSE[reason]}" for reason in self.found]
        return [self.table(), "\n".join(said) or "no entry is exactly zero"]

    def plot(self) -> Any:
        """A bar for each parameter: the share of its entries for each reason."""
        names = list(self.reasons)
        figure, axes = axes_of(9, 1.6 + 0.32 * len(names), "Why gradients are zero", "share of the entries, %", "")
        ends = np.zeros(len(names))
        for reason in [*self.found, Reason.NONE]:
            shares = np.array([100 * float((self.reasons[name] == reason).mean()) for name in names])
            axes.barh(names, shares, left=ends, color=COLOURS[reason], label=reason.label, height=0.75)
            ends += shares
        axes.set(xlim=(0, 100), ylim=(len(names) - 0.5, -0.5))
        figure.legend(loc="outside lower center", frameon=False, ncols=5, fontsize=8.5)
        return figure


@for_members
def why_zero(model: Module | Units, x: Any, y: Any, parameter: Parameter | str | tuple[int, int] | None = None, *,
             loss: Callable[..., Tensor] = F.cross_entropy, batch_size: int = BATCH) -> WhyZero:
    """Why entries of the gradient are exactly zero: for each parameter of any module, over a whole data set in batches.

    The model is not changed. It runs as it is, in training or in evaluation mode: only in training does a batch normalisation
    cancel the bias before it. (Such a gradient is zero up to rounding, and counts as cancelled.)

    - `y`: labels (or targets of `loss`).
    - `parameter`: a parameter or its name; or (layer, unit), counted from 0 among the hidden layers: the unit's incoming weights
      and bias. None: all parameters.
    - `loss`: ``loss(output, y, reduction="sum")``; whatever it computes from the output counts as the loss.

    >>> model = nn.MLP([2, 4, 3], rng=0)
    >>> model[0].bias.data = [-100.0, 0.0, 0.0, 100.0]
    >>> x, y = np.random.default_rng(0).standard_normal((50, 2)), np.arange(50) % 3
    >>> lab.why_zero(model, x, y, (0, 0)).counts
    {'0.weight[0]': {'mask': 2}, '0.bias[0]': {'mask': 1}}
    """
    given, model = model, module_of(model, "why_zero")
    x, names = check_finite(as_numbers(value(x), "x"), "x"), dict(model.named_parameters())
    chosen = _chosen(given, x, names, parameter)
    axis = samples_axis(model)
    parts = labelled(x, y, axis, loss, batch_size, "why_zero")
    twin = deepcopy(model)
    copies = dict(twin.named_parameters())
    gradients: dict[str, Found] = {}
    for part, targets in parts:
        with unfused(twin), recording():
            output = twin(part)
            found = reasons(loss(output, targets, reduction="sum"), tensors(output))
        for name, copy in copies.items():
            if copy in found:
                gradients[name] = added(gradients[name], found[copy]) if name in gradients else found[copy]
    codes = {name: gradients[name][1] if name in gradients else
             np.full(p.shape, Reason.DISCONNECTED if p.requires_grad else Reason.FROZEN, np.uint8) for name, p in names.items()}
    return WhyZero(x.shape[axis], {label: codes[name][rows] for label, (name, rows) in chosen.items()})


def _chosen(model: Module | Units, x: Any, names: dict[str, Parameter], parameter: Any) -> dict[str, tuple[str, Any]]:
    """What is asked for: a label for each parameter, with its name and the rows."""
    if parameter is None:
        return {name: (name, ...) for name in names}
    if isinstance(parameter, tuple) and len(parameter) == 2:
        layers = Units.of(model, x).layers
        layer, unit = (check_count(i, "why_zero: an entry of (layer, unit)", least=0) for i in parameter)
        if layer >= len(layers) or unit >= layers[layer].units:
            raise IndexError(f"why_zero: got (layer, unit) = {parameter}, expected one of {len(layers)} hidden layers and one of "
                             f"its units, {', '.join(str(one.units) for one in layers)}")
        own = layers[layer].parts
        return {f"{name}[{unit}]": (name, (*[slice(None)] * own[p][0], np.s_[(first := (own[p][1].start or 0) + unit):first + 1]))
                for name, p in names.items() if p in own}
    found = check_name(parameter, names, "why_zero: a parameter") if isinstance(parameter, str) else next(
        (name for name, p in names.items() if p is parameter), None)
    if found is None:
        raise ValueError(f"why_zero: got {said(parameter)}, expected a parameter of this model, its name, or (layer, unit)")
    return {found: (found, ...)}
