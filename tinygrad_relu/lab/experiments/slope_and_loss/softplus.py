"""Softplus, ln(1 + exp(beta x))/beta, is the smooth ReLU: its slope at 0 is 1/2, and with large beta it becomes ReLU.

The two differ most at 0, by ln(2)/beta. The slope of softplus is a sigmoid, positive everywhere, so no unit dies as long as
exp(beta x) does not underflow. Trained from the same start, the losses approach those of ReLU as beta grows.
"""
import numpy as np

from .... import data, functional as F, nn
from ..common import COLUMN, INK, Array, Claim, Experiment, Figure, Finding, Series, Tensor, at_most, grad, label, learn

BETAS = (1.0, 10.0, 100.0)


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    digits = data.digits()[:300 if fast else 1000].standardise()
    x, zero = np.linspace(-3, 3, 2001), Tensor(0.0, requires_grad=True)
    findings, values, losses = [], {}, {}

    def train(activation: nn.Module) -> Array:
        return learn(nn.MLP([64, 32, 32, 10], activation, dtype="float64", rng=seed), digits, 60, lr=0.3)

    relu = train(nn.ReLU())
    for beta in BETAS:
        (slope,) = grad(F.softplus(zero, beta), zero)
        values[beta], losses[beta] = F.softplus(x, beta).data, train(nn.Softplus(beta))
        findings += [Finding(f"beta {beta:g}: slope at 0", 0.5, slope.item()),
                     Finding(f"beta {beta:g}: largest difference to ReLU, ln(2)/beta", np.log(2) / beta,
                             float((values[beta] - F.relu(x).data).max()), 1e-12)]
    apart = [float(abs(losses[beta] - relu).max()) for beta in BETAS]
    findings += [at_most(f"difference of the losses to those of ReLU: beta {more:g}, against {less:g}", far, near)
                 for less, more, far, near in zip(BETAS, BETAS[1:], apart, apart[1:])]
    return findings, {"x": x, "values": values, "losses": losses, "relu": relu}


def draw(figure: Figure, series: Series) -> None:
    left, right = figure.subplots(1, 2)
    for beta, colour in zip(BETAS, COLUMN):
        left.plot(series["x"], series["values"][beta], color=colour, lw=1.8, label=f"softplus, β = {beta:g}")
        right.plot(series["losses"][beta], color=colour, lw=1.8)
    left.plot(series["x"], np.maximum(series["x"], 0), color=INK, lw=1, ls="--", label="ReLU")
    right.plot(series["relu"], color=INK, lw=1, ls="--")
    label(left, "", "x", "value", xlim=(-1.5, 1.5), ylim=(-0.05, 1.8), legend="best")
    label(right, "", "step", "loss")


EXPERIMENT = Experiment("Softplus is the smooth ReLU", run, draw, [
    Claim("A4", "Softplus, ln(1 + e^x), is the smooth ReLU, with slope 1/2 at 0.",
          "Glorot, Bordes & Bengio 2011, Deep sparse rectifier neural networks")])
