"""Each dead unit lowers the rank of its layer's activations by one, so later layers see one dimension less.

The activations of n units on all samples form a matrix H, (samples, n), of rank at most the number of units that are not dead.
Here it is exactly that number. So a layer with r living units passes on r numbers per sample, and no training of the others
brings the lost dimensions back. The effective rank, exp of the entropy of the singular values' shares, falls with it.
"""
import numpy as np

from .... import data, lab, nn
from ...gradient_profile import effective_rank
from ..common import COLUMN, FAINT, Claim, Experiment, Figure, Finding, Series, accuracy, at_least, label, learn

UNITS, DEAD = 32, (0, 8, 16, 24, 28, 31, 32)


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """A trained network loses more and more units; each of these networks is then trained on."""
    digits = data.digits()[:300 if fast else 1000].standardise()
    start = nn.MLP([64, UNITS, 10], dtype="float64", rng=seed)
    learn(start, digits, 100, lr=0.3)
    models, order = nn.population([start] * len(DEAD)), np.random.default_rng(seed).permutation(UNITS)
    lab.Kill(digits.x).apply(models, units=[{0: order[:n]} for n in DEAD])
    hidden = np.maximum(models[0](digits.x).data, 0)
    ranks, effective = np.linalg.matrix_rank(hidden).tolist(), [effective_rank(h.T @ h) for h in hidden]
    learn(models, digits, 200, lr=0.3)
    right = accuracy(models, digits)
    return [*(Finding(f"rank with {n} dead units of {UNITS}", UNITS - n, rank) for n, rank in zip(DEAD, ranks)),
            at_least("smallest fall of the effective rank from count to count", 0, -np.diff(effective).max()),
            Finding("accuracy when all are dead: the commonest class", np.bincount(digits.y).max() / len(digits.y), right[-1]),
            ], {"ranks": ranks, "effective": effective, "accuracy": right}


def draw(figure: Figure, series: Series) -> None:
    left, right = figure.subplots(1, 2)
    left.plot([0, UNITS], [UNITS, 0], color=FAINT, lw=1, label="living units")
    left.plot(DEAD, series["ranks"], "o", color=COLUMN[0], ms=5, label="rank, measured")
    left.plot(DEAD, series["effective"], "o-", color=COLUMN[1], ms=4, label="effective rank")
    right.plot(DEAD, series["accuracy"], "o-", color=COLUMN[2], ms=4.5)
    label(left, "", f"dead units of {UNITS}", "rank of the activations", legend="best")
    label(right, "after 200 further steps of training", f"dead units of {UNITS}", "accuracy", ylim=(0, 1.03))


EXPERIMENT = Experiment("Dead units take away dimensions", run, draw, [
    Claim("A21", "Dead units lose diversity: the rank of the hidden activations falls.", "folklore of plasticity research")])
