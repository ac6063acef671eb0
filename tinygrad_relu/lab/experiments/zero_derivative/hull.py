"""No mixture of samples wakes a dead unit, nor any change of a sample that is smaller than |z|/||w||, in the dual norm.

z is an affine function of x. So if z <= 0 on all samples, then z <= 0 on all of their weighted means, as in mixup. A change d of
a sample adds w.d to z, at most ||w||_q ||d||_p by Hoelder's inequality, and some d attains it: the least change is |z|/||w||_q.
"""
from typing import Any

import numpy as np

from .... import data, lab, nn
from ..common import ALIVE, BLUE, DEAD, Claim, Experiment, Figure, Finding, Series, label, say

UNITS = 32
# p, and the direction of the least change.
NORMS: dict[str, Any] = {"Euclidean norm": (2.0, lambda w: w), "largest entry": (np.inf, np.sign)}


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """Units that are dead on digits: random mixtures of images, and changes of the nearest image around the bound."""
    digits, rng = data.digits()[:300], np.random.default_rng(seed)
    model = nn.MLP([64, UNITS, 10], rng=seed, dtype="float64")
    lab.kill(model, digits.x)
    weight, bias = model[0].weight.data, model[0].bias.data
    z = digits.x @ weight.T + bias
    shares = rng.dirichlet(np.full(len(digits), 0.01), 3000 if fast else 50_000)        # of a few images each
    mixed = shares @ digits.x @ weight.T + bias
    findings = [Finding(f"units of {UNITS} that some of {len(shares)} mixtures wakes", 0, (mixed > 0).any(axis=0).sum())]
    nearest, units = digits.x[z.argmax(axis=0)], range(UNITS)
    for name, (p, towards) in NORMS.items():
        direction = towards(weight)
        direction = direction / np.linalg.norm(direction, p, axis=1, keepdims=True)
        change = lab.laws.wake_distance(z, weight, p).min(axis=0)[:, None] * direction
        for times, woken in ((0.999, 0), (1.001, UNITS)):
            moved = ((nearest + times * change) @ weight.T + bias)[units, units]        # each unit on its own image
            findings.append(Finding(f"units woken by {times} of the least change, {name}", woken, (moved > 0).sum()))
    best = int(z.max(axis=0).argmax())
    return findings, {"z": z[:, best], "mixed": mixed[:3000, best]}


def draw(figure: Figure, series: Series) -> None:
    axes = figure.subplots()
    bins = np.linspace(min(series["z"]), 0.3, 60)
    axes.hist(series["z"], bins, density=True, color=BLUE, alpha=0.6, label="images")
    axes.hist(series["mixed"], bins, density=True, histtype="step", color=ALIVE, lw=1.6, label="mixtures of images")
    axes.axvline(0, color=DEAD, lw=1)
    say(axes, "z > 0: alive", (0.02, 0.5), DEAD)
    label(axes, "one dead unit: mixtures stay where the images are", "z", "density", legend="upper left")


EXPERIMENT = Experiment("No mixture of samples wakes a dead unit", run, draw, [
    Claim("N6", "A unit that is dead on the data is dead on their convex hull; a sample must move by |z|/||w|| to wake it.",
          "convex geometry; Hoelder's inequality")], also=["A6"])
