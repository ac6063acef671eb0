"""The outputs of sigmoids are all positive. So on one sample, the gradients of all weights of a unit above them share one sign.

The weights rise or fall together, and reach a mixed goal only in a zig-zag. A batch softens that, since its samples disagree, but
a correlation of 3/4 between the gradients stays. The reason is curvature: for independent inputs x ~ U(0, 1), the d x d matrix
E[x x'] has the condition number k = 1 + 3 d; it is 1 if the inputs are centred. At its best rate, a step of gradient descent
shrinks the distance to the goal by the factor (k - 1)/(k + 1); if they are centred, one step is enough.
"""
from itertools import product
from math import ceil, erf, log, sqrt

import numpy as np

from .... import data, functional as F, nn, optim
from ..common import COLUMN, DASHES, Array, Claim, Experiment, Figure, Finding, Series, descend, four_errors, grad, label, say

WEIGHTS, SIZES, PRECISION = 6, (1, 2, 4, 16, 64), 1e-6
GRID = np.linspace(-8, 8, 4001)         # n ~ N(0, 1); given n, a gradient of a large batch is positive with chance Phi(sqrt(3) n)
POSITIVE = np.array([(1 + erf(sqrt(1.5) * n)) / 2 for n in GRID])
LIMIT = 2 * np.trapezoid(np.exp(-GRID ** 2 / 2) / sqrt(2 * np.pi) * POSITIVE ** WEIGHTS, GRID)


def agree(x: Array, errors: Array) -> Array:
    """For batches x (batches, samples, weights) of a linear unit, and the gradients of its outputs (batches, samples): whether
    the gradients of all its weights share a sign."""
    weight = nn.Parameter(np.zeros((len(x), 1, x.shape[2])))
    (found,) = grad((weight * x * errors[..., None]).sum(), weight)
    return np.abs(np.sign(found.data).sum(axis=(1, 2))) == x.shape[2]


def way(x: Array, start: Array, rate: float, steps: int) -> Array:
    """The weights of a linear unit whose targets are 0, before each step of gradient descent and after the last."""
    unit = nn.Linear(x.shape[1], 1, bias=False, rng=0, dtype="float64")
    unit.weight.data = start[None]
    path: list[Array] = []
    descend(unit, optim.SGD(unit.parameters(), lr=rate), F.mse_loss, x, np.zeros((len(x), 1)), steps,
            lambda step: path.append(unit.weight.data[0].copy()))
    return np.array(path)


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """Signs of gradients, on digits after sigmoids and for x ~ U(0, 1); then descent, on inputs with the moments of U(0, 1)."""
    rng, batches = np.random.default_rng(seed), 2000 if fast else 20_000
    hidden = F.sigmoid(nn.Linear(64, WEIGHTS, init="he", rng=seed, dtype="float64")(data.digits().x[:500])).data
    findings = [Finding("one image: share of equal signs after sigmoids", 1, agree(
        hidden[:, None], rng.choice([-1.0, 1.0], (500, 1))).mean())]
    shares = [agree(rng.random((batches, m, WEIGHTS)), rng.choice([-1.0, 1.0], (batches, m))).mean() for m in SIZES]
    for share, expected, m in ((shares[0], 1, 1), (shares[1], 0.5 + 0.5 ** WEIGHTS, 2), (shares[-1], LIMIT, SIZES[-1])):
        findings.append(Finding(f"x ~ U(0, 1)^{WEIGHTS}, batch of {m}: share of equal signs", expected, share,
                                four_errors(expected, batches) + (0.01 if m == SIZES[-1] else 0)))    # a limit
    distances = {}
    for d in (3, 8):
        corners = np.array(list(product((-1.0, 1.0), repeat=d))) / sqrt(12)            # of mean 0 and variance 1/12
        for x, condition in ((corners + 0.5, 1 + 3 * d), (corners, 1)):
            slow, *_, fast_one = np.linalg.eigvalsh(2 * x.T @ x / len(x))
            size = np.linalg.norm(way(x, rng.standard_normal(d), 2 / (slow + fast_one), 250), axis=1)
            distances[f"{condition}"] = size / size[0]
            expected = 1 if condition == 1 else ceil(log(PRECISION) / log((condition - 1) / (condition + 1)))
            name = "centred" if condition == 1 else "uncentred"
            findings.append(Finding(f"d = {d}, {name}: steps to a millionth of the distance", expected,
                                    (distances[f"{condition}"] < PRECISION).argmax()))
    corners = np.array(list(product((-1.0, 1.0), repeat=2))) / sqrt(12) + 0.5
    return findings, {"shares": shares, "distances": distances, "path": way(corners, np.array([1.0, -0.6]), 1.68, 25)}


def draw(figure: Figure, series: Series) -> None:
    plane, signs, steps = figure.subplots(1, 3)
    a, b = np.meshgrid(np.linspace(-0.6, 1.1, 80), np.linspace(-1.0, 0.7, 80))
    loss = (a * a + b * b) / 12 + (a + b) ** 2 / 4
    plane.contour(a, b, loss, levels=np.geomspace(1e-3, 0.6, 8), colors="#c8c8c8", linewidths=0.9)
    plane.plot(*np.transpose(series["path"]), "o-", color=COLUMN[0], ms=3, lw=1)
    label(plane, "descent on two weights", "weight 1", "weight 2")
    signs.plot(SIZES, series["shares"], "o", color=COLUMN[0], ms=6)
    signs.axhline(LIMIT, color=COLUMN[1], linestyle=DASHES, lw=1.3)
    say(signs, f"limit {LIMIT:.3f}", (8, LIMIT + 0.05), COLUMN[1])
    signs.set_xscale("log", base=2)
    label(signs, f"all {WEIGHTS} gradients share a sign", "samples in the batch", "share of the batches", ylim=(0, 1.05))
    for (condition, values), colour in zip(series["distances"].items(), COLUMN):
        stop = max(2, int(np.argmax(np.asarray(values) < 1e-7)))
        steps.plot(np.maximum(values[:stop], 1e-8), "o-" if condition == "1" else "-", color=colour, ms=4, lw=1.8,
                   label="centred: 1" if condition == "1" else f"d = {(int(condition) - 1) // 3}: {condition}")
    steps.legend(frameon=False, fontsize=9, title="condition number", title_fontsize=9)
    label(steps, "distance to the goal", "step", yscale="log")


EXPERIMENT = Experiment("Positive inputs make gradient descent zig-zag", run, draw, [
    Claim("C3", "Sigmoids are never negative, so the gradients of a unit's weights share a sign, and its weights zig-zag.",
          "course notes of Stanford's CS231n"),
    Claim("C4", "Averaging over a batch softens it.", "course notes of Stanford's CS231n")])
