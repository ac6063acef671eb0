"""How long a unit lives after its return: for half a period, if it stays without a gradient; for good, if it learns in that time.

Momentum 0.95 with coupled decay swings dead units back after 58 steps. The swing goes on: z of a unit without gradient changes
its sign every pi/phi = 84 steps. So units whose outgoing weights are 0, and stay 0, blink. In a network that learns, a returned
unit gets outgoing weights, and with them a gradient, long before the half period is over, and it stays. Curves after Kaplan &
Meier (1958): lives that have not ended count as far as they were seen.
"""
import numpy as np

from .... import data, functional as F, lab, nn, optim
from ..common import ALIVE, BLUE, DASHES, FAINT, Claim, Experiment, Figure, Finding, Options, Series, at_least, label, learn, say

SETTINGS: Options = {"lr": 0.1, "momentum": 0.95, "weight_decay": 0.02}
STEPS, UNITS = 500, 64


def lives(digits: data.Dataset, seed: int, learns: bool) -> lab.Recorder:
    """A trained network whose hidden units are then killed, 500 further steps. Unless it `learns`, the outgoing weights are 0."""
    model = nn.MLP([64, UNITS, 10], dtype="float64", rng=seed)
    learn(model, digits, 60, lr=0.1)
    lab.kill(model, digits.x)
    if not learns:
        model[2].weight.data = np.zeros((10, UNITS))
        model[2].weight.requires_grad_(False)
    optimizer = optim.SGD([p for p in model.parameters() if p.requires_grad], **SETTINGS)
    recorder = lab.Recorder(model, digits.x)
    for _ in range(STEPS):
        optimizer.zero_grad()
        F.cross_entropy(recorder.forward(), digits.y).backward()
        optimizer.step()
    recorder.observe()
    return recorder


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    digits, seeds = data.digits()[:200 if fast else 600], 1 if fast else 3
    half = (lab.laws.period(**SETTINGS) or np.nan) / 2
    learning, blinking = ([lives(digits, seed + k, learns) for k in range(seeds)] for learns in (True, False))
    dead, stays, blinks = lab.survival(learning, "dead"), lab.survival(learning), lab.survival(blinking)
    curves = {name: (np.append(0, found.steps), np.append(1, found.share))
              for name, found in (("learning", stays), ("without gradient", blinks))}
    told = lab.revival_step(-1.0, **SETTINGS) or np.nan
    return [Finding("steps until half of the units have returned", told, dead.median or np.inf, claimed=np.inf),
            Finding("share of units that have returned at the end", 1, len(stays.spells) / (UNITS * seeds), claimed=0),
            Finding("no gradient: steps until half of the returned units have died again", half, blinks.median or np.inf, 1),
            Finding("no gradient: returns per unit", 1 + (STEPS - told) // (2 * half), len(blinks.spells) / (UNITS * seeds)),
            at_least(f"learning: share of the returned units that live longer than {half + 1:.0f} steps", 0.9,
                     stays.at(half + 1)),
            ], {"curves": curves, "half": half, "states": [found[0].states[0] for found in (learning, blinking)]}


def draw(figure: Figure, series: Series) -> None:
    left, right = figure.subplots(1, 2)
    for (name, (steps, share)), colour in zip(series["curves"].items(), (BLUE, ALIVE)):
        left.step(np.append(steps, 500), 100 * np.append(share, share[-1]), where="post", color=colour, lw=1.8, label=name)
    left.axvline(series["half"], color=FAINT, ls=DASHES, lw=1.2)
    say(left, f" half a period:\n {series['half']:.1f} steps", (series["half"], 45), FAINT)
    for states, colour in zip(series["states"], (BLUE, ALIVE)):
        right.plot((states != lab.State.DEAD).sum(axis=1), color=colour, lw=1.8)
    label(left, "", "steps after the return", "returned units still alive, %", ylim=(-3, 104), xlim=(0, 300),
          legend="center right")
    label(right, "", "step after the death", f"living units of {UNITS}", ylim=(-2, UNITS + 3))


EXPERIMENT = Experiment("Survival after the return", run, draw, [
    Claim("N9", "A unit that momentum and L2 bring back lives for half a period if it gets no gradient, and for longer if it "
          "learns.", "this laboratory")], also=["A11"])
