"""Small targets and much momentum kill ReLU units, so targets are scaled to variance 1.

An untrained network outputs numbers of size 1. If the targets are near 0, it first learns to output less, and this moves units
off the data. Momentum moves them further than is needed (Arnekvist et al. 2020).
"""
from typing import Any

import numpy as np

from .... import functional as F, lab, nn, optim
from ..common import COLUMN, Claim, Experiment, Figure, Finding, Series, at_least, descend, label

SCALES, BETAS, WIDTH = (0.001, 0.01, 0.1, 1.0), (0.5, 0.9, 0.99), 16


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """Regression with two hidden layers under Adam, at each scale of the targets and beta_1: the share of dead units."""
    seeds, steps = (5, 400) if fast else (12, 1000)
    x = np.random.default_rng(seed).standard_normal((150, 8))
    y = np.sin(2 * x[:, :1]) + x[:, 1:2] * x[:, 2:3]
    y = (y - y.mean()) / y.std()
    grid = [(scale, beta, 1000 * seed + k) for scale in SCALES for beta in BETAS for k in range(seeds)]
    scales, momenta, draws = zip(*grid)
    models = nn.MLP([8, WIDTH, WIDTH, 1], rng=draws, members=len(grid), dtype="float64")
    betas: Any = list(momenta), [0.999] * len(grid)
    optimizer = optim.Adam(models.parameters(), lr=0.01, betas=betas)
    descend(models, optimizer, F.mse_loss, x, np.array(scales)[:, None, None] * y, steps)
    dead = np.array([sum(one.dead) for one in lab.census(models, x).each]) / (2 * WIDTH)
    share = dead.reshape(len(SCALES), len(BETAS), seeds).mean(axis=2)
    small, usual = share[0], share[-1]
    return [at_least(f"share of dead units, {what}", expected, measured) for what, expected, measured in (
        ("targets of size 0.001: beta_1 = 0.99, against 0.5", small[0], small[2]),
        ("beta_1 = 0.99: targets of size 0.001, against 1", usual[2], small[2]),
        ("more at beta_1 = 0.99 than at 0.5: targets of size 0.001, against 1", usual[2] - usual[0], small[2] - small[0]))], {
            "share": share}


def draw(figure: Figure, series: Series) -> None:
    axes = figure.subplots()
    for beta, share, colour in zip(BETAS, series["share"].T, COLUMN):
        axes.plot(SCALES, 100 * share, "o-", color=colour, ms=5, label=f"beta_1 = {beta}")
    label(axes, "", "standard deviation of the targets", "dead units, %", xscale="log", ylim=(0, None), legend="best")


EXPERIMENT = Experiment("Small targets and much momentum kill units", run, draw, [
    Claim("N1", "ReLU units die more easily when the variance of the targets approaches zero, and with more momentum.",
          "Arnekvist, Carvalho, Kragic & Stork 2020, arXiv 2005.06195")], also=["A24", "D3"])
