"""The learning rates at which the next step kills a unit are known before the step: an interval for each unit.

A step of gradient descent moves the pre-activation on sample i from z_i to z_i - eta r_i, with r_i = g_w.x_i + g_b. So a unit is
dead after the step from eta = lo, the largest z_i/r_i of its living samples, up to eta = hi, where a sample that was dead comes
alive. A living sample with r_i <= 0 means that no rate kills. With a gradient ten times as large, all these rates are a tenth.
"""
from typing import Any

import numpy as np

from .... import data, functional as F, lab, nn
from ..common import ALIVE, BLUE, DASHES, DEAD, FAINT, Claim, Experiment, Figure, Finding, Series, Tensor, label, learn, say

UNITS = 64


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """One step of the same network at many rates: a population, of which each member has its own rate."""
    moons = data.moons(300 if fast else 1000, rng=seed)
    start = nn.MLP([2, UNITS, 2], dtype="float64", rng=seed)

    def tenfold(output: Tensor, y: Any, reduction: str) -> Tensor:
        return 10 * F.cross_entropy(output, y, reduction=reduction)

    found = lab.lethal_lr(start, moons.x, moons.y)
    (rates,), (larger,) = found.layers, lab.lethal_lr(start, moons.x, moons.y, loss=tenfold).layers
    mortal = np.flatnonzero(rates.alive & np.isfinite(rates.lo))

    def dead_after(lr: Any) -> Any:
        model = nn.MLP([2, UNITS, 2], dtype="float64", members=len(lr), rng=[seed] * len(lr))
        learn(model, moons, 1, lr=lr)
        return np.array([one.layers[0].on_rate == 0 for one in lab.census(model, moons.x).each])

    grid = np.geomspace(rates.lo[mortal].min() / 2, 1000, 20 if fast else 60)
    told, seen = (rates.lo <= grid[:, None]) & (grid[:, None] <= rates.hi), dead_after(grid)
    back = mortal[np.isfinite(rates.hi[mortal])]
    below, above, beyond = (int(np.diagonal(dead_after(ends[units] * (1 + shift))[:, units]).sum()) for ends, units, shift in (
        (rates.lo, mortal, -1e-9), (rates.lo, mortal, 1e-9), (rates.hi, back, 1e-9)))
    safe, born = dead_after(np.array([0.999 * found.safe_rate]))[0], ~rates.alive
    return [Finding("units that have a lethal rate: dead a billionth below it", 0, below),
            Finding("the same units: dead a billionth above it", len(mortal), above),
            Finding(f"the {len(back)} of them with an upper end: dead a billionth above that", 0, beyond, claimed=len(back)),
            Finding(f"units dead or alive as told, at {len(grid)} rates", told.size, int((told == seen).sum())),
            Finding(f"units that die a thousandth below the safe rate, {found.safe_rate:.3g}", 0, int((safe & ~born).sum())),
            Finding("lethal rates with a gradient ten times as large, over the former", 0.1,
                    float(np.median(larger.lo[mortal] / rates.lo[mortal])), 1e-12),
            ], {"grid": grid, "lo": rates.lo[mortal], "hi": rates.hi[mortal], "seen": seen.mean(axis=1),
                "told": told.mean(axis=1), "safe": found.safe_rate}


def draw(figure: Figure, series: Series) -> None:
    left, right = figure.subplots(1, 2)
    order, end = np.argsort(series["lo"]), series["grid"][-1]
    for row, j in enumerate(order):
        left.plot([series["lo"][j], min(series["hi"][j], end)], [row, row], color=DEAD, lw=2.2)
    right.plot(series["grid"], 100 * series["told"], color=BLUE, lw=1.6, label="told before the step")
    right.plot(series["grid"], 100 * series["seen"], "o", color=ALIVE, ms=3.5, label="dead after the step")
    for axes in (left, right):
        axes.axvline(series["safe"], color=FAINT, ls=DASHES, lw=1.2)
    say(left, " safe up to here", (series["safe"], len(order) * 0.9), FAINT)
    across: Any = {"x": "learning rate of one step", "xscale": "log", "xlim": (series["grid"][0], end)}
    label(left, "each line: the rates that kill one unit", y="units", yticks=[], **across)
    label(right, y="dead units in %", legend="best", **across)


EXPERIMENT = Experiment("The rates that kill: lethal windows", run, draw, [
    Claim("A8", "A large gradient or a large learning rate throws a unit off the data, and it never activates again.",
          "course notes of Stanford's CS231n",
          "At still higher rates some units are alive again, on other samples: the rates that kill a unit form an interval.")])
