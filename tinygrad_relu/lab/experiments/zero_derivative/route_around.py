"""Units that are dead do not stop the others: the rest of the network learns around them, until hardly any are left.

Copies of one network, with the same weights, lose 0 to all of the 64 units of their hidden layer before the training. With
none left, only the output biases learn, and every image gets the same frequencies of the digits: the mean of the targets.
"""
import numpy as np

from .... import data, lab, nn
from ..common import ALIVE, COLUMN, Claim, Experiment, Figure, Finding, Series, accuracy, at_least, label, learn

KILLED, WIDTH = (0, 16, 32, 48, 56, 60, 64), 64


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """A population, one member for each number of killed units, trained on digits."""
    digits, steps = data.digits()[:300 if fast else 1200], 150 if fast else 1000
    models = nn.MLP([64, WIDTH, 10], rng=[seed] * len(KILLED), members=len(KILLED), dtype="float64")
    order = np.random.default_rng(seed).permutation(WIDTH)
    lab.Kill(digits.x).apply(models, units=[{0: order[:k]} for k in KILLED])
    losses = learn(models, digits, steps, lr=0.1)
    right = accuracy(models, digits)
    share = np.bincount(digits.y) / len(digits)
    return [
        Finding("accuracy with 32 of 64 dead, less that with 0", 0.0, right[2] - right[0], 0.05),
        at_least("accuracy with 56 of 64 dead", 0.6, right[4]),
        Finding("accuracy with all dead: the most frequent digit", share.max(), right[-1], 1e-12),
        Finding("loss with all dead: entropy of the frequencies", -(share * np.log(share)).sum(), losses[-1, -1], 1e-3)], {
            "losses": losses, "accuracy": right}


def draw(figure: Figure, series: Series) -> None:
    loss, score = figure.subplots(1, 2)
    for k, path, colour in zip(KILLED, series["losses"].T, (*COLUMN, "#000000")):
        loss.plot(path, color=colour, lw=1.4, label=f"{k} dead")
    loss.legend(frameon=False, fontsize=8, ncols=3, loc="upper right")
    label(loss, f"loss, {WIDTH} hidden units", y="loss", ylim=(0, 3.6))
    score.plot(KILLED, series["accuracy"], "o-", color=ALIVE, ms=5)
    label(score, "accuracy after the training", "dead units", "", ylim=(0, 1.05))


EXPERIMENT = Experiment("The living units learn around the dead ones", run, draw, [
    Claim("D15", "If some units are stuck, the others learn around them.", "folklore")])
