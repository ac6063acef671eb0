"""An LSTM keeps a gradient over many steps only while its forget gates are near 1; with a forget bias of 0 they are not.

The state c passes a gradient back through T steps times the product of the forget gates. If these are sigmoid(b), as at a start
without inputs, that is 0.5^100 = 8e-31 for b = 0, which is worse than the 0.9^100 = 3e-5 of a tanh RNN with the weight 0.9;
2.5e-14 for b = 1; and 0.9933^100 = 0.51 for b = 5. So the bias makes the memory: with 5, an LSTM learns to repeat after 100 steps
the number that came first; with 0 or 1 it learns nothing in the same time. (The RNN does, in some runs.)
"""
from typing import Any

import numpy as np

from .... import functional as F, nn, optim
from ..common import COLUMN, Array, Claim, Experiment, Figure, Finding, Series, Tensor, descend, grad, label, say

STEPS, HIDDEN, RECURRENT = 100, 8, 0.9
FORGET = {"LSTM, forget bias 0": 0.0, "LSTM, forget bias 1": 1.0, "LSTM, forget bias 5": 5.0, "tanh RNN": None}


class Memory(nn.Module):
    """A recurrent layer, and a linear one that reads the answer off its last output.

    The states do not act on each other at first: the LSTM has no recurrent weights, and no biases but that of the forget gates; a
    tanh RNN (without `forget`) has the recurrent weights 0.9 I.
    """

    def __init__(self, forget: float | None, seed: int) -> None:
        rng = np.random.default_rng(seed)
        kind: Any = nn.RNN if forget is None else nn.LSTM
        layer = kind(1, HIDDEN, rng=rng, dtype="float64")
        for p in (layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0):
            p.data = np.zeros(p.shape)
        if forget is None:
            layer.weight_hh_l0.data = RECURRENT * np.eye(HIDDEN)
        else:
            layer.bias_ih_l0.data = np.repeat([0.0, forget, 0.0, 0.0], HIDDEN)     # gates: input, forget, cell, output
        self.layer, self.answer = layer, nn.Linear(HIDDEN, 1, rng=rng, dtype="float64")

    def forward(self, x: Array) -> Tensor:
        return self.answer(self.layer(x)[0][-1])

    def passed(self) -> float:
        """The derivative of a state after `STEPS` steps by the same state before them, if all inputs and states are 0."""
        zero = Tensor(np.zeros((1, 1, HIDDEN)), requires_grad=True)
        single = isinstance(self.layer, nn.RNN)
        _, states = self.layer(np.zeros((STEPS, 1, 1)), zero if single else (np.zeros((1, 1, HIDDEN)), zero))
        (found,) = grad((states if single else states[1])[0, 0, 0], zero)
        return float(found.data[0, 0, 0])


def run(seed: int, fast: bool) -> tuple[list[Finding], Series]:
    """The derivative through 100 steps; and several runs of each, which learn to repeat the first input, 1 or -1."""
    x, y, runs = np.zeros((STEPS, 2, 1)), np.array([[1.0], [-1.0]]), 2 if fast else 8
    x[0] = y
    findings: list[Finding] = []
    losses: dict[str, list[Array]] = {}
    for name, forget in FORGET.items():
        product = (RECURRENT if forget is None else 1 / (1 + np.exp(-forget))) ** STEPS
        findings.append(Finding(f"{name}: gradient through 100 steps", product, Memory(forget, seed).passed(), 1e-10 * product))
        models = [Memory(forget, seed + k) for k in range(runs)]
        losses[name] = [descend(model, optim.Adam(model.parameters(), lr=0.01), F.mse_loss, x, y, 250) for model in models]
    for name, forget in list(FORGET.items())[:3]:
        learned = sum(bool(path[-1] < 0.01) for path in losses[name])
        findings.append(Finding(f"{name}: runs of {runs} that learn", runs if forget == 5 else 0, learned, claimed=runs))
    return findings, {"losses": losses}


def draw(figure: Figure, series: Series) -> None:
    products, losses = figure.subplots(1, 2)
    steps = np.arange(STEPS + 1)
    for (name, forget), colour in zip(FORGET.items(), COLUMN):
        factor = RECURRENT if forget is None else 1 / (1 + np.exp(-forget))
        products.plot(steps, factor ** steps, color=colour, lw=1.8)
        say(products, name.replace("LSTM, ", ""), (STEPS + 2, factor ** STEPS), colour, va="center")
        for k, path in enumerate(series["losses"][name]):
            losses.plot(path, color=colour, lw=1.2, label=name if k == 0 else "")
    label(products, "gradient that is left after t steps", "t", yscale="log", xlim=(0, 145), xticks=range(0, STEPS + 1, 25))
    losses.legend(frameon=False, fontsize=9, loc="upper right", ncols=2)
    label(losses, "repeat the first of 100 inputs: loss of each run", "step of training", ylim=(0, 1.9))


EXPERIMENT = Experiment("The memory of an LSTM is its forget bias", run, draw, [
    Claim("C13", "Remedies for vanishing gradients: ReLU and its family, Maxout, batch normalisation; and over time an LSTM, "
          "whose state passes gradients on.", "textbook; the LSTM, then without forget gates: Hochreiter & Schmidhuber 1997",
          "With forget gates, the state passes on their product: 0.5^T with a forget bias of 0, less than a tanh RNN with the "
          "weight 0.9. So start that bias above 0 (Gers, Schmidhuber & Cummins 2000).")])
