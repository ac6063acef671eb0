"""A chain of sigmoid units, one a layer: the gradient is a product of factors w sigma'(z), and sigma' is at most 1/4.

With weights and biases from N(0, 1), the logarithm of a factor is -2.2473 on average if z is N(0, 1), too; in a chain, where z
depends on the unit before, -2.3076: a tenth a layer. A factor above 1 needs |w| > 4, and even then the input a must lie in a
window of width (2/|w|) ln(|w| (1 + sqrt(1 - 4/|w|))/2 - 1). The widest is 0.4477, for |w| = 6.894, so explosion is rare.
"""
from typing import Any

import numpy as np

from .... import functional as F
from ..common import COLUMN, Array, Claim, Experiment, Figure, Finding, Series, Tensor, at_most, grad, label, say, slope

LAYERS, FIRST = 20, 0.5         # units in a chain, and the input of the first
STRENGTHS = (4.0, 4.5, 5.0, 6.0, 6.894, 8.0, 10.0, 12.0)
LOG_W = -(np.euler_gamma + np.log(2)) / 2       # E ln |w|, w ~ N(0, 1)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def log_slope(z: Array) -> Array:
    """ln sigma'(z)."""
    return -np.abs(z) - 2 * np.log1p(np.exp(-np.abs(z)))


def expected_factors(layers: int) -> list[float]:
    """E ln |w sigma'(z)| of each layer of a chain that starts at `FIRST`, by quadrature: z ~ N(0, 1 + a^2) given the input a."""
    grid = (np.cos(np.pi * (np.arange(20) + 0.5) / 20) + 1) / 2         # of a, for polynomials on [0, 1]
    z = np.sqrt(1 + grid ** 2)[:, None] * NODES
    means, values = log_slope(z) @ WEIGHTS, []
    for _ in range(layers):
        mean = np.polynomial.Chebyshev.fit(grid, means, 19, domain=[0, 1])      # of the factor so many layers later, given a
        values.append(LOG_W + mean(FIRST))
        means = mean(1 / (1 + np.exp(-z))) @ WEIGHTS
    return values


def window(w: Any) -> Any:
    """The width of the interval of inputs a with |w| sigma'(w a + b) > 1."""
    return 2 / w * np.log(w * (1 + np.sqrt(np.maximum(1 - 4 / w, 0))) / 2 - 1)


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """Chains with random weights and biases side by side; and one unit whose input runs over a grid."""
    n, rng = 4000 if fast else 100_000, np.random.default_rng(seed)
    w, b, z = rng.standard_normal((LAYERS, n)), rng.standard_normal((LAYERS, n)), rng.standard_normal(n)
    units = [Tensor(np.full(n, FIRST), requires_grad=True)]
    for weight, bias in zip(w, b):
        units.append(F.sigmoid(weight * units[-1] + bias))
    gradients = np.array([found.data for found in grad(units[-1].sum(), units)])       # of the last unit by each unit
    values = np.array([unit.data for unit in units[1:]])
    product = np.prod(w * values * (1 - values), axis=0)
    alone, chain = np.log(np.abs(w[0] * slope(F.sigmoid, z))), np.log(np.abs(gradients[0])) / LAYERS
    centred = np.linspace(-0.5, 0.5, 20_001)            # a, less the a in the middle of the window
    widths = [float((s * slope(F.sigmoid, s * centred) > 1).mean()) for s in STRENGTHS]
    for_normal = float(LOG_W + log_slope(NODES) @ WEIGHTS)
    return [
        Finding("largest slope of sigmoid", 0.25, slope(F.sigmoid, np.linspace(-5, 5, 1001)).max()),
        Finding("gradient over the product of the factors, less 1: largest", 0, np.abs(gradients[0] / product - 1).max(), 1e-12),
        Finding("z ~ N(0, 1): mean of ln |w sigma'(z)|", for_normal, alone.mean(), 4 * alone.std() / np.sqrt(n)),
        Finding("chain of 20: mean of ln |gradient| a layer", float(np.mean(expected_factors(LAYERS))), chain.mean(),
                4 * chain.std() / np.sqrt(n), claimed=for_normal),
        at_most("share of the chains whose gradient grows, at most", 0.01, (chain > 0).mean()),
        *(Finding(f"|w| = {s:g}: width of the window for explosion", window(s), width, 1e-4)        # two steps of the grid
          for s, width in zip(STRENGTHS, widths) if s in (4.0, 6.894)),
    ], {"gradients": np.abs(gradients[:, :30]), "widths": widths}


def draw(figure: Figure, series: Series) -> None:
    chains, windows = figure.subplots(1, 2)
    layers = np.arange(LAYERS + 1)
    chains.plot(layers, series["gradients"], color=COLUMN[0], lw=0.7, alpha=0.5)
    chains.plot(layers, np.exp(-2.3076 * (LAYERS - layers)), color=COLUMN[1], lw=2.2)
    say(chains, "e$^{-2.3076}$ a layer", (0.5, 1e-5), COLUMN[1])
    label(chains, "gradient of the output by unit k, 30 random chains", "unit k", yscale="log", xticks=range(0, LAYERS + 1, 5))
    strengths = np.linspace(4, 12, 400)
    windows.plot(strengths, window(strengths), color=COLUMN[0], lw=1.6)
    windows.plot(STRENGTHS, series["widths"], "o", color=COLUMN[0], ms=5)
    say(windows, "widest: 0.4477\nat |w| = 6.894", (6.9, 0.38), ha="center", va="top")
    label(windows, "inputs with |w sigma'| > 1 (line: formula)", "|w|", "width of the window")


EXPERIMENT = Experiment("A chain of sigmoids, and its product formula", run, draw, [
    Claim("C1", "The slope of the sigmoid is at most 1/4.", "textbook"),
    Claim("C8", "In a chain of one unit a layer, the gradient is the product of w sigma'(z) over the layers.",
          "Nielsen, Neural Networks and Deep Learning"),
    Claim("C9", "With weights from N(0, 1), the logarithm of a layer's factor is -2.2473 on average.",
          "this laboratory, for the chain of Nielsen, Neural Networks and Deep Learning",
          "For z ~ N(0, 1). In a chain with weights and biases from N(0, 1), z has the variance 1 + a^2, and the average is "
          "-2.3076."),
    Claim("C10", "A sigmoid chain explodes only for |w| > 4, with inputs in a narrow window, at most 0.45 wide, at |w| = 6.9.",
          "Nielsen, Neural Networks and Deep Learning")])
