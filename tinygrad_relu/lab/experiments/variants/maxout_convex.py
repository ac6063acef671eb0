"""The maximum of affine maps is convex. So one Maxout unit with enough pieces fits any convex function, and no other.

For x^2 on [-1, 1], k pieces can do no better than a largest error of 1/(2 k^2): each piece serves an interval of length h = 2/k,
on which the best line misses by h^2/8. The least root mean square error is h^2/sqrt(180). For -x^2 the best convex function is a
constant, however many pieces there are, with the root mean square error sqrt(4/45). The difference of two Maxout units fits any
continuous function. Training may find less: a piece that never wins gets no gradient; it is dead, and the others may be too few.
"""
import numpy as np

from .... import functional as F, nn, optim
from ..common import COLUMN, Array, Claim, Experiment, Figure, Finding, Series, Tensor, at_least, descend, grad, label

X = np.linspace(-1, 1, 401)[:, None]
ROOT = np.sqrt(4 / 45)          # of the mean square of x^2 - 1/3 on [-1, 1]: the best fit by one line
NEAR = 0.02                     # share by which a fit may miss: 0.005 since X is a grid, the rest since training stops


class Maxouts(nn.Module):
    """`tries` independent fits side by side: each a Maxout unit of one input, or with two parts the difference of two."""

    def __init__(self, pieces: int, parts: int, tries: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.parts = [nn.Maxout(1, tries, pieces, init="normal", rng=rng, dtype="float64") for _ in range(parts)]

    def forward(self, x: Array) -> Tensor:
        first, *second = [part(x) for part in self.parts]
        return first - second[0] if second else first


def trained(target: Array, pieces: int, parts: int, seed: int, fast: bool) -> tuple[Array, Array, Maxouts]:
    """The root mean square errors of several fits by Adam, the curve of the best, and the model."""
    tries = 12 if fast else 48
    model, targets = Maxouts(pieces, parts, tries, seed), np.repeat(target, tries, axis=1)
    descend(model, optim.Adam(model.parameters(), lr=0.02), F.mse_loss, X, targets, 1500)
    fits = model(X).data
    errors = np.sqrt(np.square(fits - targets).mean(axis=0))
    return errors, fits[:, errors.argmin()], model


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """The best fit of x^2, made by hand; fits by Adam from random starts, of x^2 and of -x^2; and the pieces that never win."""
    findings, curves, dots = [], {}, []
    for k in (4, 8):
        best, centres = nn.Maxout(1, 1, k, rng=0, dtype="float64"), -1 + (2 * np.arange(k) + 1) / k
        best.weight.data, best.bias.data = 2 * centres[:, None], 1 / (2 * k * k) - centres ** 2
        error = np.abs(best(X).data - X ** 2).max()
        findings.append(Finding(f"x^2, {k} pieces by hand: largest error", 1 / (2 * k * k), error, 1e-12))
    for k in (2, 3, 6):
        errors, curves[f"{k}"], model = trained(X ** 2, k, 1, seed, fast)
        (layer,) = model.parts
        wins = F.maxout_winners(F.linear(X, layer.weight, layer.bias), k)[..., None] == np.arange(k)
        dots.append([wins.any(axis=0).sum(axis=1), errors])
        if k < 6:
            least = ROOT / k ** 2
            findings.append(Finding(f"x^2, {k} pieces, trained: root mean square error", least, errors.min(), NEAR * least))
    (slope,) = grad(F.mse_loss(model(X), X ** 2 + np.zeros_like(wins[..., 0])), layer.weight)
    findings += [
        at_least("6 pieces, trained: pieces that never win, at least one", 1, (~wins.any(axis=0)).sum()),
        Finding("and their largest gradient", 0, np.abs(slope.data[~wins.any(axis=0).ravel()]).max())]
    for parts, name, expected in ((1, "one unit", ROOT), (2, "the difference of two", ROOT / 4)):
        errors, curves[name], _ = trained(-X ** 2, 2, parts, seed, fast)
        findings.append(Finding(f"-x^2, 2 pieces, {name}: root mean square error", expected, errors.min(), NEAR * expected,
                                claimed=ROOT / 4))
    return findings, {"curves": curves, "dots": np.concatenate(dots, axis=1)}


def draw(figure: Figure, series: Series) -> None:
    convex, concave, errors = figure.subplots(1, 3)
    curves = series["curves"]
    for axes, sign, names in ((convex, 1, {"2": "2 pieces", "3": "3 pieces"}),
                              (concave, -1, {"one unit": "one unit", "the difference of two": "difference of two"})):
        axes.plot(X, sign * X ** 2, color="#d0d0d0", lw=6)
        for (name, text), colour in zip(names.items(), COLUMN):
            axes.plot(X, curves[name], color=colour, lw=1.6, label=text)
        axes.legend(frameon=False, fontsize=9)
    label(convex, "x², convex", "x")
    label(concave, "-x²: two pieces a unit", "x")
    n = np.arange(1, 7)
    errors.plot(n, ROOT / n ** 2, color="black", lw=1, label="best possible")
    errors.plot(*series["dots"], "o", color=COLUMN[0], ms=4, alpha=0.5, label="trained, x²")
    label(errors, "root mean square error", "pieces that win somewhere", yscale="log", legend="best")


EXPERIMENT = Experiment("One Maxout unit fits convex functions, the difference of two fits any", run, draw, [
    Claim("B13", "One Maxout unit with enough pieces fits any function.", "folklore",
          "Any convex function; the difference of two units fits any continuous one (Goodfellow et al. 2013, arXiv 1302.4389). "
          "A piece that never wins is dead.")], also=["A1"])
