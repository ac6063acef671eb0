"""The slope of ReLU at 0 is a convention: 0 in PyTorch, TensorFlow and JAX, and 1/2 or 1 would do as well.

The kink matters only where z is 0 exactly, and in a training this hardly ever happens: in float64, the losses are the same to
the bit with all three slopes. A blank image makes it happen: at the start, with biases of 0, z is 0 in all units. Then the three
trainings differ, and end with the same accuracy. (Where numbers are coarse, zeros are common: Bertoin, Bolte, Gerchinovitz &
Pauwels 2021, arXiv 2106.12915, found differences at 16 and 32 bits, and 0 the best choice.)
"""
from dataclasses import replace

import numpy as np

from .... import data, functional as F, lab, nn
from ..common import COLUMN, Array, Claim, Experiment, Figure, Finding, Series, accuracy, at_least, at_most, label, learn, slope

SLOPES, STEPS = (0.0, 0.5, 1.0), 100


def train(at_zero: float, digits: data.Dataset, members: int, seed: int) -> tuple[Array, int, float]:
    """The losses of networks with this slope at 0; how many z were exactly 0 (looked at in every 20th step); the accuracy."""
    model = nn.MLP([64, 32, 32, 10], nn.ReLU(at_zero=at_zero), dtype=digits.x.dtype, members=members, rng=seed)
    zeros = 0

    def look(step: int) -> None:
        nonlocal zeros
        if step % 20 == 0:
            zeros += sum(int((look.z == 0).sum()) for k in range(members) for look in lab.Units(model.member(k)).walk(digits.x))

    return learn(model, digits, STEPS, look, lr=0.3).mean(axis=1), zeros, float(accuracy(model, digits).mean())


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    digits, members = data.digits()[:300 if fast else 600], 2 if fast else 4
    blank = replace(digits, x=np.concatenate([np.zeros((1, 64)), digits.x[1:]]))
    findings = [Finding(f"slope at z = {z}", expected, slope(F.relu, np.array([float(z)])).item())
                for z, expected in ((-1, 0), (0, 0), (1, 1))]
    series = {}
    for name, samples in (("float64", digits), ("float32", data.digits("float32")[:len(digits)]), ("a blank image", blank)):
        losses, zeros, right = zip(*(train(at_zero, samples, members, seed) for at_zero in SLOPES))
        series[name], apart = losses, np.ptp(losses, axis=0)
        if name == "a blank image":
            findings += [at_least(f"{name}: z that are exactly 0, those of the start or more", 3 * 64 * members, sum(zeros)),
                         Finding(f"{name}: difference of the last losses", 0, float(apart[-1]), 0.05),
                         Finding(f"{name}: difference of the last accuracies", 0, max(right) - min(right), 0.01)]
        else:
            findings += [at_most(f"{name}: z that are exactly 0", 0 if name == "float64" else 100, sum(zeros)),
                         Finding(f"{name}: difference of the losses", 0, float(apart.max()), 0 if name == "float64" else 0.01)]
    return findings, series


def draw(figure: Figure, series: Series) -> None:
    for axes, (name, losses) in zip(figure.subplots(1, 3, sharey=True), series.items()):
        for at_zero, row, colour, width, dashes in zip(SLOPES, losses, COLUMN, (5, 2.5, 1.2), ("-", "-", "--")):
            axes.plot(row, color=colour, lw=width, ls=dashes, label=f"slope {at_zero:g} at 0")
        label(axes, name, "step", "loss" if name == "float64" else "")
    axes.legend(frameon=False, fontsize=9)


EXPERIMENT = Experiment("The slope at 0 does not matter", run, draw, [
    Claim("A2", "The slope of ReLU is 1 for x > 0 and 0 for x ≤ 0.", "textbook"),
    Claim("A3", "ReLU has no derivative at 0; libraries take 0 there, and 1/2 or 1 would be subgradients too.",
          "PyTorch, TensorFlow, JAX"),
    Claim("A5", "The kink is harmless in practice.", "folklore")])
