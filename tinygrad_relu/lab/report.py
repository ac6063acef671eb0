"""The results of the main job: the table, the sentences below it, and the dict for the JSON file."""
from __future__ import annotations

import sys
from collections.abc import Sequence
from math import isfinite
from typing import Any

from ..data import Dataset
from ..nn import Maxout
from ..text import Table, show
from .census import finite
from .revive import Outcome, Sick
from .units import GONE

TO = "→" if "utf" in (sys.stdout.encoding or "").lower() else ">"


def described(dataset: Dataset, sick: Sick) -> str:
    """The data and the network in a few words."""
    widths = "-".join(map(str, sick.model.widths))
    return f"{len(dataset):,} samples of {dataset.name}, {widths} {getattr(sick.model[1], 'name', 'maxout')} units"


def to_dict(dataset: Dataset, sick: Sick, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """All results as lists and numbers; a step is None for never."""
    return {"data": dataset.name, "samples": len(dataset), "widths": sick.model.widths,
            "sick": {"dead": sick.dead, "accuracy": sick.accuracy, "loss": finite(sick.loss),
                     "largest_gradient": finite(sick.gradient)},
            "treatments": [outcome.to_dict() for outcome in outcomes]}


def table(sick: Sick, outcomes: Sequence[Outcome]) -> Table:
    """One row per treatment."""
    rows = Table("", ["treatment", "eta\nlambda", "thresh-\nold", "theory", "pre-\ndicted", "ob-\nserved",
                      "dead units,\nby layer", "accuracy"], tight=True)
    for o in outcomes:
        rows.add(o.treatment.name, f"{o.eta_lambda:.2g}" if o.eta_lambda else "0",
                 "-" if o.threshold is None else f"{o.threshold:.2g}", _short(o), _step(o.predicted_step, o),
                 _observed(o), f"{_layers(sick.dead)}{TO}{_layers(o.dead)}", f"{sick.accuracy:.2f}{TO}{o.accuracy:.2f}")
    return rows


def sentences(sick: Sick, outcomes: Sequence[Outcome], steps: int) -> list[str]:
    """What happened and why, for a student."""
    found = {o.treatment.key: o for o in outcomes}
    said = []
    if not isfinite(sick.loss):
        said.append("The network did not become sick, it diverged: its loss is not finite. Use a lower --kill-lr.")
    elif sick.gradient == 0.0 and any(dead == layer.shape[1] for dead, layer in zip(sick.dead, sick.states)):
        said.append("In the sick network, the gradient is exactly zero in every hidden unit: no sample reaches the output "
                    "through a path that is alive. Plain SGD has nothing to follow, and momentum nothing to accumulate.")
    elif sick.gradient == 0.0:
        said.append("In the sick network, the gradient is exactly zero in every hidden unit, but no layer is entirely dead: on "
                    "each path some slope is zero, or the product of the slopes underflows. Only the output layer can learn.")
    else:
        said.append(f"Some path is still alive (the largest gradient of a hidden unit is {sick.gradient:.2g}), so part of the "
                    "network can still learn by its gradient alone. A higher --kill-lr makes it sicker.")
    if "sgd-l2" in found and found["sgd-l2"].exact and found["sgd-l2"].observed_step is None:
        said.append("L2 alone shrinks weights and bias by the same factor: every pre-activation keeps its sign, and the unit "
                    "stays dead.")
    swung = [o for o in outcomes if o.threshold is not None and o.predicted_step is not None and o.eta_lambda > o.threshold
             and "inside" in o.verdict]
    for o in swung:
        learnt = o.accuracy > sick.accuracy + 0.05 or o.observed_step is None
        said.append(f"{o.treatment.name}: eta lambda = {o.eta_lambda:.3g} is above the threshold {o.threshold:.3g}, so decay and "
                    f"momentum together swing every pre-activation through zero. Predicted: step {o.predicted_step}. Observed: "
                    f"{_when(o.observed_step, steps)}. Accuracy {sick.accuracy:.2f} became {o.accuracy:.2f}"
                    + ("." if learnt else ": so strong a decay prevents learning." if o.treatment.weight_decay > 0.01 else
                       ": the units are back, but have not learned yet."))
    if "heavy-decoupled" in found and found["heavy-decoupled"].exact and found["heavy-decoupled"].observed_step is None:
        said.append("Decoupled decay does not enter the momentum buffer: nothing swings, and the unit stays dead.")
    if "leaky" in found:
        said.append("The leaky twin was never dead, because its slope on the left is 0.01 and not 0. But it comes back a hundred "
                    f"times more slowly than it went, here to accuracy {found['leaky'].accuracy:.2f}.")
    wrong = [f"{o.treatment.name}: {difference}" for o in outcomes for difference in o.disagreements]
    claims = [o for o in outcomes if o.exact]
    if wrong:
        more = "; ..." if len(wrong) > 5 else ""
        said.append(f"THE THEORY FAILED for {len(wrong)} units: {'; '.join(wrong[:5])}{more}.")
    elif claims:
        said.append(f"The theory claims to be exact for {len(claims)} treatments. In each of them, every dead unit of the first "
                    "layer did what was predicted, to the step.")
    deeper = [o.treatment.name for o in outcomes
              if o.exact and o.observed_step is None and o.accuracy > sick.accuracy + 0.05 and _deeper_return(o)]
    if deeper:
        said.append("The predicted step is that of the first layer, whose inputs do not change. Deeper units can return because "
                    f"their inputs change. Some did under {'; '.join(deeper)}, and the accuracy rose.")
    return said


def print_report(dataset: Dataset, sick: Sick, outcomes: Sequence[Outcome], *, kill_lr: float, kill_steps: int,
                 steps: int) -> None:
    """Print the table and the sentences."""
    killed = " and ".join(f"{dead} of {layer.shape[1]}" for dead, layer in zip(sick.dead, sick.states))
    units = "pieces" if isinstance(sick.model[0], Maxout) else "units"
    show(f"{described(dataset, sick)}. {kill_steps} steps at rate {kill_lr:g} killed {killed} {units}, layer by layer; "
         f"accuracy {sick.accuracy:.2f}. Then {steps} steps of each treatment:", table(sick, outcomes),
         *(f"- {sentence}" for sentence in sentences(sick, outcomes, steps)))


def _short(o: Outcome) -> str:
    if o.predicted_step is not None:
        return "back"
    return "never" if o.exact and o.verdict.startswith("never") else "-" if not o.exact else "unknown"


def _step(step: int | None, o: Outcome) -> str:
    return str(step) if step is not None else "never" if o.exact else "-"


def _observed(o: Outcome) -> str:
    return f">{o.steps}" if o.exact and o.ends_before and o.observed_step is None else _step(o.observed_step, o)


def _deeper_return(o: Outcome) -> bool:
    """Whether a unit after the first layer was dead at the start, and not at some later step."""
    return any(bool((GONE[states[0]] & ~GONE[states]).any()) for states in o.states[1:])


def _layers(dead: list[int]) -> str:
    return " ".join(map(str, dead))


def _when(step: int | None, steps: int) -> str:
    return f"not within {steps} steps" if step is None else f"step {step}"
