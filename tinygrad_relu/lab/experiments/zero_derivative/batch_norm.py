"""Batch normalisation keeps units alive on every training batch: after it, no unit can be far from the data.

Of m standardised numbers, which have mean 0 and variance 1, the largest lies between 1/sqrt(m - 1) (one number is low, the others
are equal) and sqrt(m - 1) (one is high). So ReLU(gamma z + beta) is active on some sample of every batch if
beta > -|gamma|/sqrt(m - 1), and on none if beta <= -|gamma| sqrt(m - 1). (In evaluation it may be dead all the same.)
"""
import numpy as np

from .... import data, functional as F, lab, nn
from ..common import ALIVE, BLUE, DEAD, Array, Claim, Experiment, Figure, Finding, Series, at_least, label, learn, say

SIZES, RATE, DRAWS = (2, 4, 8, 16, 32, 64, 128), 3.0, 200


def standardised(x: Array) -> Array:
    return F.batch_norm(x, None, None, training=True, eps=1e-30).data


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """The largest standardised value of extreme and of random batches; and a rate that kills, with and without normalisation."""
    rng, bounds, random = np.random.default_rng(seed), [], []
    for m in SIZES:
        one = np.zeros((m, 2))
        one[0] = [-1, 1]                                    # one number is low, and one is high
        bounds.append(standardised(one).max(axis=0))
        random.append(standardised(rng.standard_normal((m, DRAWS)) ** 3).max(axis=0))
    low, high = np.array(bounds).T
    scale = np.sqrt(np.array(SIZES) - 1)
    outside = sum(np.sum((r < a - 1e-9) | (r > b + 1e-9)) for r, a, b in zip(random, low, high))
    findings = [Finding("lowest maximum times sqrt(m - 1), mean over m", 1.0, (low * scale).mean(), 1e-9),
                Finding("highest maximum over sqrt(m - 1), mean over m", 1.0, (high / scale).mean(), 1e-9),
                Finding("random batches outside of the bounds", 0, outside)]
    digits, steps, dead = data.digits()[:200 if fast else 900], 40 if fast else 250, {}
    for norm in (None, "batch"):
        model = nn.MLP([64, 32, 32, 10], norm=norm, rng=seed, dtype="float64")
        learn(model, digits, steps, lr=RATE)
        dead[norm] = sum(lab.census(model, digits.x).dead)
    return [*findings, at_least(f"units of 64 dead after {steps} steps at rate {RATE:g}", 32, dead[None]),
            Finding("the same with batch normalisation", 0, dead["batch"])], {"low": low, "high": high, "random": random}


def draw(figure: Figure, series: Series) -> None:
    axes = figure.subplots()
    for m, values in zip(SIZES, series["random"]):
        axes.plot(m * np.geomspace(0.94, 1.06, len(values)), values, ".", color=BLUE, ms=2.5, alpha=0.6)
    fine = np.geomspace(2, 140, 200)
    axes.plot(fine, np.sqrt(fine - 1), color=ALIVE, lw=1.4)
    axes.plot(fine, 1 / np.sqrt(fine - 1), color=ALIVE, lw=1.4)
    axes.plot(SIZES, series["high"], "o", color=ALIVE, ms=5)
    axes.plot(SIZES, series["low"], "o", color=ALIVE, ms=5)
    axes.axhline(0, color=DEAD, lw=0.8)
    label(axes, "", "samples in the batch, m", "largest standardised value", xscale="log", yscale="log")
    say(axes, "at most $\\sqrt{m - 1}$", (8, 4), ALIVE, ha="right")
    say(axes, "at least $1/\\sqrt{m - 1}$", (8, 0.2), ALIVE, ha="right")


EXPERIMENT = Experiment("After batch normalisation no unit is far from the data", run, draw, [
    Claim("D10", "Batch normalisation prevents dead units.", "folklore; the method: Ioffe & Szegedy 2015, arXiv 1502.03167",
          "It prevents them on training batches, as long as beta > -|gamma|/sqrt(m - 1).")], also=["A24"])
