"""Sparsity is not death. A unit is dead if it is silent on all data; silent on many samples, it is sparse, and it learns.

At a symmetric start P(z > 0) = 1/2 on every sample, so half of all activations are 0, and that is as it should be: after a
training to an accuracy of 1 it is still about half. A unit that is active on a single sample has a gradient; push it off that one
too, and the gradient is exactly zero.
"""
import numpy as np

from .... import data, functional as F, lab, nn
from ..common import (
    ALIVE, DASHES, DEAD, FAINT, Array, Claim, Experiment, Figure, Finding, Series, accuracy, at_least, grad, label,
    learn, say,
)


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    members, samples = (4, 300) if fast else (16, 600)
    digits = data.digits()[:samples].standardise()
    model = nn.MLP([64, 64, 10], members=members, dtype="float64", rng=seed)
    units = 64 * members

    def look() -> tuple[Array, int]:
        layers = [one.layers[0] for one in lab.census(model, digits.x).each]
        return np.concatenate([layer.on_rate for layer in layers]), sum(layer.dead for layer in layers)

    start, dead = look()
    learn(model, digits, 150, lr=0.3)
    (end, dead_later), one = look(), model.member(0)
    right = float(accuracy(model, digits).mean())
    second, largest = np.sort(digits.x @ one[0].weight.data[0])[-2:]
    gradients = []
    for bias in (-(second + largest) / 2, -largest - 0.1):      # unit 0 is active on one sample, then on none
        one[0].bias.data[0] = bias
        gradients.append(float(np.linalg.norm(grad(F.cross_entropy(one(digits.x), digits.y), one[0].weight)[0].data[0])))
    # A unit's on-rate has a deviation of at most 1/2 over the draws of its weights.
    return [Finding("start: share of activations that are 0", 0.5, float(1 - start.mean()), 4 * 0.5 / np.sqrt(units)),
            Finding(f"start: dead units of {units}", 0, dead),
            at_least("trained: accuracy", 0.99, right),
            at_least("trained: share of activations that are 0", 0.4, float(1 - end.mean())),
            Finding(f"trained: dead units of {units}", 0, dead_later),
            at_least(f"gradient of a unit that is active on 1 of {samples} samples", 1e-12, gradients[0]),
            Finding("gradient of the same unit, active on none", 0, gradients[1])], {"start": start, "end": end}


def draw(figure: Figure, series: Series) -> None:
    axes = figure.subplots()
    bins = np.linspace(0, 1, 41)
    axes.hist(series["start"], bins, histtype="step", color=FAINT, alpha=0.8, lw=1.6, label="at the start")
    axes.hist(series["end"], bins, histtype="stepfilled", color=ALIVE, alpha=0.8, lw=1.6, label="after training")
    axes.axvline(0, color=DEAD, ls=DASHES, lw=1.4)
    say(axes, " dead units\n would be here,\n at 0 exactly", (0.0, axes.get_ylim()[1]), DEAD, va="top")
    label(axes, "", "share of the samples on which a unit is active", "units", legend="best")


EXPERIMENT = Experiment("Sparsity is not death", run, draw, [
    Claim("A6", "A unit is dead if it outputs 0 on all of the data; 0 on some samples is fine.", "textbook"),
    Claim("A14", "About half of the activations are 0 at a symmetric start: ReLU makes representations sparse.",
          "Glorot, Bordes & Bengio 2011, Deep sparse rectifier neural networks")])
