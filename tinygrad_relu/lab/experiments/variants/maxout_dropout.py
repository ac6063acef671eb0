"""Maxout was made to be trained with dropout: each mask trains another subnetwork, and evaluation approximates their average.

Dropout keeps the mean of the inputs of a layer, so it keeps the mean of each affine piece. A maximum is convex, so the mean of a
Maxout unit over the masks is at least its value in evaluation (Jensen). The two are so close that evaluation agrees with an
average over many masks more often than a single mask does; and with few images, dropout lowers the test error.
"""
import numpy as np

from .... import data, functional as F, nn
from ..common import COLUMN, Claim, Experiment, Figure, Finding, Series, accuracy, at_least, label, learn, say

MASKS, DROPOUT = 200, 0.5


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """Populations 64-64-64-10 with three pieces, with dropout and without: 300 images for training, 1497 for the test."""
    train, test = data.digits("float32").split(300 / 1797, rng=seed, stratify=True)
    errors = []
    for p in (0.0, DROPOUT):
        model = nn.MLP([64, 64, 64, 10], "maxout", rng=seed, pieces=3, dropout=p, members=8 if fast else 16)
        learn(model, train, 150 if fast else 300, lr=0.05, momentum=0.9)
        model.eval()
        errors.append(100 * (1 - accuracy(model, test)))
    one = model.member(0)               # of the population with dropout: Maxout, Dropout, Maxout, Dropout, Linear
    few, chosen = test.x[:20], F.softmax(one(test.x)).data.argmax(axis=1)
    evaluated = one[:3](few).data       # the second Maxout layer
    one.train()
    units = np.array([one[:3](few).data for _ in range(MASKS)])
    each = np.array([F.softmax(one(test.x)).data for _ in range(MASKS // 4)])
    average = each.sum(axis=0).argmax(axis=1)
    above = units.mean(axis=0) - evaluated
    return [
        at_least("mean of a unit over the masks, less its value in evaluation: least, in standard errors", 0,
                 (above / (units.std(axis=0) / np.sqrt(MASKS))).min(), 5),     # of 1280 means; 5 sigma: 4e-4 in all
        at_least("the same, average of all units", 0, above.mean()),
        at_least("images that evaluation and an average over 50 masks classify alike, share, against one mask and the average",
                 (each.argmax(axis=2) == average).mean(), (average == chosen).mean()),
        at_least("test error without dropout, less with it, in points", 0, (errors[0] - errors[1]).mean()),
    ], {"evaluated": evaluated.ravel(), "average": units.mean(axis=0).ravel(), "errors": errors}


def draw(figure: Figure, series: Series) -> None:
    units, seeds = figure.subplots(1, 2)
    low, top = min(series["average"]), max(series["average"])
    units.plot([low, top], [low, top], color="black", lw=0.8)
    units.plot(series["evaluated"], series["average"], ".", color=COLUMN[0], ms=3)
    say(units, "the mean is larger\n(Jensen)", (low, 0.6 * top))
    label(units, "64 Maxout units on 20 images", "output in evaluation", f"mean over {MASKS} dropout masks")
    for k, (values, colour) in enumerate(zip(series["errors"], COLUMN)):
        seeds.plot(values, np.linspace(-0.2, 0.2, len(values)) - k, "o", color=colour, ms=5, alpha=0.6)
        seeds.plot(np.mean(values), -k, "|", color="black", ms=30, mew=2)
    label(seeds, "a dot is a seed, the bar their mean", "test error in %", yticks=[0, -1],
          yticklabels=["without\ndropout", "with\ndropout"])


EXPERIMENT = Experiment("Maxout and dropout", run, draw, [
    Claim("B14", "Maxout composes with dropout: evaluation approximates the average over all masks.",
          "Goodfellow et al. 2013, arXiv 1302.4389")])
