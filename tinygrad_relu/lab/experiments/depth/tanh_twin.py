"""tanh(z) = 2 sigmoid(2 z) - 1: every tanh network is a sigmoid network with other weights, and both compute the same.

The twin has 2 W and 2 b before the sigmoid, and 2 W and b - sum of W after it, for each layer in turn. But they do not learn
alike: the twin's activations are all positive, with a mean of 1/2, and gradient descent at the same rate is slower on it.
"""
import numpy as np

from .... import data, functional as F, nn
from ..common import COLUMN, Claim, Experiment, Figure, Finding, Series, at_most, label, learn, say, slope

WIDTHS = [64, 32, 32, 10]


def twin(model: nn.MLP) -> nn.MLP:
    """The sigmoid network that computes the same as a tanh network."""
    copy = nn.MLP(WIDTHS, "sigmoid", rng=0, dtype="float64")
    last = len(WIDTHS) - 2
    for k in range(last + 1):
        weight, bias = model[2 * k].weight.data, model[2 * k].bias.data
        if k > 0:               # its inputs are h = 2 h' - 1
            weight, bias = 2 * weight, bias - weight.sum(axis=1)
        double = 1 if k == last else 2
        copy[2 * k].weight.data, copy[2 * k].bias.data = double * weight, double * bias
    return copy


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """The identity on a grid in both types; twins on digits before training, and the losses of both in training."""
    digits = data.digits().head(500 if fast else 1797)
    model = nn.MLP(WIDTHS, "tanh", "glorot", "float64", seed)
    findings = []
    for dtype in ("float32", "float64"):
        z = np.linspace(-20, 20, 100_001).astype(dtype)
        error = np.abs(F.tanh(z).data - (2 * F.sigmoid(2 * z).data - 1)).max()
        findings.append(Finding(f"{dtype}: largest difference of tanh(z) and 2 sigmoid(2 z) - 1, in units of epsilon", 0,
                                error / np.finfo(dtype).eps, 3))     # roundings of numbers up to 2: tanh, sigmoid, the difference
    zero, error = np.zeros(1), np.abs(twin(model)(digits.x).data - model(digits.x).data).max()
    findings += [
        Finding("slope at 0: tanh over sigmoid", 4, slope(F.tanh, zero)[0] / slope(F.sigmoid, zero)[0], 1e-15),
        Finding("twins: largest difference of outputs", 0, error, 1e-13)]
    losses = {name: learn(net, digits, 300, lr=0.1) for name, net in (("sigmoid", twin(model)), ("tanh", model))}
    findings.append(at_most("loss after 300 steps: tanh over its twin", 1, losses["tanh"][-1] / losses["sigmoid"][-1]))
    return findings, {"losses": losses}


def draw(figure: Figure, series: Series) -> None:
    axes = figure.subplots()
    for values, colour, text in zip(series["losses"].values(), COLUMN, ("its sigmoid twin", "tanh network")):
        axes.plot(values, color=colour, lw=1.8)
        say(axes, text, (0.45 * len(values), values[int(0.45 * len(values))] + 0.06), colour)
    label(axes, "the same function at the start, the same rate", "step", "training loss on digits", ylim=(0, None))


EXPERIMENT = Experiment("A tanh network and its sigmoid twin", run, draw, [
    Claim("C6", "tanh(z) = 2 sigmoid(2 z) - 1: tanh is a scaled sigmoid.", "course notes of Stanford's CS231n")], also=["C3"])
