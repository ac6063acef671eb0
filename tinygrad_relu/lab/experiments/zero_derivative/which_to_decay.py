"""Which parameters are decayed decides which dead units return, even without momentum.

With rho = 1 - lr * weight_decay, decay on the biases alone gives z[t] = w.x + rho^t b: a unit that only its bias keeps dead
returns when w.x outweighs it. Decay on the weights alone gives z[t] = rho^t w.x + b, and revives units with b > 0. Decay on both
multiplies z by rho^t, and revives none. The common habit of leaving biases out of the decay removes the first of these cures.
"""
import numpy as np

from .... import data, nn, optim
from ..common import ALIVE, BLUE, FAINT, Claim, Experiment, Figure, Finding, Series, first_positive, label, say, watch

RATE, DECAY, UNITS = 0.1, 0.1, 32
DECAYED = {"nothing": (0.0, 0.0), "biases": (0.0, DECAY), "weights": (DECAY, 0.0), "both": (DECAY, DECAY)}     # weights, biases


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """Four copies of one dead network: the steps of return of its units; the first half has b < 0, the other half b > 0."""
    digits, steps = data.digits()[:100 if fast else 600], 300
    model, rng = nn.MLP([64, UNITS, 10], rng=seed, dtype="float64"), np.random.default_rng(seed)
    first, half = model[0], UNITS // 2
    weight, bias = first.weight.data.copy(), np.zeros(UNITS)
    weight[half:] = -abs(weight[half:])                             # and all features are positive: w.x < 0
    products = digits.x @ weight.T
    bias[:half] = -np.maximum(products[:, :half].max(axis=0), 0.1) * rng.uniform(1.1, 8, half)
    bias[half:] = -products[:, half:].max(axis=0) * rng.uniform(0.1, 0.9, UNITS - half)
    first.weight.data, first.bias.data = weight, bias
    models = nn.population([model] * len(DECAYED))
    groups = [{"params": [p for p in models.parameters() if p.kind == kind], "weight_decay": list(decays)}
              for kind, decays in zip(("weight", "bias"), zip(*DECAYED.values()))]
    back = first_positive(watch(models, optim.SGD(groups, lr=RATE), digits, steps))
    told = np.full(back.shape, np.inf)
    with np.errstate(all="ignore"):
        best, rho = products.max(axis=0), np.log(1 - RATE * DECAY)
        told[1] = np.where((bias < 0) & (best > 0), np.floor(np.log(best / -bias) / rho) + 1, np.inf)
        told[2] = np.where((bias > 0) & (best < 0), np.floor(np.log(bias / -best) / rho) + 1, np.inf)
    told[told > steps] = np.inf
    findings = [Finding(f"decay on {name}: units that return", np.isfinite(t).sum(), np.isfinite(b).sum())
                for name, t, b in zip(DECAYED, told, back)]
    findings.append(Finding("units with another step than the formula's", 0, (told != back).sum()))
    return findings, {"told": told, "back": back}


def draw(figure: Figure, series: Series) -> None:
    axes = figure.subplots()
    axes.plot([0, 300], [0, 300], color=FAINT, lw=0.8)
    for row, colour, at, text in ((1, BLUE, (150, 60), "decay on biases: units with b < 0"),
                                  (2, ALIVE, (15, 190), "decay on weights: units with b > 0")):
        axes.plot(series["told"][row], series["back"][row], "o", color=colour, ms=5)
        say(axes, text, at, colour)
    say(axes, "decay on both, or on nothing: no unit returns", (150, 30), FAINT)
    label(axes, "", "step of return by the formula", "step observed", xlim=(0, 300), ylim=(0, 300))


EXPERIMENT = Experiment("Which parameters are decayed decides which dead units return", run, draw, [
    Claim("N10", "Without momentum, decay of the biases alone or of the weights alone brings some dead units back, and decay of "
          "both brings none back.", "this laboratory")], also=["D5", "D6", "A11"])
