"""The curvature of a dead ReLU is zero too, so Newton's method does not move it either. It would move a saturated sigmoid.

Every second derivative of the loss that involves w or b of a dead unit is exactly 0: Newton's equation for them reads 0 = 0. The
slope s(1 - s) and the curvature s(1 - s)(1 - 2s) of a saturated sigmoid are equally small, and their quotient 1/(1 - 2s) is near
1 for every large |z|. (Where the loss is concave the step goes uphill, unless one divides by the size of the curvature.)
"""
from typing import Any

import numpy as np

from .... import functional as F, nn
from ....derivatives import hessian
from ..common import ALIVE, BLUE, Array, Claim, Experiment, Figure, Finding, Series, Tensor, label, say

DEPTHS = -np.arange(1.0, 21.0)


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """The whole Hessian of a network whose unit 0 is at z = -10 or so; and the Newton step of one sigmoid, z by z."""
    dead, _ = _rows("relu", seed)
    saturated, gradient = _rows("sigmoid", seed)
    s = 1 / (1 + np.exp(-DEPTHS))
    curvature = [hessian(lambda t: -F.sigmoid(t).sum(), Tensor([z])).item() for z in DEPTHS]
    newton = abs(s * (1 - s) / curvature)
    findings = [
        Finding("dead ReLU: largest second derivative with respect to w and b", 0.0, dead.max()),
        Finding("saturated sigmoid: Newton step of b, gradient over second derivative", 1.0, gradient / saturated[2, 6],
                0.2)]               # the residuals weigh the samples
    findings += [Finding(f"one sigmoid at z = {z:g}: length of the Newton step", 1 / (1 - 2 * s[i]), newton[i], 1e-6)
                 for i, z in enumerate(DEPTHS) if z in (-2, -10, -20)]
    return findings, {"newton": newton, "slopes": s * (1 - s), "dead": dead, "saturated": saturated}


def _rows(activation: str, seed: int) -> tuple[Array, float]:
    """Sizes of the second derivatives with respect to w_1, w_2 and b of unit 0 and all 13 parameters; and the gradient of b."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((30, 2)), rng.standard_normal((30, 1))
    model = nn.MLP([2, 3, 1], activation=activation, rng=seed, dtype="float64")
    model[0].bias.data = [-10.0, 0, 0]
    parameters = model.parameters()

    def loss(*parameters: Any) -> Tensor:
        return F.mse_loss(nn.utils.functional_call(model, parameters, x), y)

    blocks = hessian(loss, parameters)
    whole = np.block([[block.data.reshape(p.size, -1) for block in row] for p, row in zip(parameters, blocks)])
    loss(*parameters).backward()
    return np.abs(whole[[0, 1, 6]]), abs(float(np.asarray(model[0].bias.grad)[0]))


def draw(figure: Figure, series: Series) -> None:
    hessians, steps = figure.subplots(1, 2)
    for name, rows, colour in (("dead ReLU", series["dead"], BLUE), ("saturated sigmoid", series["saturated"], ALIVE)):
        hessians.plot(rows.max(axis=0), "o", color=colour, ms=6, label=name)
    hessians.set_yscale("symlog", linthresh=1e-9)
    label(hessians, "second derivatives of w and b with ...", "each of the 13 parameters", "largest size", ylim=(-3e-10, 1),
          legend="best")
    steps.plot(DEPTHS, series["newton"], "o-", color=ALIVE, ms=4)
    steps.plot(DEPTHS, series["slopes"], "o-", color=BLUE, ms=4)
    say(steps, "Newton step", (-19, 3), ALIVE)
    say(steps, "gradient step, rate 1", (-12, 1e-7), BLUE)
    label(steps, "one sigmoid unit", "z", "length of the step", yscale="log", ylim=(1e-10, 50))


EXPERIMENT = Experiment("Newton's method does not move a dead unit either", run, draw, [
    Claim("D16", "Where the slope is zero, the curvature helps: use Newton's method.", "folklore",
          "The second derivatives of a dead ReLU are zero too. Those of a saturated smooth unit are not: its Newton step has a "
          "length of about 1.")], also=["D8"])
