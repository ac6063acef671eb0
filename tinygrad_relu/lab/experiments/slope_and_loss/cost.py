"""What an activation costs: one pass forward, and one backward, over numbers that fit into the nearest cache.

ReLU is a comparison; sigmoid, tanh, ELU and softplus need an exponential and a division or a logarithm. Whether that matters
depends on the rest of the network: in a layer of n inputs a unit takes n multiplications before its activation, so the wider the
layer, the less the activation weighs. Times are the least of many rounds, in turns, as times of ReLU.
"""
from time import thread_time
from typing import Any

import numpy as np

from .... import functional as F, nn
from ....autodiff.node import no_grad
from ....kernels.machine.cost import fastest
from ....kernels.machine.pool import num_threads
from ..common import ALIVE, BLUE, COLUMN, FAINT, Claim, Experiment, Figure, Finding, Series, Tensor, at_least, at_most, label

NAMES = {"relu": F.relu, "leaky_relu": F.leaky_relu, "sigmoid": F.sigmoid, "tanh": F.tanh, "elu": F.elu, "softplus": F.softplus}
SIZE, CALLS, WIDTHS = 32_768, 10, (16, 64, 256)


def least(rounds: int, tasks: dict[Any, Any]) -> dict[Any, float]:
    """The least time of this thread that CALLS calls of each task took."""
    return dict(zip(tasks, fastest([lambda task=task: [task() for _ in range(CALLS)] for task in tasks.values()],     # type: ignore[misc]
                                   rounds + 1, thread_time)))


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    rng, rounds = np.random.default_rng(seed), 20 if fast else 100
    x = Tensor(rng.standard_normal(SIZE).astype("float32"), requires_grad=True)
    layers = {(name, n): nn.MLP([n, n, n], name, rng=0) for name in ("relu", "tanh") for n in WIDTHS}
    inputs = {n: rng.standard_normal((256, n)).astype("float32") for n in WIDTHS}
    with num_threads(1), no_grad():
        forward = least(rounds, {name: lambda f=f: f(x) for name, f in NAMES.items()})
        inside = least(rounds // 2, {key: lambda layer=layer, n=key[1]: layer(inputs[n]) for key, layer in layers.items()})
    outputs, one = {name: f(x) for name, f in NAMES.items()}, np.ones(SIZE, np.float32)
    with num_threads(1):
        backward = least(rounds, {name: lambda y=y: y.backward(one, retain_graph=True) for name, y in outputs.items()})
    shares = {n: inside["tanh", n] / inside["relu", n] for n in WIDTHS}
    ratios = {name: (forward[name] / forward["relu"], backward[name] / backward["relu"]) for name in NAMES}
    findings = [at_least(f"{name}: time forward, over that of ReLU", 1, ratios[name][0], timed=True)
                for name in ("sigmoid", "tanh", "elu", "softplus")]
    findings.append(at_most("network of width 256: time with tanh, over ReLU", 2, shares[256], timed=True))
    return findings, {"ratios": ratios, "shares": shares}


def draw(figure: Figure, series: Series) -> None:
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    names = list(NAMES)[::-1]
    for i, (what, colour) in enumerate((("forward", BLUE), ("backward", ALIVE))):
        places = np.arange(len(names)) + 0.2 - 0.4 * i
        bars = left.barh(places, [series["ratios"][name][i] for name in names], 0.38, color=colour, label=what)
        left.bar_label(bars, fmt="%.1f", fontsize=8.5, padding=2)
    right.plot(list(series["shares"]), list(series["shares"].values()), "o-", color=COLUMN[2], ms=5)
    right.axhline(1, color=FAINT, lw=1)
    label(left, f"{SIZE} numbers", "time, over that of ReLU", yticks=range(len(names)), yticklabels=names, legend="upper right")
    label(right, "a network with two layers, tanh", "width", "time, over that with ReLU", xscale="log", xticks=WIDTHS,
          xticklabels=WIDTHS, ylim=(0, 1.1 * max(series["shares"].values())))


EXPERIMENT = Experiment("What an activation costs", run, draw, [
    Claim("A15", "ReLU is cheaper than activations that need an exponential.", "course notes of Stanford's CS231n")
], also=["B10"])
