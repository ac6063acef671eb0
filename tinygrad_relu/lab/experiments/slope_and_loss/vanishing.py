"""A chain of units, one per layer: the derivative of its end by its beginning is the product of all weights and slopes.

On a living path every slope of ReLU is 1, so with weights of 1 the gradient is the same after any number of layers, where that
of sigmoid falls by a factor of 4 and more per layer. Weights below 1 still shrink it: 0.5 per layer is 0.5^L. And one dead unit
makes it 0, exactly: death is the extreme of a vanishing gradient. In a training, early layers move as far as their gradient
lets them.
"""
import numpy as np

from .... import functional as F, nn, optim
from ..common import COLUMN, Claim, Experiment, Figure, Finding, Series, Tensor, at_least, at_most, descend, grad, label

DEEP, HERE = 30, 20
CHAINS = {"ReLU": ("relu", 1.0), "ReLU, weights 0.5": ("relu", 0.5), "ReLU, one dead unit": ("relu", 1.0),
          "tanh": ("tanh", 1.0), "sigmoid": ("sigmoid", 1.0)}


def chain(name: str, layers: int) -> nn.MLP:
    """`layers` hidden units in a row, then a linear output of weight 1. Biases are 0; -2 kills the one in the middle."""
    activation, weight = CHAINS[name]
    model = nn.MLP([1] * (layers + 2), activation, init=weight, dtype="float64", rng=0)
    model[-1].weight.data = [[1.0]]
    if "dead" in name:
        model[2 * (layers // 2)].bias.data = [-2.0]
    return model


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    slopes: dict[str, list[float]] = {name: [] for name in CHAINS}
    x = Tensor([[1.0]], requires_grad=True, dtype="float64")
    for name, found in slopes.items():
        found += [grad(chain(name, layers)(x).sum(), x)[0].item() for layers in range(1, DEEP + 1)]
    moved = {}
    for name in ("ReLU", "sigmoid", "ReLU, one dead unit"):
        model = chain(name, HERE)
        descend(model, optim.SGD(model.parameters(), lr=0.01), F.mse_loss, x.data, 2 * model(x).data + ("dead" in name), 100)
        moved[name] = [abs(model[2 * layer].weight.item() - 1) for layer in range(HERE)]
    at = {name: found[HERE - 1] for name, found in slopes.items()}
    return [Finding(f"{HERE} layers of ReLU: the gradient", 1, at["ReLU"]),
            Finding(f"{HERE} layers of ReLU, weights 0.5", 0.5**HERE, at["ReLU, weights 0.5"], claimed=1),
            Finding(f"{HERE} layers of ReLU, one unit dead", 0, at["ReLU, one dead unit"]),
            at_most(f"{HERE} layers of sigmoid, at most 4^-{HERE}", 0.25**HERE, at["sigmoid"]),
            at_least("100 steps of training: the first weight moves, ReLU", 1e-3, moved["ReLU"][0]),
            at_most("100 steps of training: the first weight moves, sigmoid", 1e-9, moved["sigmoid"][0]),
            Finding("100 steps of training: largest move of a weight, one unit dead", 0, max(moved["ReLU, one dead unit"])),
            ], {"slopes": slopes, "moved": moved}


def draw(figure: Figure, series: Series) -> None:
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    for (name, found), colour in zip(series["slopes"].items(), COLUMN):
        left.plot(range(1, DEEP + 1), np.maximum(found, 1e-23), color=colour, lw=1.7, ls=":" if "dead" in name else "-",
                  label=f"{name} (exactly 0)" if "dead" in name else name)
        if name in series["moved"]:
            moved = np.maximum(series["moved"][name], 1e-17)
            right.plot(range(1, HERE + 1), moved, "o:" if "dead" in name else "o-", color=colour, ms=3)
    label(left, "", "hidden layers", "gradient at the input", yscale="log", ylim=(1e-23, 30), legend="lower left")
    label(right, "after 100 steps of training", "layer", "how far its weight moved", yscale="log", ylim=(1e-17, 1))


EXPERIMENT = Experiment("Slope 1: no vanishing on a living path", run, draw, [
    Claim("A12", "A dead unit is another form of the vanishing gradient.", "textbook"),
    Claim("A16", "The slope of ReLU is 1 for x > 0, so gradients do not vanish.", "textbook",
          "The slopes do not shrink a gradient on a living path. Weights below 1 do, and a dead unit stops it.")
], also=["C1", "C7", "C8"])
