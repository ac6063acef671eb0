"""Leaky ReLU multiplies negative inputs by a small number, 0.01, chosen by hand. No unit dies: the gradient is never blocked.

The outputs stay sparse in size: if z is symmetric about 0, its negative half makes up 0.01/1.01 of the sum of |h|. And a unit
can still be lost as a nonlinearity: one with z <= 0 on all samples is affine, h = 0.01 z. The network computes the same if such
units are replaced by one matrix that leads from the inputs to the next layer directly.
"""
import numpy as np

from .... import data, functional as F, lab, nn
from ..common import ALIVE, DEAD, Claim, Experiment, Figure, Finding, Series, at_least, label, learn, say

SLOPE, UNITS = 0.01, 64
LABELS = {"relu": "ReLU", "leaky_relu": "leaky ReLU"}


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """Two networks learn digits, first at a rate of 2, which pushes most units below all of the data, then at 0.1."""
    digits, units = data.digits().head(600 if fast else 1797), {}
    for name in LABELS:
        model = nn.MLP([64, UNITS, 10], name, rng=seed, dtype="float64")
        for rate, steps in ((2.0, 60), (0.1, 140 if fast else 440)):
            learn(model, digits, steps, lr=rate)
        (units[name],) = lab.census(model, digits.x, digits.y).layers
    affine = units["leaky_relu"].state == lab.State.AFFINE

    first, last = model[0], model[2]        # of the leaky network: its affine units, folded into a matrix
    folded = SLOPE * last.weight.data[:, affine] @ first.weight.data[affine]
    rest = last.bias.data + SLOPE * last.weight.data[:, affine] @ first.bias.data[affine]
    few = F.leaky_relu(F.linear(digits.x, first.weight.data[~affine], first.bias.data[~affine])).data
    error = np.abs(few @ last.weight.data[:, ~affine].T + digits.x @ folded.T + rest - model(digits.x).data).max()

    z = nn.Linear(64, 4000, init="he", rng=seed, dtype="float64")(digits.x).data
    up, down = np.maximum(z, 0).sum(axis=0), np.maximum(-z, 0).sum(axis=0)          # of each unit
    share = SLOPE / (1 + SLOPE)
    spread = 4 * share * (down - up).std() / (up.mean() * np.sqrt(len(up)))         # 4 sigma of the ratio of two sums over units
    h = F.leaky_relu(z).data
    return [
        Finding("start: share of the sum of |h| with z < 0", share, -h[z < 0].sum() / np.abs(h).sum(), spread),
        Finding("trained: leaky units whose gradient is exactly 0", 0, (units["leaky_relu"].gradient == 0).sum()),
        at_least("trained: affine leaky units, at least one", 1, affine.sum()),
        Finding("outputs after the affine units are folded: largest error", 0, error, 1e-12),       # outputs of order 10
        Finding("trained: ReLUs whose gradient is exactly 0, the dead ones", units["relu"].dead,
                (units["relu"].gradient == 0).sum()),
    ], {"highest": {name: found.max_z for name, found in units.items()},
        "gradient": {name: found.gradient for name, found in units.items()}}


def draw(figure: Figure, series: Series) -> None:
    for axes, name in zip(figure.subplots(1, 2, sharex=True, sharey=True), LABELS):
        highest, gradient = (np.asarray(series[what][name]) for what in ("highest", "gradient"))
        lost = highest <= 0
        axes.plot(highest[lost], np.maximum(gradient[lost], 1e-7), "o", color=DEAD, ms=4.5)
        axes.plot(highest[~lost], gradient[~lost], "o", color=ALIVE, ms=4.5)
        axes.axvline(0, color="black", lw=0.8)
        word = "dead: gradient 0" if name == "relu" else "affine: alive, and useless"
        say(axes, f"{lost.sum()} {word}", (-0.4, 3e-6), DEAD, ha="right")
        label(axes, f"{LABELS[name]}: {UNITS} hidden units", "largest z over all samples", "norm of the gradient", yscale="log")


EXPERIMENT = Experiment("Leaky ReLU: no unit dies, but some are useless", run, draw, [
    Claim("B1", "Leaky ReLU has a small slope for z < 0, 0.01, chosen by hand, so that no unit dies.",
          "Maas, Hannun & Ng 2013, Rectifier nonlinearities improve neural network acoustic models")])
