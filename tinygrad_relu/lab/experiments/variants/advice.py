"""The advice of courses on activations is tried here: six hidden layers on digits with each activation, at several rates.

ReLU, Leaky ReLU, Maxout and tanh learn; a sigmoid network of this depth does not. A rate that is too high kills ReLUs, so watch
it and count the dead; no leaky unit dies, though at such a rate it does not learn either. But a network that mixes three
activations learns as well as the others, and tanh, with the start that was made for it, is no worse than ReLU here and
tolerates higher rates.
"""
import numpy as np

from .... import data, lab, nn
from ..common import COLUMN, Claim, Experiment, Figure, Finding, Series, accuracy, at_least, at_most, four_errors, label, learn

DEPTH, WIDTH = 6, 32
NETWORKS = {"ReLU": ["relu"], "Leaky ReLU": ["leaky_relu"], "Maxout": ["maxout"], "tanh": ["tanh"], "sigmoid": ["sigmoid"],
            "mixed": ["relu", "leaky_relu", "tanh"]}


def network(activations: list[str], seed: int) -> nn.Sequential:
    """An MLP whose hidden layers take these activations in turn; the start is He's, before tanh and sigmoid Glorot's."""
    rng, layers, widths = np.random.default_rng(seed), [], [64] + [WIDTH] * DEPTH
    for k, n in enumerate(widths[:-1]):
        name = activations[k % len(activations)]
        block = nn.MLP([n, WIDTH, 1], name, "glorot" if name in ("tanh", "sigmoid") else "he", rng=rng)
        layers += list(block.children())[:-1]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10, init="he", rng=rng))


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """A population for each network: each rate with several seeds, 400 images for training, 1397 for the test."""
    rates, seeds = ((0.01, 0.03, 0.3), 2) if fast else ((0.01, 0.03, 0.1, 0.3), 3)
    train, test = data.digits("float32").split(400 / 1797, rng=seed, stratify=True)
    errors, dead = {}, {}
    for name, activations in NETWORKS.items():
        model = nn.population([network(activations, seed + k) for _ in rates for k in range(seeds)])
        learn(model, train, 200 if fast else 300, lr=np.repeat(rates, seeds), momentum=0.9)
        errors[name] = (100 * (1 - accuracy(model, test))).reshape(len(rates), seeds).mean(axis=1)
        dead[name] = [sum(one.dead) / (DEPTH * WIDTH) for one in lab.census(model, train.x).each[::len(rates) * seeds - 1]]
    best = {name: found.min() for name, found in errors.items()}
    noise = 100 * four_errors(best["ReLU"] / 100, len(test)) * np.sqrt(2 / seeds)       # of the difference of two means
    return [
        at_least("sigmoid: least test error over the rates, in %, against the largest of the others",
                 max(error for name, error in best.items() if name != "sigmoid"), best["sigmoid"]),
        *(at_most(f"{name}: least test error less ReLU's, in points", 0, best[name] - best["ReLU"], noise)
          for name in ("Leaky ReLU", "Maxout", "tanh", "mixed")),
        # of dead units at the lowest rate, and at the highest
        at_least("ReLU at a rate of 0.3: share of dead units, against a rate of 0.01", dead["ReLU"][0], dead["ReLU"][1]),
        Finding("Leaky ReLU at a rate of 0.3: dead units", 0, dead["Leaky ReLU"][1]),
    ], {"rates": rates, "errors": errors}


def draw(figure: Figure, series: Series) -> None:
    axes = figure.subplots()
    for (name, errors), colour, mark in zip(series["errors"].items(), COLUMN, "os^Dvx"):
        axes.plot(series["rates"], errors, mark + "-", color=colour, lw=1.6, ms=6, label=name)
    axes.axhline(90, color="black", lw=0.8)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    label(axes, "six hidden layers of 32 units on digits; the line at 90 % is chance", "learning rate", "test error in %",
          xscale="log", xticks=series["rates"], xticklabels=series["rates"], ylim=(0, 100))


EXPERIMENT = Experiment("The advice of courses on activations", run, draw, [
    Claim("B15", "Use ReLU, and watch the rate and the dead units; else try Leaky ReLU, PReLU or Maxout; then tanh; never "
          "sigmoid; and do not mix them.",
          "after the course notes of Stanford's CS231n, which call mixtures rare, and not a problem",
          "Only that a sigmoid fails in deep networks and that the rate matters is seen here: a mixture is as good as ReLU, and "
          "so is tanh.")])
