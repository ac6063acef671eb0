"""A Maxout unit is the largest of k affine maps of its inputs. With two it is exactly a ReLU, a leaky ReLU, or |z|.

With z = w.x + b, max(z, 0) is ReLU, max(z, 0.01 z) is leaky ReLU, and max(z, -z) is |z|. A layer of such units costs k times the
parameters of a linear one.
"""
from typing import Any

import numpy as np

from .... import data, functional as F, nn
from ..common import COLUMN, DASHES, Claim, Experiment, Figure, Finding, Series, label

TWINS: dict[str, Any] = {"ReLU": ((1, 0), F.relu), "leaky ReLU": ((1, 0.01), F.leaky_relu), "|z|": ((1, -1), abs)}  # factors of z
GRID = np.linspace(-2, 2, 81)


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """A linear layer with each activation, and its Maxout twin, whose pieces are multiples of z, on digits."""
    digits = data.digits().head(300 if fast else 1797)
    linear, findings, curves = nn.Linear(64, 32, init="he", rng=seed, dtype="float64"), [], {}
    for name, (factors, f) in TWINS.items():
        twin = nn.Maxout(64, 32, pieces=2, rng=seed, dtype="float64")
        for mine, its in zip(twin.parameters(), linear.parameters()):       # the pieces of a unit are neighbours
            mine.data = np.stack([factor * its.data for factor in factors], axis=1).reshape(mine.shape)
        error = np.abs(twin(digits.x).data - f(linear(digits.x)).data).max()
        findings.append(Finding(f"{name}: largest difference of its outputs from the Maxout twin's", 0, error,
                                1e-15 if 0.01 in factors else 0))       # (0.01 w) x and 0.01 (w x) round differently
        curves[name] = F.maxout(np.outer(GRID, factors), 2).data[:, 0]
    for k in (2, 3, 5):
        parameters = sum(p.size for p in nn.Maxout(64, 32, pieces=k, rng=0).parameters())
        findings.append(Finding(f"parameters of a layer with {k} pieces, over a linear layer's", k, parameters / (65 * 32)))
    return findings, {"curves": curves}


def draw(figure: Figure, series: Series) -> None:
    for axes, (name, curve) in zip(figure.subplots(1, 3, sharey=True), series["curves"].items()):
        axes.plot(GRID, curve, color="#f7c59f", lw=7, solid_capstyle="round")
        for factor, colour in zip(TWINS[name][0], COLUMN[::2]):
            text = f"{factor:g} z" if factor not in (1, 0, -1) else {1: "z", 0: "0", -1: "-z"}[factor]
            axes.plot(GRID, factor * GRID, color=colour, linestyle=DASHES, lw=1.6, label=text)
        axes.legend(frameon=False, fontsize=9, loc="upper center", title="pieces", title_fontsize=9)
        label(axes, f"{name}: the larger of two pieces", "z", "output" if name == "ReLU" else "")


EXPERIMENT = Experiment("Maxout with two pieces is ReLU, leaky ReLU, and |z|", run, draw, [
    Claim("B11", "Maxout, the largest of k affine maps, contains ReLU, leaky ReLU and |z| with k = 2.",
          "Goodfellow et al. 2013, arXiv 1302.4389"),
    Claim("B12", "Its price is k times the number of parameters.", "course notes of Stanford's CS231n")])
