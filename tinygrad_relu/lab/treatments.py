"""The treatments of the main job, as data: optimizers with their settings, and what is done before the first step."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import sqrt
from typing import Any, Literal

from ..nn import Module
from ..optim import SGD, Adam, Optimizer


@dataclass(frozen=True)
class Treatment:
    """One thing to try on a dead network."""

    key: str                            # on the command line
    name: str                           # in tables and figures
    rule: Callable[..., Optimizer] = SGD
    options: dict[str, Any] = field(default_factory=dict)       # of the optimizer, apart from learning rate and decay
    weight_decay: float = 0.0
    decay_on: Literal["all", "weights", "biases"] = "all"
    rate: float = 1.0                   # a factor on the learning rate: Adam's steps have the size of the rate itself
    activation: str | None = None       # in place of the sick network's

    def optimizer(self, model: Module, lr: float) -> Optimizer:
        """A fresh optimizer for `model`."""
        decayed = {"all": ("weight", "bias"), "weights": ("weight",), "biases": ("bias",)}[self.decay_on]
        groups = [{"params": [p for p in model.parameters() if (p.kind in decayed) == decays],
                   "weight_decay": self.weight_decay if decays else 0.0} for decays in (True, False)]
        return self.rule([g for g in groups if g["params"]], lr=lr * self.rate, **self.options)

    def eta_lambda(self, lr: float) -> float:
        """Learning rate times decay, on which the fate of a dead unit depends."""
        return lr * self.rate * self.weight_decay

    def threshold(self) -> float | None:
        """The lower edge of the window, above which `eta_lambda` swings a unit back from rest; None if there is none."""
        momentum, dampening = self.options.get("momentum", 0.0), self.options.get("dampening", 0.0)
        if self.rule is not SGD or not momentum or dampening >= 1 or self.options.get("decoupled") or self.decay_on != "all":
            return None
        if self.options.get("nesterov"):
            return float(((1 - momentum) / (1 + momentum)) ** 2)
        return float((1 - sqrt(momentum)) ** 2) / (1 - dampening)

    def why_not(self) -> str:
        """Why it brings no unit of the first layer back from rest, in a few words for a caption."""
        if not self.weight_decay:
            return "no gradient, no buffer" if self.rule is SGD and not self.options.get("momentum") else "buffer empty"
        if self.options.get("decoupled") or self.rule is not SGD:
            return "decoupled: no swing"
        return {"all": "same sign for ever", "weights": "no positive bias", "biases": "no positive w·x"}[self.decay_on]


TREATMENTS = (
    Treatment("sgd", "SGD"),
    Treatment("sgd-l2", "SGD + L2", weight_decay=5e-4),
    Treatment("momentum", "momentum .9", options={"momentum": 0.9}),
    Treatment("momentum-l2-below", "momentum .9, L2 below", options={"momentum": 0.9}, weight_decay=5e-4),
    Treatment("momentum-l2-inside", "momentum .9, L2 inside", options={"momentum": 0.9}, weight_decay=0.05),
    Treatment("heavy-l2", "momentum .99 + L2", options={"momentum": 0.99}, weight_decay=5e-4),
    Treatment("heavy-decoupled", "momentum .99 decoupled", options={"momentum": 0.99, "decoupled": True},
              weight_decay=5e-4),
    Treatment("nesterov-l2", "Nesterov .99 + L2", options={"momentum": 0.99, "nesterov": True}, weight_decay=5e-4),
    Treatment("bias-decay", "SGD, biases decay", weight_decay=0.05, decay_on="biases"),
    Treatment("weight-decay", "SGD, weights decay", weight_decay=0.05, decay_on="weights"),
    Treatment("adam", "Adam", rule=Adam, rate=0.01),
    Treatment("adam-l2", "Adam + L2", rule=Adam, weight_decay=5e-4, rate=0.01),
    Treatment("leaky", "leaky twin, SGD", activation="leaky_relu"),
)
