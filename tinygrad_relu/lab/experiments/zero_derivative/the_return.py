"""A dead unit returns gently, as its own mirror image; and if nothing pushes it then, it goes on to blink.

From rest, momentum with L2 multiplies every weight and the bias by the same factor q; the outgoing weights too, whose gradient is
0 as well. At the return q has just become negative, and the unit's contribution to the output is q^2 times the former one. If its
outgoing weights stay 0, it has no gradient after the return either: it lives and dies in turn, with the period 2 pi/phi, cos phi
= (1 + mu - c)/(2 sqrt mu).
"""
import numpy as np

from .... import data, lab, nn, optim
from ..common import BLUE, DEAD, LIGHT, Array, Claim, Experiment, Figure, Finding, Options, Series, label, say, watch

SWING: Options = {"lr": 0.1, "momentum": 0.99, "weight_decay": 5e-4}
BLINK: Options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05}


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """A dead layer on digits; and one on a single digit, with outgoing weights of 0 that are not trained."""
    digits = data.digits()[:60 if fast else 600]
    model = nn.MLP([64, 8, 10], rng=seed, dtype="float64")
    before = [model[i].weight.data.copy() for i in (0, 2)]
    told = lab.laws.gentle_return(**SWING)
    assert told is not None
    z = _train(model, digits, told.step, SWING)
    factors = [np.median(model[i].weight.data / old) for i, old in zip((0, 2), before)]

    blinking = nn.MLP([64, 8, 10], rng=seed, dtype="float64")
    blinking[2].weight.data = np.zeros((10, 8))
    blinking[2].weight.requires_grad_(False)
    path = _train(blinking, digits[:1], 500, BLINK)[:, 0]
    flips = 1 + np.flatnonzero((path[1:] > 0) != (path[:-1] > 0))
    turn = lab.laws.period(**BLINK)
    return [Finding("step of return", told.step, int((z > 0).any(axis=1).argmax())),
            *[Finding(f"{what} weights at the return, over their start", told.factor, float(q), 1e-9)
              for what, q in zip(("incoming", "outgoing"), factors)],
            Finding("weight of the unit at its return, q^2", told.weight, float(np.prod(factors)), 1e-12),
            Finding("period of blinking, in steps", turn or 0, 2 * float(np.diff(flips).mean()), 2 / (len(flips) - 1))], {
                "z": z.max(axis=1), "path": path, "flips": flips}


def _train(model: nn.MLP, digits: data.Dataset, steps: int, options: Options) -> Array:
    """The largest z of each unit of a layer that is dead at first."""
    lab.kill(model, digits.x)
    return watch(model, optim.SGD(model.parameters(), **options), digits, steps)


def draw(figure: Figure, series: Series) -> None:
    gentle, blinks = figure.subplots(1, 2)
    z, path = series["z"], series["path"]
    gentle.plot(-z / abs(z[0]), color=BLUE, lw=1.8)
    gentle.plot(np.square(z / z[0]), color=DEAD, lw=1.8)
    say(gentle, "q", (150, 0.8), BLUE)
    say(gentle, "q²: its\nweight", (10, 0.4), DEAD)
    label(gentle, f"until the return at step {len(z) - 1}", y="times what it was")
    blinks.plot(path / abs(path[0]) * BLINK["momentum"] ** (-np.arange(len(path)) / 2), color=BLUE, lw=1.8)
    for begin, end in zip(series["flips"][::2], [*series["flips"][1::2], len(path)]):
        blinks.axvspan(begin, end, color=LIGHT, alpha=0.5, lw=0)
    label(blinks, "without a gradient: alive (yellow), dead, alive", y="z, scaled to equal height", yticks=[0])


EXPERIMENT = Experiment("The return is gentle; and a unit without a gradient blinks", run, draw, [
    Claim("N5", "A dead unit returns with q^2 times its former contribution, with q near 0; without a gradient it dies and "
          "returns periodically.",
          "this laboratory")], also=["A11", "D6"])
