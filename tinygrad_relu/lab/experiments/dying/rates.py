"""The share of dead units after a training, over its learning rate, with momentum and without.

At rates that train well, few units die beyond those that were born dead. A few times higher, most do: the first steps throw
them off the data. A constant gradient g moves a weight by up to eta g/(1 - mu) per step with momentum mu, so momentum 0.9
kills at lower rates. Neither 40 % nor any other share is a limit.
"""
import numpy as np

from .... import data, lab, nn
from ..common import (
    COLUMN, DASHES, FAINT, Array, Claim, Experiment, Figure, Finding, Series, at_least, at_most, label, learn, say,
)

RATES, MOMENTA = np.array([0.01, 0.03, 0.1, 0.3, 1.0, 3.0]), (0.0, 0.9)
PROPER, HIGH = 2, 5             # of the rates: the second is 30 times higher


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """A network of 64-32-32-10 for each rate, momentum and seed, all trained at once on images of digits."""
    digits, seeds = data.digits()[:300 if fast else 600], 2 if fast else 5
    shape, rngs = (len(MOMENTA), len(RATES), seeds), [*range(seed, seed + seeds)] * len(MOMENTA) * len(RATES)
    model = nn.MLP([64, 32, 32, 10], members=len(rngs), dtype="float64", rng=rngs)

    def dead() -> Array:
        return np.reshape([sum(one.dead) / 64 for one in lab.census(model, digits.x).each], shape).mean(axis=2)

    born = dead()[0, 0]
    losses = learn(model, digits, 150, lr=np.broadcast_to(RATES[:, None], shape).ravel(),
                   momentum=np.repeat(MOMENTA, len(RATES) * seeds))[-1].reshape(shape).mean(axis=2)
    share = dead()
    proper, high = RATES[PROPER], RATES[HIGH]
    return [at_most(f"loss at rate {proper:g}, against that of guessing, ln 10", np.log(10), losses[0, PROPER]),
            at_most(f"share of dead units at rate {proper:g}, against rate {high:g}", share[0, HIGH], share[0, PROPER]),
            at_least(f"share of dead units at rate {high:g}", 0.4, share[0, HIGH], claimed=0.4),
            at_least(f"share at rate {proper:g} with momentum 0.9", share[0, PROPER], share[1, PROPER]),
            at_least(f"share at rate {high:g} with momentum 0.9", 0.4, share[1, HIGH], claimed=0.4),
            ], {"rates": RATES, "share": share, "born": born, "losses": losses}


def draw(figure: Figure, series: Series) -> None:
    left, right = figure.subplots(1, 2)
    for mu, share, losses, colour in zip(MOMENTA, series["share"], series["losses"], COLUMN):
        left.plot(series["rates"], 100 * share, "o-", color=colour, ms=4.5)
        right.plot(series["rates"], losses, "o-", color=colour, ms=4.5, label=f"momentum {mu:g}")
    for height, text, rate in ((40, '"up to 40 %"', 0.05), (100 * series["born"], "born dead", 3)):
        left.axhline(height, color=FAINT, ls=DASHES, lw=1)
        say(left, text, (rate, height + 1), FAINT, va="bottom", ha="right")
    label(left, "after 150 steps", "learning rate", "dead units in %", xscale="log", ylim=(0, 103))
    label(right, "", "learning rate", "loss", xscale="log", ylim=(0, None), legend="best")


EXPERIMENT = Experiment("How many units die at which learning rate", run, draw, [
    Claim("A9", "Up to 40 % of a network can be dead if the learning rate is too high.", "course notes of Stanford's CS231n",
          "40 % is no limit: at a high rate nearly all units die."),
    Claim("A10", "With a proper learning rate this happens less often.", "course notes of Stanford's CS231n")])
