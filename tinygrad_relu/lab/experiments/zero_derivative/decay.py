"""Weight decay moves a weight towards zero: a negative weight goes up. It carries no weight past zero, unless it feeds momentum.

A unit without a gradient has z[t] = rho^t z[0] with rho = 1 - lr * weight_decay, under SGD + L2 and under decoupled decay (as in
AdamW) with momentum. z shrinks and keeps its sign: dead for ever. L2 with momentum goes through the buffer, and swings past zero.
"""
import numpy as np

from .... import data, lab, nn, optim
from ..common import COLUMN, FAINT, Claim, Experiment, Figure, Finding, Options, Series, first_positive, label, say, watch

RATE, DECAY, MU = 0.1, 0.1, 0.9
RULES: dict[str, Options] = {
    "SGD + L2": {}, "momentum, decoupled decay": {"momentum": MU, "decoupled": True}, "momentum + L2": {"momentum": MU}}


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """A layer that is dead on digits, under each rule: the largest z, and which weights rise in the first step."""
    digits, steps = data.digits()[:100 if fast else 600], 120
    findings, paths = [], []
    for name, options in RULES.items():
        model = nn.MLP([64, 16, 10], rng=seed, dtype="float64")
        lab.kill(model, digits.x)
        start, optimizer = model[0].weight.data.copy(), optim.SGD(model.parameters(), lr=RATE, weight_decay=DECAY, **options)
        z = watch(model, optimizer, digits, steps).max(axis=1)
        if name == "SGD + L2":
            up = np.mean(model[0].weight.data[start < 0] > start[start < 0])
            findings.append(Finding("share of the negative weights that decay moves up", 1.0, up, claimed=0.0))
        told = lab.revival_step(-1.0, lr=RATE, weight_decay=DECAY, **options)
        findings.append(Finding(f"{name}: step of return", np.inf if told is None else told, first_positive(z).item()))
        if told is None:
            far = abs(z[-1] / z[0] / (1 - RATE * DECAY) ** steps - 1)
            findings.append(Finding(f"{name}: z after {steps} steps over rho^t z, less 1", 0.0, far, 1e-9))
        paths.append(z / abs(z[0]))
    return findings, {"paths": paths}


def draw(figure: Figure, series: Series) -> None:
    axes = figure.subplots()
    for name, path, colour, width, at in zip(RULES, series["paths"], COLUMN, (5, 1.5, 1.8), ((62, -0.4), (62, -0.72), (31, 0.3))):
        axes.plot(path[:100], color=colour, lw=width, alpha=0.4 if width == 5 else 1)
        say(axes, f"{name}: {'returns, and learns' if at[1] > 0 else 'never'}", at, colour)
    axes.axhline(0, color=FAINT, lw=0.8)
    label(axes, y="largest z of the layer", ylim=(-1.08, 0.6))


EXPERIMENT = Experiment("Decay pulls towards zero, and by itself not past it", run, draw, [
    Claim("D5", "Weight decay moves the weights down.", "folklore", "It moves them towards zero: negative ones go up.")
], also=["D6"])
