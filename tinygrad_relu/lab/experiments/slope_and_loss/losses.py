"""Squared loss pulls predictions to the mean of the targets, absolute loss to their median: in a line, and in a dead network.

A line by squared loss is the least-squares line; by absolute loss it passes through two of the points, and outliers hardly move
it. |e| has no derivative at e = 0; libraries take 0, the middle of its subgradients. A network whose hidden units are all dead
outputs its last biases for every input; only they learn, and settle at the mean or the median of the targets.
"""
from itertools import combinations
from typing import Any

import numpy as np

from .... import functional as F, lab, nn, optim
from ..common import COLUMN, DASHES, FAINT, Claim, Experiment, Figure, Finding, Series, descend, label, slope

POINTS, RATE = 41, 0.1
LOSSES = {"squared": F.mse_loss, "absolute": F.l1_loss}


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """Points near y = 2x + 1, of which some are outliers. The rate falls to 0, as a constant one would circle the median."""
    steps, rng = 1500 if fast else 6000, np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (POINTS, 1))
    y = 2 * x + 1 + 0.1 * rng.standard_normal((POINTS, 1))
    y[:6] += rng.exponential(6, (6, 1))

    def train(model: nn.Module, loss: Any) -> None:
        optimizer = optim.SGD(model.parameters(), lr=RATE)
        schedule = optim.LinearLR(optimizer, 1.0, 0.0, total_iters=steps + 1)
        descend(model, optimizer, loss, x, y, steps, lambda step: schedule.step())

    through = [np.polyfit(x[[i, j], 0], y[[i, j], 0], 1) for i, j in combinations(range(POINTS), 2)]
    least = min(through, key=lambda line: abs(np.polyval(line, x) - y).sum())
    expected = {"squared": (*np.polyfit(x[:, 0], y[:, 0], 1), y.mean()), "absolute": (*least, np.median(y))}
    findings, lines, dead = [], {}, {}
    for name, loss in LOSSES.items():
        line, network = nn.Linear(1, 1, dtype="float64", rng=seed), nn.MLP([1, 8, 1], dtype="float64", rng=seed)
        lab.kill(network, x)
        train(line, loss)
        train(network, loss)
        lines[name] = tuple(p.item() for p in line.parameters())
        dead[name] = network(x).data[0, 0]
        findings += [Finding(f"{name} loss: {what}", told, found, 0.01) for what, told, found in zip(
            ("slope of the line", "offset of the line", "output of a dead network"), expected[name], (*lines[name], dead[name]))]
    at_zero = slope(lambda e: F.l1_loss(e, np.zeros(1), reduction="none"), np.zeros(1))
    findings.append(Finding("derivative of |e| at 0", 0, at_zero.item()))
    return findings, {"x": x[:, 0], "y": y[:, 0], "lines": lines, "dead": dead}


def draw(figure: Figure, series: Series) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    ends = np.array([-1.0, 1.0])
    for axes in (left, right):
        axes.plot(series["x"], series["y"], "o", color=FAINT, ms=4)
    for (name, line), colour in zip(series["lines"].items(), COLUMN):
        left.plot(ends, np.polyval(line, ends), color=colour, lw=1.8, label=f"{name} loss")
        statistic = {"squared": "mean", "absolute": "median"}[name]
        right.axhline(series["dead"][name], color=colour, lw=1.8, ls=DASHES, label=f"{name} loss: the {statistic}, "
                      f"{series['dead'][name]:.2f}")
    for axes, title in ((left, "a line"), (right, "a network whose hidden units are dead")):
        label(axes, title, "x", "target" if axes is left else "", legend="upper left")


EXPERIMENT = Experiment("Squared or absolute loss: mean or median", run, draw, [
    Claim("A23", "Squared loss leads to the mean of the targets, absolute loss to their median; |e| has no derivative at 0.",
          "textbook; of dead networks: Lu, Su & Karniadakis 2018, Collapse of deep and narrow neural nets")], also=["D9"])
