"""A sum of h hinges is a piecewise linear function with h + 1 pieces, and comes as close as wished to any continuous function.

For a function f on an interval of length L, cut into h equal pieces, the interpolant is off by at most (L/h)^2 max|f''|/8:
twice the units, a quarter of the error. For x^2 on [-1, 1] it is off by exactly 1/h^2; no function of h linear pieces can be
better than 1/(2 h^2), and training, which moves the hinges, ends in between.
"""
from typing import Any

import numpy as np

from .... import nn, optim
from ..common import (
    ALIVE, BLUE, COLUMN, DASHES, FAINT, Claim, Experiment, Figure, Finding, Series, at_least, at_most, descend, label,
)

PIECES = (2, 4, 8, 16, 32)


def interpolant(f: Any, h: int) -> nn.MLP:
    """The ReLU network with h hidden units that is equal to f at h + 1 evenly spaced points of [-1, 1], and linear between."""
    knots = np.linspace(-1, 1, h + 1)
    slopes = np.diff(f(knots)) / np.diff(knots)
    model = nn.MLP([1, h, 1], dtype="float64", rng=0)
    model[0].weight.data, model[0].bias.data = np.ones((h, 1)), -knots[:-1]
    model[2].weight.data, model[2].bias.data = np.diff(slopes, prepend=0)[None], f(knots[:1])
    return model


def train(model: nn.MLP, scale: float, x: Any, steps: int) -> None:
    """Learn x^2: the mean of the eighth powers of the errors, times `scale`, at a rate that falls to 0."""
    adam = optim.Adam(model.parameters(), lr=1e-3)
    schedule = optim.LinearLR(adam, 1.0, 0.0, total_iters=steps + 1)
    descend(model, adam, lambda out, y: (((out - y) * scale) ** 8).mean(), x, x ** 2, steps, lambda step: schedule.step())


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """Interpolants of x^2 and of sin(pi x), as networks; and those of x^2 trained on, by Adam, on 401 points."""
    steps, x = 300 if fast else 3000, np.linspace(-1, 1, 8 * 3 * 5 * 32 + 1)[:, None]
    functions: dict[str, Any] = {"x²": np.square, "sin πx": lambda x: np.sin(np.pi * x)}
    errors = {name: np.array([abs(interpolant(f, h)(x).data - f(x)).max() for h in PIECES]) for name, f in functions.items()}
    trained, shapes = [], []
    for h in PIECES[:3]:
        model = interpolant(np.square, h)
        train(model, h * h, x[::12], steps)
        shapes.append(model(x).data[:, 0])
        trained.append(float(abs(shapes[-1] - x[:, 0] ** 2).max()))
    pieces = 1 + int((abs(model[0].bias.data / model[0].weight.data[:, 0]) < 1).sum())
    findings = [Finding(f"x², {h} pieces: error, times h²", 1, error * h * h, 1e-9) for h, error in zip(PIECES[:4], errors["x²"])]
    *_, with_16, with_32 = errors["sin πx"]
    findings += [Finding("sin πx: error with 16 units, over that with 32", 4, with_16 / with_32, 0.1),
                 Finding("x², 8 units, trained: linear pieces on [-1, 1]", 8, pieces),        # the first hinge moves off it
                 at_least("x², 8 pieces, trained: error, at least 1/(2 h²)", 1 / 128, trained[2]),
                 at_most("x², 8 pieces, trained: error, at most 1/h²", 1 / 64, trained[2])]
    return findings, {"x": x[:, 0], "errors": errors, "trained": trained, "start": interpolant(np.square, 2)(x).data[:, 0],
                      "shape": shapes[0]}


def draw(figure: Figure, series: Series) -> None:
    left, right = figure.subplots(1, 2)
    x, h = series["x"], np.array(PIECES)
    left.plot(x, x ** 2, color=FAINT, lw=3, label="x²")
    left.plot(x, series["start"], color=BLUE, lw=1.5, label="2 units, interpolant")
    left.plot(x, series["shape"], color=ALIVE, lw=1.5, label="2 units, trained")
    for (name, errors), colour in zip(series["errors"].items(), COLUMN[::2]):
        right.plot(h, errors, "o-", color=colour, ms=4.5, label=f"{name}, interpolant")
    right.plot(h[:len(series["trained"])], series["trained"], "s", color=ALIVE, ms=5, label="x², trained")
    right.plot(h, 1 / (2 * h ** 2), color=FAINT, ls=DASHES, lw=1.2, label="x², best possible: 1/(2h²)")
    label(left, "", "x", "", legend="best")
    label(right, "", "units h (logarithmic)", "largest error (logarithmic)", xscale="log", yscale="log", xticks=PIECES,
          xticklabels=PIECES, legend="best")


EXPERIMENT = Experiment("Many hinges approximate any continuous function", run, draw, [
    Claim("A1", "ReLU is two linear pieces, together non-linear; many of them approximate any continuous function, and a "
          "smooth one with an error that falls as 1/h² with the number h of pieces.", "textbook")], also=["B13"])
