"""Zero slopes in one layer stop the gradient of the layers before it, and not of those after it.

The gradient flows from the loss backwards. If every slope of layer 2 is 0, layers 1 and 2 get exactly 0. The layers after it
still learn. If the dead layer outputs zeros (ReLU), the weights that take them get 0 as well, but the biases and the later
weights learn, provided that a positive bias keeps the next layer alive. If it outputs -1 (hardtanh), all that follows learns.
"""
import numpy as np

from .... import data, functional as F, lab, nn
from ..common import ALIVE, BLUE, DEAD, Claim, Experiment, Figure, Finding, Series, label

LAYERS = 4


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """Networks of four layers: healthy, and with layer 2 dead or saturated. Which layers get a gradient from the digits?"""
    digits, norms = data.digits()[:200], {}
    for name, activation in (("healthy ReLU", "relu"), ("dead ReLU", "relu"), ("saturated hardtanh", "hardtanh")):
        model = nn.MLP([64, 32, 32, 32, 10], activation=activation, rng=seed, dtype="float64")
        model[4].bias.data = np.full(32, 0.1)               # where a dead layer sends zeros, only a bias > 0 keeps ReLU alive
        if name != "healthy ReLU":
            lab.kill(model, digits.x, layer=1)
        F.cross_entropy(model(digits.x), digits.y).backward()
        sizes = [float(np.linalg.norm(np.asarray(p.grad))) for p in model.parameters()]
        norms[name] = sizes[::2], sizes[1::2]               # of the weights and of the biases, layer by layer
    findings = []
    for name, weights in (("dead ReLU", 1), ("saturated hardtanh", 2)):
        w, b = norms[name]
        findings += [Finding(f"{name} in layer 2: largest gradient of layers 1 and 2", 0.0, max(*w[:2], *b[:2])),
                     Finding(f"{name} in layer 2: layers after it whose weights learn", weights, sum(n > 0 for n in w[2:])),
                     Finding(f"{name} in layer 2: layers after it whose biases learn", 2, sum(n > 0 for n in b[2:]))]
    return findings, {"norms": norms}


def draw(figure: Figure, series: Series) -> None:
    panels = figure.subplots(1, 3, sharey=True)
    for axes, (name, (weights, biases)) in zip(panels, series["norms"].items()):
        layers = np.arange(1, LAYERS + 1)
        axes.bar(layers - 0.18, weights, 0.34, color=BLUE, label="weights")
        axes.bar(layers + 0.18, biases, 0.34, color=ALIVE, label="biases")
        for layer, height in [(i - 0.18, w) for i, w in zip(layers, weights)] + [(i + 0.18, b) for i, b in zip(layers, biases)]:
            if height == 0:
                axes.text(layer, 1.2e-4, "0", ha="center", fontsize=9, color=DEAD)
        label(axes, name if name.startswith("healthy") else f"layer 2: {name}", "layer",
              "norm of the gradient" if axes is panels[0] else "", yscale="log", ylim=(1e-4, 30), xticks=layers)
    panels[0].legend(frameon=False, fontsize=9, loc="upper left")


EXPERIMENT = Experiment("A zero stops what is before it, and nothing else", run, draw, [
    Claim("D14", "A derivative of zero in a layer stops the learning of the layers upstream of it only.", "the chain rule")])
