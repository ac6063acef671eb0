"""A unit dies if its pre-activation w.x + b is negative on every sample. A negative input x does not kill it.

A network on -x whose first weights are negated computes, bit for bit, the same numbers as the network on x. On inputs that are
all negative, and on the same inputs made positive, the same share of units is born dead; centred inputs, negative half of the
time, kill the fewest. Nor does one negative pre-activation kill: nearly every unit is negative on some sample.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from .... import data, nn
from .... import functional as F
from ....optim import SGD
from ...census import census
from ...drawing import COLUMN, DASHES, FAINT, label, say
from ..common import descend
from ..record import Claim, Experiment, Finding, Series


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    digits, members = data.digits()[:300 if fast else 1000], 4 if fast else 16
    inputs = {"x ≥ 0": digits.x, "x ≤ 0": -digits.x, "centred": digits.x - digits.x.mean(axis=0)}
    losses, dead, somewhere = {}, {}, {}
    for name, x in inputs.items():
        model = nn.MLP([64, 64, 10], members=members, dtype="float64", rng=seed)
        if name == "x ≤ 0":
            model[0].weight.data = -model[0].weight.data
        layers = [census(model.member(k), x).layers[0] for k in range(members)]
        dead[name] = float(np.mean([layer.dead / 64 for layer in layers]))
        somewhere[name] = float(np.mean([layer.on_rate < 1 for layer in layers]))
        losses[name] = descend(model, SGD(model.parameters(), lr=0.3), F.cross_entropy, x, digits.y, 80)
    mean = {name: rows.mean(axis=1) for name, rows in losses.items()}
    return [Finding("positive and negative inputs: largest difference of the losses", 0,
                    float(abs(losses["x ≥ 0"] - losses["x ≤ 0"]).max()), claimed=mean["x ≤ 0"][0]),
            Finding("all inputs negative: last loss, over the first", 0.1, mean["x ≤ 0"][-1] / mean["x ≤ 0"][0], relation="<=",
                    claimed=1),
            Finding("all inputs negative: share of units dead at the start", dead["x ≥ 0"], dead["x ≤ 0"], claimed=1),
            Finding("centred inputs: share of units dead at the start", dead["x ≥ 0"], dead["centred"], relation="<="),
            Finding("centred inputs: share of units with z ≤ 0 on some sample", 0.99, somewhere["centred"], relation=">="),
            ], {"losses": mean, "dead": dead}


def draw(figure: Any, series: Series) -> None:
    left, right = figure.subplots(1, 2, width_ratios=[2, 1])
    for (name, losses), colour in zip(series["losses"].items(), COLUMN):
        left.plot(losses, color=colour, lw=4 if name == "x ≥ 0" else 1.8, ls=DASHES if name == "x ≤ 0" else "-", label=name)
    left.axhline(series["losses"]["x ≤ 0"][0], color=FAINT, lw=1)
    say(left, "if negative inputs killed", (80, series["losses"]["x ≤ 0"][0] - 0.05), FAINT, ha="right", va="top")
    left.set_ylim(0, None)
    left.legend(frameon=False, fontsize=9, loc="center right")
    label(left, "", "step", "loss")
    right.bar(series["dead"].keys(), [100 * share for share in series["dead"].values()], color=COLUMN)
    label(right, "", "inputs", "units dead at the start, %")


EXPERIMENT = Experiment(
    "A negative input kills nothing",
    [Claim("A20", "A negative input kills a ReLU unit.", "a common misquote",
           "The input of the activation is meant, z = w.x + b; and z ≤ 0 on every sample, not on one.")], run, draw)
