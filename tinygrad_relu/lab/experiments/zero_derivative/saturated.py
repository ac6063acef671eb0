"""A saturated sigmoid has a slope that is not zero, but the unit is as good as stuck. A dead ReLU is stuck.

The slope at -z is e^-z/(1 + e^-z)^2. Under a constant push k on its output, z moves by k times the slope in a step of rate 1, and
the way from z to 0 takes (e^|z| - e^-|z| + 2|z|)/k steps: each further unit of depth makes it 2.7 times longer.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from .... import functional as F
from .... import nn, optim
from ....autodiff.tape import grad
from ...drawing import BLUE, DEAD, FAINT, label, say
from ..common import first_positive
from ..record import Claim, Experiment, Finding, Series

PUSH = 0.1


def steps_back(z: Any) -> Any:
    return (np.exp(abs(z)) - np.exp(-abs(z)) + 2 * abs(z)) / PUSH


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """Units that start at z = -1, -2, ..., pushed up by a constant gradient of their outputs; and slopes far out."""
    starts = -np.arange(1.0, 6.0 if fast else 8.0)
    back = {}
    for function in (F.sigmoid, F.relu):
        theta = nn.Parameter(starts)
        optimizer, path = optim.SGD([theta], lr=1.0), [starts]
        for _ in range(int(1.02 * steps_back(starts[-1]))):
            optimizer.zero_grad()
            (-PUSH * function(theta).sum()).backward()
            optimizer.step()
            path.append(theta.data.copy())
        back[function] = first_positive(np.array(path))
    findings = [Finding(f"sigmoid: steps from {z:g} to 0", steps_back(z), found, 0.01 * steps_back(z) + 1)      # steps are finite
                for z, found in zip(starts[2:], back[F.sigmoid][2:])]
    findings.append(Finding("ReLU: starts from which it returns", 0, np.isfinite(back[F.relu]).sum()))
    for dtype in ("float32", "float64"):
        far = nn.Parameter([-20.0], dtype=dtype)
        slope = grad(F.sigmoid(far).sum(), far)[0].item()
        findings.append(Finding(f"sigmoid: slope at -20, {dtype}, times e^20", 1.0, slope * np.exp(20), 1e-6))
    return findings, {"starts": starts, "back": back[F.sigmoid]}


def draw(figure: Any, series: Series) -> None:
    axes, z = figure.subplots(), np.linspace(0.5, 20, 100)
    axes.plot(-z, steps_back(z), color=BLUE, lw=1.4)
    axes.plot(series["starts"], series["back"], "o", color=BLUE, ms=5.5)
    axes.axhline(3.2e7, color=FAINT, lw=0.8)
    say(axes, "a year at one step per second", (-0.5, 4e7), ha="right")
    say(axes, "sigmoid: line (e$^{|z|}$ - e$^{-|z|}$ + 2|z|)/k, dots measured", (-19.5, 3000), BLUE)
    say(axes, "ReLU: never, from any z < 0", (-19.5, 600), DEAD)
    axes.set(yscale="log", xlim=(-20.5, 0))
    label(axes, "", "z at the start", f"steps to z = 0, under a push of {PUSH}")


EXPERIMENT = Experiment(
    "A saturated sigmoid is not dead, but as good as stuck",
    [Claim("D8", "The slope of a saturated sigmoid is not exactly zero, but the unit hardly learns.", "folklore")],
    run, draw, also=["C2"])
