"""ReLU's outputs are never negative, so their mean is above 0, which shifts the inputs of the next layer.

For z ~ N(0, 1) the mean of ReLU is 1/sqrt(2 pi) = 0.3989, of ELU 1/sqrt(2 pi) + sqrt(e) Phi(-1) - 1/2 = 0.1605. SELU's two
constants are chosen such that the mean is 0 and the variance 1, which a deep network then keeps from layer to layer (Klambauer et
al. 2017, arXiv 1706.02515). The slope of ELU is e^z > 0 on the left, so no unit dies; the price is an exponential, and below
z = -103.97 in float32 it rounds to 0.
"""
from math import erfc, exp, pi, sqrt

import numpy as np

from .... import data, functional as F, lab, nn
from ..common import COLUMN, DASHES, Array, Claim, Experiment, Figure, Finding, Series, at_most, label, learn, say, slope

MEANS = {"relu": 1 / sqrt(2 * pi), "elu": 1 / sqrt(2 * pi) + exp(0.5) * erfc(sqrt(0.5)) / 2 - 0.5, "selu": 0.0}
LABELS = {"relu": "ReLU", "elu": "ELU", "selu": "SELU"}
DEPTH, WIDTH, STEPS = 20, 400, 200


def means(model: nn.Module, x: Array) -> list[Array]:
    """The mean of each hidden unit of an MLP over the samples, layer by layer."""
    found = []
    for layer in list(model.children())[:-1]:
        x = layer(x).data
        found.append(x.mean(axis=0))
    return found[1::2]          # after the activations


def trained(name: str, digits: data.Dataset, seed: int) -> tuple[list[float], int]:
    """The mean over the units of |mean over the samples|, every 10 steps of a training; and the dead units at its end."""
    model = nn.MLP([64, 64, 64, 64, 10], name, "he", "float64", seed)
    path: list[float] = []

    def look(step: int) -> None:
        if step % 10 == 0:
            path.append(float(np.abs(np.concatenate(means(model, digits.x))).mean()))

    learn(model, digits, STEPS, look, lr=0.1)
    return path, sum(lab.census(model, digits.x).dead)


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """Means for random z, by layer in a network at its start, and in networks that learn digits."""
    rng = np.random.default_rng(seed)
    z, noise = rng.standard_normal(100_000 if fast else 1_000_000), rng.standard_normal((200, WIDTH))
    digits = data.digits().head(400 if fast else 1200).standardise()
    findings, starts, training, dead = [], {}, {}, {}
    for name, mean in MEANS.items():
        h = getattr(F, name)(z).data
        findings.append(Finding(f"{LABELS[name]}: mean for z ~ N(0, 1)", mean, h.mean(), 4 * h.std() / sqrt(z.size)))
        deep, size = nn.MLP([WIDTH] * (DEPTH + 1) + [1], name, "lecun", "float64", seed), np.sqrt(np.square(h).mean())
        for weight in deep.parameters()[::2]:
            weight.data = weight.data / size            # so that z ~ N(0, 1) in every layer
        starts[name] = [units.mean() for units in means(deep, noise * size)]
        training[name], dead[name] = trained(name, digits, seed)
    return [
        *findings,
        Finding("SELU: mean over 20 layers at the start", 0, np.mean(starts["selu"]), 4 / sqrt(DEPTH * WIDTH)),    # units of sd 1
        at_most("ELU, trained: |mean| of a unit, on average; below ReLU's", training["relu"][-1], training["elu"][-1]),
        Finding("ELU, trained: dead units", 0, dead["elu"]),
        Finding("ELU: slope at z = -104 in float32", 0, slope(F.elu, np.array([-104], "float32"))[0]),
    ], {"starts": starts, "training": training}


def draw(figure: Figure, series: Series) -> None:
    for axes, curves, step, title in zip(figure.subplots(1, 2), (series["starts"], series["training"]), (1, 10), (
            "networks at their start (dashed: for z ~ N(0, 1))", "networks that learn digits")):
        for (name, values), colour in zip(curves.items(), COLUMN):
            axes.plot(step * np.arange(len(values)) + (step == 1), values, color=colour, lw=1.8)
            say(axes, LABELS[name], (step * len(values) * 0.8, max(values[-6:]) + 0.02), colour)
        across, up = ("layer", "mean activation") if step == 1 else ("step", "|mean| of a unit, on average")
        label(axes, title, across, up, xticks=range(0, step * DEPTH + 1, 5 * step))
        axes.axhline(0, color="black", lw=0.8)
        if step == 1:
            for mean, colour in zip(MEANS.values(), COLUMN):
                axes.axhline(mean, color=colour, linestyle=DASHES, lw=1)


EXPERIMENT = Experiment("The mean of an activation: ReLU, ELU, SELU", run, draw, [
    Claim("B10", "ELU: mean outputs nearer to zero, no dead units, at the price of an exponential.",
          "the mean: Clevert, Unterthiner & Hochreiter 2015, arXiv 1511.07289; the rest: folklore")])
