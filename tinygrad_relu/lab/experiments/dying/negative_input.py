"""A unit dies if its pre-activation w.x + b is negative on every sample. A negative input x does not kill it.

A network on -x whose first weights are negated computes, bit for bit, the same numbers as the network on x. On inputs that are
all negative, and on the same inputs made positive, the same share of units is born dead; centred inputs, negative half of the
time, kill the fewest. Nor does one negative pre-activation kill: nearly every unit is negative on some sample.
"""
from dataclasses import replace

import numpy as np

from .... import data, lab, nn
from ..common import COLUMN, DASHES, FAINT, Claim, Experiment, Figure, Finding, Series, at_least, at_most, label, learn, say


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    digits, members = data.digits()[:300 if fast else 1000], 4 if fast else 16
    inputs = {"x ≥ 0": digits.x, "x ≤ 0": -digits.x, "centred": digits.x - digits.x.mean(axis=0)}
    losses, dead, somewhere = {}, {}, {}
    for name, x in inputs.items():
        model = nn.MLP([64, 64, 10], members=members, dtype="float64", rng=seed)
        if name == "x ≤ 0":
            model[0].weight.data = -model[0].weight.data
        layers = [one.layers[0] for one in lab.census(model, x).each]
        dead[name] = float(np.mean([layer.dead / 64 for layer in layers]))
        somewhere[name] = float(np.mean([layer.on_rate < 1 for layer in layers]))
        losses[name] = learn(model, replace(digits, x=x), 80, lr=0.3)
    mean = {name: rows.mean(axis=1) for name, rows in losses.items()}
    return [Finding("positive and negative inputs: largest difference of the losses", 0,
                    float(abs(losses["x ≥ 0"] - losses["x ≤ 0"]).max()), claimed=mean["x ≤ 0"][0]),
            at_most("all inputs negative: last loss, over the first", 0.1, mean["x ≤ 0"][-1] / mean["x ≤ 0"][0], claimed=1),
            Finding("all inputs negative: share of units dead at the start", dead["x ≥ 0"], dead["x ≤ 0"], claimed=1),
            at_most("centred inputs: share of units dead at the start", dead["x ≥ 0"], dead["centred"]),
            at_least("centred inputs: share of units with z ≤ 0 on some sample", 0.99, somewhere["centred"]),
            ], {"losses": mean, "dead": dead}


def draw(figure: Figure, series: Series) -> None:
    left, right = figure.subplots(1, 2, width_ratios=[2, 1])
    for (name, losses), colour in zip(series["losses"].items(), COLUMN):
        left.plot(losses, color=colour, lw=4 if name == "x ≥ 0" else 1.8, ls=DASHES if name == "x ≤ 0" else "-", label=name)
    left.axhline(series["losses"]["x ≤ 0"][0], color=FAINT, lw=1)
    say(left, "if negative inputs killed", (80, series["losses"]["x ≤ 0"][0] - 0.05), FAINT, ha="right", va="top")
    label(left, "", "step", "loss", ylim=(0, None), legend="center right")
    right.bar(series["dead"].keys(), [100 * share for share in series["dead"].values()], color=COLUMN)
    label(right, "", "inputs", "units dead at the start, %")


EXPERIMENT = Experiment("A negative input kills nothing", run, draw, [
    Claim("A20", "A negative input kills a ReLU unit.", "a common misquote",
          "The input of the activation is meant, z = w.x + b; and z ≤ 0 on every sample, not on one.")])
