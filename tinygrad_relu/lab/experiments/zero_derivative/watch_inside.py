"""The loss does not show how many units are dead: of two networks of the same accuracy, one can have lost half of its units.

Higher rates end with a lower loss here, until the rate kills everything. Just before that, the network with the lowest loss of
all has lost many of its units, and learns new labels more slowly. So watch the units, by `lab.census` or `lab.Recorder`.
"""
from dataclasses import replace

import numpy as np

from .... import data, lab, nn
from ..common import ALIVE, BLUE, DEAD, Claim, Experiment, Figure, Finding, Series, accuracy, at_least, at_most, label, learn

RATES = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.5, 1.6)
UNITS = 64


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """One network trained at ten rates on digits; its dead units; then new random labels at one common rate."""
    digits, steps, n = data.digits()[:200 if fast else 600], 200 if fast else 500, len(RATES)
    models = nn.MLP([64, UNITS, 10], rng=[seed] * n, members=n, dtype="float64")
    loss = learn(models, digits, steps, lr=np.array(RATES))[-1]
    right = accuracy(models, digits)
    dead = np.array([one.dead[0] for one in lab.census(models, digits.x).each])
    later = learn(models, replace(digits, y=np.random.default_rng(seed).integers(0, 10, len(digits))), steps, lr=0.1)[-1]
    top = right == right.max()
    worst = int(np.where(top, dead, -1).argmax())               # of the networks of the highest accuracy
    best = int(np.where(top, dead, UNITS).argmin())
    return [
        at_least("networks of the highest accuracy: most dead units, against the fewest and one", dead[best] + 1, dead[worst]),
        at_most("loss of the one with most over the loss of the one with fewest", 1.0, loss[worst] / loss[best]),
        at_least("loss on new labels, the same ratio", 1.0, later[worst] / later[best])], {
            "accuracy": right, "dead": dead, "later": later, "loss": loss}


def draw(figure: Figure, series: Series) -> None:
    outside, inside, later = figure.subplots(1, 3)
    for axes, values, colour, title in ((outside, series["accuracy"], BLUE, "accuracy: what one sees"),
                                        (inside, series["dead"], DEAD, f"dead units of {UNITS}"),
                                        (later, series["later"], ALIVE, "then: loss on new labels")):
        axes.plot(RATES, values, "o-", color=colour, ms=5)
        label(axes, title, "rate of the first training", ylim=(0, 1.08 * max(values)))


EXPERIMENT = Experiment("The loss does not show the dead units", run, draw, [
    Claim("D18", "Hidden signals can be watched during the training, and should be.", "folklore")], also=["A21"])
