"""Momentum as a heavy ball, v <- mu v + g, and as a moving average, m <- mu m + (1 - mu) g, is one method at two rates.

The average is (1 - mu) times the ball's buffer, so with a rate 1/(1 - mu) times as large it makes the same steps. After the
gradient has become zero, both coast mu/(1 - mu) times their last step: 1, 9, 99 last steps for mu = 0.5, 0.9, 0.99. (An average
is momentum with dampening mu. Its first step must be dampened too: here the buffers start at 0 and not at the first gradient.)
"""
import numpy as np

from .... import data, functional as F, nn, optim
from ..common import COLUMN, DASHES, Claim, Experiment, Figure, Finding, Series, descend, label, path_of, say

MOMENTA, RATE = (0.5, 0.9, 0.99), 0.02


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """The same network trained in both forms, and the coast of a weight whose gradient stops after 400 steps."""
    digits, steps = data.digits()[:200], 60 if fast else 500
    losses = []
    for dampening in (0.0, 0.9):
        model = nn.MLP([64, 16, 10], rng=seed, dtype="float64")
        optimizer = optim.SGD(model.parameters(), lr=RATE / (1 - dampening), momentum=0.9, dampening=dampening)
        for p in model.parameters():
            p.grad = np.zeros(p.shape)
        optimizer.step()                    # the buffers are 0
        losses.append(descend(model, optimizer, F.cross_entropy, digits.x, digits.y, steps))
    apart = float(np.abs(losses[0] - losses[1]).max())
    findings = [Finding("largest difference of the losses of the two forms", 0, apart, 1e-9)]
    coasts = []
    for mu in MOMENTA:
        for dampening in (0.0, mu):
            theta = nn.Parameter([0.0])
            optimizer = optim.SGD([theta], lr=1.0, momentum=mu, dampening=dampening)
            path = path_of(theta, optimizer, 3400, lambda step, w: -np.ones(1) if step < 400 else np.zeros(1))[:, 0]
            coast = (path[400:] - path[400]) / (path[400] - path[399])
            what = "moving average" if dampening else "heavy ball"
            findings.append(Finding(f"coast in last steps, {what}, mu = {mu}", mu / (1 - mu), coast[-1], 1e-6))
        coasts.append(coast[:400])
    return findings, {"losses": losses, "coasts": coasts}


def draw(figure: Figure, series: Series) -> None:
    same, coasts = figure.subplots(1, 2)
    ball, average = series["losses"]
    same.plot(ball, color=COLUMN[0], lw=3, alpha=0.45, label=f"heavy ball, rate {RATE}")
    same.plot(average, color=COLUMN[1], lw=1.2, ls=DASHES, label=f"moving average, rate {RATE / 0.1:g}")
    label(same, "the same training on digits, mu = 0.9", y="loss", legend="best")
    for mu, coast, colour in zip(MOMENTA, series["coasts"], COLUMN):
        coasts.plot(np.maximum(coast, 0.3), color=colour, lw=1.6)
        say(coasts, f"mu = {mu}: {mu / (1 - mu):.0f}", (395, 1.1 * coast[-1]), colour, ha="right")
    label(coasts, "how far a weight coasts without a gradient", "step after the last gradient", "distance, in last steps",
          yscale="log", ylim=(0.3, 250))


EXPERIMENT = Experiment("Heavy ball and moving average: one method, two rates", run, draw, [
    Claim("D4", "Momentum has two forms, the heavy ball v <- mu v + g and the moving average m <- mu m + (1 - mu) g.",
          "Polyak 1964; Kingma & Ba 2014, arXiv 1412.6980")])
