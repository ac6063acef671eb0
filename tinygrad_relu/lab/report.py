"""The results of the main job: tables and sentences, and the dict for the JSON file."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf, isfinite
from typing import Any

from ..checks import counted
from ..nn import Maxout
from ..optim import SGD
from ..text import Table, print_parts
from .layers import GONE, State, flat_edges
from .outcomes import Outcome, Run, Sick, in_words
from .readings import plain, shown
from .treatments import STARTS

LEARNED = 0.9       # the accuracy whose first step is compared


def described(run: Run) -> str:
    """The data and the network in a few words."""
    model = run.networks["sick"].model
    widths = "-".join(map(str, model.widths))
    return f"{len(run.dataset):,} samples of {run.dataset.name}, {widths} {getattr(model[1], 'name', 'maxout')} units"


def to_dict(runs: Sequence[Run]) -> dict[str, Any]:
    """All results as lists and numbers, those of the first seed at the top level. A predicted step of None means never; an
    observed step of None, not within the training."""
    first, *others = map(_run_dict, runs)
    return {**first, "other_seeds": others}


def _run_dict(run: Run) -> dict[str, Any]:
    predictions = [p for outcome in run.outcomes for p in outcome.predictions]
    return {"data": run.dataset.name, "samples": len(run.dataset), "held_out_samples": len(run.held_out or ()), "seed": run.seed,
            "widths": run.networks["sick"].model.widths,
            **{start.replace(" ", "_"): {"dead": sick.dead, "accuracy": sick.accuracy, "loss": plain(sick.loss),
                                         "largest_gradient": plain(sick.gradient)} for start, sick in run.networks.items()},
            "predictions": len(predictions), "wrong": sum(len(outcome.disagreements) for outcome in run.outcomes),
            "proved": sum(p.proved for p in predictions), "treatments": [outcome.to_dict() for outcome in run.outcomes],
            "prescription": plain(run.prescription)}


def table(outcomes: Sequence[Outcome]) -> Table:
    rows = Table("", ["treatment", "eta\nlambda", "thresh-\nold", "pre-\ndicted", "ob-\nserved", "dead units,\nby layer",
                      "accuracy", "held\nout"], gap=1)
    for o in outcomes:
        rows.add(o.treatment.name, f"{o.eta_lambda:.2g}" if o.eta_lambda else "0",
                 shown(o.threshold, ".2g"), o.predicted, o.observed,
                 f"{' '.join(map(str, o.sick.dead))}→{' '.join(map(str, o.dead))}", f"{o.sick.accuracy:.2f}→{o.accuracy:.2f}",
                 shown(o.accuracy_held_out, ".2f"))
    return rows


def sentences(sick: Sick, outcomes: Sequence[Outcome]) -> list[str]:
    """What happened to the sick network and why, for a student."""
    said = [*_on_the_sick(sick)]
    if any(o.claims for o in outcomes):
        said.append("'Predicted' and 'observed' are the steps at which the first dead unit of layer 0 returns: on some sample, "
                    "its slope is not zero any more.")
    still = [o for o in outcomes if o.claims and o.eta_lambda and o.observed_step is None and o.predicted == "never"]
    for why, which in (("L2 alone shrinks weights and bias by the same factor: in layer 0 every pre-activation keeps its sign, "
                        "and the unit stays dead", "same sign for ever"),
                       ("Decoupled decay does not enter the momentum buffer: nothing swings, and the unit stays dead",
                        "decoupled: no swing")):
        if any(o.why == which for o in still):
            said.append(f"{why}.")
    said += _inside_the_window(sick, [o for o in outcomes if o.threshold is not None and o.eta_lambda > o.threshold and o.claims])
    said += _opened([o for o in outcomes if o.opens[1] is not None])
    said += _in_comparison(outcomes)
    said += [f"Your treatment is {o.treatment.described(o.lr)}." for o in outcomes if o.treatment.key == "yours"]
    return said


def _on_the_sick(sick: Sick) -> Iterator[str]:
    now = [layer[-1] for layer in sick.states]
    learned = " It has learned all its samples." if sick.accuracy == 1 else ""
    cut = sum(int((layer == State.CUT_OFF).sum()) for layer in now)
    if not isfinite(sick.loss):
        yield "The network did not become sick, it diverged: its loss is not finite. Use a lower --kill-lr."
    elif sick.gradient == 0.0 and all((GONE[layer] | (layer == State.CUT_OFF)).all() for layer in now):
        living = f" {counted(cut, 'living unit')} {'is' if cut == 1 else 'are'} cut off from it." if cut else ""
        only = " This layer gets the same input for every sample, so it can only learn how frequent each class is."
        yield ("In the sick network, the gradient is exactly zero in every hidden unit: no sample reaches the output through a "
               f"path that is alive.{living} Only the output layer still learns."
               + only * bool(GONE[now[-1]].all() and flat_edges(sick.model[1])[1] == inf))     # all outputs are 0
    elif sick.finished:
        yield (f"The network stands still: its loss is {sick.loss:.2g}, and no gradient is above 1e-12, not even in the output "
               f"layer.{learned}")
    elif sick.gradient == 0.0:
        yield ("In the sick network, the gradient is exactly zero in every hidden unit, but no layer is entirely dead: on "
               "each path, for each sample, some factor of the gradient is zero, or their product underflows. Only the output "
               f"layer can learn.{learned}")
    else:
        yield (f"Some path is still alive (the largest gradient of a hidden unit is {sick.gradient:.2g}), so part of the "
               "network can still learn by its gradient alone."
               + " A higher --kill-lr kills more units." * bool(flat_edges(sick.model[1]) != (-inf, inf)))


def _inside_the_window(sick: Sick, inside: list[Outcome]) -> Iterator[str]:
    if inside:
        where = ("through zero: under each treatment, all units at one step" if flat_edges(sick.model[1]) == (0, inf) else
                 f"towards zero, over an edge of {sick.model[1].name}")
        yield (f"Where eta lambda is above the threshold ({'; '.join(o.treatment.name for o in inside)}), decay and momentum "
               f"together swing z of every dead unit of layer 0 {where}.")
    for o in inside:
        if o.observed_step is not None and not isfinite(o.loss):
            yield f"Under {o.treatment.name}, units came back, and then the training diverged: its loss is not finite."
        elif o.observed_step is not None and not o.learned:
            yield f"Under {o.treatment.name}, units came back, but the network has not learned."


def _opened(opened: list[Outcome]) -> Iterator[str]:
    """The steps of the first open path, where it is not that of the first return in layer 0."""
    told, together = [], [o.treatment.name for o in opened if o.opens[1] == o.observed_step]
    for o in opened:
        if o.opens[1] == o.observed_step:
            continue
        foretold = "" if o.opens_between is None else f" (predicted: {in_words(o.opens_between)})"
        visible = o.sick.accuracy + 0.05
        told.append(f"{o.treatment.name}, step {o.opens[1]}{foretold}, first return in layer 0 "
                    + ("never" if o.observed_step is None else f"at step {o.observed_step}")
                    + (f", accuracy above {visible:.2f} from step {o.reaches(visible)}" if o.learned else ""))
    if told:
        yield ("The hidden layers can learn again from the step at which the first path to the output opens. A unit of the last "
               f"hidden layer may open it before a unit of layer 0 returns, or after: {'; '.join(told)}."
               + (f" Both steps are the same under {'; '.join(together)}." if together else ""))


def _in_comparison(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """How fast the treatments were, as measured."""
    leaky = next((o for o in outcomes if o.treatment.key == "leaky"), None)
    if leaky is not None:
        yield ("The leaky twin was never dead, because its slope on the left is 0.01 and not 0; nothing is claimed of it. "
               + (f"Its accuracy came to {leaky.accuracy:.2f}." if isfinite(leaky.loss) else
                  "Here it diverged: its loss is not finite."))
    if reached := sorted((step, o.treatment.name) for o in outcomes if (step := o.reaches(LEARNED))):
        yield f"Accuracy {LEARNED} was first measured at step {'; '.join(f'{step} under {name}' for step, name in reached)}."


def coasting(run: Run) -> tuple[Table, list[str]]:
    """Momentum alone: the table of its treatments, and what they show."""
    rows = Table("", ["treatment", "dead\nbefore", "pre-\ndicted", "re-\nturned", "as pre-\ndicted", "first and\nlast step",
                      "accuracy", "held\nout"], gap=1)
    said = []
    for o in run.of("shocked", "own steps"):
        mine = [p for p in o.predictions if p.layer == "0"]
        back = [p for p in mine if p.observed is not None]
        due = [p for p in mine if p.between is not None and p.between[0] <= o.steps]
        steps = [p.observed for p in back if p.observed is not None]
        rows.add(o.treatment.name, f"{o.sick.dead[0]} of {o.states[0].shape[1]}", len(due), len(back),
                 f"{sum(not p.fails for p in back)} of {len(back)}", in_words((min(steps), max(steps))) if steps else "-",
                 f"{o.sick.accuracy:.2f}→{o.accuracy:.2f}", shown(o.accuracy_held_out, ".2f"))
    if "shocked" in run.networks:
        how, sick = STARTS["shocked"], run.networks["shocked"]
        edge = flat_edges(sick.model[1])[0]
        said.append(f"A healthy network ({how['kill_steps']} steps of SGD with momentum {how['momentum']} at rate "
                    f"{how['kill_lr']}, accuracy {sick.accuracies[-2][1]:.2f}) gets a shock: the biases of layer 0 are lowered "
                    f"until z of each of its units is at most {edge - how['shock']:g} on all data. Nothing decays. A unit whose "
                    f"buffer pushes z up returns if z coasts further than its distance to {edge:g}. With empty buffers, layer 0 "
                    "does not move.")
    if any(o.claims for o in run.of("own steps")):
        how, (first, *_, last) = STARTS["own steps"], GONE[run.networks["own steps"].states[0]]
        number = int((last & ~first).sum())
        born = f" ({int((first & last).sum())} were dead before the first step)" if (first & last).any() else ""
        whose = "its" if number == 1 else "their"
        said.append(f"The last row is a network in which {counted(number, 'unit')} died by {whose} own steps, at momentum "
                    f"{how['momentum']} and rate {how['kill_lr']}{born}. The step that kills a unit leaves a buffer that "
                    "pushes z further down, so momentum seldom revives a unit that it has killed.")
    return rows, said


def verdict(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """How many predictions were made, how many were wrong, and what could not be tested."""
    made = [(o, p) for o in outcomes if not o.untested for p in o.predictions]
    wrong = [f"{o.treatment.name}: {difference}" for o in outcomes if not o.untested for difference in o.disagreements]
    if made:
        late = sum(p.waits for _, p in made)
        yield (f"{counted(len(made), 'prediction')}, {len(wrong)} wrong, {sum(p.proved for _, p in made):,} proved: one for each "
               "treatment and dead unit for which the theory predicts something: the step of the first return, or that there is "
               "none." + (f" {counted(late, 'return')} {'is' if late == 1 else 'are'} not yet due." if late else ""))
    if wrong:
        more = "; ..." if len(wrong) > 5 else ""
        yield f"THE THEORY FAILED for {counted(len(wrong), 'prediction')}: {'; '.join(wrong[:5])}{more}."
    told = [o for o in outcomes if o.claims]
    for o in told:
        lost = sum(p.until < o.steps and p.observed is None for p in o.predictions)
        if lost and not o.untested:
            yield f"Under {o.treatment.name}, {counted(lost, 'unit')} diverged; only the steps before count."
    if waiting := [f"{o.treatment.name} needs {o.predicted} steps, ran {o.steps}" for o in told
                   if (o.predicted_step or 0) > o.steps and not o.untested]:
        yield f"Not yet due: {'; '.join(waiting)}."
    for why in dict.fromkeys(o.untested for o in told if o.untested):
        yield f"Not tested, and not counted, as {why}: {'; '.join(o.treatment.name for o in told if o.untested == why)}."
    if made:
        others = [o.treatment.name for o in told if o.treatment.rule is not SGD or o.treatment.schedule]
        formula = ("For layer 0 under SGD, a formula also gives the step and the reason"
                   + (f"; for {', '.join(others)} there is no formula." if others else "."))
        edges = {flat_edges(o.sick.model[1]) for o in told}
        yield ("Each proof is a rehearsal: it runs the optimizer on copies of the parameters with zero gradients, and "
               "bounds all rounding of the coming training." + (f" {formula}" if edges == {(0.0, inf)} else ""))


def spread(runs: Sequence[Run]) -> Table:
    """Every treatment over all seeds: the least and the largest value."""
    rows = Table(f"{len(runs)} seeds, {runs[0].seed} to {runs[-1].seed}: the least and the largest value", [
        "treatment", "predicted", "observed", "accuracy", "held out"])

    def span(values: list[Any]) -> str:
        known = [value for value in values if value != "-"] or ["-"]       # "-": a seed without a dead unit
        return known[0] if len(set(known)) == 1 else f"{known[0]} to {known[-1]}"

    def order(step: str) -> tuple[bool, int]:
        digits = step.split()[0].lstrip(">")
        return not digits.isdigit() or step.startswith(">"), int(digits) if digits.isdigit() else 0

    for i, outcome in enumerate(runs[0].outcomes):
        mine = [run.outcomes[i] for run in runs if i < len(run.outcomes)]
        rows.add(outcome.treatment.name, span(sorted((o.predicted for o in mine), key=order)),
                 span(sorted((o.observed for o in mine), key=order)), span(sorted(f"{o.accuracy:.2f}" for o in mine)),
                 span(sorted(shown(o.accuracy_held_out, ".2f") for o in mine)))
    return rows


def print_report(runs: Sequence[Run], *, kill_lr: float) -> None:
    run = runs[0]
    sick, outcomes = run.networks["sick"], run.of("sick")
    killed = " and ".join(f"{dead} of {layer.shape[1]}" for dead, layer in zip(sick.dead, sick.states))
    units = "pieces" if isinstance(sick.model[0], Maxout) else "units"
    held = f" {len(run.held_out):,} more are held out." if run.held_out else ""
    if run.held_out and len(run.dataset) < 2 * (run.dataset.classes or 0):
        held += f" So few samples of {run.dataset.classes} classes teach it nothing: hold out a smaller share."
    parts: list[str | Table] = []
    if outcomes:
        each = "each treatment" if run.prescription is None else f"SGD with another {run.prescription.option.replace('_', ' ')}"
        parts += [f"{described(run)}.{held} {sick.steps} steps at rate {kill_lr:g} killed {killed} {units}, layer by layer; "
                  f"accuracy {sick.accuracy:.2f}. Then {max(o.steps for o in outcomes)} steps of {each}:", table(outcomes)]
        if run.prescription is None:
            parts += [f"- {sentence}" for sentence in sentences(sick, outcomes)]
    if run.prescription is not None:
        seen = ", ".join(o.observed.replace(">", "not within ") for o in outcomes)
        parts += [f"- Prescribed: {run.prescription}. Observed: {seen}"
                  + (". THE PRESCRIPTION FAILED." if run.failed else ", as prescribed.")]
    if run.of("shocked", "own steps"):
        rows, said = coasting(run)
        parts += ["\nMomentum alone", rows, *(f"- {sentence}" for sentence in said)]
    parts += ["", *(f"- {sentence}" for sentence in verdict(run.outcomes))]
    if len(runs) > 1:
        made = [(o, p) for each in runs for o in each.outcomes for p in o.predictions]
        parts += ["", spread(runs), f"- Over all seeds: {counted(len(made), 'prediction')}, "
                  f"{sum(p.fails for o, p in made)} wrong, {sum(p.proved for _, p in made):,} proved."]
    print_parts(*parts)
