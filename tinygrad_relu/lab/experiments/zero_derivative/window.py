"""Inside a window of rate times decay, momentum with L2 decay brings every dead unit back; below it, none.

Without a gradient, heavy ball with L2 is a damped spring: z[t+1] = (1 + mu - c) z[t] - mu z[t-1] with c = lr * weight_decay. It
swings through 0 if its roots are complex: (1 - sqrt mu)^2 < c. For Nesterov the window begins at ((1 - mu)/(1 + mu))^2. From
rest, all dead units of the first layer return at one step, which depends on mu and c only.
"""
import numpy as np

from .... import data, lab, nn, optim
from ..common import ALIVE, BLUE, DASHES, Claim, Experiment, Figure, Finding, Series, first_positive, label, say, watch

RATE, MU = 0.1, 0.6
TIMES = np.array([0.5, 0.8, 0.97, 1.03, 1.1, 1.3, 1.6, 2, 3, 5, 8])            # c, as a multiple of the edge
EDGES = {"heavy ball": (1 - MU ** 0.5) ** 2, "Nesterov": ((1 - MU) / (1 + MU)) ** 2}


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """A population of networks with a dead first layer, one for each decay: the step at which a unit of the layer returns."""
    digits, width = data.digits()[:100 if fast else 400], 8 if fast else 32
    findings, observed = [], []
    for name, edge in EDGES.items():
        model = nn.MLP([64, width, 10], rng=seed, dtype="float64")
        lab.kill(model, digits.x)
        models = nn.population([model] * len(TIMES))
        decays = edge * TIMES / RATE
        optimizer = optim.SGD(models.parameters(), lr=RATE, momentum=MU, nesterov=name == "Nesterov", weight_decay=decays)
        back = first_positive(watch(models, optimizer, digits, 100).max(axis=2))
        told = lab.laws.return_steps(MU, edge * TIMES, nesterov=name == "Nesterov")
        middle = (TIMES[np.isinf(back)].max() + TIMES[np.isfinite(back)].min()) / 2
        findings += [Finding(f"{name}: edge between never and a return, as a multiple of the formula's", 1.0, middle, 0.031),
                     Finding(f"{name}: decays with another step of return than the formula's", 0, int((told != back).sum()))]
        observed.append(back)
    findings += [Finding(f"{name}: step of return at twice the edge", lab.laws.return_steps(
        MU, 2 * EDGES[name], nesterov=name == "Nesterov").item(), observed[i][TIMES == 2].item()) for i, name in enumerate(EDGES)]
    return findings, {"observed": observed}


def draw(figure: Figure, series: Series) -> None:
    axes = figure.subplots()
    fine = np.geomspace(1.002, TIMES[-1], 300)
    for (name, edge), observed, colour in zip(EDGES.items(), series["observed"], (BLUE, ALIVE)):
        axes.plot(edge * fine, lab.laws.return_steps(MU, edge * fine, nesterov=name == "Nesterov"), color=colour, lw=1.4,
                  label=f"{name}: edge at rate * decay = {edge:.3g}")
        axes.plot(edge * TIMES, observed, "o", color=colour, ms=5)
        axes.plot(edge * TIMES[np.isinf(observed)], np.full(np.isinf(observed).sum(), 96), "x", color=colour, ms=6)
        axes.axvline(edge, color=colour, ls=DASHES, lw=1)
    say(axes, "x: never", (0.034, 84), ha="center")
    axes.legend(frameon=False, fontsize=9, title="lines: formula; dots: networks", title_fontsize=9)
    label(axes, "", f"rate * decay, at momentum {MU}", "step of the return", xscale="log", xlim=(0.024, 0.55), ylim=(0, 102),
          xticks=[0.03, 0.05, 0.1, 0.2, 0.5], xticklabels=["0.03", "0.05", "0.1", "0.2", "0.5"])


EXPERIMENT = Experiment("The window in which momentum and L2 decay bring every dead unit back", run, draw, [
    Claim("D6", "With momentum and decay, a network can leave a region in which its gradient is zero.", "folklore")
], also=["A11"])
