"""Momentum moves a unit without a gradient for as long as its buffer lasts, which can bring a dead unit back.

Without a gradient and without decay, z gains s mu^k at its k-th step, with s = -lr (v_w.x + v_b): in all s mu/(1 - mu). So a unit
that dies at z_0 returns if s mu/(1 - mu) > |z_0| on some sample, at the step k = floor(ln(1 - |z_0| (1-mu)/(mu s))/ln mu) + 1. A
healthy network gets a shock that kills its first layer and keeps the buffers: each unit has a predicted step of its own.
"""
from copy import deepcopy

import numpy as np

from .... import data, functional as F, lab, nn, optim
from ..common import (
    ALIVE, BLUE, DEAD, FAINT, Claim, Experiment, Figure, Finding, Series, accuracy, at_least, descend, first_positive, label, say,
    watch,
)

MU, RATE, MARGIN = 0.99, 0.01, 0.2


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """Train on digits, push all units of the first layer 0.2 below all data, go on with the buffers, and with empty ones."""
    digits, width, after = data.digits()[:200 if fast else 600], 32 if fast else 64, 160
    model = nn.MLP([64, width, width, 10], rng=seed, dtype="float64")
    optimizer = optim.SGD(model.parameters(), lr=RATE, momentum=MU)
    descend(model, optimizer, F.cross_entropy, digits.x, digits.y, 60)
    lab.kill(model, digits.x, margin=MARGIN)

    first, buffer = model[0], optimizer.state_of
    z = digits.x @ first.weight.data.T + first.bias.data
    s = -RATE * (digits.x @ buffer(first.weight)["momentum_buffer"].T + buffer(first.bias)["momentum_buffer"])
    with np.errstate(all="ignore"):         # a logarithm of a negative number: never
        k = np.floor(np.log(1 + z * (1 - MU) / (MU * s)) / np.log(MU)) + 1
    predicted = np.where((s > 0) & (s * MU / (1 - MU) > -z), k, np.inf).min(axis=0)

    emptied, empty = deepcopy((model, optimizer))
    lab.kill(emptied, digits.x, margin=MARGIN, optimizer=empty, keep_velocity=False)
    largest = [watch(net, opt, digits, after) for net, opt in ((model, optimizer), (emptied, empty))]
    with_buffers, without = map(first_positive, largest)
    predicted[predicted > after] = np.inf
    return [Finding("units that momentum alone brings back", np.isfinite(predicted).sum(), np.isfinite(with_buffers).sum()),
            Finding("units with another step of return than the formula's", 0, (with_buffers != predicted).sum()),
            Finding("units that return with emptied buffers", 0, np.isfinite(without).sum()),
            at_least("accuracy afterwards, with the buffers", 0.9, float(accuracy(model, digits)))], {
                "z": largest[0], "predicted": predicted, "observed": with_buffers}


def draw(figure: Figure, series: Series) -> None:
    paths, steps = figure.subplots(1, 2, width_ratios=[1.5, 1])
    z, predicted, observed = series["z"], series["predicted"], series["observed"]
    for unit in np.argsort(predicted):
        last = int(min(observed[unit], len(z) - 1))
        back = np.isfinite(observed[unit])
        paths.plot(z[:last + 1, unit], color=ALIVE if back else DEAD, lw=0.8, alpha=0.8)
        if back:
            paths.plot(last, z[last, unit], "o", color=ALIVE, ms=3.5)
    paths.axhline(0, color=FAINT, lw=0.8)
    say(paths, "return", (60, 0.03), ALIVE)
    say(paths, "stay dead", (60, -0.53), DEAD)
    label(paths, "until their return", "step after the shock", "largest z of each unit over the data", xlim=(0, 80),
          ylim=(-0.62, 0.12))
    back = np.isfinite(predicted)
    steps.plot([0, 150], [0, 150], color=FAINT, lw=0.8)
    steps.plot(predicted[back], observed[back], "o", color=BLUE, ms=4.5)
    ends = 0, 1.1 * predicted[back].max()
    label(steps, f"{back.sum()} of {len(back)} units return", "step by the formula", "step observed", xlim=ends, ylim=ends)


EXPERIMENT = Experiment("Momentum alone brings dead units back, each at its own step", run, draw, [
    Claim("D3", "Momentum keeps moving the weights while its buffer lasts, even at a gradient of zero.", "folklore")
], also=["A11"])
