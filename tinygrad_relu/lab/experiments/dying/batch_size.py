"""A unit that is active on a share p of the samples is silent on a whole batch of m samples with probability (1 - p)^m.

Such a unit gets a gradient of exactly zero from that batch, and looks dead. It is not: another batch gives it a gradient. So
count dead units on all of the data. To see a unit of on-rate p active with probability 1 - delta, a batch needs
ln(delta) / ln(1 - p) samples: 299 for p = 1 % and delta = 5 %.
"""
import numpy as np

from .... import functional as F, nn
from ..common import COLUMN, DASHES, FAINT, Claim, Experiment, Figure, Finding, Series, four_errors, grad, label, say

SAMPLES, RATES, SIZES, DELTA = 10_000, (0.01, 0.1, 0.3), (1, 4, 16, 64, 256), 0.05


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """The gradient of the weight of one unit z = x + b on random batches; b is such that z > 0 on a share p of the samples."""
    draws = 400 if fast else 4000
    rng = np.random.default_rng(seed)
    x = rng.permutation(np.arange(1, SAMPLES + 1) / SAMPLES)[:, None]
    weight, bias = nn.Parameter([[1.0]]), nn.Parameter([0.0], kind="bias")
    findings, silent = [], []
    for p in RATES:
        bias.data = [p - 1 - 0.5 / SAMPLES]
        row, enough = [], int(np.ceil(np.log(DELTA) / np.log(1 - p)))
        for m in (*SIZES, enough):
            zeros = 0
            for _ in range(draws):
                (found,) = grad(F.relu(F.linear(x[rng.integers(SAMPLES, size=m)], weight, bias)).sum(), weight)
                zeros += not found.data.any()
            row.append(zeros / draws)
            expected = (1 - p) ** m
            if m in (4, enough):
                findings.append(Finding(f"share of batches of {m} with a gradient of 0, p = {p}", expected, row[-1],
                                        four_errors(expected, draws) + 1 / draws))
        silent.append(row[:-1])
    return findings, {"silent": silent}


def draw(figure: Figure, series: Series) -> None:
    axes = figure.subplots()
    sizes = np.geomspace(SIZES[0], SIZES[-1], 200)
    for p, row, colour in zip(RATES, series["silent"], COLUMN):
        axes.plot(sizes, (1 - p) ** sizes, color=colour, lw=1.4, label=f"active on {p:.0%} of the samples")
        axes.plot(SIZES, row, "o", color=colour, ms=5)
    axes.axhline(DELTA, color=FAINT, ls=DASHES, lw=1)
    say(axes, f"{DELTA:.0%}", (SIZES[0], DELTA + 0.01), FAINT)
    axes.set_xscale("log", base=2)
    label(axes, "lines: (1 - p)^m; dots: measured", "samples in the batch, m", "share of batches with a gradient of zero",
          legend="upper right")


EXPERIMENT = Experiment("A unit that looks dead on a batch", run, draw, [
    Claim("A7", "The gradient of a batch is an average: a unit that is active on one sample of it still learns, and a unit with "
          "on-rate p gets no gradient from a batch of m samples with probability (1 - p)^m.", "folklore of mini-batches")])
