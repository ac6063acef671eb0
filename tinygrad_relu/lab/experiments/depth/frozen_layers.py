"""In a deep sigmoid network the layers near the input are frozen: they hardly move, and the network learns nothing.

At its start, such a network passes on 0.236 of a gradient a layer (Glorot's weights). After eight layers the first has a gradient
some twenty thousand times weaker than the last, so its weights stay near their random start.
ReLU with He's start, Maxout with LeCun's, and batch normalisation before the sigmoids each cure it: all layers move alike.
"""
from typing import Any

import numpy as np

from .... import data, nn
from ..common import COLUMN, Claim, Experiment, Figure, Finding, Series, accuracy, at_least, at_most, four_errors, label, learn
from .depth_sweep import measured, predicted

LAYERS, WIDTH = 8, 64
NETWORKS: dict[str, Any] = {
    "sigmoid": {"activation": "sigmoid", "init": "glorot"}, "ReLU": {"activation": "relu", "init": "he"},
    "Maxout": {"activation": "maxout", "init": "lecun"},
    "sigmoid + batch norm": {"activation": "sigmoid", "init": "glorot", "norm": "batch"}}


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """Each network learns digits: the relative change of the weights of each layer, and the accuracy."""
    digits = data.digits("float32").standardise().head(500 if fast else 1797)
    noise = 4 / np.sqrt((LAYERS - 1) * WIDTH)           # relative, of the factor a layer, as in `depth_sweep`
    findings, moved, losses, right = [], {}, {}, {}
    for name, options in NETWORKS.items():
        model = nn.MLP([64] + [WIDTH] * LAYERS + [10], rng=seed, **options)
        if "norm" not in options:
            factor = 1.0 if name == "Maxout" else predicted(options["activation"], 1.0 if name == "sigmoid" else 2.0)
            findings.append(Finding(f"{name}: factor of the gradient a layer, at the start", factor,
                                    measured(model, digits.x, digits.y), noise * factor))
        weights = [p for p in model.parameters() if p.ndim == 2]
        before = [p.data.copy() for p in weights]
        losses[name] = learn(model, digits, 100, lr=0.02, momentum=0.9)
        moved[name] = [float(np.linalg.norm(p.data - old) / np.linalg.norm(old)) for p, old in zip(weights, before)]
        right[name] = float(accuracy(model, digits))
    ratios = {name: first / last for name, (first, *_, last) in moved.items()}
    frozen, alone = ratios.pop("sigmoid"), right.pop("sigmoid")
    most = np.bincount(digits.y).max() / len(digits.y)          # the accuracy of one answer for all
    findings += [at_least(f"{name}: change of the first layer over that of the last, against sigmoid's", frozen, ratio)
                 for name, ratio in ratios.items()]
    findings += [at_most("sigmoid: accuracy after 100 steps, against the share of the most frequent digit", most, alone,
                         four_errors(most, len(digits.y))),
                 at_least("the others: least accuracy, against sigmoid's", alone, min(right.values()))]
    return findings, {"moved": moved, "losses": losses}


def draw(figure: Figure, series: Series) -> None:
    layers, losses = figure.subplots(1, 2)
    for name, colour in zip(NETWORKS, COLUMN):
        layers.plot(range(1, LAYERS + 2), series["moved"][name], "o-", color=colour, lw=1.6, ms=4)
        losses.plot(series["losses"][name], color=colour, lw=1.8, label=name)
    label(layers, "change of the weights in 100 steps, relative to them", "layer, from the input on", "", yscale="log")
    label(losses, "training loss on digits", "step", legend="center right")


EXPERIMENT = Experiment("Frozen early layers, and three remedies", run, draw, [
    Claim("C12", "With vanishing gradients, the layers near the input learn slowest, though all the others build on them.",
          "Nielsen, Neural Networks and Deep Learning")], also=["C7", "C13", "A16"])
