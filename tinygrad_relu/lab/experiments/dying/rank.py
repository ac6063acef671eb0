"""Each dead unit lowers the rank of its layer's activations by one, so later layers see one dimension less.

The activations of n units on all samples form a matrix H, (samples, n), of rank at most the number of units that are not
dead. Here it is exactly that number. So a layer with r living units passes on r numbers per sample, and no
training of the others brings the lost dimensions back. The effective rank, exp of the entropy of the singular values' shares,
falls with it.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from .... import data, nn
from .... import functional as F
from ....optim import SGD
from ...drawing import COLUMN, FAINT, label
from ...gradient_profile import effective_rank
from ...interventions import kill
from ..common import accuracy, descend
from ..record import Claim, Experiment, Finding, Series

UNITS, DEAD = 32, (0, 8, 16, 24, 28, 31, 32)


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """A trained network loses more and more units; each of these networks is then trained on."""
    digits = data.digits()[:300 if fast else 1000].standardise()
    start = nn.MLP([64, UNITS, 10], dtype="float64", rng=seed)
    descend(start, SGD(start.parameters(), lr=0.3), F.cross_entropy, digits.x, digits.y, 100)
    order, ranks, effective = np.random.default_rng(seed).permutation(UNITS), [], []
    models = []
    for n in DEAD:
        model = nn.MLP([64, UNITS, 10], dtype="float64", rng=seed)
        model.load_state_dict(start.state_dict())
        kill(model, digits.x, order[:n])
        h = np.maximum(model[0](digits.x).data, 0)
        ranks.append(int(np.linalg.matrix_rank(h)))
        effective.append(effective_rank(h.T @ h))
        models.append(model)
    population = nn.population(models)
    descend(population, SGD(population.parameters(), lr=0.3), F.cross_entropy, digits.x, digits.y, 200)
    right = accuracy(population, digits.x, digits.y)
    commonest = np.bincount(digits.y).max() / len(digits.y)
    return [*(Finding(f"rank with {n} dead units of {UNITS}", UNITS - n, rank) for n, rank in zip(DEAD, ranks)),
            Finding("smallest fall of the effective rank from count to count", 0, -np.diff(effective).max(), relation=">="),
            Finding("accuracy when all are dead: the commonest class", commonest, right[-1]),
            ], {"ranks": ranks, "effective": effective, "accuracy": right}


def draw(figure: Any, series: Series) -> None:
    left, right = figure.subplots(1, 2)
    left.plot([0, UNITS], [UNITS, 0], color=FAINT, lw=1, label="living units")
    left.plot(DEAD, series["ranks"], "o", color=COLUMN[0], ms=5, label="rank, measured")
    left.plot(DEAD, series["effective"], "o-", color=COLUMN[1], ms=4, label="effective rank")
    left.legend(frameon=False, fontsize=9)
    right.plot(DEAD, series["accuracy"], "o-", color=COLUMN[2], ms=4.5)
    right.set_ylim(0, 1.03)
    label(left, "", f"dead units of {UNITS}", "rank of the activations")
    label(right, "after 200 further steps of training", f"dead units of {UNITS}", "accuracy")


EXPERIMENT = Experiment(
    "Dead units take away dimensions",
    [Claim("A21", "Dead units lose diversity: the rank of the hidden activations falls.", "folklore of plasticity research")],
    run, draw)
