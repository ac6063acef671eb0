"""The remedies that are advised against dying units, each on the same network, at a rate that kills many of its ReLU units.

A leaky slope, fixed, learned (PReLU) or random (RReLU), is nowhere zero, so no such unit can die; nor can an ELU whose exp(z)
does not underflow. Centred inputs and batch normalisation keep z around 0. A smaller rate stays below the rates that kill. Single
pieces of a Maxout unit may never win, but one always does, so the unit has a gradient. A network without dead units need not
learn: at this rate several of them diverge, and the figure shows both.
"""
from dataclasses import replace
import numpy as np

from .... import data, lab, nn
from ..common import ALIVE, BLUE, FAINT, Claim, Experiment, Figure, Finding, Options, Series, at_least, at_most, label, learn

RATE, HIDDEN = 1.0, 32
REMEDIES: dict[str, Options] = {        # options of nn.MLP, and the learning rate
    "ReLU": {}, "a tenth of the rate": {"lr": RATE / 10}, "Leaky": {"activation": "leaky_relu"}, "PReLU": {"activation": "prelu"},
    "RReLU": {"activation": "rrelu"}, "ELU": {"activation": "elu"}, "Maxout": {"activation": "maxout"},
    "batch norm": {"norm": "batch"}, "centred inputs": {"centred": True}}


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    digits, seeds = data.digits()[:200 if fast else 600], 2 if fast else 4
    share, accuracy, diverged = {}, {}, {}
    for name, options in REMEDIES.items():
        options = dict(options)
        x = digits.x - digits.x.mean(axis=0) if options.pop("centred", False) else digits.x
        rate, dead, right = options.pop("lr", RATE), [], []
        for k in range(seed, seed + seeds):
            model = nn.MLP([64, HIDDEN, HIDDEN, 10], dtype="float64", rng=k, **options)
            learn(model, replace(digits, x=x), 100, lr=rate)
            model.eval()
            for layer in lab.census(model, x).layers:
                pieces = layer.on_rate.reshape(HIDDEN, -1)
                dead.append((pieces.max(axis=1) == 0).mean() if layer.pieces > 1 else layer.dead / HIDDEN)
            scores = model(x).data
            right.append(np.nan if np.isnan(scores).any() else (scores.argmax(axis=1) == digits.y).mean())
        diverged[name] = int(np.isnan(right).sum())
        share[name], accuracy[name] = float(np.mean(dead)), float(np.nan_to_num(right).mean())
    told = {name: f", of which {n} of {seeds} diverged" if n else "" for name, n in diverged.items()}
    smaller = "a tenth of the rate", "batch norm", "centred inputs"
    return [at_least("ReLU: share of dead units", 0.3, share["ReLU"]),
            *(Finding(f"{name}: share of dead units in networks{told[name]}", 0, share[name])
              for name in ("Leaky", "PReLU", "RReLU", "ELU", "Maxout")),
            *(at_most(f"{name}: share of dead units", share["ReLU"] / 2, share[name]) for name in smaller),
            *(at_least(f"{name}: accuracy", 0.9, accuracy[name]) for name in smaller),
            at_most("networks with a slope on the left, and Maxout: least accuracy", 0.9,
                    min(accuracy[name] for name in ("Leaky", "PReLU", "RReLU", "ELU", "Maxout")), claimed=1)], {
        "share": share, "accuracy": accuracy, "diverged": diverged, "seeds": seeds}


def draw(figure: Figure, series: Series) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    names = list(series["share"])[::-1]
    for axes, key, title in ((left, "share", "dead units, %"), (right, "accuracy", "accuracy, %")):
        colours = [FAINT if name == "ReLU" else ALIVE if key == "share" else BLUE for name in names]
        bars = axes.barh(names, [100 * series[key][name] for name in names], color=colours)
        told = [f"{100 * series[key][name]:.0f}" for name in names]
        if key == "accuracy":
            told = [text + (f"  ({n} of {series['seeds']} diverged)" if (n := series["diverged"][name]) else "")
                    for name, text in zip(names, told)]
        axes.bar_label(bars, told, fontsize=8.5, padding=2)
        label(axes, "", title, xlim=(0, 108))


EXPERIMENT = Experiment("The remedies, at a rate that kills", run, draw, [
    Claim("A24", "Remedies are a smaller rate, Leaky ReLU, PReLU, RReLU, ELU, Maxout, and batch normalisation.", "textbook",
          "All of them keep units alive. But at a rate that kills ReLU units, several networks without dead units diverge or "
          "learn badly; a smaller rate, centred inputs and batch normalisation let them learn.")
], also=["A10", "B2", "B10", "B11", "D10"])
