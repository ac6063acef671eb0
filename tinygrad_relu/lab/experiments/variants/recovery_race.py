"""How long a unit needs to come back from z = -5, if every step pushes its activation h = f(z) up.

A push k on h is a push k f'(z) on z, so the time from z_0 to 0 is the integral of 1 / (k f'(z)). Leaky ReLU with slope a needs
|z_0| / (a k): it never dies, but takes 1/a times as long as an active unit. ELU needs (e^|z_0| - 1) / k, softplus |z_0| / k
more, sigmoid (e^|z_0| - e^-|z_0| + 2 |z_0|) / k. ReLU never comes back. Steps of finite size add ln(f'(0) / f'(z_0)) / 2.
"""
from typing import Any

import numpy as np

from .... import capture, functional as F, nn, optim
from ..common import COLUMN, Claim, Experiment, Figure, Finding, Series, label, say

START, PUSH, E = -5.0, 0.1, np.exp(5.0)
# activation, the integral of 1 / f', f'(z_0), f'(0), and the place of its name in the figure
RACERS: dict[str, tuple[Any, float, float, float, tuple[float, float]]] = {
    "leaky 0.01": (F.leaky_relu, 5 / 0.01, 0.01, 0.01, (3100, -2.4)),
    "leaky 0.1": (lambda z: F.leaky_relu(z, 0.1), 5 / 0.1, 0.1, 0.1, (560, -0.9)),
    "ELU": (F.elu, E - 1, 1 / E, 1, (1700, -0.7)),
    "softplus": (F.softplus, E - 1 + 5, 1 / (1 + E), 1 / 2, (1700, -1.1)),
    "sigmoid": (F.sigmoid, E - 1 / E + 10, E / (1 + E) ** 2, 1 / 4, (1700, -1.5)),
    "ReLU": (F.relu, np.inf, 1, 1, (4300, -4.75))}


def way_back(f: Any) -> list[float]:
    """z before each step of SGD on the loss -f(z), up to z >= 0, or for 6000 steps."""
    z = nn.Parameter(np.array([START]))
    sgd = optim.SGD([z], lr=PUSH)

    @capture
    def step() -> None:
        sgd.zero_grad()
        (-f(z).sum()).backward()
        sgd.step()

    path = [START]
    while path[-1] < 0 and len(path) <= 6000:
        step()
        path.append(z.item())
    return path


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """One z for each activation. Nothing is random."""
    paths = {name: way_back(f) for name, (f, *_) in RACERS.items()}
    return [Finding(f"{name}: steps from z = -5 to 0", np.ceil(integral / PUSH + np.log(last / first) / 2),
                    len(paths[name]) - 1 if paths[name][-1] >= 0 else np.inf, 1)        # the formula neglects less than one step
            for name, (_, integral, first, last, _) in RACERS.items()], {"paths": paths}


def draw(figure: Figure, series: Series) -> None:
    axes = figure.subplots()
    for (name, path), (*_, place), colour in zip(series["paths"].items(), RACERS.values(), COLUMN):
        axes.plot(path, color=colour, lw=1.8)
        say(axes, f"{name}: {'never' if path[-1] < 0 else len(path) - 1}", place, colour)
    axes.axhline(0, color="black", lw=0.8)
    label(axes, "", "step", "z, pushed up by 0.1 f'(z) at every step", xlim=(0, 6000))


EXPERIMENT = Experiment("The race back from z = -5", run, draw, [
    Claim("B2", "A leaky ReLU never dies, but with a slope of a, a unit recovers 1/a times more slowly.", "textbook")])
