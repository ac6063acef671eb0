"""The results of the main job: a table and sentences, and the dict for the JSON file."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any

from ..checks import counted
from ..data import Dataset
from ..nn import Maxout
from ..text import Table, print_parts
from .census import finite
from .revive import Outcome, Sick
from .units import GONE


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
    rows = Table("", ["treatment", "eta\nlambda", "thresh-\nold", "pre-\ndicted", "ob-\nserved", "dead units,\nby layer",
                      "accuracy"], gap=1)
    for o in outcomes:
        rows.add(o.treatment.name, f"{o.eta_lambda:.2g}" if o.eta_lambda else "0",
                 "-" if o.threshold is None else f"{o.threshold:.2g}", *steps_in_words(o),
                 f"{' '.join(map(str, sick.dead))}→{' '.join(map(str, o.dead))}", f"{sick.accuracy:.2f}→{o.accuracy:.2f}")
    return rows


def steps_in_words(o: Outcome) -> tuple[str, str]:
    """The predicted and the observed step of the first return, in words."""
    unknown = "-" if not o.claims else "never" if o.verdict.startswith("never") else "unknown"
    return (unknown if o.predicted_step is None else str(o.predicted_step),
            str(o.observed_step) if o.observed_step is not None else f">{o.steps}" if o.claims else "-")


def sentences(sick: Sick, outcomes: Sequence[Outcome]) -> list[str]:
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
    for key, why in (("sgd-l2", "L2 alone shrinks weights and bias by the same factor: every pre-activation keeps its sign"),
                     ("heavy-decoupled", "Decoupled decay does not enter the momentum buffer: nothing swings")):
        if key in found and found[key].claims and found[key].observed_step is None:
            said.append(f"{why}, and the unit stays dead.")
    for o in outcomes:
        if o.threshold is None or o.predicted_step is None or o.eta_lambda <= o.threshold or "inside" not in o.verdict:
            continue
        learnt = o.learned or o.observed_step is None
        observed = f"not within {o.steps} steps" if o.observed_step is None else f"step {o.observed_step}"
        said.append(f"{o.treatment.name}: eta lambda = {o.eta_lambda:.3g} is above the threshold {o.threshold:.3g}, so decay and "
                    f"momentum together swing every pre-activation through zero. Predicted: step {o.predicted_step}. Observed: "
                    f"{observed}. Accuracy {sick.accuracy:.2f} became {o.accuracy:.2f}"
                    + ("." if learnt else ": so strong a decay prevents learning." if o.treatment.weight_decay > 0.01 else
                       ": the units came back, but have not learned."))
    if "leaky" in found:
        said.append("The leaky twin was never dead, because its slope on the left is 0.01 and not 0. But "
                    + (f"it comes back a hundred times more slowly than it left, here to accuracy {found['leaky'].accuracy:.2f}."
                       if isfinite(found["leaky"].loss) else "here it diverged: its loss is not finite."))
    wrong = [f"{o.treatment.name}: {difference}" for o in outcomes for difference in o.disagreements]
    if wrong:
        more = "; ..." if len(wrong) > 5 else ""
        said.append(f"THE THEORY FAILED for {counted(len(wrong), 'unit')}: {'; '.join(wrong[:5])}{more}.")
    else:
        said += _confirmed([o for o in outcomes if o.claims])
    deeper = [o.treatment.name for o in outcomes if o.claims and o.observed_step is None and o.learned
              and any((GONE[layer[0]] & ~GONE[layer]).any() for layer in o.states[1:])]
    if deeper:
        said.append("The predicted step is that of the first layer, whose inputs do not change. Deeper units can return because "
                    f"their inputs change. Some did under {'; '.join(deeper)}, and the accuracy rose.")
    return said


def print_report(dataset: Dataset, sick: Sick, outcomes: Sequence[Outcome], *, kill_lr: float) -> None:
    """Print the table and the sentences."""
    killed = " and ".join(f"{dead} of {layer.shape[1]}" for dead, layer in zip(sick.dead, sick.states))
    units = "pieces" if isinstance(sick.model[0], Maxout) else "units"
    print_parts(f"{described(dataset, sick)}. {sick.steps} steps at rate {kill_lr:g} killed {killed} {units}, layer by layer; "
                f"accuracy {sick.accuracy:.2f}. Then {outcomes[0].steps} steps of each treatment:", table(sick, outcomes),
                *(f"- {sentence}" for sentence in sentences(sick, outcomes)))


def _confirmed(claims: list[Outcome]) -> Iterator[str]:
    """Sentences about the exact predictions: only those that could be observed count as confirmed."""
    untested = [o for o in claims if o.untested]
    late = [o for o in claims if o.ends_before and not o.untested]
    seen = len(claims) - len(untested) - len(late)
    if seen:
        yield (f"{seen} of {len(claims)} exact predictions could be observed, over {claims[0].steps} steps, and held: every dead "
               "unit of the first layer that was due returned at its predicted step, and no other did.")
    if late:
        yield f"{len(late)} of {len(claims)} not yet due: " + "; ".join(
            f"{o.treatment.name} needs {o.predicted_step} steps, ran {o.steps}" for o in late) + "."
    if untested:
        yield f"{len(untested)} of {len(claims)} not tested: " + "; ".join(
            f"{o.treatment.name}, as {o.untested}" for o in untested) + "."
