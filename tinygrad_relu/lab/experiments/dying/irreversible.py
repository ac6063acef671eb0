"""The optimizer decides whether and when a dead unit returns, and its step of return is known before the training goes on.

A network is made sick by a rate of 3. Its dead units have a gradient of exactly zero; but the steps of an optimizer have two
more terms, decay and inertia. Heavy-ball momentum with enough coupled decay swings every dead unit of the first layer back, at
t = floor((pi/2 + arctan beta)/phi) + 1. Each training here begins with empty buffers; then no unit returns without decay, with
the same decay on weights and biases but without momentum, or with decoupled decay. (docs/reviving-units.md derives this.)
"""
import numpy as np

from .... import data
from ...revive import main_job
from ...treatments import TREATMENTS
from ..common import BLUE, DASHES, FAINT, INK, RETURN, Claim, Experiment, Figure, Finding, Series, label, say

KEYS = "sgd", "sgd-l2", "momentum", "momentum-l2-inside", "heavy-l2", "heavy-decoupled", "adam"
STEPS = {"momentum-l2-inside": 48, "heavy-l2": 472}        # by the formula, for rate 0.1; the others never


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    digits = data.digits()
    found = main_job(digits[:100 if fast else 600], [t for t in TREATMENTS if t.key in KEYS], seed=seed, held_out=0, steps=600)
    ends = {end.treatment.name: end for end in found.outcomes}
    told = [STEPS.get(end.treatment.key) for end in ends.values()]
    findings = [Finding(f"{name}: first return in layer 0, at step", step or np.inf,
                        np.inf if end.observed_step is None else end.observed_step, claimed=np.inf)
                for (name, end), step in zip(ends.items(), told)]
    contradicted = sum(len(end.disagreements) for end in ends.values())
    findings.append(Finding("predictions, unit by unit, that the training contradicts", 0, contradicted))
    orbits = [np.array(end.observed_orbit) / -end.observed_orbit[0] for end in ends.values()]
    return findings, {"names": list(ends), "orbits": orbits, "steps": told}


def draw(figure: Figure, series: Series) -> None:
    axes, never = figure.subplots(), []
    for name, orbit, step in zip(series["names"], series["orbits"], series["steps"]):
        axes.plot(orbit[:step or None], color=FAINT if step is None else BLUE, lw=1.6)
        if step is None:
            never.append(name)
        else:
            axes.axvline(step, color=RETURN, ls=DASHES, lw=1.2)
            say(axes, f"{name}:\nstep {step}", (step + 6, -0.35), RETURN)
    axes.axhline(0, color=INK, lw=0.8)
    say(axes, "never: " + ", ".join(never), (465, -0.95), FAINT, ha="right")
    label(axes, "", "step after the death", "z of a dead unit, over its first |z|")


EXPERIMENT = Experiment("A dead unit returns, or not, as its optimizer decides", run, draw, [
    Claim("A11", "A unit that has died is dead for ever: its gradient is zero, so nothing changes its weights.",
          "course notes of Stanford's CS231n",
          "So it is with plain gradient descent. Momentum with enough coupled decay brings every dead unit of the first layer "
          "back, at a step that is known in advance.")])
