"""A deep and narrow network is often dead before the first step: some layer outputs 0 for every input.

With a symmetric start, biases of 0 and N units a layer, each layer kills a network with a probability of at most 2^-N. Lu, Shin,
Su & Karniadakis (2019, arXiv 1903.06733) bound the probability for all layers from both sides; for two layers of two units and
one input of both signs it is exactly 5/32. Their randomized asymmetric start, which draws one entry of each row of weights and
bias from Beta(2, 1), makes it rare. So does width: N >= log2((hidden layers)/delta) units keep it below delta. One unit with
N(0, 1) weights and bias is dead on the unit ball with probability F_d(-sqrt d), Student's t distribution; one with PyTorch's
default start, uniform weights and bias, on the cube [-1, 1]^d with probability 1/(2 (d + 1)!).
"""
from math import factorial

import numpy as np

from .... import lab
from ..common import BLUE, COLUMN, FAINT, Claim, Experiment, Figure, Finding, Series, at_least, at_most, four_errors, label, say

DEPTH = 9               # hidden layers


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """Networks 1-2-...-2-1 are drawn, and looked at on x = -1 and 1, or on an interval; single units, on the unit ball."""
    trials, rng = 1000 if fast else 10_000, np.random.default_rng(seed)
    widths = [1, *[2] * DEPTH, 1]
    he = lab.birth_probability(widths, trials=trials, rng=rng)
    interval = np.linspace(-np.sqrt(3), np.sqrt(3), 21)[:, None]            # with biases, the length of x matters
    rai = lab.birth_probability(widths, interval, init="rai", trials=trials, rng=rng)
    wide = lab.birth_probability([1, *[10] * DEPTH, 1], trials=trials // 4, rng=rng)

    two, last, (low, high) = he.layers[1], he.layers[-1], he.bounds or (0.0, 1.0)
    findings = [
        Finding("two hidden layers of 2 units", 5 / 32, two.born_dead, four_errors(5 / 32, trials)),
        at_least(f"{DEPTH} hidden layers of 2 units: lower bound", low, last.born_dead, four_errors(low, trials)),
        at_most(f"{DEPTH} hidden layers of 2 units: upper bound", high, last.born_dead, four_errors(high, trials)),
        Finding("the same, by another simulation", 0.88, last.born_dead, four_errors(0.88, trials)),
        Finding("randomized asymmetric start, by another simulation", 0.23, rai.born_dead, four_errors(0.23, trials)),
        at_most("ten units a layer: at most hidden layers / 2^10", DEPTH / 2**10, wide.born_dead,
                four_errors(DEPTH / 2**10, trials // 4)),
    ]
    for d in (1, 2, 3):
        p, weights, bias = lab.unit_birth_probability(d), rng.standard_normal((4 * trials, d)), rng.standard_normal(4 * trials)
        dead = np.linalg.norm(weights, axis=1) + bias <= 0                  # z at its largest, on the unit sphere
        findings.append(Finding(f"one unit, {d} input{'s' * (d > 1)}", p, float(dead.mean()), four_errors(p, 4 * trials)))
    for d in (1, 2, 3):
        p, draws = 1 / (2 * factorial(d + 1)), rng.uniform(-1, 1, (d + 1, 4 * trials))         # of weights and bias, times sqrt d
        dead = np.abs(draws[:d]).sum(axis=0) + draws[d] <= 0                # z at its largest, at a corner of the cube
        findings.append(Finding(f"PyTorch's start, {d} input{'s' * (d > 1)}: 1/(2 (d + 1)!)", p, float(dead.mean()),
                                four_errors(p, 4 * trials)))
    born = {name: [layer.born_dead for layer in found.layers] for name, found in (("he", he), ("rai", rai), ("wide", wide))}
    return findings, {**born, "low": [layer.low for layer in he.layers], "high": [layer.high for layer in he.layers]}


def draw(figure: Figure, series: Series) -> None:
    axes, depth = figure.subplots(), np.arange(1, DEPTH + 1)
    axes.fill_between(depth, series["low"], series["high"], color=BLUE, alpha=0.15, lw=0)
    say(axes, "between the bounds", (5.1, 0.83), BLUE, ha="right")
    for name, text, colour in (("he", "2 units, He", COLUMN[0]), ("rai", "2 units, randomized asymmetric", COLUMN[1]),
                               ("wide", "10 units, He", COLUMN[2])):
        axes.plot(depth, series[name], "o-", color=colour, ms=4.5, label=text)
    axes.plot(2, 5 / 32, "s", mfc="none", mec=FAINT, ms=11)
    say(axes, "exactly 5/32", (2.15, 0.1), FAINT)
    label(axes, "", "hidden layers", "share of networks born dead", ylim=(-0.02, 1.02), legend="upper left")


EXPERIMENT = Experiment("Born dead: deep and narrow networks", run, draw, [
    Claim("N7", "A deep and narrow ReLU network is often dead before its training; width prevents this, or a randomized "
          "asymmetric start.", "Lu, Shin, Su & Karniadakis 2019, arXiv 1903.06733")], also=["A6"])
