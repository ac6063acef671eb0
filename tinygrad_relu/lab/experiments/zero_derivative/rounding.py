"""Zero by rounding: a product of small slopes underflows, and an update below the spacing of the weights changes nothing.

A gradient below 2^-150 (float32) or 2^-1075 (float64) is rounded to 0. A chain of sigmoids, whose slopes are at most 1/4, gets
there at some depth. And w + u is rounded to w if |u| is less than half the spacing of the floating-point numbers at w, about
2^-24 |w| or 2^-53 |w|: the weight is frozen, though its gradient is not zero.
"""
from typing import Any

import numpy as np

from .... import data, functional as F, nn, optim
from ..common import ALIVE, BLUE, DASHES, Claim, Experiment, Figure, Finding, Series, grad, label, learn, say

# Exponent of underflow, half the spacing above 1, and a rate at which many weights are frozen.
TYPES = {"float32": (150, 2.0 ** -24, 1e-6), "float64": (1075, 2.0 ** -53, 1e-15)}
DEPTH = 520


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """The gradient of a chain of sigmoids by depth, the least update that moves 1, and the frozen weights of a network."""
    findings, curves, shares = [], [], []
    rates = np.geomspace(1e-18, 1, 40 if fast else 200)
    for dtype, (bits, half, rate) in TYPES.items():
        chain: list[Any] = [nn.Parameter([0.5], dtype=dtype)]
        for _ in range(DEPTH):
            chain.append(F.sigmoid(chain[-1]))
        slopes = np.array([y.item() * (1 - y.item()) for y in chain[:0:-1]])
        sizes = np.array([g.item() for g in grad(chain[-1].sum(), chain[-2::-1])])         # through 1, 2, ..., DEPTH sigmoids
        told = int((np.cumsum(np.log2(slopes)) > -bits).sum()) + 1
        findings.append(Finding(f"{dtype}: depth at which the gradient of a chain is 0", told, int((sizes > 0).sum()) + 1, 1))
        curves.append(sizes[sizes > 0])
        low, high = half / 2, half * 2
        for _ in range(40):
            middle = (low * high) ** 0.5
            low, high = (low, middle) if _moves(middle, dtype) else (middle, high)
        findings.append(Finding(f"{dtype}: least update that moves 1, over half the spacing", 1.0, high / half, 1e-6))
        (share, expected), *others = [_frozen(seed, dtype, r) for r in (rate, *rates)]
        findings.append(Finding(f"{dtype}: share of weights that a step at rate {rate:g} does not change", expected, share, 1e-3))
        shares.append([frozen for frozen, _ in others])
    return findings, {"curves": curves, "rates": rates, "shares": shares}


def _moves(update: float, dtype: str) -> bool:
    one = nn.Parameter([1.0], dtype=dtype)
    one.grad = -np.ones(1, dtype)
    optim.SGD([one], lr=update).step()
    return one.item() != 1


def _frozen(seed: int, dtype: str, rate: float) -> tuple[float, float]:
    """The share of the weights with a gradient that one step on digits does not change; and that for which rounding tells so."""
    digits = data.digits(dtype)[:200]
    model = nn.MLP([64, 16, 10], activation="tanh", rng=seed, dtype=dtype)
    weight: Any = model[0].weight
    before = weight.data.copy()
    learn(model, digits, 1, lr=rate)
    moving = weight.grad != 0
    told = np.abs(rate * weight.grad) < np.spacing(np.abs(before)) / 2
    return float((weight.data == before)[moving].mean()), float(told[moving].mean())


def draw(figure: Figure, series: Series) -> None:
    depth, frozen = figure.subplots(1, 2)
    for (dtype, (bits, _, _)), sizes, shares, colour in zip(TYPES.items(), series["curves"], series["shares"], (ALIVE, BLUE)):
        depth.plot(np.arange(len(sizes)) + 1, np.log10(sizes), color=colour, lw=1.6)
        depth.plot(len(sizes) + 1, -bits * np.log10(2), "o", color=colour, ms=5)
        depth.axhline(-bits * np.log10(2), color=colour, lw=0.8, ls=DASHES)
        say(depth, f"{dtype}: 0 from depth {len(sizes) + 1} on", (420, -bits * np.log10(2) + 6), colour, ha="right")
        frozen.plot(series["rates"], shares, color=colour, lw=1.6, label=dtype)
    label(depth, "gradient through a chain of sigmoids", "depth", "log$_{10}$ of the gradient")
    label(frozen, "weights that a step does not change", "learning rate", "share of those with a gradient", xscale="log",
          xticks=10.0 ** np.arange(-17, 0, 4), legend="best")


EXPERIMENT = Experiment("Zero by rounding: underflow, and updates that are lost", run, draw, [
    Claim("D12", "A small gradient can be rounded to zero.", "textbook"),
    Claim("D13", "An update below the spacing of the weights is lost, and the weights are frozen.", "textbook")], also=["C12"])
