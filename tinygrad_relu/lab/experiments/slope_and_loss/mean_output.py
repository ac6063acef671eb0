"""The outputs of ReLU are not centred: for z ~ N(0, 1) their mean is 1/sqrt(2 pi) = 0.399, and that of their squares 1/2.

At He's start with biases of 0, z of every unit, given the layer before, is normal with variance 2 |h|^2/n over the draws of its
weights. So in units of that deviation the mean output is 0.399 in every layer. As all outputs are positive, on one sample the
gradients of all weights of a unit have the same sign. The outputs of tanh have the mean 0.
"""
import numpy as np

from .... import data, functional as F, lab, nn
from ..common import COLUMN, DASHES, FAINT, Array, Claim, Experiment, Figure, Finding, Series, at_most, grad, label, say

WIDTH, LAYERS = 64, 3


def outputs(name: str, seed: int, draws: int, x: Array) -> tuple[Array, Array]:
    """The outputs over the deviation of z, (draws, layers, entries); per draw, the share of the units of layer 2 whose weights
    get gradients of one sign from the first sample."""
    found, of_one_sign = np.empty((draws, LAYERS, len(x) * WIDTH)), np.empty(draws)
    for k, rng in enumerate(np.random.default_rng(seed).spawn(draws)):
        model = nn.MLP([64, *[WIDTH] * LAYERS, 10], name, dtype="float64", rng=rng)
        for i, look in enumerate(lab.Units(model).walk(x)):
            deviation = np.sqrt(2 / look.inputs.shape[1]) * np.linalg.norm(look.inputs, axis=1, keepdims=True)
            found[k, i] = (look.h / deviation).ravel()
        rows = grad(F.cross_entropy(model(x[:1]), [0]), model[2].weight)[0].data
        of_one_sign[k] = ((rows >= 0).all(axis=1) | (rows <= 0).all(axis=1)).mean()
    return found, of_one_sign


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    draws, x = 20 if fast else 100, data.digits().x[:100]
    findings, series = [], {}

    def finding(what: str, expected: float, values: Array) -> Finding:
        means = values.reshape(draws, -1).mean(axis=1)
        return Finding(what, expected, float(means.mean()), 4 * float(means.std() / np.sqrt(draws)))     # four standard errors

    for name in ("relu", "tanh"):
        found, of_one_sign = outputs(name, seed, draws, x)
        last = found[:, -1]
        if name == "relu":
            findings += [finding(f"layer {i + 1}: mean output, over the deviation of z", 1 / np.sqrt(2 * np.pi), found[:, i])
                         for i in range(LAYERS)]
            findings += [finding("layer 3: mean square, over the variance of z", 0.5, last ** 2),
                         Finding("units whose weights get gradients of one sign, on one sample", 1, of_one_sign.mean())]
        else:
            findings += [finding("layer 3, tanh: mean output", 0, last),
                         at_most("tanh: units whose weights get gradients of one sign", 0.1, of_one_sign.mean())]
        counts, bins = np.histogram(last, 60, (-3 if last.min() < 0 else 0, 3))
        series[name] = {"counts": counts, "bins": bins, "mean": last.mean()}
    return findings, series


def draw(figure: Figure, series: Series) -> None:
    for axes, (name, shown), colour in zip(figure.subplots(1, 2), series.items(), COLUMN):
        axes.stairs(shown["counts"], shown["bins"], color=colour, alpha=0.7, fill=True)
        axes.axvline(shown["mean"], color=FAINT, ls=DASHES, lw=1.3)
        say(axes, f" mean {abs(shown['mean']):.2f}", (shown["mean"], 0.92), transform=axes.get_xaxis_transform())
        label(axes, {"relu": "ReLU: none is negative, half are 0", "tanh": "tanh"}[name],
              "outputs of layer 3, over the deviation of z", "how many", yticks=[], ylim=(0, 1.15 * shown["counts"].max()))


EXPERIMENT = Experiment("The outputs of ReLU are not zero-centred", run, draw, [
    Claim("A18", "The outputs of ReLU are not zero-centred.", "lectures of Stanford's CS231n")], also=["C3"])
