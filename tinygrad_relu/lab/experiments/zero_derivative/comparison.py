"""Raising any rate, decay or momentum at any step never delays the return of a dead unit. So its step can be prescribed.

For heavy ball with L2, from an empty buffer, the ratio u of the new buffer to z obeys u <- lambda + mu u/(1 - eta u), and z
changes its sign at the first step with eta u > 1. Every term increases in eta, lambda and mu. So of two schedules, one nowhere
below the other, the higher one is never later; and no schedule with max(eta) max(lambda) <= (1 - sqrt max(mu))^2 brings a unit
back. With constant settings the step falls like a staircase as the decay grows: each step of return has its interval of decays.
"""
import numpy as np

from .... import data, lab, nn, optim
from ..common import (
    ALIVE, BLUE, FAINT, Array, Claim, Experiment, Figure, Finding, Series, at_least, first_positive, label, path_of, say, watch,
)

RATE, MU, AT = 0.1, 0.99, 300


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """Pairs of random schedules, for weights without a gradient; and a dead network with decays around the prescribed ones."""
    pairs, steps = (100, 100) if fast else (400, 150)
    rng = np.random.default_rng(seed)
    most = np.array([0.2, 0.4, 0.97])[:, None, None]                # of the rate, the decay and the momentum
    low = most * rng.uniform(rng.uniform(0.3, 0.9, (3, 1, pairs)), 1, (3, steps, pairs))
    high = low + (most - low) * (rng.random(low.shape) < 0.3)       # some of the settings are raised
    lower, higher = _returns(low), _returns(high)
    safe, top = low.copy(), low.max(axis=1)
    safe[1] *= (1 - np.sqrt(top[2])) ** 2 / (top[0] * top[1])       # now the peaks are on the bound
    findings = [Finding(f"pairs of {pairs} in which the higher schedule is later", 0, int((higher > lower).sum())),
                at_least("pairs in which it is earlier", 1, int((higher < lower).sum())),
                Finding("returns under schedules with peaks on the bound", 0, np.isfinite(_returns(safe)).sum())]
    digits = data.digits()[:60 if fast else 600]
    model = nn.MLP([64, 8, 10], rng=seed, dtype="float64")
    lab.kill(model, digits.x)
    ends = lab.prescribe(model, digits.x, optim.SGD(model.parameters(), lr=RATE, momentum=MU), at=AT).ends
    models = nn.population([model] * len(ends))
    decays = np.array([decay for decay, _ in ends])
    optimizer = optim.SGD(models.parameters(), lr=RATE, momentum=MU, weight_decay=decays)
    back = first_positive(watch(models, optimizer, digits, AT + 2).max(axis=2))
    findings += [Finding(f"network at decay {decay:.5g}: step of return", step or np.inf, found)
                 for (decay, step), found in zip(ends, back)]
    return findings, {"lower": lower, "higher": higher, "decays": decays, "back": back}


def _returns(schedules: Array) -> Array:
    """The steps at which weights of -1 become positive under SGD, for (3, steps, members) rates, decays and momenta."""
    _, steps, members = schedules.shape
    weight = nn.MLP([1, 1], members=members, init=-1.0, rng=0, dtype="float64").parameters()[0]
    weight.data = np.full(weight.shape, -1.0)
    optimizer = optim.SGD([weight], lr=np.zeros(members), momentum=np.zeros(members), weight_decay=np.zeros(members))

    def set_and_push(step: int, w: Array) -> Array:
        optimizer.param_groups[0].update(zip(("lr", "weight_decay", "momentum"), schedules[:, step]))
        return np.zeros_like(w)

    return first_positive(path_of(weight, optimizer, steps, set_and_push).reshape(steps + 1, members))


def draw(figure: Figure, series: Series) -> None:
    scatter, stairs = figure.subplots(1, 2)
    scatter.axline((0, 0), slope=1, color=FAINT, lw=0.8)
    scatter.plot(series["lower"], series["higher"], "o", color=BLUE, ms=3.5, alpha=0.5)
    label(scatter, "random schedules: no dot above the line", "step of return", "with some settings raised")
    decays = np.linspace(0.000769, 0.000781, 1500)
    stairs.plot(1e4 * decays, lab.laws.return_steps(MU, RATE * decays), color=BLUE, lw=1.4)
    stairs.plot(1e4 * series["decays"], series["back"], "o", color=ALIVE, ms=5)
    stairs.locator_params(axis="y", integer=True)
    say(stairs, "line: formula; dots: networks", (7.745, 301.5))
    label(stairs, f"prescribed: a return at step {AT}", "weight decay, in units of 0.0001", "step of return")


EXPERIMENT = Experiment("Higher settings never delay a return, so its step can be prescribed", run, draw, [
    Claim("N4", "Under momentum with L2, from an empty buffer, raising a rate, a decay or a momentum at any step never delays "
          "the return of a dead unit.", "this laboratory")], also=["D6"])
