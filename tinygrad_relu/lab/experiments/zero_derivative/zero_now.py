"""A gradient of zero on this batch need not be zero on the next. Only a unit that is dead on all of the data gets zero for ever.

A unit that is active on a share p of the data gets a zero gradient from a batch of m samples with probability (1 - p)^m, each
time anew. So the zeros of living units are gaps; the zeros of dead units never end.
"""
import numpy as np

from .... import data, functional as F, lab, nn, optim
from ..common import ALIVE, DEAD, Claim, Experiment, Figure, Finding, Series, label, say

UNITS, KILLED, BATCH, RATE = 32, 6, 2, 0.002


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """Mini-batches of two digits: which units get a gradient at each step, and the on-rate p of each unit before each step."""
    digits, steps = data.digits()[:300], 300 if fast else 3000
    model = nn.MLP([64, UNITS, 10], rng=seed, dtype="float64")
    lab.kill(model, digits.x, range(KILLED))
    weight, optimizer, rng = model[0].weight, optim.SGD(model.parameters(), lr=RATE), np.random.default_rng(seed)
    zero, chance = np.zeros((steps, UNITS), bool), np.zeros((steps, UNITS))
    for step in range(steps):
        on = (digits.x @ weight.data.T + model[0].bias.data > 0).mean(axis=0)
        chance[step] = (1 - on) ** BATCH
        batch = rng.integers(len(digits), size=BATCH)
        optimizer.zero_grad()
        F.cross_entropy(model(digits.x[batch]), digits.y[batch]).backward()
        zero[step] = ~np.asarray(weight.grad).any(axis=1)
        optimizer.step()
    dead = chance[0] == 1                                   # those that were killed, and any that were born dead
    q = chance[:, ~dead]
    waiting = q.prod(axis=0)                                # the probability that a unit has had no gradient at all
    return [
        Finding("living units: share of zero gradients; expected: mean of (1 - p)^m", q.mean(), zero[:, ~dead].mean(),
                4 * np.sqrt((q * (1 - q)).sum()) / q.size),
        Finding("living units that got a gradient at some step", (1 - waiting).sum(), int((~zero[:, ~dead]).any(axis=0).sum()),
                4 * np.sqrt((waiting * (1 - waiting)).sum()) + 0.5),
        Finding("dead units that got a gradient at some step", 0, int((~zero[:, dead]).any(axis=0).sum()))], {
            "zero": zero[:120], "chance": chance[:120]}


def draw(figure: Figure, series: Series) -> None:
    axes = figure.subplots()
    for row, unit in enumerate(np.argsort(-series["chance"].mean(axis=0))):
        steps = np.flatnonzero(~series["zero"][:, unit])
        axes.plot(steps, np.full(len(steps), row), "s", color=ALIVE, ms=2.6)
    dead = int((series["chance"][0] == 1).sum())
    axes.axhspan(-0.5, dead - 0.5, color=DEAD, alpha=0.16, lw=0)
    say(axes, "dead on all data: never a gradient", (len(series["zero"]) / 2, dead / 2 - 0.5), DEAD, ha="center", va="center")
    label(axes, f"each square: the unit gets a gradient from this batch of {BATCH}", y="unit, by its share of active samples",
          ylim=(-0.5, UNITS - 0.5), xlim=(-1, len(series["zero"])))


EXPERIMENT = Experiment("Zero now is not zero for ever", run, draw, [
    Claim("D2", "A derivative of zero now need not be zero for ever: other samples come.", "folklore")], also=["A7"])
