"""Born dead: how likely a ReLU network, or one unit, is dead before the first step. By formula, by bounds, and by drawing."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import comb, factorial, sqrt
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from ..autodiff.node import Array
from ..checks import check_count, check_name, check_number, check_rng, check_samples, counted, said
from ..missing import needing
from ..nn.init import INITIALISERS, Initialiser, start
from ..text import Table
from .drawing import ALIVE, BLUE, axes_of
from .readings import Reading, shown

SYMMETRIC = tuple(set(INITIALISERS) - {"pytorch", "rai"})         # about 0, with biases of 0
BY_ROWS = ("he", "lecun", "normal", "kaiming_normal", "kaiming_uniform", "pytorch", "rai")     # a row knows nothing of the others
NUMBERS = 1 << 22           # drawn at a time


@dataclass(frozen=True)
class BirthLayer:
    """One hidden layer of networks before their training.

    - `born_dead`: share of the drawn networks that are dead up to this layer: in it or in one before, no unit is active on any x.
    - `error`: standard error of that share, ``sqrt(p (1 - p) / trials)``.
    - `units`: share of the units of this layer that are dead on x.
    - `low`, `high`: bounds for `born_dead`; `exact`: its value. None without a formula.
    """

    width: int
    born_dead: float
    error: float
    units: float
    low: float | None
    high: float | None
    exact: float | None


@dataclass(frozen=True, repr=False)
class Birth(Reading):
    """What `birth_probability` found, layer by layer; the numbers of the last hidden layer are those of the network."""

    widths: list[int]
    init: str
    samples: int
    trials: int
    layers: list[BirthLayer]

    @property
    def born_dead(self) -> float:
        """The share of the drawn networks that are dead."""
        return self.layers[-1].born_dead

    @property
    def error(self) -> float:
        """Its standard error."""
        return self.layers[-1].error

    @property
    def exact(self) -> float | None:
        """The probability by formula, if there is one."""
        return self.layers[-1].exact

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Between these lies the probability; None if the start is not symmetric."""
        low, high = self.layers[-1].low, self.layers[-1].high
        return None if low is None or high is None else (low, high)

    def table(self) -> Table:
        """One row per hidden layer."""
        return Table(f"{counted(self.trials, 'network')} {'-'.join(map(str, self.widths))}, start {self.init}, on "
                     f"{counted(self.samples, 'sample')}", ["hidden layer", "units", "born dead so far", "error", "lower bound",
                                                            "upper bound", "exact", "dead units"],
                     [(i, layer.width, *(shown(p, ".4f") for p in (layer.born_dead, layer.error, layer.low, layer.high,
                                                                   layer.exact, layer.units)))
                      for i, layer in enumerate(self.layers, 1)])

    def plot(self) -> Any:
        """The share that is dead by each hidden layer, with two standard errors and the bounds, as a matplotlib Figure."""
        figure, axes = axes_of(9, 3.6, f"Born dead: networks {'-'.join(map(str, self.widths))}", "hidden layers",
                               "share born dead")
        depth = np.arange(1, len(self.layers) + 1)
        axes.errorbar(depth, [layer.born_dead for layer in self.layers], [2 * layer.error for layer in self.layers], fmt="o",
                      color=ALIVE, capsize=3, label=f"{self.trials:,} networks drawn")
        for name, text, dash in (("high", "upper bound", "--"), ("low", "lower bound", ":"), ("exact", "exact", "-")):
            values = np.array([getattr(layer, name) for layer in self.layers], float)       # None becomes NaN
            if np.isfinite(values).any():
                axes.plot(depth, values, linestyle=dash, marker="." if name == "exact" else "", color=BLUE, label=text)
        axes.set(xlim=(0.5, len(depth) + 0.5), ylim=(-0.02, 1.02))
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.legend(frameon=False, fontsize=9)
        return figure


def birth_probability(widths: Sequence[int], x: npt.ArrayLike | None = None, *, init: str | Initialiser = "he",
                      trials: int = 2000, rng: int | Generator | None = None) -> Birth:
    """How likely a ReLU network is born dead: constant on x, because no unit of some hidden layer is active on any sample.

    `trials` networks are drawn. With a start that is symmetric about 0 and biases of 0, the probability lies between bounds (Lu,
    Shin, Su & Karniadakis 2019, arXiv 1903.06733): at most ``1 - prod(1 - 2^-N)`` over the hidden layers of N units. If all
    samples are positive multiples of one, it is exactly that: on one ray each layer dies with probability 2^-N. On two opposite
    rays, such as numbers of both signs, there is a lower bound for layers of one width, and with two hidden layers of N and M
    units it is exactly ``2^(1-N) 2^-M + (1 - 2^(1-N)) 4^-M``.

    - `widths`: inputs, hidden widths, outputs, as in `nn.MLP`.
    - `x`: the samples; by default -1 and 1 for one input, and 256 standard normal samples for more.
    - `init`: as in `nn.MLP`. For an initialiser of your own, and those that draw biases ("pytorch", "rai"), there are no bounds.

    >>> found = lab.birth_probability([1, 2, 2, 1], rng=0)
    >>> found.exact, found.bounds                       # 5/32; two hidden layers of two units
    (0.15625, (0.15625, 0.4375))
    >>> abs(found.born_dead - found.exact) < 3 * found.error
    True
    """
    if isinstance(widths, (str, int)) or not isinstance(widths, Sequence) or len(widths) < 3:
        raise ValueError(f"birth_probability: widths is {said(widths)}, expected inputs, hidden widths and outputs, such as "
                         "[1, 2, 2, 1]")
    inputs, *hidden, _ = sizes = [check_count(width, "birth_probability: a width") for width in widths]
    generator, trials = check_rng(rng, "birth_probability"), check_count(trials, "birth_probability: trials")
    if x is None:
        x = np.array([[-1.0], [1.0]]) if inputs == 1 else generator.standard_normal((256, inputs))
    samples = check_samples(x).astype(np.float64)
    if samples.shape[1] != inputs:
        raise ValueError(f"x has {counted(samples.shape[1], 'feature')}, expected {inputs}, the first width")
    rays = _rays(samples) if init in SYMMETRIC else None
    size = max(1, NUMBERS // (len(samples) * max(sizes)))
    sums = [_draw(samples, hidden, init, min(size, trials - done), generator) for done in range(0, trials, size)]
    dead, units = np.sum(sums, axis=0) / trials
    layers = []
    for i, width in enumerate(hidden):
        low, high, exact = (None, None, None) if rays is None else _by_formula(hidden[:i + 1], rays)
        p = float(dead[i])
        layers.append(BirthLayer(width, p, sqrt(p * (1 - p) / trials), float(units[i] / width), low, high, exact))
    return Birth(sizes, init if isinstance(init, str) else getattr(init, "__name__", "your own"), len(samples), trials, layers)


def _draw(x: Array, hidden: list[int], init: Any, trials: int, rng: Generator) -> Array:
    """Over some networks, for each hidden layer: how many are dead by then, and how many of its units are."""
    h, dead, found = x[None], np.zeros(trials, bool), []
    for width in hidden:
        times, rows = (1, trials * width) if init in BY_ROWS else (trials, width)
        drawn = [start(init, rows, h.shape[2], rng, "float64") for _ in range(times)]
        weight, bias = (np.concatenate(parts).reshape(trials, width, -1) for parts in zip(*drawn))
        h = np.maximum(h @ weight.swapaxes(1, 2) + bias.swapaxes(1, 2), 0)
        active = h.any(axis=1)
        dead |= ~active.any(axis=1)
        found.append((dead.sum(), (~active).sum()))
    return np.array(found).T


def _rays(x: Array) -> int:
    """1 if all samples are positive multiples of one, 2 if also of its negative, otherwise 3. (Samples of 0 are always dead.)"""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    if not length.any():
        raise ValueError("birth_probability: all samples are 0; expected some that are not")
    cosine = (x / np.where(length > 0, length, 1)) @ (x[length.argmax()] / length.max())
    cosine = cosine[length[:, 0] > 0]
    return 3 if (np.abs(cosine) < 1 - 1e-12).any() else 2 if (cosine < 0).any() else 1


def _by_formula(hidden: list[int], rays: int) -> tuple[float, float, float | None]:
    """Lower bound, upper bound, and the exact probability if there is a formula, for hidden layers of these widths."""
    high = float(1 - np.prod([1 - 0.5**n for n in hidden]))
    first, depth = hidden[0], len(hidden) + 1
    if rays == 1:
        return high, high, high
    if rays == 3:
        return 0.0, high, None
    if len(hidden) <= 2:
        exact = 0.0 if len(hidden) == 1 else 0.5 ** (first - 1 + hidden[1]) + (1 - 0.5 ** (first - 1)) * 0.25 ** hidden[1]
        return exact, high, exact
    if set(hidden) != {first}:
        return 0.0, high, None
    a1, a2 = 1 - 0.5**first, 1 - 0.5 ** (first - 1) - (first - 1) * 0.25**first
    c = (1 - 0.5 ** (first - 1)) * (1 - 0.5**first) / (1 + (first - 1) * 0.5**first)
    return 1 - a1 ** (depth - 2) - c * (a1 ** (depth - 2) - a2 ** (depth - 2)), high, None


def unit_birth_probability(inputs: int, *, weight: float = 1.0, bias: float = 1.0, radius: float = 1.0,
                           draw: Literal["normal", "uniform"] = "normal") -> float:
    """The probability that one ReLU unit of the first layer is dead on a whole region around 0, before the first step.

    "normal": weights N(0, weight^2) and bias N(0, bias^2), on the ball of this radius. The unit is dead if b <= -radius |w|, and
    b / |w| has Student's t distribution with d = `inputs` degrees of freedom: P = F_d(-sqrt(d) radius weight / bias).

    "uniform": weights in U(-weight, weight) and bias in U(-bias, bias), on the cube [-radius, radius]^d. The unit is dead if
    b <= -radius sum |w_i|. With radius * weight >= bias, P = (bias / (radius weight))^d / (2 (d + 1)!); PyTorch's default start
    has weight = bias, so P = 1 / (2 (d + 1)!) on [-1, 1]^d.

    >>> [round(lab.unit_birth_probability(d), 4) for d in (1, 2, 3)]
    [0.25, 0.1464, 0.0908]
    >>> [lab.unit_birth_probability(d, draw="uniform") for d in (1, 2)]
    [0.25, 0.08333333333333333]
    """
    d, who = check_count(inputs, "unit_birth_probability: inputs"), "unit_birth_probability"
    check_name(draw, ("normal", "uniform"), f"{who}: draw")
    for value, name in ((weight, "weight"), (bias, "bias"), (radius, "radius")):
        check_number(value, f"{who}: {name}")
    if bias == 0 or radius * weight == 0:           # z is w.x or b alone, or both are 0
        return 0.0 if radius * weight > 0 else 0.5 if bias > 0 else 1.0
    if draw == "uniform":           # the mean over u in (0, 1) of the Irwin-Hall distribution function at a u
        a = Fraction(bias) / (Fraction(radius) * Fraction(weight))         # exactly: the terms cancel
        return float(sum((-1) ** j * comb(d, j) * (a - j) ** (d + 1) for j in range(d + 1) if a > j) / (2 * a * factorial(d + 1)))
    with needing(f"{who} needs", "lab"):
        from scipy.special import stdtr
    return float(stdtr(d, -sqrt(d) * radius * weight / bias))
