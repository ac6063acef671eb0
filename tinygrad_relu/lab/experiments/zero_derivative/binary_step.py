"""A binary step has slope 0 everywhere: in a hidden layer it stops all learning before it. It fits in after the last layer only.

With a step in the hidden layer the weights before it get a gradient of exactly 0 and keep their random values. A straight-through
gradient (slope 1 near 0 in the backward pass) repairs this. After the last layer a step does no harm if it is left out of the
training: the network learns a smooth loss of z, and z >= 0 is the decision.
"""
import numpy as np

from .... import data, functional as F, nn, optim
from ..common import COLUMN, Claim, Experiment, Figure, Finding, Series, at_least, at_most, descend, label

HIDDEN = {"step": nn.Step, "step, straight-through": lambda: nn.Step(1.0), "relu, step after the last layer": nn.ReLU}


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """Is a digit below 5? The same network with three hidden activations; and one with a step inside the loss."""
    digits, steps = data.digits()[:300 if fast else 1200], 150 if fast else 600
    below = (digits.y < 5).astype(float)[:, None]
    findings, losses, accuracy = [], [], {}
    for name, activation in HIDDEN.items():
        model = nn.MLP([64, 16, 1], activation=activation, rng=seed, dtype="float64")
        start = model[0].weight.data.copy()
        losses.append(descend(model, optim.SGD(model.parameters(), lr=0.2), F.binary_cross_entropy_with_logits, digits.x, below,
                              steps))
        accuracy[name] = np.mean(F.step(model(digits.x)).data == below)
        findings.append(Finding(f"{name}: hidden units whose weights changed", 0 if name == "step" else 14,
                                (model[0].weight.data != start).any(axis=1).sum(), relation="=" if name == "step" else ">="))
    inside = nn.Sequential(*nn.MLP([64, 16, 1], rng=seed, dtype="float64"), nn.Step())
    before = [p.data.copy() for p in inside.parameters()]
    descend(inside, optim.SGD(inside.parameters(), lr=0.2), F.mse_loss, digits.x, below, 20)
    changed = sum((p.data != old).sum() for p, old in zip(inside.parameters(), before))
    findings += [Finding("step inside the loss: numbers of the network that changed", 0, changed),
                 at_most("loss at the end, straight-through over step", 1.0, losses[1][-1] / losses[0][-1]),
                 at_least("accuracy with a step after the last layer", 0.9, accuracy[name])]
    return findings, {"losses": losses}


def draw(figure: Figure, series: Series) -> None:
    axes = figure.subplots()
    for name, losses, colour in zip(HIDDEN, series["losses"], COLUMN):
        axes.plot(losses, color=colour, lw=1.6, label=name)
    label(axes, "is a digit below 5? the hidden layer has 16 units", y="loss", ylim=(0, None), legend="best")


EXPERIMENT = Experiment("A binary step stops all learning before it", run, draw, [
    Claim("D11", "A binary step has slope 0, so it is used in the last layer only.", "textbook")])
