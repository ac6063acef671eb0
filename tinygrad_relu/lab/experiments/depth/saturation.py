"""A saturated tanh or sigmoid unit lets almost no gradient through, and a start with large weights saturates most units.

With inputs of mean square 1 and d weights from N(0, s^2/d), z is N(0, s^2). The slope of tanh is below 0.01 where |z| is above
arcosh(10) = 2.993. So at the start a share of 2 (1 - Phi(2.993/s)) of the slopes is: 0.3 % for s = 1, and 76 % for s = 10.
"""
from math import acosh, erfc, sqrt

import numpy as np

from .... import data, functional as F, nn
from ..common import (
    BLUE, COLUMN, Claim, Experiment, Figure, Finding, Series, at_least, four_errors, label, learn, normal_mean, slope,
)

SCALES, SMALL = (1.0, 2.0, 5.0, 10.0, 20.0), 0.01


def saturated(scale: float) -> float:
    """The expected share of slopes below `SMALL`."""
    return erfc(acosh(1 / sqrt(SMALL)) / scale / sqrt(2))


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """The slopes of many units at a start of each scale, on one sample; and networks with such starts, which learn digits."""
    rng, units, findings, shares = np.random.default_rng(seed), 4000 if fast else 100_000, [], []
    x = rng.standard_normal((1, 64))
    x /= np.sqrt(np.square(x).mean())
    for scale in SCALES:
        slopes = slope(F.tanh, scale * nn.Linear(64, units, init="lecun", rng=rng, dtype="float64")(x).data)
        shares.append((slopes < SMALL).mean())
        if scale in (1, 10):
            share, square = saturated(scale), normal_mean(lambda z: np.square(slope(F.tanh, z)), scale)
            findings += [
                Finding(f"s = {scale:g}: share of slopes below {SMALL}", share, shares[-1], four_errors(share, units)),
                Finding(f"s = {scale:g}: mean squared slope", square, np.square(slopes).mean(),
                        4 * np.square(slopes).std() / sqrt(units))]
    digits = data.digits("float32").standardise().head(500 if fast else 1797)
    model = nn.MLP([64, 64, 64, 10], "tanh", "lecun", rng=[seed] * len(SCALES), members=len(SCALES))
    for weight in model.parameters()[:4:2]:         # of the two hidden layers
        weight.data = weight.data * np.reshape(SCALES, (-1, 1, 1))
    losses = learn(model, digits, 100, lr=0.1, momentum=0.9)
    for name, k in (("10", 3), ("20", 4)):
        findings.append(at_least(f"loss after 100 steps: start with s = {name} over s = 1", 1, losses[-1, k] / losses[-1, 0]))
    return findings, {"shares": shares, "losses": losses.T}


def draw(figure: Figure, series: Series) -> None:
    start, training = figure.subplots(1, 2)
    scales = np.geomspace(0.7, 25, 200)
    start.plot(scales, [saturated(scale) for scale in scales], color=BLUE, lw=1.6)
    start.plot(SCALES, series["shares"], "o", color=BLUE, ms=6)
    label(start, f"share of slopes below {SMALL} (line: formula)", "scale s of the start", xscale="log", xticks=SCALES,
          xticklabels=[f"{scale:g}" for scale in SCALES])
    for scale, losses, colour in zip(SCALES, series["losses"], COLUMN):
        training.plot(losses, color=colour, lw=1.8, label=f"s = {scale:g}")
    label(training, "training loss on digits, two hidden layers", "step", yscale="log", legend="best")


EXPERIMENT = Experiment("Large starts saturate tanh units", run, draw, [
    Claim("C2", "A saturated unit kills its gradient, and a start with large weights saturates units.",
          "course notes of Stanford's CS231n")], also=["D8"])
