"""PReLU learns the slope a of its negative side, one for all units of a layer or one per unit, from 0.25 on.

The gradient of a is the sum of min(0, z) g over the samples, where g is the gradient of the output. L2 pulls every a to 0, so a
decayed PReLU becomes a ReLU: where the data do not push a, because z > 0 on all of them, a shrinks by the factor 1 - rate * decay
at each step. So the optimizers of this package decay no slope by default.
"""
from typing import Any

import numpy as np

from .... import data, functional as F, nn, optim
from ..common import COLUMN, Array, Claim, Experiment, Figure, Finding, Series, at_most, descend, grad, label, say

RATE, DECAY, LAYERS = 0.1, 0.01, 4


def slopes_in_training(model: nn.Module, decayed: bool, loss: Any, x: Array, y: Array, steps: int) -> Array:
    """The slopes before each step and after the last, (steps + 1, layers). All weights are decayed, the slopes if `decayed`."""
    slopes = [p for p in model.parameters() if p.kind == "slope"]
    sgd = optim.SGD([{"params": slopes, **({"weight_decay": DECAY} if decayed else {})}], lr=RATE, weight_decay=DECAY)
    if others := [p for p in model.parameters() if p.kind != "slope"]:
        sgd.add_param_group({"params": others})
    path: list[list[float]] = []
    descend(model, sgd, loss, x, y, steps, lambda step: path.append([p.item() for p in slopes]))
    return np.array(path)


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """The gradient against its formula; a slope that no sample pushes; networks on digits, whose slopes are decayed or not."""
    rng = np.random.default_rng(seed)
    z, g, slope = rng.standard_normal((100, 8)), rng.standard_normal((100, 8)), nn.Parameter(np.full(8, 0.25))
    (found,) = grad(F.prelu(z, slope), slope, g)
    findings = [Finding("gradient of a, less the formula: largest entry", 0, np.abs(
        found.data - (np.minimum(0, z) * g).sum(axis=0)).max(), 1e-12)]         # sums of 100 terms of order 1
    digits, steps, paths = data.digits().head(500 if fast else 1797).standardise(), 200 if fast else 1500, []
    for decayed in (False, True):
        alone = slopes_in_training(nn.PReLU(dtype="float64"), decayed, F.mse_loss, np.abs(z), g, steps)
        findings.append(Finding(f"a that no sample pushes, after {steps} steps{', decayed' * decayed}",
                                0.25 * (1 - RATE * DECAY) ** steps if decayed else 0.25, alone[-1, 0], 1e-13))
        model = nn.MLP([64] + [32] * LAYERS + [10], "prelu", rng=seed, dtype="float64")
        paths.append(np.hstack([slopes_in_training(model, decayed, F.cross_entropy, digits.x, digits.y, steps), alone]))
    findings += [at_most(f"digits, layer {k + 1}: a if decayed, below the free one", free, pulled)
                 for k, (free, pulled) in enumerate(zip(paths[0][-1, :-1], paths[1][-1, :-1]))]
    return findings, {"free": paths[0], "decayed": paths[1]}


def draw(figure: Figure, series: Series) -> None:
    for axes, key, title in zip(figure.subplots(1, 2, sharey=True), ("free", "decayed"), (
            "slopes are not decayed (the default)", f"L2 of {DECAY} on the slopes, too")):
        *layers, alone = np.transpose(series[key])
        for k, (values, colour) in enumerate(zip(layers, COLUMN)):
            axes.plot(values, color=colour, lw=1.8, label=f"layer {k + 1}")
        axes.plot(alone, color="black", lw=1.8, label="a that no sample pushes")
        axes.axhline(0, color="black", lw=0.8)
        say(axes, "0: a ReLU", (0.6 * len(alone), -0.03), va="top")
        label(axes, title, "step", "slope a" if key == "free" else "")
        axes.set_ylim(bottom=-0.4)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False, fontsize=9)


EXPERIMENT = Experiment("PReLU's slopes, decayed or not", run, draw, [
    Claim("B3", "PReLU learns its slope by the gradient: that of a is the sum of min(0, z) g.",
          "He, Zhang, Ren & Sun 2015, arXiv 1502.01852"),
    Claim("B4", "With a learned slope, a PReLU is immune to dying.", "folklore",
          "L2 on the slope pulls it towards 0, that is towards a ReLU; so keep slopes out of the decay.")])
