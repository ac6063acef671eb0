"""A killed unit keeps its momentum buffer. If that still pushes z up, the unit coasts back without gradient and without decay.

After the death the buffer fades, v <- mu v, so z moves by s mu/(1 - mu) in all, where s is its last step. A shock from
outside (here: biases lowered until z <= -0.2 on all data) leaves buffers that push some units up: they return, each at its
own step k = floor(ln(1 - |z| (1 - mu)/(mu s))/ln mu) + 1. A unit that died by its own step has a buffer that pushes z down on
each sample on which it was active, so none of these returns here: momentum kills more than it revives.
"""
from .... import data
from ...revive import main_job
from ...treatments import TREATMENTS
from ..common import COLUMN, FAINT, Claim, Experiment, Figure, Finding, Series, label, say

NAMES = {"coast": "killed by a shock", "coast-emptied": "the same, buffers emptied", "own-steps": "killed by own steps"}


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """Two networks trained with momentum 0.99, one with a shock after 60 steps, and 300 further steps of each."""
    digits = data.digits()[:100 if fast else None]
    found = main_job(digits, [t for t in TREATMENTS if t.key in NAMES], seed=seed, held_out=0, steps=300)
    findings, series = [], {}
    for outcome in found.outcomes:
        name = NAMES[outcome.treatment.key]
        pairs = [(p.step or 0, p.observed or 0) for p in outcome.predictions if p.layer == "0" and (p.step or 0) <= outcome.steps]
        if due := sum(step > 0 for step, _ in pairs):
            findings.append(Finding(f"{name}: units that return at their own step, of {due}", due,
                                    sum(step == seen > 0 for step, seen in pairs)))
        findings.append(Finding(f"{name}: units that return, of {len(pairs)}", due, sum(seen > 0 for _, seen in pairs)))
        series[name] = {"pairs": pairs, "accuracies": outcome.accuracies}
    return findings, series


def draw(figure: Figure, series: Series) -> None:
    left, right = figure.subplots(1, 2)
    for (name, shown), colour in zip(series.items(), COLUMN):
        if returned := [pair for pair in shown["pairs"] if pair[1]]:
            left.plot(*zip(*returned), "o", color=colour, ms=4.5, alpha=0.7)
            left.axline((0, 0), slope=1, color=FAINT, lw=0.8, zorder=0)
        told = f"{name}: {len(returned)} of {len(shown['pairs'])} return"
        right.plot(*zip(*shown["accuracies"]), color=colour, lw=1.6, label=told)
    say(left, "each dot: a unit", (0.04, 0.92), transform=left.transAxes)
    label(left, "killed by a shock", "predicted step of return", "observed step of return")
    label(right, "", "step after the death", "accuracy", ylim=(0, 1.42), yticks=(0, 0.5, 1), legend="upper left")


EXPERIMENT = Experiment("Killed by a shock or by its own step: only the first coasts back", run, draw, [
    Claim("N8", "A unit killed by a shock can coast back by its momentum. One killed by its own step can do so only through a "
          "sample on which it was inactive.", "this laboratory")], also=["A11"])
