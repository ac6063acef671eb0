"""RReLU draws the slope of its negative side anew for each element in training; in evaluation it uses one number.

The draw is uniform, not Gaussian; but there are two rules. PyTorch, like this package, draws a ~ U(1/8, 1/3) and evaluates with
the mean, 11/48 = 0.2292. The paper draws 1/a ~ U(3, 8) and evaluates with 2/11 = 0.1818, the inverse of the mean of 1/a; the mean
of such an a is ln(8/3)/5 = 0.1962. So three different functions are called "RReLU in evaluation".
"""
from math import erf, log, sqrt

import numpy as np

from .... import functional as F
from ..common import COLUMN, DASHES, Claim, Experiment, Figure, Finding, Series, label, say

LOWER, UPPER = 1 / 8, 1 / 3
GRID = np.linspace(LOWER, UPPER, 201)
UNIFORM = (GRID - LOWER) / (UPPER - LOWER)                                  # its distribution function,
GAUSSIAN = np.array([(1 + erf((2 * u - 1) * sqrt(1.5))) / 2 for u in UNIFORM])        # and that of the same mean and variance
BINS = np.linspace(0.1, 0.36, 53)


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """Slopes read off the outputs for z = -1; those of the paper's rule through `F.prelu`, with a slope for each element."""
    n = 100_000 if fast else 1_000_000
    z = np.full(n, -1.0)
    a, again = (-F.rrelu(z, LOWER, UPPER, training=True, rng=seed).data for _ in range(2))
    paper = -F.prelu(z, 1 / np.random.default_rng(seed).uniform(3, 8, n)).data
    share = np.searchsorted(np.sort(a), GRID, "right") / n
    near = 2.3 / sqrt(n)        # a sample is farther from its law with probability 2 exp(-2 * 2.3^2) = 5e-5 (Kolmogorov, Smirnov)
    return [
        Finding("mean slope in training, a ~ U(1/8, 1/3)", 11 / 48, a.mean(), 4 * a.std() / sqrt(n)),
        Finding("slope in evaluation", 11 / 48, -F.rrelu([-1.0]).item(), 1e-15),
        Finding("mean slope in training, 1/a ~ U(3, 8)", log(8 / 3) / 5, paper.mean(), 4 * paper.std() / sqrt(n), claimed=2 / 11),
        Finding("distance of the distribution function from the uniform one", 0, np.abs(share - UNIFORM).max(), near),
        Finding("and from the Gaussian one", np.abs(UNIFORM - GAUSSIAN).max(), np.abs(share - GAUSSIAN).max(), near, claimed=0),
        Finding("slopes that differ if drawn again with this seed", 0, (a != again).sum()),
    ], {"torch": np.histogram(a, BINS, density=True)[0], "paper": np.histogram(paper, BINS, density=True)[0]}


def draw(figure: Figure, series: Series) -> None:
    axes = figure.subplots()
    for key, name, colour, at in (("torch", "PyTorch: a ~ U(1/8, 1/3)", COLUMN[0], (0.27, 5.1)),
                                  ("paper", "paper: 1/a ~ U(3, 8)", COLUMN[1], (0.235, 7.5))):
        axes.stairs(series[key], BINS, color=colour, lw=1.8)
        say(axes, name, at, colour)
    for slope, name, colour in ((2 / 11, "0.1818\npaper's\nevaluation", COLUMN[1]),
                                (log(8 / 3) / 5, "0.1962\npaper's\nmean", COLUMN[1]),
                                (11 / 48, "0.2292\nPyTorch's mean\nand evaluation", COLUMN[0])):
        axes.axvline(slope, color=colour, linestyle=DASHES, lw=1.2)
        side = -1 if slope < 0.19 else 1
        say(axes, name, (slope + 0.002 * side, 2.9), colour, ha="right" if side < 0 else "left", va="top")
    label(axes, "", "slope a of an element in training", "density")


EXPERIMENT = Experiment("RReLU's slopes, and its three means", run, draw, [
    Claim("B6", "RReLU draws the slope of each element at random in training, and uses its mean in evaluation.",
          "Xu, Wang, Chen & Li 2015, arXiv 1505.00853"),
    Claim("B7", "The slope is drawn from a Gaussian distribution.", "folklore",
          "It is drawn from a uniform one: U(1/8, 1/3) in PyTorch, the inverse of U(3, 8) in the paper, whose evaluation uses "
          "0.1818 and not the mean 0.1962.")])
