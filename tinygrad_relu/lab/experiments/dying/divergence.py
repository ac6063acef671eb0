"""A rate that is too high can make a training diverge, or kill the network. These are two failures, which must be told apart.

At a rate of 6 the first steps overshoot: the loss of a ReLU network grows by many orders of magnitude. Then all units of its last
hidden layer are dead, no gradient passes, and the output biases settle at the mean of the targets: the loss is their variance,
and stays there. The same network with leaky units cannot die, and diverges to NaN. At 16 even the output biases of a dead network
diverge: with c outputs their error is multiplied by 1 - 2 eta/c per step, so they settle only if eta < c, here 10.
"""
import numpy as np

from .... import data, functional as F, lab, nn, optim
from ..common import COLUMN, DASHES, FAINT, Claim, Experiment, Figure, Finding, Series, at_least, at_most, descend, label, say

RATES, STEPS = np.array([0.3, 6.0, 16.0]), 120
NAMES = {"relu": "ReLU", "leaky_relu": "the same start, leaky units"}


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """Networks of 64-32-32-10 learn one-hot vectors of digits by squared loss on all samples; several seeds for each rate."""
    digits, seeds = data.digits()[:300 if fast else 600], 4 if fast else 8
    targets = F.one_hot(digits.y, 10).data.astype("float64")
    losses, ends = {}, {}
    for name in NAMES:
        model = nn.MLP([64, 32, 32, 10], name, dtype="float64", members=3 * seeds, rng=[*range(seed, seed + seeds)] * 3)
        optimizer = optim.SGD(model.parameters(), lr=np.repeat(RATES, seeds))
        losses[name] = descend(model, optimizer, F.mse_loss, digits.x, targets, STEPS).T.reshape(3, seeds, STEPS)
        ends[name] = [one.layers[1] for one in lab.census(model, digits.x).each[seeds:2 * seeds]]      # those at rate 6
    good, high, worst = losses["relu"]
    dead = np.array([layer.dead == 32 for layer in ends["relu"]])
    variance = targets.var(axis=0).mean()
    farthest = max(high[dead, -1], key=lambda last: abs(last - variance), default=np.nan)
    blown = [(layer.state == lab.State.DIVERGED).all() for layer in ends["leaky_relu"]]
    growth = [row[-1] / row[-2] for row in (row[np.isfinite(row)] for row in worst)]
    return [at_most("rate 0.3: last loss, over the variance of the targets", 1, good[:, -1].max() / variance),
            at_least("rate 6: largest loss, over the first; the least of all seeds", 1,
                     (high[:, 1:].max(axis=1) / high[:, 0]).min()),
            at_least(f"rate 6: networks of {seeds} whose last hidden layer is dead", seeds / 2, dead.sum()),
            Finding("rate 6: last loss of these (variance of the targets)", variance, farthest, 1e-9),
            Finding(f"rate 6: leaky twins of {seeds} that diverged, in all units", seeds, np.sum(blown)),
            Finding("rate 16: growth of the loss of a dead network per step", (1 - 2 * 16 / 10) ** 2, np.median(growth), 1e-6),
            ], {"losses": losses, "variance": variance}


def draw(figure: Figure, series: Series) -> None:
    for axes, (name, losses) in zip(figure.subplots(1, 2, sharey=True, sharex=True), series["losses"].items()):
        for rate, rows, colour in zip(RATES, losses, COLUMN):
            rows = np.where(rows < 1e220, rows, np.nan)         # matplotlib's axis overflows not far from the largest number
            axes.plot(rows.T, color=colour, lw=1.2, label=[f"rate {rate:g}", *[""] * (len(rows) - 1)])
            for row in rows[~np.isfinite(rows[:, -1])]:
                stop = int((~np.isfinite(row)).argmax()) - 1
                axes.plot(stop, row[stop], "x", color=colour, ms=6, mew=1.6)
        axes.axhline(series["variance"], color=FAINT, ls=DASHES, lw=1)
        label(axes, NAMES[name], "step", "squared loss" if name == "relu" else "", yscale="log", ylim=(1e-8, 1e222),
              xlim=(-2, 80))
    say(axes, "dashed: variance of the targets\nx: infinite or NaN soon after", (79, 1e4), FAINT, ha="right", va="bottom")
    axes.legend(*figure.axes[0].get_legend_handles_labels(), frameon=False, fontsize=8.5, loc="upper right")


EXPERIMENT = Experiment("Divergence is not death: a dead network even stops diverging", run, draw, [
    Claim("A13", "A learning rate that is too high overshoots, and the loss grows.", "textbook")], also=["A8"])
