"""Adam with L2 decay brings dead units back within few steps, as it flips the signs of small weights. SGD with L2 never does.

Adam divides a gradient by its size. If the decay is all of the gradient, a step has about the length of the rate, whatever the
decay: a weight of size |w| passes 0 after 1 to 2 times |w|/lr steps here. SGD + L2 and AdamW multiply all weights by one factor,
and z keeps its sign. Below a decay of (eps/lr) (1 - sqrt beta_1)/(1 + sqrt beta_1), Adam flips no tiny weight either.
"""
from typing import Any

import numpy as np

from .... import data, lab, nn, optim
from ..common import COLUMN, FAINT, Array, Claim, Experiment, Figure, Finding, Series, first_positive, label, path_of, watch

RATE, DECAY = 0.01, 5e-4
RULES: dict[str, Any] = {"SGD + L2": (optim.SGD, 0.1), "AdamW": (optim.AdamW, RATE), "Adam + L2": (optim.Adam, RATE)}


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """A dead layer on digits under each rule; the steps at which single weights flip; and tiny weights around the edge."""
    digits, steps = data.digits()[:200 if fast else 900], 60 if fast else 200
    findings, paths = [], []
    for name, (rule, rate) in RULES.items():
        model = nn.MLP([64, 16, 10], rng=seed, dtype="float64")
        model[0].weight.data = -np.abs(model[0].weight.data)        # and no feature is negative: z < 0 on every sample
        model[0].bias.data = np.full(16, -0.05)
        optimizer = rule(model.parameters(), lr=rate, weight_decay=DECAY)
        foretold = [unit.step for unit in lab.prognosis(model, digits.x, optimizer, horizon=steps).units]
        z = watch(model, optimizer, digits, steps)
        told = min((step for step in foretold if step is not None), default=np.inf)
        findings.append(Finding(f"{name}: step of the first return", told, first_positive(z).min()))
        paths.append(z.max(axis=1) / abs(z[0].max()))
    size = np.linspace(0.05, 0.5, 30)
    flips = first_positive(_alone(-size, DECAY, 150))
    findings.append(Finding("Adam + L2: steps to the flip of w over |w|/lr, mean", 1.5, float(np.mean(flips * RATE / size)), 0.5))
    for times, flipped in ((0.9, 0), (1.1, 1)):
        path = _alone(np.array([-1e-6]), times * lab.laws.adam_edge(RATE), 1500)
        findings.append(Finding(f"Adam + L2, decay {times} times the edge: does -1e-6 flip?", flipped, float(np.any(path > 0))))
    return findings, {"paths": paths, "size": size, "flips": flips}


def _alone(start: Array, decay: float, steps: int) -> Array:
    """Weights that Adam moves by decay alone, (steps + 1, weights)."""
    theta = nn.Parameter(start)
    return path_of(theta, optim.Adam([theta], lr=RATE, weight_decay=decay), steps, lambda step, w: np.zeros_like(w))


def draw(figure: Figure, series: Series) -> None:
    returns, flips = figure.subplots(1, 2)
    for name, path, colour in zip(RULES, series["paths"], COLUMN):
        returns.plot(path[:60], color=colour, lw=4 if name == "AdamW" else 1.8, alpha=0.5 if name == "AdamW" else 1, label=name)
    returns.axhline(0, color=FAINT, lw=0.8)
    label(returns, "a dead layer", y="largest z, over its first size", ylim=(-1.15, 1.5), legend="upper right")
    for times in (1, 2):
        flips.plot(series["size"], times * series["size"] / RATE, color=FAINT, lw=1)
    flips.plot(series["size"], series["flips"], "o", color=COLUMN[2], ms=4.5)
    label(flips, "single weights under Adam + L2 (lines: |w|/lr, 2|w|/lr)", "|w|", "step at which the sign flips")


EXPERIMENT = Experiment("Adam with L2 decay flips signs, SGD with L2 does not", run, draw, [
    Claim("N3", "With Adam + L2, a weight without a gradient changes its sign, unless the decay is below an edge. Under "
          "SGD with L2 or AdamW it never does.", "this laboratory")], also=["D5", "D6"])
