"""A gradient of zero can mean that the network has finished, or that it is stuck: the reason for each zero tells which.

Six networks whose first layer gets a gradient of exactly zero. One has reached a loss of 0, and needs none. In the others
something on the way stops the gradient: flat units, rounding, weights of zero, inputs of zero. `lab.why_zero` names it.
"""
import numpy as np

from .... import functional as F, lab, nn, optim
from ...why_zero import COLOURS
from ..common import Claim, Experiment, Figure, Finding, Series, descend, label, say

CASES = {"finished": "satisfied loss", "dead ReLU": "mask", "sigmoid far out": "saturation",
         "later layer dead": "dead downstream", "outgoing weights 0": "zero weight downstream", "inputs 0": "zero input"}


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """Points in the plane, two classes that a line separates, and a margin loss, which can be exactly 0."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.5, 1.5, (60, 2)) * rng.choice([-1, 1], (60, 1))
    y, findings, counts = (x.sum(axis=1) > 0).astype(int), [], {}
    for case, reason in CASES.items():
        model = nn.MLP([2, 8, 8, 2], activation="sigmoid" if "sigmoid" in case else "relu", rng=seed, dtype="float64")
        inputs = np.zeros_like(x) if case == "inputs 0" else x
        if case == "finished":
            descend(model, optim.SGD(model.parameters(), lr=0.1), F.multi_margin_loss, x, y, 400)
        elif case in ("dead ReLU", "later layer dead"):
            lab.kill(model, x, layer=int(case != "dead ReLU"))
        elif case == "sigmoid far out":
            model[0].bias.data = np.full(8, -800.0)
        elif case == "outgoing weights 0":
            model[2].weight.data = np.zeros((8, 8))
            model[2].bias.data = np.ones(8)
        else:
            model[0].bias.data = np.ones(8)
        found = lab.why_zero(model, inputs, y, "0.weight", loss=F.multi_margin_loss).counts["0.weight"]
        counts[case] = found
        findings.append(Finding(f"{case}: entries of the first weight with the reason '{reason}'", 16, found.get(reason, 0)))
    return findings, {"counts": counts}


def draw(figure: Figure, series: Series) -> None:
    axes, colours = figure.subplots(), {reason.label: colour for reason, colour in COLOURS.items()}
    for row, found in enumerate(series["counts"].values()):
        start = 0
        for reason, number in found.items():
            axes.barh(row, number, left=start, color=colours[reason], height=0.7)
            say(axes, reason, (start + 0.2, row), "white", va="center")
            start += number
    axes.invert_yaxis()
    label(axes, "reasons for a gradient of zero in the first weight", "entries", yticks=range(len(CASES)),
          yticklabels=list(CASES))


EXPERIMENT = Experiment("Stuck or finished?", run, draw, [
    Claim("D9", "A gradient of zero does not tell whether the training is stuck or finished.", "folklore")], also=["D12", "D14"])
