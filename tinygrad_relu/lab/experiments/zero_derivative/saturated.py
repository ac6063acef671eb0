"""A saturated sigmoid has a slope that is not zero, but the unit is as good as stuck. A dead ReLU is stuck.

The slope at -z is e^-z/(1 + e^-z)^2. Under a constant push k on its output, z moves by k times the slope in a step of rate 1, and
the way from z to 0 takes (e^|z| - e^-|z| + 2|z|)/k steps: each further unit of depth makes it 2.7 times longer.
"""
from typing import Any

import numpy as np

from .... import functional as F, nn, optim
from ..common import (
    BLUE, DEAD, FAINT, Array, Claim, Experiment, Figure, Finding, Series, first_positive, label, path_of, say, slope,
)

PUSH = 0.1


def steps_back(z: Any) -> Any:
    return (np.exp(abs(z)) - np.exp(-abs(z)) + 2 * abs(z)) / PUSH


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """Units that start at z = -1, -2, ..., pushed up by a constant gradient of their outputs; and slopes far out."""
    starts = -np.arange(1.0, 6.0 if fast else 8.0)

    def way_back(f: Any) -> Array:
        theta, steps = nn.Parameter(starts), int(1.02 * steps_back(starts[-1]))
        return first_positive(path_of(theta, optim.SGD([theta], lr=1.0), steps, lambda step, z: -PUSH * slope(f, z)))

    back, never = way_back(F.sigmoid), way_back(F.relu)
    findings = [Finding(f"sigmoid: steps from {z:g} to 0", steps_back(z), found, 0.01 * steps_back(z) + 1)      # steps are finite
                for z, found in zip(starts[2:], back[2:])]
    findings.append(Finding("ReLU: starts from which it returns", 0, np.isfinite(never).sum()))
    for dtype in ("float32", "float64"):
        far = float(slope(F.sigmoid, np.array([-20], dtype))[0])
        findings.append(Finding(f"sigmoid: slope at -20, {dtype}, times e^20", 1.0, far * np.exp(20), 1e-6))
    return findings, {"starts": starts, "back": back}


def draw(figure: Figure, series: Series) -> None:
    axes, z = figure.subplots(), np.linspace(0.5, 20, 100)
    axes.plot(-z, steps_back(z), color=BLUE, lw=1.4)
    axes.plot(series["starts"], series["back"], "o", color=BLUE, ms=5.5)
    axes.axhline(3.2e7, color=FAINT, lw=0.8)
    say(axes, "a year at one step per second", (-0.5, 4e7), ha="right")
    say(axes, "sigmoid: line (e$^{|z|}$ - e$^{-|z|}$ + 2|z|)/k, dots measured", (-19.5, 3000), BLUE)
    say(axes, "ReLU: never, from any z < 0", (-19.5, 600), DEAD)
    label(axes, "", "z at the start", f"steps to z = 0, under a push of {PUSH}", yscale="log", xlim=(-20.5, 0))


EXPERIMENT = Experiment("A saturated sigmoid is not dead, but as good as stuck", run, draw, [
    Claim("D8", "The slope of a saturated sigmoid is not exactly zero, but the unit hardly learns.", "folklore")], also=["C2"])
